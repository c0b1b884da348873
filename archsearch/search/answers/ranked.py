"""An architecture of a study or space explained in its own terms: its dimensions' values, rules, budgets, objectives.

Neighbours are the space's: the next value below and above of every dimension, and pairs of such steps. Of each it is
said how it compares in every objective of the study, on the pool as the study sees it, or which rule or budget it
breaks. What was measured or trained stands here as the analytic model predicts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.arrays import Floats, as_float
from archsearch.cost.estimate import Estimate
from archsearch.cost.model import price_on
from archsearch.errors import InvalidInputError
from archsearch.hardware import GpuSpec
from archsearch.search.answers.candidates import resolve_source, source_evaluator
from archsearch.search.answers.explain import Explanation, GpuExplanation, time_groups
from archsearch.search.answers.neighbours import UNSEEN
from archsearch.search.answers.recommend import recommendation
from archsearch.search.answers.steps import Judged, judge, moved_cells, pair_moves, single_moves
from archsearch.search.answers.terms import Term, priced_terms, space_run
from archsearch.search.evaluate.columns import Columns, Row, per_gpu_column
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import setting_of
from archsearch.search.evaluate.plain import plain
from archsearch.search.evaluate.pool_models import Hardware, resolve_pool
from archsearch.search.evaluate.pools import continuous
from archsearch.search.explore.enumeration import with_own_fronts
from archsearch.search.space.space import SearchSpace

if TYPE_CHECKING:
    import optuna

_SHOWN = 5
_TOLD = 3
METRICS = ("parameters", "flops", "memory_bytes", "quality", "training_hours", "training_usd", "lifetime_usd")


def explain_ranked(
    source: optuna.Study | SearchSpace | str,
    rank: int,
    hardware: Hardware | None = None,
    *,
    storage: str | None = None,
    evaluator: Evaluator | None = None,
    progress: bool = False,
) -> Explanation:
    """The ``rank``-th recommended architecture of a study or space, under its workload, execution and pool.

    ``hardware`` explains a study's architecture on other GPUs than the study's; of a space it is the pool searched.

    Raises:
        InvalidInputError: there is no such rank.
        UnknownNameError: neither a study nor a space has that name.
        ArchSearchError: nothing is feasible.
    """
    if rank < 1:
        raise InvalidInputError(f"ranks count from 1, not {rank}", field="rank")
    resolved = resolve_source(source, storage)
    stored = not isinstance(resolved, SearchSpace)
    options: dict[str, Any] = {"storage": storage, "evaluator": evaluator, "progress": progress}
    result = recommendation(resolved, None if stored else hardware, top=rank, **options)
    if len(result) < rank:
        text = f"{source!r} has {len(result)} recommended architectures; there is no rank {rank}"
        raise InvalidInputError(text, field="rank")
    pricer = evaluator or source_evaluator(resolved, None if stored else hardware, storage)
    signs = result.setting.objectives
    if stored and hardware is not None and resolve_pool(hardware).members != pricer.pool.members:
        pricer = Evaluator(pricer.space, resolve_pool(hardware))
        signs = pricer.objective_columns
    pricer = with_own_fronts(pricer, progress=progress)
    return explain_row(pricer, result.rows()[rank - 1], signs, result.config(rank))


def explain_row(evaluator: Evaluator, row: Row, signs: Mapping[str, float], config: dict[str, Any]) -> Explanation:
    """Explain one row of a space's table; ``signs`` are the objectives ({column: sign}), ``config`` its whole
    config."""
    space, pool, setting = evaluator.space, evaluator.pool, setting_of(evaluator)
    terms = priced_terms(evaluator, signs)
    own = _own(evaluator, row)
    around = _Around.of(evaluator, own, terms)
    architecture = evaluator.config({name: own[name] for name in space.dimensions})
    estimates = price_on(evaluator.models, architecture, space.workload, space.execution)
    views = [_view(gpu, evaluator, own, estimates[gpu.id], around) for gpu in pool.gpus]
    proxy = evaluator.proxy
    quality = {
        "proxy": proxy.name,
        "metric": proxy.metric,
        "direction": proxy.direction,
        "value": plain(own["quality"]),
        "in_range": bool(own["quality_in_range"]),
        "source": proxy.source,
    }
    return Explanation(
        family=space.family,
        config=config,
        parameters=int(own["parameters"]),
        flops=float(own["flops"]),
        memory_bytes=float(own["memory_bytes"]),
        per_gpu=tuple(views),
        per=space_run(evaluator),
        execution=space.execution.to_dict(),
        objectives=tuple(term.label for term in terms),
        quality=quality,
        neighbours=around.rows,
        space=space.name,
        quotes=setting.economy.quotes if setting.in_usd else None,
    )


def _own(evaluator: Evaluator, row: Row) -> dict[str, Any]:
    """The architecture's own metrics, priced as its neighbours are."""
    cells = {name: np.array([row[name]]) for name in evaluator.space.dimensions}
    columns = evaluator.columns(evaluator.evaluate(cells), np.zeros(1, dtype=np.int64))
    return {name: values[0].item() for name, values in (cells | columns).items()}


