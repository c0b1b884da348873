"""Pythia, Qwen, Gemma and mixtures of experts of transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import transformers as hf

from archsearch.dtypes import DType
from archsearch.models.language.decoder.config import DecoderConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.decoder import LLAMA, NO_CACHE, SIZES, inputs
from references.tools import NO_TOKENS, TORCH_DTYPES, Reference

GROUPED = {"experts_implementation": "grouped_mm"}
"""transformers' own choice on GPUs: all experts in one grouped product."""
BATCHED = {"experts_implementation": "batched_mm"}
"""The same products as torch's FLOP counter sees them; it does not count grouped ones."""


def _sizes(
    layers: int, hidden: int, heads: int, kv: int | None, ffn: int, vocab: int, positions: int
) -> dict[str, Any]:
    sizes = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": ffn,
        "vocab_size": vocab,
        "max_position_embeddings": positions,
        **NO_TOKENS,
    }
    return sizes if kv is None else {**sizes, "num_key_value_heads": kv}


def _pythia(*sizes: int) -> Any:
    layers, hidden, heads, vocab = sizes
    config = hf.GPTNeoXConfig(**_sizes(layers, hidden, heads, None, 4 * hidden, vocab, 2048))
    return lambda: hf.GPTNeoXForCausalLM(config)


def _llama(*sizes: int) -> Any:
    config = hf.LlamaConfig(**_sizes(*sizes))
    return lambda: hf.LlamaForCausalLM(config)


def _mistral(*sizes: int, window: int) -> Any:
    config = hf.MistralConfig(**_sizes(*sizes), sliding_window=window)
    return lambda: hf.MistralForCausalLM(config)


def _qwen2(*sizes: int, tied: bool = False) -> Any:
    config = hf.Qwen2Config(**_sizes(*sizes), tie_word_embeddings=tied)
    return lambda: hf.Qwen2ForCausalLM(config)


def _qwen3(*sizes: int, tied: bool = False) -> Any:
    config = hf.Qwen3Config(**_sizes(*sizes), head_dim=128, tie_word_embeddings=tied)
    return lambda: hf.Qwen3ForCausalLM(config)


def _gemma(*sizes: int, head_dim: int = 256) -> Any:
    config = hf.GemmaConfig(**_sizes(*sizes), head_dim=head_dim)
    return lambda: hf.GemmaForCausalLM(config)


def _gemma2(*sizes: int, head_dim: int = 256, head: bool = True) -> Any:
    config = hf.Gemma2Config(**_sizes(*sizes), head_dim=head_dim, sliding_window=4096)
    return lambda: hf.Gemma2ForCausalLM(config) if head else hf.Gemma2Model(config)


def _gemma3(*sizes: int, window: int, head_dim: int = 256) -> Any:
    config = hf.Gemma3TextConfig(**_sizes(*sizes), head_dim=head_dim, sliding_window=window)
    return lambda: hf.Gemma3ForCausalLM(config)


def _mixtral(*sizes: int) -> Any:
    config = hf.MixtralConfig(**_sizes(*sizes), num_local_experts=8, num_experts_per_tok=2, **BATCHED)
    return lambda: hf.MixtralForCausalLM(config)


def _qwen2_moe() -> torch.nn.Module:
    config = hf.Qwen2MoeConfig(
        **_sizes(24, 2048, 16, 16, 5632, 151936, 8192),
        num_experts=60,
        num_experts_per_tok=4,
        moe_intermediate_size=1408,
        shared_expert_intermediate_size=5632,
        **BATCHED,
    )
    return hf.Qwen2MoeForCausalLM(config)


def _qwen3_moe() -> torch.nn.Module:
    config = hf.Qwen3MoeConfig(
        **_sizes(48, 2048, 32, 4, 6144, 151936, 40960),
        head_dim=128,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=768,
        norm_topk_prob=True,
        **BATCHED,
    )
    return hf.Qwen3MoeForCausalLM(config)


MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    "pythia-160m": _pythia(12, 768, 12, 50304),
    "pythia-410m": _pythia(24, 1024, 16, 50304),
    "pythia-1.4b": _pythia(24, 2048, 16, 50304),
    "pythia-2.8b": _pythia(32, 2560, 32, 50304),
    "pythia-6.9b": _pythia(32, 4096, 32, 50432),
    "pythia-12b": _pythia(36, 5120, 40, 50688),
    "llama-2-70b": _llama(80, 8192, 64, 8, 28672, 32000, 4096),
    "llama-3.1-8b": _llama(32, 4096, 32, 8, 14336, 128256, 131072),
    "llama-3.1-70b": _llama(80, 8192, 64, 8, 28672, 128256, 131072),
    "llama-3.1-405b": _llama(126, 16384, 128, 8, 53248, 128256, 131072),
    "mistral-7b-v0.1": _mistral(32, 4096, 32, 8, 14336, 32000, 32768, window=4096),
    "qwen2.5-0.5b": _qwen2(24, 896, 14, 2, 4864, 151936, 32768, tied=True),
    "qwen2.5-1.5b": _qwen2(28, 1536, 12, 2, 8960, 151936, 131072, tied=True),
    "qwen2.5-3b": _qwen2(36, 2048, 16, 2, 11008, 151936, 32768, tied=True),
    "qwen2.5-7b": _qwen2(28, 3584, 28, 4, 18944, 152064, 131072),
    "qwen2.5-14b": _qwen2(48, 5120, 40, 8, 13824, 152064, 131072),
    "qwen2.5-32b": _qwen2(64, 5120, 40, 8, 27648, 152064, 131072),
    "qwen2.5-72b": _qwen2(80, 8192, 64, 8, 29568, 152064, 131072),
    "qwen3-0.6b": _qwen3(28, 1024, 16, 8, 3072, 151936, 40960, tied=True),
    "qwen3-1.7b": _qwen3(28, 2048, 16, 8, 6144, 151936, 40960, tied=True),
    "qwen3-4b": _qwen3(36, 2560, 32, 8, 9728, 151936, 40960, tied=True),
    "qwen3-14b": _qwen3(40, 5120, 40, 8, 17408, 151936, 40960),
    "qwen3-32b": _qwen3(64, 5120, 64, 8, 25600, 151936, 40960),
    "gemma-2b": _gemma(18, 2048, 8, 1, 16384, 256000, 8192),
    "gemma-7b": _gemma(28, 3072, 16, 16, 24576, 256000, 8192),
    "gemma-2-2b": _gemma2(26, 2304, 8, 4, 9216, 256000, 8192),
    "gemma-2-2b-encoder": _gemma2(26, 2304, 8, 4, 9216, 256000, 8192, head=False),
    "gemma-2-9b": _gemma2(42, 3584, 16, 8, 14336, 256000, 8192),
    "gemma-2-27b": _gemma2(46, 4608, 32, 16, 36864, 256000, 8192, head_dim=128),
    "gemma-3-1b": _gemma3(26, 1152, 4, 1, 6912, 262144, 32768, window=512),
    "gemma-3-4b": _gemma3(34, 2560, 8, 4, 10240, 262208, 131072, window=1024),
    "gemma-3-12b": _gemma3(48, 3840, 16, 8, 15360, 262208, 131072, window=1024),
    "gemma-3-27b": _gemma3(62, 5376, 32, 16, 21504, 262208, 131072, window=1024, head_dim=128),
    "mixtral-8x7b": _mixtral(32, 4096, 32, 8, 14336, 32000, 32768),
    "mixtral-8x22b": _mixtral(56, 6144, 48, 8, 16384, 32768, 65536),
    "qwen1.5-moe-a2.7b": _qwen2_moe,
    "qwen3-30b-a3b": _qwen3_moe,
}

