"""The Wan 2.1 autoencoder: causal 3D convolutions over videos, a few frames at a time.

Wan Team 2025, https://arxiv.org/abs/2503.20314; the module is diffusers' ``AutoencoderKLWan``. Sides shrink by 8 and
frames after the first by 4. The first frame runs alone, then four frames (one latent frame) at a time; every causal
convolution keeps the last two frames of its input for the next chunk, so that memory hardly grows with the video's
length: these caches, and the chunk that runs, are the peak. Norms divide by the channels' length in 32 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from archsearch.arrays import Dim, Ints, as_float
from archsearch.models import blocks
from archsearch.models.assembly import Assembly
from archsearch.models.autoencoders.autoencoder import Size, VideoAutoencoder, elements, everywhere, posterior, scaled
from archsearch.models.autoencoders.causal_chunks import Chunk
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.tally import Elements

CHUNK_FRAMES = 4
"""Frames that run at once after the first (``AutoencoderKLWan._encode``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WanVAEConfig(VideoAutoencoder):
    """Dimensions of an AutoencoderKLWan. Sizes (``Dim``) and entries of ``dim_mult`` may be arrays that broadcast.

    ``dim_mult`` times ``base_dim`` are the widths from the pixels to the latents; a stage has ``layers_per_block``
    residual blocks in the encoder and one more in the decoder. ``temporal_downsample`` tells of each change of
    resolution, from the pixels on, whether it halves the frames too; two of them do.
    """

    family: ClassVar[str] = "wan-vae"
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 480, "width": 832, "frames": 81}

    base_dim: Dim = 96
    dim_mult: tuple[Dim, ...] = (1, 2, 4, 4)
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    latent_channels: Dim = 16
    layers_per_block: Dim = 2
    in_channels: Dim = 3
    out_channels: Dim = 3

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("base_dim", "latent_channels", "layers_per_block", "in_channels", "out_channels")
        positive = everywhere(np.asarray(m) >= 1 for m in self.dim_mult)
        even = everywhere(np.asarray(w) % 2 == 0 for w in self.widths[1:])
        return (
            *at_least_one(self, sizes),
            Requirement(reason="dim_mult must be positive", holds=positive & (len(self.dim_mult) > 0)),
            Requirement(reason="base_dim times dim_mult must be even after the first", holds=even),
            Requirement(
                reason="temporal_downsample must tell of every stage but the last",
                holds=len(self.temporal_downsample) == len(self.dim_mult) - 1,
            ),
            Requirement(
                reason=f"two of temporal_downsample must be true: chunks are {CHUNK_FRAMES} frames",
                holds=sum(self.temporal_downsample) == 2,
            ),
        )

    @property
    def widths(self) -> tuple[Ints, ...]:
        """Channels of the stages from the pixels to the latents."""
        return tuple(np.asarray(self.base_dim) * np.asarray(m) for m in self.dim_mult)

    @property
    def vae_scale_factor(self) -> int:  # type: ignore[override]
        """Pixels per latent along a side."""
        return int(2 ** (len(self.dim_mult) - 1))

    @property
    def vae_temporal_factor(self) -> int:  # type: ignore[override]
        """Frames per latent frame after the first."""
        return int(2 ** sum(self.temporal_downsample))

    def assemble(self, a: Assembly) -> None:
        latents, frames = self.grid(a.w), self.latent_frames(a.w)
        if self.encodes(a):
            self._encode(a, latents, frames)
        if self.decodes(a):
            self._decode(a, latents, frames)

    def _encode(self, a: Assembly, latents: Size, frames: Dim) -> None:
        moments = blocks.product(2, self.latent_channels)
        for chunk in Chunk.of(a, "encoder", frames):
            with chunk.weights():
                self._encode_chunk(chunk, scaled(latents, self.vae_scale_factor), CHUNK_FRAMES if chunk.known else 1)
        self._join(a, "encoder.join", latents, moments, frames, 1)
        rows = blocks.product(a.w.batch_size, frames, *latents)
        a.pointwise("encoder.quant_conv.pad", "pad", rows, moments)
        a.convolution("encoder.quant_conv", moments, moments, (1, 1, 1), (frames, *latents))
        posterior(a, rows, self.latent_channels)

    def _encode_chunk(self, c: Chunk, size: Size, frames: int) -> None:
        widths = self.widths
        with c.times():
            c.causal("conv_in", frames, size, (self.in_channels, widths[0]), 0.0, channels_last=False)
        before = widths[0]
        for stage, width in enumerate(widths):
            name = f"down{stage}"
            options = {"held": False, "channels_last": False}
            c.resnets(name, frames, size, (before, width), self.layers_per_block, **options)
            if stage < len(widths) - 1:
                temporal = self.temporal_downsample[stage]
                with c.times():
                    frames, size = c.downsample(f"{name}.resample", frames, size, width, temporal=temporal)
            before = width
        self._middle(c, frames, size)
        self._head(c, frames, size, before, blocks.product(2, self.latent_channels))

    def _decode(self, a: Assembly, latents: Size, frames: Dim) -> None:
        rows = blocks.product(a.w.batch_size, frames, *latents)
        channels = self.latent_channels
        a.pointwise("decoder.post_quant_conv.pad", "pad", rows, channels)
        a.convolution("decoder.post_quant_conv", channels, channels, (1, 1, 1), (frames, *latents))
        size = scaled(latents, self.vae_scale_factor)
        frame = elements(a, size, self.out_channels)
        kept: Elements = 0.0
        for chunk in Chunk.of(a, "decoder", frames):
            chunk.held = frame * (0, 1, 1 + CHUNK_FRAMES * as_float(frames - 2))[chunk.known]
            with chunk.weights():
                self._decode_chunk(chunk, latents)
            chunk.alive(chunk.held + 2 * CHUNK_FRAMES * frame * (chunk.known > 0))  # joined with the frames before
            kept = chunk.kept(kept)
        self._join(a, "decoder.join", size, self.out_channels, frames, CHUNK_FRAMES)
        total = blocks.product(a.w.batch_size, 1 + CHUNK_FRAMES * (frames - 1), *size)
        a.pointwise("decoder.clamp", "relu", total, self.out_channels)
        a.alive(2 * as_float(total) * as_float(self.out_channels) + kept)

    def _decode_chunk(self, c: Chunk, size: Size) -> None:
        widths, frames = self.widths[::-1], 1
        doubles = self.temporal_downsample[::-1]
        with c.times():
            c.causal("conv_in", frames, size, (self.latent_channels, widths[0]), 0.0, channels_last=False)
        self._middle(c, frames, size)
        before, channels_last = widths[0], True
        for stage, width in enumerate(widths):
            name, count = f"up{stage}", np.asarray(self.layers_per_block) + 1
            given = c.elements(frames, size, before)
            c.resnets(name, frames, size, (before, width), count, held=True, channels_last=channels_last)
            if stage < len(widths) - 1:
                options: dict[str, Any] = {"temporal": doubles[stage], "channels_last": channels_last}
                with c.times():
                    frames, size = c.upsample(f"{name}.resample", frames, size, width, given, **options)
                channels_last = channels_last and not (doubles[stage] and c.known)
                before = np.asarray(width) // 2
        self._head(c, frames, size, widths[-1], self.out_channels, channels_last=channels_last)

    def _middle(self, c: Chunk, frames: int, size: Size) -> None:
        width = self.widths[-1]
        one = c.elements(frames, size, width)
        with c.times(carries=one):
            c.resnet("mid.resnet0", frames, size, (width, width), channels_last=False)
        with c.times(carries=one):
            c.attention("mid.attention", frames, size, width)
        with c.times(carries=one):
            c.resnet("mid.resnet1", frames, size, (width, width), one, channels_last=True)

    def _head(
        self, c: Chunk, frames: int, size: Size, width: Dim, channels: Dim, *, channels_last: bool = True
    ) -> None:
        one = c.elements(frames, size, width)
        with c.times(carries=one):
            c.norm("norm_out", frames, size, width)
            c.alive(one + c.norm_peak(one))
            c.causal("conv_out", frames, size, (width, channels), one, channels_last=channels_last)

    def _join(self, a: Assembly, name: str, size: Size, channels: Dim, chunks: Dim, frames: int) -> None:
        """Each chunk's ``frames`` joined with all before it, which are copied every time."""
        mean = blocks.product(a.w.batch_size, *size) * (1 + frames * chunks / 2)
        with a.layers(chunks - 1):
            a.pointwise(name, "cat", np.asarray(np.rint(mean), dtype=np.int64), channels)
