"""The plain roofline that predictions are compared with: datasheet peaks, every operand moved once, no overheads."""

from __future__ import annotations

from typing import Any

import numpy as np

from archsearch.arrays import Floats, as_float
from archsearch.bench.routed import Routed
from archsearch.cost.kernels.delta_net import delta_net_work
from archsearch.cost.kernels.roofline_time import experts_work
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Attention, MatMul, MemoryOp, Op


def op_roofline_s(op: Op, gpu: GpuSpec) -> Floats:
    """Seconds of one op: the longer of its FLOPs at peak and its bytes at the DRAM's bandwidth."""
    dtype = getattr(op, "dtype", DType.FP32)
    return np.maximum(as_float(op.flops()) / gpu.peak_flops(dtype), as_float(op.memory_bytes()) / gpu.bandwidth_bytes_s)


def routed_roofline_s(routed: Routed) -> Floats:
    """Seconds of each measured row of a kernel, shape [S]."""
    d, dtype, gpu = routed.route.dims, routed.route.dtype, routed.route.gpu
    if "k" in d:  # a convolution counts as its implicit product
        sizes: dict[str, Any] = {"m": d["m"], "n": d["n"], "k": d["k"], "batch": d.get("batch", np.ones(1))}
        return op_roofline_s(MatMul(name="row", dtype=dtype, weights=routed.op != "bmm", **sizes), gpu)
    if "num_experts" in d:
        flops, moved = experts_work(d, dtype)
        return np.maximum(flops / gpu.peak_flops(dtype), moved / gpu.bandwidth_bytes_s)
    if "seq_kv" in d:
        sizes = {c: d[c] for c in ("batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim")}
        full, causal = (Attention(name="row", dtype=dtype, causal=c, **sizes) for c in (False, True))
        flops = np.where(np.asarray(d["causal"]) > 0, as_float(causal.flops()), as_float(full.flops()))
        cached = 2.0 * d["batch"] * d["heads_kv"] * d["seq_kv"] * d["head_dim"] * dtype.itemsize
        moved = as_float(full.memory_bytes()) - cached * (1.0 - np.asarray(d.get("kv_share", 1.0)))
        return np.maximum(flops / gpu.peak_flops(dtype), moved / gpu.bandwidth_bytes_s)
    if "generation" in d:
        flops, moved = delta_net_work(d, dtype)
        return np.maximum(flops / gpu.peak_flops(dtype), moved / gpu.bandwidth_bytes_s)
    if "sent" in d:  # a collective: what its ring sends, at the link's rated speed
        return np.asarray(d["sent"]) / d["rated"]
    shape: dict[str, Any] = {name: d[name] for name in ("rows", "cols", "reads", "writes")}
    op = MemoryOp(name="row", kind=routed.op, dtype=dtype, **shape)
    return op_roofline_s(op, gpu)
