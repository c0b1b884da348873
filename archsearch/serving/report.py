"""Fleets and ladders as plain values: what ``archsearch serve ... --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.hardware import Quote, Quotes
from archsearch.pipeline.describe import deployment_document, request_document
from archsearch.serving.fleet import Fleet, FleetPlan, Group, plan_fleet
from archsearch.serving.queueing import Quantiles
from archsearch.serving.setup import Setup
from archsearch.serving.simulation import (
    Simulated,
    poisson_arrivals,
    simulate_batch_servers,
    simulate_multi_server,
)
from archsearch.serving.tiers import Ladder, Rung, draft_then_refine, routed
from archsearch.serving.traffic import Replayed, Trace, size_for_trace
from archsearch.serving.units import Replica, ServiceLevel

Document = dict[str, object]
"""What a verb prints as JSON; an error in it is its text."""
PERCENTILES = (50, 95, 99)
ESCALATED = 0.3
"""Share of drafts that are refined where nobody says."""
SIMULATED_REQUESTS = 100_000
ENERGY_BASIS = "TDP times busy time: an upper bound, without idle power"


def fleet_document(name: str, units: Sequence[Replica], rate: float, level: ServiceLevel) -> Document:
    """The cheapest fleet of a pipeline for a rate, beside what else was considered; raises as ``plan_fleet`` does."""
    return _planned(name, units, rate, level, plan_fleet(units, rate, level))


def simulated_document(
    name: str, units: Sequence[Replica], rate: float, level: ServiceLevel, *, seed: int = 0
) -> Document:
    """``fleet_document`` with the same fleet as discrete events."""
    plan = plan_fleet(units, rate, level)
    return {**_planned(name, units, rate, level, plan), "simulation": simulation(plan.best, seed)}


def _planned(name: str, units: Sequence[Replica], rate: float, level: ServiceLevel, plan: FleetPlan) -> Document:
    best = plan.best
    return {
        **_asked(name, units),
        "rate_per_s": rate,
        "service_level": _limits(level),
        "response_s": response(best.response),
        **_at_the_high_end(best, level),
        "fleet": [group_row(g) for g in best.groups],
        "gpus": best.gpus,
        "usd_per_hour": finite(best.usd_per_hour),
        "usd_per_output": finite(best.usd_per_output),
        "usd_per_video_s": _per_video_s(units, finite(best.usd_per_output)),
        "energy_j_per_output": best.energy_j_per_output,
        "energy_basis": ENERGY_BASIS,
        "alternatives": [_alternative(f) for f in plan.ordered[1:]],
        "refused": plan.refused,
    }


def _at_the_high_end(fleet: Fleet, level: ServiceLevel) -> Document:
    """Response times where all takes as long as the upper end of the band, None where the fleet then cannot keep up;
    and whether the level is kept there too."""
    slow = fleet.slow_response
    return {
        "response_high_s": None if slow is None else response(slow),
        "kept_at_high_end": slow is not None and level.kept(slow),
    }


def _asked(name: str, units: Sequence[Replica], beside: Sequence[Replica] = ()) -> Document:
    """The pipeline, how its transformer runs (the same on every kind of GPU), and what the kinds cost, those ``beside``
    it too."""
    execution, plan = units[0].execution, units[0].plan
    document: Document = {"pipeline": name}
    if execution is not None:
        document["execution"] = execution.to_dict()
    if plan is not None:
        document |= {"request": request_document(plan.request), "run": deployment_document(plan.deployment)}
    reasons = {unit.gpu.id: unit.gpu.why_roofline for unit in (*units, *beside)}
    document["roofline"] = {gpu: reason for gpu, reason in reasons.items() if reason is not None}
    return document | quotes_of((*units, *beside)).to_dict()


def quotes_of(units: Sequence[Replica]) -> Quotes:
    """Prices of the kinds of GPU, and the kinds that have none."""
    usd = {unit.gpu.id: unit.usd_per_hour for unit in units}
    sources = {unit.gpu.id: unit.price_source for unit in units}
    known = {gpu: Quote(price, sources[gpu]) for gpu, price in usd.items() if price is not None}
    return Quotes(known, tuple(gpu for gpu in usd if gpu not in known))


def _limits(level: ServiceLevel) -> dict[str, float]:
    """A service level as its options are called: ``p95-s``."""
    return {name.replace("_", "-"): value for name, value in level.limits()}


def _per_video_s(units: Sequence[Replica], usd_per_output: float | None) -> float | None:
    """Price of a second of video, where requests make videos of one length."""
    seconds = units[0].video_s
    return None if seconds is None or usd_per_output is None else usd_per_output / seconds


def simulation(fleet: Fleet, seed: int = 0) -> Document:
    """The fleet as discrete events: quantiles, and each one's relative difference of the calculation."""
    outcomes: list[tuple[float, Simulated]] = []
    for i, g in enumerate(fleet.groups):
        arrivals = poisson_arrivals(g.rate, SIMULATED_REQUESTS, seed + 2 * i)
        if g.limit == 1:
            outcome = simulate_multi_server(arrivals, g.replica.service, g.number, seed)
        else:
            outcome = simulate_batch_servers(arrivals, g.replica.seconds, g.limit, g.number, seed)
        outcomes.append((g.rate / fleet.rate, outcome))
    mixed = Quantiles.mixture([(share, Quantiles(o.response_s, np.ones(len(o.response_s)))) for share, o in outcomes])
    measured, calculated = response(mixed), response(fleet.response)
    difference = {name: calculated[name] / measured[name] - 1.0 for name in measured}
    return {**measured, "requests": SIMULATED_REQUESTS * len(outcomes), "calculated_over_simulated": difference}


