"""AutoencoderKLLTXVideo of diffusers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from archsearch.models.autoencoders.ltx_vae import LTXVAEConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import TORCH_DTYPES, Reference
from references.wan_vae import inputs


def timed(make: Callable[[Workload], dict[str, Any]]) -> Callable[[Workload], dict[str, Any]]:
    """With the timestep that the decoder of later versions takes."""
    return lambda w: {**make(w), "temb": torch.zeros((w.batch_size,), dtype=TORCH_DTYPES[w.dtype], device="meta")}


_ENCODER: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": (4, 3, 3, 3, 4),
    "spatio_temporal_scaling": (True, True, True, False),
    "patch_size": 4,
    "patch_size_t": 1,
    "encoder_causal": True,
    "decoder_causal": False,
}


def _first() -> torch.nn.Module:
    return diffusers.AutoencoderKLLTXVideo(
        **_ENCODER,
        decoder_block_out_channels=(128, 256, 512, 512),
        decoder_layers_per_block=(4, 3, 3, 3, 4),
        decoder_spatio_temporal_scaling=(True, True, True, False),
        decoder_inject_noise=(False, False, False, False, False),
        upsample_residual=(False, False, False, False),
        upsample_factor=(1, 1, 1, 1),
        timestep_conditioning=False,
    )


def _second() -> torch.nn.Module:
    return diffusers.AutoencoderKLLTXVideo(
        **_ENCODER,
        decoder_block_out_channels=(256, 512, 1024),
        decoder_layers_per_block=(5, 6, 7, 8),
        decoder_spatio_temporal_scaling=(True, True, True),
        decoder_inject_noise=(False, True, True, True),
        upsample_residual=(True, True, True),
        upsample_factor=(2, 2, 2),
        timestep_conditioning=True,
    )


_VIDEO = Workload(height=256, width=384, frames=33)
PRESETS = {
    "ltx-video-vae": Reference(
        config=load_preset("ltx-video-vae"), build=_first, inputs=inputs(128, 32, 8), workload=_VIDEO
    ),
    "ltx-video-vae-0.9.1": Reference(
        config=load_preset("ltx-video-vae-0.9.1"), build=_second, inputs=timed(inputs(128, 32, 8)), workload=_VIDEO
    ),
}


def _small(layers: int) -> Reference:
    widths, counts, scaling = (64, 128, 128), (layers,) * 4, (True, True, False)
    return Reference(
        config=LTXVAEConfig(
            block_out_channels=widths,
            layers_per_block=counts,
            spatio_temporal_scaling=scaling,
            decoder_block_out_channels=widths,
            decoder_layers_per_block=counts,
            decoder_spatio_temporal_scaling=scaling,
            decoder_inject_noise=(False,) * 4,
            upsample_residual=(False,) * 3,
            upsample_factor=(1, 1, 1),
        ),
        build=lambda: diffusers.AutoencoderKLLTXVideo(
            block_out_channels=widths,
            layers_per_block=counts,
            spatio_temporal_scaling=scaling,
            decoder_block_out_channels=widths,
            decoder_layers_per_block=counts,
            decoder_spatio_temporal_scaling=scaling,
            down_block_types=("LTXVideoDownBlock3D",) * 3,
            downsample_type=("conv",) * 3,
            decoder_inject_noise=(False,) * 4,
            upsample_residual=(False,) * 3,
            upsample_factor=(1, 1, 1),
        ),
        inputs=inputs(128, 16, 4),
        workload=Workload(height=256, width=256, frames=17),
    )


def _small_timed(layers: int) -> Reference:
    widths, wider = (64, 128, 128), (128, 256)
    return Reference(
        config=LTXVAEConfig(
            block_out_channels=widths,
            layers_per_block=(layers,) * 4,
            spatio_temporal_scaling=(True, True, False),
            decoder_block_out_channels=wider,
            decoder_layers_per_block=(layers,) * 3,
            decoder_spatio_temporal_scaling=(True, True),
            decoder_inject_noise=(False, True, True),
            upsample_residual=(True, True),
            upsample_factor=(2, 2),
            timestep_conditioning=True,
        ),
        build=lambda: diffusers.AutoencoderKLLTXVideo(
            block_out_channels=widths,
            layers_per_block=(layers,) * 4,
            spatio_temporal_scaling=(True, True, False),
            decoder_block_out_channels=wider,
            decoder_layers_per_block=(layers,) * 3,
            decoder_spatio_temporal_scaling=(True, True),
            down_block_types=("LTXVideoDownBlock3D",) * 3,
            downsample_type=("conv",) * 3,
            decoder_inject_noise=(False, True, True),
            upsample_residual=(True, True),
            upsample_factor=(2, 2),
            timestep_conditioning=True,
        ),
        inputs=timed(inputs(128, 16, 4)),
        workload=Workload(height=256, width=256, frames=17),
    )


SMALL = {"ltx-video-vae": _small, "ltx-video-vae-timed": _small_timed}
"""Layers in every stage → a reference."""
