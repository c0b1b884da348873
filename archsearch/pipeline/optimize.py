"""The best legal combination of levers under a service level: exact over every combination.

Levers that lose nothing and cost no GPU (attention kernel, compilation, graphs, merged projections) only change the
time of the transformer's call: for each combination of all others the fastest legal setting of these is taken, which is
the best of the product. Everything else is enumerated. Placement levers cost time for memory: they are tried where no
combination without them keeps the limits.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from math import isnan, prod

from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.hardware.spec import GpuSpec
from archsearch.keywords import checked_call
from archsearch.pipeline.component_calls import Pricer
from archsearch.pipeline.generation_cost import PipelineEstimate, estimate_pipeline
from archsearch.pipeline.lever_effects import retained as quality_left
from archsearch.pipeline.lever_group import TRAINING, Lever, LeverGroup, Role
from archsearch.pipeline.lever_groups import GROUPS
from archsearch.pipeline.levers import build, levers, refusals
from archsearch.pipeline.plan import Plan
from archsearch.pipeline.request import Deployment
from archsearch.pipeline.stages import denoise_stage
from archsearch.progress import progress_bar
from archsearch.ranges import require_range

OBJECTIVES = ("latency", "cost", "energy")
EQUAL = 0.02
"""Values this close are equal, far within the estimates' own error: of equal options the one of most quality wins."""
NOT_OF_A_CALL = frozenset(("text_encoder_dtype", "decoder_dtype", "tiling", "slicing", "pcie_gb_s", "pinned"))
"""Fields of a deployment that no call of the transformer rests on. A new field counts until it is listed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a combination has to keep (``max_latency_s``, ``max_memory_bytes`` of each GPU, ``max_gpus``), and what it
    should minimise (``objective``).

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
        for name, word, choices in (("objective", self.objective, OBJECTIVES), ("training", self.training, TRAINING)):
            if word not in choices:
                raise InvalidInputError(f"{{{name}}} {word!r}: choose one of {', '.join(choices)}", field=name)
        require_range("min_retained", self.retained, 0, 1)
        require_range("max_gpus", self.max_gpus, 1)
        if self.max_latency_s is not None:
            require_range("max_latency_ms", 1e3 * self.max_latency_s, 0, above=True, unit="milliseconds")
        if self.max_memory_bytes is not None:
            require_range("max_memory_gib", self.max_memory_bytes / 2**30, 0, above=True, unit="GiB")


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
    """The ``best`` option, the plan without levers (``baseline``), and how many combinations were judged.

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


@checked_call
def optimize(
    plan: Plan,
    gpu: GpuSpec,
    goal: Goal,
    *,
    pricer: Pricer | None = None,
    retained: Mapping[str, float] | None = None,
    known: Mapping[str, Lever] | None = None,
    progress: bool = False,
) -> Optimum:
    """The legal combination that keeps the goal's limits and minimises its objective.

    Args:
        plan: where to start from.
        gpu: what it runs on.
        goal: the objective and the limits.
        pricer: keeps what is priced from call to call.
        retained: lever → share of quality left that the user states, in place of what is known of it.
        known: the levers to choose from, else those that ship.
        progress: show a progress bar on stderr.

    Returns:
        The best combination, the plan without levers, and what each lever gains.

    Raises:
        ArchSearchError: no combination keeps the limits; the text names the nearest.
    """
    known = levers() if known is None else known
    return _Optimizer(plan, gpu, goal, pricer or Pricer(gpu), dict(retained or {}), known).run(progress=progress)


def _less(one: Option | None, other: Option, objective: str) -> Option:
    """The smaller by the objective; at equal value (to a thousandth) the one of more quality, then of fewer levers."""
    if one is None:
        return other
    a, b = one.value(objective), other.value(objective)
    if abs(a - b) > 1e-3 * min(a, b):
        return one if a < b else other
    return min(one, other, key=lambda o: (o.loss, len(o.levers), o.value(objective)))


