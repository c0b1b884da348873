"""Where an architecture's time goes, what each of its dimensions costs, and which shapes nearby are better.

All neighbours of an architecture (``archsearch.search.answers.moves``) are evaluated as one batch by the same formulas
as a search: latency, parameters, FLOPs, memory, and quality by the family's default proxy where one exists, trained on
as many tokens as the architecture itself. The objectives are latency and that quality: a neighbour is *better* where
it gains in one and loses in neither. Where no proxy speaks for the family, or its law does not see the step, nothing
is called better. ``explain_ranked`` (``archsearch.search.answers.ranked``) explains an architecture of a study or
space in that space's terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from archsearch.arrays import as_float
from archsearch.cost.asked_execution import chosen_execution
from archsearch.cost.estimate import Estimate
from archsearch.cost.execution import Execution
from archsearch.errors import InvalidInputError
from archsearch.hardware import GpuSpec, Quotes
from archsearch.hardware.prices import IN_A_SPACE
from archsearch.models.base import ModelConfig
from archsearch.notebook_html import facts_html, table_html
from archsearch.search.answers.moves import DEFAULT_STEPS, Move
from archsearch.search.answers.neighbours import UNSEEN, Law, Question, neighbour_rows, neighbours_of, plain_size
from archsearch.search.answers.terms import run_of
from archsearch.search.evaluate.pool_models import Hardware, LatencyModel, cost_models, resolve_pool
from archsearch.search.evaluate.pools import SIZES
from archsearch.workload import Workload

_SHOWN = 5
_ROUNDING = 1e-9
WAITS = "waiting for launches"
"""The group of the time in which the GPU has nothing to run because the host has not launched it."""


@dataclass(frozen=True, slots=True)
class GpuExplanation:
    """One GPU's view. Times in seconds.

    ``groups`` add up the breakdown by block part, largest first. ``dimensions`` hold the change per single step.
    ``better`` are neighbours that are better in one objective and worse in none. ``sensitivities`` are per cent of
    latency for one per cent of a dimension, of those dimensions that are sizes. Where ``host_bound``, the GPU waits for
    the host's launches, and widths cost no time until it no longer does. ``roofline`` says so where no kernels of the
    GPU are known; then no tile or wave favours a shape.
    """

    gpu: str
    latency_s: float
    low_s: float
    high_s: float
    provenance: str
    throughput: float
    groups: list[dict[str, Any]]
    breakdown: list[dict[str, Any]]
    dimensions: list[dict[str, Any]]
    better: list[dict[str, Any]]
    sensitivities: dict[str, float] = field(default_factory=dict)
    host_bound: bool = False
    roofline: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer of ``explain`` about a model: its ``family`` and ``config``, ``parameters``, ``flops``,
    ``memory_bytes``, expected ``quality``, and by GPU where its time goes (``per_gpu``).

    Latencies and FLOPs are per ``per``; ``execution`` is how it runs. ``neighbours`` hold every step with its metrics
    and ``why`` it is better in the ``objectives``, loses, or is out of the question. ``space`` is None where the model
    belongs to none; ``quotes`` are the GPUs' prices where something of it is in USD. ``assumed`` lists what of the
    workload was left open (``name=value``).
    """

    family: str
    config: dict[str, Any]
    parameters: int
    flops: float
    memory_bytes: float
    per_gpu: tuple[GpuExplanation, ...]
    per: str = "run"
    execution: dict[str, Any] = field(default_factory=dict)
    objectives: tuple[str, ...] = ()
    quality: dict[str, Any] | None = None
    neighbours: list[dict[str, Any]] = field(default_factory=list)
    space: str | None = None
    quotes: Quotes | None = None
    assumed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("per_gpu", "quotes")}
        views = [{f.name: getattr(view, f.name) for f in fields(view)} for view in self.per_gpu]
        return own | {"per_gpu": views} | (self.quotes.to_dict() if self.quotes else {})

    def _repr_html_(self) -> str:
        """What a notebook shows: the sentences, and by GPU where the time goes."""
        told = facts_html(self.family, [("", line) for line in self.lines()])
        heads = ("GPU", "part", "ms", "share")
        rows = [
            (view.gpu, group["group"], f"{group['latency_s'] * 1e3:.4g}", f"{group['share']:.1%}")
            for view in self.per_gpu
            for group in view.groups
        ]
        return told + table_html(heads, rows)

    def lines(self) -> list[str]:
        """Sentences for people, GPU by GPU."""
        lines = [
            f"{self.family}: {self.parameters / 1e6:.4g} M parameters, {self.flops / 1e12:.4g} TFLOPs per {self.per}, "
            f"{self.memory_bytes / 2**30:.4g} GiB"
        ]
        if self.quality is not None:
            quality = self.quality
            apart = "" if quality["in_range"] else ", beyond the law's range"
            value = "unknown" if quality["value"] is None else f"{quality['value']:.4g}"
            lines.append(f"predicted {quality['metric']} {value} ({quality['proxy']}{apart})")
        if self.execution:
            lines.append(f"execution: {Execution(**self.execution).line()}")
        lines.append(f"objectives: {', '.join(self.objectives) or 'none that is known'}")
        lines += [f"GPU-hour: {line}" for line in (self.quotes.lines(IN_A_SPACE) if self.quotes else ())]
        for view in self.per_gpu:
            lines += _view_lines(view, self.per)
        lines += [f"  {item['label']}: {item['why']}" for item in self.neighbours if item["single"]]
        if not any(view.better for view in self.per_gpu):
            lines.append("  no step nearby is better in one objective and worse in none")
        return lines


