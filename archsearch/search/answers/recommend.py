"""From a front to a short ranked list with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.arrays import Floats
from archsearch.models.base import ModelConfig
from archsearch.ranges import require_range
from archsearch.search.answers.agreement import front_agreement
from archsearch.search.answers.candidates import Candidates, Limits, gather_candidates
from archsearch.search.answers.gains import gains
from archsearch.search.answers.ranking import checked_preference, metric_of, preferred_order, spread_twins
from archsearch.search.answers.reasons import reasons
from archsearch.search.answers.terms import pass_flops, run_of, space_run
from archsearch.search.evaluate.advice import Advice, Beside, OwnChoice, PoolAdvice
from archsearch.search.evaluate.columns import Columns, per_gpu_column
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import columns_result, config_of, to_records
from archsearch.search.evaluate.metrics import PER_GPU_ABSOLUTE
from archsearch.search.evaluate.plain import plain
from archsearch.search.evaluate.pool_models import Hardware
from archsearch.search.evaluate.pools import dimension_costs, price_of_one
from archsearch.search.evaluate.result import SearchResult
from archsearch.search.explore.enumeration import Sweep
from archsearch.search.pareto import non_dominated, objective_matrix
from archsearch.search.space.space import SearchSpace
from archsearch.search.space.user_code import with_leave

if TYPE_CHECKING:
    import optuna
    import pandas as pd

__all__ = ["config_of", "recommend", "recommendation", "to_records"]


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
    5 % of the front's range, or one shape with a tenth of the layers more or less) rank behind all others.

    ``where`` is a condition on the space's names. With a ``reference`` model only architectures of at least its
    predicted quality count, and with ``faster_on`` only those that are faster than it on these GPUs;
    ``attrs["reference"]`` holds its row.

    The table has the columns of an enumeration plus ``rank``, ``why``, ``twins`` (the ranks of its near twins) and
    ``pass_flops`` (FLOPs of one pass of the model, where ``flops`` are those of the run that the latency is of;
    ``attrs["per"]`` names both), and, where two independent proxies or more speak for the family,
    ``quality_rank_best`` and ``quality_rank_worst``: the range of its rank by quality on the front over the proxies
    that ``attrs["quality"]["compared"]`` names; and with a limit of latency ``latency_kept_at_high_end:<gpu>``, whether
    the upper end of the band keeps it too.
    ``attrs["baseline"]`` is the naive reference's row, and ``attrs["gains"]`` says how many times as fast as it each
    architecture is on each GPU, and rank 1 as rank 2: ``speedup`` with the 80 % band of the ratio (``low``, ``high``;
    errors that both share cancel) and the ``regret`` at its lower end. Where speed is an objective, ``attrs["pool"]``
    holds what each GPU alone would choose at no lower quality than rank 1, and the regret of rank 1 on that GPU (how
    much faster its own choice runs there).

    Raises:
        UnknownNameError: neither a study nor a space has that name.
        ArchSearchError: nothing is feasible; the text names the binding limit and the nearest architecture.
        InvalidInputError: a limit, weight, preference or ``top`` that makes no sense.
    """
    limits = Limits(max_latency_ms, max_parameters, max_memory_gib, where, reference, tuple(faster_on))
    options: dict[str, Any] = {"prefer": prefer, "top": top, "weights": weights}
    options |= {"storage": storage, "progress": progress, "evaluator": evaluator}
    return recommendation(source, hardware, limits, **options).to_frame()


def recommendation(
    source: optuna.Study | SearchSpace | str | Path,
    hardware: Hardware | None = None,
    limits: Limits | None = None,
    *,
    prefer: str | None = None,
    top: int = 5,
    weights: Mapping[str, float] | None = None,
    storage: str | None = None,
    progress: bool = True,
    evaluator: Evaluator | None = None,
    swept: Sweep | None = None,
) -> SearchResult:
    """As ``recommend``, with the limits as one value, as a record with ``advice``; of a space without limits that was
    enumerated already, from what was ``swept``. Raises as it does."""
    require_range("top", top, 1, whole=True)
    limits = limits or Limits()
    candidates = gather_candidates(
        source, hardware, limits, storage=storage, progress=progress, evaluator=evaluator, swept=swept
    )
    pricer, signs = candidates.evaluator, candidates.result.setting.objectives
    preferred = checked_preference(prefer, weights, pricer, signs)
    points = objective_matrix(_columns(candidates.result.frame), signs)
    on_front = np.flatnonzero(non_dominated(points))
    front = candidates.result.take(on_front)
    order, knee = preferred_order(points[on_front], signs, pricer, preferred, weights)
    dimensions = {name: front.frame[name].to_numpy() for name in pricer.space.dimensions}
    ranked = spread_twins(points[on_front], order, dimensions)
    places = ranked.places[:top]
    baseline = _baseline_row(pricer)
    chosen, compared = _with_ranks(pricer, front, places)
    limit_ms = limits.latency_ms(pricer.space)
    why = reasons(
        chosen,
        pricer,
        baseline,
        knee=places.index(knee) if knee in places else -1,
        front=front,
        limit_ms=limit_ms,
    )
    advice = Advice(
        exact=candidates.exact,
        front=len(front),
        prefer=preferred,
        run=space_run(pricer),
        step=run_of(pricer.space.family_class, pricer.space.workload),
        provenance=_provenance(pricer, chosen.frame),
        compared=compared,
        baseline=baseline,
        reference=_reference_row(pricer, limits),
        gains=gains(pricer, chosen.frame, baseline),
        pool=_pool_advice(candidates, int(on_front[places[0]])) if len(pricer.pool) > 1 and _speeds(signs) else None,
    )
    frame = chosen.frame.assign(why=why, pass_flops=_pass_flops(pricer, chosen.frame))
    for gpu in pricer.pool.ids if limit_ms is not None else ():
        high_ms = frame[per_gpu_column("latency_high_s", gpu)] * 1e3
        frame[per_gpu_column("latency_kept_at_high_end", gpu)] = high_ms <= limit_ms
    frame["twins"] = [ranked.twins.get(place, []) for place in places]
    kept = frame.drop(columns=[c for c in ("front_of", "violation", "feasible", "on_front") if c in frame])
    return replace(candidates.result, frame=kept, advice=advice)


