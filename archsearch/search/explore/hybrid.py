"""Seeds for a sampled study: the front of a space that is coarse far from the front and fine near it.

The largest dimensions lose every second value (the ends stay) until the mesh is small enough to enumerate in about a
second. Its cells are cells of the whole space, so its front is legal and feasible there, and close to the whole front
where neighbouring architectures are alike. Around that front the mesh is then made finer, down to single steps. A
sampler starts from the result instead of from random architectures. Only the analytic model is asked, at a million
architectures per second; no trial is spent.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.enumeration import sweep
from archsearch.search.pareto import knee_order, non_dominated, normalize
from archsearch.search.space.sections import Dimension
from archsearch.search.space.space import Cells, SearchSpace

COARSE_CELLS = 400_000
"""Cells of a coarsened space: a tenth of a second to a second per GPU on two cores."""
MAX_ROUNDS = 24
MAX_MOVING = 6
"""Dimensions that take steps together: 3^6 neighbours of each cell of the front."""


def coarsened(space: SearchSpace, max_cells: int = COARSE_CELLS) -> SearchSpace:
    """The space with its longest dimensions thinned to at most ``max_cells`` cells (two values each at least)."""
    values = {name: list(array.tolist()) for name, array in space.dimensions.items()}
    while math.prod(map(len, values.values())) > max_cells:
        longest = max(values, key=lambda name: len(values[name]))
        if len(values[longest]) <= 2:
            break
        values[longest] = _every_second(values[longest])
    kept = {name: Dimension(choices=tuple(chosen)) for name, chosen in values.items()}
    record = space.record.model_copy(update={"dimensions": kept})
    return replace(space, record=record)


def _every_second(values: list[int | float]) -> list[int | float]:
    """Half of the values, the first and the last among them."""
    places = np.linspace(0, len(values) - 1, len(values) // 2 + 1)
    return [values[i] for i in np.unique(np.rint(places).astype(int))]


def seed_cells(evaluator: Evaluator, count: int, max_cells: int = COARSE_CELLS) -> Cells:
    """Up to ``count`` cells [N] of the whole space near or on its front, knee and extremes first.

    Where there are more, each next one is the farthest from those taken (in objectives scaled to the front).
    """
    cells, points = refined_front(evaluator, max_cells)
    return cells[spread(points, count)] if len(cells) else cells


def refined_front(evaluator: Evaluator, max_cells: int = COARSE_CELLS) -> tuple[Cells, NDArray[np.float64]]:
    """Cells [N] of the whole space and their objectives [N, M]: the front of all cells that were priced.

    First the coarsened space is enumerated. Then the mesh is made finer around the front alone: every cell one step
    off in any of the dimensions, at half the step each round, until single steps find nothing new. Where nothing of
    the coarsened space is feasible, the search starts from the legal cell that comes nearest.
    """
    space = evaluator.space
    coarse = coarsened(space, max_cells)
    swept = sweep(coarse, progress=False, evaluator=evaluator.on(coarse))
    start = swept.front_cells
    if not len(start):
        if swept.nearest is None:
            return np.empty(0, dtype=np.int64), np.empty((0, len(evaluator.objective_columns)))
        start = np.array([swept.nearest[1]])
    cells = space.encode(coarse.decode(start))
    steps = np.array([_widest_step(space.dimensions[n], coarse.dimensions[n]) for n in space.dimensions])
    seen = np.empty(0, dtype=np.int64)
    for _ in range(MAX_ROUNDS):
        near = np.setdiff1d(_around(space, cells, steps), seen)
        fresh, points = _priced_front(evaluator, np.union1d(near, cells))
        settled = bool((steps == 1).all()) and np.array_equal(np.sort(fresh), np.sort(cells))
        seen, cells = np.union1d(seen, near), fresh if len(fresh) else cells
        if settled or not len(near):
            break
        steps = np.maximum(steps // 2, 1)
    return (cells, points) if len(fresh) else (fresh, points)


def _widest_step(whole: NDArray[np.float64], kept: NDArray[np.float64]) -> int:
    """The largest gap between kept values, in places of the whole list."""
    return int(np.diff(np.searchsorted(whole, kept)).max(initial=1))


def _around(space: SearchSpace, cells: Cells, steps: NDArray[np.int64]) -> Cells:
    """Distinct cells one step off in any subset of the dimensions (the longest ``MAX_MOVING`` of them)."""
    shape = np.array(space.shape)
    origin = np.stack(np.unravel_index(cells, space.shape), axis=1)
    moving = [i for i in np.argsort(-shape, kind="stable") if shape[i] > 1][:MAX_MOVING]
    offsets = np.array(list(product((-1, 0, 1), repeat=len(moving))))
    shift = np.zeros((len(offsets), len(shape)), dtype=np.int64)
    shift[:, moving] = offsets * steps[moving]
    moved = np.clip(origin[:, None, :] + shift[None], 0, shape - 1).reshape(-1, len(shape))
    return np.unique(np.ravel_multi_index(tuple(moved.T), space.shape))


def _priced_front(evaluator: Evaluator, cells: Cells) -> tuple[Cells, NDArray[np.float64]]:
    """The feasible front of listed cells; only those that keep the budgets of size are priced."""
    cells = cells[evaluator.admissible(evaluator.space.decode(cells))[1]]
    if not len(cells):
        return cells, np.empty((0, len(evaluator.objective_columns)))
    evaluation = evaluator.evaluate(evaluator.space.decode(cells))
    points = evaluator.feasible_objectives(evaluation, {"": evaluator.objective_columns})[""]
    cells = cells[evaluation.feasible]
    keep = non_dominated(points)
    return cells[keep], points[keep]


def spread(points: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Rows of a front [N, M] that cover it: the knee, the best in each objective, then always the farthest row."""
    if len(points) <= count:
        return np.arange(len(points))
    scaled = normalize(points)
    first = [int(knee_order(points)[0]), *(int(i) for i in points.argmin(axis=0))]
    chosen = list(dict.fromkeys(first))[:count]
    gap = np.min([np.abs(scaled - scaled[i]).max(axis=1) for i in chosen], axis=0)
    while len(chosen) < count:
        gap[chosen] = -1.0  # equal rows have no gap either, and are not taken twice
        farthest = int(np.argmax(gap))
        chosen.append(farthest)
        gap = np.minimum(gap, np.abs(scaled - scaled[farthest]).max(axis=1))
    return np.asarray(chosen, dtype=np.int64)
