"""Enumeration on a real local Dask scheduler with two worker processes, one of them killed midway."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import archsearch, environment, free_port

from archsearch.search.explore import cluster
from archsearch.search.explore.enumeration import sweep
from archsearch.search.space.space import load_space

pytestmark = pytest.mark.services
SPACE = Path(__file__).parents[2] / "search_spaces" / "decoder-1b.yaml"


def dask(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())


@pytest.fixture
def cluster_of_two(tmp_path: Path) -> Iterator[tuple[str, list[int]]]:
    """The scheduler's address, and the process ids of two workers (no nannies, which would start them again)."""
    from distributed import Client

    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    processes = [dask("scheduler", "--host", "127.0.0.1", "--port", str(port))]
    for number in range(2):
        place = ["--local-directory", str(tmp_path / str(number)), "--nthreads", "1"]
        processes.append(dask("worker", address, "--no-nanny", *place))
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with Client(address, timeout=5, set_as_default=False) as client:
                    client.wait_for_workers(2, timeout=50)
                break
            except (OSError, TimeoutError):
                assert time.monotonic() < deadline
        yield address, [process.pid for process in processes[1:]]
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()


def test_front_is_the_local_one_though_a_worker_dies(
    cluster_of_two: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    address, workers = cluster_of_two
    space = load_space(str(SPACE))
    local = sweep(space, "a100-sxm-80gb,l4", sample=300, seed=5, progress=False)
    monkeypatch.setattr(cluster, "TASK_CELLS", 2**13)
    killed: list[int] = []

    def watched(total: Any) -> Any:
        def advance(units: int) -> None:
            total.append(units)
            if len(total) == 5:
                os.kill(workers[0], signal.SIGKILL)
                killed.append(sum(total))

        return advance

    from contextlib import contextmanager

    done: list[int] = []

    @contextmanager
    def bar(*_: Any, **__: Any) -> Iterator[Any]:
        yield watched(done)

    monkeypatch.setattr("archsearch.search.explore.enumeration.progress_bar", bar)
    spread = sweep(space, "a100-sxm-80gb,l4", sample=300, seed=5, max_cells=2**12, scheduler=address)
    assert killed
    assert killed[0] < space.size / 2  # midway
    assert sum(done) == spread.architectures == local.architectures
    assert (spread.legal, spread.valid, spread.rejected) == (local.legal, local.valid, local.rejected)
    np.testing.assert_array_equal(spread.front_cells, local.front_cells)
    np.testing.assert_array_equal(spread.sample_cells, local.sample_cells)
    for gpu, cells in local.gpu_front_cells.items():
        np.testing.assert_array_equal(spread.gpu_front_cells[gpu], cells)
    assert spread.provenance == local.provenance


def test_command_line_takes_a_scheduler(cluster_of_two: tuple[str, list[int]]) -> None:
    address, _ = cluster_of_two
    answers = []
    for extra in ([], ["--scheduler", address]):
        process = archsearch("enumerate", str(SPACE), "--hardware", "h100-sxm", "--json", *extra)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        answers.append(json.loads(out))
    assert answers[0]["front"] == answers[1]["front"]


def test_no_scheduler_is_told_in_one_line() -> None:
    process = archsearch("enumerate", str(SPACE), "--hardware", "l4", "--scheduler", f"tcp://127.0.0.1:{free_port()}")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert re.search(r"no Dask scheduler answers at 'tcp://127", err.splitlines()[-1])
