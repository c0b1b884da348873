"""Decoders of transformers with LayerNorms and plain feed-forwards, and what all decoders' formats share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from archsearch.errors import UnsupportedError
from archsearch.models.huggingface.classes.format import TRANSFORMER_SIZES, Document, Fields, Format, Values
from archsearch.models.language.decoder.config import DecoderConfig

DENSE = {"num_experts": 0, "shared_expert_intermediate_size": 0, "moe_intermediate_size": None}
GLOBAL = {"sliding_window": 0, "global_attn_every_n_layers": 0}
ONE_KIND = {"global_attn_every_n_layers": 0}
PLAIN = {
    **DENSE,
    "qkv_bias": False,
    "qk_norm": False,
    "post_norms": False,
    "parallel_residual": False,
    "rotary_dim": None,
    "scaled_embeddings": False,
    "logit_softcap": False,
}
_MLP_STYLE = {**PLAIN, **GLOBAL, "gated_mlp": False, "norm": "layernorm", "positions": "learned"}
_GPT2_KEYS = ("n_layer", "n_embd", "n_head", "n_inner", "vocab_size", "n_positions")


def heads(base: str, causal: str = "ForCausalLM") -> dict[str | None, dict[str, object]]:
    """Classes with and without the head; files that name none have it."""
    return {f"{base}{causal}": {"lm_head": True}, f"{base}Model": {"lm_head": False}, None: {"lm_head": True}}


def without(constants: Mapping[str, object], *names: str) -> dict[str, object]:
    """Constants but those that a file tells."""
    return {name: value for name, value in constants.items() if name not in names}


def _complete_gpt2(fields: Fields, values: Values, where: str) -> None:
    if fields["intermediate_size"] is None:
        fields["intermediate_size"] = 4 * fields["hidden_size"]


def _complete_opt(fields: Fields, values: Values, where: str) -> None:
    if values.get("word_embed_proj_dim") not in (None, fields["hidden_size"]):
        raise UnsupportedError(f"{where}: word_embed_proj_dim other than hidden_size is not supported")


def _complete_gpt_neox(fields: Fields, values: Values, where: str) -> None:
    share = (values.get("rope_parameters") or {}).get("partial_rotary_factor", values.get("rotary_pct"))
    hidden, number = fields["hidden_size"], fields["num_attention_heads"]
    if isinstance(hidden, int) and isinstance(number, int) and number > 0:  # else refused with the other sizes
        fields["rotary_dim"] = int(hidden // number * (0.25 if share is None else share))


def _one_head_each(config: DecoderConfig) -> list[str]:
    """GPT-2 and OPT have as many keys as queries, and heads that make up the width."""
    wrong = []
    if config.num_key_value_heads != config.num_attention_heads:
        wrong.append("num_key_value_heads=num_attention_heads")
    if int(config.head_width) * int(config.num_attention_heads) != int(config.hidden_size):
        wrong.append("num_attention_heads times head_dim = hidden_size")
    return wrong


def _obstacles_opt(config: DecoderConfig) -> list[str]:
    return _one_head_each(config) + (["attention_bias=mlp_bias"] if config.attention_bias != config.mlp_bias else [])


def _obstacles_gpt_neox(config: DecoderConfig) -> list[str]:
    return _one_head_each(config) + (["a rotary_dim"] if config.rotary_dim is None else [])


def _finish_opt(config: DecoderConfig, document: Document) -> None:
    document["word_embed_proj_dim"] = document["hidden_size"]


def _finish_gpt_neox(config: DecoderConfig, document: Document) -> None:
    assert config.rotary_dim is not None, "an obstacle"
    share = int(config.rotary_dim) / int(config.head_width)
    # The class rounds the product down, so that the quotient must not fall below.
    document["rotary_pct"] = share if int(int(config.head_width) * share) == config.rotary_dim else share + 1e-9


_BASE = Format(family=DecoderConfig, sizes=TRANSFORMER_SIZES, library="transformers")

MLP_FORMATS = {
    "gpt_neox": replace(
        _BASE,
        sizes=TRANSFORMER_SIZES | {"num_key_value_heads": "num_attention_heads"},
        options={
            "activation": ("hidden_act", "gelu"),
            "tie_word_embeddings": ("tie_word_embeddings", False),
            "attention_bias": ("attention_bias", True),
            "parallel_residual": ("use_parallel_residual", True),
        },
        constants={
            **without(_MLP_STYLE, "rotary_dim", "parallel_residual"),
            "positions": "rope",
            "position_offset": 0,
            "fused_qkv": True,
            "scaled_queries": False,
            "mlp_bias": True,
        },
        examined={"rope_parameters": dict[str, object], "rotary_pct": float},
        immaterial=("rotary_emb_base", "hidden_dropout"),
        heads=heads("GPTNeoX"),
        complete=_complete_gpt_neox,
        obstacles=_obstacles_gpt_neox,
        finish=_finish_gpt_neox,
    ),
    "gpt2": replace(
        _BASE,
        sizes=dict(zip(TRANSFORMER_SIZES, _GPT2_KEYS, strict=True)) | {"num_key_value_heads": "n_head"},
        options={
            "activation": ("activation_function", "gelu_new"),
            "tie_word_embeddings": ("tie_word_embeddings", True),
        },
        constants={
            **_MLP_STYLE,
            "attention_bias": True,
            "mlp_bias": True,
            "position_offset": 0,
            "fused_qkv": True,
            "scaled_queries": False,
        },
        legal={
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "reorder_and_upcast_attn": (False,),
            "add_cross_attention": (False,),
        },
        heads=heads("GPT2", "LMHeadModel"),
        complete=_complete_gpt2,
        obstacles=_one_head_each,
    ),
    "opt": replace(
        _BASE,
        sizes=TRANSFORMER_SIZES | {"intermediate_size": "ffn_dim", "num_key_value_heads": "num_attention_heads"},
        options={
            "activation": ("activation_function", "relu"),
            "tie_word_embeddings": ("tie_word_embeddings", True),
            "attention_bias": ("enable_bias", True),
            "mlp_bias": ("enable_bias", True),
        },
        constants={**_MLP_STYLE, "position_offset": 2, "fused_qkv": False, "scaled_queries": True},
        legal={
            "do_layer_norm_before": (True,),
            "_remove_final_layer_norm": (False,),
            "layer_norm_elementwise_affine": (True,),
        },
        examined={"word_embed_proj_dim": int},
        heads=heads("OPT"),
        complete=_complete_opt,
        obstacles=_obstacles_opt,
        finish=_finish_opt,
    ),
}
