"""CLIP text encoders (CLIPTextModel and CLIPTextModelWithProjection of transformers).

Radford et al. 2021, https://arxiv.org/abs/2103.00020: a causal pre-norm transformer with learned positions; the token
at the end of the text may be projected to a vector that image models take as pooled text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Ints, as_float
from archsearch.models import blocks, footprint
from archsearch.models.assembly import Assembly
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.field_types import following
from archsearch.models.modality import TextModel
from archsearch.ops import FusedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class CLIPTextConfig(TextModel):
    """Dimensions of a CLIP text encoder. Sizes may be arrays that broadcast.

    ``intermediate_size`` is 4 · hidden_size where it is left out. ``projection_dim`` is the width of the projected
    vector; 0 leaves the projection out. Positions are always learned.
    """

    family: ClassVar[str] = "clip-text"
    default_sizes: ClassVar[Mapping[str, int]] = {"seq_len": 77}
    positions: ClassVar[str] = "learned"

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    intermediate_size: Dim = following("hidden_size", times=4)
    vocab_size: Dim = 49408
    max_position_embeddings: Dim = 77
    activation: str = "quick_gelu"
    projection_dim: Dim = 0

    @property
    def head_width(self) -> Ints:
        """Columns of one head."""
        return np.asarray(self.hidden_size) // np.maximum(self.num_attention_heads, 1)

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
        whole = np.asarray(self.hidden_size) % np.maximum(self.num_attention_heads, 1) == 0
        known = ", ".join(blocks.ACTIVATIONS)
        return (
            *at_least_one(self, (*sizes, "max_position_embeddings")),
            Requirement(reason="num_attention_heads must divide hidden_size", holds=whole),
            Requirement(reason="projection_dim must not be negative", holds=np.asarray(self.projection_dim) >= 0),
            Requirement(reason=f"activation must be one of {known}", holds=self.activation in blocks.ACTIVATIONS),
        )

    def assemble(self, a: Assembly) -> None:
        seq, h, batch = self.sequence(a.w), self.hidden_size, a.w.batch_size
        rows = blocks.product(batch, seq)
        elements = as_float(rows) * as_float(h)
        a.op(blocks.embedding("embeddings.tokens", rows, h, a.w))
        a.op(blocks.embedding("embeddings.positions", seq, h, a.w))
        a.pointwise("embeddings.add", "add", rows, h, reads=2.0)
        a.weigh((as_float(self.vocab_size) + as_float(self.max_position_embeddings)) * as_float(h))
        a.op(blocks.norm("input_norm", "layernorm", rows, h, a.w))
        with a.layers(self.num_layers, carries=elements):
            self._layer(a, rows, seq)
        a.weigh(2 * as_float(h))
        a.pointwise("pooler.end_of_text", "gather", batch, h, kernels=6)
        if np.any(self.projection_dim):
            a.linear("pooler.projection", batch, h, self.projection_dim, bias=False)
        # The activation, beside embeddings, the layer's input, its sum and normed sum.
        a.alive(4 * elements + as_float(rows) * footprint.mlp_live(self.activation, False, self.intermediate_size))

    def _layer(self, a: Assembly, rows: Dim, seq: Dim) -> None:
        h, wide = self.hidden_size, self.intermediate_size
        elements = as_float(rows) * as_float(h)
        a.linear("attention.q_proj+k_proj+v_proj", rows, h, h, bias=True, calls=3)
        a.attention("attention.core", heads=self.num_attention_heads, head_dim=self.head_width, seq_q=seq, causal=True)
        a.save(4 * elements)
        a.linear("attention.o_proj", rows, h, h, bias=True, saves=0)
        a.op(self._residual_norm("attention", rows, a), saves=elements)
        a.linear("mlp.up_proj", rows, h, wide, bias=True)
        mlp = blocks.activation("mlp.activation", self.activation, rows, wide, a.w, count=1, gated=False)
        a.op(mlp, saves=as_float(rows) * footprint.mlp_saved(self.activation, False, wide))
        a.linear("mlp.down_proj", rows, wide, h, bias=True, saves=0)
        a.op(self._residual_norm("mlp", rows, a), saves=elements)
        a.weigh(4 * as_float(h))

    def _residual_norm(self, name: str, rows: Dim, a: Assembly) -> FusedGroup:
        """The residual sum and the norm after it: the feed-forward's, the next layer's or the last."""
        return blocks.residual_norm(
            f"{name}.residual_norm", "layernorm", rows, self.hidden_size, a.w, count=1, keep_sum=True
        )
