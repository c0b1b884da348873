"""FLUX.1 transformers of diffusers."""

from __future__ import annotations

from archsearch.errors import UnsupportedError
from archsearch.models.diffusion.flux import FluxConfig
from archsearch.models.huggingface.classes.calls import Call, Input, Inputs, guided
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values, rope_axes
from archsearch.models.modality import ImageModel


def _complete(fields: Fields, values: Values, where: str) -> None:
    fields["hidden_size"] = fields["num_attention_heads"] * fields["head_dim"]
    fields["out_channels"] = fields["out_channels"] or fields["in_channels"]
    if not fields["guidance_embeds"]:  # schnell, whose pipeline takes 256 tokens
        fields["text_seq_len"] = 256
    axes = values.get("axes_dims_rope") or [16, 56, 56]
    if sum(axes) != fields["head_dim"]:
        raise UnsupportedError(f"{where}: axes_dims_rope={axes} must add up to attention_head_dim={fields['head_dim']}")


def _finish(config: FluxConfig, document: Document) -> None:
    document["axes_dims_rope"] = rope_axes(int(config.head_dim))


def _inputs(call: Call) -> Inputs:
    assert isinstance(call.config, ImageModel)
    high, wide = call.config.grid(call.workload)
    tokens = int(high) * int(wide) * (1 + call.field("reference_images"))
    return {
        "hidden_states": call.noise(tokens, call.document["in_channels"]),
        "encoder_hidden_states": call.words("joint_attention_dim"),
        "pooled_projections": call.noise(call.document["pooled_projection_dim"]),
        "timestep": call.per_sample("one"),
        "img_ids": Input("positions", (tokens, 3)),
        "txt_ids": Input("positions", (call.text_tokens(), 3)),
        **guided(call),
    }


FORMATS = {
    "FluxTransformer2DModel": Format(
        family=FluxConfig,
        inputs=_inputs,
        sizes={
            "num_layers": "num_layers",
            "num_single_layers": "num_single_layers",
            "num_attention_heads": "num_attention_heads",
            "head_dim": "attention_head_dim",
            "in_channels": "in_channels",
        },
        options={
            "out_channels": ("out_channels", None),
            "joint_attention_dim": ("joint_attention_dim", 4096),
            "pooled_projection_dim": ("pooled_projection_dim", 768),
            "guidance_embeds": ("guidance_embeds", False),
        },
        constants={"vae_scale_factor": 8, "patch_size": 2, "text_seq_len": 512, "reference_images": 0},
        unwritten=("vae_scale_factor", "patch_size", "text_seq_len", "reference_images"),
        legal={"patch_size": (1,)},
        written={"patch_size": 1},
        examined={"axes_dims_rope": tuple[int, ...]},
        complete=_complete,
        finish=_finish,
    ),
}
