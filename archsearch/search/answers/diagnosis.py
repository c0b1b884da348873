"""Why nothing is feasible: which limits bind, by how much, and the nearest architecture that keeps all the others.

A limit *binds* where relaxing it alone makes some architecture feasible. For each limit the nearest such architecture
is the one that misses it least while it keeps every other limit and every rule. Conditions (a space's constraints,
``--where``) have no amount; they are told where no limit does it alone, the user's own conditions always. Where
nothing does it alone, the nearest architecture is the legal one whose worst miss is smallest, described with all that
it misses.

Misses are relative to their limits (``archsearch.search.evaluate.limits``). Limits of one kind over the GPUs of a pool
are one limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.progress import progress_bar
from archsearch.search.answers.terms import space_run, term_of
from archsearch.search.evaluate.columns import Row, per_gpu_columns
from archsearch.search.evaluate.evaluation import Evaluation
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.limits import limit_of, relaxation
from archsearch.search.explore.enumeration import Sweep, cell_columns

if TYPE_CHECKING:
    import pandas as pd

CONDITION = "constraint: "
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Binding:
    """A limit that binds. ``way`` is ln of the factor by which it has to move (inf for a condition); ``missed`` are its
    parts that the nearest architecture misses, with the relative amounts; ``place`` is that architecture's number."""

    limit: str
    way: float
    missed: Mapping[str, float]
    place: int


def binding_limits(misses: Mapping[str, ArrayLike], kept: NDArray[np.bool_]) -> list[Binding]:
    """The limits whose relaxation alone makes one of N architectures feasible, the one nearest to that first.

    ``misses`` are relative misses [N] by limit (≤ 0: kept; NaN: unknown, as missed; inf: a condition), of which
    architectures with ``kept`` [N] False (no real models) do not count.
    """
    groups: dict[str, list[str]] = {}
    for text in misses:
        groups.setdefault(limit_of(text), []).append(text)
    ways = {}
    for group, texts in groups.items():
        each = [np.where(np.isnan(m), np.inf, m) for m in (np.asarray(misses[t], dtype=float) for t in texts)]
        ways[group] = relaxation(texts[0], np.maximum.reduce(each))
    broken = sum((way > 0).astype(int) for way in ways.values())
    bindings = []
    for group, way in ways.items():
        alone = np.flatnonzero(kept & (broken == 1) & (way > 0))
        if len(alone):
            place = int(alone[np.argmin(way[alone])])
            parts = {text: float(np.asarray(misses[text])[place]) for text in groups[group]}
            missed = {text: amount for text, amount in parts.items() if not amount <= 0}
            bindings.append(Binding(group, float(way[place]), missed, place))
    return sorted(bindings, key=lambda binding: binding.way)


def space_bindings(evaluator: Evaluator, *, progress: bool = False) -> list[Binding]:
    """The limits and conditions that bind in a whole space; ``place`` is the cell's number."""
    space = evaluator.space
    best: dict[str, Binding] = {}
    with progress_bar(f"what binds in {space.name}", space.size, enabled=progress) as advance:
        for window in space.chunks():
            evaluation = evaluator.evaluate(space.mesh(window))
            cells = space.window_cells(window, np.arange(evaluation.legal.size))
            misses, real = _window_misses(evaluation)
            for binding in binding_limits(misses, real):
                cell = int(cells[binding.place])
                if binding.limit not in best or binding.way < best[binding.limit].way:
                    best[binding.limit] = Binding(binding.limit, binding.way, binding.missed, cell)
            advance(evaluation.legal.size)
    return sorted(best.values(), key=lambda binding: binding.way)


def _window_misses(evaluation: Evaluation) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    """Misses [N] of limits and conditions over a window's cells, and which cells describe real models."""
    shape = evaluation.shape
    real = np.ones(shape, dtype=bool)
    misses: dict[str, Any] = {}
    for rule in evaluation.rules:
        holds = np.asarray(rule.holds, dtype=bool)
        if rule.reason.startswith(CONDITION):
            misses[rule.reason] = np.broadcast_to(np.where(holds, -1.0, np.inf), shape).ravel()
        else:
            real &= holds
    for text, amount in evaluation.violations.items():
        misses[text] = np.broadcast_to(np.asarray(amount, dtype=float), shape).ravel()
    return misses, real.ravel()


