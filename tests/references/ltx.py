"""LTX-Video of diffusers: LTXVideoTransformer3DModel."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from archsearch.models.diffusion.ltx import LTXConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import TORCH_DTYPES, Reference


def inputs(channels: int, text_width: int) -> Any:
    def make(w: Workload) -> dict[str, Any]:
        like = {"dtype": TORCH_DTYPES[w.dtype], "device": "meta"}
        frames, high, wide = 1 + (w.frames - 1) // 8, w.height // 32, w.width // 32
        return {
            "hidden_states": torch.zeros((w.batch_size, frames * high * wide, channels), **like),
            "encoder_hidden_states": torch.zeros((w.batch_size, 128, text_width), **like),
            "timestep": torch.zeros((w.batch_size,), dtype=torch.long, device="meta"),
            "encoder_attention_mask": torch.ones((w.batch_size, 128), dtype=torch.long, device="meta"),
            "num_frames": frames,
            "height": high,
            "width": wide,
        }

    return make


PRESETS = {
    "ltx-video-2b": Reference(
        config=load_preset("ltx-video-2b"),
        build=lambda: diffusers.LTXVideoTransformer3DModel(
            in_channels=128,
            out_channels=128,
            num_attention_heads=32,
            attention_head_dim=64,
            cross_attention_dim=2048,
            num_layers=28,
            caption_channels=4096,
        ),
        inputs=inputs(128, 4096),
        workload=Workload(height=512, width=704, frames=121),
    )
}


def _small(layers: int) -> Reference:
    return Reference(
        config=LTXConfig(
            num_layers=layers,
            hidden_size=1024,
            num_attention_heads=16,
            caption_channels=320,
            in_channels=32,
            out_channels=32,
        ),
        build=lambda: diffusers.LTXVideoTransformer3DModel(
            num_layers=layers,
            num_attention_heads=16,
            attention_head_dim=64,
            cross_attention_dim=1024,
            caption_channels=320,
            in_channels=32,
            out_channels=32,
        ),
        inputs=inputs(32, 320),
        workload=Workload(batch_size=2, height=512, width=384, frames=33),
    )


SMALL = {"ltx": _small}
"""Layers → a reference of that depth."""
