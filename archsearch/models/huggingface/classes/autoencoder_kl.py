"""AutoencoderKL of diffusers."""

from __future__ import annotations

from archsearch.models.autoencoders.kl import AutoencoderKLConfig
from archsearch.models.huggingface.classes.block_types import require_block_types, write_block_types
from archsearch.models.huggingface.classes.calls import autoencoder_inputs
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values

_BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}


def _complete(fields: Fields, values: Values, where: str) -> None:
    require_block_types(_BLOCKS, fields, values, where, absent=1)


def _finish(config: AutoencoderKLConfig, document: Document) -> None:
    document["block_out_channels"] = list(document["block_out_channels"])
    write_block_types(_BLOCKS, document)


FORMATS = {
    "AutoencoderKL": Format(
        family=AutoencoderKLConfig,
        inputs=autoencoder_inputs,
        sizes={"block_out_channels": "block_out_channels"},
        options={
            "latent_channels": ("latent_channels", 4),
            "layers_per_block": ("layers_per_block", 1),
            "in_channels": ("in_channels", 3),
            "out_channels": ("out_channels", 3),
            "norm_num_groups": ("norm_num_groups", 32),
            "use_quant_conv": ("use_quant_conv", True),
            "use_post_quant_conv": ("use_post_quant_conv", True),
            "mid_block_add_attention": ("mid_block_add_attention", True),
        },
        legal={"act_fn": ("silu", "swish")},
        examined=dict.fromkeys(_BLOCKS, tuple[str, ...]),
        immaterial=("scaling_factor", "shift_factor", "latents_mean", "latents_std", "force_upcast"),
        complete=_complete,
        finish=_finish,
    ),
}
