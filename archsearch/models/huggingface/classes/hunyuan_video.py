"""HunyuanVideo transformers of diffusers."""

from __future__ import annotations

from archsearch.errors import UnsupportedError
from archsearch.models.diffusion.hunyuan_video import HunyuanVideoConfig
from archsearch.models.huggingface.classes.calls import Call, Input, Inputs, guided
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values, rope_axes


def _complete(fields: Fields, values: Values, where: str) -> None:
    fields["hidden_size"] = fields["num_attention_heads"] * fields["head_dim"]
    fields["out_channels"] = fields["out_channels"] or fields["in_channels"]
    axes = values.get("rope_axes_dim") or [16, 56, 56]
    if sum(axes) != fields["head_dim"]:
        raise UnsupportedError(f"{where}: rope_axes_dim={axes} must add up to attention_head_dim={fields['head_dim']}")


def _finish(config: HunyuanVideoConfig, document: Document) -> None:
    document["rope_axes_dim"] = rope_axes(int(config.head_dim))


def _inputs(call: Call) -> Inputs:
    return {
        "hidden_states": call.video(),
        "timestep": call.per_sample("steps"),
        "encoder_hidden_states": call.words("text_embed_dim"),
        "encoder_attention_mask": Input("ones", (call.batch, call.text_tokens())),
        "pooled_projections": call.noise(call.document["pooled_projection_dim"]),
        **guided(call),
    }


FORMATS = {
    "HunyuanVideoTransformer3DModel": Format(
        family=HunyuanVideoConfig,
        inputs=_inputs,
        sizes={
            "num_layers": "num_layers",
            "num_single_layers": "num_single_layers",
            "num_attention_heads": "num_attention_heads",
            "head_dim": "attention_head_dim",
        },
        options={
            "num_refiner_layers": ("num_refiner_layers", 2),
            "in_channels": ("in_channels", 16),
            "out_channels": ("out_channels", 16),
            "text_embed_dim": ("text_embed_dim", 4096),
            "pooled_projection_dim": ("pooled_projection_dim", 768),
            "guidance_embeds": ("guidance_embeds", True),
            "patch_size": ("patch_size", 2),
            "patch_size_t": ("patch_size_t", 1),
        },
        constants={"vae_scale_factor": 8, "vae_temporal_factor": 4, "text_seq_len": 256},
        unwritten=("vae_scale_factor", "vae_temporal_factor", "text_seq_len"),
        legal={"mlp_ratio": (4.0, 4), "qk_norm": ("rms_norm",), "image_condition_type": (None,)},
        examined={"rope_axes_dim": tuple[int, ...]},
        complete=_complete,
        finish=_finish,
    ),
}