def _fits(option: Option, goal: Goal) -> bool:
    limit = option.estimate.gpu.available_bytes if goal.max_memory_bytes is None else goal.max_memory_bytes
    return bool(option.estimate.peak_memory_bytes <= min(limit, option.estimate.gpu.available_bytes))


def allowed(goal: Goal, known: Mapping[str, Lever]) -> list[tuple[LeverGroup, list[Lever]]]:
    """Levers by group that the goal's limits on training and GPUs leave, in the order of ``GROUPS``."""
    most = TRAINING.index(goal.training)
    by_group: dict[LeverGroup, list[Lever]] = {group: [] for group in GROUPS}
    for lever in known.values():
        if TRAINING.index(lever.training) <= most and lever.gpus <= goal.max_gpus:
            by_group.setdefault(lever.group, []).append(lever)
    return list(by_group.items())


class _Optimizer:
    """One question to ``optimize``, and what is remembered while it is answered."""

    def __init__(
        self,
        plan: Plan,
        gpu: GpuSpec,
        goal: Goal,
        pricer: Pricer,
        stated: Mapping[str, float],
        known: Mapping[str, Lever],
    ) -> None:
        self.plan, self.gpu, self.goal, self.pricer, self.stated = plan, gpu, goal, pricer, stated
        self.groups = allowed(goal, known)
        self.settings: dict[Hashable, tuple[Lever, ...]] = {}
        """The fastest free levers by what a call of the transformer rests on."""

    def run(self, *, progress: bool = False) -> Optimum:
        """The best of all combinations; raises as ``optimize`` does."""
        goal = self.goal
        baseline = self.option(())
        kept: list[Option] = []
        nearest: Option | None = None
        judged = legal = unknown = 0
        for roles in (set(Role) - {Role.PLACEMENT}, set(Role)):
            for option in self.judged(roles, progress=progress):
                judged += 1
                if option is None:
                    continue
                legal += 1
                if goal.retained and isnan(option.retained):
                    unknown += 1
                    continue
                if option.retained < goal.retained or not _fits(option, goal):
                    continue
                nearest = _less(nearest, option, "latency")
                if goal.max_latency_s is None or float(option.estimate.latency_s) <= goal.max_latency_s:
                    kept.append(option)
            if nearest is not None:
                break  # what fits without giving up time for memory is faster than what does
        if not kept:
            raise ArchSearchError(_nothing(self.plan, self.gpu, goal, nearest, unknown))
        least = min(option.value(goal.objective) for option in kept)
        near = [option for option in kept if option.value(goal.objective) <= (1.0 + EQUAL) * least]
        best = min(near, key=lambda o: (o.loss, len(o.levers), o.value(goal.objective)))
        steps = tuple(self.path(best))
        return Optimum(baseline, best, steps, judged, legal, unknown, self.plan, self.stated)

    def judged(self, roles: set[Role], *, progress: bool) -> Iterator[Option | None]:
        """The fastest of each combination of levers of these roles, with a bar over them; None where none is legal."""
        found = list(self.combinations(roles))
        with progress_bar(f"combinations of levers on {self.gpu.id}", len(found), enabled=progress) as advance:
            for outer in found:
                yield self.fastest(outer)
                advance(1)

    def legal(self, chosen: Sequence[Lever]) -> bool:
        """Whether a combination is legal."""
        return not refusals(self.plan, chosen, self.gpu, models=self.pricer.models)

    def option(self, chosen: Sequence[Lever]) -> Option:
        """A combination with its estimate."""
        final = build(self.plan, chosen)
        estimate = estimate_pipeline(final.pipeline, self.gpu, final.request, final.deployment, pricer=self.pricer)
        return Option(tuple(chosen), estimate, quality_left(self.plan, chosen, self.stated))

    def priced(self, chosen: Sequence[Lever]) -> Option | None:
        """A combination with its estimate; None where the finished plan has a kernel that the GPU does not have."""
        try:
            return self.option(chosen)
        except ArchSearchError:
            return None

    def combinations(self, roles: set[Role]) -> Iterator[tuple[Lever, ...]]:
        """Combinations of all but the free levers, of groups of these roles; levers that are illegal alone are left out
        at once. A batch shortens no generation: under the objective of latency there is none."""
        if self.goal.objective == "latency":
            roles = roles - {Role.REQUEST}
        choices: list[list[Lever | None]] = []
        last: list[list[Lever | None]] = []  # groups that have free levers too stand last
        for group, found in self.groups:
            outer = [lever for lever in found if not lever.free and self.legal((lever,))]
            if group.role in roles and outer:
                (last if any(lever.free for lever in found) else choices).append([None, *outer])
        for combination in product(*choices, *last):
            chosen = tuple(lever for lever in combination if lever is not None)
            if prod(lever.gpus for lever in chosen) <= self.goal.max_gpus:
                yield chosen

    def fastest(self, outer: tuple[Lever, ...]) -> Option | None:
        """The fastest legal setting of the free levers beside ``outer``; None where ``outer`` itself is not legal."""
        if not self.legal(outer):
            return None
        key = call_key(build(self.plan, outer))
        if key not in self.settings:
            self.settings[key] = self.kernels(outer)
        return self.priced((*outer, *self.settings[key]))

    def kernels(self, outer: tuple[Lever, ...]) -> tuple[Lever, ...]:
        """The fastest legal setting of the free levers beside ``outer``."""
        taken = {lever.group for lever in outer}
        choices: list[list[Lever | None]] = []
        for group, found in self.groups:
            free = [lever for lever in found if lever.free]
            if group not in taken and free:
                choices.append([None, *(lever for lever in free if self.legal((*outer, lever)))])
        best: Option | None = None
        for setting in product(*choices):
            chosen = (*outer, *(lever for lever in setting if lever is not None))
            option = self.priced(chosen) if self.legal(chosen) else None
            if option is not None:
                best = _less(best, option, "latency")
        return () if best is None else best.levers[len(outer) :]

    def path(self, best: Option) -> Iterator[Option]:
        """The best option's levers one after the other, the most helpful legal one first."""
        done: tuple[Lever, ...] = ()
        left = list(best.levers)
        while left:
            options = [self.option((*done, lever)) for lever in left if self.legal((*done, lever))]
            if not options:
                break
            step = min(options, key=lambda o: o.value(self.goal.objective))
            done = step.levers
            left.remove(done[-1])
            yield step


