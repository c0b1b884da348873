"""AutoencoderDC of diffusers."""

from __future__ import annotations

import json
from collections.abc import Sequence

from archsearch.errors import UnsupportedError
from archsearch.models.autoencoders.dc import NORMS, AutoencoderDCConfig
from archsearch.models.huggingface.classes.calls import autoencoder_inputs
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values

_RESIDUAL, _ATTENDING = "ResBlock", "EfficientViTBlock"
_DOWNSAMPLING = {"conv": "Conv", "pixel_unshuffle": "pixel_unshuffle"}
_PAIRED = {
    "block_types": str | tuple[str, ...],
    "block_out_channels": tuple[int, ...],
    "qkv_multiscales": tuple[tuple[int, ...], ...],
}
"""Keys that the encoder and the decoder have each, and must agree on, with their kinds."""


def _refuse(where: str, key: str, value: object, only: str) -> None:
    raise UnsupportedError(f"{where}: {key}={json.dumps(value)} is not supported, only {only}")


def _every_stage(value: str | Sequence[str], stages: int) -> list[str]:
    return [value] * stages if isinstance(value, str) else list(value)


def _complete(fields: Fields, values: Values, where: str) -> None:
    stages = len(fields["block_out_channels"])
    _refuse_halves_that_differ(values, where)
    types = _every_stage(values.get("encoder_block_types") or _RESIDUAL, stages)
    residual = types.count(_RESIDUAL)
    if types != [_RESIDUAL] * residual + [_ATTENDING] * (stages - residual) or not residual:
        _refuse(where, "encoder_block_types", types, f"{_RESIDUAL} for the first stages and {_ATTENDING} for the rest")
    fields["residual_stages"] = residual
    fields["qkv_multiscale"] = _multiscale(values.get("encoder_qkv_multiscales"), residual, where)
    fields["decoder_norm"] = _norm(values, residual, stages, where)
    unshuffles = (
        values.get("downsample_block_type", "pixel_unshuffle") == "pixel_unshuffle"
    )  # all else is a convolution
    fields["downsample_block_type"] = "pixel_unshuffle" if unshuffles else "conv"


def _refuse_halves_that_differ(values: Values, where: str) -> None:
    for key in _PAIRED:
        encoder, decoder = (values.get(f"{half}_{key}") for half in ("encoder", "decoder"))
        if encoder != decoder:
            _refuse(where, f"decoder_{key}", decoder, f"the encoder's, {json.dumps(encoder)}")


def _multiscale(scales: Sequence[Sequence[int]] | None, residual: int, where: str) -> int:
    """The kernel size that all attending stages share, 0 without."""
    attending = [list(kernels) for kernels in scales or ()][residual:]
    if any(kernels != attending[0] for kernels in attending) or any(len(kernels) > 1 for kernels in attending):
        _refuse(where, "encoder_qkv_multiscales", scales, "at most one kernel size, the same in all stages that attend")
    return int(attending[0][0]) if attending and attending[0] else 0


def _norm(values: Values, residual: int, stages: int, where: str) -> str:
    norms = _every_stage(values.get("decoder_norm_types") or "rms_norm", stages)
    activations = _every_stage(values.get("decoder_act_fns") or "silu", stages)
    rest = ["rms_norm"] * (stages - residual)
    for norm, activation in NORMS.items():
        if norms == [norm] * residual + rest and activations[:residual] == [activation] * residual:
            return norm
    pairs = " or ".join(f"{norm} with {activation}" for norm, activation in NORMS.items())
    _refuse(where, "decoder_norm_types", norms, f"{pairs} in residual stages and rms_norm in the rest")
    raise AssertionError


def _finish(config: AutoencoderDCConfig, document: Document) -> None:
    residual = int(config.residual_stages)
    attending = len(config.block_out_channels) - residual
    scales = [int(config.qkv_multiscale)] if config.qkv_multiscale else []
    for half in ("encoder", "decoder"):
        document[f"{half}_block_types"] = [_RESIDUAL] * residual + [_ATTENDING] * attending
        document[f"{half}_block_out_channels"] = [int(width) for width in config.block_out_channels]
        document[f"{half}_layers_per_block"] = list(document[f"{half}_layers_per_block"])
        document[f"{half}_qkv_multiscales"] = [[]] * residual + [scales] * attending
    document["decoder_norm_types"] = [config.decoder_norm] * residual + ["rms_norm"] * attending
    document["decoder_act_fns"] = [NORMS[config.decoder_norm]] * residual + ["silu"] * attending
    document["downsample_block_type"] = _DOWNSAMPLING[config.downsample_block_type]


FORMATS = {
    "AutoencoderDC": Format(
        family=AutoencoderDCConfig,
        inputs=autoencoder_inputs,
        sizes={
            "block_out_channels": "encoder_block_out_channels",
            "encoder_layers_per_block": "encoder_layers_per_block",
            "decoder_layers_per_block": "decoder_layers_per_block",
        },
        options={
            "latent_channels": ("latent_channels", 32),
            "attention_head_dim": ("attention_head_dim", 32),
            "in_channels": ("in_channels", 3),
            "upsample_block_type": ("upsample_block_type", "pixel_shuffle"),
        },
        legal={"encoder_out_shortcut": (True,), "decoder_in_shortcut": (True,), "decoder_conv_act_fn": ("relu",)},
        examined={
            **{f"{half}_{key}": kind for half in ("encoder", "decoder") for key, kind in _PAIRED.items()},
            **dict.fromkeys(("decoder_norm_types", "decoder_act_fns"), str | tuple[str, ...]),
            "downsample_block_type": str,
        },
        immaterial=("scaling_factor",),
        complete=_complete,
        finish=_finish,
    ),
}
