"""SANA of diffusers: SanaTransformer2DModel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from archsearch.models.diffusion.sana import SanaConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import TORCH_DTYPES, Reference


def inputs(text_width: int) -> Any:
    def make(w: Workload) -> dict[str, Any]:
        like = {"dtype": TORCH_DTYPES[w.dtype], "device": "meta"}
        return {
            "hidden_states": torch.zeros((w.batch_size, 32, w.height // 32, w.width // 32), **like),
            "encoder_hidden_states": torch.zeros((w.batch_size, 300, text_width), **like),
            "encoder_attention_mask": torch.ones((w.batch_size, 300), dtype=torch.long, device="meta"),
            "timestep": torch.zeros((w.batch_size,), dtype=torch.long, device="meta"),
        }

    return make


def _preset(name: str, layers: int, heads: int, cross: int, cross_dim: int, qk_norm: str | None = None) -> Reference:
    return Reference(
        config=load_preset(name),
        build=lambda: diffusers.SanaTransformer2DModel(
            in_channels=32,
            out_channels=32,
            num_attention_heads=heads,
            attention_head_dim=32,
            num_layers=layers,
            num_cross_attention_heads=cross,
            cross_attention_head_dim=cross_dim,
            cross_attention_dim=32 * heads,
            caption_channels=2304,
            mlp_ratio=2.5,
            qk_norm=qk_norm,
        ),
        inputs=inputs(2304),
        workload=Workload(batch_size=2, height=1024, width=1024),
    )


_NORM = "rms_norm_across_heads"
PRESETS = {
    "sana-0.6b": _preset("sana-0.6b", 28, 36, 16, 72),
    "sana-1.6b": _preset("sana-1.6b", 20, 70, 20, 112),
    "sana-1.5-1.6b": _preset("sana-1.5-1.6b", 20, 70, 20, 112, _NORM),
    "sana-4.8b": _preset("sana-4.8b", 60, 70, 20, 112, _NORM),
}


def _small(qk_norm: bool) -> Callable[[int], Reference]:
    return lambda layers: Reference(
        config=SanaConfig(
            num_layers=layers,
            hidden_size=512,
            num_attention_heads=16,
            num_cross_attention_heads=4,
            intermediate_size=1280,
            caption_channels=320,
            qk_norm=qk_norm,
        ),
        build=lambda: diffusers.SanaTransformer2DModel(
            num_layers=layers,
            num_attention_heads=16,
            attention_head_dim=32,
            num_cross_attention_heads=4,
            cross_attention_head_dim=128,
            cross_attention_dim=512,
            caption_channels=320,
            qk_norm=_NORM if qk_norm else None,
        ),
        inputs=inputs(320),
        workload=Workload(batch_size=2, height=1024, width=1024),
    )


SMALL = {"sana": _small(False), "sana-qk-norm": _small(True)}
"""Layers → a reference of that depth."""
