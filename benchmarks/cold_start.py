"""Seconds from an empty process to an answer of the command line: the table of docs/benchmarks.md.

python benchmarks/cold_start.py [--runs N] [--check]

Each command runs in a process of its own, N times, and its median counts: files are in the system's cache, Python's
bytecode is compiled, and nothing else should run. ``recommend`` answers from a study that was stored before. With
``--check`` a median beyond its limit fails.
"""

from __future__ import annotations

import argparse
import os
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


def seconds(arguments: str, environment: Mapping[str, str]) -> float:
    """Wall time of one command.

    Raises:
        CalledProcessError: it fails.
    """
    words = [sys.executable, "-m", "archsearch", *arguments.split()]
    before = time.perf_counter()
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - before


def medians(runs: int) -> dict[Case, float]:
    """The median of each command, after one run that is not counted, in a data directory of its own."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"ARCHSEARCH_HOME": home}
        seconds(f"study run {SPACE} --hardware t4,h100-sxm --name {STUDY}", environment)
        found = {}
        for case in CASES:
            seconds(case.arguments, environment)
            found[case] = statistics.median(seconds(case.arguments, environment) for _ in range(runs))
    return found


def table(found: Mapping[Case, float]) -> str:
    """One line a command."""
    lines = ["| command | median, s | at most, s |", "| --- | ---: | ---: |"]
    return "\n".join(
        [*lines, *(f"| `archsearch {case.arguments}` | {s:.2f} | {case.limit_s:g} |" for case, s in found.items())]
    )


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
    late = [case.arguments for case, s in found.items() if s > case.limit_s]
    if options.check and late:
        sys.exit(f"slower than their limits: {'; '.join(late)}")


if __name__ == "__main__":
    main()
