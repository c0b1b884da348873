"""Latency and memory of a whole pipeline on one GPU, or on a few that share a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from archsearch.arrays import Count, Flags, Floats, as_float
from archsearch.cost.estimate import Provenance, widened
from archsearch.cost.kernels.collective import copy_bandwidth_bytes_s
from archsearch.cost.power import board_power_w
from archsearch.cost.spread import whole_run_spread
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError, UnsupportedError
from archsearch.hardware.prices import Quotes
from archsearch.hardware.spec import GpuSpec
from archsearch.keywords import checked_call
from archsearch.notebook_html import facts_html, gibibytes, milliseconds, table_html
from archsearch.pipeline.catalog import GenerationPipeline
from archsearch.pipeline.component_calls import Call, Pricer
from archsearch.pipeline.request import Deployment, Placement, Request, check_request, conflicts
from archsearch.pipeline.stages import Stage, exchange, stages_of, transfer_s
from archsearch.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """One stage's share. Seconds, bytes, kernels and FLOPs are those of one GPU, where several share a generation too;
    ``memory_bytes`` is what it holds while the stage runs."""

    name: str
    calls: Count
    latency_s: Floats
    low_s: Floats
    high_s: Floats
    gpu_s: Floats
    host_s: Floats
    transfer_s: Floats
    peak_s: Floats
    roofline_s: Floats
    kernels: Floats
    flops: Floats
    by_kind: dict[str, Floats]
    memory_bytes: Floats
    activation_bytes: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineEstimate:
    """A pipeline under a request and a deployment, on a ``gpu``.

    ``stages`` are its parts in order, ``weights_bytes`` the weights by component, ``provenance`` how the time is known
    by its least-known part, ``quotes`` has the GPU's price, or says that nobody knows it.
    """

    pipeline: GenerationPipeline
    gpu: GpuSpec
    request: Request
    deployment: Deployment
    stages: tuple[StageCost, ...]
    weights_bytes: dict[str, Floats]
    provenance: Provenance
    quotes: Quotes = field(default_factory=Quotes)

    def _repr_html_(self) -> str:
        """What a notebook shows: the answer stage by stage; of many plans at once, how many and their range."""
        latency, peak = as_float(self.latency_s), as_float(self.peak_memory_bytes)
        name = f"{self.pipeline.name} on {self.gpus} × {self.gpu.id}"
        if latency.ndim:
            ends = f"{milliseconds(float(latency.min()))} to {milliseconds(float(latency.max()))}"
            return facts_html(name, [("plans", latency.size), ("latency", ends)])
        band = " to ".join(milliseconds(float(self.total(end))) for end in ("low_s", "high_s"))
        facts = [
            ("latency", f"{milliseconds(float(latency))} (80 % band {band}, {self.provenance.value})"),
            ("memory", f"{gibibytes(float(peak))} of {gibibytes(self.gpu.available_bytes)}"),
        ]
        facts += [] if self.fits else [("", "does not fit")]
        rows = [
            (s.name, f"{float(s.calls):g}", milliseconds(float(s.latency_s)), gibibytes(float(s.memory_bytes)))
            for s in self.stages
        ]
        return facts_html(name, facts) + table_html(("stage", "calls", "latency", "memory"), rows)

    def total(self, field: str) -> Floats:
        """A field of the stages summed."""
        return sum((as_float(getattr(s, field)) for s in self.stages), as_float(0.0))

    @property
    def latency_s(self) -> Floats:
        """Seconds end to end."""
        return self.total("latency_s")

    @property
    def peak_memory_bytes(self) -> Floats:
        """The most that a GPU holds in any stage."""
        most: Floats = as_float(0.0)
        for stage in self.stages:
            most = np.maximum(most, stage.memory_bytes)
        return most

    @property
    def fits(self) -> Flags:
        """Whether each GPU has the memory."""
        return np.asarray(self.peak_memory_bytes <= self.gpu.available_bytes)

    @property
    def gpus(self) -> int:
        """GPUs that share one request."""
        return self.deployment.gpus

    @property
    def gpu_seconds_per_output(self) -> Floats:
        """GPU-seconds per image or video: what cost and energy follow."""
        return self.latency_s * self.gpus / as_float(self.request.batch_size)

    @property
    def energy_j(self) -> Floats:
        """Joules per output at the GPUs' full board power while they run: an upper bound scaled by TDP."""
        return self.gpu_seconds_per_output * board_power_w(self.gpu, self.deployment.execution)

    @property
    def usd_per_hour(self) -> float | None:
        """A GPU's price, None where nobody knows it."""
        quote = self.quotes.known.get(self.gpu.id)
        return None if quote is None else quote.usd_per_hour

    @property
    def usd(self) -> Floats | None:
        """USD per output at each GPU's price, None where that is not known."""
        return None if self.usd_per_hour is None else self.gpu_seconds_per_output * self.usd_per_hour / 3600.0


