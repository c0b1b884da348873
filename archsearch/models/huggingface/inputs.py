"""Tensors that a Hugging Face class's forward pass takes, for a config and a workload: names, shapes, kinds.

Kinds: ``noise`` (normal numbers in the model's format), ``ids`` (token ids), ``ones`` (an integer mask), ``steps``
(timesteps, as integers), ``one`` (a one in the model's format), ``positions`` (rows of a position grid), ``number`` (a
plain integer, in place of the shape).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archsearch.workload import Phase, Workload

Inputs = dict[str, tuple[str, Any]]
"""Argument → (kind, shape), or (``number``, value)."""


def example_inputs(document: Mapping[str, Any], config: Any, workload: Workload) -> Inputs:
    """Inputs of the class that ``document`` (see ``to_hf``) names, one call of the workload.

    Raises:
        InvalidInputError: a size that the model needs and the workload lacks.
        UnsupportedError: a phase that the model does not have.
    """
    config.lower(workload)  # refuses workloads that do not fit the model
    name = document.get("_class_name")
    maker = _DIFFUSERS.get(str(name)) if name else _text
    if maker is None:
        raise KeyError(f"no example inputs for {name}")
    return maker(document, config, workload)


def _text(document: Mapping[str, Any], config: Any, w: Workload) -> Inputs:
    length = 1 if w.phase is Phase.DECODE else w.seq_len
    return {"input_ids": ("ids", (w.batch_size, length)), "attention_mask": ("ones", (w.batch_size, length))}


def _latent(document: Mapping[str, Any], config: Any, w: Workload) -> tuple[Any, ...]:
    """[batch, channels, height, width] of latents."""
    scale = int(config.vae_scale_factor)
    return (w.batch_size, document["in_channels"], w.height // scale, w.width // scale)  # type: ignore[operator]


def _video(document: Mapping[str, Any], config: Any, w: Workload) -> tuple[Any, ...]:
    """[batch, channels, frames, height, width] of latents."""
    batch, channels, high, wide = _latent(document, config, w)
    frames = 1 + (w.frames - 1) // int(config.vae_temporal_factor)  # type: ignore[operator]
    return (batch, channels, frames, high, wide)


def _words(width: int, config: Any, w: Workload) -> tuple[str, tuple[Any, ...]]:
    return ("noise", (w.batch_size, int(config.text_tokens(w)), width))


def _dit(document: Mapping[str, Any], config: Any, w: Workload) -> Inputs:
    return {
        "hidden_states": ("noise", _latent(document, config, w)),
        "timestep": ("steps", (w.batch_size,)),
        "class_labels": ("ids", (w.batch_size,)),
    }


def _pixart(document: Mapping[str, Any], config: Any, w: Workload) -> Inputs:
    inputs: Inputs = {
        "hidden_states": ("noise", _latent(document, config, w)),
        "encoder_hidden_states": _words(document["caption_channels"], config, w),
        "timestep": ("steps", (w.batch_size,)),
    }
    if document.get("use_additional_conditions"):
        inputs["added_cond_kwargs.resolution"] = ("noise", (w.batch_size, 2))
        inputs["added_cond_kwargs.aspect_ratio"] = ("noise", (w.batch_size, 1))
    else:
        inputs["added_cond_kwargs.resolution"] = ("none", ())
        inputs["added_cond_kwargs.aspect_ratio"] = ("none", ())
    return inputs


def _sd3(document: Mapping[str, Any], config: Any, w: Workload) -> Inputs:
    return {
        "hidden_states": ("noise", _latent(document, config, w)),
        "encoder_hidden_states": _words(document["joint_attention_dim"], config, w),
        "pooled_projections": ("noise", (w.batch_size, document["pooled_projection_dim"])),
        "timestep": ("steps", (w.batch_size,)),
    }


def _flux(document: Mapping[str, Any], config: Any, w: Workload) -> Inputs:
    high, wide = config.grid(w)
    tokens = int(high) * int(wide) * (1 + int(config.reference_images))
    words = _words(document["joint_attention_dim"], config, w)
    inputs: Inputs = {
        "hidden_states": ("noise", (w.batch_size, tokens, document["in_channels"])),
        "encoder_hidden_states": words,
        "pooled_projections": ("noise", (w.batch_size, document["pooled_projection_dim"])),
        "timestep": ("one", (w.batch_size,)),
        "img_ids": ("positions", (tokens, 3)),
        "txt_ids": ("positions", (words[1][1], 3)),
    }
    if document.get("guidance_embeds"):
        inputs["guidance"] = ("one", (w.batch_size,))
    return inputs


def _sana(document: Mapping[str, Any], config: Any, w: Workload) -> Inputs:
    return {
        "hidden_states": ("noise", _latent(document, config, w)),
        "encoder_hidden_states": _words(document["caption_channels"], config, w),
        "timestep": ("steps", (w.batch_size,)),
    }


def _wan(document: Mapping[str, Any], config: Any, w: Workload) -> Inputs:
    inputs: Inputs = {
        "hidden_states": ("noise", _video(document, config, w)),
        "encoder_hidden_states": _words(document["text_dim"], config, w),
        "timestep": ("steps", (w.batch_size,)),
    }
    if document.get("image_dim"):
        inputs["encoder_hidden_states_image"] = ("noise", (w.batch_size, 257, document["image_dim"]))
    return inputs


def _ltx(document: Mapping[str, Any], config: Any, w: Workload) -> Inputs:
    batch, channels, frames, high, wide = _video(document, config, w)
    words = _words(document["caption_channels"], config, w)
    return {
        "hidden_states": ("noise", (batch, frames * high * wide, channels)),
        "encoder_hidden_states": words,
        "timestep": ("steps", (batch,)),
        "encoder_attention_mask": ("ones", words[1][:2]),
        "num_frames": ("number", frames),
        "height": ("number", high),
        "width": ("number", wide),
    }


def _hunyuan(document: Mapping[str, Any], config: Any, w: Workload) -> Inputs:
    words = _words(document["text_embed_dim"], config, w)
    inputs: Inputs = {
        "hidden_states": ("noise", _video(document, config, w)),
        "timestep": ("steps", (w.batch_size,)),
        "encoder_hidden_states": words,
        "encoder_attention_mask": ("ones", words[1][:2]),
        "pooled_projections": ("noise", (w.batch_size, document["pooled_projection_dim"])),
    }
    if document.get("guidance_embeds"):
        inputs["guidance"] = ("one", (w.batch_size,))
    return inputs


def _cogvideox(document: Mapping[str, Any], config: Any, w: Workload) -> Inputs:
    batch, channels, frames, high, wide = _video(document, config, w)
    inputs: Inputs = {
        "hidden_states": ("noise", (batch, frames, channels, high, wide)),
        "encoder_hidden_states": _words(document["text_embed_dim"], config, w),
        "timestep": ("steps", (batch,)),
    }
    if document.get("use_rotary_positional_embeddings"):
        tokens = frames * high * wide // document["patch_size"] ** 2
        for part in ("0", "1"):  # cosines and sines
            inputs[f"image_rotary_emb.{part}"] = ("noise", (tokens, document["attention_head_dim"]))
    return inputs


def method_of(document: Mapping[str, Any], workload: Workload) -> str:
    """The method that runs a workload's phase: ``encode`` or ``decode`` of an autoencoder, "" for the module's call."""
    is_autoencoder = _DIFFUSERS.get(str(document.get("_class_name"))) is _autoencoder
    return workload.phase.value if is_autoencoder and workload.phase in (Phase.ENCODE, Phase.DECODE) else ""


def _autoencoder(document: Mapping[str, Any], config: Any, w: Workload) -> Inputs:
    """Pixels of the whole autoencoder and of its encoder; its decoder's latents."""
    time_factor = getattr(config, "vae_temporal_factor", None)
    frames = () if time_factor is None else (w.frames,)
    if w.phase is not Phase.DECODE:
        pixels = (w.batch_size, 3, *frames, w.height, w.width)
        inputs: Inputs = {"x" if w.phase is Phase.ENCODE else "sample": ("noise", pixels)}
    else:
        if time_factor is not None:
            frames = (1 + (int(w.frames) - 1) // int(time_factor),)  # type: ignore[arg-type]
        sides = tuple(int(side) // int(config.vae_scale_factor) for side in (w.height, w.width))  # type: ignore[arg-type]
        inputs = {"z": ("noise", (w.batch_size, int(config.latent_channels), *frames, *sides))}
    if document.get("timestep_conditioning") and w.phase is not Phase.ENCODE:
        inputs["temb"] = ("one", (w.batch_size,))
    return inputs


_DIFFUSERS: dict[str, Callable[[Mapping[str, Any], Any, Workload], Inputs]] = {
    "DiTTransformer2DModel": _dit,
    "PixArtTransformer2DModel": _pixart,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux,
    "SanaTransformer2DModel": _sana,
    "WanTransformer3DModel": _wan,
    "LTXVideoTransformer3DModel": _ltx,
    "HunyuanVideoTransformer3DModel": _hunyuan,
    "CogVideoXTransformer3DModel": _cogvideox,
    "AutoencoderKL": _autoencoder,
    "AutoencoderDC": _autoencoder,
    "AutoencoderKLWan": _autoencoder,
    "AutoencoderKLLTXVideo": _autoencoder,
}
