"""Seconds from an empty process to an answer of the command line: the table of docs/benchmarks.md.

python benchmarks/cold_start.py [--runs N] [--check]

Each command runs in a process of its own, N times, and its median counts: files are in the system's cache, Python's
bytecode is compiled, and nothing else should run. ``recommend`` answers from a study that was stored before. With
``--check`` a median beyond its limit fails.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RUNS = 7
STUDY = "cold-start"
SPACE = "modernbert-base-budget"


@dataclass(frozen=True, slots=True)
class Case:
    """A command and the seconds that it may take."""

    arguments: str
    limit_s: float


CASES = (
    Case("--help", 0.3),
    Case("hardware list", 0.5),
    Case("estimate llama-3-8b --hardware a100-sxm-80gb --seq-len 2048", 1.0),
    Case(f"recommend {STUDY}", 1.5),
)


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of a process: by the clock, which on a busy machine shows the others' work too, and of a processor."""

    wall_s: float
    cpu_s: float


def spent(arguments: str, environment: Mapping[str, str]) -> Spent:
    """What one command takes.

    Raises:
        CalledProcessError: it fails.
    """
    words = [sys.executable, "-m", "archsearch", *arguments.split()]
    before, used = time.perf_counter(), _children_s()
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Spent(time.perf_counter() - before, _children_s() - used)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def medians(runs: int) -> dict[Case, Spent]:
    """The medians of each command, after one run that is not counted, in a data directory of its own."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"ARCHSEARCH_HOME": home}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # bytecode is kept, as it is for most users
        spent(f"study run {SPACE} --hardware t4,h100-sxm --name {STUDY}", environment)
        found = {}
        for case in CASES:
            spent(case.arguments, environment)
            all_runs = [spent(case.arguments, environment) for _ in range(runs)]
            found[case] = Spent(*(statistics.median(getattr(r, f) for r in all_runs) for f in ("wall_s", "cpu_s")))
    return found


def table(found: Mapping[Case, Spent]) -> str:
    """One line a command."""
    lines = ["| command | median, s | of a processor, s | at most, s |", "| --- | ---: | ---: | ---: |"]
    for case, took in found.items():
        lines.append(f"| `archsearch {case.arguments}` | {took.wall_s:.2f} | {took.cpu_s:.2f} | {case.limit_s:g} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each command")
    parser.add_argument("--check", action="store_true", help="fail where a median is beyond its limit")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs is at least 1")
    found = medians(options.runs)
    print(table(found))
    late = [case.arguments for case, took in found.items() if took.wall_s > case.limit_s]
    if options.check and late:
        sys.exit(f"slower than their limits: {'; '.join(late)}")


if __name__ == "__main__":
    main()