def trace_document(name: str, units: Sequence[Replica], trace: Trace, level: ServiceLevel) -> Document:
    """The cheapest kind of GPU that keeps the level on a recorded trace, by replaying it.

    Raises:
        ArchSearchError: none does; the text has the reasons.
    """
    replayed: list[Replayed] = []
    refused: dict[str, ArchSearchError] = {}
    for unit in units:
        try:
            replayed.append(size_for_trace(trace, unit, level))
        except ArchSearchError as error:
            refused[unit.gpu.id] = error
    if not replayed:
        raise ArchSearchError.joined(refused.values())
    best = min(replayed, key=lambda r: (r.usd_per_hour, r.gpus))
    outcome = best.outcome
    usd_per_output = finite(best.usd_per_hour / 3600.0 / trace.rate)
    return {
        **_asked(name, units),
        "rate_per_s": trace.rate,
        "arrival_scv": trace.scv,
        "requests": len(trace.arrivals_s),
        "service_level": _limits(level),
        "response_s": {**{f"p{p}": outcome.quantile(p / 100) for p in PERCENTILES}, "mean": outcome.mean},
        "fleet": [_replayed_row(best, trace)],
        "gpus": best.gpus,
        "usd_per_hour": finite(best.usd_per_hour),
        "usd_per_output": usd_per_output,
        "usd_per_video_s": _per_video_s(units, usd_per_output),
        "energy_j_per_output": best.unit.watts * best.gpus * outcome.utilisation / trace.rate,
        "refused": refused,
    }


def _replayed_row(best: Replayed, trace: Trace) -> Document:
    return {
        "gpu": best.unit.gpu.id,
        "replicas": best.number,
        "gpus": best.gpus,
        "batch_limit": best.limit,
        "mean_batch": 1.0 if best.limit == 1 else float("nan"),
        "rate_per_s": trace.rate,
        "utilisation": best.outcome.utilisation,
        "usd_per_hour": finite(best.usd_per_hour),
    }


