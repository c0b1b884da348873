"""How many GPUs of which kind serve a traffic within a service level, at what price and energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil
from typing import Any

import numpy as np

from archsearch.cost.execution import Execution
from archsearch.cost.power import board_power_w
from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.keywords import checked_call
from archsearch.notebook_html import facts_html, table_html
from archsearch.pipeline.component_calls import Pricer
from archsearch.pipeline.generation_cost import estimate_pipeline
from archsearch.pipeline.plan import Plan
from archsearch.ranges import require_range
from archsearch.serving.queueing import Quantiles, Service, batch_server, mean_batch, multi_server

BATCHES = (1, 2, 4, 8, 16)
MAX_REPLICAS = 4096
LEAST_GAIN = 0.03
"""A larger batch limit has to raise the throughput by so much to be worth its longer batches."""
SPLITS = (0.25, 0.5, 0.75)
"""Shares of the traffic that a mixed pool's first kind of GPU is tried with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLevel:
    """Limits on quantiles of the response time in seconds: ``p50_s`` (the median), ``p95_s``, ``p99_s``; None leaves
    one open.

    Raises:
        InvalidInputError: a limit that is no positive number.
    """

    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.limits():
            require_range(name, value, 0, above=True, unit="seconds")

    def limits(self) -> Iterator[tuple[str, float]]:
        """The limits that are set, by field."""
        for name in ("p50_s", "p95_s", "p99_s"):
            value = getattr(self, name)
            if value is not None:
                yield name, value

    def kept(self, response: Quantiles) -> bool:
        """Whether a distribution of response times keeps every limit."""
        return all(response.quantile(int(name[1:3]) / 100) <= value for name, value in self.limits())

    @property
    def tightest_s(self) -> float:
        """The least limit; infinite where there is none."""
        return min((value for _, value in self.limits()), default=float("inf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One serving unit: a plan on a ``gpu`` (or on the few, ``gpus``, that share a request).

    ``batch_s`` are seconds by batch size, ``usd_per_hour`` a GPU's price and ``price_source`` who says so,
    ``available`` how many GPUs there are. ``mix`` are the service times of requests that are not alike; they are served
    one by one. ``video_s`` is the length of a video that a request makes, where it is one; ``execution`` how the
    transformer runs, ``plan`` what is asked and run. ``high`` is how many times as long as estimated it takes at the
    upper end of the 80 % band.
    """

    gpu: GpuSpec
    gpus: int
    batch_s: Mapping[int, float]
    usd_per_hour: float | None
    available: int | None = None
    mix: Service | None = None
    video_s: float | None = None
    execution: Execution | None = None
    plan: Plan | None = None
    price_source: str = "given"
    high: float = 1.0

    @property
    def slow(self) -> Replica:
        """The same unit at the upper end of its band."""
        mix = None if self.mix is None else Service(tuple(s * self.high for s in self.mix.seconds), self.mix.shares)
        return replace(self, batch_s={batch: s * self.high for batch, s in self.batch_s.items()}, mix=mix, high=1.0)

    @property
    def watts(self) -> float:
        """Board power of one of its GPUs."""
        return board_power_w(self.gpu, self.execution or Execution())

    @property
    def service(self) -> Service:
        """Service times of single requests."""
        return self.mix or Service((self.batch_s[1],))

    def seconds(self, batch: int) -> float:
        """Seconds of a batch: sizes between those that were estimated lie on the line between them."""
        sizes = sorted(self.batch_s)
        return float(np.interp(batch, sizes, [self.batch_s[b] for b in sizes]))

    def limits(self) -> list[int]:
        """Batch limits worth considering: 1, and those whose full batches serve faster than all smaller ones."""
        kept, best = [1], self.batch_s[1]
        for batch in sorted(self.batch_s)[1:]:
            if self.batch_s[batch] / batch < (1.0 - LEAST_GAIN) * best:
                kept.append(batch)
                best = self.batch_s[batch] / batch
        return kept

    def price(self, number: int) -> float:
        """USD per hour of so many replicas; infinite where the GPU has no price."""
        return float("inf") if self.usd_per_hour is None else self.usd_per_hour * self.gpus * number


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Replicas of one kind and the share of the traffic that they take."""

    replica: Replica
    number: int
    limit: int
    rate: float
    response: Quantiles
    utilisation: float
    mean_batch: float

    @property
    def usd_per_hour(self) -> float:
        return self.replica.price(self.number)

    @property
    def watts(self) -> float:
        """Board power while working, averaged over time (TDP times utilisation)."""
        return self.replica.watts * self.replica.gpus * self.number * self.utilisation


@dataclass(frozen=True, slots=True)
class Fleet:
    """Groups that together serve a traffic."""

    groups: tuple[Group, ...]

    @property
    def rate(self) -> float:
        return sum(g.rate for g in self.groups)

    @property
    def response(self) -> Quantiles:
        return Quantiles.mixture([(g.rate / self.rate, g.response) for g in self.groups])

    @property
    def slow_response(self) -> Quantiles | None:
        """Response times where every unit takes as long as the upper end of its band says; None where these GPUs then
        cannot keep up."""
        try:
            slow = Fleet(tuple(group(g.replica.slow, g.rate, g.number, g.limit) for g in self.groups))
        except UnsupportedError:
            return None
        return slow.response

    @property
    def usd_per_hour(self) -> float:
        return sum(g.usd_per_hour for g in self.groups)

    @property
    def usd_per_output(self) -> float:
        return self.usd_per_hour / 3600.0 / self.rate

    @property
    def energy_j_per_output(self) -> float:
        return sum(g.watts for g in self.groups) / self.rate

    @property
    def gpus(self) -> int:
        return sum(g.number * g.replica.gpus for g in self.groups)


@checked_call
def replica(
    plan: Plan,
    gpu: GpuSpec,
    *,
    max_batch: int,
    usd_per_hour: float | None,
    available: int | None = None,
    mix: Sequence[tuple[Plan, float]] = (),
    price_source: str = "given",
) -> Replica:
    """A serving unit: a plan's seconds at each batch size that fits the GPU.

    Args:
        plan: the pipeline, one image or video of it, and how it runs (``make_plan``).
        gpu: what it runs on.
        max_batch: the largest batch that is tried.
        usd_per_hour: a GPU's price, None where nobody knows it.
        available: how many GPUs there are, None for as many as it takes.
        mix: plans with their shares, where requests are not alike; they are served singly.
        price_source: who says what a GPU costs.

    Returns:
        What ``plan_fleet`` takes.

    Raises:
        InvalidInputError: a plan of several images or videos.
        UnsupportedError: a single request does not fit.
    """
    if np.any(np.asarray(plan.request.batch_size) != 1):
        raise InvalidInputError(
            "requests come one by one and are batched as they wait: give {max_batch}, no batch lever", field="max_batch"
        )
    if mix:
        each: dict[str, Any] = {"usd_per_hour": usd_per_hour, "available": available, "price_source": price_source}
        parts = [replica(p, gpu, max_batch=1, **each) for p, _ in mix]
        service = Service(tuple(p.batch_s[1] for p in parts), tuple(share for _, share in mix))
        high = max(part.high for part in parts)
        return replace(parts[0], batch_s={1: service.mean}, mix=service, video_s=None, high=high)
    pricer = Pricer(gpu)
    seconds: dict[int, float] = {}
    high = 1.0
    for batch in (b for b in BATCHES if b <= max_batch):
        request = replace(plan.request, batch_size=batch)
        estimate = estimate_pipeline(plan.pipeline, gpu, request, plan.deployment, pricer=pricer)
        if not bool(estimate.fits):
            if batch == 1:
                peak = float(estimate.peak_memory_bytes) / 2**30
                raise UnsupportedError(
                    f"{plan.pipeline.name} needs {peak:.1f} GiB of {gpu.id}'s {gpu.available_gib:.1f}: pull a lever "
                    "that saves memory (fp8, text-int8, model-offload)"
                )
            break
        seconds[batch] = float(estimate.latency_s)
        high = max(high, float(estimate.total("high_s")) / seconds[batch])
    fps, frames = plan.pipeline.record.defaults.frames_per_second, plan.request.frames
    return Replica(
        gpu=gpu,
        gpus=plan.deployment.gpus,
        batch_s=seconds,
        usd_per_hour=usd_per_hour,
        available=available,
        video_s=None if fps is None or frames is None else float(np.max(frames)) / fps,
        execution=plan.deployment.step_execution,
        plan=plan,
        price_source=price_source,
        high=high,
    )


def group(unit: Replica, rate: float, number: int, limit: int) -> Group:
    """Queue of ``number`` replicas under a traffic.

    Raises:
        UnsupportedError: they cannot keep up.
    """
    if limit == 1:
        response = multi_server(rate, unit.service, number)
        size, utilisation = 1.0, rate * unit.batch_s[1] / number
    else:
        response = batch_server(rate / number, unit.seconds, limit)
        size, utilisation = mean_batch(rate / number, unit.seconds, limit)
    return Group(
        replica=unit,
        number=number,
        limit=limit,
        rate=rate,
        response=response,
        utilisation=utilisation,
        mean_batch=size,
    )


def size(unit: Replica, rate: float, level: ServiceLevel) -> Group:
    """The cheapest group of one kind: over batch limits, the least number of replicas that keeps the level.

    Raises:
        UnsupportedError: no number does, or not so many are available; the text says why.
    """
    if min(unit.service.seconds) > level.tightest_s:
        raise UnsupportedError(
            f"{unit.gpu.id}: one request alone takes {unit.batch_s[1]:.3g} s, longer than the level of "
            f"{level.tightest_s:g} s: pull levers; `{_faster_call(unit)} --max-latency-ms "
            f"{1e3 * level.tightest_s:g}` tells which keep it, if any do"
        )
    most = MAX_REPLICAS if unit.available is None else unit.available // unit.gpus
    found = [g for limit in unit.limits() if (g := _least(unit, rate, level, limit, most)) is not None]
    if not found:
        raise UnsupportedError(f"{unit.gpu.id}: {most * unit.gpus} GPUs do not keep the level at {rate:g} requests/s")
    return min(found, key=lambda g: (g.number, g.limit))


def _faster_call(unit: Replica) -> str:
    """The call that looks for levers on one request of a unit."""
    if unit.plan is None:
        return f"archsearch pipeline optimize PIPELINE --hardware {unit.gpu.id}"
    request, usual = unit.plan.request, unit.plan.pipeline.record.defaults
    sizes = {"height": request.height, "width": request.width, "frames": request.frames}
    sizes |= {"steps": request.steps} if np.any(request.steps != usual.steps) else {}
    asked = " ".join(f"--{name} {int(np.max(value))}" for name, value in sizes.items() if value is not None)
    return f"archsearch pipeline optimize {unit.plan.pipeline.name} --hardware {unit.gpu.id} {asked}"


def _least(unit: Replica, rate: float, level: ServiceLevel, limit: int, most: int) -> Group | None:
    """The least number of replicas that keeps the level under one batch limit."""

    def attempt(number: int) -> Group | None:
        try:
            found = group(unit, rate, number, limit)
        except UnsupportedError:
            return None
        return found if level.kept(found.response) else None

    if limit == 1 and not _alone(unit, level):
        return None
    low = ceil(rate * unit.batch_s[limit] / limit * (1 + 1e-9))
    number = max(1, low)
    while number <= most and (found := attempt(number)) is None:
        low, number = number, number + max(1, number // 4)
    if number > most:
        number = most
        if (found := attempt(number)) is None:
            return None
    while number - low > 1:
        middle = (low + number) // 2
        better = attempt(middle)
        if better is None:
            low = middle
        else:
            number, found = middle, better
    return found


def _alone(unit: Replica, level: ServiceLevel) -> bool:
    """Whether requests that never wait keep the level: no number of GPUs does better."""
    return level.kept(Quantiles(np.asarray(unit.service.seconds), np.asarray(unit.service.shares)))


def _worth(fleet: Fleet) -> tuple[float, int]:
    """What fleets are ordered by: their price, then their GPUs."""
    return fleet.usd_per_hour, fleet.gpus


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The cheapest fleet that keeps a service level (``best``), all that were ``considered``, and by GPU why kinds were
    left out (``refused``)."""

    best: Fleet
    considered: tuple[Fleet, ...]
    refused: Mapping[str, UnsupportedError]

    @property
    def ordered(self) -> list[Fleet]:
        """The cheapest first; fleets with a kind without a price after all others."""
        return [self.best, *sorted((f for f in self.considered if f is not self.best), key=_worth)]

    def _repr_html_(self) -> str:
        """What a notebook shows: the fleets, the cheapest first, and why kinds were left out."""
        rows = [
            (
                " + ".join(f"{g.number * g.replica.gpus} {g.replica.gpu.id}" for g in fleet.groups),
                "unknown" if fleet.usd_per_hour == float("inf") else f"{fleet.usd_per_hour:.4g}",
                f"{fleet.response.quantile(0.5):.4g}",
                f"{fleet.response.quantile(0.95):.4g}",
            )
            for fleet in self.ordered
        ]
        left_out = [(f"{gpu} left out", reason) for gpu, reason in self.refused.items()]
        table = table_html(("fleet", "USD per hour", "p50 (s)", "p95 (s)"), rows)
        return facts_html(f"{self.best.gpus} GPUs", left_out) + table


@checked_call
def plan_fleet(units: Sequence[Replica], rate: float, level: ServiceLevel) -> FleetPlan:
    """The cheapest fleet for a traffic: of one kind of GPU, or of a pair of kinds that share it.

    Each kind of a pair keeps the level on its own. Fleets with a kind without a price come after all others, and are
    compared by their number of GPUs alone.

    Args:
        units: replicas, one of each kind of GPU (see ``make_replica``).
        rate: requests per second, a Poisson process.
        level: limits on the response time.

    Returns:
        The cheapest fleet, the others, and why kinds were left out.

    Raises:
        InvalidInputError: a rate that is no positive number.
        ArchSearchError: none keeps the level.
    """
    require_range("rate", rate, 0, above=True, unit="requests per second")
    considered: list[Fleet] = []
    refused: dict[str, UnsupportedError] = {}
    for unit in units:
        try:
            considered.append(Fleet((size(unit, rate, level),)))
        except UnsupportedError as error:
            refused[unit.gpu.id] = error
    for one, other in combinations(units, 2):
        considered += _mixed(one, other, rate, level)
    if not considered:
        raise ArchSearchError.joined(refused.values())
    best = min(considered, key=_worth)
    return FleetPlan(best, tuple(considered), refused)


def _mixed(one: Replica, other: Replica, rate: float, level: ServiceLevel) -> Iterator[Fleet]:
    for share in SPLITS:
        try:
            yield Fleet((size(one, share * rate, level), size(other, (1.0 - share) * rate, level)))
        except UnsupportedError:
            continue
