"""A process that answers one case after another under limits, and what the parent sees of it.

The process imports archsearch and warms it up once, then forks: the fork answers cases until one kills it (more than
``MOST_SECONDS`` of CPU time, more than ``MOST_BYTES`` beyond what the warm process held), and the next fork goes on.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_SECONDS = 10
"""CPU seconds of one case: a case waits for nothing, and a loaded machine changes nothing in it."""
MOST_BYTES = 2**30
MOST_WAIT = 120.0
"""Seconds by the clock after which a case is one that waits for ever."""
GROWTH = 2**28
"""Bytes that remembered answers of earlier cases may take before a fork gives way to a fresh one."""


@dataclass(frozen=True)
class Outcome:
    """What one case did: ``status`` is the exit status (0 for a function that answered, 2 for one that refused),
    ``fault`` a traceback, or what killed it; empty where it ended well."""

    status: int
    out: str
    err: str
    fault: str
    seconds: float
    answer: Any = field(default=None)


class Worker:
    """The process and its line; a context manager."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0
        )
        self._child = self._hello()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def ask(self, case: dict[str, Any]) -> Outcome:
        """The outcome of a case: ``{"line": [words of a command line]}`` or ``{"reader": name, "file": path}``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(case).encode() + b"\n")
        started = time.perf_counter()
        reply = self._line(MOST_WAIT)
        if reply is None:
            os.kill(self._child, signal.SIGKILL)
            reply = self._line(MOST_WAIT)
        assert reply is not None, "the worker is gone"
        document = json.loads(reply)
        if "pid" in document:  # a new fork: the old one died of the case
            self._child = document["pid"]
            return Outcome(-1, "", "", document["why"], time.perf_counter() - started)
        if document.pop("tired"):
            self._child = self._hello()
        return Outcome(**document)

    def _hello(self) -> int:
        line = self._line(MOST_WAIT)
        assert line is not None, "the worker did not start"
        return int(json.loads(line)["pid"])

    def _line(self, seconds: float) -> bytes | None:
        stream = self._process.stdout
        assert stream is not None
        found = b""
        end = time.monotonic() + seconds
        while not found.endswith(b"\n"):
            ready, _, _ = select.select([stream], [], [], max(end - time.monotonic(), 0))
            if not ready:
                return None
            part = os.read(stream.fileno(), 1 << 20)
            if not part:
                return None
            found += part
        return found


def _serve() -> None:
    """The process itself: warm up, then fork and answer."""
    sys.path.insert(0, str(Path(__file__).parent))
    from fuzz_readers import warm_up

    line, said = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    warm_up()
    os.dup2(nothing, 2)
    why = "started"
    while True:
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                _limit()
                said.write(json.dumps({"pid": os.getpid(), "why": why}).encode() + b"\n")
                _answer(line, said)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            if os.WEXITSTATUS(status) == 0:
                return
            why = "tired"
            continue
        number = os.WTERMSIG(status)
        why = f"over {MOST_SECONDS} s" if number == signal.SIGPROF else f"killed by signal {number}"


def _limit() -> None:
    used = _bytes()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES + GROWTH, resource.RLIM_INFINITY))


def _bytes() -> int:
    """The address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _answer(line: io.RawIOBase, said: io.RawIOBase) -> None:
    from fuzz_readers import READERS

    start = _bytes()
    while True:
        text = _request(line)
        if not text:
            os._exit(0)
        case = json.loads(text)
        out, err, fault, status, answer = io.StringIO(), io.StringIO(), "", -1, None
        began = time.process_time()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _timer():
            try:
                if "line" in case:
                    from archsearch.cli.main import run

                    status = run(case["line"])
                else:
                    status, answer = READERS[case["reader"]].answered(Path(case["file"]))
            except BaseException:
                fault = traceback.format_exc(limit=-12)
        tired = _bytes() - start > GROWTH
        reply = {"status": status, "out": out.getvalue(), "err": err.getvalue(), "fault": fault, "answer": answer}
        reply |= {"seconds": time.process_time() - began, "tired": tired}
        said.write(json.dumps(reply).encode() + b"\n")
        if tired:
            os._exit(3)


def _request(line: io.RawIOBase) -> bytes:
    """One line; the parent sends no more before it has the answer."""
    found = b""
    while not found.endswith(b"\n"):
        part = line.read(1 << 16)
        if not part:
            return b""
        found += part
    return found


@contextlib.contextmanager
def _timer() -> Iterator[None]:
    """Kill this process (SIGPROF) once it has used too much CPU time."""
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    _serve()
