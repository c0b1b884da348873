"""How predictions compare with measurements, as plain values and the words for them.

``accuracy_info`` computes what is shown; ``accuracy_html`` and ``accuracy_png`` draw it; ``accuracy_file`` writes it.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.arrays import Column, Floats, as_float
from archsearch.bench.validate import score
from archsearch.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

MAX_POINTS = 20_000
"""Points of one figure; a browser draws more of them only slowly."""
DIMENSIONS = ("m", "n", "k", "rows", "cols", "seq_q", "head_dim", "batch", "message_bytes")
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
    "Boxes span the first to the third quartile of the signed error, whiskers the 5th to the 95th percentile.",
    "Bound is what the model says limits a row: compute, memory, latency (fixed costs), or several for a whole model.",
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


def accuracy_info(
    predicted: pd.DataFrame, *, title: str, by: Sequence[str], max_points: int = MAX_POINTS
) -> AccuracyInfo:
    """The numbers of the report.

    Args:
        predicted: ``bench.validate.predicted_table``; rows whose ``predicted_us`` is NaN are counted and left out.
        by: columns that make a group.
        max_points: points drawn at most.

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
    every = [*parts, ("all", rows)] if len(parts) > 1 else parts
    return AccuracyInfo(
        title=title,
        by=tuple(by),
        rows=len(rows),
        skipped=len(predicted) - len(rows),
        splits=_counts(rows["split"]) if "split" in rows else None,
        provenance=_counts(rows["provenance"]),
        clouds=_clouds(parts, len(rows), max_points),
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
    return Scores(label, s.rows, s.mape, s.median_ape, s.bias, s.spearman, s.within_band)


def _clouds(parts: list[tuple[str, pd.DataFrame]], rows: int, limit: int) -> tuple[Cloud, ...]:
    """All points, or ``limit`` at most: one of each group and equal shares of the rest."""
    share = (limit - len(parts)) / rows
    sizes = (len(part) if rows <= limit else 1 + int(len(part) * share) for _, part in parts)
    return tuple(_cloud(label, part, size) for (label, part), size in zip(parts, sizes, strict=True))


def _cloud(label: str, part: pd.DataFrame, size: int) -> Cloud:
    """``size`` points of a group, evenly spaced in the order of measured latency."""
    order = np.argsort(_numbers(part["latency_us"]), kind="stable")
    part = part.iloc[order[np.linspace(0, len(part) - 1, size).round().astype(np.int64)]]
    columns = {c: _numbers(part[c]) for c in DIMENSIONS if c in part}
    shapes = [
        ", ".join(f"{c} {values[i]:.12g}" for c, values in columns.items() if np.isfinite(values[i]))
        for i in range(len(part))
    ]
    return Cloud(label, _numbers(part["latency_us"]).tolist(), _numbers(part["predicted_us"]).tolist(), shapes)


def _numbers(column: pd.Series) -> Floats:
    """[N] the column as numbers, NaN where it has none."""
    import pandas as pd

    return as_float(pd.to_numeric(column, errors="coerce").to_numpy(dtype=float))


def _regimes(rows: pd.DataFrame) -> tuple[Regime, ...]:
    bound = rows["bound"].fillna("").astype(str)
    decades = _lower_edges(_numbers(rows["latency_us"]), 10, first=-9)
    regimes = [
        _regime(rows, "bound", "bound", bound.where(bound != "").to_numpy(dtype=object), str),
        _regime(rows, "latency_us", "measured latency", decades, lambda e: f"{e:,.12g}–{10 * e:,.12g} µs"),
    ]
    for name in DIMENSIONS:
        if name in rows:
            edges = _lower_edges(_numbers(rows[name]), 4, first=0)
            regimes.append(_regime(rows, name, name, edges, lambda e: f"{e:,.0f}–{4 * e - 1:,.0f}"))
    return tuple(regime for regime in regimes if regime.bins)


def _lower_edges(values: Floats, base: int, *, first: int) -> Floats:
    """The largest whole power of ``base`` (from ``base**first``) up to each value; NaN below all, and for NaN."""
    edges = np.array([np.nan, *(float(base) ** power for power in range(first, 40))])
    return np.where(np.isfinite(values), edges[np.searchsorted(edges[1:], values, side="right")], np.nan)


def _regime(rows: pd.DataFrame, column: str, title: str, keys: Column, label: Callable[[Any], str]) -> Regime:
    bins = []
    for key, part in rows.groupby(keys, sort=True):
        error = _numbers(part["predicted_us"]) / _numbers(part["latency_us"]) - 1
        bins.append(Bin(_scores(label(key), part), tuple(np.quantile(error * 100, QUANTILES).tolist())))
    return Regime(column, title, tuple(bins), len(rows) - sum(b.scores.rows for b in bins))


def _against(label: str, part: pd.DataFrame) -> list[Against]:
    """The comparison over the rows that have a roofline, if any."""
    part = part[part["roofline_us"].notna()]
    if part.empty:
        return []
    ours, plain = score(part), score(part.assign(predicted_us=part["roofline_us"]))
    return [Against(label, len(part), ours.mape, plain.mape, ours.spearman, plain.spearman)]


def remarks(info: AccuracyInfo) -> list[str]:
    """Sentences on which rows are shown, and how often the prediction is closer than the roofline."""
    lines = [f"{info.rows:,} rows, grouped by {', '.join(info.by)}."]
    if info.skipped:
        lines.append(f"{info.skipped:,} more rows have no prediction and are left out.")
    if info.splits is None:
        lines.append("No column split: the table does not say which rows coefficients were fitted on.")
    else:
        lines.append(f"Split: {_tally(info.splits)}.")
    lines.append(f"Provenance of the predictions: {_tally(info.provenance)}.")
    compared = [a for a in info.against if a.label != "all" or len(info.against) == 1]
    if compared:
        closer = sum(a.mape < a.roofline_mape for a in compared)
        lines.append(f"The prediction has a lower MAPE than the roofline in {closer} of {len(compared)} groups.")
    drawn = sum(len(cloud.shapes) for cloud in info.clouds)
    if drawn < info.rows:
        lines.append(f"The points are {drawn:,} of the {info.rows:,} rows, evenly spaced by latency in each group.")
    return lines


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count:,} rows)" for name, count in counts.items())


