"""What the parts of a decoder read of its config, whose class they need not know; meanings are in ``DecoderConfig``."""

from __future__ import annotations

from typing import Protocol

from archsearch.arrays import Dim, Ints


class LayerFields(Protocol):
    """Read by embeddings, attention, the dense feed-forward and the head."""

    @property
    def num_layers(self) -> Dim: ...

    @property
    def hidden_size(self) -> Dim: ...

    @property
    def num_attention_heads(self) -> Dim: ...

    @property
    def num_key_value_heads(self) -> Dim: ...

    @property
    def intermediate_size(self) -> Dim: ...

    @property
    def vocab_size(self) -> Dim: ...

    @property
    def gated_mlp(self) -> bool: ...

    @property
    def activation(self) -> str: ...

    @property
    def attention_bias(self) -> bool: ...

    @property
    def qkv_bias(self) -> bool: ...

    @property
    def mlp_bias(self) -> bool: ...

    @property
    def norm(self) -> str: ...

    @property
    def qk_norm(self) -> bool: ...

    @property
    def post_norms(self) -> bool: ...

    @property
    def parallel_residual(self) -> bool: ...

    @property
    def positions(self) -> str: ...

    @property
    def rotary_dim(self) -> Dim | None: ...

    @property
    def max_position_embeddings(self) -> Dim: ...

    @property
    def position_offset(self) -> Dim: ...

    @property
    def tie_word_embeddings(self) -> bool: ...

    @property
    def scaled_embeddings(self) -> bool: ...

    @property
    def logit_softcap(self) -> bool: ...

    @property
    def lm_head(self) -> bool: ...

    @property
    def fused_qkv(self) -> bool: ...

    @property
    def scaled_queries(self) -> bool: ...

    @property
    def sliding_window(self) -> Dim: ...

    @property
    def global_attn_every_n_layers(self) -> Dim: ...

    @property
    def head_width(self) -> Ints: ...

    @property
    def query_width(self) -> Ints: ...

    @property
    def key_width(self) -> Ints: ...

    @property
    def is_moe(self) -> bool: ...

    @property
    def global_layers(self) -> Ints: ...


class ExpertFields(Protocol):
    """Read by a mixture of experts."""

    @property
    def num_layers(self) -> Dim: ...

    @property
    def hidden_size(self) -> Dim: ...

    @property
    def activation(self) -> str: ...

    @property
    def num_experts(self) -> Dim: ...

    @property
    def num_experts_per_tok(self) -> Dim: ...

    @property
    def moe_intermediate_size(self) -> Dim | None: ...

    @property
    def shared_expert_intermediate_size(self) -> Dim: ...

    @property
    def norm_topk_prob(self) -> bool: ...

    @property
    def expert_width(self) -> Ints: ...