def _with_ranks(evaluator: Evaluator, front: SearchResult, places: list[int]) -> tuple[SearchResult, tuple[str, ...]]:
    """The front's rows at these places with their ``rank``, and with the range of their ranks by quality over
    independent proxies, where there are several; and the names of these proxies."""
    chosen = front.take(places)
    frame = chosen.frame.reset_index(drop=True)
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    agreement = front_agreement(evaluator, front.frame)
    if agreement is None:
        return chosen.with_frame(frame), ()
    best, worst = agreement.best[places], agreement.worst[places]
    return chosen.with_frame(frame.assign(quality_rank_best=best, quality_rank_worst=worst)), tuple(agreement.proxies)


def _pass_flops(evaluator: Evaluator, frame: pd.DataFrame) -> Floats:
    """[N] FLOPs of one pass of the model."""
    config = evaluator.config({name: frame[name].to_numpy() for name in evaluator.space.dimensions})
    return np.broadcast_to(pass_flops(evaluator, config, frame["flops"].to_numpy()), (len(frame),))


def _speeds(signs: Mapping[str, float]) -> bool:
    """Whether an objective is decided by how fast a GPU is."""
    return bool({metric_of(name) for name in signs} & {"throughput", "latency_s", *PER_GPU_ABSOLUTE})


def _provenance(evaluator: Evaluator, chosen: pd.DataFrame) -> dict[str, str]:
    """How the latencies on each GPU are known, by their least-known part."""
    dimensions = {name: chosen[name].to_numpy() for name in evaluator.space.dimensions}
    return {gpu: known.value for gpu, known in evaluator.evaluate(dimensions).provenance.items()}


def _columns(frame: pd.DataFrame) -> Columns:
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def _baseline_row(evaluator: Evaluator) -> Beside | None:
    """The space's naive reference with its metrics; None where it names none."""
    columns, config = evaluator.baseline_columns, evaluator.baseline_config()
    if columns is None or config is None:
        return None
    preset = evaluator.space.record.baseline
    dimensions = {}
    fixed = {name: value for name, value in evaluator.space.record.fixed.items() if _is_size(value)}
    owned = {name: getattr(config, name, None) for name in fixed}
    other = [name for name, value in owned.items() if _is_size(value) and value != fixed[name]]
    for field in (*evaluator.space.dimensions, *evaluator.space.derived, *other):
        value = getattr(config, field, None)
        if value is None and field == "head_dim":  # left out of the config, it follows from the others
            value = getattr(config, "head_width", None)
        if value is not None:
            dimensions[field] = plain(np.asarray(value).item())
    return _beside(preset if isinstance(preset, str) else "baseline", dimensions, evaluator, config, columns)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _reference_row(evaluator: Evaluator, limits: Limits) -> Beside | None:
    """The reference model with its metrics."""
    config, columns = limits.reference_config(evaluator), limits.reference_columns(evaluator)
    if limits.reference is None or config is None or columns is None:
        return None
    return _beside(limits.reference, {}, evaluator, config, columns)


def _beside(
    name: str, dimensions: Mapping[str, object], evaluator: Evaluator, config: ModelConfig, columns: Columns
) -> Beside:
    """One architecture from its metric columns of length one."""
    (row,) = columns_result(evaluator, columns).rows()
    row["pass_flops"] = float(pass_flops(evaluator, config, row["flops"]))
    return Beside(name, dimensions, {column: plain(value) for column, value in row.items()})


def _pool_advice(candidates: Candidates, best: int) -> PoolAdvice:
    """What several GPUs mean for the candidate of row ``best``."""
    pricer = candidates.evaluator
    own_choices = _own_choices(candidates, best)
    regrets = {choice.gpu: choice.regret for choice in own_choices}
    weights = dict(zip(pricer.pool.ids, pricer.pool.weights, strict=True))
    (row,) = candidates.result.take([best]).rows()
    return PoolAdvice(own_choices, tuple(dimension_costs(pricer, row)), price_of_one(regrets, weights))


def _own_choices(candidates: Candidates, best: int) -> tuple[OwnChoice, ...]:
    """For each GPU: what it alone would choose at no lower quality than row ``best``, and the regret of that row."""
    frame, pricer = candidates.result.frame, candidates.evaluator
    quality = pricer.quality_sign * frame["quality"].to_numpy(float)
    names = (*pricer.space.dimensions, *pricer.space.derived)
    choices = []
    for gpu in pricer.pool.ids:
        throughput = frame[per_gpu_column("throughput", gpu)].to_numpy(float)
        allowed = np.flatnonzero(quality <= quality[best])
        own = int(allowed[np.argmax(throughput[allowed])])
        row = frame.iloc[own]
        choices.append(
            OwnChoice(
                gpu=gpu,
                config={name: plain(row[name]) for name in names},
                parameters=int(row["parameters"]),
                quality=float(row["quality"]),
                latency_s=float(row[per_gpu_column("latency_s", gpu)]),
                throughput=float(throughput[own]),
                pool_throughput=float(throughput[best]),
                regret=float(throughput[own] / throughput[best] - 1),
            )
        )
    return tuple(choices)
