"""Speed of answers on this machine: cold command lines, one warm estimate, whole spaces, sampled trials.

python benchmarks/search.py [--repeat N]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

COMMANDS = (
    ["--help"],
    ["hardware", "list", "--json"],
    ["estimate", "llama-3-8b", "--hardware", "h100-sxm", "--json"],
    ["enumerate", "modernbert-base-budget", "--json"],
)


def best_of(repeat: int, action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the fastest run, and its answer."""
    fastest, answer = float("inf"), None
    for _ in range(repeat):
        start = time.perf_counter()
        answer = action()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest, answer


def command(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "archsearch", *arguments], check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the fastest counts")
    repeat = parser.parse_args().repeat
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    for arguments in COMMANDS:
        seconds, _ = best_of(repeat, lambda arguments=arguments: command(arguments))
        print(f"{seconds:8.3f} s  archsearch {' '.join(arguments)}")

    import optuna

    import archsearch
    from archsearch.search.explore.enumeration import sweep
    from archsearch.search.space.space import list_spaces

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seconds, _ = best_of(repeat, lambda: archsearch.estimate("llama-3-8b", "h100-sxm"))
    print(f"{seconds:8.3f} s  one estimate, warm ({1 / seconds:,.0f}/s)")
    for name in list_spaces():
        seconds, answer = best_of(repeat, lambda name=name: sweep(name, None, progress=False))
        rate = answer.architectures / seconds
        pool = ", ".join(answer.pool.ids)
        print(f"{seconds:8.3f} s  {name}: {answer.architectures:,} architectures on {pool} ({rate:,.0f}/s)")
    for strategy, trials in (("random", 500), ("nsga2", 500), ("tpe", 100)):
        with tempfile.TemporaryDirectory() as home:
            os.environ["ARCHSEARCH_HOME"] = home
            options = {"strategy": strategy, "trials": trials, "progress": False}
            seconds, _ = best_of(1, lambda options=options: archsearch.run_study("decoder-1b", "h100-sxm", **options))
        print(f"{seconds:8.3f} s  {trials} trials of {strategy}, stored ({trials / seconds:,.0f}/s)")


if __name__ == "__main__":
    main()
