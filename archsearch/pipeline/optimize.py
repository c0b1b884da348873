"""The best legal combination of levers under a service level: exact over every combination.

Levers that lose nothing and cost no GPU (attention kernel, compilation, graphs, merged projections) only change the
time of the transformer's call: for each combination of all others the fastest legal setting of these is taken, which is
the best of the product. Everything else is enumerated. Placement levers cost time for memory: they are tried where no
combination without them keeps the limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isnan, prod
from typing import Any

import numpy as np

from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.hardware.spec import GpuSpec
from archsearch.pipeline.estimate import PipelineEstimate, estimate_pipeline
from archsearch.pipeline.lever_effects import retained as quality_left
from archsearch.pipeline.levers import TRAINING, build, levers, refusals
from archsearch.pipeline.plan import Lever, Plan
from archsearch.pipeline.pricing import Pricer

OBJECTIVES = ("latency", "cost", "energy")
EQUAL = 0.02
"""Values this close are equal, far within the estimates' own error: of equal options the one of most quality wins."""
_FREE = ("torch", "compile", "graphs", "qkv", "attention")
_PLACING = ("placement", "tiling", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a combination has to keep, and what it should minimise.

    ``latency`` is seconds end to end, ``cost`` GPU-seconds per output (a price, where the GPU has one), ``energy``
    joules per output. ``training`` is the most that may be trained; ``retained`` the least share of quality: where it
    is given, combinations whose quality is unknown are left out and counted.
    """

    objective: str = "latency"
    max_latency_s: float | None = None
    max_memory_bytes: float | None = None
    max_gpus: int = 1
    training: str = "none"
    retained: float = 0.0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InvalidInputError(f"--objective {self.objective!r}: choose one of {', '.join(OBJECTIVES)}")
        if self.training not in TRAINING:
            raise InvalidInputError(f"--training {self.training!r}: choose one of {', '.join(TRAINING)}")
        if not 0.0 <= self.retained <= 1.0:
            raise InvalidInputError(f"--min-retained must be from 0 to 1, not {self.retained:g}")
        limits = {"latency-ms": self.max_latency_s, "memory-gib": self.max_memory_bytes, "gpus": self.max_gpus}
        for name, value in limits.items():
            if value is not None and not value > 0:
                raise InvalidInputError(f"--max-{name} must be a positive number")


@dataclass(frozen=True, slots=True)
class Option:
    """One combination with its estimate and the share of the plan's quality that is left (NaN: unknown)."""

    levers: tuple[Lever, ...]
    estimate: PipelineEstimate
    retained: float

    @property
    def loss(self) -> float:
        """What to minimise for quality: the negative share, of an unknown one more than of any known."""
        return 0.0 if isnan(self.retained) else -self.retained

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(lever.id for lever in self.levers)

    def value(self, objective: str) -> float:
        """What ``objective`` minimises."""
        if objective == "latency":
            return float(self.estimate.latency_s)
        seconds = float(self.estimate.gpu_seconds_per_output)
        return seconds if objective == "cost" else float(self.estimate.energy_j)


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best option, the plan without levers, and how many combinations were judged.

    ``steps`` pulls the best option's levers one after the other, each time the one that gains most. ``unknown`` is how
    many legal combinations were left out because nobody measured what they leave of the quality. ``plan`` is what was
    asked, ``stated`` the user's own shares.
    """

    baseline: Option
    best: Option
    steps: tuple[Option, ...]
    judged: int
    legal: int
    unknown: int
    plan: Plan
    stated: Mapping[str, float]


def optimize(
    plan: Plan,
    gpu: GpuSpec,
    goal: Goal,
    *,
    pricer: Pricer | None = None,
    retained: Mapping[str, float] | None = None,
) -> Optimum:
    """The legal combination that keeps the goal's limits and minimises its objective.

    Args:
        retained: lever → share of quality left that the user states, in place of what is known of it.

    Raises:
        ArchSearchError: no combination keeps the limits; the text names the nearest.
    """
    pricer = pricer or Pricer(gpu)
    known = retained or {}
    baseline = _option(plan, (), gpu, pricer, known)
    kept: list[Option] = []
    nearest: Option | None = None
    inner: dict[Any, tuple[Lever, ...]] = {}
    judged = legal = unknown = 0
    for placed in (False, True):
        for outer in _combinations(plan, gpu, goal, placed):
            found = _fastest(plan, outer, gpu, pricer, known, inner)
            judged += 1
            if found is None:
                continue
            legal += 1
            if goal.retained and isnan(found.retained):
                unknown += 1
                continue
            if found.retained < goal.retained or not _fits(found, goal):
                continue
            nearest = _less(nearest, found, "latency")
            if goal.max_latency_s is None or float(found.estimate.latency_s) <= goal.max_latency_s:
                kept.append(found)
        if nearest is not None:
            break  # what fits without giving up time for memory is faster than what does
    if not kept:
        raise ArchSearchError(_nothing(plan, gpu, goal, nearest, unknown))
    least = min(option.value(goal.objective) for option in kept)
    near = [option for option in kept if option.value(goal.objective) <= (1.0 + EQUAL) * least]
    best = min(near, key=lambda o: (o.loss, len(o.levers), o.value(goal.objective)))
    steps = tuple(_path(plan, best, gpu, pricer, known, goal))
    return Optimum(baseline, best, steps, judged, legal, unknown, plan, dict(known))


def _less(one: Option | None, other: Option, objective: str) -> Option:
    """The smaller by the objective; at equal value (to a thousandth) the one of more quality, then of fewer levers."""
    if one is None:
        return other
    a, b = one.value(objective), other.value(objective)
    if abs(a - b) > 1e-3 * min(a, b):
        return one if a < b else other
    return min(one, other, key=lambda o: (o.loss, len(o.levers), o.value(objective)))


def _fits(option: Option, goal: Goal) -> bool:
    limit = option.estimate.gpu.memory_bytes if goal.max_memory_bytes is None else goal.max_memory_bytes
    return bool(option.estimate.peak_memory_bytes <= min(limit, option.estimate.gpu.memory_bytes))


def allowed(goal: Goal) -> dict[str, list[Lever]]:
    """Levers by group that the goal's limits on training and GPUs leave."""
    most = TRAINING.index(goal.training)
    groups: dict[str, list[Lever]] = {}
    for lever in levers().values():
        gpus = 2 if lever.group == "cfg-parallel" else lever.value if lever.group == "sequence-parallel" else 1
        if TRAINING.index(lever.training) <= most and gpus <= goal.max_gpus:
            groups.setdefault(lever.group, []).append(lever)
    return groups


def _combinations(plan: Plan, gpu: GpuSpec, goal: Goal, placed: bool) -> Iterator[tuple[Lever, ...]]:
    """Combinations of all but the free levers, those that place weights where ``placed``; levers that are illegal alone
    are left out at once."""
    skipped = {*_FREE, *(() if placed else _PLACING), *(("batch",) if goal.objective == "latency" else ())}
    groups: list[list[Lever | None]] = [
        [None, *(x for x in found if not _never(plan, x, gpu))]
        for group, found in allowed(goal).items()
        if group not in skipped
    ]
    linear = [x for x in allowed(goal).get("attention", []) if x.training != "none" and not _never(plan, x, gpu)]
    groups.append([None, *linear])
    for combination in product(*groups):
        chosen = tuple(x for x in combination if x is not None)
        gpus = prod(2 if x.group == "cfg-parallel" else x.value for x in chosen if x.group.endswith("-parallel"))
        if gpus <= goal.max_gpus:
            yield chosen


def _never(plan: Plan, lever: Lever, gpu: GpuSpec) -> bool:
    return bool(refusals(plan, (lever,), gpu))


def _fastest(
    plan: Plan,
    outer: tuple[Lever, ...],
    gpu: GpuSpec,
    pricer: Pricer,
    known: Mapping[str, float],
    inner: dict[Any, tuple[Lever, ...]],
) -> Option | None:
    """The fastest legal setting of the free levers beside ``outer``; None where ``outer`` itself is not legal.

    ``inner`` remembers the settings by all that the transformer's call depends on.
    """
    if refusals(plan, outer, gpu):
        return None
    key = _call_key(build(plan, outer))
    if key not in inner:
        inner[key] = _kernels(plan, outer, gpu, pricer, known)
    try:
        return _option(plan, (*outer, *inner[key]), gpu, pricer, known)
    except ArchSearchError:
        return None  # a kernel of the finished plan that the GPU does not have


def _call_key(plan: Plan) -> tuple[Any, ...]:
    """What one call of the transformer and the legality of the free levers rest on."""
    request, run = plan.request, plan.run
    sizes = (request.height, request.width, request.frames, request.batch_size, request.passes)
    parallel = (run.execution, run.cfg_parallel, run.placement, run.cached_share > 0)
    return (plan.pipeline.transformer, sizes, run.dtype, run.linear_attention, parallel)


def _kernels(
    plan: Plan, outer: tuple[Lever, ...], gpu: GpuSpec, pricer: Pricer, known: Mapping[str, float]
) -> tuple[Lever, ...]:
    """The fastest legal setting of the free levers beside ``outer``."""
    taken = {x.group for x in outer}
    free: list[list[Lever | None]] = []
    for group in _FREE:
        if group not in taken:
            options = [x for x in levers().values() if x.group == group and x.training == "none"]
            free.append([None, *(x for x in options if not refusals(plan, (*outer, x), gpu))])
    best: Option | None = None
    for setting in product(*free):
        chosen = (*outer, *(x for x in setting if x is not None))
        if refusals(plan, chosen, gpu):
            continue
        try:
            best = _less(best, _option(plan, chosen, gpu, pricer, known), "latency")
        except ArchSearchError:
            continue  # a kernel of the finished plan that the GPU does not have
    return () if best is None else best.levers[len(outer) :]


def _option(plan: Plan, chosen: Sequence[Lever], gpu: GpuSpec, pricer: Pricer, known: Mapping[str, float]) -> Option:
    final = build(plan, chosen)
    estimate = estimate_pipeline(final.pipeline, gpu, final.request, final.run, pricer=pricer)
    return Option(tuple(chosen), estimate, quality_left(plan, chosen, known))


def _path(
    plan: Plan, best: Option, gpu: GpuSpec, pricer: Pricer, known: Mapping[str, float], goal: Goal
) -> Iterator[Option]:
    """The best option's levers one after the other, the most helpful legal one first."""
    done: tuple[Lever, ...] = ()
    left = list(best.levers)
    while left:
        options = [_option(plan, (*done, x), gpu, pricer, known) for x in left if not refusals(plan, (*done, x), gpu)]
        if not options:
            break
        step = min(options, key=lambda o: o.value(goal.objective))
        done = step.levers
        left.remove(done[-1])
        yield step


def _nothing(plan: Plan, gpu: GpuSpec, goal: Goal, nearest: Option | None, unknown: int) -> str:
    text = f"no legal combination of levers runs {plan.pipeline.name} on {gpu.id}"
    if unknown:
        text = f"{text} ({unknown} left out whose quality is unknown)"
    if nearest is None:
        memory = min(gpu.memory_bytes, goal.max_memory_bytes or gpu.memory_bytes)
        limits = [f"{memory / 2**30:g} GiB of memory"]
        if goal.retained:
            limits.append(f"a quality share of {goal.retained:g}")
        return f"{text} within {' and '.join(limits)}"
    seconds = float(np.asarray(nearest.estimate.latency_s))
    return (
        f"{text} in {goal.max_latency_s:g} s; the fastest takes {seconds:.3g} s with {', '.join(nearest.ids) or 'none'}"
    )
