"""Rewrites of a transformer's op list that levers stand for: merged projections, linear attention, sharing by GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Attention, Collective, Convolution, FusedGroup, MatMul, MemoryOp, Op, OpList, as_float
from archsearch.pipeline.request import Run
from archsearch.workload import Workload

_MERGED = {"q_proj+k_proj+v_proj": 3, "k_proj+v_proj": 2}


def transformed(ops: OpList, workload: Workload, run: Run) -> OpList:
    """The op list of one GPU under a run's levers.

    Raises:
        UnsupportedError: heads that the GPUs of sequence parallelism cannot share equally.
    """
    if run.torch == "2.4" and not run.compiled:
        ops = OpList(tuple(_unfused_norm(op) for op in ops))
    if run.fused_qkv:
        ops = OpList(tuple(_merge(op) for op in ops))
    if run.linear_attention:
        ops = OpList(tuple(part for op in ops for part in _linear(op)))
    if run.sequence_parallel > 1:
        ops = OpList(tuple(part for op in ops for part in _shared(op, workload, run.sequence_parallel)))
    return ops


def _unfused_norm(op: Op) -> Op:
    """RMSNorm as torch before 2.8 and diffusers' own run it in 16 bits (diffusers/models/normalization.py): cast to 32
    bits, square, mean, ε, root, product, cast back, weight: 9 tensors of the format read and 8 written."""
    if isinstance(op, FusedGroup):
        return replace(op, members=tuple(_unfused_kernel(m) for m in op.members))
    return _unfused_kernel(op) if isinstance(op, MemoryOp) else op


def _unfused_kernel(op: MemoryOp) -> MemoryOp:
    if op.kind != "rmsnorm" or op.dtype.itemsize != 2 or op.kernels != 1:
        return op
    return replace(op, kind="mul", reads=9.0, writes=8.0, kernels=8)


def can_merge(ops: OpList) -> bool:
    """Whether any projections of one input are separate products."""
    return any(_copies(op) > 1 for op in ops)


def _copies(op: Op) -> int:
    if not isinstance(op, MatMul):
        return 1
    return next((n for suffix, n in _MERGED.items() if op.name.endswith(suffix)), 1)


def _merge(op: Op) -> Op:
    """Projections of one input as one product: n times as wide, a nth as often (``fuse_qkv_projections``)."""
    copies = _copies(op)
    if copies == 1 or not isinstance(op, MatMul):
        return op
    return replace(op, n=np.asarray(op.n) * copies, count=np.asarray(op.count) // copies)


def _linear(op: Op) -> Iterator[Op]:
    """Self-attention with a ReLU kernel (https://arxiv.org/abs/2410.10629): keys and queries through ReLU, per head the
    [head_dim, head_dim + 1] state of values and keys, and its product with the queries; both in 16 bits."""
    if not isinstance(op, Attention) or not np.array_equal(np.asarray(op.seq_q), np.asarray(op.seq_kv)):
        yield op
        return
    heads = np.asarray(op.batch) * np.asarray(op.heads_q)
    state = np.asarray(op.head_dim) + 1
    rows = np.asarray(op.batch) * np.asarray(op.seq_q)
    wide = np.asarray(op.heads_q) * np.asarray(op.head_dim)
    pointwise = {"rows": rows, "cols": wide, "dtype": op.dtype, "count": op.count}
    yield MemoryOp(name=f"{op.name}.kernel", kind="relu", reads=2.0, writes=2.0, kernels=2, **pointwise)
    product = {"batch": heads, "dtype": op.dtype, "weights": False, "count": op.count}
    yield MatMul(name=f"{op.name}.state", m=state, n=op.head_dim, k=op.seq_kv, **product)
    yield MatMul(name=f"{op.name}.read", m=state, n=op.seq_q, k=op.head_dim, **product)
    yield MemoryOp(name=f"{op.name}.normalise", kind="div", reads=1.0, writes=1.0, kernels=1, **pointwise)


def _shared(op: Op, w: Workload, gpus: int) -> Iterator[Op]:
    """One GPU's share under Ulysses sequence parallelism (https://arxiv.org/abs/2309.14509): tokens are split between
    GPUs everywhere but inside self-attention, whose heads are; an all-to-all each turns queries, keys, values and the
    output around. Ops with a row per image (conditioning) run everywhere."""
    if isinstance(op, Attention):
        if not np.array_equal(np.asarray(op.seq_q), np.asarray(op.seq_kv)):
            yield replace(op, seq_q=_part(op.seq_q, gpus))
            return
        if np.any(np.asarray(op.heads_q) % gpus):
            raise UnsupportedError(f"{op.heads_q} attention heads cannot be shared by {gpus} GPUs: take a divisor")
        kv = np.maximum(np.asarray(op.heads_kv) // gpus, 1)
        yield replace(op, heads_q=np.asarray(op.heads_q) // gpus, heads_kv=kv)
        tensor = as_float(op.batch) * as_float(op.seq_q) * as_float(op.heads_q) * as_float(op.head_dim)
        yield Collective(
            name=f"{op.name}.all_to_all",
            kind="all_to_all",
            payload_bytes=tensor * op.dtype.itemsize,
            group_size=gpus,
            count=4 * np.asarray(op.count),
        )
    elif isinstance(op, MatMul) and op.weights:
        yield replace(op, m=_rows(op.m, w, gpus))
    elif isinstance(op, MemoryOp):
        yield replace(op, rows=_rows(op.rows, w, gpus))
    elif isinstance(op, FusedGroup):
        members = tuple(replace(m, rows=_rows(m.rows, w, gpus)) for m in op.members)
        yield replace(op, rows=_rows(op.rows, w, gpus), members=members)
    elif isinstance(op, Convolution) and np.all(as_float(op.input_share) == 1.0):
        yield replace(op, out_size=(*op.out_size[:-1], _part(op.out_size[-1], gpus)))  # patches lie side by side
    else:
        raise UnsupportedError(f"{op.name} mixes tokens of all GPUs and has no sequence-parallel form")


def _rows(rows: Any, w: Workload, gpus: int) -> Any:
    """A share of rows that are tokens; rows that are images stay."""
    tokens = np.asarray(rows) > np.asarray(w.batch_size)
    return np.where(tokens, _part(rows, gpus), np.asarray(rows))


def _part(size: Any, gpus: int) -> Any:
    return -(-np.asarray(size) // gpus)


def ideal_s(ops: OpList, gpu: GpuSpec) -> tuple[Any, Any]:
    """Two bounds of an op list in seconds: FLOPs at the datasheet's peak alone, and the roofline, in which every op is
    a perfect kernel of compiled execution (the longer of FLOPs at peak and compulsory bytes at datasheet bandwidth)."""
    peak: Any = as_float(0.0)
    roofline: Any = as_float(0.0)
    for op in ops:
        if isinstance(op, Collective):
            continue
        fused = op.fused() if isinstance(op, FusedGroup) else op
        flops = as_float(op.executed_flops() if isinstance(op, Attention) else op.flops())
        compute = flops / _peak(gpu, fused.dtype)
        moved = as_float(fused.memory_bytes()) / gpu.bandwidth_bytes_s
        peak = peak + compute * as_float(op.count)
        roofline = roofline + np.maximum(compute, moved) * as_float(op.count)
    return peak, roofline


def _peak(gpu: GpuSpec, dtype: DType) -> float:
    """Datasheet FLOP/s; 32-bit products run in TF32 where the GPU has it."""
    if dtype is DType.FP32 and gpu.supports(DType.TF32):
        dtype = DType.TF32
    return gpu.peak_flops(dtype)
