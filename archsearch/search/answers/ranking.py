"""The order of a front: what is preferred first, and near twins of a better-ranked architecture last.

``knee`` prefers no objective: first stand the architectures that match or beat the baseline in every objective, and
within each group the one that lies deepest below the rate at which the front as a whole trades one objective for
another (``archsearch.search.pareto.knee_order``). ``quality``, ``speed`` and ``cost`` order by the objectives that
they are about (``PREFERRED`` of the schema), the best first, whatever the others lose; a pool's views of one metric
count together, each scaled to the front's range. Ties go by the knee.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.search.evaluate.columns import metric_and_gpu
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.pareto import knee_order, normalize, objective_matrix
from archsearch.search.space.schema import PREFERRED, Preference, why_not_preferred

TWIN_GAP = 0.05
"""Share of the front's range within which two architectures are near twins."""
TWIN_LAYERS = 0.1
"""Share of its layers by which one shape may differ in depth and be a near twin: 22 and 24 layers of 23."""
_TIE = 1e-12


def metric_of(column: str) -> str:
    """The metric of a space's objectives that a column is a view of."""
    stem = metric_and_gpu(column)[0].removeprefix("measured_")
    for view in ("_worst", "_weighted", "_fleet"):
        stem = stem.removesuffix(view)
    return {"latency": "latency_s", "regret": "throughput", "trained_loss": "quality"}.get(stem, stem)


def checked_preference(
    prefer: str | None, weights: Mapping[str, float] | None, evaluator: Evaluator, signs: Mapping[str, float]
) -> str:
    """What is preferred: what was asked for, the knee under weights, else what the space says.

    Raises:
        UnknownNameError: no such preference.
        InvalidInputError: it is about none of the objectives (columns ``signs``), or stands beside weights.
    """
    if prefer is None:
        prefer = "knee" if weights else evaluator.space.record.prefer
    elif weights:
        raise InvalidInputError("give either prefer or weights: both say what counts more")
    if prefer not in get_args(Preference):
        raise UnknownNameError("preference", prefer, get_args(Preference))
    reason = why_not_preferred(prefer, list(dict.fromkeys(metric_of(name) for name in signs)))
    if reason is not None:
        raise InvalidInputError(f"{evaluator.space.name}: {reason}")
    return prefer


def preferred_order(
    points: NDArray[np.float64],
    signs: Mapping[str, float],
    evaluator: Evaluator,
    prefer: str,
    weights: Mapping[str, float] | None,
) -> tuple[NDArray[np.int64], int]:
    """Order [N] of a front's points [N, M] (columns as in ``signs``, all minimised), and which of them is the knee."""
    order = knee_order(points, _weights(signs, weights))
    knee = int(order[0])
    if prefer != "knee":
        about = [i for i, name in enumerate(signs) if metric_of(name) in PREFERRED[prefer]]
        level = points[:, about[0]] if len(about) == 1 else normalize(points[:, about]).mean(axis=1)
        return order[np.argsort(level[order], kind="stable")], knee
    return (order if weights else _baseline_first(points, order, evaluator, signs)), knee


@dataclass(frozen=True, slots=True)
class Ranked:
    """Places of a front in the order of their ranks; ``twins`` are the ranks of the near twins of each place."""

    places: list[int]
    twins: dict[int, list[int]]


def spread_twins(
    points: NDArray[np.float64], order: NDArray[np.int64], dimensions: Mapping[str, NDArray[np.generic]]
) -> Ranked:
    """The order with near twins of an earlier point behind all others: a short list shows real alternatives.

    Twins are near in all objectives (``points`` [N, M]), or one shape with some layers more or less (``dimensions`` by
    name, [N]).
    """
    scaled = normalize(points)
    depths = [name for name in dimensions if name.endswith("layers")]
    shapes = list(zip(*(dimensions[name] for name in dimensions if name not in depths), strict=True))
    layers = np.array([dimensions[name] for name in depths], dtype=float).reshape(len(depths), len(points))
    distinct: list[int] = []
    twins: dict[int, int] = {}
    for index in order.tolist():
        near = np.abs(scaled[distinct] - scaled[index]).max(axis=1) < TWIN_GAP
        if depths and shapes:
            same = np.array([shapes[other] == shapes[index] for other in distinct], dtype=bool)
            apart = np.abs(layers[:, distinct] - layers[:, [index]]) <= TWIN_LAYERS * layers[:, distinct]
            near |= same & apart.all(axis=0)
        if near.any():
            twins[index] = distinct[int(np.argmax(near))]
        else:
            distinct.append(index)
    places = [*distinct, *twins]
    ranks = {place: rank for rank, place in enumerate(places, start=1)}
    return Ranked(places, {of: [ranks[twin] for twin in twins if twins[twin] == of] for of in distinct})


def _weights(signs: Mapping[str, float], weights: Mapping[str, float] | None) -> NDArray[np.float64]:
    """One weight per objective column; the views of one metric over a pool share its weight."""
    given = dict(weights or {})
    stems = [metric_of(name) for name in signs]
    for name, value in given.items():
        if name not in stems:
            raise InvalidInputError(f"weight for {name!r}: the objectives are {', '.join(dict.fromkeys(stems))}")
        if not value > 0:
            raise InvalidInputError(f"weight for {name!r} must be positive, not {value}")
    return np.array([given.get(stem, 1.0) / stems.count(stem) for stem in stems])


def _baseline_first(
    points: NDArray[np.float64], order: NDArray[np.int64], evaluator: Evaluator, signs: Mapping[str, float]
) -> NDArray[np.int64]:
    """The order with the points that match or beat the baseline in every objective before the others."""
    baseline = evaluator.baseline_columns
    if baseline is None or not set(signs) <= set(baseline):  # what is measured is not known of the baseline
        return order
    reached = objective_matrix(baseline, signs)[0]
    lose = (points > reached + _TIE * np.abs(reached)).any(axis=1)
    return order[np.argsort(lose[order], kind="stable")]
