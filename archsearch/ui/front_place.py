"""Where an architecture stands among others: the front of a shipped space of its family, and what beats it there.

The front is priced as the space says (its workload, execution and law of quality), and so is the architecture: both
stand in one picture. A front takes seconds once and is then remembered (``Fronts``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from threading import Lock

import numpy as np

from archsearch.arrays import Floats
from archsearch.errors import ArchSearchError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.models.base import ModelConfig
from archsearch.search.evaluate.columns import metric_and_gpu
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.enumeration import sweep
from archsearch.search.space.space import SearchSpace, list_spaces, load_space

FRONTS = 12
"""Fronts that are remembered: those of the last GPUs and spaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The front of a space on one GPU in its first two objectives.

    ``points`` [N, 2] are in the objectives' own units; ``signs`` are +1 where less is better. ``labels`` [N] are the
    dimensions. ``run`` says how all were priced.
    """

    space: str
    gpu: str
    description: str
    run: str
    columns: tuple[str, str]
    titles: tuple[str, str]
    signs: tuple[float, float]
    points: Floats
    labels: tuple[str, ...]
    evaluator: Evaluator


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An architecture beside a front. ``point`` is in the front's units; ``verdict`` says in a sentence how they
    compare; ``outside`` are the rules and budgets of the space that the architecture does not keep."""

    front: Front
    point: tuple[float, float]
    beaten_by: int
    verdict: str
    outside: tuple[str, ...]


@lru_cache
def spaces_of(family: str) -> tuple[str, ...]:
    """The shipped spaces that search models of a family, alone or in a pipeline."""
    loaded = [load_space(name) for name in list_spaces()]
    return tuple(s.name for s in loaded if s.record.family == family)


def nearest_space(family: str, parameters: float) -> str | None:
    """Of the family's spaces the one whose budget of parameters is nearest, as a ratio; None where there is none."""
    names = spaces_of(family)
    return min(names, key=lambda name: _away(load_space(name), parameters), default=None)


def _away(space: SearchSpace, parameters: float) -> float:
    """How far a size is from the middle of a space's budget, in logarithms."""
    low, high = space.record.budget.parameters or (None, None)
    ends = [float(end) for end in (low, high) if end]
    middle = math.prod(ends) ** (1 / len(ends)) if ends else parameters * 10
    return abs(math.log(parameters / middle))


class Fronts:
    """Fronts that were asked for, the latest ``FRONTS`` of them; safe to ask from several threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Front] = {}
        self._lock = Lock()

    def known(self, space: str, gpu: str) -> Front | None:
        """A front that is there already."""
        return self._known.get((space, gpu))

    def front(self, space: str, gpu: str) -> Front:
        """The front of a space on a GPU, enumerated where nobody has asked before.

        Raises:
            ArchSearchError: the GPU does not run the space, or nothing in it is feasible there.
        """
        with self._lock:
            found = self._known.get((space, gpu)) or front_of(space, gpu)
            self._known[(space, gpu)] = found
            while len(self._known) > FRONTS:
                del self._known[next(iter(self._known))]
            return found


def front_of(space_name: str, gpu: str) -> Front:
    """The exact front of a space on one GPU.

    Raises:
        UnknownNameError: no such space or GPU.
        UnsupportedError: the GPU does not run the space's format, or nothing in it is feasible there.
    """
    space = load_space(space_name)
    swept = sweep(space, load_gpu(gpu), progress=False)
    evaluator = swept.evaluator
    signs = dict(list(evaluator.objective_columns.items())[:2])
    if len(signs) < 2:
        raise UnsupportedError(f"space {space.name} has one objective: there is no front to show")
    if not len(swept.front_cells):
        raise UnsupportedError(f"nothing in space {space.name} is feasible on {gpu}: see `archsearch recommend`")
    columns = swept.columns(swept.front_cells)
    names = [name for name in space.dimensions if name in columns]
    count = len(swept.front_cells)
    first, second = signs
    return Front(
        space=space.name,
        gpu=gpu,
        description=space.description,
        run=run_of(space),
        columns=(first, second),
        titles=(_title(first, evaluator), _title(second, evaluator)),
        signs=(signs[first], signs[second]),
        points=np.stack([np.asarray(columns[name], dtype=np.float64) for name in (first, second)], axis=1),
        labels=tuple(", ".join(f"{name} {columns[name][i]}" for name in names) for i in range(count)),
        evaluator=evaluator,
    )


def run_of(space: SearchSpace) -> str:
    """How the architectures of a space are priced, in words."""
    work = space.workload
    sizes = {n: getattr(work, n) for n in ("batch_size", "seq_len", "height", "width", "frames")}
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in sizes.items() if value is not None)
    priced = f"{work.phase.value}, {work.dtype.value}, {told}; {space.execution.line()}"
    if space.record.pipeline is None:
        return priced
    sampled = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in sampling_of(space).items())
    return f"whole generations of {space.record.pipeline}, this model's with {sampled}; {priced}"


def sampling_of(space: SearchSpace) -> dict[str, object]:
    """What a space of pipelines says of its baseline beside the transformer's own fields: how it samples."""
    if space.record.pipeline is None:
        return {}
    baseline = space.record.baseline if isinstance(space.record.baseline, dict) else {}
    stated = {**space.record.fixed, **baseline}
    own = {field.name for field in fields(space.family_class.transformer_class)}
    return {name: stated[name] for name in space.config_fields if name in stated and name not in own}


