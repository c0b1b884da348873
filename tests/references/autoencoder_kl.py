"""AutoencoderKL of diffusers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from archsearch.models.autoencoders.kl import AutoencoderKLConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Phase, Workload
from references.tools import TORCH_DTYPES, Reference


def inputs(latent_channels: int, factor: int = 8) -> Callable[[Workload], dict[str, Any]]:
    """Pixels, or the latents that decoding takes."""

    def make(w: Workload) -> dict[str, Any]:
        channels, scale = (latent_channels, factor) if w.phase is Phase.DECODE else (3, 1)
        shape = (w.batch_size, channels, w.height // scale, w.width // scale)
        return {"sample": torch.zeros(shape, dtype=TORCH_DTYPES[w.dtype], device="meta")}

    return make


def _module(latent: int, widths: tuple[int, ...], layers: int, quant: bool) -> Callable[[], torch.nn.Module]:
    return lambda: diffusers.AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=layers,
        latent_channels=latent,
        norm_num_groups=32,
        use_quant_conv=quant,
        use_post_quant_conv=quant,
    )


def _preset(name: str, latent: int, quant: bool) -> Reference:
    return Reference(
        config=load_preset(name),
        build=_module(latent, (128, 256, 512, 512), 2, quant),
        inputs=inputs(latent),
        workload=Workload(batch_size=2, height=256, width=384),
    )


PRESETS = {
    "sd-vae": _preset("sd-vae", 4, True),
    "sdxl-vae": _preset("sdxl-vae", 4, True),
    "sd3-vae": _preset("sd3-vae", 16, False),
    "flux-vae": _preset("flux-vae", 16, False),
}


def _small(widths: tuple[int, ...], quant: bool, batch: int) -> Callable[[int], Reference]:
    return lambda layers: Reference(
        config=AutoencoderKLConfig(
            block_out_channels=widths,
            layers_per_block=layers,
            latent_channels=8,
            use_quant_conv=quant,
            use_post_quant_conv=quant,
        ),
        build=_module(8, widths, layers, quant),
        inputs=inputs(8, 2 ** (len(widths) - 1)),
        workload=Workload(batch_size=batch, height=512, width=512),
    )


SMALL = {
    "autoencoder-kl": _small((64, 128, 128), True, 2),
    "autoencoder-kl-wide": _small((64, 128, 256, 256), False, 1),
}
"""Layers per block → a reference."""