@checked_call
def estimate_pipeline(
    pipeline: GenerationPipeline,
    gpu: GpuSpec,
    request: Request,
    deployment: Deployment,
    *,
    pricer: Pricer | None = None,
) -> PipelineEstimate:
    """Latency by stage, end to end, and memory.

    Args:
        pipeline: of a plan.
        gpu: what it runs on.
        request: of a plan: what is generated.
        deployment: of a plan: how its parts lie and run.
        pricer: keeps what is priced from call to call.

    Returns:
        Seconds and bytes; arrays where the request or the models have some.

    Raises:
        InvalidInputError: a request that the pipeline cannot serve, with the nearest legal values.
        UnsupportedError: the GPU cannot run what the deployment asks, with the reason.
    """
    check_request(pipeline, request)
    if reason := conflicts(deployment).first:
        raise UnsupportedError(reason)
    pricer = pricer or Pricer(gpu)
    stages = [_priced(stage, pipeline, deployment, pricer) for stage in stages_of(pipeline, request, deployment)]
    weights = {priced.stage.component: priced.weights_bytes for priced in stages}
    for name, parameters in pipeline.record.not_costed.items():
        weights[name] = as_float(parameters) * deployment.base_dtype.itemsize
    offloaded = deployment.placement is not Placement.RESIDENT
    bandwidth = (
        copy_bandwidth_bytes_s(gpu, pinned=deployment.pinned, given_gb_s=deployment.pcie_gb_s) if offloaded else np.inf
    )
    spread = whole_run_spread(pipeline.record, Workload())
    costs = tuple(_cost(priced, weights, deployment.placement, bandwidth, spread) for priced in stages)
    provenance = Provenance.worst([turn.call.provenance for priced in stages for turn in priced.turns])
    return PipelineEstimate(
        pipeline=pipeline,
        gpu=gpu,
        request=request,
        deployment=deployment,
        stages=costs,
        weights_bytes=weights,
        provenance=provenance,
        quotes=pricer.quotes,
    )


@dataclass(frozen=True, slots=True)
class _Turn:
    """The price of a call, and how often a stage makes it."""

    call: Call
    calls: Count


@dataclass(frozen=True, slots=True)
class _Priced:
    """A stage with the price of each of its calls; ``extra_s`` is time on the GPUs beside them (exchange)."""

    stage: Stage
    turns: tuple[_Turn, ...]
    weights_bytes: Floats
    extra_s: Floats

    def total(self, field: str) -> Floats:
        """A field of the calls summed over all of them."""
        return sum((as_float(getattr(t.call, field)) * as_float(t.calls) for t in self.turns), as_float(0.0))

    def end(self, field: str, spread: float) -> Floats:
        """An end of the calls' bands, each widened by the ``spread`` of the whole run, summed over all of them."""
        ends = (widened(t.call.latency_s, getattr(t.call, field), spread) * as_float(t.calls) for t in self.turns)
        return sum(ends, as_float(0.0))

    def largest(self, field: str) -> Floats:
        """The largest of a field over the calls."""
        most = as_float(0.0)
        for turn in self.turns:
            most = np.maximum(most, getattr(turn.call, field))
        return most


def _priced(stage: Stage, pipeline: GenerationPipeline, deployment: Deployment, pricer: Pricer) -> _Priced:
    execution = deployment.execution.of_part(beside=stage.beside)
    turns = tuple(_Turn(pricer.call(part.config, part.workload, execution), part.calls) for part in stage.parts)
    swap = exchange(pipeline, stage, deployment)
    extra = as_float(0.0)
    if swap is not None:
        extra = as_float(pricer.model.estimate([swap], execution).latency_s) * as_float(stage.calls)
    held = stage.weights_of
    beside = stage.beside
    weights = pricer.models.memory(held.config, held.workload).weights if beside else turns[0].call.weights_bytes
    return _Priced(stage, turns, as_float(weights), extra)


