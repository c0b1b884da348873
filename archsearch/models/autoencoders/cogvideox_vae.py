"""The CogVideoX autoencoder: causal 3D convolutions over videos, a few frames at a time.

Yang et al. 2024, https://arxiv.org/abs/2408.06072; the module is diffusers' ``AutoencoderKLCogVideoX``. Sides shrink by
8 and frames after the first by 4. The encoder runs eight frames at a time, the decoder two latent frames, the first
chunk with what is left over; every causal convolution keeps two frames for the next chunk. The decoder's norms are
scaled and shifted by the latents themselves, at every resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, as_float
from archsearch.models import blocks
from archsearch.models.assembly import Assembly
from archsearch.models.autoencoders.autoencoder import (
    Size,
    VideoAutoencoder,
    elements,
    positive_channels,
    posterior,
    scaled,
)
from archsearch.models.autoencoders.cogvideox_vae_blocks import Chunk
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.tally import Elements

SAMPLE_FRAMES = 8
"""Frames that the encoder takes at once (``num_sample_frames_batch_size``)."""
LATENT_FRAMES = 2
"""Latent frames that the decoder takes at once (``num_latent_frames_batch_size``)."""
MIDDLE = 2
"""Residual blocks at the latents' resolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CogVideoXVAEConfig(VideoAutoencoder):
    """Dimensions of an AutoencoderKLCogVideoX. Sizes, those of ``block_out_channels`` too, may be arrays.

    ``block_out_channels`` are the widths from the pixels to the latents; a stage has ``layers_per_block`` residual
    blocks in the encoder and one more in the decoder. ``temporal_compression_ratio`` is 2 to the power of how many
    changes of resolution, from the pixels on in the encoder and from the latents on in the decoder, are in time too.
    """

    family: ClassVar[str] = "cogvideox-vae"
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 480, "width": 720, "frames": 49}

    block_out_channels: tuple[Dim, ...] = (128, 256, 256, 512)
    layers_per_block: Dim = 3
    latent_channels: Dim = 16
    norm_num_groups: Dim = 32
    temporal_compression_ratio: int = 4
    in_channels: Dim = 3
    out_channels: Dim = 3

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("layers_per_block", "latent_channels", "norm_num_groups", "in_channels", "out_channels")
        ratios = [2**n for n in range(len(self.block_out_channels))]
        return (
            *at_least_one(self, sizes),
            *positive_channels(self, ("block_out_channels",), np.asarray(self.norm_num_groups)),
            Requirement(
                reason=f"temporal_compression_ratio must be one of {', '.join(map(str, ratios))}",
                holds=self.temporal_compression_ratio in ratios,
            ),
        )

    @property
    def vae_scale_factor(self) -> int:  # type: ignore[override]
        """Pixels per latent along a side."""
        return int(2 ** (len(self.block_out_channels) - 1))

    @property
    def vae_temporal_factor(self) -> int:  # type: ignore[override]
        """Frames per latent frame after the first."""
        return self.temporal_compression_ratio

    @property
    def _temporal_stages(self) -> int:
        return self.temporal_compression_ratio.bit_length() - 1

    def assemble(self, a: Assembly) -> None:
        latents, frames = self.grid(a.w), self.latent_frames(a.w)
        if self.encodes(a):
            self._encode(a, latents, frames)
        if self.decodes(a):
            self._decode(a, latents, frames)

    def _encode(self, a: Assembly, latents: Size, frames: Dim) -> None:
        moments = blocks.product(2, self.latent_channels)
        size = scaled(latents, self.vae_scale_factor)
        total = 1 + (np.asarray(frames) - 1) * self.temporal_compression_ratio
        done: Elements = 0.0
        for chunk in Chunk.of(a, "encoder", total, SAMPLE_FRAMES):
            chunk.held = done
            with chunk.weights():
                after = self._encode_chunk(chunk, size)
            done = done + chunk.repeats * elements(a, (after, *latents), moments)
        rows = blocks.product(a.w.batch_size, frames, *latents)
        a.pointwise("encoder.join", "cat", rows, moments)
        posterior(a, rows, self.latent_channels)

    def _encode_chunk(self, c: Chunk, size: Size) -> Dim:
        widths, frames = self.block_out_channels, c.frames
        with c.times():
            c.causal("conv_in", frames, size, (self.in_channels, widths[0]), 0.0)
        before = widths[0]
        for stage, width in enumerate(widths):
            name, given = f"down{stage}", c.elements(frames, size, before)
            c.resnets(name, frames, size, (before, width), self.layers_per_block, None, gathered=stage > 0)
            if stage < len(widths) - 1:
                with c.times():
                    frames, size = c.downsample(
                        f"{name}.resample", frames, size, width, given, temporal=stage < self._temporal_stages
                    )
            before = width
        c.resnets("mid", frames, size, (before, before), MIDDLE, None)
        self._head(c, frames, size, before, blocks.product(2, self.latent_channels), None)
        return frames

    def _decode(self, a: Assembly, latents: Size, frames: Dim) -> None:
        size = scaled(latents, self.vae_scale_factor)
        done: Elements = 0.0
        rows: Dim = 0
        for chunk in Chunk.of(a, "decoder", frames, LATENT_FRAMES):
            chunk.held = done
            with chunk.weights():
                after = self._decode_chunk(chunk, latents)
            done = done + chunk.repeats * elements(a, (after, *size), self.out_channels)
            rows = rows + chunk.repeats * blocks.product(a.w.batch_size, after, *size)
        a.pointwise("decoder.join", "cat", rows, self.out_channels)
        a.alive(as_float(2 * done) + chunk.left())

    def _decode_chunk(self, c: Chunk, size: Size) -> Dim:
        widths, frames = self.block_out_channels[::-1], c.frames
        latents = (frames, *size, self.latent_channels)
        with c.times():
            c.causal("conv_in", frames, size, (self.latent_channels, widths[0]), 0.0)
        c.resnets("mid", frames, size, (widths[0], widths[0]), MIDDLE, latents)
        before = widths[0]
        for stage, width in enumerate(widths):
            name, given = f"up{stage}", c.elements(frames, size, before)
            count = np.asarray(self.layers_per_block) + 1
            c.resnets(name, frames, size, (before, width), count, latents, gathered=stage > 0)
            if stage < len(widths) - 1:
                with c.times():
                    frames, size = c.upsample(
                        f"{name}.resample", frames, size, width, given, temporal=stage < self._temporal_stages
                    )
            before = width
        self._head(c, frames, size, before, self.out_channels, latents)
        return frames

    def _head(self, c: Chunk, frames: Dim, size: Size, width: Dim, channels: Dim, latents: Size | None) -> None:
        one = c.elements(frames, size, width)
        with c.times(carries=one):
            c.norm("norm_out", frames, size, width, latents, one)
            c.causal("conv_out", frames, size, (width, channels), one)
