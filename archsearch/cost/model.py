"""The cost model: a GPU and an op list in, latency with its band and reasons out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from archsearch.cost.calibration import Calibration, KernelFit, Known
from archsearch.cost.correction import corrected
from archsearch.cost.estimate import Estimate, KernelCost, OpCost, Provenance
from archsearch.cost.execution import AttentionKernel, Kernel, kernels_of, runs_fused
from archsearch.cost.kernels.base import KernelTime
from archsearch.cost.kernels.collective import collective_cost
from archsearch.cost.routes import (
    Route,
    attention_routes,
    compiled_memory_routes,
    convolution_route,
    flatten,
    gemm_route,
    memory_route,
    torch_attention,
)
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Attention, Collective, Convolution, MatMul, MemoryOp, Op, OpList, as_float, weighted_total

CHUNK = 8192
"""Shapes costed at a time: a grid of candidates × shapes stays within the CPU's caches."""


class CostModel:
    """Latency of ops on one GPU.

    Latencies are GPU time with kernels queued back to back, as under CUDA graphs or a full stream; ``kernels`` in
    each cost says how many launches that is. Weights are read from DRAM once per pass.
    """

    def __init__(self, gpu: GpuSpec, calibration: Calibration | None = None, *, correction: bool = True) -> None:
        """``correction=False`` leaves the mechanism's predictions as they are (see ``cost/correction.py``)."""
        self.gpu = gpu
        self.correction = correction
        self.calibration = calibration or Calibration.load()

    def estimate(self, ops: OpList | Sequence[Op], *, compiled: bool = False, attention: str = "auto") -> Estimate:
        """Latency of an op list run in order, broadcast over the dimensions' shapes.

        Args:
            compiled: fuse bandwidth-bound groups as torch.compile does, instead of eager execution.
            attention: auto, flash, sdpa or eager (see ``AttentionKernel``).

        Raises:
            UnsupportedError: the GPU cannot run an op in its format, with the reason.
        """
        choice = AttentionKernel.parse(attention)
        items = [self._op_cost(op, compiled, choice) for op in ops]
        counts = [i.count for i in items]
        fields = ("latency_s", "low_s", "high_s")
        totals = [weighted_total((getattr(i.cost, f) for i in items), counts) for f in fields]
        return Estimate(
            latency_s=totals[0],
            low_s=totals[1],
            high_s=totals[2],
            provenance=Provenance.worst([i.cost.provenance for i in items]),
            flops=weighted_total((i.flops for i in items), counts),
            breakdown=tuple(items),
        )

    def route_cost(self, route: Route) -> KernelCost:
        """Cost of routed 1-d shapes (what validation calls); arrays of shape [S]."""
        known = self.calibration.lookup(self.gpu, route.kernel)
        time = _predict_chunks(route, known if self.correction else known.model_copy(update={"correction": None}))
        low, high = _band(time, known.fit)
        return KernelCost(
            latency_s=time.latency_s,
            low_s=low,
            high_s=high,
            provenance=known.provenance,
            bound=time.bound,
            details=time.details,
        )

    def _op_cost(self, op: Op, compiled: bool, attention: AttentionKernel) -> OpCost:
        mixed = self._mixed_cost(op, compiled, attention)
        if mixed is not None:
            return mixed
        kernels = list(kernels_of(op, self.gpu, compiled=compiled, attention=attention))
        costs = [self._kernel_cost(kernel, compiled, attention) for kernel in kernels]
        bytes_moved = sum((k.memory_bytes() for k in kernels), as_float(0.0))
        return OpCost(
            name=op.name,
            op=_label(op, kernels),
            count=op.count,
            flops=op.flops(),
            memory_bytes=bytes_moved,
            cost=costs[0] if len(costs) == 1 else _in_sequence(costs),
        )

    def _mixed_cost(self, op: Op, compiled: bool, attention: AttentionKernel) -> OpCost | None:
        """Attention that has a fused kernel for some head_dims of a grid alone: both ways costed, and each architecture
        given its own. None for every other op."""
        if not isinstance(op, Attention):
            return None
        mask = runs_fused(op, self.gpu, attention)
        if mask.all() or not mask.any():
            return None
        fused = replace(op, head_dim=np.where(mask, op.head_dim, np.asarray(op.head_dim)[mask][0]))
        first = self._op_cost(fused, compiled, attention)
        return _either(mask, first, self._op_cost(op, compiled, AttentionKernel.EAGER), op)

    def _kernel_cost(self, kernel: Kernel, compiled: bool, attention: AttentionKernel) -> KernelCost:
        if isinstance(kernel, Collective):
            return collective_cost(self.gpu, kernel)
        if isinstance(kernel, MatMul):
            dims = {"m": kernel.m, "n": kernel.n, "k": kernel.k, "batch": kernel.batch}
            flat, shape = flatten(dims)
            if kernel.weights:
                flat["reuse_bytes"] = np.array(np.inf)
            return _reshaped(self.route_cost(gemm_route(self.gpu, kernel.dtype, flat, weights=kernel.weights)), shape)
        if isinstance(kernel, Convolution):
            route, shape = convolution_route(self.gpu, kernel)
            return _reshaped(self.route_cost(route), shape)
        if isinstance(kernel, Attention):
            return _scaled(self._attention_cost(kernel, attention), kernel.passes)
        return self._memory_cost(kernel, compiled)

    def _memory_cost(self, op: MemoryOp, compiled: bool) -> KernelCost:
        each = {"reads": op.reads / op.kernels, "writes": op.writes / op.kernels}
        flat, shape = flatten({"rows": op.rows, "cols": op.cols, **each})
        if compiled:
            routes = compiled_memory_routes(self.gpu, op.dtype, op.kind, flat)
            cost = _joined([(index, self.route_cost(r)) for index, r in routes], int(np.prod(shape)))
        else:
            cost = self.route_cost(memory_route(self.gpu, op.dtype, op.kind, flat))
        return _reshaped(_scaled(cost, op.kernels, op.kernels), shape)

    def _attention_cost(self, op: Attention, attention: AttentionKernel) -> KernelCost:
        """Fused attention, by torch's own kernel where ``sdpa`` is asked for."""
        names = ("batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim")
        dims: dict[str, Any] = {name: getattr(op, name) for name in names}
        dims["window"] = 0 if op.window is None else op.window
        dims["causal"] = int(op.causal)
        dims["cache_write"] = 0.0  # writing a paged cache is the serving engine's, not the attention's
        flat, shape = flatten(dims)
        backends = {AttentionKernel.SDPA: torch_attention(self.gpu), AttentionKernel.FA2: "torch_fa2"}
        named = backends.get(attention)
        parts = [(index, self.route_cost(r)) for index, r in attention_routes(self.gpu, op.dtype, flat, named)]
        return _reshaped(_joined(parts, int(np.prod(shape))), shape)