@dataclass(frozen=True)
class _Around:
    """The neighbours: their moves, how they are judged, and a row each for the answer."""

    moves: list[dict[str, Any]]
    judged: Judged
    cells: Columns
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, evaluator: Evaluator, own: Row, terms: Sequence[Term]) -> _Around:
        singles = single_moves(own, evaluator)
        moves = singles + pair_moves(singles)
        if not moves:  # a space of one architecture
            return cls(
                [], judge(own, {n: np.array([own[n]]) for n in evaluator.space.dimensions}, evaluator, terms), {}, []
            )
        cells = moved_cells(own, moves, evaluator)
        judged = judge(own, cells, evaluator, terms)
        rows = [_row(evaluator, own, terms, judged, index, move) for index, move in enumerate(moves)]
        return cls(moves, judged, cells, rows)


def _row(
    evaluator: Evaluator,
    own: Row,
    terms: Sequence[Term],
    judged: Judged,
    index: int,
    move: dict[str, object],
) -> dict[str, object]:
    """One neighbour: changes, metrics, each objective's value and difference, and why it loses or is out of the
    question."""
    columns, gpus = judged.columns, evaluator.pool.ids
    broken = broken_by(judged, index)
    legal = bool(judged.evaluation.legal.ravel()[index])
    metrics = {name: plain(columns[name][index]) for name in METRICS if name in columns} if legal else {}
    if legal:
        metrics["latency_s"] = {gpu: plain(columns[per_gpu_column("latency_s", gpu)][index]) for gpu in gpus}
    objectives = {
        term.column: {
            "label": term.label,
            "value": plain(columns[term.column][index]),
            "difference": plain(term.difference(columns[term.column][index], own[term.column])),
            "relative": term.relative,
            "outcome": _outcome(judged.gains[index, i]),
        }
        for i, term in enumerate(terms)
        if legal
    }
    word = _verdict(legal, bool(judged.feasible.ravel()[index]), judged.gains[index])
    return {
        "label": ", ".join(f"{name} {own[name]:g} -> {value:g}" for name, value in move.items()),
        "dimension": ", ".join(move),
        "single": len(move) == 1,
        "changes": move,
        "legal": legal,
        "feasible": word not in ("illegal", "over budget"),
        "broken": broken,
        "metrics": metrics,
        "objectives": objectives,
        "verdict": dict.fromkeys(gpus, word),
        "why": _why(word, broken, objectives, terms, columns, own, index),
    }


def broken_by(judged: Judged, index: int) -> list[str]:
    """The rules that a neighbour breaks; of a legal one the budgets that it misses, with the amounts."""
    evaluation = judged.evaluation
    count = evaluation.legal.size
    rules = [
        rule.reason
        for rule in evaluation.rules
        if not np.broadcast_to(np.asarray(rule.holds, dtype=bool), evaluation.shape).reshape(count)[index]
    ]
    if rules:
        return list(dict.fromkeys(rules))
    missed = {text: float(v[0]) for text, v in evaluation.violation_columns(np.array([index])).items()}
    return [f"{text}, missed by {amount:.1%}" for text, amount in missed.items() if not amount <= 0]


