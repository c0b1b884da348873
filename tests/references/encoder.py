"""Bidirectional encoders of transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import transformers as hf

from archsearch.models.language.encoder import EncoderConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import NO_TOKENS, Reference, tokens


def inputs(w: Workload) -> dict[str, Any]:
    return tokens(w.batch_size, w.seq_len)


def bert_config(layers: int, hidden: int, heads: int) -> hf.BertConfig:
    return hf.BertConfig(
        num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=4 * hidden
    )


def modernbert_config(layers: int, hidden: int, heads: int, ffn: int) -> hf.ModernBertConfig:
    return hf.ModernBertConfig(
        num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=ffn
    )


MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    "bert-base": lambda: hf.BertModel(bert_config(12, 768, 12)),
    "bert-large": lambda: hf.BertModel(bert_config(24, 1024, 16)),
    "modernbert-base": lambda: hf.ModernBertModel(modernbert_config(22, 768, 12, 1152)),
    "modernbert-large": lambda: hf.ModernBertModel(modernbert_config(28, 1024, 16, 2624)),
}

PRESETS = {
    name: Reference(config=load_preset(name), build=build, inputs=inputs, workload=Workload(batch_size=2, seq_len=384))
    for name, build in MODULES.items()
}

SIZES = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 1536, "vocab_size": 1000}
MODERNBERT = {**SIZES, **NO_TOKENS, "cls_token_id": None, "sep_token_id": None}
BERT = {
    "post_norm": True,
    "positions": "learned",
    "type_vocab_size": 2,
    "gated_mlp": False,
    "bias": True,
    "local_attention": 0,
    "fused_qkv": False,
}


def _small(build: Callable[[int], torch.nn.Module], config: EncoderConfig) -> Callable[[int], Reference]:
    return lambda layers: Reference(
        config=replace(config, num_layers=layers),
        build=lambda: build(layers),
        inputs=inputs,
        workload=Workload(batch_size=4, seq_len=256),
    )


SMALL = {
    "bert": _small(
        lambda n: hf.BertModel(hf.BertConfig(num_hidden_layers=n, **SIZES)),
        EncoderConfig(num_layers=2, pooler=True, **SIZES, **BERT),
    ),
    "modernbert": _small(
        lambda n: hf.ModernBertModel(hf.ModernBertConfig(num_hidden_layers=n, **MODERNBERT)),
        EncoderConfig(num_layers=2, **SIZES),
    ),
}
"""Layers → a reference of that depth."""
