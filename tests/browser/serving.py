"""``archsearch ui`` as a user runs it: a program of its own that tells its address and ends by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

START_S, STOP_S = 90, 60


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """The address of ``archsearch ui WORDS`` run in a folder, and what it has said on stderr once it has ended.

    Raises:
        AssertionError: it did not start, or did not end cleanly.
    """
    # pytest's own variables would make the page's library believe that it is under test
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST")}
    environment = {**kept, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        [sys.executable, "-m", "archsearch", "ui", *words, "--port", "0", "--no-browser"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    told: list[str] = []
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        assert urlparse(url).hostname == "127.0.0.1", server.communicate()[1]
        _wait_for(url)
        yield url, lambda: told
    finally:
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=STOP_S)
        told += errors.splitlines()
    assert server.returncode == 0, errors
    assert told[-2:] == ["serving until interrupted (Ctrl-C)", "stopped"]


def status_as(url: str, name: str) -> int:
    """The status of a request that calls the server by another name."""
    try:
        with urlopen(Request(url, headers={"Host": name}), timeout=START_S) as found:
            return int(found.status)
    except HTTPError as error:
        return error.code


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urlopen(url, timeout=START_S):
                return
        except URLError:
            assert time.monotonic() < deadline, f"no answer at {url}"
            time.sleep(0.1)
