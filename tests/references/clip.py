"""CLIP text encoders of transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

from archsearch.models.language.clip import CLIPTextConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import Reference


def inputs(w: Workload) -> dict[str, Any]:
    return {"input_ids": torch.zeros((w.batch_size, w.seq_len), dtype=torch.long, device="meta")}


def _module(projected: bool, **sizes: Any) -> Callable[[], torch.nn.Module]:
    config = hf.CLIPTextConfig(**sizes)
    return lambda: hf.CLIPTextModelWithProjection(config) if projected else hf.CLIPTextModel(config)


def _preset(
    name: str, layers: int, width: int, heads: int, activation: str = "quick_gelu", projection: int = 0
) -> Reference:
    return Reference(
        config=load_preset(name),
        build=_module(
            bool(projection),
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            vocab_size=49408,
            max_position_embeddings=77,
            hidden_act=activation,
            projection_dim=projection or 512,
        ),
        inputs=inputs,
        workload=Workload(batch_size=2, seq_len=77),
    )


PRESETS = {
    "clip-l-text": _preset("clip-l-text", 12, 768, 12),
    "clip-l-text-projected": _preset("clip-l-text-projected", 12, 768, 12, projection=768),
    "clip-h-text": _preset("clip-h-text", 24, 1024, 16, "gelu"),
    "clip-bigg-text": _preset("clip-bigg-text", 32, 1280, 20, "gelu", projection=1280),
}


def _small(activation: str) -> Callable[[int], Reference]:
    return lambda layers: Reference(
        config=CLIPTextConfig(
            num_layers=layers,
            hidden_size=512,
            num_attention_heads=8,
            intermediate_size=2048,
            vocab_size=1000,
            max_position_embeddings=256,
            activation=activation,
            projection_dim=256,
        ),
        build=_module(
            True,
            num_hidden_layers=layers,
            hidden_size=512,
            num_attention_heads=8,
            intermediate_size=2048,
            vocab_size=1000,
            max_position_embeddings=256,
            hidden_act=activation,
            projection_dim=256,
        ),
        inputs=inputs,
        workload=Workload(batch_size=4, seq_len=256),
    )


SMALL = {"clip": _small("quick_gelu"), "clip-gelu": _small("gelu")}
"""Layers → a reference of that depth."""
