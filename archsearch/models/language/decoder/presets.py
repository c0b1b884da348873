"""Published decoders: field values of ``DecoderConfig`` by name."""

from __future__ import annotations

from typing import Any


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


def _pythia(layers: int, hidden: int, heads: int, head_dim: int, vocab: int) -> dict[str, Any]:
    return {
        **_gpt2(layers, hidden, heads, positions=2048),
        "vocab_size": vocab,
        "activation": "gelu",
        "positions": "rope",
        "rotary_dim": head_dim // 4,
        "parallel_residual": True,
        "tie_word_embeddings": False,
    }


def _qwen2(
    layers: int, hidden: int, heads: int, kv: int, ffn: int, vocab: int, positions: int = 131072, tied: bool = False
) -> dict[str, Any]:
    return {**_llama(layers, hidden, heads, kv, ffn, vocab, positions, tied), "qkv_bias": True}


def _qwen3(layers: int, hidden: int, heads: int, kv: int, ffn: int, tied: bool = False) -> dict[str, Any]:
    return {**_llama(layers, hidden, heads, kv, ffn, 151936, 40960, tied), "head_dim": 128, "qk_norm": True}


def _gemma(
    layers: int, hidden: int, heads: int, kv: int, head_dim: int, ffn: int, vocab: int, positions: int = 8192
) -> dict[str, Any]:
    return {
        **_llama(layers, hidden, heads, kv, ffn, vocab, positions, tied=True),
        "head_dim": head_dim,
        "activation": "gelu_tanh",
        "norm": "gemma_rmsnorm",
        "scaled_embeddings": True,
    }


def _gemma2(layers: int, hidden: int, heads: int, kv: int, head_dim: int, ffn: int) -> dict[str, Any]:
    return {
        **_gemma(layers, hidden, heads, kv, head_dim, ffn, 256000),
        "post_norms": True,
        "sliding_window": 4096,
        "global_attn_every_n_layers": 2,
        "logit_softcap": True,
    }


def _gemma3(
    layers: int, hidden: int, heads: int, kv: int, head_dim: int, ffn: int, window: int, vocab: int, positions: int
) -> dict[str, Any]:
    return {
        **_gemma(layers, hidden, heads, kv, head_dim, ffn, vocab, positions),
        "post_norms": True,
        "qk_norm": True,
        "sliding_window": window,
        "global_attn_every_n_layers": 6,
    }


_OPT = {"activation": "relu", "position_offset": 2, "scaled_queries": True, "fused_qkv": False}

