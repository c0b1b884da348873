"""Decoder-only language models of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archsearch.errors import UnsupportedError
from archsearch.models.decoder import DecoderConfig
from archsearch.models.huggingface.format import TRANSFORMER_SIZES as _SIZES
from archsearch.models.huggingface.format import Format

_LLAMA = {
    "num_key_value_heads": ("num_key_value_heads", None),
    "head_dim": ("head_dim", None),
    "activation": ("hidden_act", "silu"),
    "tie_word_embeddings": ("tie_word_embeddings", False),
}
_GPT2_KEYS = ("n_layer", "n_embd", "n_head", "n_inner", "vocab_size", "n_positions")
_MLP_STYLE = {"gated_mlp": False, "norm": "layernorm", "positions": "learned", "qk_norm": False}
_GLU_STYLE = {
    "gated_mlp": True,
    "norm": "rmsnorm",
    "positions": "rope",
    "position_offset": 0,
    "fused_qkv": False,
    "scaled_queries": False,
}


def _complete_gpt2(fields: dict[str, Any], values: Mapping[str, Any], where: str) -> None:
    if fields["intermediate_size"] is None:
        fields["intermediate_size"] = 4 * fields["hidden_size"]


def _complete_opt(fields: dict[str, Any], values: Mapping[str, Any], where: str) -> None:
    if values.get("word_embed_proj_dim") not in (None, fields["hidden_size"]):
        raise UnsupportedError(f"{where}: word_embed_proj_dim other than hidden_size is not supported")


def _complete_qwen3(fields: dict[str, Any], values: Mapping[str, Any], where: str) -> None:
    if any(t != "full_attention" for t in values.get("layer_types") or ()):
        raise UnsupportedError(f"{where}: layer_types other than full_attention are not supported")


def _one_head_each(config: Any) -> list[str]:
    """GPT-2 and OPT have as many keys as queries, and heads that make up the width."""
    wrong = []
    if config.num_key_value_heads != config.num_attention_heads:
        wrong.append("num_key_value_heads=num_attention_heads")
    if int(config.head_width) * int(config.num_attention_heads) != int(config.hidden_size):
        wrong.append("num_attention_heads times head_dim = hidden_size")
    return wrong


def _obstacles_opt(config: Any) -> list[str]:
    return _one_head_each(config) + (["attention_bias=mlp_bias"] if config.attention_bias != config.mlp_bias else [])


def _finish_opt(config: Any, document: dict[str, Any]) -> None:
    document["word_embed_proj_dim"] = document["hidden_size"]


FORMATS: dict[str, Format] = {
    "llama": Format(
        family=DecoderConfig,
        sizes=_SIZES,
        options={**_LLAMA, "attention_bias": ("attention_bias", False), "mlp_bias": ("mlp_bias", False)},
        constants={**_GLU_STYLE, "qk_norm": False},
        heads={"LlamaForCausalLM": {}, None: {}},
        library="transformers",
    ),
    "mistral": Format(
        family=DecoderConfig,
        sizes=_SIZES,
        options=_LLAMA,
        constants={**_GLU_STYLE, "qk_norm": False, "attention_bias": False, "mlp_bias": False},
        legal={"sliding_window": (None,)},
        heads={"MistralForCausalLM": {}, None: {}},
        library="transformers",
    ),
    "qwen3": Format(
        family=DecoderConfig,
        sizes=_SIZES,
        options={**_LLAMA, "head_dim": ("head_dim", 128), "attention_bias": ("attention_bias", False)},
        constants={**_GLU_STYLE, "qk_norm": True, "mlp_bias": False},
        legal={"use_sliding_window": (False,)},
        examined=("layer_types", "sliding_window", "max_window_layers"),
        heads={"Qwen3ForCausalLM": {}, None: {}},
        library="transformers",
        complete=_complete_qwen3,
    ),
    "gpt2": Format(
        family=DecoderConfig,
        sizes=dict(zip(_SIZES, _GPT2_KEYS, strict=True)) | {"num_key_value_heads": "n_head"},
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
        heads={"GPT2LMHeadModel": {}, None: {}},
        library="transformers",
        complete=_complete_gpt2,
        obstacles=_one_head_each,
    ),
    "opt": Format(
        family=DecoderConfig,
        sizes=_SIZES | {"intermediate_size": "ffn_dim", "num_key_value_heads": "num_attention_heads"},
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
        examined=("word_embed_proj_dim",),
        heads={"OPTForCausalLM": {}, None: {}},
        library="transformers",
        complete=_complete_opt,
        obstacles=_obstacles_opt,
        finish=_finish_opt,
    ),
}
