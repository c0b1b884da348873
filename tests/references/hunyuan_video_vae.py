"""AutoencoderKLHunyuanVideo of diffusers."""

from __future__ import annotations

from typing import Any

import diffusers

from archsearch.models.autoencoders.hunyuan_video_vae import HunyuanVideoVAEConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Phase, Workload
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


def variant(*, phase: Phase = Phase.FORWARD, frames: int = 25, layers_per_block: int = 1, **options: Any) -> Reference:
    """Three stages of a few channels; ``options`` are fields that both classes have. Two videos."""
    widths, blocks = (64, 128, 128), ("HunyuanVideo{}Block3D",) * 3
    fields = {"spatial_compression_ratio": 4, "latent_channels": 8, **options}
    return Reference(
        config=HunyuanVideoVAEConfig(block_out_channels=widths, layers_per_block=layers_per_block, **fields),
        build=lambda: diffusers.AutoencoderKLHunyuanVideo(
            block_out_channels=widths,
            layers_per_block=layers_per_block,
            down_block_types=tuple(name.format("Down") for name in blocks),
            up_block_types=tuple(name.format("Up") for name in blocks),
            **fields,
        ),
        inputs=inputs(8, fields["spatial_compression_ratio"], 4),
        workload=Workload(phase=phase, batch_size=2, height=32, width=48, frames=frames),
    )


SMALL = {"hunyuan-video-vae": lambda layers: variant(layers_per_block=layers)}
"""Layers per block → a reference."""
