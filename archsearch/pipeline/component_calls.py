"""Time and memory of one call of one component on one GPU, remembered per workload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from archsearch.arrays import Count, Floats, as_float
from archsearch.cost.bounds import bounds
from archsearch.cost.estimate import Estimate, Provenance
from archsearch.cost.execution import Execution
from archsearch.cost.layouts import laid_out
from archsearch.cost.memory import memory
from archsearch.cost.model import CostModel
from archsearch.cost.remember import PriceCache, Remembered
from archsearch.hardware.prices import quotes
from archsearch.hardware.spec import GpuSpec
from archsearch.models.base import MemoryUse, ModelConfig
from archsearch.ops import Convolution, MatMul, OpList
from archsearch.workload import Workload

REMEMBERED_CALLS = 4096
REMEMBERED_MODELS = 256
_KINDS = {
    "linear": "matmul",
    "bmm": "matmul",
    "experts": "matmul",
    "attention": "attention",
    "convolution": "convolution",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a component. Seconds, bytes; scalars or broadcastable arrays.

    ``gpu_s`` is the kernels back to back and ``host_s`` the host's launching of them; ``latency_s`` is the longer, call
    by call. ``peak_s`` and ``roofline_s`` are ``cost.bounds``; ``by_kind`` splits ``gpu_s`` by matmul, attention,
    convolution, elementwise and collective.
    """

    latency_s: Floats
    gpu_s: Floats
    low_s: Floats
    high_s: Floats
    host_s: Floats
    kernels: Floats
    flops: Floats
    peak_s: Floats
    roofline_s: Floats
    by_kind: dict[str, Floats]
    weights_bytes: Floats
    activation_bytes: Floats
    largest_layer_bytes: Floats
    provenance: Provenance


class Models:
    """Operations and memory of the models of pipelines, each scalar one computed once for a workload."""

    def __init__(self) -> None:
        self.ops: Callable[[ModelConfig, Workload], OpList] = Remembered(_lower, REMEMBERED_MODELS)
        self.memory: Callable[[ModelConfig, Workload], MemoryUse] = Remembered(_memory, REMEMBERED_MODELS)


@dataclass(frozen=True, slots=True)
class _Known:
    """A model whose operations and memory are remembered; two of one config are equal."""

    config: ModelConfig
    models: Models = field(compare=False)

    @property
    def family(self) -> str:
        return self.config.family

    def parameters(self) -> Count:
        return self.config.parameters()

    def lower(self, workload: Workload) -> OpList:
        return self.models.ops(self.config, workload)

    def memory(self, workload: Workload) -> MemoryUse:
        return self.models.memory(self.config, workload)


def _lower(config: ModelConfig, workload: Workload) -> OpList:
    return config.lower(workload)


def _memory(config: ModelConfig, workload: Workload) -> MemoryUse:
    return config.memory(workload)


class Pricer:
    """Prices calls of components on one GPU; scalar workloads are priced once. Pricers of several GPUs may share what
    is known of the ``models``.

    ``prices`` are the user's USD per GPU-hour by GPU id; ``quotes`` has this GPU's, or says that nobody knows it.
    """

    def __init__(
        self, gpu: GpuSpec, prices: Mapping[str, float] | None = None, *, models: Models | None = None
    ) -> None:
        self.gpu = gpu
        self.quotes = quotes([gpu], prices)
        self.model = CostModel(gpu, cache=PriceCache())
        self.models = models or Models()
        self._calls = Remembered(self._price, REMEMBERED_CALLS)

    def call(self, config: ModelConfig, workload: Workload, execution: Execution) -> Call:
        """One call.

        Raises:
            UnsupportedError: the GPU has no units or kernel for what the execution asks.
            InvalidInputError: a workload that the model cannot take.
        """
        return self._calls(config, workload, execution)

    def _price(self, config: ModelConfig, workload: Workload, execution: Execution) -> Call:
        model = _Known(config, self.models) if execution.gpus == 1 else config
        answer = self.model.price(model, workload, execution, spread=0.0)  # a part of a run, which has one
        use = memory(model, workload, execution, self.gpu)
        ops = laid_out(model, workload, answer.execution)
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


def by_kind(answer: Estimate) -> dict[str, Floats]:
    """Seconds by what runs: matmul, attention, convolution, collective, elementwise."""
    found: dict[str, Floats] = {}
    for item in answer.breakdown:
        name = item.op.removesuffix(" (unfused)")
        kind = _KINDS.get(name, "collective" if name.startswith("all_") else "elementwise")
        found[kind] = found.get(kind, as_float(0.0)) + as_float(item.cost.latency_s) * as_float(item.count)
    return found


def largest_layer_bytes(ops: OpList) -> Floats:
    """Weights of the largest single layer: what layer-by-layer offloading has on the GPU at a time."""
    most: Floats = as_float(0.0)
    for op in ops:
        if isinstance(op, MatMul) and op.weights:
            most = np.maximum(most, as_float(op.n) * as_float(op.k) * op.dtype.weight_itemsize)
        elif isinstance(op, Convolution):
            taps = as_float(op.in_channels) / as_float(op.groups) * as_float(op.volume)
            most = np.maximum(most, taps * as_float(op.out_channels) * op.dtype.itemsize)
    return most