def in_space(config: ModelConfig, space: SearchSpace) -> ModelConfig:
    """A model as the space prices its own: of a pipeline the whole of it, sampled as the space's baseline is.

    Raises:
        InvalidInputError: the space does not say how its baseline is sampled.
    """
    if space.record.pipeline is None:
        return config
    whole: ModelConfig = space.family_class.from_dict({**config.to_dict(), **sampling_of(space)})
    return whole


def place_of(config: ModelConfig, front: Front) -> Place:
    """Where a model of the space's family stands beside a front.

    Raises:
        ArchSearchError: the space's workload is none of this model's.
    """
    evaluator = front.evaluator
    evaluation = evaluator.evaluate_config(in_space(config, evaluator.space))
    row = evaluator.columns(evaluation, np.zeros(1, dtype=np.int64))
    point = (float(row[front.columns[0]][0]), float(row[front.columns[1]][0]))
    beaten = beaten_by(point, front)
    missed = {text: float(values[0]) for text, values in evaluation.violation_columns(np.zeros(1, np.int64)).items()}
    rules = [need.reason for need in evaluation.rules if not np.all(need.holds)]
    outside = (*dict.fromkeys(rules), *(text for text, amount in missed.items() if not amount <= 0))
    return Place(
        front=front,
        point=point,
        beaten_by=int(np.count_nonzero(beaten)),
        verdict=_verdict(point, front, beaten),
        outside=outside,
    )


def beaten_by(point: tuple[float, float], front: Front) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """[N] which points of a front are no worse in both objectives and better in one."""
    signs = np.array(front.signs)
    here, there = signs * np.array(point), signs * front.points
    result: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = (there <= here).all(axis=1) & (there < here).any(axis=1)
    return result


def _verdict(point: tuple[float, float], front: Front, beaten: Floats | np.ndarray) -> str:
    """In a sentence: on the front, or how much its better points gain in each objective."""
    if not all(map(math.isfinite, point)):
        return "The space's law of quality has no value for this model, so that it cannot be compared."
    if not beaten.any():
        return "No architecture of the front is better in both objectives."
    gains = []
    for axis in (0, 1):
        best = front.points[beaten, axis]
        extreme = best.min() if front.signs[axis] > 0 else best.max()
        gains.append(f"{front.titles[axis]} {_short(extreme)} instead of {_short(point[axis])}")
    count = int(np.count_nonzero(beaten))
    plural = "architectures of the front are" if count > 1 else "architecture of the front is"
    return f"{count} {plural} better; at best {', or '.join(gains)}."


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _title(column: str, evaluator: Evaluator) -> str:
    metric, _ = metric_and_gpu(column)
    if metric == "quality":
        unit = evaluator.proxy.unit.partition(",")[0]
        return f"expected {evaluator.proxy.metric}" + (f" ({unit})" if unit else "")
    words: Mapping[str, str] = {
        "throughput": f"throughput ({evaluator.space.family_class.throughput_unit})",
        "latency_s": "latency (s)",
        "memory_bytes": "memory (bytes)",
    }
    return words.get(metric, metric.replace("_", " "))


def place_or_reason(config: ModelConfig, fronts: Fronts, space: str, gpu: str) -> Place | str:
    """A place, or in a sentence why there is none."""
    try:
        return place_of(config, fronts.front(space, gpu))
    except ArchSearchError as error:
        return str(error)
