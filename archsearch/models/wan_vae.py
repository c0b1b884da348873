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

from archsearch.models import blocks
from archsearch.models.assembly import Assembly
from archsearch.models.autoencoder import Size, VideoAutoencoder, posterior, scaled
from archsearch.models.base import Phase, Requirement, Workload, at_least_one
from archsearch.models.causal_chunks import Chunk
from archsearch.ops import Dim

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
        positive = all(np.all(np.asarray(m) >= 1) for m in self.dim_mult)
        even = all(np.all(np.asarray(w) % 2 == 0) for w in self.widths[1:])
        return (
            *at_least_one(self, sizes),
            Requirement(reason="dim_mult must be positive", holds=len(self.dim_mult) > 0 and positive),
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
    def widths(self) -> tuple[Any, ...]:
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

    def smallest_workload(self) -> Workload:
        side = self.vae_scale_factor
        return Workload(phase=Phase.FORWARD, height=side, width=side, frames=1)

    def _encode(self, a: Assembly, latents: Size, frames: Any) -> None:
        moments = blocks.product(2, self.latent_channels)
        size = scaled(latents, self.vae_scale_factor)
        for chunk in Chunk.of(a, "encoder", frames):
            with a.again() if chunk.known else a.layers(0):
                pass
            if chunk.known:
                with a.again():
                    self._encode_chunk(chunk, size, CHUNK_FRAMES)
            else:
                self._encode_chunk(chunk, size, 1)
        rows = blocks.product(a.w.batch_size, frames, *latents)
        a.pointwise("encoder.join", "cat", blocks.product(a.w.batch_size, *latents), moments)
        a.pointwise("encoder.quant_conv.pad", "pad", rows, moments)
        a.convolution("encoder.quant_conv", moments, moments, (1, 1, 1), (frames, *latents), channels_last=True)
        posterior(a, rows, self.latent_channels)
