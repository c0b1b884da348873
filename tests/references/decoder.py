"""Decoders of transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import transformers as hf

from archsearch.models.language.decoder.config import DecoderConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import NO_TOKENS, Reference, tokens

NO_CACHE = {"use_cache": False}


def inputs(w: Workload) -> dict[str, Any]:
    return tokens(w.batch_size, w.seq_len)


def _gpt2(layers: int, hidden: int, heads: int, positions: int = 1024) -> Callable[[], torch.nn.Module]:
    config = hf.GPT2Config(n_layer=layers, n_embd=hidden, n_head=heads, n_positions=positions, vocab_size=50257)
    return lambda: hf.GPT2LMHeadModel(config)


def _llama(
    layers: int, hidden: int, heads: int, kv: int, ffn: int, vocab: int, positions: int, tied: bool = False
) -> Any:
    config = hf.LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        intermediate_size=ffn,
        vocab_size=vocab,
        max_position_embeddings=positions,
        tie_word_embeddings=tied,
        **NO_TOKENS,
    )
    return lambda: hf.LlamaForCausalLM(config)


def _mistral() -> torch.nn.Module:
    return hf.MistralForCausalLM(
        hf.MistralConfig(
            num_hidden_layers=32,
            hidden_size=4096,
            num_attention_heads=32,
            num_key_value_heads=8,
            intermediate_size=14336,
            vocab_size=32768,
            max_position_embeddings=32768,
            sliding_window=None,
        )
    )


def _qwen3() -> torch.nn.Module:
    return hf.Qwen3ForCausalLM(
        hf.Qwen3Config(
            num_hidden_layers=36,
            hidden_size=4096,
            num_attention_heads=32,
            num_key_value_heads=8,
            head_dim=128,
            intermediate_size=12288,
            vocab_size=151936,
            max_position_embeddings=40960,
            tie_word_embeddings=False,
        )
    )


def _opt() -> torch.nn.Module:
    return hf.OPTForCausalLM(
        hf.OPTConfig(
            num_hidden_layers=24,
            hidden_size=2048,
            num_attention_heads=32,
            ffn_dim=8192,
            vocab_size=50272,
            max_position_embeddings=2048,
            word_embed_proj_dim=2048,
        )
    )


MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    "gpt2": _gpt2(12, 768, 12),
    "gpt2-medium": _gpt2(24, 1024, 16),
    "gpt2-large": _gpt2(36, 1280, 20),
    "gpt2-xl": _gpt2(48, 1600, 25),
    "gpt3-xl": _gpt2(24, 3072, 24, 2048),
    "gpt3-2.7b": _gpt2(32, 2560, 32, 2048),
    "opt-1.3b": _opt,
    "llama-2-7b": _llama(32, 4096, 32, 32, 11008, 32000, 4096),
    "llama-2-13b": _llama(40, 5120, 40, 40, 13824, 32000, 4096),
    "llama-3-8b": _llama(32, 4096, 32, 8, 14336, 128256, 8192),
    "llama-3-70b": _llama(80, 8192, 64, 8, 28672, 128256, 8192),
    "llama-3.2-1b": _llama(16, 2048, 32, 8, 8192, 128256, 131072, tied=True),
    "llama-3.2-3b": _llama(28, 3072, 24, 8, 8192, 128256, 131072, tied=True),
    "mistral-7b": _mistral,
    "qwen3-8b": _qwen3,
}

PRESETS = {
    name: Reference(
        config=load_preset(name),
        build=build,
        inputs=inputs,
        workload=Workload(batch_size=2, seq_len=384),
        options=NO_CACHE,
    )
    for name, build in MODULES.items()
}

SIZES = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 1536, "vocab_size": 1000}
LLAMA = {**SIZES, "num_key_value_heads": 4}
GPT2 = {"n_embd": 512, "n_head": 8, "n_inner": 1536, "vocab_size": 1000, **NO_TOKENS}
OPT = {**SIZES, "ffn_dim": 1536, "word_embed_proj_dim": 512}
MLP = {"gated_mlp": False, "norm": "layernorm", "positions": "learned", "attention_bias": True, "mlp_bias": True}


def _small(build: Callable[[int], torch.nn.Module], config: DecoderConfig) -> Callable[[int], Reference]:
    return lambda layers: Reference(
        config=replace(config, num_layers=layers),
        build=lambda: build(layers),
        inputs=inputs,
        workload=Workload(batch_size=4, seq_len=256),
        options=NO_CACHE,
    )


SMALL = {
    "llama": _small(
        lambda n: hf.LlamaForCausalLM(hf.LlamaConfig(num_hidden_layers=n, **LLAMA, **NO_TOKENS)),
        DecoderConfig(num_layers=2, **LLAMA),
    ),
    "qwen3": _small(
        lambda n: hf.Qwen3ForCausalLM(hf.Qwen3Config(num_hidden_layers=n, head_dim=128, **LLAMA)),
        DecoderConfig(num_layers=2, head_dim=128, qk_norm=True, **LLAMA),
    ),
    "gpt2": _small(
        lambda n: hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=n, **GPT2)),
        DecoderConfig(num_layers=2, num_key_value_heads=8, activation="gelu_new", fused_qkv=True, **SIZES, **MLP),
    ),
    "opt": _small(
        lambda n: hf.OPTForCausalLM(hf.OPTConfig(num_hidden_layers=n, **OPT)),
        DecoderConfig(num_layers=2, num_key_value_heads=8, activation="relu", scaled_queries=True, **SIZES, **MLP),
    ),
}
"""Layers → a reference of that depth."""
