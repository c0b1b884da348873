"""A training step from a forward pass: gradients of every op, and the optimizer.

Every linear layer gets the gradients of its input and of its weights, and a column sum where it has a bias.
Attention's backward is one op of 2.5 times the forward work: five products for two (FlashAttention-2, Dao 2023,
https://arxiv.org/abs/2307.08691). Bandwidth-bound ops read their inputs again with the output's gradient and write a
gradient per input, in as many kernels as forward; an addition passes its gradient on, and where a tensor was used
twice two gradients are added. LayerNorm's backward has a second kernel that reads input and gradient again, for the
gradients of its weights (PyTorch, aten/src/ATen/native/cuda/layer_norm_kernel.cu). AdamW reads the gradient, 32-bit
master weights and both moments and writes all but the gradient, besides the 16-bit weights (ZeRO, Rajbhandari et al.
2019, https://arxiv.org/abs/1910.02054).

Training in 16 bits is what ``torch.autocast`` makes of 32-bit weights (https://docs.pytorch.org/docs/stable/amp.html,
op reference): every pass casts the weights to 16 bits and their gradients back to 32; products, their outputs and
activations are in 16 bits; the embeddings, so the residual sum and its gradients, stay in 32 bits, and LayerNorm
computes in 32 bits, as unfused attention's softmax does, between casts for the products. Eager execution runs all of
these as kernels of their own; a compiler fuses the casts of activations into their neighbours, whose bytes it then
counts in 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeGuard

import numpy as np

from archsearch.arrays import FloatArray, as_float
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.linear_attention import GatedDeltaNet
from archsearch.ops import Attention, Collective, Convolution, FusedGroup, MatMul, MemoryOp, Op, OpList
from archsearch.routed_experts import Experts
from archsearch.segments import RECOMPUTED, UPDATE, WEIGHT_CASTS, WEIGHT_GRADIENT, Segment, SegmentedOps
from archsearch.workload import Workload

NORMS = ("layernorm", "rmsnorm")
OPTIMIZER_ROW = 1024
"""Columns of the optimizer's [rows, columns] view of the parameters; any width costs the same."""


def training_step(forward: OpList, parameters: FloatArray, w: Workload, recomputed: tuple[Op, ...] = ()) -> OpList:
    """Forward, backward in reverse order, and the AdamW update of ``parameters`` weights, in two segments: the pass,
    and the update, which a step of several micro-batches makes once.

    ``recomputed`` are forward ops that activation checkpointing runs a second time (Chen et al. 2016,
    https://arxiv.org/abs/1604.06174).
    """
    again = tuple(replace(op, name=f"{op.name}{RECOMPUTED}") for op in recomputed)
    backward = tuple(step for op in reversed(forward.ops) for step in _backward(op, w))
    passes = (*forward, *again)
    if w.activation_dtype.itemsize < 4:
        casts = _weight_casts(parameters, passes=2 if recomputed else 1)
        passes, backward = (casts[0], *map(_autocast, passes)), (*backward, casts[1])
    whole = Segment(name="pass", ops=OpList((*passes, *backward)), trains=True)
    return SegmentedOps.of([whole, Segment(name=UPDATE, ops=OpList((_adamw(parameters, w),)), trains=True)])


def _adamw(parameters: FloatArray, w: Workload) -> MemoryOp:
    """The update of all parameters in one pass over them; elements read and written count in 32 bits."""
    mixed = w.activation_dtype.itemsize < 4
    reads, writes = (3.5, 3.5) if mixed else (4.0, 3.0)
    return _over_weights("optimizer.adamw", "adamw", parameters, reads, writes)


def _weight_casts(parameters: FloatArray, passes: int) -> tuple[MemoryOp, MemoryOp]:
    """Weights to 16 bits, once in every forward pass, and their gradients to 32."""
    weights, gradients = WEIGHT_CASTS
    down = _over_weights(weights, "cast", parameters, 1.0, 0.5)
    return replace(down, count=passes), _over_weights(gradients, "cast", parameters, 0.5, 1.0)


