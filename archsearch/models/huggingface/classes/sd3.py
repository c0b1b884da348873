"""Stable Diffusion 3 transformers of diffusers."""

from __future__ import annotations

from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models.diffusion.sd3 import SD3Config
from archsearch.models.huggingface.classes.calls import Call, Inputs
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values


def _complete(fields: Fields, values: Values, where: str) -> None:
    """The width follows from the heads and is the text's too; layers that attend twice must be the first ones.

    Raises:
        InvalidInputError: a text width that the blocks could not take.
        UnsupportedError: another query-key norm, or other layers attend twice.
    """
    width = fields["num_attention_heads"] * fields["head_dim"]
    text = values.get("caption_projection_dim", 1152)
    if text != width:
        raise InvalidInputError(f"{where}: caption_projection_dim {text} must be num_attention_heads times head_dim")
    if values.get("qk_norm") not in (None, "rms_norm"):
        raise UnsupportedError(f"{where}: qk_norm={values['qk_norm']!r} is not supported, only null or 'rms_norm'")
    dual = values.get("dual_attention_layers") or []
    if not isinstance(dual, list | tuple) or list(dual) != list(range(len(dual))):
        raise UnsupportedError(f"{where}: dual_attention_layers={dual} is not supported, only the first: [0, 1, ...]")
    fields["hidden_size"] = width
    fields["qk_norm"] = values.get("qk_norm") is not None
    fields["num_dual_attention_layers"] = len(dual)
    fields["out_channels"] = fields["out_channels"] or fields["in_channels"]


def _finish(config: SD3Config, document: Document) -> None:
    document["caption_projection_dim"] = config.hidden_size
    document["qk_norm"] = "rms_norm" if config.qk_norm else None
    document["dual_attention_layers"] = list(range(config.num_dual_attention_layers))


def _inputs(call: Call) -> Inputs:
    return {
        "hidden_states": call.image(),
        "encoder_hidden_states": call.words("joint_attention_dim"),
        "pooled_projections": call.noise(call.document["pooled_projection_dim"]),
        "timestep": call.per_sample("steps"),
    }


FORMATS = {
    "SD3Transformer2DModel": Format(
        family=SD3Config,
        inputs=_inputs,
        sizes={
            "num_layers": "num_layers",
            "num_attention_heads": "num_attention_heads",
            "head_dim": "attention_head_dim",
        },
        options={
            "patch_size": ("patch_size", 2),
            "in_channels": ("in_channels", 16),
            "out_channels": ("out_channels", None),
            "joint_attention_dim": ("joint_attention_dim", 4096),
            "pooled_projection_dim": ("pooled_projection_dim", 2048),
            "pos_embed_max_size": ("pos_embed_max_size", 96),
        },
        constants={"text_seq_len": 333, "vae_scale_factor": 8},
        unwritten=("text_seq_len", "vae_scale_factor"),
        examined={"caption_projection_dim": int, "qk_norm": str, "dual_attention_layers": tuple[int, ...]},
        complete=_complete,
        finish=_finish,
    ),
}