def why_nothing(swept: Sweep, conditions: Collection[str] = (), *, progress: bool = False) -> str:
    """What to say where a sweep found nothing feasible. ``conditions`` are those that the user added.

    One sentence: the limits that bind, by how much, each with the nearest architecture that keeps all else.
    """
    evaluator = swept.evaluator
    bindings = space_bindings(evaluator, progress=progress)
    added = {f"{CONDITION}{text}" for text in conditions}
    limits = [b for b in bindings if not b.limit.startswith(CONDITION) or b.limit in added] or bindings
    start = f"no architecture of {swept.space.name} is feasible on {', '.join(swept.pool.ids)}"
    if limits:
        return f"{start}: " + _bound([(b, _cell(evaluator, b.place)) for b in limits[:_SHOWN]])
    if not swept.legal:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in Counter(swept.rejected).most_common(3))
        return f"space {swept.space.name} holds no legal architecture; most are excluded by: {reasons}"
    if swept.nearest is None:
        return start
    cell = swept.nearest[1]
    row = np.zeros(1, dtype=np.int64)
    violations = evaluator.evaluate(swept.space.decode(np.asarray([cell]))).violation_columns(row)
    return f"{start}: {_together({t: float(v[0]) for t, v in violations.items()}, _cell(evaluator, cell))}"


def why_no_trial(name: str, misses: Mapping[str, ArrayLike], frame: pd.DataFrame, evaluator: Evaluator) -> str:
    """The same for the trials [N] of a sampled study, whose misses [N] are given by limit."""
    limits = binding_limits(misses, np.ones(len(frame), dtype=bool))
    start = f"no trial of study {name!r} is feasible"
    if limits:
        texts = [
            f"{_limits(b.missed)} binds. The {_nearest(b.missed)}: {_row(evaluator, frame, b.place)}" for b in limits
        ]
        return f"{start}: " + "; or ".join(texts[:_SHOWN])
    table = np.stack([np.where(np.isnan(m), np.inf, m) for m in (np.asarray(v, dtype=float) for v in misses.values())])
    place = int(np.argmin(table.max(axis=0)))
    parts = {text: float(amounts[place]) for text, amounts in zip(misses, table, strict=True)}
    return f"{start}: {_together(parts, _row(evaluator, frame, place))}"


def _bound(limits: Sequence[tuple[Binding, str]]) -> str:
    """Limits that bind, each with the nearest architecture that keeps all the others."""
    texts = []
    for limit, shown in limits:
        verb = "binds" if len(limit.missed) == 1 else "bind"
        texts.append(f"{_limits(limit.missed)} {verb}. The {_nearest(limit.missed)}: {shown}")
    return "; or ".join(texts)


def _limits(missed: Mapping[str, float]) -> str:
    return " and ".join(missed)


def _amount(miss: float) -> str:
    return f"{miss:.1%}" if np.isfinite(miss) else "all of it"


def _nearest(missed: Mapping[str, float]) -> str:
    """How the architecture that keeps all else misses a limit."""
    if not all(np.isfinite(amount) for amount in missed.values()):
        return "nearest that keeps all else"
    amounts = dict.fromkeys(f"{amount:.1%}" for amount in missed.values())
    return f"nearest misses it by {' and '.join(amounts)}, all else kept"


def _together(violations: Mapping[str, float], shown: str) -> str:
    """What to say where no limit alone is in the way."""
    missed = {text: amount for text, amount in violations.items() if not amount <= 0}
    amounts = " and ".join(f"{text} by {_amount(amount)}" for text, amount in missed.items())
    return f"no limit alone is in the way, {_limits(missed)} bind together. The nearest misses {amounts}: {shown}"


def _cell(evaluator: Evaluator, cell: int) -> str:
    columns = cell_columns(evaluator, np.asarray([cell], dtype=np.int64))
    return _shown(evaluator, {name: value[0] for name, value in columns.items()})


def _row(evaluator: Evaluator, frame: pd.DataFrame, place: int) -> str:
    return _shown(evaluator, {str(name): value for name, value in frame.iloc[place].to_dict().items()})


def _shown(evaluator: Evaluator, row: Row) -> str:
    """An architecture's dimensions, and the figures that limits are about."""
    dimensions = ", ".join(f"{name}={row[name]:g}" for name in evaluator.space.dimensions)
    run = space_run(evaluator)
    figures = [f"{row['parameters'] / 1e6:.4g} M parameters", f"{row['memory_bytes'] / 2**30:.3g} GiB"]
    latencies = per_gpu_columns("latency_s", evaluator.pool.ids)
    figures += [f"{row[column] * 1e3:.3g} ms per {run} on {gpu}" for gpu, column in latencies.items()]
    budget = evaluator.space.record.budget
    training = [n for n in ("training_hours", "training_usd") if getattr(budget, n) is not None and n in row]
    if any(bound.column == "quality" for bound in evaluator.bounds):
        training.append("quality")
    for name in training:
        term = term_of(evaluator, name, 1.0)
        figures.append(f"{term.label} {term.value(row[name])}")
    return f"{dimensions} ({', '.join(figures)})"
