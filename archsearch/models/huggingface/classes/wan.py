"""Wan transformers of diffusers."""

from __future__ import annotations

from archsearch.errors import UnsupportedError
from archsearch.models.diffusion.wan import WanConfig
from archsearch.models.huggingface.classes.calls import Call, Inputs
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values


def _complete(fields: Fields, values: Values, where: str) -> None:
    fields["hidden_size"] = fields["num_attention_heads"] * fields["head_dim"]
    patch = list(values.get("patch_size") or (1, 2, 2))
    if len(patch) != 3 or patch[1] != patch[2]:
        raise UnsupportedError(f"{where}: patch_size={patch} is not supported, only [time, side, side]")
    fields["patch_size_t"], fields["patch_size"] = patch[:2]
    added = values.get("added_kv_proj_dim")
    if bool(added) != bool(fields["image_dim"]) or added not in (None, fields["hidden_size"]):
        raise UnsupportedError(
            f"{where}: added_kv_proj_dim={added} is not supported: {fields['hidden_size']} beside image_dim, or none"
        )


def _finish(config: WanConfig, document: Document) -> None:
    document["patch_size"] = [int(config.patch_size_t), int(config.patch_size), int(config.patch_size)]
    document["image_dim"] = document["image_dim"] or None
    document["added_kv_proj_dim"] = int(config.hidden_size) if config.has_image else None


def _inputs(call: Call) -> Inputs:
    inputs = {
        "hidden_states": call.video(),
        "encoder_hidden_states": call.words("text_dim"),
        "timestep": call.per_sample("steps"),
    }
    if call.document.get("image_dim"):
        inputs["encoder_hidden_states_image"] = call.noise(257, call.document["image_dim"])
    return inputs


FORMATS = {
    "WanTransformer3DModel": Format(
        family=WanConfig,
        inputs=_inputs,
        sizes={
            "num_layers": "num_layers",
            "num_attention_heads": "num_attention_heads",
            "head_dim": "attention_head_dim",
            "intermediate_size": "ffn_dim",
        },
        options={
            "in_channels": ("in_channels", 16),
            "out_channels": ("out_channels", 16),
            "text_dim": ("text_dim", 4096),
            "freq_dim": ("freq_dim", 256),
            "image_dim": ("image_dim", 0),
        },
        constants={"vae_scale_factor": 8, "vae_temporal_factor": 4, "text_seq_len": 512},
        unwritten=("vae_scale_factor", "vae_temporal_factor", "text_seq_len"),
        legal={
            "cross_attn_norm": (True,),
            "qk_norm": ("rms_norm_across_heads",),
            "pos_embed_seq_len": (None,),
        },
        examined={"patch_size": tuple[int, ...], "added_kv_proj_dim": int},
        immaterial=("eps", "rope_max_seq_len", "window_size", "add_img_emb"),
        complete=_complete,
        finish=_finish,
    ),
}
