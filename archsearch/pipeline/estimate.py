"""Latency and memory of a whole pipeline on one GPU, or on a few that share a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archsearch.arrays import as_float
from archsearch.cost.estimate import Provenance
from archsearch.cost.kernels.collective import copy_bandwidth_bytes_s
from archsearch.cost.power import board_power_w
from archsearch.errors import ArchSearchError, UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.pipeline.catalog import GenerationPipeline
from archsearch.pipeline.pricing import Call, Pricer, footprint
from archsearch.pipeline.request import Placement, Request, Run, check_request, run_reasons
from archsearch.pipeline.stages import Stage, exchange, stages_of, transfers_s


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """One stage's share. Seconds and bytes; ``memory_bytes`` is what the GPU holds while it runs."""

    name: str
    calls: Any
    latency_s: Any
    low_s: Any
    high_s: Any
    gpu_s: Any
    host_s: Any
    transfer_s: Any
    peak_s: Any
    roofline_s: Any
    kernels: Any
    flops: Any
    by_kind: dict[str, Any]
    memory_bytes: Any
    activation_bytes: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineEstimate:
    """A pipeline under a request and a run. ``weights_bytes`` by component; ``fits`` is per GPU."""

    pipeline: GenerationPipeline
    gpu: GpuSpec
    request: Request
    run: Run
    stages: tuple[StageCost, ...]
    weights_bytes: dict[str, Any]
    provenance: Provenance
    usd_per_hour: float | None = None

    def total(self, field: str) -> Any:
        """A field of the stages summed."""
        return sum((as_float(getattr(s, field)) for s in self.stages), as_float(0.0))

    @property
    def latency_s(self) -> Any:
        return self.total("latency_s")

    @property
    def peak_memory_bytes(self) -> Any:
        most: Any = as_float(0.0)
        for stage in self.stages:
            most = np.maximum(most, stage.memory_bytes)
        return most

    @property
    def fits(self) -> Any:
        return np.asarray(self.peak_memory_bytes <= self.gpu.memory_bytes)

    @property
    def gpus(self) -> int:
        return self.run.gpus

    @property
    def gpu_seconds_per_output(self) -> Any:
        """GPU-seconds per image or video: what cost and energy follow."""
        return self.latency_s * self.gpus / as_float(self.request.batch_size)

    @property
    def energy_j(self) -> Any:
        """Joules per output at the GPUs' full board power while they run: an upper bound scaled by TDP."""
        return self.gpu_seconds_per_output * board_power_w(self.gpu, self.run.execution)

    @property
    def usd(self) -> Any:
        """Price per output at ``usd_per_hour`` of each GPU, None where it is not known."""
        return None if self.usd_per_hour is None else self.gpu_seconds_per_output * self.usd_per_hour / 3600.0


def estimate_pipeline(
    pipeline: GenerationPipeline, gpu: GpuSpec, request: Request, run: Run, *, pricer: Pricer | None = None
) -> PipelineEstimate:
    """Latency by stage, end to end, and memory.

    Raises:
        InvalidInputError: a request that the pipeline cannot serve, with the nearest legal values.
        UnsupportedError: the GPU cannot run what the run asks, with the reason.
    """
    check_request(pipeline, request)
    for reason in run_reasons(run).values():
        raise UnsupportedError(reason)
    pricer = pricer or Pricer(gpu)
    stages = [_priced(stage, pipeline, run, pricer) for stage in stages_of(pipeline, request, run)]
    weights = {priced.stage.component: priced.weights_bytes for priced in stages}
    for name, parameters in pipeline.record.not_costed.items():
        weights[name] = as_float(parameters) * run.base_dtype.itemsize
    offloaded = run.placement is not Placement.RESIDENT
    bandwidth = copy_bandwidth_bytes_s(gpu, pinned=run.pinned, given_gb_s=run.pcie_gb_s) if offloaded else np.inf
    copies = transfers_s([p.stage.number for p in stages], [p.weights_bytes for p in stages], run, bandwidth)
    costs = tuple(_cost(priced, copy, weights, run) for priced, copy in zip(stages, copies, strict=True))
    provenance = Provenance.worst([call.provenance for priced in stages for call, _ in priced.calls])
    return PipelineEstimate(
        pipeline=pipeline,
        gpu=gpu,
        request=request,
        run=run,
        stages=costs,
        weights_bytes=weights,
        provenance=provenance,
        usd_per_hour=pricer.usd_per_hour,
    )


