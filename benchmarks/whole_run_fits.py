"""Constants that only whole runs show, fitted again on even rows, and with each group of rows left out of the fit.

A group is a table of one source, whose neighbouring rows are twins; errors are of its odd rows under constants that no
row of it was fitted on.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import training_runs
from whole_run_tables import COVERAGE, KINDS, held_back, markdown

from archsearch.cost.spread import spread_records
from archsearch.cost.training_kernels import training_constants

SPREAD_OF = {"train": "training", "encoder": "encoder", "image": "image", "video": "video", "llm": "language"}
"""Kinds of the file as ``cost/whole_runs.yaml`` names them."""


def spreads(frame: pd.DataFrame) -> str:
    """The bands' widths by kind: in the file, fitted again, and the coverage of each group under a width that was
    fitted without it."""
    known = {record.kind: record.log_spread for record in spread_records()}
    rows = []
    for kind, name in SPREAD_OF.items():
        part = frame[(frame["kind"] == kind) & frame["doubtful"].isna() & frame["predicted_s"].notna()]
        own = known[name]
        again = spread_fitted(part[part.index % 2 == 0], own)
        for group, odd in held_back(part).groupby("group"):
            others = part[(part.index % 2 == 0) & (part["group"] != group)]
            left = spread_fitted(others, own) if len(others) else math.nan
            shown = ["" if math.isnan(left) else f"{left:.2f}", coverage(odd, own, own), coverage(odd, own, left)]
            rows.append([KINDS[kind], str(group), str(len(odd)), f"{own:.2f}", f"{again:.2f}", *shown])
    heads = ("kind", "group", "rows", "in the file", "fitted again", "without the group", "in band %", "left out %")
    return markdown(heads, rows, 2)


def kernels_width(frame: pd.DataFrame, spread: float) -> pd.Series:
    """Half widths, in logarithms and on the side where the published time lies, of the kernels' bands alone: a run's
    band has both in quadrature (``cost/estimate.py``)."""
    above = frame["published_s"] >= frame["predicted_s"]
    end = frame["high_s"].where(above, frame["low_s"])
    squared: pd.Series = np.log(end / frame["predicted_s"]) ** 2 - spread**2
    return squared.clip(lower=0.0)


def distance(frame: pd.DataFrame) -> pd.Series:
    squared: pd.Series = np.log(frame["published_s"] / frame["predicted_s"]) ** 2
    return squared


def spread_fitted(frame: pd.DataFrame, spread: float) -> float:
    """The least width with which 80 % of the rows lie in their bands, where ``spread`` is in the bands as they are."""
    lacking = np.sort((distance(frame) - kernels_width(frame, spread)).clip(lower=0.0))
    return float(np.sqrt(lacking[math.ceil(COVERAGE * len(lacking)) - 1]))


def coverage(frame: pd.DataFrame, spread: float, other: float) -> str:
    """Percent of rows in band if its width were ``other``; empty where it is unknown."""
    if math.isnan(other):
        return ""
    within = distance(frame) <= kernels_width(frame, spread) + other**2 * (1 + 1e-9)
    return f"{100 * within.mean():.0f}"


def training(frame: pd.DataFrame) -> str:
    """Training's two constants: in the file, fitted again, and by group without its rows."""
    known = training_constants()
    frame = training_runs.parts(frame)
    even = frame.index % 2 == 0
    rows = []
    for group, part in frame.groupby("group"):
        odd = part[part.index % 2 == 1]
        held = odd if len(odd) else part
        left = training_runs.fitted(frame[even & (frame["group"] != group)])
        trials = {"as in the file": (known.compute, known.attention), "fitted again": training_runs.fitted(frame[even])}
        for name, constants in {**trials, "group left out": left}.items():
            error = 100 * (training_runs.predicted(held, constants) / held["published_s"] - 1)
            shown = [
                f"{constants[0]:.3f}",
                f"{constants[1]:.3f}",
                f"{error.abs().median():.1f}",
                f"{error.median():+.1f}",
            ]
            rows.append([str(group), name, str(len(held)), *shown])
    heads = ("group", "constants", "rows", "compute", "attention", "median error %", "bias %")
    return markdown(heads, rows, 2)
