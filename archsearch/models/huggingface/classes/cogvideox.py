"""CogVideoX transformers of diffusers."""

from __future__ import annotations

from archsearch.errors import UnsupportedError
from archsearch.models.diffusion.cogvideox import CogVideoXConfig
from archsearch.models.huggingface.classes.calls import Call, Input, Inputs
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values


def _complete(fields: Fields, values: Values, where: str) -> None:
    fields["hidden_size"] = fields["num_attention_heads"] * fields["head_dim"]
    fields["out_channels"] = fields["out_channels"] or fields["in_channels"]
    patch_size_t = values.get("patch_size_t")
    if patch_size_t is None and values.get("patch_bias") is False:  # linear patches have a bias whatever it says
        raise UnsupportedError(f"{where}: patch_bias=false is not supported without patch_size_t")
    fields["linear_patches"] = patch_size_t is not None
    fields["patch_size_t"] = patch_size_t or 1


def _finish(config: CogVideoXConfig, document: Document) -> None:
    document["patch_size_t"] = int(config.patch_size_t) if config.linear_patches else None
    document["ofs_embed_dim"] = document["ofs_embed_dim"] or None


def _inputs(call: Call) -> Inputs:
    frames, (high, wide) = call.latent_frames(), call.latent_sides()
    inputs = {
        "hidden_states": call.noise(frames, call.document["in_channels"], high, wide),
        "encoder_hidden_states": call.words("text_embed_dim"),
        "timestep": call.per_sample("steps"),
    }
    if call.document.get("use_rotary_positional_embeddings"):
        tokens = frames * high * wide // call.document["patch_size"] ** 2
        for part in ("0", "1"):  # cosines and sines
            inputs[f"image_rotary_emb.{part}"] = Input("noise", (tokens, call.document["attention_head_dim"]))
    return inputs


FORMATS = {
    "CogVideoXTransformer3DModel": Format(
        family=CogVideoXConfig,
        inputs=_inputs,
        sizes={
            "num_layers": "num_layers",
            "num_attention_heads": "num_attention_heads",
            "head_dim": "attention_head_dim",
        },
        options={
            "in_channels": ("in_channels", 16),
            "out_channels": ("out_channels", 16),
            "text_embed_dim": ("text_embed_dim", 4096),
            "time_embed_dim": ("time_embed_dim", 512),
            "ofs_embed_dim": ("ofs_embed_dim", 0),
            "rotary": ("use_rotary_positional_embeddings", False),
            "text_seq_len": ("max_text_seq_length", 226),
            "patch_size": ("patch_size", 2),
            "vae_temporal_factor": ("temporal_compression_ratio", 4),
        },
        constants={"vae_scale_factor": 8},
        unwritten=("vae_scale_factor",),
        legal={
            "activation_fn": ("gelu-approximate",),
            "timestep_activation_fn": ("silu",),
            "attention_bias": (True,),
            "norm_elementwise_affine": (True,),
            "use_learned_positional_embeddings": (False,),
        },
        examined={"patch_size_t": int, "patch_bias": bool},
        immaterial=(
            *("flip_sin_to_cos", "freq_shift", "sample_width", "sample_height", "sample_frames"),
            *("spatial_interpolation_scale", "temporal_interpolation_scale"),
        ),
        complete=_complete,
        finish=_finish,
    ),
}