def _cost(
    priced: _Priced, weights: Mapping[str, Floats], placement: Placement, bandwidth_bytes_s: float, spread: float
) -> StageCost:
    transfer = transfer_s(priced.stage, priced.weights_bytes, placement, bandwidth_bytes_s)
    waits = priced.total("latency_s") + priced.extra_s
    by_kind: dict[str, Floats] = {}
    for turn in priced.turns:
        for kind, seconds in turn.call.by_kind.items():
            by_kind[kind] = by_kind.get(kind, as_float(0.0)) + as_float(seconds) * as_float(turn.calls)
    activations = priced.largest("activation_bytes")
    return StageCost(
        name=priced.stage.name,
        calls=priced.stage.calls,
        latency_s=waits + transfer,
        low_s=priced.end("low_s", spread) + priced.extra_s + transfer,  # waiting and copying widen no band
        high_s=priced.end("high_s", spread) + priced.extra_s + transfer,
        gpu_s=priced.total("gpu_s"),
        host_s=priced.total("host_s"),
        transfer_s=transfer,
        peak_s=priced.total("peak_s"),
        roofline_s=priced.total("roofline_s"),
        kernels=priced.total("kernels"),
        flops=priced.total("flops"),
        by_kind=by_kind,
        memory_bytes=_held(priced, weights, placement) + activations,
        activation_bytes=activations,
    )


def _held(priced: _Priced, weights: Mapping[str, Floats], placement: Placement) -> Floats:
    """Bytes of weights on the GPU while a stage runs."""
    if placement is Placement.RESIDENT:
        return sum((as_float(v) for v in weights.values()), as_float(0.0))
    if placement is Placement.MODEL_OFFLOAD:
        return priced.weights_bytes
    return priced.largest("largest_layer_bytes")


WITHIN_NOISE = 0.05
"""Relative difference of two latencies that no prediction tells apart: what two libraries differ by in one kernel
(docs/accuracy.md)."""


def placements(deployment: Deployment) -> Iterator[Deployment]:
    """Ways to need less memory, the same deployment first: tiling and slicing, a quantized text encoder, offload."""
    for placement in Placement:
        for text in (deployment.text_encoder_dtype, DType.INT8, DType.FP4):
            for tiled in (deployment.tiling, True):
                if placement is not Placement.RESIDENT and deployment.execution.cuda_graphs:
                    continue  # captured graphs hold their weights' addresses
                yield replace(
                    deployment, placement=placement, text_encoder_dtype=text, tiling=tiled, slicing=bool(tiled)
                )


def cheapest_fit(
    pipeline: GenerationPipeline,
    gpu: GpuSpec,
    request: Request,
    deployment: Deployment,
    *,
    pricer: Pricer | None = None,
) -> PipelineEstimate | None:
    """The fastest placement that fits the GPU, None where none does.

    One that computes the same numbers is preferred to a faster one with quantized text encoders or a tiled decoder,
    whose quality nobody has measured, where it takes at most ``WITHIN_NOISE`` longer.
    """
    pricer = pricer or Pricer(gpu)
    best: PipelineEstimate | None = None
    exact: PipelineEstimate | None = None
    for changed in dict.fromkeys(placements(deployment)):
        try:
            estimate = estimate_pipeline(pipeline, gpu, request, changed, pricer=pricer)
        except ArchSearchError:
            continue  # a decoder without tiles, a GPU without PCIe
        if not bool(np.all(estimate.fits)):
            continue
        if _faster(estimate, best):
            best = estimate
        kept = (changed.text_encoder_dtype, changed.tiling)
        if kept == (deployment.text_encoder_dtype, deployment.tiling) and _faster(estimate, exact):
            exact = estimate
    if best is None or exact is None:
        return best
    return exact if float(exact.latency_s) <= (1 + WITHIN_NOISE) * float(best.latency_s) else best


def _faster(estimate: PipelineEstimate, than: PipelineEstimate | None) -> bool:
    return than is None or float(estimate.latency_s) < float(than.latency_s) * 0.999
