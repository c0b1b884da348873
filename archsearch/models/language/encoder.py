"""Bidirectional encoders: BERT (post-norm, learned positions) and ModernBERT (pre-norm, RoPE, GeGLU, local attention).

Without ``mlm_head`` the model ends at its hidden states (and BERT's pooler), which is what retrieval and
classification run; the head adds a dense layer, activation, norm and a decoder tied to the embeddings. Phases are
``forward`` and ``train``; training without the head ends at a loss of negligible cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models import blocks, footprint
from archsearch.models.base import ConfigMixin, MemoryUse, Requirement, at_least_one
from archsearch.models.training import training_step
from archsearch.ops import Attention, Dim, Op, OpList, as_float
from archsearch.workload import Phase, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig(ConfigMixin):
    """Dimensions of an encoder; field names as in transformers, defaults ModernBERT's. Sizes may be arrays.

    ``post_norm`` is BERT's layout: a norm after every residual sum, none at the end. ``local_attention`` is the width
    of the sliding window in tokens (0: all layers global); of every ``global_attn_every_n_layers`` layers the first is
    global. ``intermediate_size`` of a gated MLP is the width of its gate, as in ModernBERT's config. ``bias`` covers
    linear layers and norms.
    """

    family: ClassVar[str] = "encoder"

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
    def head_width(self) -> Any:
        """head_dim as an array, filled in as hidden_size / num_attention_heads where it was left out."""
        if self.head_dim is not None:
            return np.asarray(self.head_dim)
        return np.asarray(self.hidden_size) // np.maximum(self.num_attention_heads, 1)

    @property
    def global_layers(self) -> Any:
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

    def parameters(self) -> Any:
        h, layers = as_float(self.hidden_size), as_float(self.num_layers)
        norm = 2 * h if self.bias else h
        embeddings = (as_float(self.vocab_size) + as_float(self.type_vocab_size)) * h + norm
        if self.positions == "learned":
            embeddings = embeddings + as_float(self.max_position_embeddings) * h
        # Two norms a layer in either layout: pre-norm uses the embedding's norm in the first layer and ends with one.
        total = embeddings + layers * (self._layer_linear() + self._layer_biases() + 2 * norm)
        if self.pooler:
            total = total + h * h + h
        if self.mlm_head:  # the decoder's weight is the embedding's; its bias is its own
            total = total + h * h + (h if self.bias else 0.0) + norm + as_float(self.vocab_size)
        return total

    def tokens(self, workload: Workload) -> Any:
        return as_float(workload.batch_size) * as_float(self._seq_len(workload))

    def lower(self, workload: Workload) -> OpList:
        """The ops of one pass; local and global attention are two entries with their own counts.

        Raises:
            InvalidInputError: no sequence length, or one beyond the learned positions.
            UnsupportedError: a phase that encoders do not have.
        """
        w = workload
        seq = self._seq_len(w)
        rows = blocks.product(w.batch_size, seq)
        layers: tuple[Op, ...] = (
            *self._qkv(rows, w),
            *self._attention(seq, w),
            blocks.linear(
                "attention.o_proj",
                rows,
                self.hidden_size,
                self.hidden_size,
                w.linear_dtype,
                count=self.num_layers,
                bias=self.bias,
            ),
            self._residual_norm("attention.residual_norm", rows, w),
            *self._mlp(rows, w),
            self._residual_norm("mlp.residual_norm", rows, w),
        )
        forward = OpList((*self._embedding(rows, seq, w), *layers, *self._heads(rows, w)))
        if w.phase is not Phase.TRAIN:
            return forward
        return training_step(forward, self.parameters(), w, recomputed=layers if w.checkpointing else ())

    def memory(self, workload: Workload) -> MemoryUse:
        """Weights, peak of live activations, gradients and AdamW's state.

        Inference keeps the embeddings and the layer's input alive, beside the largest of: q, k, v and their rotation
        (or attention's output); the residual sum and the feed-forward's widest moment; logits. Pre-norm also keeps the
        normed input, and attention's output until the layer ends. Training: see ``footprint``.
        """
        w = workload
        rows = self.tokens(w)
        size = w.activation_dtype.itemsize
        h = as_float(self.hidden_size)
        logits = footprint.logits_bytes(rows, self.vocab_size, w) if self.mlm_head else as_float(0.0)
        if w.phase is Phase.TRAIN:
            saved = 2 * footprint.norm_saved("layernorm", h, w) + 4 * h
            if self.fused_qkv and self.positions == "rope":  # values are a view that keeps the unrotated rest alive
                saved = saved + 2 * h
            saved = saved + footprint.mlp_saved(self.activation, self.gated_mlp, self.intermediate_size)
            widest = rows * as_float(self.intermediate_size)
            live = (self.num_layers, rows * saved, rows * h, 0.0, logits / size, widest)
            activations = footprint.training_live(*live, w) * size
            optimizer = footprint.training_state_bytes(self.parameters(), w)
        else:
            kept = 0.0 if self.post_norm else h
            attention = kept + 3 * h + (self._rope_live(w) * h if self.positions == "rope" else h)
            mlp = footprint.mlp_live(self.activation, self.gated_mlp, self.intermediate_size)
            if self.gated_mlp:  # both halves are views of one product
                mlp = mlp + as_float(self.intermediate_size)
            layer = rows * (2 * h + np.maximum(attention, 2 * kept + h + mlp)) * size
            activations = np.maximum(layer, rows * 2 * h * size + logits)
            optimizer = 0.0
        return MemoryUse(
            weights=footprint.weight_bytes(self.parameters(), as_float(self.num_layers) * self._layer_linear(), w),
            activations=activations,
            optimizer=optimizer,
        )

    @staticmethod
    def _rope_live(w: Workload) -> float:
        """Widest moment of rotating the keys in 32 bits, beside the rotated queries, in tensors of hidden_size."""
        return 4.0 if w.activation_dtype.itemsize >= 4 else 9.0

    def _seq_len(self, workload: Workload) -> Dim:
        if workload.phase in (Phase.PREFILL, Phase.DECODE):
            raise UnsupportedError(f"an encoder has no {workload.phase.value} phase; use forward or train")
        if workload.seq_len is None:
            raise InvalidInputError("an encoder's workload needs the sequence length: --seq-len N")
        if self.positions == "learned" and np.any(np.asarray(workload.seq_len) > self.max_position_embeddings):
            raise InvalidInputError(
                f"--seq-len {workload.seq_len} exceeds the model's {self.max_position_embeddings} learned positions"
            )
        return workload.seq_len

    def _layer_linear(self) -> Any:
        h, i = as_float(self.hidden_size), as_float(self.intermediate_size)
        return 4 * h * h + (3.0 if self.gated_mlp else 2.0) * h * i

    def _layer_biases(self) -> Any:
        h, i = as_float(self.hidden_size), as_float(self.intermediate_size)
        return 5 * h + (2 * i if self.gated_mlp else i) if self.bias else as_float(0.0)

    def _embedding(self, rows: Dim, seq: Dim, w: Workload) -> list[Op]:
        h = self.hidden_size
        ops: list[Op] = [blocks.embedding("embeddings.tokens", rows, h, w)]
        if np.any(self.type_vocab_size):
            used = np.asarray(self.type_vocab_size).astype(bool).astype(np.int64)
            ops.append(blocks.embedding("embeddings.token_types", rows, h, w, count=used))
            ops.append(blocks.pointwise("embeddings.add_token_types", "add", rows, h, w, reads=2.0, count=used))
        if self.positions == "learned":
            ops.append(blocks.embedding("embeddings.positions", seq, h, w))
            ops.append(blocks.pointwise("embeddings.add_positions", "add", rows, h, w, reads=2.0))
        else:
            tables = 1 + np.asarray(self.local_attention).astype(bool).astype(np.int64)  # one each: local, global
            ops.append(blocks.rope_table("embeddings.rope_table", seq, self.head_width, w, count=tables))
        ops.append(blocks.norm("embeddings.norm", "layernorm", rows, h, w))
        return ops

    def _qkv(self, rows: Dim, w: Workload) -> list[Op]:
        h, layers, dtype = self.hidden_size, np.asarray(self.num_layers), w.linear_dtype
        ops: list[Op]
        if self.fused_qkv:
            ops = [
                blocks.linear("attention.qkv_proj", rows, h, blocks.product(3, h), dtype, count=layers, bias=self.bias)
            ]
        else:
            name = "attention.q_proj+k_proj+v_proj"
            ops = [blocks.linear(name, rows, h, h, dtype, count=3 * layers, bias=self.bias)]
        if self.positions == "rope":
            ops.append(blocks.rope("attention.rope_q+rope_k", rows, h, w, count=2 * layers, upcast=True))
        return ops

    def _attention(self, seq: Dim, w: Workload) -> list[Op]:
        layers = np.asarray(self.num_layers)
        entries: list[tuple[str, Any, Any]] = [("attention.global", None, layers)]
        if np.any(self.local_attention):
            # Where a mesh mixes 0 with windows, a window of twice the sequence hides nothing.
            width = np.asarray(self.local_attention)
            window = width if np.all(width) else np.where(width == 0, 2 * np.asarray(seq), width)
            entries = [
                ("attention.global", None, self.global_layers),
                ("attention.local", window, layers - self.global_layers),
            ]
        return [
            Attention(
                name=name,
                batch=w.batch_size,
                heads_q=self.num_attention_heads,
                heads_kv=self.num_attention_heads,
                seq_q=seq,
                seq_kv=seq,
                head_dim=self.head_width,
                dtype=w.activation_dtype,
                window=window,
                count=count,
            )
            for name, window, count in entries
        ]

    def _mlp(self, rows: Dim, w: Workload) -> list[Op]:
        h, i, layers, dtype = self.hidden_size, self.intermediate_size, self.num_layers, w.linear_dtype
        name, width = ("mlp.gate_up_proj", 2 * np.asarray(i)) if self.gated_mlp else ("mlp.up_proj", i)
        return [
            blocks.linear(name, rows, h, width, dtype, count=layers, bias=self.bias),
            blocks.activation("mlp.activation", self.activation, rows, i, w, count=layers, gated=self.gated_mlp),
            blocks.linear("mlp.down_proj", rows, i, h, dtype, count=layers, bias=self.bias),
        ]

    def _residual_norm(self, name: str, rows: Dim, w: Workload) -> Op:
        """The residual sum and the norm after it: this layer's (post-norm), or the next one's or the last."""
        keep = not self.post_norm
        return blocks.residual_norm(name, "layernorm", rows, self.hidden_size, w, count=self.num_layers, keep_sum=keep)

    def _heads(self, rows: Dim, w: Workload) -> list[Op]:
        """Pooler and masked-language-model head, in the activation format."""
        h, dtype = self.hidden_size, w.activation_dtype
        ops: list[Op] = []
        if self.pooler:
            ops.append(blocks.linear("pooler.dense", w.batch_size, h, h, dtype, bias=True))
            ops.append(blocks.pointwise("pooler.tanh", "tanh", w.batch_size, h, w))
        if self.mlm_head:
            ops.append(blocks.linear("head.dense", rows, h, h, dtype, bias=self.bias))
            ops.append(blocks.activation("head.activation", self.activation, rows, h, w, count=1, gated=False))
            ops.append(blocks.norm("head.norm", "layernorm", rows, h, w))
            ops.append(blocks.linear("head.decoder", rows, h, self.vocab_size, dtype, bias=True))
            if w.phase is Phase.TRAIN:
                ops.append(blocks.cross_entropy("loss", rows, self.vocab_size, w))
        return ops


def _bert(layers: int, hidden: int, heads: int) -> dict[str, Any]:
    return {
        "num_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "vocab_size": 30522,
        "post_norm": True,
        "positions": "learned",
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "gated_mlp": False,
        "bias": True,
        "local_attention": 0,
        "fused_qkv": False,
        "pooler": True,
    }


# Published configs: config.json of google-bert/bert-{base,large}-uncased (https://arxiv.org/abs/1810.04805) and
# answerdotai/ModernBERT-{base,large} (https://arxiv.org/abs/2412.13663) on https://huggingface.co. BERT with its pooler
# and without heads, ModernBERT without heads; `mlm_head: true` in a YAML adds the masked-language-model head.
PRESETS: dict[str, dict[str, Any]] = {
    "bert-base": _bert(12, 768, 12),
    "bert-large": _bert(24, 1024, 16),
    "modernbert-base": {"num_layers": 22, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 1152},
    "modernbert-large": {"num_layers": 28, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 2624},
}
