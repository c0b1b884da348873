"""Architectures that `archsearch bench verify` timed, under the predictions of today's calibration.

python benchmarks/verified.py [FILE.csv ...]

FILEs are what ``--output`` wrote; by default those of an H200 in benchmarks/results, recommended when that GPU had no
calibration of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def rows_of(file: Path) -> list[dict[str, Any]]:
    """Rows with ``now_s`` and ``layer_now_s``, predicted by the calibration that is there now."""
    from archsearch.hardware import load_gpu
    from archsearch.models.registry.families import get_family
    from archsearch.search.evaluate.frames import workload_from
    from archsearch.verify.compare import predicted

    found = []
    for row in csv.DictReader(file.open()):
        config = get_family(family_of(json.loads(row["config"]))).from_dict(json.loads(row["config"]))
        workload = workload_from(json.loads(row["workload"]))
        answer, layer = predicted(config, workload, load_gpu(row["gpu"]), run_of(row["execution"]))
        found.append({**row, "now_s": float(answer.latency_s), "layer_now_s": layer})
    return found


def run_of(text: str) -> Any:
    """A row's execution: as verify writes it now, or ``eager`` and ``compiled`` of earlier files."""
    from archsearch.cost.asked_execution import parse_execution
    from archsearch.cost.execution import Execution
    from archsearch.workload import Workload

    if text in ("eager", "compiled"):
        return Execution(compiled=text == "compiled")
    return parse_execution(text, Workload())


def family_of(config: dict[str, Any]) -> str:
    """The family that has a config's fields."""
    return "decoder" if "num_key_value_heads" in config else "dit" if "num_classes" in config else "encoder"


def milliseconds(value: Any) -> str:
    return f"{1e3 * float(value):.3f}" if value not in ("", None) else ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(RESULTS.glob("h200-sxm-verify-*.csv")))
    print("| space | execution | | parameters | measured ms | predicted then | predicted now | layer ms | then | now |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for file in parser.parse_args(arguments).files:
        for r in rows_of(file):
            whole = (milliseconds(r[n]) for n in ("measured_s", "predicted_s", "now_s"))
            layer = (milliseconds(r[n]) for n in ("layer_measured_s", "layer_predicted_s", "layer_now_s"))
            size = f"{int(r['parameters']) / 1e6:,.1f} M"
            print("| " + " | ".join((r["space"], r["execution"], r["name"], size, *whole, *layer)) + " |")


if __name__ == "__main__":
    main()
