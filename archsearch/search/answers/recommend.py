"""From a front to a short ranked list with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.errors import InvalidInputError
from archsearch.search.answers.agreement import add_agreement, front_agreement
from archsearch.search.answers.candidates import Candidates, Limits, gather_candidates
from archsearch.search.answers.ranking import checked_preference, metric_of, preferred_order, spread_twins
from archsearch.search.answers.reasons import reasons
from archsearch.search.answers.terms import pass_flops, run_of, space_run
from archsearch.search.evaluate.columns import Columns
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import columns_frame, config_of, plain, to_records
from archsearch.search.evaluate.metrics import PER_GPU_ABSOLUTE
from archsearch.search.evaluate.pools import add_pool_report
from archsearch.search.evaluate.pricing import Hardware
from archsearch.search.pareto import non_dominated, objective_matrix
from archsearch.search.space.space import SearchSpace
from archsearch.search.space.user_code import with_leave

if TYPE_CHECKING:
    import optuna
    import pandas as pd

__all__ = ["config_of", "recommend", "to_records"]


@with_leave
def recommend(
    source: optuna.Study | SearchSpace | str | Path,
    hardware: Hardware | None = None,
    *,
    max_latency_ms: float | None = None,
    max_parameters: float | None = None,
    max_memory_gib: float | None = None,
    where: str | None = None,
    reference: str | None = None,
    faster_on: Sequence[str] = (),
    prefer: str | None = None,
    top: int = 5,
    weights: Mapping[str, float] | None = None,
    storage: str | None = None,
    progress: bool = True,
    evaluator: Evaluator | None = None,
    allow_code: bool = False,
) -> pd.DataFrame:
    """The ``top`` architectures of a study or space, best first, with the reason for each.

    Only architectures that keep every budget and limit, on every GPU, are considered, and of those only the Pareto
    front. ``prefer`` (by default what the space says) is the order: ``quality``, ``speed`` or ``cost`` put the best in
    that objective first, whatever the others lose; ``knee`` first those that match or beat the baseline in every
    objective, then the others, and within each group the architecture that lies deepest below the rate at which the
    front as a whole trades one objective for another. ``weights`` ({metric: weight}, 1 for the others) say what counts
    more, and then the baseline plays no part in the order. Near twins of a better-ranked one (all objectives within
    5 % of the front's range) only fill places that would stay empty.

    ``where`` is a condition on the space's names. With a ``reference`` model only architectures of at least its
    predicted quality count, and with ``faster_on`` only those that are faster than it on these GPUs;
    ``attrs["reference"]`` holds its row.

    The table has the columns of an enumeration plus ``rank``, ``why`` and ``pass_flops`` (FLOPs of one pass of the
    model, where ``flops`` are those of the run that the latency is of; ``attrs["per"]`` names both), and, where two
    independent proxies or more speak for the family, ``quality_rank_best`` and ``quality_rank_worst``: the range of
    its rank by quality on the front over the proxies that ``attrs["quality"]["compared"]`` names.
    ``attrs["baseline"]`` is the naive reference's row. Where speed is an objective, ``attrs["pool"]`` holds what each
    GPU alone would choose at no lower quality than rank 1, and the regret of rank 1 on that GPU (how much faster its
    own choice runs there).

    Raises:
        UnknownNameError: neither a study nor a space has that name.
        ArchSearchError: nothing is feasible; the text names the binding limit and the nearest architecture.
        InvalidInputError: a limit, weight, preference or ``top`` that makes no sense.
    """
    if top < 1:
        raise InvalidInputError(f"top must be at least 1, not {top}")
    limits = Limits(max_latency_ms, max_parameters, max_memory_gib, where, reference, tuple(faster_on))
    found = gather_candidates(source, hardware, limits, storage=storage, progress=progress, evaluator=evaluator)
    pricer = found.evaluator
    signs: dict[str, float] = found.frame.attrs["objectives"]
    points = objective_matrix(_columns(found.frame), signs)
    front = np.flatnonzero(non_dominated(points))
    preferred = checked_preference(prefer, weights, pricer, signs)
    order, knee = preferred_order(points[front], signs, pricer, preferred, weights)
    places = spread_twins(points[front], order)[:top]
    rows = front[places]
    chosen = found.frame.iloc[rows].reset_index(drop=True)
    chosen.insert(0, "rank", np.arange(1, len(chosen) + 1))
    compared = add_agreement(chosen, places, front_agreement(pricer, found.frame.iloc[front]))
    baseline = _baseline_row(pricer)
    place = places.index(knee) if knee in places else -1
    chosen["why"] = reasons(chosen, pricer, baseline, knee=place, front=found.frame.iloc[front])
    config = pricer.config({name: chosen[name].to_numpy() for name in pricer.space.dimensions})
    chosen["pass_flops"] = np.broadcast_to(pass_flops(pricer, config, chosen["flops"].to_numpy()), (len(chosen),))
    chosen.attrs = {
        **found.frame.attrs,
        "provenance": _provenance(pricer, chosen),
        "exact": found.exact,
        "front": len(front),
        "baseline": baseline,
        "quality": {**found.frame.attrs["quality"], "compared": compared},
        "reference": _reference_row(pricer, limits),
        "prefer": preferred,
        "per": {"run": space_run(pricer), "step": run_of(pricer.space.family_class, pricer.space.workload)},
        "pool": _alone(found, rows[0]) if len(pricer.pool) > 1 and _speeds(signs) else [],
    }
    if len(pricer.pool) > 1 and _speeds(signs):
        add_pool_report(chosen, pricer)
    return chosen.drop(columns=[c for c in ("front_of", "violation", "feasible", "on_front") if c in chosen])


def _speeds(signs: Mapping[str, float]) -> bool:
    """Whether an objective is decided by how fast a GPU is."""
    return bool({metric_of(name) for name in signs} & {"throughput", "latency_s", *PER_GPU_ABSOLUTE})


def _provenance(evaluator: Evaluator, chosen: pd.DataFrame) -> dict[str, str]:
    """How the latencies on each GPU are known, by their least-known part."""
    dimensions = {name: chosen[name].to_numpy() for name in evaluator.space.dimensions}
    return {gpu: known.value for gpu, known in evaluator.evaluate(dimensions).provenance.items()}


def _columns(frame: pd.DataFrame) -> Columns:
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def _baseline_row(evaluator: Evaluator) -> dict[str, Any] | None:
    columns = evaluator.baseline_columns
    if columns is None:
        return None
    row = columns_frame(evaluator, columns).iloc[0].to_dict()
    row["pass_flops"] = float(pass_flops(evaluator, evaluator.baseline_config(), row["flops"]))  # type: ignore[arg-type]
    preset = evaluator.space.record.baseline
    name = preset if isinstance(preset, str) else "baseline"
    config = evaluator.baseline_config()
    dimensions = {}
    for field in (*evaluator.space.dimensions, *evaluator.space.derived):
        value = getattr(config, field, None)
        if value is None and field == "head_dim":  # left out of the config, it follows from the others
            value = getattr(config, "head_width", None)
        if value is not None:
            dimensions[field] = plain(np.asarray(value).item())
    return {"name": name, "config": dimensions, **{str(key): plain(value) for key, value in row.items()}}


def _reference_row(evaluator: Evaluator, limits: Limits) -> dict[str, Any] | None:
    """The reference model's metrics, as a row of a table."""
    config, columns = limits.reference_config(evaluator), limits.reference_columns(evaluator)
    if config is None or columns is None:
        return None
    row = columns_frame(evaluator, columns).iloc[0].to_dict()
    row["pass_flops"] = float(pass_flops(evaluator, config, row["flops"]))
    return {"name": limits.reference, "config": {}, **{str(key): plain(value) for key, value in row.items()}}


def _alone(found: Candidates, best: int) -> list[dict[str, Any]]:
    """For each GPU: what it alone would choose at no lower quality than the pool's choice, and the regret there.

    Regret is how much more throughput the GPU's own choice has on it: own / pool's − 1, in [0, inf).
    """
    frame, pricer = found.frame, found.evaluator
    sign = 1.0 if pricer.proxy.direction == "minimize" else -1.0
    quality = sign * frame["quality"].to_numpy(float)
    answer = []
    for gpu in pricer.pool.ids:
        throughput = frame[f"throughput:{gpu}"].to_numpy(float)
        allowed = np.flatnonzero(quality <= quality[best])
        own = int(allowed[np.argmax(throughput[allowed])])
        row = frame.iloc[own]
        names = (*pricer.space.dimensions, *pricer.space.derived)
        answer.append(
            {
                "gpu": gpu,
                "config": {name: plain(row[name]) for name in names},
                "parameters": int(row["parameters"]),
                "quality": float(row["quality"]),
                "latency_s": float(row[f"latency_s:{gpu}"]),
                "throughput": float(throughput[own]),
                "pool_throughput": float(throughput[best]),
                "regret": float(throughput[own] / throughput[best] - 1),
            }
        )
    return answer
