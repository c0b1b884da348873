"""One window of a space evaluated and reduced: the part of a sweep that runs in any thread, process or machine.

Parts merge in any order into the same result: counts add, fronts merge exactly, and the sample keeps the cells with the
smallest keys, a key being a hash of cell number and seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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


@dataclass
class Part:
    """What a set of windows holds. ``fronts`` by view, ``sample`` as (keys, cells), ``nearest`` as (worst relative
    violation, cell) of the legal cell that misses the budgets least, kept while nothing is valid.
    """

    architectures: int = 0
    legal: int = 0
    valid: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    fronts: dict[str, Front] = field(default_factory=dict)
    sample: tuple[NDArray[np.uint64], Cells] = field(default_factory=lambda: _no_sample())
    nearest: tuple[float, int] | None = None
    provenance: dict[str, Provenance] = field(default_factory=dict)

    def add(self, other: Part, sample: int) -> None:
        """Take in another part; ``sample`` cells are kept."""
        self.architectures += other.architectures
        self.legal += other.legal
        self.valid += other.valid
        self.rejected.update(other.rejected)
        for name, front in other.fronts.items():
            self.fronts[name] = merge_fronts(self.fronts[name], front) if name in self.fronts else front
        keys, cells = (np.concatenate(pair) for pair in zip(self.sample, other.sample, strict=True))
        self.sample = _smallest(keys, cells, sample)
        found = [nearest for nearest in (self.nearest, other.nearest) if nearest is not None]
        self.nearest = min(found) if found and not self.valid else None
        for gpu, known in other.provenance.items():
            self.provenance[gpu] = Provenance.worst([known, self.provenance.get(gpu, known)])


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
    known: dict[str, Front] | None = None,
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
        part.nearest = _nearest(evaluator, evaluation, window)
        return part
    for name, points in evaluator.feasible_objectives(evaluation, shown or views(evaluator)).items():
        rows = survivors(points, known[name][0]) if known and name in known else np.arange(len(points))
        rows = rows[non_dominated(points[rows])]
        part.fronts[name] = (points[rows], space.window_cells(window, local[rows]))
    if sample:
        cells = space.window_cells(window, local)
        part.sample = _smallest(_keys(cells, seed), cells, sample)
    return part


def reduce_windows(evaluator: Evaluator, windows: Iterable[Window], *, sample: int, seed: int) -> Part:
    """Several windows one after another, merged."""
    total = Part()
    for window in windows:
        total.add(reduce_window(evaluator, window, sample=sample, seed=seed, known=total.fronts), sample)
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
