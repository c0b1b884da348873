"""Disks that fill up, folders that are read only, a database that is restarted."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from killing import answer_of, contents
from processes import archsearch

from archsearch.testing.storage_contract import SPACE

ROOM_MIB = 4


@contextmanager
def small_disk() -> Iterator[Path]:
    """A disk of its own with little room (a tmpfs: root alone can mount one)."""
    place = Path(tempfile.mkdtemp(prefix="archsearch-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM_MIB}m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def told(*words: str) -> tuple[int, str]:
    """A verb's exit status in a process of its own, and what it told."""
    process = archsearch(*words)
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    return process.returncode, err if process.returncode else out


def refused(status: int, err: str) -> None:
    """One line says what could not be written and why.

    Raises:
        AssertionError: it does not.
    """
    lines = [line for line in err.splitlines() if line.startswith("archsearch: ")]
    assert status == 2, (status, err)
    assert len(lines) == 1, err
    assert re.search(r"No space|disk (I/O error|is full)|full|read.?only|readonly|Read-only", lines[0]), err


def disk_full(kind: str, times: int, seed: int) -> str:
    """Let the disk of a study fill up at random moments of its search; what was stored stays, and the search goes on
    once there is room."""
    chance, started, met = random.Random(seed), time.monotonic(), 0
    with small_disk() as place:
        space, storage = place / "s.yaml", str(place / f"s.{kind}")
        space.write_text(SPACE, encoding="utf-8")
        where = ["--storage", storage]
        new = ["study", "run", str(space), "-g", "t4,a10", "--strategy", "random", "--name", "s", "-n", "20", *where]
        assert told(*new)[0] == 0
        for number in range(times):
            before = answer_of(lambda: contents(storage, "s"))
            free = _free(place)
            ballast = place / "ballast"
            ballast.write_bytes(b"x" * max(0, free - chance.randrange(0, 96 * 1024, 4096)))
            status, err = told("study", "resume", "s", "-n", "40", *where)
            full = status != 0
            if full:
                refused(status, err)
                met += 1
            full_export, err = told("study", "export", "s", "-o", str(place / "out.csv"), *where)
            if full_export:
                refused(full_export, err)
            assert "draft" not in {path.name for path in place.iterdir()}
            after = answer_of(lambda: contents(storage, "s"))
            assert set(before["finished"]) <= set(after["finished"])
            ballast.unlink()
            if len(after["finished"]) > 200 or number == times - 1:
                assert told("study", "resume", "s", "-n", "5", *where)[0] == 0
                assert len(answer_of(lambda: contents(storage, "s"))["finished"]) == len(after["finished"]) + 5
                assert told(*new, "--overwrite")[0] == 0
    named = {"journal": "journal", "db": "SQLite"}[kind]
    return _row(f"full disk under a study ({named})", times, f"{met} searches met it", started)


def read_only() -> str:
    """Studies on a disk that may be read only: what reads answers, what writes is refused in a line."""
    started, tried = time.monotonic(), 0
    with small_disk() as place:
        space = place / "s.yaml"
        space.write_text(SPACE, encoding="utf-8")
        for kind in ("journal", "db"):
            storage = str(place / f"s.{kind}")
            new = ["study", "run", str(space), "-g", "t4", "--strategy", "random", "--name", "s", "-n", "20"]
            assert told(*new, "--storage", storage)[0] == 0
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        for kind in ("journal", "db"):
            where = ["--storage", str(place / f"s.{kind}")]
            for words in (["list"], ["show", "s"]):
                status, text = told("study", *words, *where)
                assert status == 0, text
                tried += 1
            for words in (["resume", "s", "-n", "5"], ["export", "s", "-o", str(place / "out.csv")], ["delete", "s"]):
                refused(*told("study", *words, *where))
                tried += 1
            assert len(answer_of(lambda where=where: contents(where[1], "s"))["finished"]) == 20
    return _row("read-only disk", tried, "list, show answer; resume, export, delete are refused", started)


def restarted(postgres: Any, times: int) -> str:
    """Restart the database while two workers search; whatever they say, a worker afterwards fills the study."""
    started, survived = time.monotonic(), 0
    place = Path(tempfile.mkdtemp(prefix="archsearch-restart-"))
    space = place / "s.yaml"
    space.write_text(SPACE, encoding="utf-8")
    where = ["--storage", postgres.url]
    for number in range(times):
        name = f"restarted-{number}"
        create = ["study", "create", str(space), "-g", "t4,a10", "--strategy", "nsga2", "--name", name, *where]
        assert told(*create)[0] == 0
        until = ["--until", "300"]
        workers = [archsearch("study", "worker", name, "--seed", str(seed), *until, *where) for seed in (1, 2)]
        while len(answer_of(lambda name=name: contents(postgres.url, name))["finished"]) < 50:
            assert any(worker.poll() is None for worker in workers), workers[0].communicate()
            time.sleep(0.05)
        before = answer_of(lambda name=name: contents(postgres.url, name))
        postgres.stop()
        time.sleep(1)
        postgres.start()
        for worker in workers:
            _, err = worker.communicate(timeout=300)
            assert worker.returncode in (0, 2), err
            assert "Traceback" not in err, err
            survived += worker.returncode == 0
        assert told("study", "worker", name, "--seed", "3", *until, *where)[0] == 0
        after = answer_of(lambda name=name: contents(postgres.url, name))
        assert set(before["finished"]) <= set(after["finished"])
        assert len(after["finished"]) == 300
    return _row("PostgreSQL restarted under two workers", times, f"{survived} of {2 * times} workers went on", started)


def _free(place: Path) -> int:
    import shutil

    return shutil.disk_usage(place).free


def _row(fault: str, times: int, met: str, started: float) -> str:
    return f"| {fault} | {times} | {met} | {time.monotonic() - started:.0f} s |"


if __name__ == "__main__":
    sys.exit("run the folder: python tests/faults")
