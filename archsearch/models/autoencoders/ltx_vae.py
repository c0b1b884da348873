"""The LTX-Video autoencoder: 3D convolutions on whole videos, with strongly compressed latents.

HaCohen et al. 2024, https://arxiv.org/abs/2501.00103; the module is diffusers' ``AutoencoderKLLTXVideo``. Pixels are
cut into patches of ``sample_patch_size``, and stages halve (double) sides and frames alike; a video of 1 + n · 8 frames
has 1 + n latent frames, and all of them pass at once. From version 0.9.1 on the decoder is also conditioned on a
timestep, adds noise, and doubles resolution beside a shortcut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Ints, as_float
from archsearch.models import blocks
from archsearch.models.assembly import Assembly
from archsearch.models.autoencoders.autoencoder import Size, VideoAutoencoder, elements, positive_channels, posterior
from archsearch.models.autoencoders.ltx_vae_blocks import Style, convolution, norm_silu, resnet, timestep_embedding
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.tally import Elements


@dataclass(frozen=True, slots=True, kw_only=True)
class LTXVAEConfig(VideoAutoencoder):
    """Dimensions of an AutoencoderKLLTXVideo. Sizes (``Dim``) and entries of tuples may be arrays that broadcast.

    Tuples list stages from the pixels to the latents; ``layers_per_block`` end with the middle block's.
    ``spatio_temporal_scaling`` tells which stages change resolution. ``decoder_inject_noise`` ends with the middle
    block's; ``upsample_factor`` divides the width where the decoder doubles the resolution.
    """

    family: ClassVar[str] = "ltx-video-vae"
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 512, "width": 704, "frames": 161}

    block_out_channels: tuple[Dim, ...] = (128, 256, 512, 512)
    layers_per_block: tuple[Dim, ...] = (4, 3, 3, 3, 4)
    spatio_temporal_scaling: tuple[bool, ...] = (True, True, True, False)
    decoder_block_out_channels: tuple[Dim, ...] = (128, 256, 512, 512)
    decoder_layers_per_block: tuple[Dim, ...] = (4, 3, 3, 3, 4)
    decoder_spatio_temporal_scaling: tuple[bool, ...] = (True, True, True, False)
    decoder_inject_noise: tuple[bool, ...] = (False, False, False, False, False)
    upsample_residual: tuple[bool, ...] = (False, False, False, False)
    upsample_factor: tuple[Dim, ...] = (1, 1, 1, 1)
    timestep_conditioning: bool = False
    latent_channels: Dim = 128
    sample_patch_size: Dim = 4
    in_channels: Dim = 3
    out_channels: Dim = 3

    def requirements(self) -> tuple[Requirement, ...]:
        widths = ("block_out_channels", "decoder_block_out_channels")
        stages, doubling = len(self.block_out_channels), len(self.decoder_block_out_channels)
        lengths = (
            (self.layers_per_block, stages + 1),
            (self.spatio_temporal_scaling, stages),
            (self.decoder_layers_per_block, doubling + 1),
            (self.decoder_spatio_temporal_scaling, doubling),
            (self.decoder_inject_noise, doubling + 1),
            (self.upsample_residual, doubling),
            (self.upsample_factor, doubling),
        )
        whole = all(
            np.all((np.asarray(f) >= 1) & (np.asarray(w) % np.maximum(f, 1) == 0))
            for w, f in zip(self.decoder_block_out_channels, self.upsample_factor, strict=False)
        )
        layers = all(np.all(np.asarray(n) >= 1) for n in (*self.layers_per_block, *self.decoder_layers_per_block))
        scaling = sum(self.spatio_temporal_scaling) == sum(self.decoder_spatio_temporal_scaling)
        return (
            *at_least_one(self, ("latent_channels", "sample_patch_size", "in_channels", "out_channels")),
            *positive_channels(self, widths),
            Requirement(
                reason="every list must tell of all stages, of layers and noise also the middle block's",
                holds=all(len(values) == length for values, length in lengths),
            ),
            Requirement(reason="layers per block must be at least 1", holds=layers),
            Requirement(reason="upsample_factor must divide decoder_block_out_channels", holds=whole),
            Requirement(reason="encoder and decoder must change resolution equally often", holds=scaling),
        )

    @property
    def vae_scale_factor(self) -> Ints:  # type: ignore[override]
        """Pixels per latent along a side."""
        return blocks.product(self.sample_patch_size, self.vae_temporal_factor)

    @property
    def vae_temporal_factor(self) -> int:  # type: ignore[override]
        """Frames per latent frame after the first."""
        return int(2 ** sum(self.spatio_temporal_scaling))

    @property
    def patches(self) -> Ints:
        """Pixels of a patch."""
        return np.asarray(self.sample_patch_size) ** 2

    def assemble(self, a: Assembly) -> None:
        high, wide = self.grid(a.w)
        latents = (self.latent_frames(a.w), high, wide)
        if self.encodes(a):
            self._encode(a, latents)
        if self.decodes(a):
            self._decode(a, latents)

    def _encode(self, a: Assembly, latents: Size) -> None:
        widths, style = self.block_out_channels, Style(causal=True)
        scale = 2 ** sum(self.spatio_temporal_scaling)
        size: Size = (1 + (latents[0] - 1) * scale, *(side * scale for side in latents[1:]))
        pixels = np.asarray(self.in_channels) * self.patches
        a.pointwise("encoder.patchify", "patchify", blocks.product(a.w.batch_size, *size), pixels)
        convolution(a, "encoder.conv_in", size, (pixels, widths[0]), style)
        for stage, width in enumerate(widths):
            name, given = f"encoder.down{stage}", elements(a, size, width)
            after = widths[min(stage + 1, len(widths) - 1)]
            self._resnets(a, name, size, width, self.layers_per_block[stage], style, given)
            if self.spatio_temporal_scaling[stage]:
                half: Size = (1 + (np.asarray(size[0]) - 1) // 2, *(np.asarray(side) // 2 for side in size[1:]))
                convolution(a, f"{name}.downsample", size, (width, width), style, out_size=half, held=2 * given)
                size = half
            differs = (np.asarray(width) != np.asarray(after)).astype(np.int64)
            with a.layers(differs, carries=elements(a, size, width)):
                resnet(a, f"{name}.widen", size, (width, after), style, held=given, present=differs)
        self._resnets(
            a, "encoder.mid", size, widths[-1], self.layers_per_block[-1], style, elements(a, size, widths[-1])
        )
        norm_silu(a, "encoder.norm_out", size, widths[-1])
        convolution(a, "encoder.conv_out", size, (widths[-1], np.asarray(self.latent_channels) + 1), style)
        rows, channels = blocks.product(a.w.batch_size, *size), np.asarray(self.latent_channels)
        a.pointwise(
            "encoder.repeat_variance", "copy", rows, channels - 1, reads=1 / np.maximum(as_float(channels) - 1, 1)
        )
        a.pointwise("encoder.join_variance", "cat", rows, 2 * channels)
        posterior(a, rows, channels)

    def _decode(self, a: Assembly, latents: Size) -> None:
        widths, layers = self.decoder_block_out_channels[::-1], self.decoder_layers_per_block[::-1]
        noise = self.decoder_inject_noise[::-1]
        size, before = latents, widths[0]
        convolution(a, "decoder.conv_in", size, (self.latent_channels, before), Style())
        if self.timestep_conditioning:
            a.pointwise("decoder.scale_timestep", "mulu", a.w.batch_size, 1)
            a.weigh(1.0)
        style = self._style(a, "decoder.mid", before, noise[0])
        self._resnets(a, "decoder.mid", size, before, layers[0], style, elements(a, size, before))
        for stage, (full, factor) in enumerate(zip(widths, self.upsample_factor[::-1], strict=True)):
            name = f"decoder.up{stage}"
            before, width = np.asarray(before) // np.asarray(factor), np.asarray(full) // np.asarray(factor)
            given = elements(a, size, blocks.product(before, factor))
            style = self._style(a, name, before, noise[stage + 1])
            differs = (np.asarray(before) != np.asarray(width)).astype(np.int64)
            with a.layers(differs, carries=given):
                resnet(a, f"{name}.narrow", size, (before, width), style, present=differs)
            if self.decoder_spatio_temporal_scaling[::-1][stage]:
                size = self._upsample(a, f"{name}.upsample", size, width, factor, stage, given)
                if not self.upsample_residual[::-1][stage]:  # the frame that was cut off stays in memory
                    given = given + elements(a, size[1:], width)
            self._resnets(a, name, size, width, layers[stage + 1], style, given)
            before = width
        style = self._style(a, "decoder.out", before, False, vectors=2)
        norm_silu(a, "decoder.norm_out", size, before, style)
        pixels = np.asarray(self.out_channels) * self.patches
        convolution(a, "decoder.conv_out", size, (before, pixels), style, held=2 * elements(a, size, before))
        a.pointwise("decoder.unpatchify", "unpatchify", blocks.product(a.w.batch_size, *size), pixels)

    def _style(self, a: Assembly, name: str, width: Dim, noise: bool, vectors: int = 4) -> Style:
        """How the residual blocks of a stage of the decoder are; the embedding of their timestep comes with it."""
        if self.timestep_conditioning:
            timestep_embedding(a, f"{name}.timestep", blocks.product(vectors, width))
            if vectors == 2:
                a.pointwise(f"{name}.table", "add", a.w.batch_size, blocks.product(vectors, width), reads=2.0)
                a.weigh(vectors * as_float(width))
        return Style(noise=noise, conditioned=self.timestep_conditioning)

    def _resnets(
        self,
        a: Assembly,
        name: str,
        size: Size,
        width: Dim,
        count: Dim,
        style: Style,
        held: Elements,
    ) -> None:
        """Residual blocks alike; ``held`` is the stage's input, which lives until the stage is through."""
        with a.layers(count, carries=elements(a, size, width)):
            resnet(a, f"{name}.resnet", size, (width, width), style, held=held)

    def _upsample(
        self,
        a: Assembly,
        name: str,
        size: Size,
        width: Dim,
        factor: Dim,
        stage: int,
        held: Elements,
    ) -> Size:
        """``LTXVideoUpsampler3d``: a convolution to eight times the channels, which become pixels and frames; the first
        frame's second half is cut off. The shortcut moves its own channels likewise and repeats them."""
        into = blocks.product(width, factor)
        double: Size = (2 * np.asarray(size[0]) - 1, *(2 * np.asarray(side) for side in size[1:]))
        rows, batch = blocks.product(a.w.batch_size, *size), a.w.batch_size
        x, y = elements(a, size, into), 8 * elements(a, size, width)
        shortcut = self.upsample_residual[::-1][stage]
        if shortcut:
            a.pointwise(f"{name}.shortcut_lay_out", "unpatchify", rows, into)
            repeats = 8.0 / as_float(factor)
            a.pointwise(f"{name}.shortcut_repeat", "copy", rows, blocks.product(8, width), reads=1 / repeats)
        convolution(a, f"{name}.conv", size, (into, blocks.product(8, width)), Style(), held=held + x + shortcut * y)
        a.pointwise(f"{name}.lay_out", "unpatchify", rows, blocks.product(8, width))
        a.alive(held + x + (2 + shortcut) * y)
        if shortcut:
            a.pointwise(f"{name}.shortcut", "add", blocks.product(batch, *double), width, reads=2.0)
        return double
