"""Many workers, large studies and large reports: ``make load`` runs all, and prints the table of docs/reliability.md.

python tests/load --workers 16 --trials 500

Fails where a trial is lost, doubled or left running, or where a verb is beyond its limits.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "services"), str(HERE.parents[1] / "benchmarks"), str(HERE.parents[1])]

import large_study  # noqa: E402
from postgres_server import PostgresServer  # noqa: E402
from processes import archsearch  # noqa: E402

SPACE = str(HERE.parents[1] / "search_spaces" / "decoder-1b.yaml")
REPORT_S, REPORT_MIB, REPORT_FILE_MIB = 60.0, 2048, 20
"""Limits of a report: seconds of a processor, memory, and the file that a browser has to open."""


def workers_on_postgresql(workers: int, trials: int) -> str:
    """Workers that start together fill one study, each trial once.

    Raises:
        SystemExit: a worker failed, or trials are lost, doubled or left over.
    """
    server = PostgresServer()
    try:
        made = archsearch("study", "create", SPACE, "--name", "load", "--storage", server.url, "--strategy", "nsga2")
        _, told = made.communicate(timeout=300)
        if made.returncode:
            sys.exit(f"study create: {told}")
        until, started = workers * trials, time.monotonic()
        joined = ["study", "worker", "load", "--until", str(until), "--storage", server.url, "--seed"]
        processes = [archsearch(*joined, str(seed)) for seed in range(workers)]
        told_by = [one.communicate()[1] for one in processes]
        seconds = time.monotonic() - started
        wrong = [told for told, one in zip(told_by, processes, strict=True) if one.returncode]
        wrong += _miscounted(server.url, until)
    finally:
        server.remove()
    if wrong:
        sys.exit(f"{workers} workers: {'; '.join(wrong)}")
    return f"| {workers} workers x {trials} trials on PostgreSQL | {until} trials, each once | {seconds:.0f} s |"


def _miscounted(url: str, until: int) -> Iterator[str]:
    from archsearch.search.explore.keys import KEY
    from archsearch.search.studies.storage import load_study

    trials = load_study("load", url).get_trials(deepcopy=False)
    states = Counter(trial.state.name for trial in trials)
    if states != {"COMPLETE": until}:
        yield f"{dict(states)} instead of {until} complete trials"
    if len({trial.system_attrs[KEY] for trial in trials}) != until:
        yield "an architecture stands twice"
    if sorted(trial.number for trial in trials) != list(range(until)):
        yield "numbers of trials are not consecutive"


@contextmanager
def stored(trials: int) -> Iterator[str]:
    """The data directory of a study of random architectures."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["ARCHSEARCH_HOME"] = home
        maker = get_context("spawn").Process(target=large_study.make_study, args=(trials, None))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the study could not be made")
        yield home


def large(trials: int) -> Iterator[str]:
    """Verbs on a large study, when it has been read once.

    Raises:
        SystemExit: one is beyond the limits of ``benchmarks/large_study.py``.
    """
    with stored(trials) as home:
        for verb in large_study.VERBS:
            command = verb.format(home=home)
            large_study.spent(command, os.environ)
            then = large_study.spent(command, os.environ)
            yield f"| {command.partition(' --output')[0]}, {trials} trials | {_of(then)} | {then.wall_s:.1f} s |"
            if then.cpu_s > large_study.LIMIT_S * max(1, trials / large_study.TRIALS):
                sys.exit(f"{command}: {then.cpu_s:.1f} s of a processor")


def report(trials: int) -> str:
    """A report of so many architectures.

    Raises:
        SystemExit: it takes too long, or its file is too large for a browser.
    """
    with stored(trials) as home:
        file = Path(home, "load.html")
        took = large_study.spent(f"report {large_study.NAME} --output {file}", os.environ)
        mib = file.stat().st_size / 2**20
    if took.cpu_s > REPORT_S or took.memory_mib > REPORT_MIB or mib > REPORT_FILE_MIB:
        sys.exit(f"report of {trials}: {_of(took)}, a file of {mib:.1f} MiB")
    return f"| report of {trials} architectures | {_of(took)}, a file of {mib:.1f} MiB | {took.wall_s:.1f} s |"


def _of(spent: large_study.Spent) -> str:
    return f"{spent.cpu_s:.1f} s of a processor, {spent.memory_mib:.0f} MiB"


def main() -> None:
    """All loads, one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--trials", type=int, default=500, help="of each worker")
    parser.add_argument("--study", type=int, default=200_000, help="architectures of the large study")
    parser.add_argument("--report", type=int, default=50_000, help="architectures of the report")
    asked = parser.parse_args()
    print("| load | what it took | time |\n| --- | --- | ---: |", flush=True)
    print(workers_on_postgresql(asked.workers, asked.trials), flush=True)
    print(report(asked.report), flush=True)
    for line in large(asked.study):
        print(line, flush=True)


if __name__ == "__main__":
    main()