def cells(row: Scores | Against | Bin) -> list[str]:
    """A table's row as text, under ``GROUP_HEADS``, ``ROOFLINE_HEADS`` or a regime's name and ``REGIME_HEADS``."""
    if isinstance(row, Bin):
        return cells(row.scores)[:5]
    head = [row.label, f"{row.rows:,}", f"{row.mape:.2f}"]
    if isinstance(row, Against):
        return [*head, f"{row.roofline_mape:.2f}", _rank(row.spearman), _rank(row.roofline_spearman)]
    return [*head, f"{row.median_ape:.2f}", f"{row.bias:+.2f}", _rank(row.spearman), f"{row.within_band:.3f}"]


def _rank(spearman: float | None) -> str:
    return "" if spearman is None else f"{spearman:.4f}"


def colors(count: int) -> list[str]:
    """``count`` different colours as #rrggbb, neighbours far apart in hue."""
    hues = [(i * 0.381966 + 0.58) % 1 for i in range(count)]  # steps of the golden angle
    rgb = [colorsys.hls_to_rgb(hue, (0.42, 0.55, 0.32)[i % 3], 0.75) for i, hue in enumerate(hues)]
    return ["#" + "".join(f"{round(255 * part):02x}" for part in one) for one in rgb]


def diagonals(info: AccuracyInfo) -> list[tuple[str, list[float], list[float]]]:
    """Lines over the drawn range: prediction equal to measurement, and 10 % above and below."""
    values = [v for cloud in info.clouds for v in (*cloud.measured_us, *cloud.predicted_us)]
    low, high = min(values), max(values)
    return [(name, [low, high], [low * f, high * f]) for name, f in (("equal", 1.0), ("+10 %", 1.1), ("−10 %", 0.9))]