def _over_weights(name: str, kind: str, parameters: FloatArray, reads: float, writes: float) -> MemoryOp:
    """A kernel over all parameters; ``reads`` and ``writes`` count 32-bit tensors of them."""
    rows = np.ceil(as_float(parameters) / OPTIMIZER_ROW).astype(np.int64)
    return MemoryOp(name=name, kind=kind, rows=rows, cols=OPTIMIZER_ROW, dtype=DType.FP32, reads=reads, writes=writes)


def _backward(op: Op, w: Workload) -> Iterable[Op]:
    """What the gradients of one forward operation run, its count with it."""
    name = f"{op.name}.backward"
    if isinstance(op, MatMul):
        yield replace(op, name=f"{name}.input", n=op.k, k=op.n, bias=False)
        yield replace(op, name=f"{op.name}{WEIGHT_GRADIENT}", m=op.n, n=op.k, k=op.m, weights=False, bias=False)
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
        yield replace(
            matmul, name=f"{op.name}{WEIGHT_GRADIENT}", m=matmul.n, n=matmul.k, k=matmul.m, weights=False, bias=False
        )
    elif isinstance(op, Attention):
        yield replace(op, name=name, backward=True, autocast=op.dtype.itemsize < 4)
    elif isinstance(op, MemoryOp):
        yield replace(_gradient(op), name=name)
    elif isinstance(op, FusedGroup):
        yield replace(
            op,
            name=name,
            kind="mul" if op.kind == "log_softmax" else op.kind,  # compiled: a row's numbers are saved, none is reduced
            members=tuple(k for m in reversed(op.members) for k in _gradients(m, mixed=_is_mixed(op))),
            reads=op.reads + op.writes,
            writes=op.reads,
        )
    elif isinstance(op, Experts):  # inputs' and weights' gradients: each as many products as the forward pass
        yield replace(op, name=name, count=2 * np.asarray(op.count))
    elif isinstance(op, Collective):
        yield replace(op, name=name)
    elif isinstance(op, GatedDeltaNet):
        raise UnsupportedError(
            f"{op.name}: no kernel of a gated delta net's gradients is known, and so no training step"
        )


def _is_mixed(op: Op) -> TypeGuard[FusedGroup]:
    """Whether an op is a norm, and the residual sum before it, of a 16-bit training pass."""
    return isinstance(op, FusedGroup) and op.kind in NORMS and op.dtype.itemsize == 2


def _autocast(op: Op) -> Op:
    """A forward op as ``torch.autocast`` runs it: residual sums and LayerNorm in 32 bits, counted in tensors of 16, and
    the softmax of unfused attention."""
    if isinstance(op, Attention):
        return replace(op, autocast=True)
    if not _is_mixed(op):
        return op
    return replace(op, members=tuple(kernel for m in op.members for kernel in _forward_kernels(m)))


def _forward_kernels(op: MemoryOp) -> tuple[MemoryOp, ...]:
    if op.kind == "add":  # the sum and a 16-bit branch
        return (replace(op, reads=3.0, writes=2.0),)
    if op.kind == "layernorm":
        return replace(op, reads=2.0, writes=2.0), replace(op, name=f"{op.name}.cast", kind="cast", reads=2.0)
    return (op,)


def _gradients(op: MemoryOp, *, mixed: bool) -> tuple[MemoryOp, ...]:
    """The kernels of one kernel's backward; ``mixed`` in 32 bits beside 16-bit branches, counted in tensors of 16."""
    own, wide = _gradient(op), 2.0 if mixed else 1.0
    cast = replace(op, name=f"{own.name}.cast", kind="cast")
    if op.kind == "layernorm":
        of_input = replace(own, reads=2 * wide, writes=wide)
        of_weights = replace(own, name=f"{own.name}.weights", reads=2 * wide, writes=0.0)
        return (replace(cast, writes=2.0), of_input, of_weights) if mixed else (of_input, of_weights)
    if op.kind == "add" and mixed:
        return replace(own, reads=4.0, writes=2.0), replace(cast, reads=2.0, writes=1.0)
    return (own,)


def _gradient(op: MemoryOp) -> MemoryOp:
    """One bandwidth-bound kernel's backward."""
    if op.kind == "add":
        return replace(op, name=f"{op.name}.backward", reads=2.0, writes=1.0)
    return replace(op, name=f"{op.name}.backward", reads=op.reads + op.writes, writes=op.reads)
