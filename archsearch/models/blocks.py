"""Lowering pieces that families share: what eager transformers and diffusers modules launch, what a compiler fuses.

``rows`` is the number of tokens that a kernel works on (batch · sequence); every size may be an array. Reads and
writes of a ``MemoryOp`` count [rows, cols] tensors of the op's format, so that a 32-bit intermediate of a 16-bit
model counts twice. Launches and bytes are those that PyTorch dispatches for transformers 5 and diffusers 0.42
(``tests/test_models_real_modules.py`` counts them on the real modules).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Dim, FloatArray, Floats, Ints, as_float
from archsearch.dtypes import DType
from archsearch.ops import FusedGroup, MatMul, MemoryOp
from archsearch.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """Eager cost of an activation function on its [rows, cols] input.

    ``live`` counts [rows, cols] tensors alive at its peak, input and output included; ``saved`` those that autograd
    keeps besides the output, which the next linear layer keeps.
    """

    kind: str
    kernels: int = 1
    reads: float = 1.0
    writes: float = 1.0
    live: float = 2.0
    saved: float = 1.0


# gelu_new is written out in transformers (activations.py, NewGELUActivation): 0.5·x, x³, 0.044715·, x +, √(2/π)·,
# tanh, 1 +, and the product. relu keeps its output alone. quick_gelu is x · sigmoid(1.702 x) in three kernels.
ACTIVATIONS = {
    "gelu": Activation(kind="gelu"),
    "gelu_tanh": Activation(kind="gelu"),
    "gelu_new": Activation(kind="mul", kernels=8, reads=10.0, writes=8.0, live=4.0, saved=4.0),
    "relu": Activation(kind="relu", saved=0.0),
    "silu": Activation(kind="silu"),
    "quick_gelu": Activation(kind="mul", kernels=3, reads=4.0, writes=3.0, live=3.0, saved=2.0),
}
NORM_KERNEL = {"layernorm": "layernorm", "rmsnorm": "rmsnorm", "gemma_rmsnorm": "rmsnorm"}
"""The row reduction that a norm is once it is fused."""
NORMS = ("layernorm", "rmsnorm", "gemma_rmsnorm")


def product(*factors: Dim) -> Ints:
    """Product of dimensions as integers, broadcast."""
    result: Ints = np.asarray(1)
    for factor in factors:
        result = result * np.asarray(factor, dtype=np.int64)
    return result


def linear(
    name: str,
    rows: Dim,
    in_features: Dim,
    out_features: Dim,
    dtype: DType,
    *,
    count: Dim = 1,
    bias: bool,
) -> MatMul:
    """A linear layer: [rows, in_features] · [in_features, out_features]."""
    return MatMul(name=name, m=rows, n=out_features, k=in_features, dtype=dtype, count=count, bias=bias)


def pointwise(
    name: str,
    kind: str,
    rows: Dim,
    cols: Dim,
    w: Workload,
    *,
    count: Dim = 1,
    reads: FloatArray = 1.0,
    writes: FloatArray = 1.0,
    kernels: int = 1,
) -> MemoryOp:
    """A pointwise kernel (or several alike) in the activation format."""
    return MemoryOp(
        name=name,
        kind=kind,
        rows=rows,
        cols=cols,
        dtype=w.activation_dtype,
        reads=reads,
        writes=writes,
        kernels=kernels,
        count=count,
    )


def embedding(name: str, rows: Dim, hidden_size: Dim, w: Workload, *, count: Dim = 1) -> MemoryOp:
    """A table look-up: one row of the table read and written per token."""
    return pointwise(name, "embedding", rows, hidden_size, w, count=count)


def group(
    name: str,
    kind: str,
    members: tuple[MemoryOp, ...],
    *,
    reads: FloatArray,
    writes: FloatArray = 1.0,
    count: Dim = 1,
) -> FusedGroup:
    """Members that a compiler fuses; the group's rows, columns and format are its last member's."""
    last = members[-1]
    return FusedGroup(
        name=name,
        kind=kind,
        members=members,
        rows=last.rows,
        cols=last.cols,
        dtype=last.dtype,
        reads=reads,
        writes=writes,
        count=count,
    )


def norm_kernels(name: str, kind: str, rows: Dim, cols: Dim, w: Workload) -> MemoryOp:
    """The eager kernels of a norm.

    LayerNorm is one kernel. transformers' RMSNorm is written out: cast up, square, mean, add ε, reciprocal root,
    scale, cast down, weight; the middle ones on 32-bit tensors, and without the casts where the model is 32-bit.
    Gemma's multiplies with 1 + weight in 32 bits before the cast down.
    """
    half = w.activation_dtype.itemsize < 4
    if kind == "layernorm":
        return pointwise(name, "layernorm", rows, cols, w)
    if kind == "gemma_rmsnorm":
        reads, writes = (11.0, 9.0) if half else (4.0, 3.0)
        return pointwise(name, "mul", rows, cols, w, reads=reads, writes=writes, kernels=10 if half else 7)
    if w.activation_dtype.itemsize >= 4:
        return pointwise(name, "mul", rows, cols, w, reads=4.0, writes=3.0, kernels=6)
    return pointwise(name, "mul", rows, cols, w, reads=10.0, writes=8.0, kernels=8)


def norm(name: str, kind: str, rows: Dim, cols: Dim, w: Workload, *, count: Dim = 1) -> FusedGroup:
    """A norm on its own."""
    eager = norm_kernels(f"{name}.eager", kind, rows, cols, w)
    return group(name, NORM_KERNEL[kind], (eager,), reads=1.0, count=count)


def residual_norm(name: str, kind: str, rows: Dim, cols: Dim, w: Workload, *, count: Dim, keep_sum: bool) -> FusedGroup:
    """Residual addition followed by a norm; ``keep_sum`` where the sum is needed later (pre-norm blocks)."""
    add = pointwise(f"{name}.add", "add", rows, cols, w, reads=2.0)
    members = (add, norm_kernels(f"{name}.norm", kind, rows, cols, w))
    return group(name, NORM_KERNEL[kind], members, reads=2.0, writes=2.0 if keep_sum else 1.0, count=count)


def norm_residual_norm(name: str, kind: str, rows: Dim, cols: Dim, w: Workload, *, count: Dim) -> FusedGroup:
    """A branch's own norm, the residual addition and the norm after it (Gemma 2 and 3)."""
    members = (
        norm_kernels(f"{name}.branch_norm", kind, rows, cols, w),
        pointwise(f"{name}.add", "add", rows, cols, w, reads=2.0),
        norm_kernels(f"{name}.norm", kind, rows, cols, w),
    )
    return group(name, NORM_KERNEL[kind], members, reads=2.0, writes=2.0, count=count)


