"""Predicted against measured: errors by group, on any table of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archsearch.arrays import Floats
from archsearch.bench.libraries import of_other_passes
from archsearch.bench.measurement_columns import positive_numbers
from archsearch.bench.measurements import read_measurements, route_rows
from archsearch.bench.own_tables import is_results, unserved
from archsearch.bench.roofline import routed_roofline_s
from archsearch.bench.whole_models import OP, is_whole_model_table, predict_models
from archsearch.cost.execution import BURST
from archsearch.cost.model import CostModel
from archsearch.errors import InvalidInputError
from archsearch.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

GROUP = ("gpu", "op", "dtype")


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of a group of rows: mean and median absolute percentage error and bias in percent, rank correlation (None
    where it is undefined), and the share of measurements that lie in the prediction's band."""

    rows: int
    mape: float
    median_ape: float
    bias: float
    spearman: float | None
    within_band: float


def predict_frame(frame: pd.DataFrame, *, correction: bool = True, progress: bool = False) -> pd.DataFrame:
    """The table with ``predicted_us, low_us, high_us, provenance, bound, roofline_us``; ``latency_us`` is not read.

    ``roofline_us`` is the same row under datasheet peaks alone. ``correction=False`` predicts by mechanism alone, as
    are rows of another library than an 8-bit product's correction was learned on.

    Raises:
        ArchSearchError: see ``route_rows``.
    """
    blind = frame.drop(columns=["latency_us", "latency_ms"], errors="ignore")
    if not blind.index.is_unique:
        blind = blind.reset_index(drop=True)  # of several files: errors then count rows of all
    if is_whole_model_table(blind.drop(columns="op")) and (blind["op"] == OP).all():
        return frame.assign(**predict_models(blind, correction=correction))
    out = {c: np.full(len(frame), np.nan) for c in ("predicted_us", "low_us", "high_us", "roofline_us")}
    provenance, bound = np.full(len(frame), "", dtype=object), np.full(len(frame), "", dtype=object)
    skipped = unserved(blind) if is_results(frame) else np.full(len(frame), "", dtype=object)
    served = np.flatnonzero(skipped == "")
    strange = of_other_passes(blind.iloc[served])
    routed_rows = [
        (routed, served[where], learned)
        for where, learned in ((~strange, correction), (strange, False))
        for routed in route_rows(blind.iloc[served[where]])
    ]
    with progress_bar("predicting rows", len(served), enabled=progress) as advance:
        for routed, among, learned in routed_rows:
            rows = among[routed.index]
            cost = CostModel(routed.route.gpu).route_cost(routed.route, replace(BURST, correction=learned))
            out["predicted_us"][rows] = cost.latency_s * 1e6
            out["low_us"][rows] = cost.low_s * 1e6
            out["high_us"][rows] = cost.high_s * 1e6
            out["roofline_us"][rows] = routed_roofline_s(routed) * 1e6
            provenance[rows] = cost.provenance.value
            bound[rows] = cost.bound
            advance(len(rows))
    reasons = {"skipped": skipped} if (skipped != "").any() else {}
    return frame.assign(**out, provenance=provenance, bound=bound, **reasons)


def predicted_table(
    path: str | Path, *, split: str | None = None, correction: bool = True, progress: bool = False
) -> pd.DataFrame:
    """A table of measurements with its predictions (see ``predict_frame``) and checked ``latency_us``.

    Raises:
        InvalidInputError: the table lacks latency_us, nothing is left of the split, or a row is none (``route_rows``).
    """
    frame = read_measurements(path)
    if split is not None:
        if "split" not in frame:
            raise InvalidInputError(f"{path}: has no column split to select {split!r} from")
        frame = frame[frame["split"] == split]
        if frame.empty:
            raise InvalidInputError(f"{path}: no row has split {split!r}")
    if "latency_us" not in frame:
        raise InvalidInputError(f"{path}: lacks the column latency_us to compare with")
    try:
        predicted = predict_frame(frame, correction=correction, progress=progress)
    except InvalidInputError as error:
        if not str(error).startswith(("row ", "rows ")):
            raise
        raise InvalidInputError(f"{path}: {error}") from None
    return predicted.assign(latency_us=positive_numbers(frame, "latency_us", path))


def scores_of(predicted: pd.DataFrame, by: Sequence[str] = GROUP) -> dict[str, object]:
    """Errors of predicted rows: ``{"groups": [...], "overall": {...}}`` with the fields of ``Score`` in each.

    Rows without a prediction (``skipped``) are left out.

    Raises:
        InvalidInputError: a grouping column that the table lacks, or no row with a prediction.
    """
    unknown = [c for c in by if c not in predicted]
    if unknown:
        raise InvalidInputError(f"cannot group by {', '.join(unknown)}; columns: {', '.join(predicted.columns)}")
    rows = predicted[predicted["predicted_us"].notna()]
    if rows.empty:
        why = "; ".join(sorted(set(predicted["skipped"]) - {""})) if "skipped" in predicted else "the table is empty"
        raise InvalidInputError(f"nothing to compare: none of the {len(predicted)} rows has a prediction ({why})")
    groups = [
        {**dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True)), **asdict(score(part))}
        for key, part in rows.groupby(list(by), sort=True)
    ]
    return {"groups": groups, "overall": asdict(score(rows))}


def score(part: pd.DataFrame) -> Score:
    """Errors of one group of rows."""
    measured, predicted = part["latency_us"].to_numpy(dtype=float), part["predicted_us"].to_numpy(dtype=float)
    error = predicted / measured - 1
    inside = (measured >= part["low_us"].to_numpy(dtype=float)) & (measured <= part["high_us"].to_numpy(dtype=float))
    spearman = _spearman(measured, predicted) if len(part) > 2 else None
    return Score(
        rows=len(part),
        mape=float(np.mean(np.abs(error)) * 100),
        median_ape=float(np.median(np.abs(error)) * 100),
        bias=float(np.mean(error) * 100),
        spearman=spearman,
        within_band=float(np.mean(inside)),
    )


def _spearman(a: Floats, b: Floats) -> float | None:
    from scipy.stats import rankdata

    first, second = rankdata(a), rankdata(b)
    if np.ptp(first) == 0 or np.ptp(second) == 0:  # ranks of equal values order nothing
        return None
    return float(np.corrcoef(first, second)[0, 1])
