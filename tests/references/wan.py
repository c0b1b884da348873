"""Wan 2.1 of diffusers: WanTransformer3DModel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from archsearch.models.diffusion.wan import WanConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import TORCH_DTYPES, Reference


def inputs(channels: int, text_width: int, image_width: int | None = None) -> Any:
    def make(w: Workload) -> dict[str, Any]:
        like = {"dtype": TORCH_DTYPES[w.dtype], "device": "meta"}
        shape = (w.batch_size, channels, 1 + (w.frames - 1) // 4, w.height // 8, w.width // 8)
        image = None if image_width is None else torch.zeros((w.batch_size, 257, image_width), **like)
        return {
            "hidden_states": torch.zeros(shape, **like),
            "encoder_hidden_states": torch.zeros((w.batch_size, 512, text_width), **like),
            "encoder_hidden_states_image": image,
            "timestep": torch.zeros((w.batch_size,), dtype=torch.long, device="meta"),
        }

    return make


def _preset(name: str, layers: int, heads: int, ffn: int, image: int | None = None) -> Reference:
    channels = 16 if image is None else 36
    return Reference(
        config=load_preset(name),
        build=lambda: diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=heads,
            attention_head_dim=128,
            in_channels=channels,
            out_channels=16,
            text_dim=4096,
            freq_dim=256,
            ffn_dim=ffn,
            num_layers=layers,
            cross_attn_norm=True,
            image_dim=image,
            added_kv_proj_dim=None if image is None else heads * 128,
        ),
        inputs=inputs(channels, 4096, image),
        workload=Workload(height=480, width=832, frames=81),
    )


PRESETS = {
    "wan2.1-1.3b": _preset("wan2.1-1.3b", 30, 12, 8960),
    "wan2.1-14b": _preset("wan2.1-14b", 40, 40, 13824),
    "wan2.1-i2v-14b": _preset("wan2.1-i2v-14b", 40, 40, 13824, image=1280),
}


def _small(ffn: int, image: int | None = None) -> Callable[[int], Reference]:
    return lambda layers: Reference(
        config=WanConfig(
            num_layers=layers,
            hidden_size=1024,
            num_attention_heads=8,
            intermediate_size=ffn,
            text_dim=320,
            image_dim=image or 0,
        ),
        build=lambda: diffusers.WanTransformer3DModel(
            num_layers=layers,
            num_attention_heads=8,
            attention_head_dim=128,
            text_dim=320,
            ffn_dim=ffn,
            image_dim=image,
            added_kv_proj_dim=None if image is None else 1024,
        ),
        inputs=inputs(16, 320, image),
        workload=Workload(batch_size=2, height=512, width=512, frames=9),
    )


SMALL = {"wan": _small(5120), "wan-narrow": _small(2560), "wan-image": _small(5120, 640)}
"""Layers → a reference of that depth."""
