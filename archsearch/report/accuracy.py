"""How predictions compare with measurements: a self-contained page (HTML) or a picture (PNG).

``accuracy_info`` computes what is shown; the page is drawn here, the picture in ``accuracy_png``.
"""

from __future__ import annotations

import colorsys
import html
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.bench.validate import score
from archsearch.errors import InvalidInputError, UnsupportedError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

SUFFIXES = (".html", ".png")
MAX_POINTS = 20_000
"""Points of one figure; a browser draws more of them only slowly."""
DIMENSIONS = ("m", "n", "k", "rows", "cols", "seq_q", "head_dim", "batch")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
COLUMNS = ("latency_us", "predicted_us", "low_us", "high_us", "provenance", "bound", "roofline_us")
GROUP_HEADS = ("group", "rows", "MAPE %", "median %", "bias %", "Spearman", "in 80 % band")
REGIME_HEADS = ("rows", "MAPE %", "median %", "bias %")
ROOFLINE_HEADS = ("group", "rows", "MAPE %", "roofline MAPE %", "Spearman", "roofline Spearman")
MEANING = (
    "A row is one measured latency. Its error is predicted / measured − 1: above zero, the prediction is too long.",
    "MAPE is the mean of the absolute errors, median their median, bias the mean of the signed errors.",
    "Spearman is the rank correlation of prediction and measurement: 1 is the same order; none below three rows.",
    "In 80 % band is the share of measured latencies between low_us and high_us of their prediction.",
    "Boxes reach from the first to the third quartile of the signed error, whiskers from the 5th to the 95th percentile.",
    "Bound is what the model says limits a row: compute, memory or latency (fixed costs). Dimensions are the table's.",
    "The roofline is the longer of FLOPs at the datasheet's peak and bytes at its bandwidth, with nothing else added.",
)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of some rows: errors in percent, ``within_band`` as a fraction, ``spearman`` None where undefined."""

    label: str
    rows: int
    mape: float
    median_ape: float
    bias: float
    spearman: float | None
    within_band: float


@dataclass(frozen=True, slots=True)
class Cloud:
    """The drawn points of one group: microseconds and the dimensions of each, all of length N."""

    label: str
    measured_us: list[float]
    predicted_us: list[float]
    shapes: list[str]


@dataclass(frozen=True, slots=True)
class Bin:
    """The rows of one regime: their scores and ``QUANTILES`` of the signed error in percent."""

    scores: Scores
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Regime:
    """Rows binned by one column; ``without`` counts those that have no value in it."""

    column: str
    title: str
    bins: tuple[Bin, ...]
    without: int


@dataclass(frozen=True, slots=True)
class Against:
    """The same rows under prediction and roofline: MAPE in percent and Spearman of each."""

    label: str
    rows: int
    mape: float
    roofline_mape: float
    spearman: float | None
    roofline_spearman: float | None


@dataclass(frozen=True, slots=True)
class AccuracyInfo:
    """What the report shows. ``groups`` and ``against`` end with all rows together, if there are several groups.

    ``splits`` and ``provenance`` count rows by value; ``splits`` is None where the table has no such column.
    """

    title: str
    by: tuple[str, ...]
    rows: int
    skipped: int
    splits: dict[str, int] | None
    provenance: dict[str, int]
    clouds: tuple[Cloud, ...]
    groups: tuple[Scores, ...]
    regimes: tuple[Regime, ...]
    against: tuple[Against, ...]


def check_report_path(path: Path) -> None:
    """Refuse, before any work, a report that could not be written.

    Raises:
        InvalidInputError: a suffix other than .html and .png, or no such directory.
        UnsupportedError: a .png without matplotlib.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidInputError(f"{path}: a report is .html or .png, not {suffix or 'without suffix'}; rename it")
    if not path.parent.is_dir():
        raise InvalidInputError(f"{path}: no directory {path.parent}; make it or name another")
    if suffix == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise UnsupportedError(f"{path}: a .png needs matplotlib: pip install 'archsearch[report]', or write .html")


