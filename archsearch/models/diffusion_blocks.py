"""Pieces that diffusers' transformers share, said to an ``Assembly``: what eager modules launch, what a compiler fuses.

``rows`` counts tokens (batch · sequence); modulation vectors have one row per image. Launches and bytes are those of
diffusers 0.42 (``tests/test_models_real_modules.py`` counts them); torch's own RMSNorm is the one kernel that it is on
CUDA from torch 2.8 on.
"""

from __future__ import annotations

import numpy as np

from archsearch.arrays import Dim, Floats, Ints, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks
from archsearch.models.assembly import Assembly
from archsearch.models.tally import Elements
from archsearch.ops import FusedGroup, MemoryOp
from archsearch.workload import Workload

TIMESTEP_CHANNELS = 256
"""Width of the sinusoidal timestep features (``Timesteps(num_channels=256)`` in diffusers/models/embeddings.py)."""


def is_half(w: Workload) -> bool:
    """Whether activations have 16 bits, so that eager modules cast to 32 bits and back."""
    return w.activation_dtype.itemsize < 4


def gaps(w: Workload) -> Ints:
    """1 where a part of every image's tokens is a view with gaps (several images), which a linear layer has to copy
    first; 0 for one image."""
    views: Ints = np.minimum(np.asarray(w.batch_size) - 1, 1)
    return views


def timestep_features(
    a: Assembly, name: str, *, channels: Dim = TIMESTEP_CHANNELS, kernels: int = 11, calls: Dim = 1
) -> None:
    """Sines and cosines of the timesteps in 32 bits; ``kernels`` leaves out the cast to 16 bits."""
    a.op(timestep_sines(name, a.w, channels, kernels + is_half(a.w), calls))


def timestep_sines(name: str, w: Workload, channels: Dim, kernels: int, calls: Dim = 1) -> FusedGroup:
    """The kernels of ``Timesteps``, which a compiler fuses."""
    eager = MemoryOp(
        name=f"{name}.eager",
        kind="mul",
        rows=w.batch_size,
        cols=channels,
        dtype=DType.FP32,
        reads=5.0,
        writes=5.0,
        kernels=kernels,
    )
    return blocks.group(name, "mul", (eager,), reads=0.0, count=calls)


def embedding_mlp(a: Assembly, name: str, in_features: Dim, hidden: Dim, *, calls: Dim = 1) -> None:
    """Linear, SiLU, linear on one row per image (``TimestepEmbedding``, ``PixArtAlphaTextProjection`` of a vector)."""
    a.linear(f"{name}.linear_1", a.w.batch_size, in_features, hidden, bias=True, calls=calls)
    a.pointwise(f"{name}.silu", "silu", a.w.batch_size, hidden, calls=calls)
    a.linear(f"{name}.linear_2", a.w.batch_size, hidden, hidden, bias=True, calls=calls)


def modulation(a: Assembly, name: str, hidden: Dim, vectors: int, *, calls: Dim = 1) -> None:
    """SiLU and the linear layer that makes ``vectors`` shifts, scales and gates from the conditioning (adaLN-zero)."""
    a.pointwise(f"{name}.silu", "silu", a.w.batch_size, hidden, calls=calls)
    a.linear(f"{name}.linear", a.w.batch_size, hidden, blocks.product(vectors, hidden), bias=True, calls=calls, saves=0)


def modulated_norm(name: str, rows: Dim, hidden: Dim, w: Workload, kind: str = "layernorm") -> tuple[MemoryOp, ...]:
    """Kernels of LayerNorm(x) · (1 + scale) + shift."""
    return (
        blocks.pointwise(f"{name}.norm", kind, rows, hidden, w),
        blocks.pointwise(f"{name}.one_plus_scale", "addu", w.batch_size, hidden, w),
        blocks.pointwise(f"{name}.scale", "modulate", rows, hidden, w),
        blocks.pointwise(f"{name}.shift", "modulate", rows, hidden, w),
    )


def norm_modulate(a: Assembly, name: str, rows: Dim, hidden: Dim, *, calls: Dim = 1) -> None:
    """LayerNorm and its modulation; autograd keeps the input and the normed values."""
    members = modulated_norm(name, rows, hidden, a.w)
    a.op(blocks.group(name, "layernorm", members, reads=1.0, count=calls), saves=2 * as_float(rows) * as_float(hidden))


def gate_residual(a: Assembly, name: str, rows: Dim, hidden: Dim, *, calls: Dim = 1) -> None:
    """residual + gate · branch; autograd keeps the branch."""
    members = (
        blocks.pointwise(f"{name}.gate", "modulate", rows, hidden, a.w),
        blocks.pointwise(f"{name}.add", "add", rows, hidden, a.w, reads=2.0),
    )
    a.op(blocks.group(name, "add", members, reads=2.0, count=calls), saves=as_float(rows) * as_float(hidden))


def gate_residual_norm_modulate(
    a: Assembly, name: str, rows: Dim, hidden: Dim, *, calls: Dim = 1, rescaled: bool = False
) -> None:
    """The gated residual sum and the modulated norm after it; both the sum and the norm's result are written.

    ``rescaled`` attention divides its output by a factor (1) first, in a kernel of its own.
    """
    members = (
        blocks.pointwise(f"{name}.gate", "modulate", rows, hidden, a.w),
        blocks.pointwise(f"{name}.add", "add", rows, hidden, a.w, reads=2.0),
        *modulated_norm(name, rows, hidden, a.w),
    )
    if rescaled:
        members = (blocks.pointwise(f"{name}.rescale", "divu", rows, hidden, a.w), *members)
    a.op(
        blocks.group(name, "layernorm", members, reads=2.0, writes=2.0, count=calls),
        saves=3 * as_float(rows) * as_float(hidden),
    )