def routed_document(
    setup: Setup, name: str, units: Sequence[Replica], rate: float, level: ServiceLevel, tiers: Sequence[str]
) -> Document:
    """Shares of the requests go to faster pipelines (``PIPELINE=SHARE``) and the rest to ``name``.

    Raises:
        InvalidInputError: a malformed tier, or shares that leave nothing.
    """
    rungs = [_rung(setup, tier) for tier in tiers]
    rest = 1.0 - sum(r.share for r in rungs)
    if not 0.0 < rest < 1.0:
        raise InvalidInputError(f"shares of {{tiers}} must sum to less than 1; {name} takes the rest", field="tiers")
    return _ladder(routed([*rungs, Rung(name, tuple(units), rest)], rate, level), name, rate, level)


def drafted_document(
    setup: Setup,
    name: str,
    units: Sequence[Replica],
    rate: float,
    level: ServiceLevel,
    draft: str,
    escalate: float = ESCALATED,
) -> Document:
    """All requests go to the pipeline ``draft`` first, and the share ``escalate`` of them on to ``name``."""
    fast = Rung(draft, setup.offer(draft).replicas, 1.0)
    return _ladder(draft_then_refine(fast, Rung(name, tuple(units), escalate), rate, level), name, rate, level)


def _rung(setup: Setup, tier: str) -> Rung:
    pipeline, _, text = tier.partition("=")
    try:
        share = float(text)
    except ValueError:
        raise InvalidInputError(
            f"{{tiers}} {tier!r}: write PIPELINE=SHARE, as in flux-schnell=0.7", field="tiers"
        ) from None
    return Rung(pipeline, setup.offer(pipeline).replicas, share)


def _ladder(ladder: Ladder, name: str, rate: float, level: ServiceLevel) -> Document:
    rows = [
        {"pipeline": rung.name, **group_row(g)}
        for rung, fleet in zip(ladder.rungs, ladder.fleets, strict=True)
        for g in fleet.groups
    ]
    return {
        **_asked(name, ladder.rungs[-1].units, [unit for rung in ladder.rungs for unit in rung.units]),
        "rate_per_s": rate,
        "service_level": _limits(level),
        "response_s": response(ladder.first_response),
        "final_response_s": response(ladder.final_response),
        "fleet": rows,
        "tiers": [{"pipeline": r.name, "share": r.share} for r in ladder.rungs],
        "gpus": sum(f.gpus for f in ladder.fleets),
        "usd_per_hour": finite(ladder.usd_per_hour),
        "usd_per_output": finite(ladder.usd_per_hour / 3600.0 / rate),
        "energy_j_per_output": ladder.watts / rate,
        "alone": {"gpus": ladder.alone.gpus, "usd_per_hour": finite(ladder.alone.usd_per_hour)},
        "saved": finite(ladder.saved),
    }


def response(q: Quantiles) -> dict[str, float]:
    """Quantiles and mean of response times in seconds."""
    return {**{f"p{p}": q.quantile(p / 100) for p in PERCENTILES}, "mean": q.mean}


def group_row(g: Group) -> Document:
    """One group as plain values."""
    return {
        "gpu": g.replica.gpu.id,
        "replicas": g.number,
        "gpus": g.number * g.replica.gpus,
        "batch_limit": g.limit,
        "mean_batch": g.mean_batch,
        "rate_per_s": g.rate,
        "utilisation": g.utilisation,
        "usd_per_hour": finite(g.usd_per_hour),
        "batch_latency_s": {str(b): s for b, s in g.replica.batch_s.items()},
    }


def _alternative(f: Fleet) -> Document:
    text = " + ".join(f"{g.number * g.replica.gpus} {g.replica.gpu.id}" for g in f.groups)
    return {
        "fleet": text,
        "gpus": f.gpus,
        "p95": f.response.quantile(0.95),
        "usd_per_hour": finite(f.usd_per_hour),
    }


def finite(value: float) -> float | None:
    """None where a price is missing."""
    return value if isfinite(value) else None