# Published configs: config.json of openai-community/gpt2*, facebook/opt-1.3b, EleutherAI/pythia-*, meta-llama/Llama-*,
# mistralai/Mistral-7B-v0.{1,3}, mistralai/Mixtral-8x7B-v0.1 and -8x22B-Instruct-v0.1, Qwen/Qwen2.5-*,
# Qwen/Qwen1.5-MoE-A2.7B, Qwen/Qwen3-*, google/gemma-{2b,7b}, -2-* and -3-* on https://huggingface.co. Their sizes are
# also listed, with the file that each comes from, in litgpt/config.py of https://github.com/Lightning-AI/litgpt; Gemma
# 3's text models in transformers' models/gemma3/convert_gemma3_weights.py, which adds 64 tokens to the vocabulary of
# those that see images. gpt3-xl and gpt3-2.7b are GPT-2-style models of the sizes that NeuSight measured (Lee et al.
# 2025, https://github.com/sitar-lab/NeuSight), with GPT-3's 2048 positions (https://arxiv.org/abs/2005.14165); its
# gpt3-xl is wider than the one of that paper's table 2.1.
PRESETS: dict[str, dict[str, Any]] = {
    "gpt2": _gpt2(12, 768, 12),
    "gpt2-medium": _gpt2(24, 1024, 16),
    "gpt2-large": _gpt2(36, 1280, 20),
    "gpt2-xl": _gpt2(48, 1600, 25),
    "gpt3-xl": _gpt2(24, 3072, 24, positions=2048),
    "gpt3-2.7b": _gpt2(32, 2560, 32, positions=2048),
    "opt-1.3b": {**_gpt2(24, 2048, 32, positions=2048), "vocab_size": 50272, **_OPT},
    "pythia-160m": _pythia(12, 768, 12, 64, 50304),
    "pythia-410m": _pythia(24, 1024, 16, 64, 50304),
    "pythia-1.4b": _pythia(24, 2048, 16, 128, 50304),
    "pythia-2.8b": _pythia(32, 2560, 32, 80, 50304),
    "pythia-6.9b": _pythia(32, 4096, 32, 128, 50432),
    "pythia-12b": _pythia(36, 5120, 40, 128, 50688),
    "llama-2-7b": _llama(32, 4096, 32, 32, 11008, 32000, 4096),
    "llama-2-13b": _llama(40, 5120, 40, 40, 13824, 32000, 4096),
    "llama-2-70b": _llama(80, 8192, 64, 8, 28672, 32000, 4096),
    "llama-3-8b": _llama(32, 4096, 32, 8, 14336, 128256, 8192),
    "llama-3-70b": _llama(80, 8192, 64, 8, 28672, 128256, 8192),
    "llama-3.1-8b": _llama(32, 4096, 32, 8, 14336, 128256, 131072),
    "llama-3.1-70b": _llama(80, 8192, 64, 8, 28672, 128256, 131072),
    "llama-3.1-405b": _llama(126, 16384, 128, 8, 53248, 128256, 131072),
    "llama-3.2-1b": _llama(16, 2048, 32, 8, 8192, 128256, 131072, tied=True),
    "llama-3.2-3b": _llama(28, 3072, 24, 8, 8192, 128256, 131072, tied=True),
    "mistral-7b": _llama(32, 4096, 32, 8, 14336, 32768, 32768),
    "mistral-7b-v0.1": {**_llama(32, 4096, 32, 8, 14336, 32000, 32768), "sliding_window": 4096},
    "qwen2.5-0.5b": _qwen2(24, 896, 14, 2, 4864, 151936, 32768, tied=True),
    "qwen2.5-1.5b": _qwen2(28, 1536, 12, 2, 8960, 151936, tied=True),
    "qwen2.5-3b": _qwen2(36, 2048, 16, 2, 11008, 151936, 32768, tied=True),
    "qwen2.5-7b": _qwen2(28, 3584, 28, 4, 18944, 152064),
    "qwen2.5-14b": _qwen2(48, 5120, 40, 8, 13824, 152064),
    "qwen2.5-32b": _qwen2(64, 5120, 40, 8, 27648, 152064),
    "qwen2.5-72b": _qwen2(80, 8192, 64, 8, 29568, 152064),
    "qwen3-0.6b": _qwen3(28, 1024, 16, 8, 3072, True),
    "qwen3-1.7b": _qwen3(28, 2048, 16, 8, 6144, True),
    "qwen3-4b": _qwen3(36, 2560, 32, 8, 9728, True),
    "qwen3-8b": _qwen3(36, 4096, 32, 8, 12288),
    "qwen3-14b": _qwen3(40, 5120, 40, 8, 17408),
    "qwen3-32b": _qwen3(64, 5120, 64, 8, 25600),
    "gemma-2b": _gemma(18, 2048, 8, 1, 256, 16384, 256000),
    "gemma-7b": _gemma(28, 3072, 16, 16, 256, 24576, 256000),
    "gemma-2-2b": _gemma2(26, 2304, 8, 4, 256, 9216),
    "gemma-2-2b-encoder": {**_gemma2(26, 2304, 8, 4, 256, 9216), "lm_head": False, "logit_softcap": False},
    "gemma-2-9b": _gemma2(42, 3584, 16, 8, 256, 14336),
    "gemma-2-27b": _gemma2(46, 4608, 32, 16, 128, 36864),
    "gemma-3-1b": _gemma3(26, 1152, 4, 1, 256, 6912, 512, 262144, 32768),
    "gemma-3-4b": _gemma3(34, 2560, 8, 4, 256, 10240, 1024, 262208, 131072),
    "gemma-3-12b": _gemma3(48, 3840, 16, 8, 256, 15360, 1024, 262208, 131072),
    "gemma-3-27b": _gemma3(62, 5376, 32, 16, 128, 21504, 1024, 262208, 131072),
    "mixtral-8x7b": {**_llama(32, 4096, 32, 8, 14336, 32000, 32768), "num_experts": 8},
    "mixtral-8x22b": {**_llama(56, 6144, 48, 8, 16384, 32768, 65536), "num_experts": 8},
    "qwen1.5-moe-a2.7b": {
        **_llama(24, 2048, 16, 16, 5632, 151936, 8192),
        "qkv_bias": True,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "norm_topk_prob": False,
    },
    "qwen3-30b-a3b": {
        **_qwen3(48, 2048, 32, 4, 6144),
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
    },
}
