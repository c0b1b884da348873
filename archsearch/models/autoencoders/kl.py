"""AutoencoderKL: the convolutional autoencoder of latent diffusion models for images.

Rombach et al. 2022, https://arxiv.org/abs/2112.10752; the module is diffusers' ``AutoencoderKL``. The encoder halves
both sides between its stages of residual blocks, the decoder doubles them between stages of one block more; at the
latents' resolution one attention of a single head looks at all positions. After it the decoder's residual stream lies
channels last in memory, and every group norm copies it to channels first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, as_float
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.autoencoders.autoencoder import (
    ImageAutoencoder,
    Size,
    elements,
    group_norm,
    positive_channels,
    posterior,
    residual_sum,
    resnet,
    scaled,
)
from archsearch.models.base import Requirement, at_least_one


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderKLConfig(ImageAutoencoder):
    """Dimensions of an AutoencoderKL. Sizes may be arrays that broadcast, those of ``block_out_channels`` too.

    ``block_out_channels`` are the encoder's widths from the pixels to the latents; a stage has ``layers_per_block``
    residual blocks in the encoder and one more in the decoder.
    """

    family: ClassVar[str] = "autoencoder-kl"

    block_out_channels: tuple[Dim, ...]
    latent_channels: Dim
    layers_per_block: Dim = 2
    in_channels: Dim = 3
    out_channels: Dim = 3
    norm_num_groups: Dim = 32
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("latent_channels", "layers_per_block", "in_channels", "out_channels", "norm_num_groups")
        groups = np.asarray(self.norm_num_groups)
        return (*at_least_one(self, sizes), *positive_channels(self, ("block_out_channels",), groups))

    @property
    def vae_scale_factor(self) -> int:  # type: ignore[override]
        """Pixels per latent along a side: two to the number of stages after the first."""
        return int(2 ** (len(self.block_out_channels) - 1))

    def assemble(self, a: Assembly) -> None:
        latents = self.grid(a.w)
        if self.encodes(a):
            self._encode(a, scaled(latents, self.vae_scale_factor))
        if self.decodes(a):
            self._decode(a, latents)

    def _encode(self, a: Assembly, size: Size) -> None:
        widths, groups = self.block_out_channels, self.norm_num_groups
        a.convolution("encoder.conv_in", self.in_channels, widths[0], (3, 3), size, input_is_data=True)
        before = widths[0]
        for stage, width in enumerate(widths):
            name = f"encoder.down{stage}"
            given = elements(a, size, before)
            self._resnets(a, name, size, (before, width), np.asarray(self.layers_per_block), channels_last=False)
            if stage < len(widths) - 1:
                rows = blocks.product(a.w.batch_size, *size)
                a.pointwise(f"{name}.pad", "pad", rows, width)
                size = tuple(np.asarray(side) // 2 for side in size)
                a.convolution(f"{name}.downsample", width, width, (3, 3), size, stride=(2, 2))
                a.alive(given + 9 * elements(a, size, width))
            before = width
        self._middle(a, "encoder.mid", size)
        group_norm(a, "encoder.norm_out", size, before, groups, gathered=self.mid_block_add_attention)
        moments = blocks.product(2, self.latent_channels)
        a.convolution("encoder.conv_out", before, moments, (3, 3), size)
        if self.use_quant_conv:
            a.convolution("encoder.quant_conv", moments, moments, (1, 1), size)
        posterior(a, blocks.product(a.w.batch_size, *size), self.latent_channels)

    def _decode(self, a: Assembly, size: Size) -> None:
        widths, groups = self.block_out_channels[::-1], self.norm_num_groups
        latent, channels_last = self.latent_channels, self.mid_block_add_attention
        if self.use_post_quant_conv:
            a.convolution("decoder.post_quant_conv", latent, latent, (1, 1), size)
        a.convolution("decoder.conv_in", latent, widths[0], (3, 3), size)
        self._middle(a, "decoder.mid", size)
        before = widths[0]
        for stage, width in enumerate(widths):
            name = f"decoder.up{stage}"
            given = elements(a, size, before)
            count = np.asarray(self.layers_per_block) + 1
            self._resnets(a, name, size, (before, width), count, channels_last=channels_last)
            if stage < len(widths) - 1:
                given = given + elements(a, size, width)
                size = scaled(size, 2)
                rows = blocks.product(a.w.batch_size, *size)
                a.pointwise(f"{name}.nearest", "upsample", rows, width, reads=0.25)
                a.convolution(f"{name}.upsample", width, width, (3, 3), size, channels_last=channels_last)
                one = elements(a, size, width)
                a.convolving(given, one, one)
            before = width
        group_norm(a, "decoder.norm_out", size, before, groups, gathered=channels_last)
        a.convolution("decoder.conv_out", before, self.out_channels, (3, 3), size)
        one = elements(a, size, before)
        a.alive(3 * one)
        a.convolving(0.0, one, elements(a, size, self.out_channels))

    def _resnets(
        self, a: Assembly, name: str, size: Size, channels: tuple[Dim, Dim], count: Dim, *, channels_last: bool
    ) -> None:
        """A stage's blocks: the first changes the width, and its input lives until the stage is through."""
        groups, (into, out) = self.norm_num_groups, channels
        given, inside = elements(a, size, into), elements(a, size, out)
        with a.layers(1, carries=given):
            resnet(a, f"{name}.first", size, channels, groups, channels_last=channels_last)
        with a.layers(count - 1, carries=inside):
            resnet(a, f"{name}.rest", size, (out, out), groups, held=given, channels_last=channels_last)

    def _middle(self, a: Assembly, name: str, size: Size) -> None:
        width, groups, attends = self.block_out_channels[-1], self.norm_num_groups, self.mid_block_add_attention
        one = elements(a, size, width)
        resnet(a, f"{name}.resnet0", size, (width, width), groups)
        if attends:
            self._attend(a, f"{name}.attention", size, width)
            a.alive(8 * one)
        resnet(a, f"{name}.resnet1", size, (width, width), groups, held=one, channels_last=attends)

    def _attend(self, a: Assembly, name: str, size: Size, width: Dim) -> None:
        """Attention of one head over all positions. The normed map is transposed: linear layers add their bias apart,
        and copy several images' maps first."""
        one, positions = elements(a, size, width), blocks.product(*size)
        rows = blocks.product(a.w.batch_size, positions)
        group_norm(a, f"{name}.norm", size, width, self.norm_num_groups, silu=False)
        a.pointwise(f"{name}.gather", "transpose", rows, width, calls=3 * dblocks.gaps(a.w))
        a.linear(f"{name}.q_proj+k_proj+v_proj", rows, width, width, bias=False, calls=3, saves=0)
        a.pointwise(f"{name}.bias", "bias", rows, width, calls=3)
        a.weigh(3 * as_float(width))
        a.attention(f"{name}.core", heads=1, head_dim=width, seq_q=positions)
        a.save((4 + np.maximum(1, 3 * dblocks.gaps(a.w))) * one)  # queries, keys, values, output; the layers' inputs
        a.linear(f"{name}.o_proj", rows, width, width, bias=True, saves=0)
        residual_sum(a, f"{name}.sum", size, width)
