"""SANA transformers of diffusers."""

from __future__ import annotations

import math

from archsearch.errors import UnsupportedError
from archsearch.models.diffusion.sana import SanaConfig
from archsearch.models.huggingface.classes.calls import captioned
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values


def _complete(fields: Fields, values: Values, where: str) -> None:
    hidden = fields["num_attention_heads"] * fields["head_dim"]
    fields["hidden_size"] = hidden
    fields["out_channels"] = fields["out_channels"] or fields["in_channels"]
    fields["intermediate_size"] = int(values.get("mlp_ratio", 2.5) * hidden)
    fields["qk_norm"] = values.get("qk_norm") is not None
    cross = fields["num_cross_attention_heads"] * values.get("cross_attention_head_dim", 112)
    if cross != hidden or values.get("cross_attention_dim", 2240) != hidden:
        raise UnsupportedError(
            f"{where}: num_cross_attention_heads times cross_attention_head_dim, and cross_attention_dim, must be "
            f"{hidden}, the width of the model"
        )


def _ratio(config: SanaConfig) -> float:
    """The class's expansion; it rounds the product down, so that the quotient must not fall below."""
    inner, hidden = int(config.intermediate_size), int(config.hidden_size)
    ratio = inner / hidden
    return ratio if int(ratio * hidden) == inner else math.nextafter(ratio, math.inf)


def _finish(config: SanaConfig, document: Document) -> None:
    document["mlp_ratio"] = _ratio(config)
    document["cross_attention_head_dim"] = int(config.cross_head_dim)
    document["cross_attention_dim"] = int(config.hidden_size)
    document["qk_norm"] = "rms_norm_across_heads" if config.qk_norm else None


FORMATS = {
    "SanaTransformer2DModel": Format(
        family=SanaConfig,
        inputs=captioned,
        sizes={
            "num_layers": "num_layers",
            "num_attention_heads": "num_attention_heads",
            "head_dim": "attention_head_dim",
            "num_cross_attention_heads": "num_cross_attention_heads",
        },
        options={
            "in_channels": ("in_channels", 32),
            "out_channels": ("out_channels", 32),
            "patch_size": ("patch_size", 1),
            "caption_channels": ("caption_channels", 2304),
        },
        constants={"vae_scale_factor": 32, "text_seq_len": 300},
        unwritten=("vae_scale_factor", "text_seq_len"),
        legal={
            "qk_norm": (None, "rms_norm_across_heads"),
            "attention_bias": (False,),
            "norm_elementwise_affine": (False,),
            "guidance_embeds": (False,),
            "interpolation_scale": (None,),
        },
        examined={"mlp_ratio": float, "cross_attention_head_dim": int, "cross_attention_dim": int},
        immaterial=("guidance_embeds_scale", "timestep_scale"),
        complete=_complete,
        finish=_finish,
    ),
}
