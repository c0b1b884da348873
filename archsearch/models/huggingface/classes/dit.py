"""Class-conditional diffusion transformers of diffusers."""

from __future__ import annotations

from dataclasses import replace

from archsearch.models.diffusion.dit import DiTConfig
from archsearch.models.huggingface.classes.calls import Call, Inputs
from archsearch.models.huggingface.classes.format import Fields, Format, Values


def _complete(fields: Fields, values: Values, where: str) -> None:
    fields["hidden_size"] = fields["num_attention_heads"] * fields["head_dim"]
    fields["intermediate_size"] = 4 * fields["hidden_size"]
    fields["out_channels"] = fields["out_channels"] or fields["in_channels"]


def _obstacles(config: DiTConfig) -> list[str]:
    wrong = []
    if config.layout != "diffusers":
        here, there = (c.parameters() / 1e6 for c in (config, replace(config, layout="diffusers")))
        wrong.append(f"embedders of timestep and label in every layer ({there:.4g} M parameters, not {here:.4g} M)")
    if config.intermediate_size != 4 * config.hidden_size:
        wrong.append("intermediate_size=4 * hidden_size")
    return wrong


def _inputs(call: Call) -> Inputs:
    return {
        "hidden_states": call.image(),
        "timestep": call.per_sample("steps"),
        "class_labels": call.per_sample("ids"),
    }


FORMATS = {
    "DiTTransformer2DModel": Format(
        family=DiTConfig,
        inputs=_inputs,
        sizes={
            "num_layers": "num_layers",
            "num_attention_heads": "num_attention_heads",
            "head_dim": "attention_head_dim",
            "patch_size": "patch_size",
            "in_channels": "in_channels",
        },
        options={"out_channels": ("out_channels", None), "num_classes": ("num_embeds_ada_norm", 1000)},
        constants={"layout": "diffusers", "vae_scale_factor": 8},
        legal={
            "norm_type": ("ada_norm_zero",),
            "activation_fn": ("gelu-approximate",),
            "attention_bias": (True,),
            "norm_elementwise_affine": (False,),
            "upcast_attention": (False,),
        },
        unwritten=("vae_scale_factor",),
        complete=_complete,
        obstacles=_obstacles,
    ),
}
