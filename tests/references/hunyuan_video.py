"""HunyuanVideo of diffusers: HunyuanVideoTransformer3DModel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from archsearch.models.diffusion.hunyuan_video import HunyuanVideoConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import TORCH_DTYPES, Reference


def inputs(text_width: int, pooled_width: int, text: int = 256) -> Any:
    def make(w: Workload) -> dict[str, Any]:
        like = {"dtype": TORCH_DTYPES[w.dtype], "device": "meta"}
        shape = (w.batch_size, 16, 1 + (w.frames - 1) // 4, w.height // 8, w.width // 8)
        return {
            "hidden_states": torch.zeros(shape, **like),
            "timestep": torch.zeros((w.batch_size,), dtype=torch.long, device="meta"),
            "encoder_hidden_states": torch.zeros((w.batch_size, text, text_width), **like),
            "encoder_attention_mask": torch.ones((w.batch_size, text), dtype=torch.long, device="meta"),
            "pooled_projections": torch.zeros((w.batch_size, pooled_width), **like),
            "guidance": torch.zeros((w.batch_size,), **like),
        }

    return make


PRESETS = {
    "hunyuan-video": Reference(
        config=load_preset("hunyuan-video"),
        build=lambda: diffusers.HunyuanVideoTransformer3DModel(
            in_channels=16,
            out_channels=16,
            num_attention_heads=24,
            attention_head_dim=128,
            num_layers=20,
            num_single_layers=40,
            num_refiner_layers=2,
            guidance_embeds=True,
            text_embed_dim=4096,
            pooled_projection_dim=768,
        ),
        inputs=inputs(4096, 768),
        workload=Workload(height=720, width=1280, frames=129),
    )
}


def _small(double: int, single: int, batch: int) -> Reference:
    return Reference(
        config=HunyuanVideoConfig(
            num_layers=double,
            num_single_layers=single,
            num_refiner_layers=1,
            hidden_size=1024,
            num_attention_heads=8,
            text_embed_dim=320,
            pooled_projection_dim=96,
            text_seq_len=64,
        ),
        build=lambda: diffusers.HunyuanVideoTransformer3DModel(
            num_layers=double,
            num_single_layers=single,
            num_attention_heads=8,
            attention_head_dim=128,
            num_refiner_layers=1,
            text_embed_dim=320,
            pooled_projection_dim=96,
        ),
        inputs=inputs(320, 96, 64),
        workload=Workload(batch_size=batch, height=512, width=384, frames=9),
    )


SMALL: dict[str, Callable[[int], Reference]] = {
    "hunyuan-video-double": lambda layers: _small(layers, 1, 4),
    "hunyuan-video-single": lambda layers: _small(1, layers, 4),
    "hunyuan-video-one": lambda layers: _small(layers, 1, 1),
}
"""Layers → a reference of that depth."""
