"""Bounds of a run, and how much of the GPU it uses.

``peak_s`` counts the FLOPs that the model needs at the datasheet's peak of each op's own format: masked query-key pairs
and layers that activation checkpointing runs again are not needed, nor are the scores that attention's backward pass
computes a second time (4 products for 2). Model FLOPs utilization is peak_s / latency, as PaLM counts it
(https://arxiv.org/abs/2204.02311, appendix B); hardware FLOPs utilization counts what the kernels execute instead.
``roofline_s`` is the time of perfect kernels: the longer of FLOPs at peak and compulsory bytes at datasheet bandwidth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Floats, as_float
from archsearch.cost.execution import AttentionChoice, Execution
from archsearch.cost.launches import runs_fused
from archsearch.cost.rewrites import rewritten
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Attention, Collective, Convolution, FusedGroup, MemoryOp, Op, OpList
from archsearch.segments import RECOMPUTED, segments_of

NEEDED_BACKWARD = 2.0 / 2.5
"""Of the work of attention's backward pass, what is no recomputation of scores."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds at the datasheet's peak of needed and of executed FLOPs, and of the roofline; scalars or arrays."""

    peak_s: Floats
    executed_peak_s: Floats
    roofline_s: Floats


def bounds(ops: OpList | Sequence[Op], gpu: GpuSpec, execution: Execution) -> Bounds:
    """Bounds of a run, broadcast over the dimensions' shapes."""
    peak, executed, roofline = as_float(0.0), as_float(0.0), as_float(0.0)
    for segment in segments_of(ops):
        part = execution.of_part(beside=segment.beside, workload=segment.workload)
        for op in rewritten(segment.ops, part):
            if isinstance(op, Collective):
                continue
            times = as_float(op.count) * as_float(segment.calls)
            fused = op.fused() if isinstance(op, FusedGroup) else op
            rate = peak_flops(gpu, op)
            needed, done = needed_flops(op), executed_flops(op, gpu, part)
            moved = as_float(fused.memory_bytes()) / gpu.bandwidth_bytes_s
            peak = peak + needed / rate * times
            executed = executed + done / rate * times
            roofline = roofline + np.maximum(done / rate, moved) * times
    return Bounds(peak, executed, roofline)


def needed_flops(op: Op) -> Floats:
    """FLOPs of one call that the model needs."""
    if op.name.endswith(RECOMPUTED):
        return as_float(0.0)
    if isinstance(op, Attention):
        return as_float(op.executed_flops()) * (NEEDED_BACKWARD if op.backward else 1.0)
    return as_float(op.flops())


def executed_flops(op: Op, gpu: GpuSpec, execution: Execution) -> Floats:
    """FLOPs of one call that its kernels execute: fused attention skips masked blocks and computes scores again in its
    backward pass, unfused attention does neither."""
    if not isinstance(op, Attention):
        return as_float(op.flops())
    mask = runs_fused(op, gpu, AttentionChoice(execution.attention))
    unfused = as_float(op.flops()) * (NEEDED_BACKWARD if op.backward else 1.0)
    return np.where(mask, as_float(op.executed_flops()), unfused)


def peak_flops(gpu: GpuSpec, op: Op) -> float:
    """Datasheet FLOP/s of the units that an op's products run on; 32-bit convolutions run in TF32 where the GPU has it
    (``torch.backends.cudnn.allow_tf32`` is on by default)."""
    if isinstance(op, Collective | MemoryOp | FusedGroup):
        return np.inf  # no products
    dtype = op.dtype
    if dtype is DType.FP32 and isinstance(op, Convolution) and gpu.supports(DType.TF32):
        dtype = DType.TF32
    return gpu.peak_flops(dtype)