@dataclass(frozen=True, slots=True)
class _Priced:
    """A stage with the price of each of its calls; ``extra_s`` is time on the GPUs beside them (exchange)."""

    stage: Stage
    calls: tuple[tuple[Call, Any], ...]
    weights_bytes: Any
    extra_s: Any

    def total(self, field: str) -> Any:
        """A field of the calls summed over all of them."""
        return sum((as_float(getattr(call, field)) * as_float(n) for call, n in self.calls), as_float(0.0))

    def largest(self, field: str) -> Any:
        """The largest of a field over the calls."""
        most: Any = as_float(0.0)
        for call, _ in self.calls:
            most = np.maximum(most, getattr(call, field))
        return most


def _priced(stage: Stage, pipeline: GenerationPipeline, run: Run, pricer: Pricer) -> _Priced:
    execution = run.execution.of_part(beside=stage.beside)
    calls = tuple((pricer.call(part.config, part.workload, execution), part.calls) for part in stage.parts)
    swap = exchange(pipeline, stage, run)
    extra: Any = as_float(0.0)
    if swap is not None:
        extra = as_float(pricer.model.estimate([swap], execution).latency_s) * as_float(stage.number)
    held = stage.weights_of
    weights = as_float(footprint(held.config, held.workload).weights) if stage.beside else calls[0][0].weights_bytes
    return _Priced(stage, calls, weights, extra)


def _cost(priced: _Priced, transfer: Any, weights: dict[str, Any], run: Run) -> StageCost:
    waits = priced.total("latency_s") + priced.extra_s
    kinds: dict[str, Any] = {}
    for call, number in priced.calls:
        for kind, seconds in call.by_kind.items():
            kinds[kind] = kinds.get(kind, as_float(0.0)) + as_float(seconds) * as_float(number)
    activations = priced.largest("activation_bytes")
    return StageCost(
        name=priced.stage.name,
        calls=priced.stage.number,
        latency_s=waits + transfer,
        low_s=priced.total("low_s") + priced.extra_s + transfer,  # waiting and copying widen no band
        high_s=priced.total("high_s") + priced.extra_s + transfer,
        gpu_s=priced.total("gpu_s"),
        host_s=priced.total("host_s"),
        transfer_s=transfer,
        peak_s=priced.total("peak_s"),
        roofline_s=priced.total("roofline_s"),
        kernels=priced.total("kernels"),
        flops=priced.total("flops"),
        by_kind=kinds,
        memory_bytes=_held(priced, weights, run) + activations,
        activation_bytes=activations,
    )


def _held(priced: _Priced, weights: dict[str, Any], run: Run) -> Any:
    """Bytes of weights on the GPU while a stage runs."""
    if run.placement is Placement.RESIDENT:
        return sum((as_float(v) for v in weights.values()), as_float(0.0))
    if run.placement is Placement.MODEL_OFFLOAD:
        return as_float(priced.weights_bytes)
    return priced.largest("largest_layer_bytes")


def placements(run: Run) -> Iterator[Run]:
    """Ways to need less memory, the same run first: tiling and slicing, a quantized text encoder, offload."""
    from archsearch.dtypes import DType

    for placement in Placement:
        for text in (run.text_encoder_dtype, DType.INT8, DType.FP4):
            for tiled in (run.tiling, True):
                if placement is not Placement.RESIDENT and run.execution.cuda_graphs:
                    continue  # captured graphs hold their weights' addresses
                yield replace(run, placement=placement, text_encoder_dtype=text, tiling=tiled, slicing=bool(tiled))


def cheapest_fit(
    pipeline: GenerationPipeline, gpu: GpuSpec, request: Request, run: Run, *, pricer: Pricer | None = None
) -> PipelineEstimate | None:
    """The fastest placement that fits the GPU, None where none does."""
    pricer = pricer or Pricer(gpu)
    best: PipelineEstimate | None = None
    for changed in dict.fromkeys(placements(run)):
        try:
            found = estimate_pipeline(pipeline, gpu, request, changed, pricer=pricer)
        except ArchSearchError:
            continue  # a decoder without tiles, a GPU without PCIe
        if bool(np.all(found.fits)) and (best is None or float(found.latency_s) < float(best.latency_s) * 0.999):
            best = found
    return best