def _view_lines(view: GpuExplanation, per: str) -> list[str]:
    latency, low, high = (_three_digits(1e3 * value) for value in (view.latency_s, view.low_s, view.high_s))
    lines = [f"{view.gpu}: {latency} ms per {per} ({low} to {high}, {view.provenance})"]
    if view.roofline:
        lines.append(f"  {view.roofline}; steps of tiles and waves are not among what is compared")
    if view.host_bound:
        share = sum(group["share"] for group in view.groups if group["group"] == WAITS)
        lines.append(
            f"  host bound: the GPU waits for launches {share:.1%} of the time, and width is free where it does"
        )
    lines += [f"  {group['share']:6.1%} {group['group']}" for group in view.groups]
    if view.sensitivities:
        each = ", ".join(f"{name} {value:.2f}" for name, value in view.sensitivities.items())
        lines.append(f"  per cent of latency per per cent of a dimension: {each}")
    return lines + [f"  better: {_shape(item['changes'])}: {item['why']}" for item in view.better]


def _three_digits(value: float) -> str:
    """A number to three digits, never as a power of ten."""
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def _shape(changes: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in changes.items())


def explain(
    config: ModelConfig,
    workload: Workload,
    gpus: Hardware,
    *,
    execution: Execution | None = None,
    steps: Mapping[str, int] | None = None,
    models: Mapping[str, LatencyModel] | None = None,
) -> Explanation:
    """Explain one architecture (a config of scalars) on one or several GPUs, under an execution (by default the
    workload's).

    ``steps`` gives the step of each dimension to vary; by default the widths move by 64, layers and heads by
    one. A width that is off its step's multiple moves to the multiples around it.

    Raises:
        UnsupportedError: a GPU cannot run the workload under this execution.
        InvalidInputError: the config describes no real model.
    """
    for requirement in config.requirements():
        if not np.all(requirement.holds):
            raise InvalidInputError(f"{config.family} config: {requirement.reason}")
    pool = resolve_pool(gpus)
    pricers = cost_models(pool) if models is None else models
    run = chosen_execution(workload, execution).resolved(workload)
    question = Question(config, workload, pool, pricers, run, Law.of(config, workload))
    own = question.ask([Move("", {})])
    around = neighbours_of(question, DEFAULT_STEPS if steps is None else steps)
    rows = [row for part in around for row in neighbour_rows(question, own, part)]
    return Explanation(
        family=config.family,
        config=_scalars(config),
        parameters=int(own.values["parameters"][0]),
        flops=float(own.values["flops"][0]),
        memory_bytes=float(own.values["memory_bytes"][0]),
        per_gpu=tuple(_view(gpu, config, workload, own.estimates[gpu.id], rows) for gpu in pool.gpus),
        per=run_of(config, workload),
        execution=run.to_dict(),
        objectives=question.objectives,
        quality=question.law.answer(own.values["quality"][0]),
        neighbours=rows,
    )


def _scalars(config: ModelConfig) -> dict[str, object]:
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {k: v.item() if isinstance(v, np.generic | np.ndarray) else v for k, v in values.items()}


