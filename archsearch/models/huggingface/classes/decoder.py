"""Decoder-only language models of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archsearch.errors import UnsupportedError
from archsearch.models.huggingface.classes.decoder_mlp import (
    DENSE,
    GLOBAL,
    MLP_FORMATS,
    ONE_KIND,
    PLAIN,
    heads,
    without,
)
from archsearch.models.huggingface.classes.format import TRANSFORMER_SIZES as _SIZES
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values
from archsearch.models.language.decoder.config import DecoderConfig

_LLAMA = {
    "num_key_value_heads": ("num_key_value_heads", None),
    "head_dim": ("head_dim", None),
    "activation": ("hidden_act", "silu"),
    "tie_word_embeddings": ("tie_word_embeddings", False),
}
_GLU_STYLE = {
    **PLAIN,
    "gated_mlp": True,
    "norm": "rmsnorm",
    "positions": "rope",
    "position_offset": 0,
    "fused_qkv": False,
    "scaled_queries": False,
    "mlp_bias": False,
}
_WINDOW_KEYS = {
    "sliding_window": int,
    "use_sliding_window": bool,
    "max_window_layers": int,
    "layer_types": tuple[str, ...],
}
_ROUTER_KEYS = ("router_aux_loss_coef", "output_router_logits", "router_jitter_noise")
_FULL, _LOCAL = "full_attention", "sliding_attention"


def _pattern(layers: int, period: int) -> list[str]:
    """Kinds of ``layers`` layers, the last of each ``period`` global (0: none)."""
    return [_FULL if period and (i + 1) % period == 0 else _LOCAL for i in range(layers)]


def _read_window(
    fields: Fields, where: str, window: int | None, layer_types: Sequence[str] | None, period: int = 0
) -> None:
    """Window and period from every layer's type (None: as ``period`` says).

    Raises:
        UnsupportedError: layer_types in an order that no period describes.
    """
    layers = fields["num_layers"]
    if not isinstance(layers, int):  # refused with the other sizes
        return
    types = _pattern(layers, period) if layer_types is None else list(layer_types)
    if not window or types == [_FULL] * layers:
        fields.update(GLOBAL)
        return
    first = types.index(_FULL) + 1 if _FULL in types else 0
    every = next((p for p in (period, first) if types == _pattern(layers, p)), None)
    if every is None:
        raise UnsupportedError(
            f"{where}: layer_types (or max_window_layers) must make all layers {_LOCAL}, or the last of each n {_FULL}"
        )
    fields["sliding_window"], fields["global_attn_every_n_layers"] = window, every


def _complete_mistral(fields: Fields, values: Values, where: str) -> None:
    _read_window(fields, where, values.get("sliding_window", 4096), None)


def _complete_mixtral(fields: Fields, values: Values, where: str) -> None:
    _read_window(fields, where, values.get("sliding_window"), None)


def _complete_qwen(fields: Fields, values: Values, where: str) -> None:
    """Windows are off unless asked for, and then in layers from ``max_window_layers`` on."""
    window = values.get("sliding_window", 4096) if values.get("use_sliding_window") else 0
    layer_types, layers, first = values.get("layer_types"), fields["num_layers"], values.get("max_window_layers")
    if layer_types is None and isinstance(layers, int):
        layer_types = [_FULL if i < (28 if first is None else first) else _LOCAL for i in range(layers)]
    _read_window(fields, where, window, layer_types)


def _complete_qwen3_moe(fields: Fields, values: Values, where: str) -> None:
    window = values.get("sliding_window", 4096) if values.get("use_sliding_window") else 0
    _read_window(fields, where, window, None)
    fields["num_experts"] = values.get("num_experts") or values.get("num_local_experts") or 128


def _complete_gemma(fields: Fields, values: Values, where: str) -> None:
    if fields["activation"] == "gelu":  # an old name of the same: transformers' GemmaConfig reads it so
        fields["activation"] = "gelu_tanh"


def _complete_gemma2(fields: Fields, values: Values, where: str) -> None:
    fields["logit_softcap"] = bool(fields["lm_head"] and values.get("final_logit_softcapping", 30.0))
    _read_window(fields, where, values.get("sliding_window", 4096), values.get("layer_types"), 2)


def _complete_gemma3(fields: Fields, values: Values, where: str) -> None:
    fields["logit_softcap"] = bool(fields["lm_head"] and values.get("final_logit_softcapping"))
    period = values.get("sliding_window_pattern") or values.get("_sliding_window_pattern") or 6
    _read_window(fields, where, values.get("sliding_window", 4096), values.get("layer_types"), period)


def _obstacles_mixtral(config: DecoderConfig) -> list[str]:
    return [] if config.num_experts else ["num_experts"]


def _obstacles_qwen_moe(config: DecoderConfig) -> list[str]:
    needed = ("num_experts", "moe_intermediate_size")
    return [name for name in needed if not getattr(config, name)]


def _obstacles_qwen2_moe(config: DecoderConfig) -> list[str]:
    shared = [] if config.shared_expert_intermediate_size else ["shared_expert_intermediate_size"]
    return _obstacles_qwen_moe(config) + shared


def _finish_mistral(config: DecoderConfig, document: Document) -> None:
    document["sliding_window"] = int(config.sliding_window) or None


def _finish_qwen(config: DecoderConfig, document: Document) -> None:
    document["use_sliding_window"] = bool(config.sliding_window)
    if config.sliding_window:
        document["sliding_window"] = int(config.sliding_window)
        document["layer_types"] = _pattern(int(config.num_layers), int(config.global_attn_every_n_layers))


def _finish_qwen3_moe(config: DecoderConfig, document: Document) -> None:
    document["use_sliding_window"] = bool(config.sliding_window)
    document["sliding_window"] = int(config.sliding_window) or None


def _finish_gemma2(config: DecoderConfig, document: Document) -> None:
    window, period = int(config.sliding_window), int(config.global_attn_every_n_layers)
    document["sliding_window"] = window or 4096  # unused where all layers are global
    layers = int(config.num_layers)
    document["layer_types"] = _pattern(layers, period) if window else [_FULL] * layers
    document["final_logit_softcapping"] = 30.0 if config.logit_softcap else None


def _finish_gemma3(config: DecoderConfig, document: Document) -> None:
    _finish_gemma2(config, document)
    if config.sliding_window and config.global_attn_every_n_layers:
        document["sliding_window_pattern"] = int(config.global_attn_every_n_layers)


_BASE = Format(
    family=DecoderConfig,
    sizes=_SIZES,
    options={**_LLAMA, "attention_bias": ("attention_bias", False), "mlp_bias": ("mlp_bias", False)},
    constants=without({**_GLU_STYLE, **GLOBAL}, "mlp_bias"),
    heads=heads("Llama"),
    library="transformers",
)
_GEMMA = replace(
    _BASE,
    options={
        **_LLAMA,
        "head_dim": ("head_dim", 256),
        "attention_bias": ("attention_bias", False),
        "activation": ("hidden_act", "gelu_pytorch_tanh"),
        "tie_word_embeddings": ("tie_word_embeddings", True),
    },
    constants={**_GLU_STYLE, **GLOBAL, "norm": "gemma_rmsnorm", "scaled_embeddings": True},
    legal={"use_bidirectional_attention": (None, False)},
    immaterial=("hidden_activation",),
    heads=heads("Gemma"),
    complete=_complete_gemma,
)
_GEMMA2 = replace(
    _GEMMA,
    options={**_GEMMA.options, "activation": ("hidden_activation", "gelu_pytorch_tanh")},
    constants=without({**_GEMMA.constants, "post_norms": True}, *GLOBAL, "logit_softcap"),
    immaterial=("hidden_act", "query_pre_attn_scalar", "attn_logit_softcapping", "cache_implementation"),
    examined={"sliding_window": int, "layer_types": tuple[str, ...], "final_logit_softcapping": float},
    heads=heads("Gemma2"),
    complete=_complete_gemma2,
    finish=_finish_gemma2,
)
_QWEN2 = replace(
    _BASE,
    options=_LLAMA,
    constants={**_GLU_STYLE, "attention_bias": False, "qkv_bias": True},
    examined=_WINDOW_KEYS,
    immaterial=("use_mrope",),
    heads=heads("Qwen2"),
    complete=_complete_qwen,
    finish=_finish_qwen,
)
_QWEN3 = replace(
    _QWEN2,
    options={**_LLAMA, "head_dim": ("head_dim", 128), "attention_bias": ("attention_bias", False)},
    constants={**_GLU_STYLE, "qk_norm": True},
    heads=heads("Qwen3"),
)
_EXPERTS = {
    "num_experts_per_tok": ("num_experts_per_tok", 8),
    "moe_intermediate_size": ("moe_intermediate_size", 768),
    "norm_topk_prob": ("norm_topk_prob", False),
}
_SPARSE: dict[str, tuple[object, ...]] = {"decoder_sparse_step": (1,), "mlp_only_layers": (None, [])}


FORMATS = {
    "llama": _BASE,
    "mistral": replace(
        _BASE,
        options=_LLAMA,
        constants={**_GLU_STYLE, **ONE_KIND, "attention_bias": False},
        examined={"sliding_window": int},
        heads=heads("Mistral"),
        complete=_complete_mistral,
        finish=_finish_mistral,
    ),
    "qwen2": _QWEN2,
    "qwen3": _QWEN3,
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3_text": replace(
        _GEMMA2,
        constants={**_GEMMA2.constants, "qk_norm": True},
        examined={**_GEMMA2.examined, "sliding_window_pattern": int, "_sliding_window_pattern": int},
        immaterial=(*_GEMMA2.immaterial, "rope_local_base_freq"),
        heads={"Gemma3ForCausalLM": {"lm_head": True}, "Gemma3TextModel": {"lm_head": False}, None: {"lm_head": True}},
        complete=_complete_gemma3,
        finish=_finish_gemma3,
    ),
    "mixtral": replace(
        _BASE,
        options={
            **_LLAMA,
            "num_experts": ("num_local_experts", 8),
            "num_experts_per_tok": ("num_experts_per_tok", 2),
        },
        constants={
            **without(_GLU_STYLE, "num_experts"),
            **ONE_KIND,
            "attention_bias": False,
            "norm_topk_prob": True,
        },
        immaterial=_ROUTER_KEYS,
        examined={"sliding_window": int},
        heads=heads("Mixtral"),
        complete=_complete_mixtral,
        obstacles=_obstacles_mixtral,
        finish=_finish_mistral,
    ),
    "qwen2_moe": replace(
        _QWEN2,
        options={
            **_LLAMA,
            **_EXPERTS,
            "num_experts": ("num_experts", 60),
            "num_experts_per_tok": ("num_experts_per_tok", 4),
            "moe_intermediate_size": ("moe_intermediate_size", 1408),
            "shared_expert_intermediate_size": ("shared_expert_intermediate_size", 5632),
            "qkv_bias": ("qkv_bias", True),
        },
        constants={**without(_GLU_STYLE, *DENSE, "qkv_bias"), **GLOBAL, "attention_bias": False},
        legal={**_SPARSE, "use_sliding_window": (False,)},
        immaterial=_ROUTER_KEYS,
        heads=heads("Qwen2Moe"),
        obstacles=_obstacles_qwen2_moe,
    ),
    "qwen3_moe": replace(
        _QWEN3,
        options={**_QWEN3.options, "head_dim": ("head_dim", None), **_EXPERTS, "num_experts": ("num_experts", 128)},
        constants={**without(_GLU_STYLE, *DENSE), **ONE_KIND, "shared_expert_intermediate_size": 0, "qk_norm": True},
        legal=_SPARSE,
        examined={**_WINDOW_KEYS, "num_local_experts": int},
        immaterial=_ROUTER_KEYS,
        heads=heads("Qwen3Moe"),
        complete=_complete_qwen3_moe,
        obstacles=_obstacles_qwen_moe,
        finish=_finish_qwen3_moe,
    ),
    **MLP_FORMATS,
}