def activation(name: str, kind: str, rows: Dim, cols: Dim, w: Workload, *, count: Dim, gated: bool) -> FusedGroup:
    """An activation; ``gated`` multiplies it with a second tensor of its shape."""
    cost = ACTIVATIONS[kind]
    members: tuple[MemoryOp, ...] = (
        pointwise(
            f"{name}.{kind}", cost.kind, rows, cols, w, reads=cost.reads, writes=cost.writes, kernels=cost.kernels
        ),
    )
    if gated:
        members += (pointwise(f"{name}.mul", "mul", rows, cols, w, reads=2.0),)
    return group(name, "mul" if gated else cost.kind, members, reads=2.0 if gated else 1.0, count=count)


def rope(name: str, rows: Dim, width: Dim, w: Workload, *, count: Dim, upcast: bool = False) -> FusedGroup:
    """Rotary embedding of the queries or of the keys, ``width`` columns.

    Eagerly: x·cos, negated half, concatenation, rotated·sin, sum. ``upcast`` (ModernBERT) casts x to 32 bits twice
    and the result back.
    """
    if upcast and w.activation_dtype.itemsize < 4:
        eager = pointwise(f"{name}.eager", "mul", rows, width, w, reads=15.0, writes=14.0, kernels=8)
    else:
        eager = pointwise(f"{name}.eager", "mul", rows, width, w, reads=5.5, writes=4.5, kernels=5)
    return group(name, "rope", (eager,), reads=1.0, count=count)


def rope_table(name: str, positions: Dim, head_dim: Dim, w: Workload, *, count: Dim = 1) -> FusedGroup:
    """Cosines and sines of all positions in 32 bits: positions cast, product, concatenation, cos, sin, two scalings and
    (16-bit models) two casts."""
    casts = 2 if w.activation_dtype.itemsize < 4 else 0
    eager = MemoryOp(
        name=f"{name}.eager",
        kind="mul",
        rows=positions,
        cols=head_dim,
        dtype=DType.FP32,
        reads=5.0 + casts,
        writes=5.5 + casts / 2,
        kernels=7 + casts,
    )
    return group(name, "mul", (eager,), reads=0.0, writes=2.0 - casts / 2, count=count)


def cross_entropy(name: str, rows: Dim, vocab_size: Dim, w: Workload) -> FusedGroup:
    """Loss on logits: cast to 32 bits (16-bit models) and log-softmax; the rest is a number per row. torch.compile
    saves the logits and two numbers per row for the backward pass, and never writes the log-softmax."""
    softmax = MemoryOp(name=f"{name}.log_softmax", kind="log_softmax", rows=rows, cols=vocab_size, dtype=DType.FP32)
    if w.activation_dtype.itemsize >= 4:
        return group(name, "log_softmax", (softmax,), reads=1.0, writes=0.0)
    cast = pointwise(f"{name}.cast", "cast", rows, vocab_size, w, writes=2.0)
    return group(name, "log_softmax", (cast, softmax), reads=0.5, writes=0.0)


def norm_parameters(kind: str, hidden_size: Dim) -> Floats:
    """Weights of a norm: a scale, and LayerNorm a shift as well."""
    return as_float(hidden_size) * (2.0 if kind == "layernorm" else 1.0)
