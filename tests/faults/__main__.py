"""Faults on real storages: ``make faults`` runs all of them, and prints the table of docs/reliability.md.

python tests/faults --kills 200
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "services"), str(HERE.parents[1])]
os.environ["OMP_NUM_THREADS"] = "1"

from killing import Killing, Round  # noqa: E402
from places import disk_full, read_only, restarted  # noqa: E402
from postgres_server import PostgresServer  # noqa: E402


def warmed() -> None:
    """Import and price once, so that forked processes begin with their work."""
    import archsearch.report.search_report  # noqa: F401
    from archsearch.testing.storage_contract import contract_evaluator

    evaluator = contract_evaluator()
    evaluator.evaluate({name: values[:1] for name, values in evaluator.space.dimensions.items()})


def killed(kills: int, postgres: PostgresServer, seed: int) -> dict[str, Round]:
    """A third of the kills on each kind of storage."""
    told = {}
    for number, kind in enumerate(("journal", "SQLite", "PostgreSQL")):
        folder = Path(tempfile.mkdtemp(prefix="archsearch-faults-"))
        files = {"journal": str(folder / "s.journal"), "SQLite": str(folder / "s.db"), "PostgreSQL": postgres.url}
        share = kills // 3 + (number < kills % 3)
        started = time.monotonic()
        told[kind] = Killing(files[kind], folder, seed).run(share)
        met = ", ".join(f"{name} {count}" for name, count in sorted(told[kind].met.items()))
        print(f"| kill -9 on {kind} | {told[kind].kills} | {met} | {time.monotonic() - started:.0f} s |", flush=True)
    return told


def main() -> None:
    """All faults, one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--fills", type=int, default=30, help="disks that fill up, of each kind")
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["full", "readonly", "restarts", "kills"], help="one kind of fault")
    asked = parser.parse_args()
    home = tempfile.mkdtemp(prefix="archsearch-faults-home-")
    os.environ["ARCHSEARCH_HOME"] = home
    warmed()
    print("| fault | times | what it met | time |\n| --- | --- | --- | --- |")
    if asked.only in (None, "full"):
        for kind in ("journal", "db"):
            print(disk_full(kind, asked.fills, asked.seed), flush=True)
    if asked.only in (None, "readonly"):
        print(read_only(), flush=True)
    if asked.only in (None, "restarts", "kills"):
        postgres = PostgresServer()
        try:
            if asked.only != "kills":
                print(restarted(postgres, asked.restarts), flush=True)
            if asked.only != "restarts":
                killed(asked.kills, postgres, asked.seed)
        finally:
            postgres.remove()


if __name__ == "__main__":
    main()