def write_accuracy_report(predicted: pd.DataFrame, path: Path, *, title: str, by: Sequence[str]) -> None:
    """Write the report as .html (one file, no network) or .png, by the path's suffix.

    Args:
        predicted: ``bench.validate.predicted_table``; rows whose ``predicted_us`` is NaN are counted and left out.
        by: columns that make a group.

    Raises:
        InvalidInputError: see ``check_report_path`` and ``accuracy_info``, or a path that cannot be written.
        UnsupportedError: a .png without matplotlib.
    """
    check_report_path(path)
    info = accuracy_info(predicted, title=title, by=by)
    if path.suffix.lower() == ".html":
        content = page(info).encode()
    else:
        from archsearch.report.accuracy_png import picture

        content = picture(info)
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written: {error.strerror or error}") from None


def accuracy_info(
    predicted: pd.DataFrame, *, title: str, by: Sequence[str], max_points: int = MAX_POINTS
) -> AccuracyInfo:
    """The numbers of the report; see ``write_accuracy_report``.

    Raises:
        InvalidInputError: missing columns, no grouping column, more groups than points, or no predicted row.
    """
    missing = [c for c in (*COLUMNS, *by) if c not in predicted]
    if missing or not by:
        lacking = f"the table lacks {', '.join(missing)}" if missing else "no column to group by"
        raise InvalidInputError(f"{lacking}; columns: {', '.join(map(str, predicted.columns))}")
    rows = predicted[predicted["predicted_us"].notna()]
    if rows.empty:
        raise InvalidInputError(f"nothing to report: none of the {len(predicted)} rows has a prediction")
    parts = _parts(rows, by)
    if len(parts) > max_points:
        raise InvalidInputError(f"{len(parts)} groups by {', '.join(by)} are too many to draw; choose fewer columns")
    share = (max_points - len(parts)) / len(rows)
    every = [*parts, ("all", rows)] if len(parts) > 1 else parts
    return AccuracyInfo(
        title=title,
        by=tuple(by),
        rows=len(rows),
        skipped=len(predicted) - len(rows),
        splits=_counts(rows["split"]) if "split" in rows else None,
        provenance=_counts(rows["provenance"]),
        clouds=tuple(_cloud(label, part, len(part) if share >= 1 else 1 + int(len(part) * share)) for label, part in parts),
        groups=tuple(_scores(label, part) for label, part in every),
        regimes=_regimes(rows),
        against=tuple(a for label, part in every for a in _against(label, part)),
    )


def _parts(rows: pd.DataFrame, by: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    groups = rows.groupby(list(by), sort=True, dropna=False, observed=True)
    keys = ((key if isinstance(key, tuple) else (key,), part) for key, part in groups)
    return [(", ".join("none" if k != k else str(k) for k in key), part) for key, part in keys]


def _counts(column: pd.Series) -> dict[str, int]:
    return {str(k): int(v) for k, v in column.fillna("none").value_counts().sort_index().items()}


def _scores(label: str, part: pd.DataFrame) -> Scores:
    s = score(part)
    return Scores(label, s["rows"], s["mape"], s["median_ape"], s["bias"], s["spearman"], s["within_band"])


def _cloud(label: str, part: pd.DataFrame, count: int) -> Cloud:
    """``count`` points of a group, evenly spaced in the order of measured latency, the extremes among them."""
    order = np.argsort(part["latency_us"].to_numpy(dtype=float), kind="stable")
    part = part.iloc[order[np.linspace(0, len(part) - 1, count).round().astype(np.int64)]]
    found = [c for c in DIMENSIONS if c in part]
    shapes = [
        ", ".join(f"{c} {value:.12g}" for c, value in zip(found, row, strict=True) if value == value)
        for row in (_numeric(part[c]).tolist() for c in found) and zip(*(_numeric(part[c]).tolist() for c in found), strict=True)
    ] or [""] * len(part)
    return Cloud(label, part["latency_us"].astype(float).tolist(), part["predicted_us"].astype(float).tolist(), shapes)
