"""FLUX.1 of diffusers: FluxTransformer2DModel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from archsearch.models.diffusion.flux import FluxConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import TORCH_DTYPES, Reference


def inputs(
    in_channels: int, text_width: int, pooled_width: int, guidance: bool, images: int = 1, text: int = 512
) -> Any:
    """Packed latents: a token is 16 × 16 pixels; ``images`` counts the output and the references."""

    def make(w: Workload) -> dict[str, Any]:
        dtype = TORCH_DTYPES[w.dtype]
        tokens = (w.height // 16) * (w.width // 16) * images
        like = {"dtype": dtype, "device": "meta"}
        words = text if w.seq_len is None else w.seq_len
        return {
            "hidden_states": torch.zeros((w.batch_size, tokens, in_channels), **like),
            "encoder_hidden_states": torch.zeros((w.batch_size, words, text_width), **like),
            "pooled_projections": torch.zeros((w.batch_size, pooled_width), **like),
            "timestep": torch.zeros((w.batch_size,), **like),
            "img_ids": torch.zeros((tokens, 3), **like),
            "txt_ids": torch.zeros((words, 3), **like),
            **({"guidance": torch.zeros((w.batch_size,), **like)} if guidance else {}),
        }

    return make


def _preset(
    name: str,
    guidance: bool = True,
    in_channels: int = 64,
    images: int = 1,
    text: int = 512,
    height: int = 1024,
) -> Reference:
    return Reference(
        config=load_preset(name),
        build=lambda: diffusers.FluxTransformer2DModel(
            patch_size=1,
            in_channels=in_channels,
            out_channels=64,
            num_layers=19,
            num_single_layers=38,
            attention_head_dim=128,
            num_attention_heads=24,
            joint_attention_dim=4096,
            pooled_projection_dim=768,
            guidance_embeds=guidance,
        ),
        inputs=inputs(in_channels, 4096, 768, guidance, images, text),
        workload=Workload(height=height, width=1024),
    )


PRESETS = {
    "flux1-dev": _preset("flux1-dev"),
    "flux1-schnell": _preset("flux1-schnell", guidance=False, text=256),
    "flux1-canny-dev": _preset("flux1-canny-dev", in_channels=128),
    "flux1-depth-dev": _preset("flux1-depth-dev", in_channels=128),
    "flux1-fill-dev": _preset("flux1-fill-dev", in_channels=384),
    "flux1-kontext-dev": _preset("flux1-kontext-dev", images=2, height=768),
}

SIZES = {"num_attention_heads": 8, "joint_attention_dim": 320, "pooled_projection_dim": 96}


def _small(double: int, single: int) -> Reference:
    return Reference(
        config=FluxConfig(
            num_layers=double, num_single_layers=single, hidden_size=1024, head_dim=128, text_seq_len=128, **SIZES
        ),
        build=lambda: diffusers.FluxTransformer2DModel(
            num_layers=double, num_single_layers=single, attention_head_dim=128, guidance_embeds=True, **SIZES
        ),
        inputs=inputs(64, 320, 96, True),
        workload=Workload(batch_size=4, height=512, width=384, seq_len=128),
    )


SMALL: dict[str, Callable[[int], Reference]] = {
    "flux-double": lambda layers: _small(layers, 1),
    "flux-single": lambda layers: _small(1, layers),
}
"""Layers → a reference of that depth."""
