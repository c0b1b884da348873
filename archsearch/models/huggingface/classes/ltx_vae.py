"""AutoencoderKLLTXVideo of diffusers."""

from __future__ import annotations

import json

from archsearch.errors import UnsupportedError
from archsearch.models.autoencoders.ltx_vae import LTXVAEConfig
from archsearch.models.huggingface.classes.calls import autoencoder_inputs
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values

_BLOCKS = {"down_block_types": "LTXVideoDownBlock3D", "downsample_type": "conv"}
"""Keys with an entry per stage that may only be this one (0.9.5 has others)."""
_LISTS = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": (4, 3, 3, 3, 4),
    "spatio_temporal_scaling": (True, True, True, False),
    "decoder_block_out_channels": (128, 256, 512, 512),
    "decoder_layers_per_block": (4, 3, 3, 3, 4),
    "decoder_spatio_temporal_scaling": (True, True, True, False),
    "decoder_inject_noise": (False, False, False, False, False),
    "upsample_residual": (False, False, False, False),
    "upsample_factor": (1, 1, 1, 1),
}
"""Fields of several entries with the class's defaults; the file's keys are alike."""


def _complete(fields: Fields, values: Values, where: str) -> None:
    stages = len(fields["block_out_channels"])
    for key, only in _BLOCKS.items():
        types = list(values.get(key) or [only] * stages)
        if types[:stages] != [only] * stages:
            raise UnsupportedError(f"{where}: {key}={json.dumps(types)} is not supported, only {only} for every stage")


def _finish(config: LTXVAEConfig, document: Document) -> None:
    document |= {key: list(document[key]) for key in _LISTS}
    stages = len(document["block_out_channels"])
    document |= {key: [only] * stages for key, only in _BLOCKS.items()}


FORMATS = {
    "AutoencoderKLLTXVideo": Format(
        family=LTXVAEConfig,
        inputs=autoencoder_inputs,
        sizes={},
        options={
            **{key: (key, default) for key, default in _LISTS.items()},
            "timestep_conditioning": ("timestep_conditioning", False),
            "latent_channels": ("latent_channels", 128),
            "sample_patch_size": ("patch_size", 4),
            "in_channels": ("in_channels", 3),
            "out_channels": ("out_channels", 3),
        },
        legal={"patch_size_t": (1,), "encoder_causal": (True,), "decoder_causal": (False,)},
        examined=dict.fromkeys(_BLOCKS, tuple[str, ...]),
        immaterial=("resnet_norm_eps", "scaling_factor", "spatial_compression_ratio", "temporal_compression_ratio"),
        complete=_complete,
        finish=_finish,
    ),
}
