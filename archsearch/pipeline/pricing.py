"""Time and memory of one call of one component on one GPU, remembered per workload."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from archsearch.cost import CostModel
from archsearch.cost.clocks import SustainedCostModel
from archsearch.cost.estimate import Estimate, Provenance
from archsearch.cost.host import launch_s
from archsearch.cost.routes import fused_attention_reason
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.models.base import ModelConfig
from archsearch.ops import Attention, Convolution, MatMul, OpList, as_float
from archsearch.pipeline.request import Run
from archsearch.pipeline.transforms import ideal_s, transformed
from archsearch.workload import Workload

_KINDS = {"linear": "matmul", "bmm": "matmul", "attention": "attention", "convolution": "convolution"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a component. Seconds, bytes; scalars or broadcastable arrays.

    ``gpu_s`` is the kernels back to back and ``host_s`` the host's launching of them; the call takes the longer, since
    the host runs ahead. ``peak_s`` and ``roofline_s`` are the bounds of ``transforms.ideal_s``; ``by_kind`` splits
    ``gpu_s`` by matmul, attention, convolution, elementwise and collective.
    """

    gpu_s: Any
    low_s: Any
    high_s: Any
    host_s: Any
    kernels: Any
    flops: Any
    peak_s: Any
    roofline_s: Any
    by_kind: dict[str, Any]
    weights_bytes: Any
    activation_bytes: Any
    largest_layer_bytes: Any
    provenance: Provenance

    @property
    def latency_s(self) -> Any:
        return np.maximum(self.gpu_s, self.host_s)


class Pricer:
    """Prices calls of components on one GPU; scalar workloads are priced once."""

    def __init__(self, gpu: GpuSpec, *, correction: bool = True, sustained: bool = True) -> None:
        self.gpu = gpu
        self.model = (SustainedCostModel if sustained else CostModel)(gpu, correction=correction)
        self._known: dict[Hashable, Call] = {}

    def call(self, config: ModelConfig, w: Workload, run: Run, *, levers: bool = False) -> Call:
        """One call. ``levers`` applies the run's attention kernel, compilation, graphs and rewrites, which are the
        transformer's; the other components run eagerly with torch's own choice of kernel.

        Raises:
            UnsupportedError: the GPU has no units or kernel for what the run asks.
            InvalidInputError: a workload that the model cannot take.
        """
        key = (config, w, run.torch, run.launch_us, _rewrites(run) if levers else None)
        try:
            known = self._known.get(key)
        except TypeError:  # arrays are not remembered
            return self._price(config, w, run, levers)
        if known is None:
            known = self._known[key] = self._price(config, w, run, levers)
        return known

    def _price(self, config: ModelConfig, w: Workload, run: Run, levers: bool) -> Call:
        for dtype in (w.linear_dtype, w.activation_dtype):
            if not self.gpu.supports(dtype):
                raise UnsupportedError(self.gpu.why_unsupported(dtype))
        ops = lowered(config, w)
        if levers:
            ops = transformed(ops, w, run)
        compiled, graphs = levers and run.compiled, levers and run.cuda_graphs
        asked = run.attention if levers else "auto"
        answer = self.model.estimate(ops, compiled=compiled, attention=self._kernel(ops, asked, run.torch))
        kernels = sum((as_float(i.count) * as_float(i.cost.kernels) for i in answer.breakdown), as_float(0.0))
        memory = config.memory(w)
        peak, roofline = ideal_s(ops, self.gpu)
        activations = as_float(memory.activations)
        if levers and run.sequence_parallel > 1:
            activations = activations / run.sequence_parallel
        return Call(
            gpu_s=as_float(answer.latency_s),
            low_s=as_float(answer.low_s),
            high_s=as_float(answer.high_s),
            host_s=kernels * launch_s(compiled=compiled, cuda_graphs=graphs, given_us=run.launch_us),
            kernels=kernels,
            flops=as_float(answer.flops),
            peak_s=peak,
            roofline_s=roofline,
            by_kind=by_kind(answer),
            weights_bytes=as_float(memory.weights),
            activation_bytes=activations + memory.kv_cache,
            largest_layer_bytes=largest_layer_bytes(ops),
            provenance=answer.provenance,
        )

    def _kernel(self, ops: OpList, asked: str, torch: str) -> str:
        """The cost model's name of the attention that runs: torch's own choice is FlashAttention-2 before 2.8."""
        chosen = _attention(ops, self.gpu, asked)
        old = asked == "auto" and chosen == "sdpa" and torch == "2.4"
        return "fa2" if old else chosen


def _rewrites(run: Run) -> tuple[Hashable, ...]:
    """What of a run changes a call of the transformer."""
    return (
        run.torch,
        run.attention,
        run.compiled,
        run.cuda_graphs,
        run.fused_qkv,
        run.linear_attention,
        run.sequence_parallel,
    )


def lowered(config: ModelConfig, w: Workload) -> OpList:
    """``config.lower(w)``, remembered where both are scalars."""
    try:
        return _lowered(config, w)  # type: ignore[arg-type]
    except TypeError:  # arrays are not remembered
        return config.lower(w)


@lru_cache(maxsize=256)
def _lowered(config: ModelConfig, w: Workload) -> OpList:
    return config.lower(w)


def by_kind(answer: Estimate) -> dict[str, Any]:
    """Seconds by what runs: matmul, attention, convolution, collective, elementwise."""
    found: dict[str, Any] = {}
    for item in answer.breakdown:
        name = item.op.removesuffix(" (unfused)")
        kind = _KINDS.get(name, "collective" if name.startswith("all_") else "elementwise")
        found[kind] = found.get(kind, as_float(0.0)) + as_float(item.cost.latency_s) * as_float(item.count)
    return found


def _attention(ops: OpList, gpu: GpuSpec, asked: str) -> str:
    """``auto`` as torch chooses: its fused kernels where one runs every attention of the component, else the cost
    model's own choice (fused or unfused, op by op)."""
    if asked != "auto":
        return asked
    attentions = [op for op in ops if isinstance(op, Attention)]
    fused = all(fused_attention_reason(gpu, op.dtype, op.head_dim, flash=False) is None for op in attentions)
    return "sdpa" if fused else "auto"


def largest_layer_bytes(ops: OpList) -> Any:
    """Weights of the largest single layer: what layer-by-layer offloading has on the GPU at a time."""
    most: Any = as_float(0.0)
    for op in ops:
        if isinstance(op, MatMul) and op.weights:
            most = np.maximum(most, as_float(op.n) * as_float(op.k) * op.dtype.itemsize)
        elif isinstance(op, Convolution):
            taps = as_float(op.in_channels) / as_float(op.groups) * as_float(op.volume)
            most = np.maximum(most, taps * as_float(op.out_channels) * op.dtype.itemsize)
    return most


def weights_in(config: ModelConfig, w: Workload, stored: Any) -> Any:
    """Bytes of a component's weights where its linear layers are stored in another format than they compute in."""
    w = replace(w, dtype=stored)
    try:
        return _weights(config, w)  # type: ignore[arg-type]
    except TypeError:  # arrays are not remembered
        return as_float(config.memory(w).weights)


@lru_cache(maxsize=256)
def _weights(config: ModelConfig, w: Workload) -> Any:
    return as_float(config.memory(w).weights)
