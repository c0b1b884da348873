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

SPREAD_OF = {"train": "training", "encoder": "encoder", "image": "image", "video": "video", "llm": "language"}
"""Kinds of the file as ``cost/whole_runs.yaml`` names them."""


def spreads(frame: pd.DataFrame) -> str:
    """What whole runs add to the width of their bands: in the file, read again from all even rows, and from those
    of other sources alone, with the coverage that this would have."""
    known = {record.kind: record.log_spread for record in spread_records()}
    rows = []
    for kind, name in SPREAD_OF.items():
        part = frame[(frame["kind"] == kind) & frame["doubtful"].isna() & frame["predicted_s"].notna()]
        own = known[name]
        again = spread_fitted(part[part.index % 2 == 0], own)
        for group, odd in held_back(part).groupby("group"):
            others = part[(part.index % 2 == 0) & (part["group"] != group)]
            left = spread_fitted(others, own) if len(others) else math.nan
            widths = [percent(width) for width in (own, again, left)]
            covered = [coverage(odd, own, own), coverage(odd, own, left)]
            rows.append([KINDS[kind], str(group), str(len(odd)), *widths, *covered])
    heads = ("kind", "source", "rows", "width ± %", "read again", "read without it", "in band %", "then in band %")
    return markdown(heads, rows, 2)


def percent(spread: float) -> str:
    """A half width in logarithms as the percent by which its upper end lies above the middle; empty where unknown."""
    return "" if math.isnan(spread) else f"{100 * math.expm1(spread):.0f}"


def kernels_squared(frame: pd.DataFrame, spread: float) -> pd.Series:
    """Squared half widths of the kernels' bands alone, in logarithms and on the side where the published time lies: a
    run's band has both in quadrature (``cost/estimate.py``)."""
    above = frame["published_s"] >= frame["predicted_s"]
    end = frame["high_s"].where(above, frame["low_s"])
    squared: pd.Series = np.log(end / frame["predicted_s"]) ** 2 - spread**2
    return squared.clip(lower=0.0)


def squared_distance(frame: pd.DataFrame) -> pd.Series:
    """Squared logarithm of published over predicted seconds."""
    squared: pd.Series = np.log(frame["published_s"] / frame["predicted_s"]) ** 2
    return squared


def spread_fitted(frame: pd.DataFrame, spread: float) -> float:
    """The least width with which 80 % of the rows lie in their bands, where ``spread`` is in the bands as they are."""
    lacking = np.sort((squared_distance(frame) - kernels_squared(frame, spread)).clip(lower=0.0))
    return float(np.sqrt(lacking[math.ceil(COVERAGE * len(lacking)) - 1]))


def coverage(frame: pd.DataFrame, spread: float, other: float) -> str:
    """Percent of rows in band if its width were ``other``; empty where it is unknown."""
    if math.isnan(other):
        return ""
    within = squared_distance(frame) <= kernels_squared(frame, spread) + other**2 * (1 + 1e-9)
    return f"{100 * within.mean():.0f}"


def training(frame: pd.DataFrame) -> str:
    """Training's two constants: in the file, fitted again, and by group without its rows."""
    rows = [
        [
            *(str(row["group"]), str(row["constants"]), str(row["rows"])),
            *(f"{row['compute']:.3f}", f"{row['attention']:.3f}"),
            *(f"{100 * row['median error']:.1f}", f"{100 * row['bias']:+.1f}"),
        ]
        for row in training_runs.left_out(training_runs.parts(frame)).to_dict("records")
    ]
    heads = ("group", "constants", "rows", "compute", "attention", "median error %", "bias %")
    return markdown(heads, rows, 2)
