"""T5 encoders, as text encoders of image and video models use them (T5EncoderModel, UMT5EncoderModel of transformers).

Raffel et al. 2020, https://arxiv.org/abs/1910.10683; version 1.1 has a gated GELU. RMSNorms, no biases, heads whose
width is apart from hidden_size, and a learned bias per head on the attention scores by relative position, which T5
computes once and UMT5 in every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks, footprint
from archsearch.models.assembly import Assembly
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.modality import TextModel
from archsearch.ops import MemoryOp
from archsearch.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class T5Config(TextModel):
    """Dimensions of a T5 encoder. Sizes may be arrays that broadcast.

    ``head_dim`` is d_kv, ``intermediate_size`` d_ff. ``shared_bias`` is T5's one table of relative positions; without
    it every layer has its own (UMT5).
    """

    family: ClassVar[str] = "t5"

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    intermediate_size: Dim
    head_dim: Dim = 64
    vocab_size: Dim = 32128
    relative_attention_num_buckets: Dim = 32
    gated_mlp: bool = True
    activation: str = "gelu_new"
    shared_bias: bool = True

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "intermediate_size", "head_dim", "vocab_size")
        known = ", ".join(blocks.ACTIVATIONS)
        return (
            *at_least_one(self, (*sizes, "relative_attention_num_buckets")),
            Requirement(reason=f"activation must be one of {known}", holds=self.activation in blocks.ACTIVATIONS),
        )

    def assemble(self, a: Assembly) -> None:
        seq, h = self.sequence(a.w), self.hidden_size
        rows = blocks.product(a.w.batch_size, seq)
        a.op(blocks.embedding("embeddings.tokens", rows, h, a.w))
        a.weigh(as_float(self.vocab_size) * as_float(h))
        if self.shared_bias:
            self._bias(a, seq)
        _norm(a, "input_norm", rows, h, saved=0.0)
        with a.layers(self.num_layers, carries=as_float(rows) * as_float(h)):
            if not self.shared_bias:
                self._bias(a, seq)
            self._layer(a, rows, seq)
        a.weigh(as_float(h))
        # The activation, beside embeddings, the layer's input, its sum and normed sum, and the scores' bias.
        mlp = footprint.mlp_live(self.activation, False, self.intermediate_size)
        both = footprint.mlp_live(self.activation, self.gated_mlp, self.intermediate_size)
        bias = as_float(self.num_attention_heads) * as_float(seq) ** 2 if self.shared_bias else 0.0
        a.alive(bias + as_float(rows) * (4 * as_float(h) + np.maximum(mlp, both)))

    def _bias(self, a: Assembly, seq: Dim) -> None:
        """Buckets of all pairs of positions as 64-bit integers, and their rows of the table."""
        pairs = MemoryOp(
            name="positions.buckets",
            kind="pointwise",
            rows=seq,
            cols=seq,
            dtype=DType.FP32,
            reads=33.5,
            writes=29.5,
            kernels=21,
        )
        a.op(pairs, saves=as_float(seq) ** 2 * 8 / a.w.activation_dtype.itemsize)
        square = blocks.product(seq, seq)
        a.pointwise("positions.bias", "embedding", square, self.num_attention_heads)
        a.weigh(as_float(self.relative_attention_num_buckets) * as_float(self.num_attention_heads))

    def _layer(self, a: Assembly, rows: Dim, seq: Dim) -> None:
        h, inner = self.hidden_size, blocks.product(self.num_attention_heads, self.head_dim)
        a.linear("attention.q_proj+k_proj+v_proj", rows, h, inner, bias=False, calls=3)
        a.attention("attention.core", heads=self.num_attention_heads, head_dim=self.head_dim, seq_q=seq, mask=True)
        a.save(4 * as_float(rows) * as_float(inner))
        a.linear("attention.o_proj", rows, inner, h, bias=False, saves=0)
        _norm(a, "attention.residual_norm", rows, h, residual=True)
        name, calls = ("mlp.gate_proj+up_proj", 2) if self.gated_mlp else ("mlp.up_proj", 1)
        wide = self.intermediate_size
        a.linear(name, rows, h, wide, bias=False, calls=calls)
        gate = blocks.activation("mlp.activation", self.activation, rows, wide, a.w, count=1, gated=self.gated_mlp)
        a.op(gate, saves=as_float(rows) * footprint.mlp_saved(self.activation, self.gated_mlp, wide))
        a.linear("mlp.down_proj", rows, wide, h, bias=False, saves=0)
        _norm(a, "mlp.residual_norm", rows, h, residual=True)
        a.weigh(2 * as_float(h))


def _norm(a: Assembly, name: str, rows: Dim, cols: Dim, *, residual: bool = False, saved: float = 1.0) -> None:
    """``T5LayerNorm`` written out (cast, square, mean, ε, root, product, cast, weight), after a residual sum.

    Autograd keeps the input, in 32 bits too, and the normed values.
    """
    norm = _norm_kernels(name, rows, cols, a.w)
    members: tuple[MemoryOp, ...] = (norm,)
    if residual:
        members = (blocks.pointwise(f"{name}.add", "add", rows, cols, a.w, reads=2.0), norm)
    tensors = (4.0 if a.w.activation_dtype.itemsize < 4 else 2.0) * saved
    both = 2.0 if residual else 1.0
    a.op(
        blocks.group(name, "rmsnorm", members, reads=both, writes=both),
        saves=tensors * as_float(rows) * as_float(cols),
    )


def _norm_kernels(name: str, rows: Dim, cols: Dim, w: Workload) -> MemoryOp:
    half = w.activation_dtype.itemsize < 4
    return blocks.pointwise(
        f"{name}.norm",
        "mul",
        rows,
        cols,
        w,
        reads=9.0 if half else 4.0,
        writes=8.0 if half else 3.0,
        kernels=8 if half else 6,
    )
