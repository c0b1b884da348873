"""The cost model: a GPU, what runs and how it runs in; latency with its band and reasons out."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from archsearch.arrays import Count, FloatArray, Floats, as_float
from archsearch.cost.asked_execution import chosen_execution
from archsearch.cost.calibration import Calibration, KernelFit, Known
from archsearch.cost.clocks import slow_down
from archsearch.cost.collectives import collective_cost, served_custom
from archsearch.cost.combine import either, exposed, fastest, in_sequence, joined, no_faster, reshaped, scaled
from archsearch.cost.correction import corrected
from archsearch.cost.correction_leash import Lattices, Recall
from archsearch.cost.delta_routes import delta_net_route
from archsearch.cost.estimate import Estimate, KernelCost, OpCost, Provenance, SegmentCost
from archsearch.cost.execution import BURST, AttentionChoice, Execution
from archsearch.cost.floor import at_least
from archsearch.cost.host import gap_s, launch_s
from archsearch.cost.kernels.kernel_cost import Dims, KernelTime
from archsearch.cost.launches import Kernel, fused_backends, is_over_a_cache, kernels_of, runs_fused
from archsearch.cost.layouts import Lowerable, laid_out
from archsearch.cost.legality import check_execution
from archsearch.cost.quantization import ScaledMatMul, StaticMatMul, check_quantizing, least_seconds
from archsearch.cost.remember import PriceCache, of_a_kernel, shape_key
from archsearch.cost.rewrites import rewritten
from archsearch.cost.routes import (
    Route,
    attention_routes,
    compiled_memory_routes,
    convolution_route,
    experts_route,
    flatten,
    gemm_route,
    memory_route,
    prepared_route,
)
from archsearch.cost.spread import whole_run_spread
from archsearch.cost.training_kernels import attention_passes, in_training
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.linear_attention import GatedDeltaNet
from archsearch.ops import Attention, Collective, Convolution, MatMul, MemoryOp, Op, OpList, weighted_total
from archsearch.progress import detail, is_verbose
from archsearch.routed_experts import Experts
from archsearch.segments import Segment, segments_of
from archsearch.workload import Workload

CHUNK = 8192
"""Shapes costed at a time: a grid of candidates × shapes stays within the CPU's caches."""


class Prices(Protocol):
    """What prices op lists on one GPU."""

    def estimate(self, ops: OpList, execution: Execution, spread: float = 0.0) -> Estimate:
        """Latency of an op list run in order, with the ``spread`` of whole runs in its band."""


def price_on(
    models: Mapping[str, Prices], config: Lowerable, workload: Workload, execution: Execution | None = None
) -> dict[str, Estimate]:
    """``CostModel.price`` on several GPUs, the model lowered once; by the mapping's keys.

    Raises:
        UnsupportedError, InvalidInputError: see ``CostModel.price``.
    """
    chosen = _resolved(workload, execution)
    ops = laid_out(config, workload, chosen)
    spread = whole_run_spread(config, workload)
    return {name: model.estimate(ops, chosen, spread) for name, model in models.items()}


