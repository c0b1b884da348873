"""AutoencoderKLCogVideoX of diffusers."""

from __future__ import annotations

from archsearch.models.autoencoders.cogvideox_vae import CogVideoXVAEConfig
from archsearch.models.huggingface.classes.block_types import require_block_types, write_block_types
from archsearch.models.huggingface.classes.calls import autoencoder_inputs
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values

_BLOCKS = {"down_block_types": "CogVideoXDownBlock3D", "up_block_types": "CogVideoXUpBlock3D"}


def _complete(fields: Fields, values: Values, where: str) -> None:
    fields["temporal_compression_ratio"] = int(fields["temporal_compression_ratio"])
    require_block_types(_BLOCKS, fields, values, where)


def _finish(config: CogVideoXVAEConfig, document: Document) -> None:
    document["block_out_channels"] = [int(width) for width in document["block_out_channels"]]
    write_block_types(_BLOCKS, document)


FORMATS = {
    "AutoencoderKLCogVideoX": Format(
        family=CogVideoXVAEConfig,
        inputs=autoencoder_inputs,
        sizes={},
        options={
            "block_out_channels": ("block_out_channels", (128, 256, 256, 512)),
            "layers_per_block": ("layers_per_block", 3),
            "latent_channels": ("latent_channels", 16),
            "norm_num_groups": ("norm_num_groups", 32),
            "temporal_compression_ratio": ("temporal_compression_ratio", 4),
            "in_channels": ("in_channels", 3),
            "out_channels": ("out_channels", 3),
        },
        legal={"act_fn": ("silu",), "use_quant_conv": (False,), "use_post_quant_conv": (False,)},
        examined=dict.fromkeys(_BLOCKS, tuple[str, ...]),
        immaterial=(
            *("norm_eps", "sample_height", "sample_width", "scaling_factor", "shift_factor", "latents_mean"),
            *("latents_std", "force_upcast", "invert_scale_latents"),
        ),
        complete=_complete,
        finish=_finish,
    ),
}
