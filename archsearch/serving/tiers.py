"""Ladders of pipelines: requests routed by share, or a draft for all and the slow model for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archsearch.errors import InvalidInputError
from archsearch.ranges import require_range
from archsearch.serving.fleet import Fleet, plan_fleet
from archsearch.serving.queueing import Quantiles
from archsearch.serving.units import Replica, ServiceLevel


@dataclass(frozen=True, slots=True)
class Rung:
    """One pipeline of a ladder: its possible replicas and the share of all requests that it serves."""

    name: str
    units: tuple[Replica, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Ladder:
    """Fleets by rung, against the last rung serving everything.

    ``first_response`` is when a user sees something, ``final_response`` when the last result is there.
    """

    rungs: tuple[Rung, ...]
    fleets: tuple[Fleet, ...]
    alone: Fleet
    first_response: Quantiles
    final_response: Quantiles

    @property
    def usd_per_hour(self) -> float:
        return sum(f.usd_per_hour for f in self.fleets)

    @property
    def watts(self) -> float:
        return sum(f.energy_j_per_output * f.rate for f in self.fleets)

    @property
    def saved(self) -> float:
        """Share of the last rung's price that the ladder saves."""
        return 1.0 - self.usd_per_hour / self.alone.usd_per_hour


def routed(rungs: Sequence[Rung], rate: float, level: ServiceLevel) -> Ladder:
    """Every request goes to one rung; shares sum to one; each rung keeps the level.

    Raises:
        InvalidInputError: shares that do not sum to one.
        ArchSearchError: a rung cannot keep the level.
    """
    total = sum(r.share for r in rungs)
    if abs(total - 1.0) > 1e-6 or any(r.share <= 0 for r in rungs):
        raise InvalidInputError(f"shares of tiers must be positive and sum to 1, not {total:g}", field="tiers")
    fleets = tuple(plan_fleet(r.units, r.share * rate, level).best for r in rungs)
    alone = plan_fleet(rungs[-1].units, rate, level).best
    response = Quantiles.mixture([(r.share, f.response) for r, f in zip(rungs, fleets, strict=True)])
    return Ladder(tuple(rungs), fleets, alone, response, response)


def draft_then_refine(draft: Rung, refine: Rung, rate: float, level: ServiceLevel) -> Ladder:
    """All requests see the draft's result; the share ``refine.share`` that it does not satisfy goes on to the slow
    model. The level holds for the draft; the refined result comes after both, which are taken as independent.

    Departures of the draft's queue are taken as a Poisson process, which holds for a small share of many GPUs.

    Raises:
        InvalidInputError: a share that is not between 0 and 1.
        ArchSearchError: the draft cannot keep the level.
    """
    require_range("escalate", refine.share, 0, 1, above=True, below=True)
    first = plan_fleet(draft.units, rate, level).best
    second = plan_fleet(refine.units, refine.share * rate, _relaxed(level, refine)).best
    alone = plan_fleet(refine.units, rate, _relaxed(level, refine)).best
    later = second.response.shifted(first.response.mean)
    final = Quantiles.mixture([(1.0 - refine.share, first.response), (refine.share, later)])
    return Ladder((draft, refine), (first, second), alone, first.response, final)


def _relaxed(level: ServiceLevel, rung: Rung) -> ServiceLevel:
    """The level, but no tighter than twice the rung's own time: the user has a draft to look at."""
    least = 2.0 * min(unit.batch_s[1] for unit in rung.units)
    return ServiceLevel(**{name: max(value, least) for name, value in level.limits()})
