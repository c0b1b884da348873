"""Decoder-only language models: GPT-2, OPT, Pythia, Llama, Mistral, Qwen, Gemma, and mixtures of experts.

The phases are: ``forward``, logits of every token, no cache; ``prefill``, the same with keys and values written to the
cache and logits of the last token only; ``decode``, one new token per sequence that attends to ``seq_len`` tokens
(itself included) in a preallocated cache; ``train``, forward with the loss, backward and AdamW.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Floats, Ints, as_float
from archsearch.models import blocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import Modality, Requirement, at_least_one
from archsearch.models.field_types import following
from archsearch.models.language.decoder import layers, moe
from archsearch.models.modality import TextModel
from archsearch.workload import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig(TextModel):
    """Dimensions of a decoder; field names as in transformers. Sizes may be arrays that broadcast.

    ``head_dim`` is hidden_size / num_attention_heads where it is left out, ``num_key_value_heads`` num_attention_heads.
    ``attention_bias`` and ``mlp_bias`` put biases on all of a part's linear layers, ``qkv_bias`` on queries, keys and
    values alone (Qwen2). ``qk_norm`` normalises each head's queries and keys (Qwen3). ``fused_qkv`` projects queries,
    keys and values in one product (GPT-2). ``position_offset`` counts rows of the position table that no position uses,
    and ``scaled_queries`` is a kernel of its own for attention's scale (OPT). ``parallel_residual`` runs attention and
    feed-forward on norms of one input, and ``rotary_dim`` is how many columns of a head turn (Pythia). ``post_norms``
    are norms of both branches, ``scaled_embeddings`` and ``logit_softcap`` kernels at the ends (Gemma).

    ``sliding_window`` is how many keys a token sees in local layers (0: all layers are global); of every
    ``global_attn_every_n_layers`` layers the last is global (0: none). A mixture of experts has ``num_experts`` of
    width ``moe_intermediate_size`` (default: intermediate_size) in every layer, of which each token runs
    ``num_experts_per_tok``, and perhaps a shared expert behind a gate. ``lm_head=False`` ends at the hidden states.
    """

    family: ClassVar[str] = "decoder"
    modality: ClassVar[Modality] = Modality.CAUSAL_LANGUAGE
    phases: ClassVar[tuple[Phase, ...]] = (Phase.FORWARD, Phase.TRAIN, Phase.PREFILL, Phase.DECODE)
    default_sizes: ClassVar[Mapping[str, int]] = {"seq_len": 2048}
    tensor_parallel_fields: ClassVar[tuple[str, ...]] = (
        *("num_attention_heads", "num_key_value_heads", "intermediate_size", "moe_intermediate_size"),
    )

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    num_key_value_heads: Dim = following("num_attention_heads")
    intermediate_size: Dim
    vocab_size: Dim
    head_dim: Dim | None = None
    gated_mlp: bool = True
    activation: str = "silu"
    attention_bias: bool = False
    qkv_bias: bool = False
    mlp_bias: bool = False
    norm: str = "rmsnorm"
    qk_norm: bool = False
    post_norms: bool = False
    parallel_residual: bool = False
    positions: str = "rope"
    rotary_dim: Dim | None = None
    max_position_embeddings: Dim = 8192
    position_offset: Dim = 0
    tie_word_embeddings: bool = False
    scaled_embeddings: bool = False
    logit_softcap: bool = False
    lm_head: bool = True
    fused_qkv: bool = False
    scaled_queries: bool = False
    sliding_window: Dim = 0
    global_attn_every_n_layers: Dim = 0
    num_experts: Dim = 0
    num_experts_per_tok: Dim = 2
    moe_intermediate_size: Dim | None = None
    shared_expert_intermediate_size: Dim = 0
    norm_topk_prob: bool = True

    @property
    def head_width(self) -> Ints:
        """head_dim as an array, filled in where it was left out."""
        if self.head_dim is not None:
            return np.asarray(self.head_dim)
        return np.asarray(self.hidden_size) // np.maximum(self.num_attention_heads, 1)

    @property
    def query_width(self) -> Ints:
        """Columns of all query heads."""
        return blocks.product(self.num_attention_heads, self.head_width)

    @property
    def key_width(self) -> Ints:
        """Columns of all key heads; values have as many."""
        return blocks.product(self.num_key_value_heads, self.head_width)

    @property
    def has_output_matrix(self) -> bool:
        return self.lm_head and not self.tie_word_embeddings

    @property
    def is_moe(self) -> bool:
        """Whether the feed-forward is a mixture of experts."""
        return bool(np.any(self.num_experts))

    @property
    def expert_width(self) -> Ints:
        """Width of one expert."""
        return np.asarray(self.intermediate_size if self.moe_intermediate_size is None else self.moe_intermediate_size)

    @property
    def global_layers(self) -> Ints:
        """How many layers attend to the whole context."""
        layers, period = np.asarray(self.num_layers), np.asarray(self.global_attn_every_n_layers)
        if not np.any(self.sliding_window):
            return layers
        return np.where(period > 0, layers // np.maximum(period, 1), 0)

    def requirements(self) -> tuple[Requirement, ...]:
        heads, kv = np.asarray(self.num_attention_heads), np.asarray(self.num_key_value_heads)
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size")
        not_negative = ("position_offset", "sliding_window", "global_attn_every_n_layers", "num_experts")
        whole = True if self.head_dim is not None else np.asarray(self.hidden_size) % np.maximum(heads, 1) == 0
        turning = self.head_width if self.rotary_dim is None else np.asarray(self.rotary_dim)
        even = (turning % 2 == 0) & (turning <= self.head_width) | (self.positions != "rope")
        shared = np.asarray(self.shared_expert_intermediate_size)
        optional = [n for n in ("rotary_dim", "moe_intermediate_size") if getattr(self, n) is not None]
        known = ", ".join(blocks.ACTIVATIONS)
        chosen = np.asarray(self.num_experts_per_tok)
        reason = "num_experts_per_tok must be at least 1 and at most num_experts"
        return (
            *at_least_one(self, (*sizes, "vocab_size", "max_position_embeddings", *optional)),
            Requirement(reason="num_attention_heads must divide hidden_size, or give head_dim", holds=whole),
            Requirement(reason="head_dim must be at least 1", holds=self.head_width >= 1),
            Requirement(
                reason="num_key_value_heads must divide num_attention_heads", holds=heads % np.maximum(kv, 1) == 0
            ),
            Requirement(
                reason="head_dim must be even for rotary positions, rotary_dim too and at most head_dim", holds=even
            ),
            *(
                Requirement(reason=f"{name} must not be negative", holds=np.asarray(getattr(self, name)) >= 0)
                for name in (*not_negative, "shared_expert_intermediate_size")
            ),
            Requirement(reason=f"norm must be one of {', '.join(blocks.NORMS)}", holds=self.norm in blocks.NORMS),
            Requirement(reason="positions must be rope or learned", holds=self.positions in ("rope", "learned")),
            Requirement(reason=f"activation must be one of {known}", holds=self.activation in blocks.ACTIVATIONS),
            Requirement(
                reason=reason, holds=(not self.is_moe) or ((chosen >= 1) & (chosen <= np.asarray(self.num_experts)))
            ),
            Requirement(
                reason="shared_expert_intermediate_size must be 0 in all of a grid or in none of it",
                holds=(shared > 0) | (not np.any(shared)),
            ),
            Requirement(reason="a mixture of experts has gated feed-forwards", holds=self.gated_mlp or not self.is_moe),
            Requirement(
                reason="parallel_residual and post_norms exclude each other",
                holds=not (self.parallel_residual and self.post_norms),
            ),
        )

    def active_parameters(self) -> Floats:
        """Parameters that one token passes through: ``num_experts_per_tok`` experts of every layer."""
        if not self.is_moe:
            return self.parameters()
        idle = as_float(self.num_experts) - as_float(self.num_experts_per_tok)
        expert = 3 * as_float(self.hidden_size) * as_float(self.expert_width)
        return self.parameters() - as_float(self.num_layers) * idle * expert

    def assemble(self, a: Assembly) -> None:
        seq = self.sequence(a.w)
        new: Dim = 1 if a.w.phase is Phase.DECODE else seq
        rows = blocks.product(a.w.batch_size, new)
        layers.embeddings(self, a, rows, new)
        with a.layers(self.num_layers, carries=as_float(rows) * as_float(self.hidden_size)):
            layers.queries_keys_values(self, a, rows)
            layers.attention(self, a, rows, new, seq)
            if self.parallel_residual:
                layers.parallel_norm(self, a, rows)
            else:
                layers.residual_norm(self, a, "attention", rows)
            if self.is_moe:
                moe.experts(self, a, rows)
            else:
                layers.feed_forward(self, a, rows)
            layers.residual_norm(self, a, "mlp", rows)
        layers.head(self, a, rows)
        layers.alive(self, a, rows)
