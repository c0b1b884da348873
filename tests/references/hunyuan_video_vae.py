"""AutoencoderKLHunyuanVideo of diffusers."""

from __future__ import annotations

import diffusers

from archsearch.models.autoencoders.hunyuan_video_vae import HunyuanVideoVAEConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import Reference
from references.wan_vae import inputs

PRESETS = {
    "hunyuan-video-vae": Reference(
        config=load_preset("hunyuan-video-vae"),
        build=diffusers.AutoencoderKLHunyuanVideo,
        inputs=inputs(16, 8, 4),
        workload=Workload(height=128, width=192, frames=33),
    )
}


def _small(layers: int) -> Reference:
    widths, blocks = (64, 128, 128), ("HunyuanVideo{}Block3D",) * 3
    return Reference(
        config=HunyuanVideoVAEConfig(
            block_out_channels=widths, layers_per_block=layers, spatial_compression_ratio=4, latent_channels=8
        ),
        build=lambda: diffusers.AutoencoderKLHunyuanVideo(
            block_out_channels=widths,
            layers_per_block=layers,
            spatial_compression_ratio=4,
            latent_channels=8,
            down_block_types=tuple(name.format("Down") for name in blocks),
            up_block_types=tuple(name.format("Up") for name in blocks),
        ),
        inputs=inputs(8, 4, 4),
        workload=Workload(batch_size=2, height=32, width=48, frames=25),
    )


SMALL = {"hunyuan-video-vae": _small}
"""Layers per block → a reference."""
