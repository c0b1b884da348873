"""AutoencoderKLWan of diffusers."""

from __future__ import annotations

from archsearch.errors import UnsupportedError
from archsearch.models.autoencoders.wan_vae import WanVAEConfig
from archsearch.models.huggingface.classes.calls import autoencoder_inputs
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values


def _complete(fields: Fields, values: Values, where: str) -> None:
    decoder = values.get("decoder_base_dim")
    if decoder not in (None, fields["base_dim"]):
        raise UnsupportedError(f"{where}: decoder_base_dim={decoder} is not supported, only base_dim or null")


def _finish(config: WanVAEConfig, document: Document) -> None:
    document["dim_mult"] = [int(m) for m in document["dim_mult"]]
    document["temperal_downsample"] = list(document["temperal_downsample"])


FORMATS = {
    "AutoencoderKLWan": Format(
        family=WanVAEConfig,
        inputs=autoencoder_inputs,
        sizes={},
        options={
            "base_dim": ("base_dim", 96),
            "dim_mult": ("dim_mult", (1, 2, 4, 4)),
            "temporal_downsample": ("temperal_downsample", (False, True, True)),
            "latent_channels": ("z_dim", 16),
            "layers_per_block": ("num_res_blocks", 2),
            "in_channels": ("in_channels", 3),
            "out_channels": ("out_channels", 3),
        },
        legal={
            "attn_scales": ([],),
            "is_residual": (False,),
            "patch_size": (None,),
        },
        examined={"decoder_base_dim": int},
        immaterial=("latents_mean", "latents_std", "scale_factor_temporal", "scale_factor_spatial", "dropout"),
        complete=_complete,
        finish=_finish,
    ),
}
