"""Tensors that a Hugging Face class's forward pass takes, for a config and a workload: names, shapes, kinds.

Kinds: ``noise`` (normal numbers in the model's format), ``ids`` (token ids), ``ones`` (an integer mask), ``steps``
(timesteps, as integers), ``one`` (a one in the model's format), ``positions`` (rows of a position grid), ``number`` (a
plain integer, in place of the shape), ``none`` (None).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from archsearch.models.base import ModelConfig
from archsearch.models.modality import ImageModel
from archsearch.workload import Phase, Workload

Shape = tuple[int, ...]


class Input(NamedTuple):
    """One argument: its kind, and its shape (its value where it is a ``number``)."""

    kind: str
    shape: Shape | int


Inputs = dict[str, Input]
"""What one call takes, by argument; a dotted name is an item of a dictionary (or, with a number, of a tuple)."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of the class that ``document`` (see ``to_hf``) names: a single config, sizes as plain numbers."""

    document: Mapping[str, Any]
    config: ModelConfig
    workload: Workload

    @property
    def batch(self) -> int:
        return int(self.workload.batch_size)

    def size(self, name: str) -> int:
        """A size of the workload, which the config needs."""
        return int(getattr(self.workload, name))

    def field(self, name: str) -> int:
        """A whole number of the config."""
        return int(getattr(self.config, name))

    def noise(self, *after_batch: int) -> Input:
        """Normal numbers [batch, ...]."""
        return Input("noise", (self.batch, *after_batch))

    def per_sample(self, kind: str) -> Input:
        """One number a sample [batch]."""
        return Input(kind, (self.batch,))

    def latent_sides(self) -> tuple[int, int]:
        """Height and width of latents."""
        scale = self.field("vae_scale_factor")
        return self.size("height") // scale, self.size("width") // scale

    def latent_frames(self) -> int:
        """Frames of latents."""
        return 1 + (self.size("frames") - 1) // self.field("vae_temporal_factor")

    def image(self) -> Input:
        """[batch, channels, height, width] of latents."""
        return self.noise(self.document["in_channels"], *self.latent_sides())

    def video(self) -> Input:
        """[batch, channels, frames, height, width] of latents."""
        return self.noise(self.document["in_channels"], self.latent_frames(), *self.latent_sides())

    def text_tokens(self) -> int:
        """Tokens of the text that conditions a sample."""
        assert isinstance(self.config, ImageModel)
        return int(self.config.text_tokens(self.workload))

    def words(self, width_key: str) -> Input:
        """[batch, text tokens, width] of the text, as wide as the document says under ``width_key``."""
        return self.noise(self.text_tokens(), self.document[width_key])


def example_inputs(document: Mapping[str, Any], config: ModelConfig, workload: Workload) -> Inputs:
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
    return maker(_Call(document, config, workload))


def _text(call: _Call) -> Inputs:
    length = 1 if call.workload.phase is Phase.DECODE else call.size("seq_len")
    shape = (call.batch, length)
    return {"input_ids": Input("ids", shape), "attention_mask": Input("ones", shape)}


def _dit(call: _Call) -> Inputs:
    return {
        "hidden_states": call.image(),
        "timestep": call.per_sample("steps"),
        "class_labels": call.per_sample("ids"),
    }


def _captioned(call: _Call) -> Inputs:
    """Latents, the caption and timesteps."""
    return {
        "hidden_states": call.image(),
        "encoder_hidden_states": call.words("caption_channels"),
        "timestep": call.per_sample("steps"),
    }


def _pixart(call: _Call) -> Inputs:
    conditions = bool(call.document.get("use_additional_conditions"))
    return {
        **_captioned(call),
        "added_cond_kwargs.resolution": call.noise(2) if conditions else Input("none", ()),
        "added_cond_kwargs.aspect_ratio": call.noise(1) if conditions else Input("none", ()),
    }


def _sd3(call: _Call) -> Inputs:
    return {
        "hidden_states": call.image(),
        "encoder_hidden_states": call.words("joint_attention_dim"),
        "pooled_projections": call.noise(call.document["pooled_projection_dim"]),
        "timestep": call.per_sample("steps"),
    }


def _guided(call: _Call) -> Inputs:
    """The scale that a guidance-distilled model takes."""
    return {"guidance": call.per_sample("one")} if call.document.get("guidance_embeds") else {}


def _flux(call: _Call) -> Inputs:
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
        **_guided(call),
    }


def _wan(call: _Call) -> Inputs:
    inputs = {
        "hidden_states": call.video(),
        "encoder_hidden_states": call.words("text_dim"),
        "timestep": call.per_sample("steps"),
    }
    if call.document.get("image_dim"):
        inputs["encoder_hidden_states_image"] = call.noise(257, call.document["image_dim"])
    return inputs


def _ltx(call: _Call) -> Inputs:
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


def _hunyuan(call: _Call) -> Inputs:
    return {
        "hidden_states": call.video(),
        "timestep": call.per_sample("steps"),
        "encoder_hidden_states": call.words("text_embed_dim"),
        "encoder_attention_mask": Input("ones", (call.batch, call.text_tokens())),
        "pooled_projections": call.noise(call.document["pooled_projection_dim"]),
        **_guided(call),
    }


def _cogvideox(call: _Call) -> Inputs:
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


def method_of(document: Mapping[str, Any], workload: Workload) -> str:
    """The method that runs a workload's phase: ``encode`` or ``decode`` of an autoencoder, "" for the module's call."""
    is_autoencoder = _DIFFUSERS.get(str(document.get("_class_name"))) is _autoencoder
    return workload.phase.value if is_autoencoder and workload.phase in (Phase.ENCODE, Phase.DECODE) else ""


def _autoencoder(call: _Call) -> Inputs:
    """Pixels of the whole autoencoder and of its encoder; its decoder's latents."""
    phase, of_videos = call.workload.phase, hasattr(call.config, "vae_temporal_factor")
    if phase is Phase.DECODE:
        frames = (call.latent_frames(),) if of_videos else ()
        inputs = {"z": call.noise(call.field("latent_channels"), *frames, *call.latent_sides())}
    else:
        frames = (call.size("frames"),) if of_videos else ()
        pixels = call.noise(3, *frames, call.size("height"), call.size("width"))
        inputs = {"x" if phase is Phase.ENCODE else "sample": pixels}
    if call.document.get("timestep_conditioning") and phase is not Phase.ENCODE:
        inputs["temb"] = call.per_sample("one")
    return inputs


_DIFFUSERS: dict[str, Callable[[_Call], Inputs]] = {
    "DiTTransformer2DModel": _dit,
    "PixArtTransformer2DModel": _pixart,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux,
    "SanaTransformer2DModel": _captioned,
    "WanTransformer3DModel": _wan,
    "LTXVideoTransformer3DModel": _ltx,
    "HunyuanVideoTransformer3DModel": _hunyuan,
    "CogVideoXTransformer3DModel": _cogvideox,
    "AutoencoderKL": _autoencoder,
    "AutoencoderDC": _autoencoder,
    "AutoencoderKLWan": _autoencoder,
    "AutoencoderKLLTXVideo": _autoencoder,
}
