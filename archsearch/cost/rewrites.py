"""Rewrites of an op list that a software release, a merged projection or quantized activations stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from archsearch.cost.execution import Execution
from archsearch.cost.quantization import copies, quantized
from archsearch.cost.releases import RELEASES
from archsearch.ops import FusedGroup, MatMul, MemoryOp, Op, OpList


def rewritten(ops: OpList, execution: Execution) -> OpList:
    """The op list as this release and these options run it."""
    if not (RELEASES[execution.torch].fused_rmsnorm or execution.compiled):
        ops = OpList(tuple(_unfused_norm(op) for op in ops))
    if execution.fused_qkv:
        ops = OpList(tuple(_merge(op) for op in ops))
    return quantized(ops, execution)


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
    return any(copies(op) > 1 for op in ops)


def _merge(op: Op) -> Op:
    """Projections of one input as one product: n times as wide, a nth as often (``fuse_qkv_projections``)."""
    merged = copies(op)
    if merged == 1 or not isinstance(op, MatMul):
        return op
    return replace(op, n=np.asarray(op.n) * merged, count=np.asarray(op.count) // merged)