def _outcome(gain: float) -> str:
    if not np.isfinite(gain):
        return "unknown"
    return "better" if gain > 0 else "worse" if gain < 0 else "equal"


def _verdict(legal: bool, feasible: bool, gains: Floats) -> str:
    if not feasible:
        return "over budget" if legal else "illegal"
    words = [_outcome(gain) for gain in gains]
    if "unknown" in words:
        return "not comparable"
    up, down = "better" in words, "worse" in words
    return {(True, False): "better", (False, True): "worse", (True, True): "trade", (False, False): "equal"}[up, down]


def _why(
    word: str,
    broken: Sequence[str],
    objectives: Mapping[str, Any],
    terms: Sequence[Term],
    columns: Columns,
    own: Row,
    index: int,
) -> str:
    if word == "illegal":
        return f"illegal: {'; '.join(broken[:_TOLD])}"
    changes = [
        f"{term.change(columns[term.column][index], own[term.column])} ({objectives[term.column]['outcome']})"
        for term in terms
    ]
    ending = f"; {word}: {'; '.join(broken[:_TOLD])}" if broken else f": {word}"
    return ", ".join(changes) + ending


def _view(gpu: GpuSpec, evaluator: Evaluator, own: Row, here: Estimate, around: _Around) -> GpuExplanation:
    latency = float(np.ravel(as_float(here.latency_s))[0])
    rows = here.rows()
    better = [row for row in around.rows if row["verdict"][gpu.id] == "better"][:_SHOWN]
    return GpuExplanation(
        gpu=gpu.id,
        latency_s=latency,
        low_s=float(np.ravel(as_float(here.low_s))[0]),
        high_s=float(np.ravel(as_float(here.high_s))[0]),
        provenance=here.provenance.value,
        throughput=float(own[per_gpu_column("throughput", gpu.id)]),
        groups=time_groups(here),
        breakdown=rows,
        dimensions=_dimensions(gpu.id, own, around),
        better=[{"changes": row["changes"], "objectives": row["objectives"], "why": row["why"]} for row in better],
        sensitivities=_sensitivities(evaluator, gpu.id, own, around),
        host_bound=bool(np.any(here.host_bound)),
    )


def _dimensions(gpu: str, own: Row, around: _Around) -> list[dict[str, object]]:
    """What each legal single step changes on one GPU, relative to the architecture."""
    rows = []
    for row in around.rows:
        if row["single"] and row["legal"]:
            name, metrics = row["dimension"], row["metrics"]
            slower = metrics["latency_s"][gpu] / own[per_gpu_column("latency_s", gpu)] - 1
            quality = metrics["quality"]
            rows.append(
                {
                    "dimension": name,
                    "from": own[name],
                    "to": row["changes"][name],
                    "changes": row["changes"],
                    "latency_change": slower,
                    "parameters_change": metrics["parameters"] / own["parameters"] - 1,
                    "flops_change": metrics["flops"] / own["flops"] - 1,
                    "memory_change": metrics["memory_bytes"] / own["memory_bytes"] - 1,
                    "quality_change": None if quality is None else plain(quality - own["quality"]),
                    "verdict": row["verdict"][gpu],
                }
            )
    return rows


def _sensitivities(evaluator: Evaluator, gpu: str, own: Row, around: _Around) -> dict[str, float]:
    """Per cent of latency for one per cent of each dimension that is continuous in meaning, over its legal steps."""
    by_dimension: dict[str, list[float]] = {}
    for row in around.rows:
        name = row["dimension"]
        if row["single"] and row["legal"] and continuous(evaluator.space, name) and _resized(row, own):
            slower = np.log(row["metrics"]["latency_s"][gpu] / own[per_gpu_column("latency_s", gpu)])
            by_dimension.setdefault(name, []).append(float(slower / np.log(row["changes"][name] / own[name])))
    return {name: float(np.mean(values)) for name, values in by_dimension.items()}


def _resized(row: Row, own: Row) -> bool:
    """Whether a step changes the size: wider heads in place of more do not."""
    return bool(abs(row["metrics"]["parameters"] / own["parameters"] - 1) > UNSEEN)