def _view(
    gpu: GpuSpec, config: ModelConfig, workload: Workload, here: Estimate, rows: list[dict[str, object]]
) -> GpuExplanation:
    latency = float(as_float(here.latency_s))
    singles = [row for row in rows if row["single"]]
    return GpuExplanation(
        gpu=gpu.id,
        latency_s=latency,
        low_s=float(as_float(here.low_s)),
        high_s=float(as_float(here.high_s)),
        provenance=here.provenance.value,
        throughput=float(as_float(config.tokens(workload))) / latency,
        groups=time_groups(here),
        breakdown=here.rows(),
        dimensions=[_dimension_row(config, row, gpu.id) for row in singles],
        better=_better_rows(rows, gpu.id),
        sensitivities=_sensitivities(config, singles, gpu.id),
        host_bound=bool(np.any(here.host_bound)),
        roofline=gpu.why_roofline,
    )


def time_groups(estimate: Estimate) -> list[dict[str, object]]:
    """A scalar estimate's time by the first part of the ops' dotted names (and by segment, where there are several),
    and what the GPU waits for the host; largest first."""
    latency = float(np.ravel(as_float(estimate.latency_s))[0])
    segments = [part.name for part in estimate.segments for _ in part.breakdown]
    several = len(set(segments)) > 1
    totals: dict[str, dict[str, Any]] = {}
    for segment, row in zip(segments, estimate.rows(), strict=True):
        part = str(row["name"]).split(".")[0]
        name = f"{segment}: {part}" if several else part
        group = totals.setdefault(name, {"group": name, "latency_s": 0.0, "flops": 0.0, "bytes": 0.0})
        for key in ("latency_s", "flops", "bytes"):
            group[key] += row[key]
    waits = latency - sum(group["latency_s"] for group in totals.values())
    if totals and waits > _ROUNDING * latency:
        totals[WAITS] = {"group": WAITS, "latency_s": waits, "flops": 0.0, "bytes": 0.0}
    for group in totals.values():
        group["share"] = group["latency_s"] / latency
    return sorted(totals.values(), key=lambda group: -float(group["latency_s"]))


def _dimension_row(config: ModelConfig, row: Mapping[str, Any], gpu: str) -> dict[str, Any]:
    """Relative changes of a single step on one GPU, and the difference of the predicted quality."""
    name, differences = row["dimension"], row["differences"]
    slower, larger = differences["latency_s"][gpu], differences["parameters"]
    return {
        "dimension": name,
        "from": plain_size(getattr(config, name)),
        "to": row["changes"][name],
        "changes": row["changes"],
        "latency_change": slower,
        "parameters_change": larger,
        "flops_change": differences["flops"],
        "memory_change": differences["memory_bytes"],
        "quality_change": differences["quality"],
        "throughput_per_parameter_change": 1 / ((1 + slower) * (1 + larger)) - 1,
        "verdict": row["verdict"][gpu],
    }


def _better_rows(rows: Sequence[Mapping[str, Any]], gpu: str) -> list[dict[str, Any]]:
    """Neighbours that are better in one objective and worse in none, the fastest first."""
    wins = [row for row in rows if row["verdict"][gpu] == "better"]
    wins.sort(key=lambda row: float(row["differences"]["latency_s"][gpu]))
    return [
        {
            "changes": row["changes"],
            "latency_change": row["differences"]["latency_s"][gpu],
            "parameters_change": row["differences"]["parameters"],
            "quality_change": row["differences"]["quality"],
            "why": row["why"],
        }
        for row in wins[:_SHOWN]
    ]


def _sensitivities(config: ModelConfig, singles: Sequence[Mapping[str, Any]], gpu: str) -> dict[str, float]:
    """Per cent of latency for one per cent of each size: the mean over its steps of ln(t'/t) / ln(value'/value)."""
    by_dimension: dict[str, list[float]] = {}
    for row in singles:
        name = row["dimension"]
        resized = abs(row["differences"]["parameters"]) > UNSEEN  # wider heads in place of more are no size
        if name in SIZES and resized and not isinstance(row["changes"][name], list):
            growth = np.log(row["changes"][name] / int(getattr(config, name)))
            by_dimension.setdefault(name, []).append(float(np.log1p(row["differences"]["latency_s"][gpu]) / growth))
    return {name: float(np.mean(values)) for name, values in by_dimension.items()}
