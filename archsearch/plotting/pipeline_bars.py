"""Pipelines, levers and fleets as bars: from the documents that ``archsearch pipeline`` and ``archsearch serve`` print
with ``--json``, or from the records of Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archsearch.errors import InvalidInputError
from archsearch.keywords import checked_call
from archsearch.pipeline.describe import document
from archsearch.pipeline.generation_cost import PipelineEstimate
from archsearch.plotting.bars import WHOLE, Bars, figure
from archsearch.serving.fleet import FleetPlan, Group

if TYPE_CHECKING:
    import plotly.graph_objects as go

GIB = 2**30


GIB = 2**30


def stage_bars(document: Mapping[str, Any]) -> Bars:
    """Seconds of each stage by what runs, with waiting for the host and PCIe on top."""
    stages = document["stages"]
    kinds = sorted({kind for s in stages for kind in s["by_kind"]})
    series = {kind: [float(s["by_kind"].get(kind, 0.0)) for s in stages] for kind in kinds}
    series["PCIe"] = [float(s["transfer_s"]) for s in stages]
    series["waiting"] = [max(0.0, s["latency_s"] - s["gpu_s"] - s["transfer_s"]) for s in stages]
    used = {name: values for name, values in series.items() if max(values) > 0}
    return Bars("Time by stage", "s", [s["name"] for s in stages], used)


def memory_bars(document: Mapping[str, Any]) -> Bars:
    """GiB that each stage holds: weights and activations."""
    memory = document["memory_bytes"]
    names = list(memory["by_stage"])
    live = [memory["activations"][n] / GIB for n in names]
    weights = [memory["by_stage"][n] / GIB - a for n, a in zip(names, live, strict=True)]
    return Bars("Memory by stage", "GiB", names, {"weights": weights, "activations": live})


def theory_bars(document: Mapping[str, Any]) -> Bars:
    """Seconds at peak FLOPs, by the roofline and as estimated."""
    t = document["theory"]
    labels = ["FLOPs at peak", "roofline", "estimate"]
    return Bars("Theory and estimate", "s", labels, {"s": [t["peak_flops_s"], t["roofline_s"], t["estimate_s"]]})


def lever_bars(document: Mapping[str, Any]) -> Bars:
    """Seconds after each lever of an optimum, the plan without levers first."""
    labels = ["none", *(row["lever"] for row in document["levers"])]
    seconds = [document["baseline"]["latency_s"], *(row["latency_s"] for row in document["levers"])]
    return Bars("Latency as levers are pulled", "s", labels, {"s": seconds})


def fleet_bars(document: Mapping[str, Any]) -> Bars:
    """USD per hour of the fleets that keep the level, the chosen one first."""
    chosen = " + ".join(f"{g['gpus']} {g['gpu']}" for g in document["fleet"])
    rows = [(chosen, document["usd_per_hour"]), *((a["fleet"], a["usd_per_hour"]) for a in document["alternatives"])]
    priced = [(name, float(usd)) for name, usd in rows if usd is not None]
    return Bars("Price of the fleets", "USD/h", [n for n, _ in priced], {"USD/h": [u for _, u in priced]})


@checked_call
def stages_info(pipeline: PipelineEstimate | Mapping[str, Any]) -> Bars:
    """Seconds of each stage of a pipeline by what runs, with the 80 % band of each stage.

    Args:
        pipeline: what ``estimate_pipeline`` answered, or the document of ``archsearch pipeline estimate --json``.

    Returns:
        Stacked bars, one per stage.

    Raises:
        InvalidInputError: something else.
    """
    found = _document(pipeline)
    bars = stage_bars(found)
    ends = {name: [float(stage[f"latency_{name}_s"]) for stage in found["stages"]] for name in ("low", "high")}
    title = f"{found['pipeline']} on {found['hardware']}: {found['latency_s']:.4g} s by stage"
    band = f"80 % band {found['latency_low_s']:.4g} to {found['latency_high_s']:.4g} s ({found['provenance']})"
    low, high = {WHOLE: ends["low"]}, {WHOLE: ends["high"]}
    return Bars(title, "s", bars.labels, bars.series, low, high, notes=(band,))


@checked_call
def plot_stages(pipeline: PipelineEstimate | Mapping[str, Any], *, theme: str = "light") -> go.Figure:
    """Draw the seconds of each stage of a pipeline with Plotly.

    Args:
        pipeline: what ``estimate_pipeline`` answered, or the document of ``archsearch pipeline estimate --json``.
        theme: light or dark.

    Returns:
        A figure.

    Raises:
        InvalidInputError: something else.
        UnknownNameError: no such theme.
    """
    return figure(stages_info(pipeline), theme)


def _document(pipeline: PipelineEstimate | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(pipeline, PipelineEstimate):
        return document(pipeline)
    if isinstance(pipeline, Mapping) and "stages" in pipeline:
        return pipeline
    raise InvalidInputError(
        "a picture of stages is of what estimate_pipeline answers, or of the document of `pipeline estimate --json`"
    )


@checked_call
def fleet_info(fleet: FleetPlan | Mapping[str, Any]) -> Bars:
    """USD per hour of the fleets that keep a service level, the chosen one first; GPUs, where a price is unknown.

    Args:
        fleet: what ``plan_fleet`` answered, or the document of ``archsearch serve fleet --json``.

    Returns:
        One bar per fleet, by kind of GPU.

    Raises:
        InvalidInputError: something else.
    """
    if isinstance(fleet, FleetPlan):
        return _plan_bars(fleet)
    if not isinstance(fleet, Mapping) or "alternatives" not in fleet:
        raise InvalidInputError(
            "a picture of fleets is of what plan_fleet answers, or of the document of `serve fleet --json`"
        )
    return fleet_bars(fleet)


def _plan_bars(plan: FleetPlan) -> Bars:
    """The fleets of a plan by what each kind of GPU in them costs; without any price, by their GPUs."""
    others = sorted((f for f in plan.considered if f is not plan.best), key=lambda f: (f.usd_per_hour, f.gpus))
    fleets = [plan.best, *others]
    priced = [f for f in fleets if f.usd_per_hour < float("inf")]
    shown, unit = (priced, "USD/h") if priced else (fleets, "GPUs")
    kinds = list(dict.fromkeys(group.replica.gpu.id for f in shown for group in f.groups))
    series = {kind: [0.0] * len(shown) for kind in kinds}
    for place, each in enumerate(shown):
        for group in each.groups:
            series[group.replica.gpu.id][place] += float(
                group.usd_per_hour if priced else group.number * group.replica.gpus
            )
    labels = [
        " + ".join(f"{group.number * group.replica.gpus} {group.replica.gpu.id}" for group in f.groups) for f in shown
    ]
    refused = [f"{gpu} left out: {reason}" for gpu, reason in plan.refused.items()]
    unpriced = len(fleets) - len(shown)
    notes = (*([f"{unpriced} fleets without a price are not shown"] if unpriced else []), *refused)
    return Bars("Price of the fleets" if priced else "GPUs of the fleets", unit, labels, series, notes=notes)


def _gpus(group: Group) -> int:
    return group.number * group.replica.gpus


@checked_call
def plot_fleet(fleet: FleetPlan | Mapping[str, Any], *, theme: str = "light") -> go.Figure:
    """Draw what the fleets that keep a service level cost with Plotly, the chosen one first.

    Args:
        fleet: what ``plan_fleet`` answered, or the document of ``archsearch serve fleet --json``.
        theme: light or dark.

    Returns:
        A figure.

    Raises:
        InvalidInputError: something else.
        UnknownNameError: no such theme.
    """
    return figure(fleet_info(fleet), theme)
