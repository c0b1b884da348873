"""The HunyuanVideo autoencoder: causal 3D convolutions over overlapping pieces of a video.

Kong et al. 2024, https://arxiv.org/abs/2412.03603; the module is diffusers' ``AutoencoderKLHunyuanVideo``. Sides shrink
by 8 and frames after the first by 4. Videos of five latent frames or more run in pieces of five that overlap by two;
what overlaps is computed twice and mixed. At the latents' resolution one attention of a single head looks at all
positions of a piece, under a mask of all their pairs, which is what a large picture's memory goes to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Ints, as_float
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
from archsearch.models.autoencoders.hunyuan_video_vae_blocks import Piece, is_cut
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.tally import Elements

TEMPORAL_STAGES = 2
"""Stages before the last whose change of resolution is in time too."""
TEMPORAL_FACTOR = 4
"""Frames per latent frame after the first, the only ``temporal_compression_ratio`` that the decoder takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HunyuanVideoVAEConfig(VideoAutoencoder):
    """Dimensions of an AutoencoderKLHunyuanVideo. Sizes, those of ``block_out_channels`` too, may be arrays.

    ``block_out_channels`` are the widths from the pixels to the latents; a stage has ``layers_per_block`` residual
    blocks in the encoder and one more in the decoder. ``spatial_compression_ratio`` is 2 to the power of how many
    stages, from the pixels on in the encoder and from the latents on in the decoder, change the sides.
    """

    family: ClassVar[str] = "hunyuan-video-vae"
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 720, "width": 1280, "frames": 129}

    block_out_channels: tuple[Dim, ...] = (128, 256, 512, 512)
    layers_per_block: Dim = 2
    latent_channels: Dim = 16
    norm_num_groups: Dim = 32
    spatial_compression_ratio: int = 8
    in_channels: Dim = 3
    out_channels: Dim = 3
    mid_block_add_attention: bool = True

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("layers_per_block", "latent_channels", "norm_num_groups", "in_channels", "out_channels")
        ratios = [2**n for n in range(len(self.block_out_channels) + 1)]
        return (
            *at_least_one(self, sizes),
            *positive_channels(self, ("block_out_channels",), np.asarray(self.norm_num_groups)),
            Requirement(
                reason=f"block_out_channels must be {TEMPORAL_STAGES + 1} or more: two changes are in time",
                holds=len(self.block_out_channels) > TEMPORAL_STAGES,
            ),
            Requirement(
                reason=f"spatial_compression_ratio must be one of {', '.join(map(str, ratios))}",
                holds=self.spatial_compression_ratio in ratios,
            ),
        )

    @property
    def vae_scale_factor(self) -> int:  # type: ignore[override]
        """Pixels per latent along a side."""
        return self.spatial_compression_ratio

    @property
    def vae_temporal_factor(self) -> int:  # type: ignore[override]
        """Frames per latent frame after the first."""
        return TEMPORAL_FACTOR

    @property
    def strides(self) -> tuple[tuple[int, int, int], ...]:
        """Factors in time, height and width by which each stage changes the resolution: the encoder's from the pixels,
        the decoder's from the latents."""
        stages = len(self.block_out_channels)
        spatial = self.spatial_compression_ratio.bit_length() - 1
        found = []
        for stage in range(stages):
            side = 2 if stage < spatial else 1
            found.append((2 if stages - 1 - TEMPORAL_STAGES <= stage < stages - 1 else 1, side, side))
        return tuple(found)

    def assemble(self, a: Assembly) -> None:
        latents, frames = self.grid(a.w), self.latent_frames(a.w)
        if self.encodes(a):
            self._encode(a, latents, frames)
        if self.decodes(a):
            self._decode(a, latents, frames)

    def _encode(self, a: Assembly, latents: Size, frames: Dim) -> None:
        moments = blocks.product(2, self.latent_channels)
        pixels = scaled(latents, self.vae_scale_factor)
        done: Elements = 0.0
        blends: Ints = np.asarray(0)
        for piece in Piece.of(a, "encoder", frames, self.norm_num_groups):
            own = elements(a, (piece.frames, *latents), moments)
            piece.held = done + np.maximum(piece.repeats - 1, 0) * own
            with piece.weights():
                self._encode_piece(piece, pixels)
            done, blends = done + piece.repeats * own, blends + piece.blends
        _join(a, "encoder", (frames, *latents), moments, blends)
        posterior(a, blocks.product(a.w.batch_size, frames, *latents), self.latent_channels)

    def _encode_piece(self, c: Piece, pixels: Size) -> None:
        widths, moments = self.block_out_channels, blocks.product(2, self.latent_channels)
        size: Size = (1 + TEMPORAL_FACTOR * (c.frames - 1), *pixels)
        with c.times():
            c.causal("conv_in", size, (self.in_channels, widths[0]), 0.0, is_data=True)
        before = widths[0]
        for stage, (width, stride) in enumerate(zip(widths, self.strides, strict=True)):
            name, given = f"down{stage}", elements(c.a, size, before)
            c.resnets(name, size, (before, width), self.layers_per_block)
            if max(stride) > 1:
                with c.times():
                    size = c.downsample(f"{name}.downsample", size, width, given, stride)
            before = width
        c.middle("mid", size, before, attends=self.mid_block_add_attention)
        self._head(c, size, before, moments)
        with c.times():
            c.a.convolution(f"{c.name}.quant_conv", moments, moments, (1, 1, 1), size)

    def _decode(self, a: Assembly, latents: Size, frames: Dim) -> None:
        pixels = scaled(latents, self.vae_scale_factor)
        done: Elements = 0.0
        blends: Ints = np.asarray(0)
        for piece in Piece.of(a, "decoder", frames, self.norm_num_groups):
            own = elements(a, (1 + TEMPORAL_FACTOR * (piece.frames - 1), *pixels), self.out_channels)
            piece.held = done + np.maximum(piece.repeats - 1, 0) * own
            with piece.weights():
                self._decode_piece(piece, latents)
            done, blends = done + piece.repeats * own, blends + piece.blends
        total = (1 + TEMPORAL_FACTOR * (np.asarray(frames) - 1), *pixels)
        _join(a, "decoder", total, self.out_channels, TEMPORAL_FACTOR * blends)
        a.alive(as_float(is_cut(frames)) * (done + elements(a, total, self.out_channels)))

    def _decode_piece(self, c: Piece, latents: Size) -> None:
        widths, channels = self.block_out_channels[::-1], self.latent_channels
        size: Size = (c.frames, *latents)
        given = elements(c.a, size, channels)
        c.held = c.held + given
        with c.times():
            c.a.convolution(f"{c.name}.post_quant_conv", channels, channels, (1, 1, 1), size)
            c.causal("conv_in", size, (channels, widths[0]), 0.0)
        c.middle("mid", size, widths[0], attends=self.mid_block_add_attention)
        before = widths[0]
        for stage, (width, stride) in enumerate(zip(widths, self.strides, strict=True)):
            name, given = f"up{stage}", elements(c.a, size, before)
            c.resnets(name, size, (before, width), np.asarray(self.layers_per_block) + 1)
            if max(stride) > 1:
                with c.times():
                    size = c.upsample(f"{name}.upsample", size, width, given, stride)
            before = width
        self._head(c, size, before, self.out_channels)

    def _head(self, c: Piece, size: Size, width: Dim, channels: Dim) -> None:
        one = elements(c.a, size, width)
        with c.times(carries=one):
            c.norm("norm_out", size, width)
            c.alive(2 * one)
            c.causal("conv_out", size, (width, channels), one)


def _join(a: Assembly, name: str, size: Size, channels: Dim, blends: Dim) -> None:
    """``blends`` frames mixed with those of the piece before, in their place, and what is new of each piece joined."""
    frames, *sides = size
    rows = blocks.product(a.w.batch_size, *sides)
    a.pointwise(f"{name}.blend.weigh", "mulu", rows, channels, calls=2 * np.asarray(blends))
    a.pointwise(f"{name}.blend.sum", "add", rows, channels, reads=2.0, calls=blends)
    a.pointwise(f"{name}.blend.place", "copy", rows, channels, calls=blends)
    more = (np.asarray(blends) > 0).astype(np.int64)
    a.pointwise(f"{name}.join", "cat", blocks.product(rows, frames), channels, calls=more)
