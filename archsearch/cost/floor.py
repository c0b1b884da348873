"""The least time that a kernel can take: what no prediction may be below, whatever its coefficients say.

    least = max(FLOPs / peak, bytes that DRAM has to serve / bandwidth)

at the datasheet's dense peak and bandwidth, the peak at the clock that is locked where it is lower than the rated one.
FLOPs are those that have to be done (attention: the pairs that its mask leaves). Of the bytes only those count that no
cache can spare: an L2 of C bytes holds at most C of what the kernel before left and of what this one writes, and at
most C / R of data that comes round again after R bytes, whatever is kept of it. So

* a product's weights come from DRAM but for a share C / R (all of them where a model streams its weights, R endless);
* of activations, read and written, all but C bytes pass through DRAM;
* of experts' weights, tokens and outputs, all but C;
* of what a gated delta net reads and writes, all but C, and all but twice C in a generation, which writes the state
  that it has read in place;
* of attention's queries, keys, values and outputs, all but C; keys outside every query's window need not be read, and
  those of a cache count in its format.

Of a collective, the bytes that each GPU has to send, at the rated speed of its link in one direction.

Caches on the memory's side (AMD's Infinity Cache) are not counted in C: their bandwidth is not DRAM's, and no profile
has it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from archsearch.arrays import Floats
from archsearch.cost.estimate import KernelCost
from archsearch.cost.execution import Execution
from archsearch.cost.kernels.delta_net import delta_net_work
from archsearch.cost.kernels.gemm_time import Shapes
from archsearch.cost.kernels.kernel_cost import Dims
from archsearch.cost.kernels.roofline_time import attention_work, experts_work, memory_work
from archsearch.cost.routes import Route
from archsearch.dtypes import DType


def least_time(route: Route, execution: Execution) -> tuple[Floats, Floats]:
    """Seconds at peak and seconds at bandwidth that a kernel takes at least, arrays that broadcast to [S]."""
    kind, gpu = route.kernel.split("/")[0], route.gpu
    if kind == "roofline":  # never below it, nor is a cache known of every such device
        return np.zeros(1), np.zeros(1)
    if kind == "collective":
        return np.zeros(1), np.asarray(route.dims["least"]) / route.dims["rated"]
    flops, moved = _WORK[kind](route.dims, route.dtype, gpu.l2_bytes)
    slower = 1.0 if isinstance(execution.clock, str) else max(1.0, gpu.boost_clock_mhz / execution.clock)
    compute = flops * slower / gpu.peak_flops(route.dtype) if np.any(flops) else np.zeros(1)
    return compute, moved / gpu.bandwidth_bytes_s


def at_least(cost: KernelCost, route: Route, execution: Execution) -> KernelCost:
    """A cost of routed shapes, raised to ``least_time`` where it was below."""
    compute, memory = least_time(route, execution)
    least = np.broadcast_to(np.maximum(compute, memory), cost.latency_s.shape)
    below = cost.latency_s < least
    if not below.any():
        return cost
    limit = np.broadcast_to(np.where(compute >= memory, "compute", "memory"), below.shape)
    return replace(
        cost,
        latency_s=np.where(below, least, cost.latency_s),
        high_s=np.maximum(cost.high_s, least),
        bound=np.where(below, limit, cost.bound),
    )


def _product(dims: Dims, dtype: DType, cache: float) -> tuple[Floats, Floats]:
    s = Shapes.of(dims, dtype)
    a = s.batch * s.m * s.k * s.itemsize * s.input_share
    b = s.batch * s.n * s.k * s.weight_itemsize
    out = s.batch * s.m * s.n * s.out_itemsize
    streamed = b * np.maximum(0.0, 1.0 - cache / np.maximum(s.reuse_bytes, 1.0))
    shared = s.weights > 0
    weights = np.where(shared, streamed, 0.0)
    activations = a + out + np.where(shared, 0.0, b)
    return 2.0 * s.batch * s.m * s.n * s.k, weights + np.maximum(0.0, activations - cache)


def _attention(dims: Dims, dtype: DType, cache: float) -> tuple[Floats, Floats]:
    flops, _ = attention_work(dims, dtype)
    batch, heads_q, heads_kv, seq_q, seq_kv, head_dim = (
        np.asarray(dims[name], dtype=np.float64)
        for name in ("batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim")
    )
    window, share = (np.asarray(dims.get(name, 0.0), dtype=np.float64) for name in ("window", "kv_share"))
    seen = np.where(window > 0, np.minimum(seq_kv, seq_q + window), seq_kv)
    rows = heads_q * seq_q + heads_kv * seen * np.where(share > 0, share, 1.0)
    return flops, np.maximum(0.0, 2.0 * batch * head_dim * rows * dtype.itemsize - cache)


def _memory(dims: Dims, dtype: DType, cache: float) -> tuple[Floats, Floats]:
    flops, moved = memory_work(dims, dtype)
    return flops, np.maximum(0.0, moved - cache)


def _experts(dims: Dims, dtype: DType, cache: float) -> tuple[Floats, Floats]:
    flops, moved = experts_work(dims, dtype)
    return flops, np.maximum(0.0, moved - cache)


def _delta_net(dims: Dims, dtype: DType, cache: float) -> tuple[Floats, Floats]:
    flops, moved = delta_net_work(dims, dtype)
    spared = np.where(np.asarray(dims["generation"]) > 0, 2.0, 1.0) * cache
    return flops, np.maximum(0.0, moved - spared)


_WORK = {
    "gemm": _product,
    "convolution": _product,
    "attention": _attention,
    "decode": _attention,
    "experts": _experts,
    "memory": _memory,
    "delta": _delta_net,
}