class CostModel:
    """Prices on one GPU. Weights are read from DRAM once per pass.

    With a ``cache`` every distinct shape is priced once, and large arrays of shapes come without the explanation
    (``bound`` is empty, ``details`` are left out); neither changes a price.
    """

    def __init__(
        self, gpu: GpuSpec, calibration: Calibration | None = None, *, cache: PriceCache | None = None
    ) -> None:
        self.gpu = gpu
        self.calibration = calibration or Calibration.load()
        self.cache = cache
        self._lattices = Lattices()

    def price(
        self, config: Lowerable, workload: Workload, execution: Execution | None = None, spread: float | None = None
    ) -> Estimate:
        """The time of one run of a model: the one way from a config to seconds.

        The layout and the release's rewrites change the ops first, then every op is priced under the execution
        (``default_execution`` where it is None). The band holds the ``spread`` of whole runs of the model's kind;
        another where it is part of a larger run, 0 for its kernels' band alone.

        Raises:
            UnsupportedError: the GPU has no units or kernel for what is asked, or the model no such layout.
            InvalidInputError: a workload that the model cannot take, or a clock that the GPU does not have.
        """
        chosen = _resolved(workload, execution)
        if self.cache is not None:
            key = (config, workload, chosen, spread)
            return self.cache.call(key, lambda: self._price(config, workload, chosen, spread))
        return self._price(config, workload, chosen, spread)

    def _price(self, config: Lowerable, workload: Workload, execution: Execution, spread: float | None) -> Estimate:
        for dtype in (workload.linear_dtype, workload.activation_dtype):
            if not self.gpu.supports(dtype):
                raise UnsupportedError(self.gpu.why_unsupported(dtype))
        ops = laid_out(config, workload, execution)
        return self.estimate(ops, execution, whole_run_spread(config, workload) if spread is None else spread)

    def estimate(self, ops: OpList | Sequence[Op], execution: Execution = BURST, spread: float = 0.0) -> Estimate:
        """Latency of an op list run in order, broadcast over the dimensions' shapes; by default of kernels back to
        back, as they are benchmarked. ``spread`` is what a whole run's band has beside its kernels'.

        Raises:
            UnsupportedError: the GPU cannot run an op in its format, with the reason.
            InvalidInputError: a clock or limit that the GPU does not have.
        """
        check_execution(self.gpu, execution)
        parts: list[SegmentCost] = []
        for segment in segments_of(ops):
            own = execution.of_part(beside=segment.beside, workload=segment.workload)
            cost = self._segment(segment, own)
            parts.append(cost if segment.overlap is None else exposed(cost, segment.overlap, parts))
        return Estimate.of(parts, execution, spread)

    def route_cost(self, route: Route, execution: Execution = BURST) -> KernelCost:
        """Cost of routed 1-d shapes (what validation calls); arrays of shape [S]."""
        if self.cache is None:
            return self._route_cost(route, execution)
        return self.cache.kernel(route, execution, lambda distinct: self._route_cost(distinct, execution))

    def _route_cost(self, route: Route, execution: Execution) -> KernelCost:
        known = self.calibration.lookup(self.gpu, route.kernel)
        used = known if execution.correction else known.model_copy(update={"correction": None})
        burst = execution.clock == "burst" and execution.power_limit_w is None

        def at_its_clock(time: KernelTime) -> Floats:
            if burst and known.provenance is Provenance.CALIBRATED:
                return time.latency_s
            slower = slow_down(self.gpu, known, route.kernel, time.bound, time.latency_s, execution)
            return time.latency_s * slower

        recall = partial(self._lattices.of, (route.kernel, route.dtype, of_a_kernel(execution)))
        time = _predict_chunks(route, partial(_predict, route, used, at_its_clock, recall))
        low, high = _band(time, known.fit)
        cost = KernelCost(
            latency_s=time.latency_s,
            low_s=low,
            high_s=high,
            provenance=known.provenance,
            bound=time.bound,
            details=time.details,
        )
        return at_least(cost, route, execution)

    def _segment(self, segment: Segment, execution: Execution) -> SegmentCost:
        if self.cache is None or segment.key is None:
            return self._segment_cost(segment, execution)
        found = self.cache.segment((segment.key, execution), lambda: self._segment_cost(segment, execution))
        return replace(found, name=segment.name, calls=segment.calls)

    def _segment_cost(self, segment: Segment, execution: Execution) -> SegmentCost:
        known = self.gpu.generation.tiles_known  # a product of unknown kernels holds its quantization
        ops = rewritten(
            segment.ops, execution if known else replace(execution, quantization="kernel", scaling="dynamic")
        )
        items = self._op_costs(ops, execution)
        if segment.trains:
            items = [in_training(item, op, self.gpu, execution) for item, op in zip(items, ops, strict=True)]
        counts = [i.count for i in items]
        fields = ("latency_s", "low_s", "high_s", "kernels")
        gpu_s, low, high, kernels = (weighted_total((getattr(i.cost, f) for i in items), counts) for f in fields)
        return SegmentCost(
            name=segment.name,
            calls=segment.calls,
            execution=execution,
            gpu_s=gpu_s,
            low_s=low,
            high_s=high,
            host_s=as_float(kernels) * launch_s(self.gpu, execution),
            kernels=kernels,
            flops=weighted_total((i.flops for i in items), counts),
            breakdown=tuple(items),
            gaps_s=as_float(kernels) * gap_s(self.gpu, execution),
        )

    def _op_costs(self, ops: OpList, execution: Execution) -> list[OpCost]:
        """The cost of each op; those of one shape are priced once."""
        known: dict[Hashable, OpCost] = {}
        items = []
        for op in ops:
            key = shape_key(op)
            found = known.get(key) if key is not None else None
            if found is None:
                found = self._op_cost(op, execution)
                if key is not None:
                    known[key] = found
            items.append(replace(found, name=op.name, count=op.count))
        return items

    def _op_cost(self, op: Op, execution: Execution) -> OpCost:
        """Cost of an op; attention of one query over a cache that may be the ``fastest`` also runs unfused where that
        is faster, its launches counted; its scores take no memory worth counting there."""
        cost = self._mixed_cost(op, execution) or self._plain_cost(op, execution)
        if execution.attention != AttentionChoice.FASTEST or not (isinstance(op, Attention) and is_over_a_cache(op)):
            return cost
        unfused = self._plain_cost(op, replace(execution, attention="eager"))
        launch = launch_s(self.gpu, execution)
        takes = [np.maximum(c.cost.latency_s, as_float(c.cost.kernels) * launch) for c in (unfused, cost)]
        faster = np.asarray(takes[0] < takes[1])
        if not faster.any():
            return cost
        return unfused if faster.all() else either(~faster, cost, unfused, op)

    def _plain_cost(self, op: Op, execution: Execution) -> OpCost:
        kernels = list(
            kernels_of(op, self.gpu, compiled=execution.compiled, attention=AttentionChoice(execution.attention))
        )
        costs = [self._kernel_cost(kernel, execution) for kernel in kernels]
        bytes_moved = sum((k.memory_bytes() for k in kernels), as_float(0.0))
        return OpCost(
            name=op.name,
            op=_label(op, kernels),
            count=op.count,
            flops=op.flops(),
            memory_bytes=bytes_moved,
            cost=costs[0] if len(costs) == 1 else in_sequence(costs),
        )

    def _mixed_cost(self, op: Op, execution: Execution) -> OpCost | None:
        """Attention that has a fused kernel for some head_dims of a grid alone: both ways costed, and each architecture
        given its own. None for every other op."""
        if not isinstance(op, Attention):
            return None
        mask = runs_fused(op, self.gpu, AttentionChoice(execution.attention))
        if mask.all() or not mask.any():
            return None
        fused = replace(op, head_dim=np.where(mask, op.head_dim, np.asarray(op.head_dim)[mask][0]))
        first = self._plain_cost(fused, execution)
        return either(mask, first, self._plain_cost(op, replace(execution, attention="eager")), op)

    def _kernel_cost(self, kernel: Kernel, execution: Execution) -> KernelCost:
        if isinstance(kernel, Collective):
            own = served_custom(execution)
            return collective_cost(self.gpu, kernel, lambda route: self.route_cost(route, execution), custom=own)
        if isinstance(kernel, MatMul):
            dims = {"m": kernel.m, "n": kernel.n, "k": kernel.k, "batch": kernel.batch}
            flat, shape = flatten(dims)
            if kernel.weights:
                flat["reuse_bytes"] = np.array(np.inf)
            if isinstance(kernel, ScaledMatMul):
                route = prepared_route(self.gpu, kernel.dtype, flat, kernel.rate)
                cost = reshaped(self.route_cost(route, execution), shape)
                return no_faster(cost, least_seconds(kernel, self.gpu, execution))
            if isinstance(kernel, StaticMatMul):
                flat["static"] = np.array(1.0)
            route = gemm_route(self.gpu, kernel.dtype, flat, weights=kernel.weights)
            learned = execution.correction and not kernel.grouped
            return reshaped(self.route_cost(route, replace(execution, correction=learned)), shape)
        if isinstance(kernel, Convolution):
            route, shape = convolution_route(self.gpu, kernel)
            return reshaped(self.route_cost(route, execution), shape)
        if isinstance(kernel, Experts):
            return self._experts_cost(kernel, execution)
        if isinstance(kernel, GatedDeltaNet):
            route, shape = delta_net_route(self.gpu, kernel)
            return reshaped(self.route_cost(route, execution), shape)
        if isinstance(kernel, Attention):
            return scaled(self._attention_cost(kernel, execution), attention_passes(kernel))
        return self._memory_cost(kernel, execution)

    def _memory_cost(self, op: MemoryOp, execution: Execution) -> KernelCost:
        each = {"reads": op.reads / op.kernels, "writes": op.writes / op.kernels}
        flat, shape = flatten({"rows": op.rows, "cols": op.cols, **each})
        if execution.compiled:
            routes = compiled_memory_routes(self.gpu, op.dtype, op.kind, flat)
            cost = joined([(index, self.route_cost(r, execution)) for index, r in routes], int(np.prod(shape)))
        else:
            cost = self.route_cost(memory_route(self.gpu, op.dtype, op.kind, flat), execution)
        return reshaped(scaled(cost, op.kernels, op.kernels), shape)

    def _experts_cost(self, op: Experts, execution: Execution) -> KernelCost:
        """Routed experts; a model streams their weights from DRAM."""
        sizes = ("tokens", "hidden_size", "moe_intermediate_size", "num_experts_per_tok", "num_experts")
        dims: dict[str, Count] = {name: getattr(op, name) for name in (*sizes, "expert_parallel")}
        flat, shape = flatten({**dims, "gated": float(op.gated), "skew": op.skew, "reuse_bytes": np.inf})
        return reshaped(self.route_cost(experts_route(self.gpu, op.dtype, flat), execution), shape)

    def _attention_cost(self, op: Attention, execution: Execution) -> KernelCost:
        """Fused attention by the backend that is asked for, of several by the fastest for each shape."""
        names = ("batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim")
        dims: dict[str, Count] = {name: getattr(op, name) for name in names}
        dims["window"] = 0 if op.window is None else op.window
        dims["causal"] = int(op.causal)
        dims["cache_write"] = 0.0  # writing a paged cache is the serving engine's, not the attention's
        flat, shape = flatten(dims)
        found = []
        for named in fused_backends(self.gpu, AttentionChoice(execution.attention), execution.torch):
            routes = attention_routes(self.gpu, op.dtype, flat, named)
            detail(f"attention on {self.gpu.id}: tried {', '.join(route.kernel for _, route in routes)}")
            parts = [(index, self.route_cost(r, execution)) for index, r in routes]
            found.append(joined(parts, int(np.prod(shape))))
        return reshaped(fastest(found), shape)