def call_key(plan: Plan) -> Hashable:
    """All that the time of the transformer's call and the legality of the free levers rest on: the call itself, how
    many of them a step is, and every field of the deployment but ``NOT_OF_A_CALL``."""
    call = denoise_stage(plan.pipeline, plan.request, plan.deployment).parts[0]
    counted = [f.name for f in fields(Deployment) if f.name not in NOT_OF_A_CALL]
    settings = tuple(getattr(plan.deployment, name) for name in counted)
    return (call.config, call.workload, plan.request.passes, settings)


def _nothing(plan: Plan, gpu: GpuSpec, goal: Goal, nearest: Option | None, unknown: int) -> str:
    text = f"no legal combination of levers runs {plan.pipeline.name} on {gpu.id}"
    if unknown:
        text = f"{text} ({unknown} left out whose quality is unknown)"
    if nearest is None:
        memory = min(gpu.available_bytes, goal.max_memory_bytes or gpu.available_bytes)
        limits = [f"{memory / 2**30:g} GiB of memory"]
        if goal.retained:
            limits.append(f"a quality share of {goal.retained:g}")
        return f"{text} within {' and '.join(limits)}"
    seconds = float(nearest.estimate.latency_s)
    return (
        f"{text} in {goal.max_latency_s:g} s; the fastest takes {seconds:.3g} s with {', '.join(nearest.ids) or 'none'}"
    )