PRESETS = {
    name: Reference(
        config=load_preset(name),
        build=build,
        inputs=inputs,
        workload=Workload(batch_size=2, seq_len=385),  # no multiple of the experts
        options=NO_CACHE,
    )
    for name, build in MODULES.items()
}


def _small(
    cls: Any, settings: Any, ours: dict[str, Any], extra: dict[str, Any] | None = None
) -> Callable[[int], Reference]:
    config = DecoderConfig(num_layers=2, **LLAMA, **ours)
    theirs = {**LLAMA, **NO_TOKENS, **(extra or {})}
    return lambda layers: Reference(
        config=replace(config, num_layers=layers),
        build=lambda: cls(settings(num_hidden_layers=layers, **theirs)),
        inputs=inputs,
        workload=Workload(batch_size=4, seq_len=256),
        options=NO_CACHE,
        dtypes=(DType.BF16,) if config.is_moe else tuple(TORCH_DTYPES),  # grouped products there are bf16 alone
    )


GEMMA = {
    "activation": "gelu_tanh",
    "norm": "gemma_rmsnorm",
    "scaled_embeddings": True,
    "tie_word_embeddings": True,
    "head_dim": 64,
}
GEMMA_2 = {**GEMMA, "post_norms": True, "logit_softcap": True, "sliding_window": 64, "global_attn_every_n_layers": 2}
GEMMA_3 = {**GEMMA, "post_norms": True, "qk_norm": True, "sliding_window": 64, "global_attn_every_n_layers": 6}
PYTHIA = {
    "gated_mlp": False,
    "activation": "gelu",
    "attention_bias": True,
    "mlp_bias": True,
    "norm": "layernorm",
    "rotary_dim": 16,
    "parallel_residual": True,
    "fused_qkv": True,
}
QWEN2_MOE = {
    "qkv_bias": True,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
    "shared_expert_intermediate_size": 640,
    "norm_topk_prob": False,
}
QWEN3_MOE = {
    "qk_norm": True,
    "head_dim": 64,
    "num_experts": 16,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 384,
}
_MOE_KEYS = ("num_experts", "num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size")


def _pythia_small(layers: int) -> Reference:
    return Reference(
        config=DecoderConfig(num_layers=layers, num_key_value_heads=8, **SIZES, **PYTHIA),
        build=lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(num_hidden_layers=layers, **SIZES, **NO_TOKENS)),
        inputs=inputs,
        workload=Workload(batch_size=4, seq_len=256),
        options=NO_CACHE,
    )


SMALL = {
    "pythia": _pythia_small,
    "qwen2": _small(hf.Qwen2ForCausalLM, hf.Qwen2Config, {"qkv_bias": True}),
    "gemma": _small(hf.GemmaForCausalLM, hf.GemmaConfig, GEMMA, {"head_dim": 64}),
    "gemma-2": _small(hf.Gemma2ForCausalLM, hf.Gemma2Config, GEMMA_2, {"head_dim": 64, "sliding_window": 64}),
    "gemma-3": _small(hf.Gemma3ForCausalLM, hf.Gemma3TextConfig, GEMMA_3, {"head_dim": 64, "sliding_window": 64}),
    "mixtral": _small(hf.MixtralForCausalLM, hf.MixtralConfig, {"num_experts": 8}, {"num_local_experts": 8, **GROUPED}),
    "qwen2-moe": _small(
        hf.Qwen2MoeForCausalLM,
        hf.Qwen2MoeConfig,
        QWEN2_MOE,
        {k: QWEN2_MOE[k] for k in _MOE_KEYS} | {"norm_topk_prob": False, **GROUPED},
    ),
    "qwen3-moe": _small(
        hf.Qwen3MoeForCausalLM,
        hf.Qwen3MoeConfig,
        QWEN3_MOE,
        {k: QWEN3_MOE[k] for k in _MOE_KEYS[:3]} | {"norm_topk_prob": True, "head_dim": 64, **GROUPED},
    ),
}
"""Layers → a reference of that depth."""
