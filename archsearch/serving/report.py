"""Fleets and ladders as plain values: what ``archsearch serve ... --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.pipeline.describe import deployment_document, request_document
from archsearch.serving.fleet import Fleet, Group, Replica, ServiceLevel, plan_fleet
from archsearch.serving.queueing import Quantiles
from archsearch.serving.setup import Setup
from archsearch.serving.simulation import (
    Simulated,
    poisson_arrivals,
    simulate_batch_servers,
    simulate_multi_server,
)
from archsearch.serving.tiers import Ladder, Rung, draft_then_refine, routed
from archsearch.serving.traffic import Trace, size_for_trace

SIMULATED_REQUESTS = 100_000
ENERGY_BASIS = "TDP times busy time: an upper bound, without idle power"


def serve_document(
    name: str, units: Sequence[Replica], rate: float, level: ServiceLevel, *, simulate: bool = False, seed: int = 0
) -> dict[str, Any]:
    """The cheapest fleet for a rate, beside what else was considered; ``simulate`` adds it as discrete events."""
    best, considered, refused = plan_fleet(units, rate, level)
    found = {
        "pipeline": name,
        **_execution(units),
        "rate_per_s": rate,
        "service_level": dict(level.limits()),
        "response_s": response(best.response),
        "fleet": [group_row(g) for g in best.groups],
        "gpus": best.gpus,
        "usd_per_hour": finite(best.usd_per_hour),
        "usd_per_output": finite(best.usd_per_output),
        "usd_per_video_s": _per_video_s(units, finite(best.usd_per_output)),
        "energy_j_per_output": best.energy_j_per_output,
        "energy_basis": ENERGY_BASIS,
        "alternatives": [_alternative(f) for f in considered if f is not best],
        "refused": refused,
    }
    if simulate:
        found["simulation"] = simulation(best, seed)
    return found


def _execution(units: Sequence[Replica]) -> dict[str, Any]:
    """How the transformer runs, the same on every kind of GPU."""
    execution, plan = units[0].execution, units[0].plan
    found = {} if execution is None else {"execution": execution.to_dict()}
    if plan is not None:
        found |= {"request": request_document(plan.request), "run": deployment_document(plan.deployment)}
    return found


def _per_video_s(units: Sequence[Replica], usd_per_output: float | None) -> float | None:
    """Price of a second of video, where requests make videos of one length."""
    seconds = units[0].video_s
    return None if seconds is None or usd_per_output is None else usd_per_output / seconds


def simulation(fleet: Fleet, seed: int = 0) -> dict[str, Any]:
    """The fleet as discrete events: quantiles, and each one's relative difference of the calculation."""
    runs: list[tuple[float, Simulated]] = []
    for i, g in enumerate(fleet.groups):
        arrivals = poisson_arrivals(g.rate, SIMULATED_REQUESTS, seed + 2 * i)
        if g.limit == 1:
            run = simulate_multi_server(arrivals, g.replica.service, g.number, seed)
        else:
            run = simulate_batch_servers(arrivals, g.replica.seconds, g.limit, g.number, seed)
        runs.append((g.rate / fleet.rate, run))
    import numpy as np

    mixed = Quantiles.mixture([(share, Quantiles(r.response_s, np.ones(len(r.response_s)))) for share, r in runs])
    measured, calculated = response(mixed), response(fleet.response)
    difference = {name: calculated[name] / measured[name] - 1.0 for name in measured}
    return {**measured, "requests": SIMULATED_REQUESTS * len(runs), "calculated_over_simulated": difference}


def serve_trace(name: str, units: Sequence[Replica], trace: Trace, level: ServiceLevel) -> dict[str, Any]:
    """The cheapest kind of GPU that keeps the level on a recorded trace, by replaying it."""
    rows = []
    refused: dict[str, str] = {}
    for unit in units:
        try:
            number, limit, outcome = size_for_trace(trace, unit, level)
        except ArchSearchError as error:
            refused[unit.gpu.id] = str(error)
            continue
        rows.append((unit.price(number), number * unit.gpus, unit, number, limit, outcome))
    if not rows:
        raise ArchSearchError("; ".join(refused.values()))
    usd, gpus, unit, number, limit, outcome = min(rows, key=lambda r: r[:2])
    watts = unit.watts * gpus * outcome.utilisation
    quantiles = {f"p{p}": outcome.quantile(p / 100) for p in (50, 95, 99)}
    group = {
        "gpu": unit.gpu.id,
        "replicas": number,
        "gpus": gpus,
        "batch_limit": limit,
        "mean_batch": 1.0 if limit == 1 else float("nan"),
        "rate_per_s": trace.rate,
        "utilisation": outcome.utilisation,
        "usd_per_hour": finite(usd),
    }
    return {
        "pipeline": name,
        **_execution(units),
        "rate_per_s": trace.rate,
        "arrival_scv": trace.scv,
        "requests": len(trace.arrivals_s),
        "service_level": dict(level.limits()),
        "response_s": {**quantiles, "mean": outcome.mean},
        "fleet": [group],
        "gpus": gpus,
        "usd_per_hour": finite(usd),
        "usd_per_output": finite(usd / 3600.0 / trace.rate),
        "usd_per_video_s": _per_video_s(units, finite(usd / 3600.0 / trace.rate)),
        "energy_j_per_output": watts / trace.rate,
        "refused": refused,
    }


def ladder_document(
    setup: Setup,
    name: str,
    units: Sequence[Replica],
    rate: float,
    level: ServiceLevel,
    *,
    tiers: Sequence[str],
    draft: str | None,
    escalate: float,
) -> dict[str, Any]:
    """Shares of ``tiers`` go to faster pipelines and the rest to ``name``, or all requests to ``draft`` first."""
    if draft is not None and tiers:
        raise InvalidInputError("give either --tier or --draft")
    if draft is not None:
        fast = Rung(draft, setup.replicas(draft), 1.0)
        ladder = draft_then_refine(fast, Rung(name, tuple(units), escalate), rate, level)
    else:
        rungs = [_rung(setup, item) for item in tiers]
        rest = 1.0 - sum(r.share for r in rungs)
        if not 0.0 < rest < 1.0:
            raise InvalidInputError(f"shares of --tier must sum to less than 1; {name} takes the rest")
        ladder = routed([*rungs, Rung(name, tuple(units), rest)], rate, level)
    return _ladder(ladder, name, rate, level)


def _rung(setup: Setup, item: str) -> Rung:
    pipeline, _, text = item.partition("=")
    try:
        share = float(text)
    except ValueError:
        raise InvalidInputError(f"--tier {item!r}: write PIPELINE=SHARE, as in flux-schnell=0.7") from None
    return Rung(pipeline, setup.replicas(pipeline), share)


def _ladder(ladder: Ladder, name: str, rate: float, level: ServiceLevel) -> dict[str, Any]:
    rows = [
        {"pipeline": rung.name, **group_row(g)}
        for rung, fleet in zip(ladder.rungs, ladder.fleets, strict=True)
        for g in fleet.groups
    ]
    return {
        "pipeline": name,
        **_execution(ladder.rungs[-1].units),
        "rate_per_s": rate,
        "service_level": dict(level.limits()),
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
    return {**{f"p{p}": q.quantile(p / 100) for p in (50, 95, 99)}, "mean": q.mean}


def group_row(g: Group) -> dict[str, Any]:
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


def _alternative(f: Fleet) -> dict[str, Any]:
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
