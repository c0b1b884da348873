"""Bidirectional encoders: BERT (post-norm, learned positions) and ModernBERT (pre-norm, RoPE, GeGLU, local attention).

Without ``mlm_head`` the model ends at its hidden states (and BERT's pooler), which is what retrieval and
classification run; the head adds a dense layer, activation, norm and a decoder tied to the embeddings. Phases are
``forward`` and ``train``; training without the head ends at a loss of negligible cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Floats, Ints, as_float
from archsearch.models import blocks, footprint
from archsearch.models.assembly import Assembly
from archsearch.models.base import Modality, Requirement, at_least_one
from archsearch.models.modality import TextModel
from archsearch.workload import Phase, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig(TextModel):
    """Dimensions of an encoder; field names as in transformers, defaults ModernBERT's. Sizes may be arrays.

    ``post_norm`` is BERT's layout: a norm after every residual sum, none at the end. ``local_attention`` is the width
    of the sliding window in tokens (0: all layers global); of every ``global_attn_every_n_layers`` layers the first is
    global. ``intermediate_size`` of a gated MLP is the width of its gate, as in ModernBERT's config. ``bias`` covers
    linear layers and norms.
    """

    family: ClassVar[str] = "encoder"
    modality: ClassVar[Modality] = Modality.MASKED_LANGUAGE
    tensor_parallel_fields: ClassVar[tuple[str, ...]] = ("num_attention_heads", "intermediate_size")

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    intermediate_size: Dim
    vocab_size: Dim = 50368
    head_dim: Dim | None = None
    post_norm: bool = False
    positions: str = "rope"
    max_position_embeddings: Dim = 8192
    type_vocab_size: Dim = 0
    gated_mlp: bool = True
    activation: str = "gelu"
    bias: bool = False
    local_attention: Dim = 128
    global_attn_every_n_layers: Dim = 3
    fused_qkv: bool = True
    pooler: bool = False
    mlm_head: bool = False

    @property
    def head_width(self) -> Ints:
        """head_dim as an array, filled in as hidden_size / num_attention_heads where it was left out."""
        if self.head_dim is not None:
            return np.asarray(self.head_dim)
        return np.asarray(self.hidden_size) // np.maximum(self.num_attention_heads, 1)

    @property
    def global_layers(self) -> Ints:
        """How many layers attend to the whole sequence, where ``local_attention`` is not 0."""
        return -(-np.asarray(self.num_layers) // np.maximum(self.global_attn_every_n_layers, 1))

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
        equal = np.asarray(self.num_attention_heads) * self.head_width == np.asarray(self.hidden_size)
        even = (self.head_width % 2 == 0) | (self.positions != "rope")
        known = ", ".join(blocks.ACTIVATIONS)
        return (
            *at_least_one(self, (*sizes, "max_position_embeddings", "global_attn_every_n_layers")),
            Requirement(reason="num_attention_heads times head_dim must be hidden_size", holds=equal),
            Requirement(reason="head_dim must be even for rotary positions", holds=even),
            Requirement(reason="type_vocab_size must not be negative", holds=np.asarray(self.type_vocab_size) >= 0),
            Requirement(reason="local_attention must not be negative", holds=np.asarray(self.local_attention) >= 0),
            Requirement(reason="positions must be rope or learned", holds=self.positions in ("rope", "learned")),
            Requirement(reason=f"activation must be one of {known}", holds=self.activation in blocks.ACTIVATIONS),
        )

    def assemble(self, a: Assembly) -> None:
        seq, h = self.sequence(a.w), self.hidden_size
        rows = blocks.product(a.w.batch_size, seq)
        self._embed(a, rows, seq)
        with a.layers(self.num_layers, carries=as_float(rows) * as_float(h)):
            self._qkv(a, rows)
            self._attention(a, seq)
            a.save(4 * as_float(rows) * as_float(h))
            a.linear("attention.o_proj", rows, h, h, bias=self.bias, saves=0)
            self._residual_norm(a, "attention.residual_norm", rows)
            self._mlp(a, rows)
            self._residual_norm(a, "mlp.residual_norm", rows)
        self._heads(a, rows)
        self._alive(a, as_float(rows))

    def _norm_weights(self) -> Floats:
        return (2.0 if self.bias else 1.0) * as_float(self.hidden_size)

    def _embed(self, a: Assembly, rows: Dim, seq: Dim) -> None:
        h = self.hidden_size
        a.op(blocks.embedding("embeddings.tokens", rows, h, a.w))
        a.weigh((as_float(self.vocab_size) + as_float(self.type_vocab_size)) * as_float(h))
        used = np.asarray(self.type_vocab_size).astype(bool).astype(np.int64)
        a.op(blocks.embedding("embeddings.token_types", rows, h, a.w, count=used))
        a.pointwise("embeddings.add_token_types", "add", rows, h, reads=2.0, calls=used)
        if self.positions == "learned":
            a.op(blocks.embedding("embeddings.positions", seq, h, a.w))
            a.pointwise("embeddings.add_positions", "add", rows, h, reads=2.0)
            a.weigh(as_float(self.max_position_embeddings) * as_float(h))
        else:
            tables = 1 + np.asarray(self.local_attention).astype(bool).astype(np.int64)  # one each: local, global
            a.op(blocks.rope_table("embeddings.rope_table", seq, self.head_width, a.w, count=tables))
        a.op(blocks.norm("embeddings.norm", "layernorm", rows, h, a.w))
        a.weigh(self._norm_weights())

    def _qkv(self, a: Assembly, rows: Dim) -> None:
        h = self.hidden_size
        if self.fused_qkv:
            a.linear("attention.qkv_proj", rows, h, blocks.product(3, h), bias=self.bias)
        else:
            a.linear("attention.q_proj+k_proj+v_proj", rows, h, h, bias=self.bias, calls=3)
        if self.positions == "rope":
            # of one product, values are a view that keeps the unrotated rest alive
            kept = 2 * as_float(rows) * as_float(h) if self.fused_qkv else 0.0
            a.op(blocks.rope("attention.rope_q+rope_k", rows, h, a.w, count=2, upcast=True), saves=kept)

    def _attention(self, a: Assembly, seq: Dim) -> None:
        """Local and global attention are two entries with their own counts."""
        layers = np.asarray(self.num_layers)
        entries: list[tuple[str, Ints | None, Ints]] = [("attention.global", None, layers)]
        if np.any(self.local_attention):
            # Where a mesh mixes 0 with windows, a window of twice the sequence hides nothing.
            width = np.asarray(self.local_attention)
            local = width if np.all(width) else np.where(width == 0, 2 * np.asarray(seq), width)
            entries = [
                ("attention.global", None, self.global_layers),
                ("attention.local", local, layers - self.global_layers),
            ]
        heads, head_dim = self.num_attention_heads, self.head_width
        for name, window, total in entries:
            a.attention(name, heads=heads, head_dim=head_dim, seq_q=seq, window=window, total=total)

    def _residual_norm(self, a: Assembly, name: str, rows: Dim) -> None:
        """The residual sum and the norm after it: this layer's (post-norm), or the next one's or the last.

        Two norms a layer in either layout: pre-norm uses the embedding's in the first layer and ends with one.
        """
        h = self.hidden_size
        norm = blocks.residual_norm(name, "layernorm", rows, h, a.w, count=1, keep_sum=not self.post_norm)
        a.op(norm, saves=as_float(rows) * as_float(h))
        a.weigh(self._norm_weights())

    def _mlp(self, a: Assembly, rows: Dim) -> None:
        h, i = self.hidden_size, self.intermediate_size
        name, width = ("mlp.gate_up_proj", blocks.product(2, i)) if self.gated_mlp else ("mlp.up_proj", i)
        a.linear(name, rows, h, width, bias=self.bias)
        act = blocks.activation("mlp.activation", self.activation, rows, i, a.w, count=1, gated=self.gated_mlp)
        a.op(act, saves=as_float(rows) * footprint.mlp_saved(self.activation, self.gated_mlp, i))
        a.linear("mlp.down_proj", rows, i, h, bias=self.bias, saves=0)

    def _heads(self, a: Assembly, rows: Dim) -> None:
        """Pooler and masked-language-model head, in the activation format."""
        h, texts = self.hidden_size, a.w.batch_size
        if self.pooler:
            a.linear("pooler.dense", texts, h, h, bias=True, saves=0)
            a.pointwise("pooler.tanh", "tanh", texts, h)
        if not self.mlm_head:
            return
        a.linear("head.dense", rows, h, h, bias=self.bias, saves=0)
        a.op(blocks.activation("head.activation", self.activation, rows, h, a.w, count=1, gated=False))
        a.op(blocks.norm("head.norm", "layernorm", rows, h, a.w))
        a.weigh(self._norm_weights())
        # the decoder's weight is the embedding's; its bias is its own
        a.linear("head.decoder", rows, h, self.vocab_size, bias=True, copies=0, saves=0)
        a.weigh(as_float(self.vocab_size))
        if a.w.phase is Phase.TRAIN:
            a.op(blocks.cross_entropy("loss", rows, self.vocab_size, a.w))

    def _alive(self, a: Assembly, rows: Floats) -> None:
        """Inference keeps the embeddings and the layer's input alive, beside the largest of: q, k, v and their rotation
        (or attention's output); the residual sum and the feed-forward's widest moment; logits. Pre-norm also keeps the
        normed input, and attention's output until the layer ends."""
        h = as_float(self.hidden_size)
        kept = 0.0 if self.post_norm else h
        attention = kept + 3 * h + (_rope_live(a.w) * h if self.positions == "rope" else h)
        mlp = footprint.mlp_live(self.activation, self.gated_mlp, self.intermediate_size)
        if self.gated_mlp:  # both halves are views of one product
            mlp = mlp + as_float(self.intermediate_size)
        a.alive(rows * (2 * h + np.maximum(attention, 2 * kept + h + mlp)))
        if self.mlm_head:
            logits = footprint.logits_bytes(rows, self.vocab_size, a.w) / a.w.activation_dtype.itemsize
            a.alive(rows * 2 * h + logits)
            a.at_the_loss(logits)


def _rope_live(w: Workload) -> float:
    """Widest moment of rotating the keys in 32 bits, beside the rotated queries, in tensors of hidden_size."""
    return 4.0 if w.activation_dtype.itemsize >= 4 else 9.0
