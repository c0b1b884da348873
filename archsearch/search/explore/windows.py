"""One window of a space evaluated and reduced: the part of a sweep that runs in any thread, process or machine.

Parts merge in any order into the same result: counts add, fronts merge exactly, and the sample keeps the cells with the
smallest keys, a key being a hash of cell number and seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from archsearch.cost.estimate import Provenance
from archsearch.search.evaluate.evaluation import Evaluation
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.pareto import merge_fronts, non_dominated, survivors
from archsearch.search.space.space import Cells

Front = tuple[NDArray[np.float64], Cells]
Window = tuple[slice, ...]
Views = Mapping[str, Mapping[str, float]]
"""Objectives as {column: sign}, by the name of the front that they make."""
POOL = "pool"


@dataclass(frozen=True)
class Part:
    """What a set of windows holds. ``fronts`` by view, ``sample`` as (keys, cells), ``nearest`` as (worst relative
    violation, cell) of the legal cell that misses the budgets least, kept while nothing is valid.
    """

    architectures: int = 0
    legal: int = 0
    valid: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    fronts: Mapping[str, Front] = field(default_factory=dict)
    sample: tuple[NDArray[np.uint64], Cells] = field(default_factory=lambda: _no_sample())
    nearest: tuple[float, int] | None = None
    provenance: Mapping[str, Provenance] = field(default_factory=dict)

    def merged(self, other: Part, sample: int) -> Part:
        """Both parts together; ``sample`` cells are kept."""
        valid = self.valid + other.valid
        nearest = [one for one in (self.nearest, other.nearest) if one is not None]
        keys, cells = (np.concatenate(pair) for pair in zip(self.sample, other.sample, strict=True))
        fronts, provenance = dict(self.fronts), dict(self.provenance)
        for name, front in other.fronts.items():
            fronts[name] = merge_fronts(fronts[name], front) if name in fronts else front
        for gpu, known in other.provenance.items():
            provenance[gpu] = Provenance.worst([known, provenance.get(gpu, known)])
        return Part(
            architectures=self.architectures + other.architectures,
            legal=self.legal + other.legal,
            valid=valid,
            rejected=self.rejected + other.rejected,
            fronts=fronts,
            sample=_smallest(keys, cells, sample),
            nearest=min(nearest) if nearest and not valid else None,
            provenance=provenance,
        )


def views(evaluator: Evaluator) -> dict[str, dict[str, float]]:
    """The objectives whose fronts are kept: the pool's, and where it has several GPUs, each one's own."""
    alone = {gpu: evaluator.gpu_objectives(gpu) for gpu in evaluator.pool.ids} if len(evaluator.pool) > 1 else {}
    return {POOL: evaluator.objective_columns} | alone


def reduce_window(
    evaluator: Evaluator,
    window: Window,
    *,
    sample: int,
    seed: int,
    known: Mapping[str, Front] | None = None,
    shown: Views | None = None,
) -> Part:
    """Evaluate one window. ``known`` are fronts found so far: what they dominate need not be looked at. ``shown`` are
    the fronts wanted (``views`` by default)."""
    space = evaluator.space
    evaluation = evaluator.evaluate(space.mesh(window))
    local = np.flatnonzero(evaluation.feasible)
    part = Part(
        architectures=evaluation.legal.size,
        legal=int(np.count_nonzero(evaluation.legal)),
        valid=len(local),
        rejected=Counter(evaluation.rejected()),
        provenance=dict(evaluation.provenance),
    )
    if not len(local):
        return replace(part, nearest=_nearest(evaluator, evaluation, window))
    fronts = {}
    for name, points in evaluator.feasible_objectives(evaluation, shown or views(evaluator)).items():
        rows = survivors(points, known[name][0]) if known and name in known else np.arange(len(points))
        rows = rows[non_dominated(points[rows])]
        fronts[name] = (points[rows], space.window_cells(window, local[rows]))
    if not sample:
        return replace(part, fronts=fronts)
    cells = space.window_cells(window, local)
    return replace(part, fronts=fronts, sample=_smallest(_keys(cells, seed), cells, sample))


def reduce_windows(evaluator: Evaluator, windows: Iterable[Window], *, sample: int, seed: int) -> Part:
    """Several windows one after another, merged."""
    total = Part()
    for window in windows:
        part = reduce_window(evaluator, window, sample=sample, seed=seed, known=total.fronts)
        total = total.merged(part, sample)
    return total


def _nearest(evaluator: Evaluator, evaluation: Evaluation, window: Window) -> tuple[float, int] | None:
    """The legal cell with the smallest worst violation."""
    legal = np.flatnonzero(evaluation.legal)
    if not len(legal) or not evaluation.violations:
        return None
    worst = np.max(np.stack(list(evaluation.violation_columns(legal).values())), axis=0)
    best = int(np.nanargmin(worst)) if not np.isnan(worst).all() else 0
    cell = evaluator.space.window_cells(window, legal[best : best + 1])
    return float(worst[best]), int(cell[0])


def _keys(cells: Cells, seed: int) -> NDArray[np.uint64]:
    """Uniform 64-bit keys of cells: the finaliser of SplitMix64 (Steele et al. 2014,
    https://doi.org/10.1145/2660193.2660195), whose constants these are, over cell number and seed."""
    with np.errstate(over="ignore"):
        x = cells.astype(np.uint64) + np.uint64((seed * 0xD1342543DE82EF95 + 1) % 2**64)
        x *= np.uint64(0x9E3779B97F4A7C15)
        x ^= x >> np.uint64(30)
        x *= np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> np.uint64(27)
        x *= np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return x


def _no_sample() -> tuple[NDArray[np.uint64], Cells]:
    return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)


def _smallest(keys: NDArray[np.uint64], cells: Cells, count: int) -> tuple[NDArray[np.uint64], Cells]:
    if len(keys) > count:
        chosen = np.argpartition(keys, count - 1)[:count] if count else np.empty(0, dtype=np.int64)
        keys, cells = keys[chosen], cells[chosen]
    order = np.argsort(keys, kind="stable")
    return keys[order], cells[order]