def _predict_chunks(route: Route, predict: Callable[[Dims], KernelTime]) -> KernelTime:
    """``predict`` in chunks of ``CHUNK`` shapes on all cores (NumPy frees the lock), in constant memory."""
    size = max((np.size(v) for v in route.dims.values()), default=1)
    if size <= CHUNK:
        return predict(route.dims)
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:  # a thread a chunk, none inside
        starts = range(0, size, CHUNK)
        rows = (_rows(route.dims, slice(i, i + CHUNK)) for i in starts)
        parts = list(pool.map(predict, rows))
    return KernelTime(
        latency_s=np.concatenate([p.latency_s for p in parts]),
        bound=np.concatenate([p.bound for p in parts]),
        details={k: np.concatenate([p.details[k] for p in parts]) for k in parts[0].details},
    )


def _predict(
    route: Route, known: Known, at_its_clock: Callable[[KernelTime], Floats], recall: Recall, dims: Dims
) -> KernelTime:
    fitted = known.fit.coefficients  # those of a relative may be more, those of an older calibration fewer
    values = {c.name: fitted.get(c.name, c.start) for c in route.model.coefficients}

    def mechanism(shapes: Dims) -> KernelTime:
        return route.model.predict(route.gpu, route.dtype, shapes, values)

    if known.correction is not None:
        return corrected(route.gpu, route.dtype, dims, mechanism, known.correction, at_its_clock, recall)
    time = mechanism(dims)
    return KernelTime(latency_s=at_its_clock(time), bound=time.bound, details=time.details)


def _resolved(workload: Workload, execution: Execution | None) -> Execution:
    """What a model runs in, with every default filled in.

    Raises:
        UnsupportedError: scales that no kernels have.
    """
    chosen = chosen_execution(workload, execution).resolved(workload)
    check_quantizing(chosen, workload)
    if is_verbose():
        detail(f"{workload.phase.value} in {workload.dtype.value}, execution {chosen.line()}")
    return chosen


def _rows(dims: Dims, index: slice) -> dict[str, FloatArray]:
    return {k: v if np.ndim(v) == 0 else np.asarray(v)[index] for k, v in dims.items()}


def _band(time: KernelTime, fit: KernelFit) -> tuple[Floats, Floats]:
    low, high = np.ones_like(time.latency_s), np.ones_like(time.latency_s)
    for bound, band in fit.bands.items():
        rows = time.bound == bound
        low[rows], high[rows] = band.low, band.high
    return time.latency_s * low, time.latency_s * high


def _label(op: Op, kernels: Sequence[Kernel]) -> str:
    if isinstance(op, Attention):
        return "attention" if any(isinstance(k, Attention) for k in kernels) else "attention (unfused)"
    return op.kind
