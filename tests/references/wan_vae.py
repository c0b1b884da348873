"""AutoencoderKLWan of diffusers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from archsearch.models.autoencoders.wan_vae import WanVAEConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Phase, Workload
from references.tools import TORCH_DTYPES, Reference


def inputs(latent_channels: int, factor: int, temporal_factor: int) -> Callable[[Workload], dict[str, Any]]:
    """Pixels, or the latents that decoding takes."""

    def make(w: Workload) -> dict[str, Any]:
        shape: tuple[int, ...] = (w.batch_size, 3, w.frames, w.height, w.width)
        if w.phase is Phase.DECODE:
            frames = 1 + (w.frames - 1) // temporal_factor
            shape = (w.batch_size, latent_channels, frames, w.height // factor, w.width // factor)
        return {"sample": torch.zeros(shape, dtype=TORCH_DTYPES[w.dtype], device="meta")}

    return make


def _wan() -> torch.nn.Module:
    return diffusers.AutoencoderKLWan(
        base_dim=96,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
    )


PRESETS = {
    "wan-vae": Reference(
        config=load_preset("wan-vae"),
        build=_wan,
        inputs=inputs(16, 8, 4),
        workload=Workload(height=256, width=384, frames=17),
    )
}


def _small(layers: int) -> Reference:
    return Reference(
        config=WanVAEConfig(base_dim=64, dim_mult=(1, 2, 2), temporal_downsample=(True, True), layers_per_block=layers),
        build=lambda: diffusers.AutoencoderKLWan(
            base_dim=64, dim_mult=[1, 2, 2], num_res_blocks=layers, temperal_downsample=[True, True]
        ),
        inputs=inputs(16, 4, 4),
        workload=Workload(height=128, width=192, frames=17),
    )


def _small_image(layers: int) -> Reference:
    return Reference(
        config=WanVAEConfig(
            base_dim=64,
            dim_mult=(1, 1, 2, 2),
            temporal_downsample=(False, True, True),
            layers_per_block=layers,
        ),
        build=lambda: diffusers.AutoencoderKLWan(
            base_dim=64, dim_mult=[1, 1, 2, 2], num_res_blocks=layers, temperal_downsample=[False, True, True]
        ),
        inputs=inputs(16, 8, 4),
        workload=Workload(height=256, width=256, frames=5),
    )


SMALL = {"wan-vae": _small, "wan-vae-short": _small_image}
"""Layers per block → a reference."""
