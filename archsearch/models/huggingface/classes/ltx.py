"""LTX-Video transformers of diffusers."""

from __future__ import annotations

from archsearch.errors import UnsupportedError
from archsearch.models.diffusion.ltx import LTXConfig
from archsearch.models.huggingface.classes.calls import Call, Input, Inputs
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values


def _complete(fields: Fields, values: Values, where: str) -> None:
    fields["hidden_size"] = fields["num_attention_heads"] * fields["head_dim"]
    fields["out_channels"] = fields["out_channels"] or fields["in_channels"]
    width = values.get("cross_attention_dim", 2048)
    if width != fields["hidden_size"]:
        raise UnsupportedError(f"{where}: cross_attention_dim={width} is not supported, only {fields['hidden_size']}")


def _finish(config: LTXConfig, document: Document) -> None:
    document["cross_attention_dim"] = int(config.hidden_size)


def _inputs(call: Call) -> Inputs:
    frames, (high, wide) = call.latent_frames(), call.latent_sides()
    return {
        "hidden_states": call.noise(frames * high * wide, call.document["in_channels"]),
        "encoder_hidden_states": call.words("caption_channels"),
        "timestep": call.per_sample("steps"),
        "encoder_attention_mask": Input("ones", (call.batch, call.text_tokens())),
        "num_frames": Input("number", frames),
        "height": Input("number", high),
        "width": Input("number", wide),
    }


FORMATS = {
    "LTXVideoTransformer3DModel": Format(
        family=LTXConfig,
        inputs=_inputs,
        sizes={
            "num_layers": "num_layers",
            "num_attention_heads": "num_attention_heads",
            "head_dim": "attention_head_dim",
        },
        options={
            "in_channels": ("in_channels", 128),
            "out_channels": ("out_channels", 128),
            "caption_channels": ("caption_channels", 4096),
        },
        constants={"vae_scale_factor": 32, "vae_temporal_factor": 8, "text_seq_len": 128},
        unwritten=("vae_scale_factor", "vae_temporal_factor", "text_seq_len"),
        legal={
            "patch_size": (1,),
            "patch_size_t": (1,),
            "activation_fn": ("gelu-approximate",),
            "qk_norm": ("rms_norm_across_heads",),
            "norm_elementwise_affine": (False,),
            "attention_bias": (True,),
            "attention_out_bias": (True,),
        },
        examined={"cross_attention_dim": int},
        complete=_complete,
        finish=_finish,
    ),
}
