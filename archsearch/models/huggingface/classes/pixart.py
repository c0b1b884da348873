"""PixArt transformers of diffusers."""

from __future__ import annotations

from archsearch.errors import UnsupportedError
from archsearch.models.diffusion.pixart import PixArtConfig
from archsearch.models.huggingface.classes.calls import Call, Input, Inputs, captioned
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values


def _complete(fields: Fields, values: Values, where: str) -> None:
    fields["hidden_size"] = fields["num_attention_heads"] * fields["head_dim"]
    fields["out_channels"] = fields["out_channels"] or fields["in_channels"]
    width = values.get("cross_attention_dim", 1152)
    if width != fields["hidden_size"]:
        raise UnsupportedError(f"{where}: cross_attention_dim={width} is not supported, only {fields['hidden_size']}")
    if not fields["caption_channels"]:
        raise UnsupportedError(f"{where}: caption_channels={fields['caption_channels']} is not supported: give a width")
    if values.get("use_additional_conditions") is None:  # the class decides by the size of its position table
        fields["micro_conditions"] = values.get("sample_size", 128) == 128


def _finish(config: PixArtConfig, document: Document) -> None:
    document["cross_attention_dim"] = int(config.hidden_size)


def _inputs(call: Call) -> Inputs:
    conditions = bool(call.document.get("use_additional_conditions"))
    return {
        **captioned(call),
        "added_cond_kwargs.resolution": call.noise(2) if conditions else Input("none", ()),
        "added_cond_kwargs.aspect_ratio": call.noise(1) if conditions else Input("none", ()),
    }


FORMATS = {
    "PixArtTransformer2DModel": Format(
        family=PixArtConfig,
        inputs=_inputs,
        sizes={
            "num_layers": "num_layers",
            "num_attention_heads": "num_attention_heads",
            "head_dim": "attention_head_dim",
        },
        options={
            "in_channels": ("in_channels", 4),
            "out_channels": ("out_channels", 8),
            "patch_size": ("patch_size", 2),
            "caption_channels": ("caption_channels", None),
            "micro_conditions": ("use_additional_conditions", False),
        },
        constants={"vae_scale_factor": 8, "text_seq_len": 120},
        unwritten=("vae_scale_factor", "text_seq_len"),
        legal={
            "norm_type": ("ada_norm_single",),
            "activation_fn": ("gelu-approximate",),
            "attention_bias": (True,),
            "norm_elementwise_affine": (False,),
            "upcast_attention": (False,),
            "attention_type": ("default",),
        },
        examined={"cross_attention_dim": int},
        immaterial=("num_embeds_ada_norm", "interpolation_scale"),
        complete=_complete,
        finish=_finish,
    ),
}
