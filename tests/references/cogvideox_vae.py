"""AutoencoderKLCogVideoX of diffusers."""

from __future__ import annotations

import diffusers

from archsearch.models.autoencoders.cogvideox_vae import CogVideoXVAEConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import Reference
from references.wan_vae import inputs

PRESETS = {
    "cogvideox-vae": Reference(
        config=load_preset("cogvideox-vae"),
        build=diffusers.AutoencoderKLCogVideoX,
        inputs=inputs(16, 8, 4),
        workload=Workload(height=128, width=192, frames=17),
    )
}


def _small(layers: int) -> Reference:
    widths, blocks = (64, 128, 128), ("CogVideoX{}Block3D",) * 3
    return Reference(
        config=CogVideoXVAEConfig(block_out_channels=widths, layers_per_block=layers),
        build=lambda: diffusers.AutoencoderKLCogVideoX(
            block_out_channels=widths,
            layers_per_block=layers,
            down_block_types=tuple(name.format("Down") for name in blocks),
            up_block_types=tuple(name.format("Up") for name in blocks),
        ),
        inputs=inputs(16, 4, 4),
        workload=Workload(height=64, width=96, frames=33),
    )


SMALL = {"cogvideox-vae": _small}
"""Layers per block → a reference."""
