"""Tensors that one call of a Hugging Face class takes: names, shapes, kinds; what the families' classes share.

Kinds: ``noise`` (normal numbers in the model's format), ``ids`` (token ids), ``ones`` (an integer mask), ``steps``
(timesteps, as integers), ``one`` (a one in the model's format), ``positions`` (rows of a position grid), ``number`` (a
plain integer, in place of the shape), ``none`` (None).
"""

from __future__ import annotations

from collections.abc import Mapping
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
class Call:
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


def text_inputs(call: Call) -> Inputs:
    """Token ids and their mask."""
    length = 1 if call.workload.phase is Phase.DECODE else call.size("seq_len")
    shape = (call.batch, length)
    return {"input_ids": Input("ids", shape), "attention_mask": Input("ones", shape)}


def captioned(call: Call) -> Inputs:
    """Latents of an image, its caption and the timesteps."""
    return {
        "hidden_states": call.image(),
        "encoder_hidden_states": call.words("caption_channels"),
        "timestep": call.per_sample("steps"),
    }


def guided(call: Call) -> Inputs:
    """The scale that a guidance-distilled model takes."""
    return {"guidance": call.per_sample("one")} if call.document.get("guidance_embeds") else {}


def autoencoder_inputs(call: Call) -> Inputs:
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
