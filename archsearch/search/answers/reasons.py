"""Why an architecture is recommended, in words with numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.search.evaluate.columns import Columns
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import plain_rows

if TYPE_CHECKING:
    import pandas as pd


def reasons(
    chosen: pd.DataFrame, evaluator: Evaluator, baseline: dict[str, Any] | None, *, knee: int, front: pd.DataFrame
) -> list[str]:
    """One text per recommended row: its place on the front, the comparison with the baseline, its neighbours."""
    texts = []
    for position, row in enumerate(plain_rows(chosen)):
        parts = [_place(row, evaluator, front, is_knee=position == knee)]
        if baseline is not None:
            parts.append(_against_baseline(row, evaluator, baseline))
        if not row["quality_in_range"]:
            parts.append(f"quality extrapolates beyond the range of {evaluator.proxy.name}")
        parts.append(_neighbours(row, evaluator))
        texts.append("; ".join(part for part in parts if part))
    return texts


def _speed_column(evaluator: Evaluator) -> tuple[str, str]:
    """The column that stands for speed, and how to call it."""
    if len(evaluator.pool) == 1:
        gpu = evaluator.pool.ids[0]
        return f"throughput:{gpu}", f"throughput on {gpu}"
    return "throughput_worst", "throughput on the GPU that gains least"


def _place(row: dict[str, Any], evaluator: Evaluator, front: pd.DataFrame, *, is_knee: bool) -> str:
    column, words = _speed_column(evaluator)
    best_quality = front["quality"].min() if evaluator.proxy.direction == "minimize" else front["quality"].max()
    if is_knee:
        return f"knee of the front of {len(front)}"
    if row["quality"] == best_quality:
        return f"best {evaluator.proxy.metric} on the front of {len(front)}"
    if row[column] == front[column].max():
        return f"highest {words} on the front of {len(front)}"
    return f"on the front of {len(front)}"


def _against_baseline(row: dict[str, Any], evaluator: Evaluator, baseline: dict[str, Any]) -> str:
    gains = {g: row[f"throughput:{g}"] / baseline[f"throughput:{g}"] - 1 for g in evaluator.pool.ids}
    worst, best = min(gains, key=gains.__getitem__), max(gains, key=gains.__getitem__)
    if len(gains) == 1:
        speed = f"{gains[worst]:+.1%} throughput"
    else:
        speed = f"throughput {gains[worst]:+.1%} ({worst}) to {gains[best]:+.1%} ({best})"
    delta = row["quality"] - baseline["quality"]
    metric = evaluator.proxy.metric
    band = max((row["quality_high"] - row["quality_low"]) / 2, 1e-12)
    level = f"equal predicted {metric}" if abs(delta) < 0.1 * band else f"predicted {metric} {delta:+.3g}"
    extra = row["parameters"] / baseline["parameters"] - 1
    return f"against {baseline['name']}: {speed} at {level} ({extra:+.1%} parameters)"


def _neighbours(row: dict[str, Any], evaluator: Evaluator) -> str:
    """What one step of each dimension would change, and the best of the legal steps that gain speed."""
    cells, labels = neighbour_cells(row, evaluator)
    if not labels:
        return ""
    evaluation = evaluator.evaluate(cells)
    columns = evaluator.columns(evaluation, np.arange(len(labels)))
    fit = evaluation.feasible
    column, _ = _speed_column(evaluator)
    sign = 1.0 if evaluator.proxy.direction == "minimize" else -1.0
    better = sign * (columns["quality"] - row["quality"])
    speed = columns[column] / row[column] - 1
    losing = fit & (better >= 0) & (speed <= 0)
    traded = fit & ~losing
    told = f"{int(np.count_nonzero(~fit))} of {len(labels)} single steps leave the budget or the rules"
    if losing.any():
        told += f", {int(np.count_nonzero(losing))} are worse in both"
    if traded.any():
        gain = np.where(traded, speed, -np.inf)
        pick = int(np.argmax(gain))
        told += (
            f"; of the rest {labels[pick]} gives {speed[pick]:+.1%} throughput for "
            f"{columns['quality'][pick] - row['quality']:+.2g} {evaluator.proxy.metric}"
        )
    return told


def neighbour_cells(row: dict[str, Any], evaluator: Evaluator) -> tuple[Columns, list[str]]:
    """Dimension columns [N] of all single steps from an architecture, with a label each."""
    space = evaluator.space
    moves: list[tuple[str, Any]] = []
    for name, values in space.dimensions.items():
        index = int(np.searchsorted(values, row[name]))
        moves += [(name, values[i]) for i in (index - 1, index + 1) if 0 <= i < len(values)]
    columns = {
        name: np.array([value if name == moved else row[name] for moved, value in moves]) for name in space.dimensions
    }
    return columns, [f"{name} {row[name]:g} -> {value:g}" for name, value in moves]