def head_norm(a: Assembly, name: str, rows: Dim, heads: Dim, head_dim: Dim, *, calls: Dim = 1) -> None:
    """torch's RMSNorm of each head's queries or keys: one kernel, a weight of head_dim; autograd keeps the input."""
    head_rows = blocks.product(rows, heads)
    eager = blocks.pointwise(f"{name}.eager", "rmsnorm", head_rows, head_dim, a.w)
    kept = as_float(calls) * as_float(head_rows) * as_float(head_dim)
    a.op(blocks.group(name, "rmsnorm", (eager,), reads=1.0, count=calls), saves=kept)
    a.weigh(as_float(calls) * as_float(head_dim))


def rms_norm(a: Assembly, name: str, rows: Dim, cols: Dim, *, calls: Dim = 1) -> None:
    """diffusers' own RMSNorm (``normalization.RMSNorm``) with a weight, written out: cast up, square, mean, add ε,
    reciprocal root, product, cast down, weight; without the casts where the model is 32-bit. Autograd keeps the input,
    in 32 bits too, and the normed values.
    """
    half = is_half(a.w)
    statistics = (6.0 if half else 3.0) / as_float(cols)
    eager = blocks.pointwise(
        f"{name}.eager",
        "mul",
        rows,
        cols,
        a.w,
        reads=(9.0 if half else 4.0) + statistics,
        writes=(8.0 if half else 3.0) + statistics,
        kernels=8 if half else 6,
    )
    kept = (4.0 if half else 2.0) * as_float(calls) * as_float(rows) * as_float(cols)
    a.op(blocks.group(name, "rmsnorm", (eager,), reads=1.0, count=calls), saves=kept)
    a.weigh(as_float(calls) * as_float(cols))


def rotary(a: Assembly, name: str, rows: Dim, width: Dim, *, calls: Dim = 1) -> None:
    """``apply_rotary_emb`` with real tables: half negated, pairs stacked, both products and their sum in 32 bits."""
    half = is_half(a.w)
    eager = blocks.pointwise(
        f"{name}.eager",
        "mul",
        rows,
        width,
        a.w,
        reads=13.5 if half else 5.5,
        writes=12.5 if half else 4.5,
        kernels=8 if half else 5,
    )
    a.op(blocks.group(name, "rope", (eager,), reads=1.0, count=calls))


def feed_forward(a: Assembly, name: str, rows: Dim, hidden: Dim, inner: Dim, *, activation: str = "gelu_tanh") -> None:
    """Linear, activation, linear (``FeedForward`` with gelu-approximate), biased."""
    a.linear(f"{name}.up_proj", rows, hidden, inner, bias=True)
    a.op(
        blocks.activation(f"{name}.activation", activation, rows, inner, a.w, count=1, gated=False),
        saves=as_float(rows) * as_float(inner),
    )
    a.linear(f"{name}.down_proj", rows, inner, hidden, bias=True)


def cross_attention(
    a: Assembly,
    name: str,
    rows: Dim,
    words: Dim,
    tokens: Dim,
    text: Dim,
    hidden: Dim,
    heads: Dim,
    head_dim: Dim,
    *,
    qk_norm: bool = False,
) -> None:
    """``Attention`` over the text's tokens and the residual sum; all projections are biased. The mask is repeated for
    every head."""
    a.pointwise(f"{name}.mask", "mask", words, heads)
    a.linear(f"{name}.q_proj", rows, hidden, hidden, bias=True)
    a.linear(f"{name}.k_proj+v_proj", words, hidden, hidden, bias=True, calls=2, saves=0)
    if qk_norm:
        rms_norm(a, f"{name}.q_norm", rows, hidden)
        rms_norm(a, f"{name}.k_norm", words, hidden)
    a.attention(f"{name}.core", heads=heads, head_dim=head_dim, seq_q=tokens, seq_kv=text, mask=True)
    a.save(2 * (as_float(rows) + words) * as_float(hidden))
    a.linear(f"{name}.o_proj", rows, hidden, hidden, bias=True, saves=0)
    a.pointwise(f"{name}.rescale", "divu", rows, hidden)
    a.pointwise(f"{name}.residual", "add", rows, hidden, reads=2.0)


def sliced_linear(a: Assembly, name: str, rows: Dim, in_features: Dim, out_features: Dim) -> None:
    """A biased linear layer on a part of every sample's tokens: of several samples they are copied together first, and
    the bias is a kernel of its own. Autograd keeps that copy; without one another op keeps the tokens."""
    a.linear(name, rows, in_features, out_features, bias=True, saves=0)
    a.pointwise(f"{name}.gather", "copy", rows, in_features, calls=gaps(a.w), saves=1.0)
    a.pointwise(f"{name}.bias", "bias", rows, out_features, calls=gaps(a.w))


def text_projection(a: Assembly, name: str, rows: Dim, in_features: Dim, hidden: Dim) -> None:
    """``PixArtAlphaTextProjection``: linear, GELU, linear on every text token."""
    a.linear(f"{name}.linear_1", rows, in_features, hidden, bias=True)
    a.pointwise(f"{name}.gelu", "gelu", rows, hidden, saves=1.0)
    a.linear(f"{name}.linear_2", rows, hidden, hidden, bias=True)


def rotary_peak(elements: Elements, w: Workload) -> Floats:
    """Elements alive while ``rotary`` turns keys of ``elements``, beside the keys: half, products and sum."""
    return as_float(elements) * (7.0 if is_half(w) else 4.0)
