"""Why an architecture is recommended, in words with numbers: in the objectives of its study or space, and no others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archsearch.search.answers.gains import unlike_size
from archsearch.search.answers.ranking import metric_of
from archsearch.search.answers.steps import Judged, judge_each, neighbour_cells
from archsearch.search.answers.terms import Term, objective_terms, priced_terms
from archsearch.search.evaluate.advice import Beside
from archsearch.search.evaluate.columns import Row, per_gpu_columns
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.result import SearchResult

_EQUAL = 0.1
"""Share of the 80 % band's half-width within which predicted qualities are called equal."""


def reasons(
    chosen: SearchResult,
    evaluator: Evaluator,
    baseline: Beside | None,
    *,
    knee: int,
    front: SearchResult,
    limit_ms: float | None = None,
) -> list[str]:
    """One text per recommended row: its place on the front, the comparison with the baseline, where the band of its
    latency crosses the limit, its neighbours.

    All three in the objectives of the front; of neighbours, what is measured or trained is told as predicted.
    """
    signs = front.setting.objectives
    terms = objective_terms(evaluator, signs)
    rows = list(chosen.rows())
    around = _around(rows, evaluator, priced_terms(evaluator, signs))
    texts = []
    for position, (row, neighbours) in enumerate(zip(rows, around, strict=True)):
        parts = [_place(row, terms, front, is_knee=position == knee)]
        if baseline is not None:
            parts.append(_against_baseline(row, terms, evaluator, baseline))
        if not row["quality_in_range"] and any(metric_of(term.column) == "quality" for term in terms):
            parts.append(f"quality extrapolates beyond the range of {evaluator.proxy.name}")
        if limit_ms is not None:
            parts.append(_crossing(row, evaluator, limit_ms))
        parts.append(neighbours)
        texts.append("; ".join(part for part in parts if part))
    return texts


def _crossing(row: Row, evaluator: Evaluator, limit_ms: float) -> str:
    """Where a limit of latency is met on the central estimate alone."""
    high_ms = {gpu: row[name] * 1e3 for gpu, name in per_gpu_columns("latency_high_s", evaluator.pool.ids).items()}
    told = ", ".join(f"{high:.4g} ms on {gpu}" for gpu, high in high_ms.items() if high > limit_ms)
    limit = f"the limit of {limit_ms:g} ms is met on the central estimate, not at the upper end of the 80 % band"
    return f"{limit} ({told})" if told else ""


def _place(row: Row, terms: list[Term], front: SearchResult, *, is_knee: bool) -> str:
    """Where on the front it stands: in which objectives it is the best, whether it is the knee, with its values."""
    best = [t for t in terms if t.sign * row[t.column] <= (t.sign * front.frame[t.column].to_numpy(float)).min()]
    names = ["knee"] if is_knee else []
    names += [f"best {term.label}" for term in best]
    place = f"{' and '.join(names)} of the front of {len(front)}" if names else f"on the front of {len(front)}"
    values = ", ".join(f"{term.label} {term.value(row[term.column])}" for term in terms if term.unit != "x")
    return f"{place} ({values})" if values else place


def _against_baseline(row: Row, terms: list[Term], evaluator: Evaluator, baseline: Beside) -> str:
    """The differences from the baseline, objective by objective; speed on a pool from the least gain to the most."""
    base = baseline.metrics
    differences: list[str] = []
    metrics: list[str] = []
    for term in terms:
        metric = metric_of(term.column)
        if metric in metrics:
            continue
        metrics.append(metric)
        if metric in ("throughput", "latency_s") and not term.column.startswith("measured_"):
            differences.append(_speed(row, term, metric, evaluator, base))
        elif metric == "quality" and term.column == "quality":
            differences.append(_quality(row, term, base))
        elif term.column in base:
            differences.append(term.change(row[term.column], base[term.column]))
    if not differences:
        return ""
    if "parameters" not in metrics:
        differences.append(f"parameters {row['parameters'] / base['parameters'] - 1:+.1%}")
    unlike = unlike_size(row["parameters"], base["parameters"])
    return f"against {baseline.name}{f', {unlike}' if unlike else ''}: {', '.join(differences)}"


def _speed(row: Row, term: Term, metric: str, evaluator: Evaluator, baseline: Row) -> str:
    columns = per_gpu_columns(metric, evaluator.pool.ids)
    gains = {gpu: row[column] / baseline[column] - 1 for gpu, column in columns.items()}
    up = 1.0 if metric == "throughput" else -1.0
    order = sorted(gains, key=lambda gpu: up * gains[gpu])
    label = term.label.partition(" on ")[0].partition(" over ")[0].partition(" of the ")[0]
    if len(gains) == 1:
        return f"{label} {gains[order[0]]:+.1%}"
    return f"{label} {gains[order[0]]:+.1%} ({order[0]}) to {gains[order[-1]]:+.1%} ({order[-1]})"


def _quality(row: Row, term: Term, baseline: Row) -> str:
    delta = row["quality"] - baseline["quality"]
    band = max((row["quality_high"] - row["quality_low"]) / 2, 1e-12)
    return f"equal {term.label}" if abs(delta) < _EQUAL * band else term.change(row["quality"], baseline["quality"])


def _around(rows: Sequence[Row], evaluator: Evaluator, terms: list[Term]) -> list[str]:
    """``_neighbours`` of every row: the steps of all are priced at once."""
    steps = [neighbour_cells(row, evaluator) for row in rows]
    counts = [len(labels) for _, labels in steps]
    if not any(counts):
        return [""] * len(rows)
    taken = [cells for cells, labels in steps if labels]
    cells = {name: np.concatenate([each[name] for each in taken]) for name in evaluator.space.dimensions}
    origins = [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]
    judged = judge_each(origins, cells, evaluator, terms)
    texts = []
    start = 0
    for row, (_, labels) in zip(rows, steps, strict=True):
        texts.append(_neighbours(row, labels, judged, slice(start, start + len(labels)), terms))
        start += len(labels)
    return texts


def _neighbours(row: Row, labels: list[str], judged: Judged, part: slice, terms: list[Term]) -> str:
    """What one step of each dimension would change, and the best of the steps that gain something.

    ``part`` are the steps ``labels`` among all that were ``judged``.
    """
    if not labels:
        return ""
    feasible, loses = judged.feasible[part], judged.loses[part]
    text = f"{int(np.count_nonzero(~feasible))} of {len(labels)} single steps leave the budget or the rules"
    worse = feasible & loses
    if worse.any():
        text += f", {int(np.count_nonzero(worse))} gain in no objective"
    traded = feasible & ~loses
    if traded.any():
        gained = judged.gains[part]
        gains = np.where(traded[:, None] & np.isfinite(gained), gained, -np.inf)
        column = next((i for i, t in enumerate(terms) if t.relative), 0)
        pick = int(np.argmax(gains[:, column]))
        if not gains[pick, column] > 0:
            pick = int(np.argmax(gains.max(axis=1)))
        changes = [term.change(judged.columns[term.column][part][pick], row[term.column]) for term in terms]
        text += f"; of the rest {labels[pick]} gives {', '.join(changes)}"
    return text