def _predict_chunks(route: Route, known: Known) -> KernelTime:
    """Predict in chunks of ``CHUNK`` shapes on all cores (NumPy frees the lock), in constant memory."""
    size = max((np.size(v) for v in route.dims.values()), default=1)
    if size <= CHUNK:
        return _predict(route, route.dims, known)
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:  # a thread a chunk, none inside
        starts = range(0, size, CHUNK)
        parts = list(pool.map(lambda i: _predict(route, _rows(route.dims, slice(i, i + CHUNK)), known), starts))
    return KernelTime(
        latency_s=np.concatenate([p.latency_s for p in parts]),
        bound=np.concatenate([p.bound for p in parts]),
        details={k: np.concatenate([p.details[k] for p in parts]) for k in parts[0].details},
    )


def _predict(route: Route, dims: Mapping[str, Any], known: Known) -> KernelTime:
    fitted = known.fit.coefficients  # those of a relative may be more, those of an older calibration fewer
    values = {c.name: fitted.get(c.name, c.start) for c in route.model.coefficients}

    def mechanism(shapes: Mapping[str, Any]) -> KernelTime:
        return route.model.predict(route.gpu, route.dtype, shapes, values)

    if known.correction is None:
        return mechanism(dims)
    return corrected(route.gpu, route.dtype, dims, mechanism, known.correction)


