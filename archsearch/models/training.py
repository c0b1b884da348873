"""A training step from a forward pass: gradients of every op, and the optimizer.

Every linear layer gets the gradients of its input and of its weights, and a column sum where it has a bias.
Attention's backward is one op of 2.5 times the forward work: five products for two (FlashAttention-2, Dao 2023,
https://arxiv.org/abs/2307.08691). Bandwidth-bound ops read their inputs again with the output's gradient and write a
gradient per input, in as many kernels as forward; an addition passes its gradient on, and where a tensor was used
twice two gradients are added. AdamW reads the gradient, 32-bit master weights and both moments and writes all but the
gradient, besides the 16-bit weights (ZeRO, Rajbhandari et al. 2019, https://arxiv.org/abs/1910.02054).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from archsearch.arrays import FloatArray, as_float
from archsearch.dtypes import DType
from archsearch.ops import Attention, Collective, Convolution, FusedGroup, MatMul, MemoryOp, Op, OpList
from archsearch.segments import Segment, SegmentedOps
from archsearch.workload import Workload

OPTIMIZER_ROW = 1024
"""Columns of the optimizer's [rows, columns] view of the parameters; any width costs the same."""


def training_step(forward: OpList, parameters: FloatArray, w: Workload, recomputed: tuple[Op, ...] = ()) -> OpList:
    """Forward, backward in reverse order, and the AdamW update of ``parameters`` weights, in two segments: the pass,
    and the update, which a step of several micro-batches makes once.

    ``recomputed`` are forward ops that activation checkpointing runs a second time (Chen et al. 2016,
    https://arxiv.org/abs/1604.06174).
    """
    again = tuple(replace(op, name=f"{op.name}.recomputed") for op in recomputed)
    backward = tuple(step for op in reversed(forward.ops) for step in _backward(op, w))
    whole = Segment(name="pass", ops=OpList((*forward, *again, *backward)))
    return SegmentedOps.of([whole, Segment(name="update", ops=OpList((_adamw(parameters, w),)))])


def _adamw(parameters: FloatArray, w: Workload) -> MemoryOp:
    """The update of all parameters in one pass over them; elements read and written count in 32 bits."""
    mixed = w.activation_dtype.itemsize < 4
    return MemoryOp(
        name="optimizer.adamw",
        kind="adamw",
        rows=np.ceil(as_float(parameters) / OPTIMIZER_ROW).astype(np.int64),
        cols=OPTIMIZER_ROW,
        dtype=DType.FP32,
        reads=3.5 if mixed else 4.0,
        writes=3.5 if mixed else 3.0,
    )


def _backward(op: Op, w: Workload) -> Iterable[Op]:
    """What the gradients of one forward operation run, its count with it."""
    name = f"{op.name}.backward"
    if isinstance(op, MatMul):
        yield replace(op, name=f"{name}.input", n=op.k, k=op.n, bias=False)
        yield replace(op, name=f"{name}.weight", m=op.n, n=op.k, k=op.m, weights=False, bias=False)
        if op.bias:
            yield MemoryOp(
                name=f"{name}.bias",
                kind="bias",
                rows=op.m,
                cols=op.n,
                dtype=w.activation_dtype,
                writes=0.0,
                count=op.count,
            )
    elif isinstance(op, Convolution):
        matmul = op.as_matmul()
        if not op.input_is_data:  # a convolution of the gradient with the kernels turned around
            back = replace(op, name=f"{name}.input", in_channels=op.out_channels, out_channels=op.in_channels)
            yield replace(back, stride=None, input_size=None, bias=False)
        yield replace(matmul, name=f"{name}.weight", m=matmul.n, n=matmul.k, k=matmul.m, weights=False, bias=False)
    elif isinstance(op, Attention):
        yield replace(op, name=name, backward=True)
    elif isinstance(op, MemoryOp):
        yield replace(_gradient(op), name=name)
    elif isinstance(op, FusedGroup):
        yield replace(
            op,
            name=name,
            members=tuple(map(_gradient, reversed(op.members))),
            reads=op.reads + op.writes,
            writes=op.reads,
        )
    elif isinstance(op, Collective):
        yield replace(op, name=name)


def _gradient(op: MemoryOp) -> MemoryOp:
    """One bandwidth-bound kernel's backward."""
    if op.kind == "add":
        return replace(op, name=f"{op.name}.backward", reads=2.0, writes=1.0)
    return replace(op, name=f"{op.name}.backward", reads=op.reads + op.writes, writes=op.reads)
