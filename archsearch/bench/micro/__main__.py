"""``python -m archsearch.bench.micro``: a suite on a machine that has torch and numpy and nothing else."""

from __future__ import annotations

import argparse
import sys

from archsearch.bench.micro.cases import SUITES
from archsearch.bench.micro.run import print_progress, run_suite


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m archsearch.bench.micro", description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default="quick")
    parser.add_argument("--output", required=True, help="results, .csv or .parquet; a run continues what it holds")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--gpu", help="the id that rows carry")
    parser.add_argument("--dtype", action="append", help="formats (repeat); default: what the device is fastest in")
    parser.add_argument("--budget-minutes", type=float)
    parser.add_argument("--only", action="append", default=[], help="purposes to measure (repeat)")
    options = parser.parse_args()
    try:
        summary = run_suite(
            options.suite,
            options.output,
            device=options.device,
            gpu=options.gpu,
            dtypes=tuple(options.dtype) if options.dtype else None,
            budget_minutes=options.budget_minutes,
            only=tuple(options.only),
            progress=print_progress,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{summary.path}: {summary.measured} measured, {summary.resumed} there before, {summary.left} left")
    print(f"{summary.seconds:.0f} s; throttled: {summary.throttled}; kernels checked: {summary.checks}")
    for reason, count in summary.skipped.items():
        print(f"  skipped {count}: {reason}")
    return 130 if summary.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