def _rows(dims: Mapping[str, Any], index: slice) -> dict[str, Any]:
    return {k: v if np.ndim(v) == 0 else v[index] for k, v in dims.items()}


def _band(time: KernelTime, fit: KernelFit) -> tuple[Any, Any]:
    low, high = np.ones_like(time.latency_s), np.ones_like(time.latency_s)
    for bound, band in fit.bands.items():
        rows = time.bound == bound
        low[rows], high[rows] = band.low, band.high
    return time.latency_s * low, time.latency_s * high


def _reshaped(cost: KernelCost, shape: tuple[int, ...]) -> KernelCost:
    def fold(value: Any) -> Any:
        return np.asarray(value).reshape(shape)

    return replace(
        cost,
        latency_s=fold(cost.latency_s),
        low_s=fold(cost.low_s),
        high_s=fold(cost.high_s),
        bound=fold(cost.bound),
        details={k: fold(v) for k, v in cost.details.items()},
    )


def _scaled(cost: KernelCost, times: float, kernels: int = 1) -> KernelCost:
    """The cost of several like it in a row."""
    if times == 1:
        return cost
    return replace(
        cost, latency_s=cost.latency_s * times, low_s=cost.low_s * times, high_s=cost.high_s * times, kernels=kernels
    )


def _in_sequence(costs: Sequence[KernelCost]) -> KernelCost:
    """Several kernels run one after another; what bounds the longest bounds the op, and a single product tells its
    tiles."""
    shape = np.broadcast_shapes(*(np.shape(c.latency_s) for c in costs))
    latencies = np.stack([np.broadcast_to(c.latency_s, shape) for c in costs])
    bounds = np.stack([np.broadcast_to(c.bound, shape) for c in costs])
    longest = np.argmax(latencies, axis=0)
    tiled = [c.details for c in costs if "tile_m" in c.details]
    return KernelCost(
        latency_s=latencies.sum(axis=0),
        low_s=sum(c.low_s for c in costs),
        high_s=sum(c.high_s for c in costs),
        provenance=Provenance.worst([c.provenance for c in costs]),
        bound=np.take_along_axis(bounds, longest[None], axis=0)[0],
        kernels=sum(c.kernels for c in costs),
        details={k: np.broadcast_to(v, shape) for k, v in tiled[0].items()} if len(tiled) == 1 else {},
    )


def _either(mask: Any, first: OpCost, second: OpCost, op: Op) -> OpCost:
    """The first cost where ``mask`` holds, else the second."""

    def pick(a: Any, b: Any) -> Any:
        return np.where(mask, a, b)

    costs = (first.cost, second.cost)
    cost = KernelCost(
        latency_s=pick(*(c.latency_s for c in costs)),
        low_s=pick(*(c.low_s for c in costs)),
        high_s=pick(*(c.high_s for c in costs)),
        provenance=Provenance.worst([c.provenance for c in costs]),
        bound=pick(*(c.bound for c in costs)),
        kernels=pick(*(c.kernels for c in costs)),
    )
    moved = pick(first.memory_bytes, second.memory_bytes)
    return OpCost(name=op.name, op=first.op, count=op.count, flops=op.flops(), memory_bytes=moved, cost=cost)


def _joined(parts: Sequence[tuple[Any, KernelCost]], size: int) -> KernelCost:
    """Costs of disjoint rows put back in order."""
    if len(parts) == 1:
        return parts[0][1]
    fields: dict[str, Any] = {f: np.empty(size) for f in ("latency_s", "low_s", "high_s")}
    bound = np.empty(size, dtype="<U16")
    for index, cost in parts:
        for name, column in fields.items():
            column[index] = getattr(cost, name)
        bound[index] = cost.bound
    return KernelCost(**fields, provenance=Provenance.worst([c.provenance for _, c in parts]), bound=bound)


def _label(op: Op, kernels: Sequence[Kernel]) -> str:
    if isinstance(op, Attention):
        return "attention" if len(kernels) == 1 else "attention (unfused)"
    return op.kind
