"""How many GPUs of which kind serve a traffic within a service level, at what price and energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil

import numpy as np

from archsearch.errors import ArchSearchError, UnsupportedError
from archsearch.keywords import checked_call
from archsearch.notebook_html import facts_html, table_html
from archsearch.ranges import require_range
from archsearch.serving.queueing import Quantiles, batch_server, mean_batch, multi_server
from archsearch.serving.units import Replica, ServiceLevel

MAX_REPLICAS = 4096
SPLITS = (0.25, 0.5, 0.75)
"""Shares of the traffic that a mixed pool's first kind of GPU is tried with."""


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
