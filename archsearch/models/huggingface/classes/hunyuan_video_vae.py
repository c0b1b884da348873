"""AutoencoderKLHunyuanVideo of diffusers."""

from __future__ import annotations

from archsearch.models.autoencoders.hunyuan_video_vae import HunyuanVideoVAEConfig
from archsearch.models.huggingface.classes.block_types import require_block_types, write_block_types
from archsearch.models.huggingface.classes.calls import autoencoder_inputs
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values

_BLOCKS = {"down_block_types": "HunyuanVideoDownBlock3D", "up_block_types": "HunyuanVideoUpBlock3D"}


def _complete(fields: Fields, values: Values, where: str) -> None:
    fields["spatial_compression_ratio"] = int(fields["spatial_compression_ratio"])
    require_block_types(_BLOCKS, fields, values, where)


def _finish(config: HunyuanVideoVAEConfig, document: Document) -> None:
    document["block_out_channels"] = [int(width) for width in document["block_out_channels"]]
    write_block_types(_BLOCKS, document)


FORMATS = {
    "AutoencoderKLHunyuanVideo": Format(
        family=HunyuanVideoVAEConfig,
        inputs=autoencoder_inputs,
        sizes={},
        options={
            "block_out_channels": ("block_out_channels", (128, 256, 512, 512)),
            "layers_per_block": ("layers_per_block", 2),
            "latent_channels": ("latent_channels", 16),
            "norm_num_groups": ("norm_num_groups", 32),
            "spatial_compression_ratio": ("spatial_compression_ratio", 8),
            "mid_block_add_attention": ("mid_block_add_attention", True),
            "in_channels": ("in_channels", 3),
            "out_channels": ("out_channels", 3),
        },
        legal={"act_fn": ("silu", "swish"), "temporal_compression_ratio": (4,)},
        examined=dict.fromkeys(_BLOCKS, tuple[str, ...]),
        immaterial=("scaling_factor",),
        complete=_complete,
        finish=_finish,
    ),
}
