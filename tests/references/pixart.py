"""PixArt of diffusers: PixArtTransformer2DModel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from archsearch.models.diffusion.pixart import PixArtConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import TORCH_DTYPES, Reference


def inputs(text: int, text_width: int, micro: bool) -> Any:
    def make(w: Workload) -> dict[str, Any]:
        like = {"dtype": TORCH_DTYPES[w.dtype], "device": "meta"}
        sizes = {"resolution": torch.zeros((w.batch_size, 2), **like)} if micro else {"resolution": None}
        sizes["aspect_ratio"] = torch.zeros((w.batch_size, 1), **like) if micro else None
        return {
            "hidden_states": torch.zeros((w.batch_size, 4, w.height // 8, w.width // 8), **like),
            "encoder_hidden_states": torch.zeros((w.batch_size, text, text_width), **like),
            "encoder_attention_mask": torch.ones((w.batch_size, text), dtype=torch.long, device="meta"),
            "timestep": torch.zeros((w.batch_size,), dtype=torch.long, device="meta"),
            "added_cond_kwargs": sizes,
        }

    return make


def _preset(name: str, text: int, sample: int, micro: bool) -> Reference:
    return Reference(
        config=load_preset(name),
        build=lambda: diffusers.PixArtTransformer2DModel(
            num_attention_heads=16,
            attention_head_dim=72,
            in_channels=4,
            out_channels=8,
            num_layers=28,
            cross_attention_dim=1152,
            sample_size=sample,
            caption_channels=4096,
            use_additional_conditions=micro,
        ),
        inputs=inputs(text, 4096, micro),
        workload=Workload(batch_size=2, height=8 * sample, width=8 * sample),
    )


PRESETS = {
    "pixart-alpha": _preset("pixart-alpha", 120, 128, True),
    "pixart-alpha-512": _preset("pixart-alpha-512", 120, 64, False),
    "pixart-sigma": _preset("pixart-sigma", 300, 128, False),
}


def _small(micro: bool) -> Callable[[int], Reference]:
    return lambda layers: Reference(
        config=PixArtConfig(
            num_layers=layers,
            hidden_size=768,
            num_attention_heads=12,
            head_dim=64,
            caption_channels=320,
            micro_conditions=micro,
        ),
        build=lambda: diffusers.PixArtTransformer2DModel(
            num_layers=layers,
            num_attention_heads=12,
            attention_head_dim=64,
            in_channels=4,
            out_channels=8,
            cross_attention_dim=768,
            caption_channels=320,
            sample_size=64,
            use_additional_conditions=micro,
        ),
        inputs=inputs(120, 320, micro),
        workload=Workload(batch_size=2, height=512, width=512),
    )


SMALL = {"pixart": _small(False), "pixart-micro": _small(True)}
"""Layers → a reference of that depth."""
