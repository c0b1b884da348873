"""AutoencoderDC of diffusers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from archsearch.models.autoencoders.dc import AutoencoderDCConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.autoencoder_kl import inputs
from references.tools import Reference


def _module(residual: int, attending: int, **sizes: Any) -> Callable[[], torch.nn.Module]:
    kinds = ("ResBlock",) * residual + ("EfficientViTBlock",) * attending
    return lambda: diffusers.AutoencoderDC(
        in_channels=3, attention_head_dim=32, encoder_block_types=kinds, decoder_block_types=kinds, **sizes
    )


_F32 = _module(
    3,
    3,
    latent_channels=32,
    encoder_block_out_channels=(128, 256, 512, 512, 1024, 1024),
    decoder_block_out_channels=(128, 256, 512, 512, 1024, 1024),
    encoder_layers_per_block=(2, 2, 2, 3, 3, 3),
    decoder_layers_per_block=(3, 3, 3, 3, 3, 3),
    encoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
    decoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
    upsample_block_type="interpolate",
    downsample_block_type="Conv",
    decoder_norm_types="rms_norm",
    decoder_act_fns="silu",
)
_F64 = _module(
    3,
    4,
    latent_channels=128,
    encoder_block_out_channels=(128, 256, 512, 512, 1024, 1024, 2048),
    decoder_block_out_channels=(128, 256, 512, 512, 1024, 1024, 2048),
    encoder_layers_per_block=(0, 4, 8, 2, 2, 2, 2),
    decoder_layers_per_block=(0, 5, 10, 2, 2, 2, 2),
    encoder_qkv_multiscales=((),) * 7,
    decoder_qkv_multiscales=((),) * 7,
    decoder_norm_types=("batch_norm",) * 3 + ("rms_norm",) * 4,
    decoder_act_fns=("relu",) * 3 + ("silu",) * 4,
)

PRESETS = {
    "dc-ae-f32c32": Reference(
        config=load_preset("dc-ae-f32c32"),
        build=_F32,
        inputs=inputs(32, 32),
        workload=Workload(batch_size=2, height=512, width=768),
    ),
    "dc-ae-f64c128": Reference(
        config=load_preset("dc-ae-f64c128"),
        build=_F64,
        inputs=inputs(128, 64),
        workload=Workload(batch_size=1, height=512, width=768),
    ),
}


def _small(layers: int) -> Reference:
    widths = (64, 128, 128, 256)
    return Reference(
        config=AutoencoderDCConfig(
            block_out_channels=widths,
            encoder_layers_per_block=(layers,) * 4,
            decoder_layers_per_block=(layers,) * 4,
            latent_channels=32,
            residual_stages=2,
            qkv_multiscale=5,
            downsample_block_type="conv",
            upsample_block_type="interpolate",
        ),
        build=_module(
            2,
            2,
            latent_channels=32,
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            encoder_layers_per_block=(layers,) * 4,
            decoder_layers_per_block=(layers,) * 4,
            encoder_qkv_multiscales=((), (), (5,), (5,)),
            decoder_qkv_multiscales=((), (), (5,), (5,)),
            upsample_block_type="interpolate",
            downsample_block_type="Conv",
        ),
        inputs=inputs(32),
        workload=Workload(batch_size=2, height=256, width=256),
    )


def _small_shuffled(layers: int) -> Reference:
    widths, counts = (64, 64, 128, 128), (0, layers, layers, layers)
    return Reference(
        config=AutoencoderDCConfig(
            block_out_channels=widths,
            encoder_layers_per_block=counts,
            decoder_layers_per_block=counts,
            latent_channels=32,
            residual_stages=2,
            decoder_norm="batch_norm",
        ),
        build=_module(
            2,
            2,
            latent_channels=32,
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            encoder_layers_per_block=counts,
            decoder_layers_per_block=counts,
            encoder_qkv_multiscales=((),) * 4,
            decoder_qkv_multiscales=((),) * 4,
            decoder_norm_types=("batch_norm",) * 2 + ("rms_norm",) * 2,
            decoder_act_fns=("relu",) * 2 + ("silu",) * 2,
        ),
        inputs=inputs(32),
        workload=Workload(batch_size=1, height=512, width=512),
    )


SMALL = {"autoencoder-dc": _small, "autoencoder-dc-shuffled": _small_shuffled}
"""Layers in every stage → a reference."""
