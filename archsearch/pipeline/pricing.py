"""Time and memory of one call of one component on one GPU, remembered per workload."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from archsearch.arrays import as_float
from archsearch.cost.bounds import bounds
from archsearch.cost.estimate import Estimate, Provenance
from archsearch.cost.execution import Execution
from archsearch.cost.layouts import laid_out
from archsearch.cost.memory import memory
from archsearch.cost.model import CostModel
from archsearch.cost.remember import PriceCache
from archsearch.hardware.prices import price_of
from archsearch.hardware.spec import GpuSpec
from archsearch.models.base import MemoryUse, ModelConfig
from archsearch.ops import Convolution, MatMul, OpList
from archsearch.workload import Workload

_KINDS = {"linear": "matmul", "bmm": "matmul", "attention": "attention", "convolution": "convolution"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a component. Seconds, bytes; scalars or broadcastable arrays.

    ``gpu_s`` is the kernels back to back and ``host_s`` the host's launching of them; ``latency_s`` is the longer, call
    by call. ``peak_s`` and ``roofline_s`` are ``cost.bounds``; ``by_kind`` splits ``gpu_s`` by matmul, attention,
    convolution, elementwise and collective.
    """

    latency_s: Any
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


class Pricer:
    """Prices calls of components on one GPU; scalar workloads are priced once.

    ``prices`` are the user's USD per GPU-hour by GPU id; ``usd_per_hour`` is this GPU's (None: unknown).
    """

    def __init__(self, gpu: GpuSpec, prices: Mapping[str, float] | None = None) -> None:
        self.gpu = gpu
        self.usd_per_hour = price_of(gpu, prices)
        self.model = CostModel(gpu, cache=PriceCache())
        self._known: dict[Hashable, Call] = {}

    def call(self, config: ModelConfig, w: Workload, execution: Execution) -> Call:
        """One call.

        Raises:
            UnsupportedError: the GPU has no units or kernel for what the execution asks.
            InvalidInputError: a workload that the model cannot take.
        """
        key = (config, w, execution)
        try:
            known = self._known.get(key)
        except TypeError:  # arrays are not remembered
            return self._price(config, w, execution)
        if known is None:
            known = self._known[key] = self._price(config, w, execution)
        return known

    def _price(self, config: ModelConfig, w: Workload, execution: Execution) -> Call:
        answer = self.model.price(config, w, execution)
        use = memory(config, w, execution, self.gpu)
        ops = laid_out(config, w, answer.execution)
        limits = bounds(ops, self.gpu, answer.execution)
        return Call(
            latency_s=as_float(answer.latency_s),
            gpu_s=as_float(answer.total("gpu_s")),
            low_s=as_float(answer.low_s),
            high_s=as_float(answer.high_s),
            host_s=as_float(answer.total("host_s")),
            kernels=as_float(answer.total("kernels")),
            flops=as_float(answer.flops),
            peak_s=limits.peak_s,
            roofline_s=limits.roofline_s,
            by_kind=by_kind(answer),
            weights_bytes=as_float(use.weights),
            activation_bytes=as_float(use.activations) + use.kv_cache,
            largest_layer_bytes=largest_layer_bytes(ops),
            provenance=answer.provenance,
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


def footprint(config: ModelConfig, w: Workload) -> MemoryUse:
    """``config.memory(w)``, remembered where both are scalars."""
    try:
        return _footprint(config, w)  # type: ignore[arg-type]
    except TypeError:  # arrays are not remembered
        return config.memory(w)


@lru_cache(maxsize=256)
def _footprint(config: ModelConfig, w: Workload) -> MemoryUse:
    return config.memory(w)
