"""Errors on published training runs, and the two constants of archsearch/cost/training.yaml fitted on them again.

python benchmarks/training_runs.py [RUNS.csv]      # ../shared/published_runs/runs.csv unless said

Rows of kind ``train`` that nothing makes doubtful. Constants are fitted on even rows of the file (row 0 first below the
header); errors are of odd ones (of all, where a group has none), with the constants of the file, fitted again, and
fitted with each group left out. A step is one of ``optimizer / N``: N micro-batches times GPUs share one update.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from answers import asked

from archsearch.cost.training_kernels import training_constants

RUNS = Path("../shared/published_runs/runs.csv")
PRODUCTS = ("linear", "bmm")


def parts_of(command: str) -> dict[str, float]:
    """Seconds of a run by what the constants scale (``compute`` both, ``attention`` the second too), each without them,
    what they leave alone, and the step's with its band."""
    text, shares = re.fullmatch(r"(archsearch .*?)\s*\(optimizer\s*/\s*(\d+)\)", command).groups()  # type: ignore[union-attr]
    answer = asked(text)
    known, rows = training_constants(), answer["breakdown"]
    compiled = bool(answer["execution"]["compiled"])
    vector = answer["workload"]["dtype"] == "fp32"
    update = sum(r["latency_s"] for r in rows if r["name"].startswith("optimizer."))
    saved = update * (1 - 1 / int(shares))
    products = sum(r["latency_s"] for r in rows if r["op"] in (*PRODUCTS, "attention (unfused)")) * (not vector)
    fused = sum(r["latency_s"] for r in rows if r["op"] == "attention") * (not vector)
    parts = {"products": products / known.compute, "fused": fused / known.compute}
    if compiled:
        parts = {"products": parts["products"] + parts["fused"], "fused": 0.0}
    parts["fused"] /= known.attention
    step = answer["latency_s"] - saved
    low, high = (answer[f"latency_{end}_s"] / answer["latency_s"] * step for end in ("low", "high"))
    scaled = known.compute * (parts["products"] + known.attention * parts["fused"])
    return {**parts, "rest": step - scaled, "step": step, "low": low, "high": high}


def predicted(frame: pd.DataFrame, constants: tuple[float, float]) -> pd.Series:
    compute, attention = constants
    return frame["rest"] + compute * (frame["products"] + attention * frame["fused"])


def fitted(frame: pd.DataFrame) -> tuple[float, float]:
    """Constants of the least soft-L1 error in logarithms, within the bounds of the file."""
    from scipy.optimize import least_squares

    def errors(constants: Any) -> Any:
        return np.log(predicted(frame, constants) / frame["published_s"])

    found = least_squares(errors, (1.1, 1.3), bounds=((1, 1), (1.5, 2)), loss="soft_l1", f_scale=0.05)
    return float(found.x[0]), float(found.x[1])


def parts(runs: pd.DataFrame) -> pd.DataFrame:
    """Training rows that nothing makes doubtful, with ``parts_of`` their commands; the working directory is the file's,
    since commands name models beside it."""
    runs = runs[(runs["kind"] == "train") & runs["doubtful"].isna()]
    return pd.concat([runs, pd.DataFrame(list(map(parts_of, runs["command"])), index=runs.index)], axis=1)


def left_out(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per group and constants (the file's, fitted again, fitted without the group): errors of the group's rows
    that no fit saw, as shares."""
    even, known = frame.index % 2 == 0, training_constants()
    trials = {"as in the file": (known.compute, known.attention), "fitted again": fitted(frame[even])}
    rows = []
    for group, part in frame.groupby("group"):
        own = {**trials, "group left out": fitted(frame[even & (frame["group"] != group)])}
        odd = part[part.index % 2 == 1]
        held = odd if len(odd) else part
        inside = ((held["published_s"] >= held["low"]) & (held["published_s"] <= held["high"])).mean()
        for name, constants in own.items():
            error = predicted(held, constants) / held["published_s"] - 1
            cells = {"group": group, "rows": len(held), "constants": name, "compute": constants[0]}
            cells |= {"attention": constants[1], "median error": error.abs().median(), "bias": error.median()}
            rows.append(cells | {"in band": inside if name == "as in the file" else np.nan})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=Path, default=RUNS)
    path = parser.parse_args().runs.resolve()
    os.chdir(path.parent)  # commands name models beside the file
    print(left_out(parts(pd.read_csv(path))).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
