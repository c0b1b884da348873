"""What several GPUs mean for one architecture: which dimension pays on which GPU, and what serving all of them costs.

A dimension *pays* on a GPU as far as parameters added through it cost little time there. From an architecture a, the
nearest legal values b of a dimension above and below (budgets aside) change the parameters N and the time per unit on
g, t_g. Where the space's rules let no other value stand alone, one more dimension changes along, as little as it can:

    cost of a dimension on g = mean over its steps of  ln(t_g(b) / t_g(a)) / ln(N(b) / N(a))

the per cent of latency that one per cent more parameters costs (1: time follows size; below 1 the dimension pays; a
step that tile and wave quantisation makes free counts 0). Dimensions that change no parameter count have no cost, and
only those have one that are continuous in meaning (``continuous``): a ratio of changes says nothing of a patch size, a
compression, steps or a vocabulary, whose values are different models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archsearch.arrays import Column
from archsearch.search.evaluate.advice import DimensionCost, PriceOfOne
from archsearch.search.evaluate.columns import Columns, Row, per_gpu_column
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.space.space import SearchSpace

_LEAST_CHANGE = 1e-4
SIZES = frozenset(
    {
        "hidden_size",
        "intermediate_size",
        "moe_intermediate_size",
        "shared_expert_intermediate_size",
        "num_layers",
        "num_single_layers",
        "num_dual_attention_layers",
        "num_refiner_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "num_cross_attention_heads",
        "head_dim",
        "base_dim",
    }
)
"""Fields of configs that are widths, depths, heads or feed-forwards: more of the same."""


def continuous(space: SearchSpace, name: str) -> bool:
    """Whether a dimension is continuous in meaning: all config fields that it decides, itself or through expressions,
    are sizes. A builder's own parameters are where they are given as a range."""
    if space.record.builder is not None:
        return space.record.dimensions[name].range is not None
    decided = {name}
    for field, expression in space.derived.items():  # each stands after what it reads
        if expression.names & decided:
            decided.add(field)
    fields = decided & set(space.config_fields)
    return bool(fields) and fields <= SIZES


def dimension_costs(evaluator: Evaluator, row: Row) -> list[DimensionCost]:
    """Each dimension's cost on every GPU around an architecture (a row of a table): one record per dimension that is
    continuous in meaning and changes the parameter count."""
    names = [name for name in evaluator.space.dimensions if continuous(evaluator.space, name)]
    costs = []
    for name, item in zip(names, _costs_along(evaluator, row, [(name, None) for name in names]), strict=True):
        found = item
        if found is None:
            alone = {n: np.array([row[n]]) for n in evaluator.space.dimensions}
            alone |= {name: evaluator.space.dimensions[name]}
            free = np.count_nonzero(evaluator.legal(alone)) > 1  # then a pair would tell of the other dimension
            others = [other for other in names if other != name and not free]
            each = (_costs_along(evaluator, row, [(name, other)])[0] for other in others)
            found = next((cost for cost in each if cost is not None), None)
        if found is not None:
            costs.append(found)
    return costs


def _costs_along(evaluator: Evaluator, row: Row, pairs: Sequence[tuple[str, str | None]]) -> list[DimensionCost | None]:
    """The cost of each dimension, another one changing along as little as it can; None where no step is legal.

    The steps of all are priced at once.
    """
    if not pairs:
        return []
    space = evaluator.space
    grids = []
    for name, other in pairs:
        grid = np.meshgrid(space.dimensions[name], space.dimensions[other] if other else [0], indexing="ij")
        grids.append(tuple(axis.ravel() for axis in grid))
    cells = {
        n: np.concatenate(
            [
                taken if n == name else along if n == other else np.full(taken.shape, row[n], dtype=values.dtype)
                for (name, other), (taken, along) in zip(pairs, grids, strict=True)
            ]
        )
        for n, values in space.dimensions.items()
    }
    evaluation = evaluator.evaluate(cells)
    columns = evaluator.columns(evaluation, np.arange(sum(len(taken) for taken, _ in grids)))
    found = []
    start = 0
    for (name, other), (taken, along) in zip(pairs, grids, strict=True):
        part = slice(start, start + len(taken))
        own = {column: values[part] for column, values in columns.items()}
        found.append(_cost(evaluator, row, name, other, taken, along, own, evaluation.legal[part]))
        start += len(taken)
    return found


def _cost(
    evaluator: Evaluator,
    row: Row,
    name: str,
    other: str | None,
    taken: Column,
    along: Column,
    columns: Columns,
    legal: NDArray[np.bool_],
) -> DimensionCost | None:
    """The cost of a dimension by its values [N], those of another one, and what they are priced at."""
    with np.errstate(all="ignore"):
        growth = np.log(columns["parameters"] / row["parameters"])
        usable = np.flatnonzero(legal & (np.abs(growth) > _LEAST_CHANGE))
        drift = np.abs(np.log(along / row[other])) if other else np.zeros(len(taken))
    steps = _nearest(taken, drift, usable, float(row[name]))
    if not len(steps):
        return None
    cost = {}
    for gpu in evaluator.pool.ids:
        throughput = per_gpu_column("throughput", gpu)
        slower = np.log(row[throughput] / columns[throughput][steps])
        cost[gpu] = float(np.mean(slower / growth[steps]))
    return DimensionCost(
        dimension=name,
        cost=cost,
        pays_most_on=min(cost, key=cost.__getitem__),
        pays_least_on=max(cost, key=cost.__getitem__),
        steps=tuple(int(value) for value in taken[steps]),
        along=other,
    )


def _nearest(values: Column, drift: NDArray[np.float64], usable: NDArray[np.int64], origin: float) -> NDArray[np.int64]:
    """Positions of the nearest usable values below and above, and among equal ones of the least drift."""
    ends = []
    for side in (usable[values[usable] < origin], usable[values[usable] > origin]):
        if len(side):
            ends.append(side[np.lexsort((drift[side], np.abs(values[side] - origin)))[0]])
    return np.asarray(ends, dtype=np.int64)


def price_of_one(regrets: Mapping[str, float], weights: Mapping[str, float]) -> PriceOfOne | None:
    """What one architecture for the whole pool costs against one per GPU, at no lower quality; None without GPUs.

    ``regrets`` are those of each GPU's own choice. ``weighted`` is the extra GPU time of the pool, where the weights
    are shares of GPU time under own architectures.
    """
    if not regrets:
        return None
    worst = max(regrets, key=regrets.__getitem__)
    weighted = sum(weights[gpu] * regret for gpu, regret in regrets.items())
    return PriceOfOne(worst=regrets[worst], worst_on=worst, weighted=weighted)
