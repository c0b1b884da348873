"""Decoder-only language models: GPT-2, OPT (learned positions, biases, MLP); Llama, Mistral (RoPE, GLU, GQA).

The phases are: ``forward``, logits of every token, no cache; ``prefill``, the same with keys and values written to the
cache and logits of the last token only; ``decode``, one new token per sequence that attends to ``seq_len`` tokens
(itself included) in a preallocated cache; ``train``, forward with the loss, backward and AdamW.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from archsearch.errors import InvalidInputError
from archsearch.models import blocks, footprint
from archsearch.models.base import ConfigMixin, MemoryUse, Phase, Requirement, Workload, at_least_one
from archsearch.models.training import training_step
from archsearch.ops import Attention, Dim, Op, OpList, as_float


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig(ConfigMixin):
    """Dimensions of a decoder; field names as in transformers. Sizes may be arrays that broadcast.

    ``head_dim`` is hidden_size / num_attention_heads where it is left out. ``attention_bias`` and ``mlp_bias`` put
    biases on all of a part's linear layers. ``qk_norm`` normalises each head's queries and keys (Qwen3).
    ``fused_qkv`` projects queries, keys and values in one product (GPT-2). ``position_offset`` counts rows of the
    position table that no position uses, and ``scaled_queries`` is a kernel of its own for attention's scale (OPT).
    """

    family: ClassVar[str] = "decoder"

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    num_key_value_heads: Dim
    intermediate_size: Dim
    vocab_size: Dim
    head_dim: Dim | None = None
    gated_mlp: bool = True
    activation: str = "silu"
    attention_bias: bool = False
    mlp_bias: bool = False
    norm: str = "rmsnorm"
    qk_norm: bool = False
    positions: str = "rope"
    max_position_embeddings: Dim = 8192
    position_offset: Dim = 0
    tie_word_embeddings: bool = False
    fused_qkv: bool = False
    scaled_queries: bool = False

    @property
    def head_width(self) -> Any:
        """head_dim as an array, filled in where it was left out."""
        if self.head_dim is not None:
            return np.asarray(self.head_dim)
        return np.asarray(self.hidden_size) // np.maximum(self.num_attention_heads, 1)

    @property
    def query_width(self) -> Any:
        """Columns of all query heads."""
        return blocks.product(self.num_attention_heads, self.head_width)

    @property
    def key_width(self) -> Any:
        """Columns of all key heads; values have as many."""
        return blocks.product(self.num_key_value_heads, self.head_width)

    def requirements(self) -> tuple[Requirement, ...]:
        heads, kv = np.asarray(self.num_attention_heads), np.asarray(self.num_key_value_heads)
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size")
        whole = True if self.head_dim is not None else np.asarray(self.hidden_size) % np.maximum(heads, 1) == 0
        even = (self.head_width % 2 == 0) | (self.positions != "rope")
        known = ", ".join(blocks.ACTIVATIONS)
        return (
            *at_least_one(self, (*sizes, "vocab_size", "max_position_embeddings")),
            Requirement(reason="num_attention_heads must divide hidden_size, or give head_dim", holds=whole),
            Requirement(reason="head_dim must be at least 1", holds=self.head_width >= 1),
            Requirement(
                reason="num_key_value_heads must divide num_attention_heads", holds=heads % np.maximum(kv, 1) == 0
            ),
            Requirement(reason="head_dim must be even for rotary positions", holds=even),
            Requirement(reason="position_offset must not be negative", holds=np.asarray(self.position_offset) >= 0),
            Requirement(reason=f"norm must be one of {', '.join(blocks.NORMS)}", holds=self.norm in blocks.NORMS),
            Requirement(reason="positions must be rope or learned", holds=self.positions in ("rope", "learned")),
            Requirement(reason=f"activation must be one of {known}", holds=self.activation in blocks.ACTIVATIONS),
        )

    def parameters(self) -> Any:
        h = as_float(self.hidden_size)
        norm = blocks.norm_parameters(self.norm, h)
        layer = self._layer_linear() + self._layer_biases() + 2 * norm
        if self.qk_norm:
            layer = layer + 2 * blocks.norm_parameters(self.norm, self.head_width)
        embeddings = as_float(self.vocab_size) * h
        if self.positions == "learned":
            embeddings = embeddings + (as_float(self.max_position_embeddings) + as_float(self.position_offset)) * h
        head = 0.0 if self.tie_word_embeddings else as_float(self.vocab_size) * h
        return embeddings + as_float(self.num_layers) * layer + norm + head

    def tokens(self, workload: Workload) -> Any:
        if workload.phase is Phase.DECODE:
            return as_float(workload.batch_size)
        return as_float(workload.batch_size) * as_float(self._seq_len(workload))

    def lower(self, workload: Workload) -> OpList:
        """The ops of one pass; layers run ``num_layers`` times, pairs of equal products twice as often.

        Raises:
            InvalidInputError: no sequence length, or one beyond the learned positions.
        """
        w = workload
        seq = self._seq_len(w)
        new: Dim = 1 if w.phase is Phase.DECODE else seq
        rows = blocks.product(w.batch_size, new)
        ops: list[Op] = [
            *self._embedding(rows, new, w),
            blocks.norm("input_norm", self.norm, rows, self.hidden_size, w),
            *self._qkv(rows, w),
            *self._attention(rows, new, seq, w),
            self._residual_norm("attention.residual_norm", rows, w),
            *self._mlp(rows, w),
            self._residual_norm("mlp.residual_norm", rows, w),
            *self._head(rows, w),
        ]
        forward = OpList(tuple(ops))
        return training_step(forward, self.parameters(), w) if w.phase is Phase.TRAIN else forward

    def memory(self, workload: Workload) -> MemoryUse:
        """Weights, peak of live activations, KV cache, and gradients with AdamW's state in training.

        Inference keeps the embeddings, the layer's input and its normed input alive, beside the largest of: q, k, v and
        their rotation (or attention's output); the residual sum and the feed-forward's widest moment (GPT-2's block
        also keeps attention's output); logits. Training: see ``footprint``.
        """
        w = workload
        seq = self._seq_len(w)
        size = w.activation_dtype.itemsize
        rows = as_float(w.batch_size) * (1.0 if w.phase is Phase.DECODE else as_float(seq))
        logit_rows = as_float(w.batch_size) if w.phase is Phase.PREFILL else rows
        logits = footprint.logits_bytes(logit_rows, self.vocab_size, w)
        if w.phase is Phase.TRAIN:
            activations = rows * as_float(self.num_layers) * self._saved(w) * size + logits
            optimizer = footprint.training_state_bytes(self.parameters(), w)
        else:
            h, q, k = as_float(self.hidden_size), as_float(self.query_width), as_float(self.key_width)
            attention = q + 2 * k + (np.maximum(3 * q, q + 3 * k) if self.positions == "rope" else q)
            mlp = footprint.mlp_live(self.activation, self.gated_mlp, self.intermediate_size)
            mlp = mlp + (2 * h if self.fused_qkv else h)
            layer = rows * (3 * h + np.maximum(attention, mlp)) * size
            activations = np.maximum(layer, rows * 2 * h * size + logits)
            optimizer = 0.0
        return MemoryUse(
            weights=footprint.weight_bytes(self.parameters(), as_float(self.num_layers) * self._layer_linear(), w),
            activations=activations,
            kv_cache=self._cache_bytes(seq, w),
            optimizer=optimizer,
        )

    def _saved(self, w: Workload) -> Any:
        """Columns per token that one layer keeps for its backward pass."""
        h, q, k = as_float(self.hidden_size), as_float(self.query_width), as_float(self.key_width)
        norms = 2 * footprint.norm_saved(self.norm, h, w)
        if self.qk_norm:  # the rotation keeps nothing, so the norms' outputs are the attention's inputs already
            norms = norms + footprint.norm_saved(self.norm, q + k, w) - q - k
        attention = 2 * q + 2 * k
        if self.fused_qkv and self.positions == "rope":  # values are a view that keeps the unrotated rest alive
            attention = attention + q + k
        return norms + attention + footprint.mlp_saved(self.activation, self.gated_mlp, self.intermediate_size)

    def _cache_bytes(self, seq: Dim, w: Workload) -> Any:
        if w.phase not in (Phase.DECODE, Phase.PREFILL):
            return as_float(0.0)
        layers = as_float(self.num_layers)
        return as_float(w.batch_size) * as_float(seq) * layers * 2 * self.key_width * w.activation_dtype.itemsize

    def _seq_len(self, workload: Workload) -> Dim:
        if workload.seq_len is None:
            raise InvalidInputError("a decoder's workload needs the sequence length: --seq-len N")
        if self.positions == "learned" and np.any(np.asarray(workload.seq_len) > self.max_position_embeddings):
            raise InvalidInputError(
                f"--seq-len {workload.seq_len} exceeds the model's {self.max_position_embeddings} learned positions"
            )
        return workload.seq_len

    def _layer_linear(self) -> Any:
        """Weights of one layer's linear layers, without biases."""
        h, i = as_float(self.hidden_size), as_float(self.intermediate_size)
        attention = 2 * as_float(self.query_width) + 2 * as_float(self.key_width)
        return h * attention + (3.0 if self.gated_mlp else 2.0) * h * i

    def _layer_biases(self) -> Any:
        h, i = as_float(self.hidden_size), as_float(self.intermediate_size)
        attention = as_float(self.query_width) + 2 * as_float(self.key_width) + h if self.attention_bias else 0.0
        mlp = (2 * i if self.gated_mlp else i) + h if self.mlp_bias else 0.0
        return attention + mlp

    def _embedding(self, rows: Dim, positions: Dim, w: Workload) -> list[Op]:
        h = self.hidden_size
        ops: list[Op] = [blocks.embedding("embeddings.tokens", rows, h, w)]
        if self.positions == "learned":
            ops.append(blocks.embedding("embeddings.positions", positions, h, w))
            ops.append(blocks.pointwise("embeddings.add", "add", rows, h, w, reads=2.0))
        else:
            ops.append(blocks.rope_table("embeddings.rope_table", positions, self.head_width, w))
        return ops

    def _qkv(self, rows: Dim, w: Workload) -> list[Op]:
        h, layers, bias, dtype = self.hidden_size, self.num_layers, self.attention_bias, w.linear_dtype
        q, k = self.query_width, self.key_width
        if self.fused_qkv:
            ops: list[Op] = [
                blocks.linear("attention.qkv_proj", rows, h, q + 2 * k, dtype, count=layers, bias=bias),
            ]
        else:
            pairs = 2 * np.asarray(layers)
            ops = [
                blocks.linear("attention.q_proj", rows, h, q, dtype, count=layers, bias=bias),
                blocks.linear("attention.k_proj+v_proj", rows, h, k, dtype, count=pairs, bias=bias),
            ]
        if self.scaled_queries:
            ops.append(blocks.pointwise("attention.q_scale", "mulu", rows, q, w, count=layers))
        if self.qk_norm:
            for name, heads in (("q", self.num_attention_heads), ("k", self.num_key_value_heads)):
                head_rows = blocks.product(rows, heads)
                ops.append(
                    blocks.norm(f"attention.{name}_norm", self.norm, head_rows, self.head_width, w, count=layers)
                )
        return ops

    def _attention(self, rows: Dim, new: Dim, seq: Dim, w: Workload) -> list[Op]:
        layers = self.num_layers
        q, k = self.query_width, self.key_width
        ops: list[Op] = []
        if self.positions == "rope":
            ops.append(blocks.rope("attention.rope_q", rows, q, w, count=layers))
            ops.append(blocks.rope("attention.rope_k", rows, k, w, count=layers))
        if w.phase in (Phase.PREFILL, Phase.DECODE):
            ops.append(blocks.pointwise("attention.kv_cache", "kv_cache", rows, 2 * k, w, count=layers, kernels=2))
        ops.append(
            Attention(
                name="attention.core",
                batch=w.batch_size,
                heads_q=self.num_attention_heads,
                heads_kv=self.num_key_value_heads,
                seq_q=new,
                seq_kv=seq,
                head_dim=self.head_width,
                dtype=w.activation_dtype,
                causal=w.phase is not Phase.DECODE,
                count=layers,
            )
        )
        bias, dtype = self.attention_bias, w.linear_dtype
        ops.append(blocks.linear("attention.o_proj", rows, q, self.hidden_size, dtype, count=layers, bias=bias))
        return ops

    def _mlp(self, rows: Dim, w: Workload) -> list[Op]:
        h, i, layers, dtype = self.hidden_size, self.intermediate_size, self.num_layers, w.linear_dtype
        name, count = ("mlp.gate_proj+up_proj", 2 * np.asarray(layers)) if self.gated_mlp else ("mlp.up_proj", layers)
        return [
            blocks.linear(name, rows, h, i, dtype, count=count, bias=self.mlp_bias),
            blocks.activation("mlp.activation", self.activation, rows, i, w, count=layers, gated=self.gated_mlp),
            blocks.linear("mlp.down_proj", rows, i, h, dtype, count=layers, bias=self.mlp_bias),
        ]

    def _residual_norm(self, name: str, rows: Dim, w: Workload) -> Op:
        """The residual sum and the norm after it: the feed-forward's, the next layer's or the last."""
        return blocks.residual_norm(name, self.norm, rows, self.hidden_size, w, count=self.num_layers, keep_sum=True)

    def _head(self, rows: Dim, w: Workload) -> list[Op]:
        """Logits in the activation format: published 8-bit checkpoints leave the head alone."""
        logits = blocks.product(w.batch_size) if w.phase is Phase.PREFILL else rows
        ops: list[Op] = [
            blocks.linear("lm_head", logits, self.hidden_size, self.vocab_size, w.activation_dtype, bias=False)
        ]
        if w.phase is Phase.TRAIN:
            ops.append(blocks.cross_entropy("loss", rows, self.vocab_size, w))
        return ops


def _gpt2(layers: int, hidden: int, heads: int, positions: int = 1024) -> dict[str, Any]:
    return {
        "num_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": 4 * hidden,
        "vocab_size": 50257,
        "gated_mlp": False,
        "activation": "gelu_new",
        "attention_bias": True,
        "mlp_bias": True,
        "norm": "layernorm",
        "positions": "learned",
        "max_position_embeddings": positions,
        "tie_word_embeddings": True,
        "fused_qkv": True,
    }


def _llama(
    layers: int, hidden: int, heads: int, kv: int, ffn: int, vocab: int, positions: int, tied: bool = False
) -> dict[str, Any]:
    return {
        "num_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": ffn,
        "vocab_size": vocab,
        "max_position_embeddings": positions,
        "tie_word_embeddings": tied,
    }


_OPT = {"activation": "relu", "position_offset": 2, "scaled_queries": True, "fused_qkv": False}

# Published configs: config.json of openai-community/gpt2*, facebook/opt-1.3b, meta-llama/Llama-*, mistralai/
# Mistral-7B-v0.3 and Qwen/Qwen3-* on https://huggingface.co. gpt3-xl and gpt3-2.7b are GPT-2-style models of the
# sizes that NeuSight measured (Lee et al. 2025, https://github.com/sitar-lab/NeuSight), with GPT-3's 2048 positions
# (https://arxiv.org/abs/2005.14165); its gpt3-xl is wider than the one of that paper's table 2.1.
PRESETS: dict[str, dict[str, Any]] = {
    "gpt2": _gpt2(12, 768, 12),
    "gpt2-medium": _gpt2(24, 1024, 16),
    "gpt2-large": _gpt2(36, 1280, 20),
    "gpt2-xl": _gpt2(48, 1600, 25),
    "gpt3-xl": _gpt2(24, 3072, 24, positions=2048),
    "gpt3-2.7b": _gpt2(32, 2560, 32, positions=2048),
    "opt-1.3b": {**_gpt2(24, 2048, 32, positions=2048), "vocab_size": 50272, **_OPT},
    "llama-2-7b": _llama(32, 4096, 32, 32, 11008, 32000, 4096),
    "llama-2-13b": _llama(40, 5120, 40, 40, 13824, 32000, 4096),
    "llama-3-8b": _llama(32, 4096, 32, 8, 14336, 128256, 8192),
    "llama-3-70b": _llama(80, 8192, 64, 8, 28672, 128256, 8192),
    "llama-3.2-1b": _llama(16, 2048, 32, 8, 8192, 128256, 131072, tied=True),
    "llama-3.2-3b": _llama(28, 3072, 24, 8, 8192, 128256, 131072, tied=True),
    "mistral-7b": _llama(32, 4096, 32, 8, 14336, 32768, 32768),
    "qwen3-8b": {**_llama(36, 4096, 32, 8, 12288, 151936, 40960), "head_dim": 128, "qk_norm": True},
}
