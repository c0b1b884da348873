"""Deep compression autoencoder (DC-AE): images to latents of a thirty-second of the side or less.

Chen et al. 2024, https://arxiv.org/abs/2410.10733; the module is diffusers' ``AutoencoderDC``. The first stages hold
residual blocks, the later ones EfficientViT blocks: linear attention over all positions with queries, keys and values
at several scales, and a gated feed-forward with a depthwise convolution. Between stages a convolution changes
resolution and width beside a shortcut without weights, which moves pixels into channels and averages them, or repeats
channels and moves them into pixels. The stream lies channels last in memory from the first attention on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from archsearch.arrays import Dim, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.autoencoders.autoencoder import ImageAutoencoder, Size, elements, positive_channels, scaled
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.blocks import ACTIVATIONS
from archsearch.models.tally import Elements
from archsearch.ops import MemoryOp

DOWNSAMPLING = ("conv", "pixel_unshuffle")
UPSAMPLING = ("interpolate", "pixel_shuffle")
NORMS = {"rms_norm": "silu", "batch_norm": "relu"}
"""Norms of the decoder's residual blocks and the activation that published models pair them with."""
EXPANSION = 4
"""Width of the gated feed-forward's halves against the stage's (``GLUMBConv(expand_ratio=4)``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderDCConfig(ImageAutoencoder):
    """Dimensions of an AutoencoderDC. Sizes and entries of tuples may be arrays that broadcast, all but 0 layers.

    ``block_out_channels`` are widths from the pixels to the latents; the first ``residual_stages`` of them hold
    residual blocks, the rest attend. A first stage without layers is left out, and its change of resolution falls to
    the first (last) convolution. ``qkv_multiscale`` is the kernel size of the second scale of queries, keys and values
    (0: one scale). ``decoder_norm`` is the norm of the decoder's residual blocks.
    """

    family: ClassVar[str] = "autoencoder-dc"

    block_out_channels: tuple[Dim, ...]
    encoder_layers_per_block: tuple[Dim, ...]
    decoder_layers_per_block: tuple[Dim, ...]
    latent_channels: Dim
    residual_stages: int = 3
    attention_head_dim: Dim = 32
    qkv_multiscale: int = 0
    in_channels: Dim = 3
    downsample_block_type: str = "pixel_unshuffle"
    upsample_block_type: str = "pixel_shuffle"
    decoder_norm: str = "rms_norm"

    def requirements(self) -> tuple[Requirement, ...]:
        stages, last = len(self.block_out_channels), np.asarray(self.block_out_channels[-1])
        layers = (self.encoder_layers_per_block, self.decoder_layers_per_block)
        lengths = stages >= 2 and all(len(counts) == stages for counts in layers)
        enough = lengths and all(np.all(np.asarray(n) >= 1) for counts in layers for n in counts[1:])
        first = lengths and all(np.ndim(counts[0]) == 0 and counts[0] >= 0 for counts in layers)
        whole = last % np.maximum(self.latent_channels, 1) == 0
        heads = positive_channels(self, ("block_out_channels",), self.attention_head_dim)
        return (
            *at_least_one(self, ("latent_channels", "attention_head_dim", "in_channels")),
            *heads,
            Requirement(reason="layers per block must be one number for each of two stages or more", holds=lengths),
            Requirement(reason="layers per block must be at least 1 after the first stage", holds=enough and first),
            Requirement(reason="latent_channels must divide the last of block_out_channels", holds=whole),
            Requirement(reason="residual_stages must be 1 or more", holds=self.residual_stages >= 1),
            Requirement(
                reason="qkv_multiscale must be an odd kernel size or 0",
                holds=self.qkv_multiscale == 0 or self.qkv_multiscale % 2 == 1,
            ),
            Requirement(
                reason=f"downsample_block_type must be one of {', '.join(DOWNSAMPLING)}",
                holds=self.downsample_block_type in DOWNSAMPLING,
            ),
            Requirement(
                reason=f"upsample_block_type must be one of {', '.join(UPSAMPLING)}",
                holds=self.upsample_block_type in UPSAMPLING,
            ),
            Requirement(reason=f"decoder_norm must be one of {', '.join(NORMS)}", holds=self.decoder_norm in NORMS),
        )

    @property
    def vae_scale_factor(self) -> int:  # type: ignore[override]
        """Pixels per latent along a side."""
        return int(2 ** (len(self.block_out_channels) - 1))

    def assemble(self, a: Assembly) -> None:
        latents = self.grid(a.w)
        if self.encodes(a):
            self._encode(a, scaled(latents, self.vae_scale_factor))
        if self.decodes(a):
            self._decode(a, latents)

    def _encode(self, a: Assembly, size: Size) -> None:
        widths, layers = self.block_out_channels, self.encoder_layers_per_block
        start = int(layers[0] == 0)
        if start:
            size = self._down(a, "encoder.conv_in", size, (self.in_channels, widths[1]), shortcut=False)
        else:
            a.convolution("encoder.conv_in", self.in_channels, widths[0], (3, 3), size, input_is_data=True)
        last = len(widths) - 1
        for stage in range(start, last + 1):
            name, width, attends = f"encoder.stage{stage}", widths[stage], stage >= self.residual_stages
            if stage == self.residual_stages:
                self._gather(a, name, size, width)
            self._blocks(a, name, size, width, layers[stage], attends, elements(a, size, width), norm="rms_norm")
            if stage < last:
                size = self._down(a, f"{name}.down", size, (width, widths[stage + 1]), channels_last=attends)
        rows = blocks.product(a.w.batch_size, *size)
        ratio = as_float(widths[-1]) / as_float(self.latent_channels)
        a.pointwise("encoder.average", "pool", rows, self.latent_channels, reads=ratio)
        a.convolution("encoder.conv_out", widths[-1], self.latent_channels, (3, 3), size, channels_last=True)
        a.pointwise("encoder.shortcut", "add", rows, self.latent_channels, reads=2.0)

    def _decode(self, a: Assembly, size: Size) -> None:
        widths, layers = self.block_out_channels, self.decoder_layers_per_block
        start, last = int(layers[0] == 0), len(widths) - 1
        rows = blocks.product(a.w.batch_size, *size)
        a.pointwise("decoder.repeat", "copy", rows, widths[-1])
        a.convolution("decoder.conv_in", self.latent_channels, widths[-1], (3, 3), size)
        a.pointwise("decoder.shortcut", "add", rows, widths[-1], reads=2.0)
        for stage in range(last, start - 1, -1):
            name, width, attends = f"decoder.stage{stage}", widths[stage], stage >= self.residual_stages
            given = elements(a, size, widths[min(stage + 1, last)])
            if stage < last:
                size = self._up(a, f"{name}.up", size, (widths[stage + 1], width))
            if attends and (stage == last or self.upsample_block_type == "pixel_shuffle"):
                self._gather(a, name, size, width)
            norm = "rms_norm" if attends else self.decoder_norm
            self._blocks(a, name, size, width, layers[stage], attends, given, norm=norm)
        one = elements(a, size, widths[start])
        _rms_norm(a, "decoder.norm_out", size, widths[start], residual=False)
        a.pointwise("decoder.relu", "relu", blocks.product(a.w.batch_size, *size), widths[start], saves=1.0)
        a.alive(one * (5 if dblocks.is_half(a.w) else 3))
        if start:
            self._up(a, "decoder.conv_out", size, (widths[1], self.in_channels), shortcut=False)
        else:
            a.convolution("decoder.conv_out", widths[0], self.in_channels, (3, 3), size, channels_last=True)

    def _blocks(
        self, a: Assembly, name: str, size: Size, width: Dim, count: Dim, attends: bool, held: Elements, *, norm: str
    ) -> None:
        """The blocks of a stage; ``held`` is the stage's input, which lives until the stage is through."""
        with a.layers(count, carries=elements(a, size, width)):
            if attends:
                self._attention(a, f"{name}.attention", size, width, held)
                _feed_forward(a, f"{name}.mlp", size, width, held)
            else:
                _residual_block(a, name, size, width, held, norm)

    def _gather(self, a: Assembly, name: str, size: Size, width: Dim) -> None:
        """A stage's first attention finds several images channels first, and copies them for each linear layer."""
        rows = blocks.product(a.w.batch_size, *size)
        a.pointwise(f"{name}.gather", "transpose", rows, width, calls=3 * dblocks.gaps(a.w))

    def _attention(self, a: Assembly, name: str, size: Size, width: Dim, held: Elements) -> None:
        """ReLU linear attention in 32 bits over every scale's heads: values (and a row of ones) · keys · queries.

        Images of no more than ``attention_head_dim`` positions attend by all pairs instead; they are not told apart.
        """
        half, several = dblocks.is_half(a.w), dblocks.gaps(a.w)
        one, rows = elements(a, size, width), blocks.product(a.w.batch_size, *size)
        scaled_too = int(self.qkv_multiscale > 0)
        scales, triple = 1 + scaled_too, blocks.product(3, width)
        head_dim = np.asarray(self.attention_head_dim)
        groups = blocks.product(3, np.asarray(width) // head_dim)
        wide = blocks.product(scales, width)
        a.linear(f"{name}.q_proj+k_proj+v_proj", rows, width, width, bias=False, calls=3, saves=0, quantized=False)
        a.pointwise(f"{name}.join_qkv", "cat", rows, triple)
        kernel = max(self.qkv_multiscale, 1)
        last: dict[str, Any] = {"bias": False, "calls": scaled_too, "saves": 0, "channels_last": True}
        a.convolution(f"{name}.scale_depthwise", triple, triple, (kernel, kernel), size, groups=triple, **last)
        a.convolution(f"{name}.scale_heads", triple, triple, (1, 1), size, groups=groups, **last)
        a.pointwise(f"{name}.join_scales", "cat", rows, blocks.product(scales, triple))
        if half:
            a.pointwise(f"{name}.cast", "cast", rows, blocks.product(scales, triple), writes=2.0)
        self._linear_attention(a, name, rows, blocks.product(*size), wide)
        a.pointwise(f"{name}.merge_heads", "transpose", rows, wide, calls=several)
        a.linear(f"{name}.o_proj", rows, wide, width, bias=False, saves=0, quantized=False)
        _rms_norm(a, f"{name}.norm_out", size, width, residual=True)
        ones, bits = 1 + 1 / as_float(head_dim), 2 if half else 1
        # inputs of the projections and of both convolutions; ReLU's results, padded values, the copies of keys and
        # queries that products of several images make, the attended values in 32 bits and in the model's format
        a.save(one * (1 + 6 * scaled_too + scales * (1 + bits * (2 + 2 * ones + 2 * several))))
        # input, the scales apart and joined in 32 bits, ReLU's results, padded values, and before and after division
        joined = scales * (3 + bits * (3 + 2 + 2 * ones + 1))
        a.alive(held + one * (1 + joined))

    def _linear_attention(self, a: Assembly, name: str, rows: Dim, positions: Dim, wide: Dim) -> None:
        head_dim, several = np.asarray(self.attention_head_dim), dblocks.gaps(a.w)
        heads, padded = blocks.product(a.w.batch_size, wide // head_dim), head_dim + 1
        ones = 1 + 1 / as_float(head_dim)
        exact: dict[str, Any] = {"dtype": DType.FP32}
        a.pointwise(f"{name}.relu", "relu", rows, wide, calls=2, **exact)
        a.pointwise(f"{name}.pad_values", "pad", rows, wide, writes=ones, **exact)
        a.pointwise(f"{name}.lay_out", "transpose", rows, wide, calls=2 * several, **exact)
        a.matmul(f"{name}.values_keys", padded, head_dim, positions, batch=heads, **exact)
        a.matmul(f"{name}.state_queries", padded, positions, head_dim, batch=heads, **exact)
        a.pointwise(f"{name}.denominator", "addu", blocks.product(heads, positions), 1, **exact)
        a.pointwise(f"{name}.normalise", "div", rows, wide, reads=ones, **exact)
        if dblocks.is_half(a.w):
            a.pointwise(f"{name}.cast_back", "cast", rows, wide, reads=2.0)

    def _down(
        self,
        a: Assembly,
        name: str,
        size: Size,
        channels: tuple[Dim, Dim],
        *,
        shortcut: bool = True,
        channels_last: bool = False,
    ) -> Size:
        """``DCDownBlock2d``: half the sides, ``channels`` in and out."""
        (into, out), half = channels, tuple(np.asarray(side) // 2 for side in size)
        rows, first = blocks.product(a.w.batch_size, *half), not shortcut
        if self.downsample_block_type == "conv":
            options: dict[str, Any] = {"stride": (2, 2), "input_is_data": first, "channels_last": channels_last}
            a.convolution(f"{name}.conv", into, out, (3, 3), half, **options)
        else:
            quarter = np.asarray(out) // 4
            a.convolution(f"{name}.conv", into, quarter, (3, 3), size, input_is_data=first, channels_last=channels_last)
            a.pointwise(f"{name}.unshuffle", "patchify", rows, out)
        if shortcut:
            four = blocks.product(4, into)
            a.pointwise(f"{name}.shortcut_unshuffle", "patchify", rows, four)
            a.pointwise(f"{name}.shortcut_average", "pool", rows, out, reads=as_float(four) / as_float(out))
            a.pointwise(f"{name}.shortcut", "add", rows, out, reads=2.0)
        x, y = elements(a, size, into), elements(a, half, out)
        a.alive(2 * x + 2 * y if shortcut else 2 * y)
        return half

    def _up(self, a: Assembly, name: str, size: Size, channels: tuple[Dim, Dim], *, shortcut: bool = True) -> Size:
        """``DCUpBlock2d``: twice the sides, ``channels`` in and out."""
        (into, out), double = channels, scaled(size, 2)
        rows = blocks.product(a.w.batch_size, *double)
        x, y = elements(a, size, into), elements(a, double, out)
        if self.upsample_block_type == "interpolate":
            a.pointwise(f"{name}.nearest", "upsample", rows, into, reads=0.25)
            a.convolution(f"{name}.conv", into, out, (3, 3), double, channels_last=True)
            a.convolving(x, elements(a, double, into), y)
        else:
            a.convolution(f"{name}.conv", into, blocks.product(4, out), (3, 3), size, channels_last=True)
            a.convolving(0.0, x, y)
            a.pointwise(f"{name}.shuffle", "unpatchify", rows, out)
        if shortcut:
            a.pointwise(f"{name}.shortcut_repeat", "copy", rows, out)
            a.pointwise(f"{name}.shortcut_shuffle", "unpatchify", rows, out)
            a.pointwise(f"{name}.shortcut", "add", rows, out, reads=2.0)
        a.alive(x + 3 * y)
        return double


def _rms_norm(a: Assembly, name: str, size: Size, width: Dim, *, residual: bool) -> None:
    """diffusers' RMSNorm over the channels with weight and bias (see ``dblocks.rms_norm``), and the residual sum."""
    rows = blocks.product(a.w.batch_size, *size)
    half = dblocks.is_half(a.w)
    few = (6.0 if half else 3.0) / as_float(width)  # the statistics, a number per position
    members: tuple[MemoryOp, ...] = (
        blocks.pointwise(
            f"{name}.eager",
            "mul",
            rows,
            width,
            a.w,
            reads=(9.0 if half else 4.0) + few,
            writes=(8.0 if half else 3.0) + few,
            kernels=8 if half else 6,
        ),
        blocks.pointwise(f"{name}.bias", "bias", rows, width, a.w),
    )
    if residual:
        members += (blocks.pointwise(f"{name}.residual", "add", rows, width, a.w, reads=2.0),)
    kept = (4.0 if half else 2.0) * elements(a, size, width)
    a.op(blocks.group(name, "rmsnorm", members, reads=1.0 + residual), saves=kept)
    a.weigh(2 * as_float(width))


def _residual_block(a: Assembly, name: str, size: Size, width: Dim, held: Elements, norm: str) -> None:
    """Two 3 · 3 convolutions, an activation between, a norm and the residual sum."""
    one, rows = elements(a, size, width), blocks.product(a.w.batch_size, *size)
    a.convolution(f"{name}.conv1", width, width, (3, 3), size)
    kind = NORMS[norm]
    a.pointwise(f"{name}.activation", kind, rows, width, saves=ACTIVATIONS[kind].saved)
    a.convolution(f"{name}.conv2", width, width, (3, 3), size, bias=False)
    a.convolving(held + one, one, one)
    if norm == "rms_norm":
        _rms_norm(a, f"{name}.norm", size, width, residual=True)
        a.alive(held + one * (6 if dblocks.is_half(a.w) else 4))
        return
    members = (
        blocks.pointwise(f"{name}.norm.eager", "modulate", rows, width, a.w),
        blocks.pointwise(f"{name}.norm.residual", "add", rows, width, a.w, reads=2.0),
    )
    a.op(blocks.group(f"{name}.norm", "add", members, reads=2.0), saves=one)
    a.weigh(2 * as_float(width))
    a.alive(held + 3 * one)


def _feed_forward(a: Assembly, name: str, size: Size, width: Dim, held: Elements) -> None:
    """``GLUMBConv``: 1 · 1 convolution to both halves, SiLU, depthwise 3 · 3, gate by SiLU, back, norm and sum."""
    one, rows = elements(a, size, width), blocks.product(a.w.batch_size, *size)
    wide, both = blocks.product(EXPANSION, width), blocks.product(2 * EXPANSION, width)
    a.convolution(f"{name}.inverted", width, both, (1, 1), size, channels_last=True)
    a.pointwise(f"{name}.silu", "silu", rows, both, saves=1.0)
    a.convolution(f"{name}.depthwise", both, both, (3, 3), size, groups=both, channels_last=True)
    gate = blocks.activation(f"{name}.gate", "silu", rows, wide, a.w, count=1, gated=True)
    a.op(gate, saves=3 * EXPANSION * one)
    a.convolution(f"{name}.point", wide, width, (1, 1), size, bias=False, channels_last=True)
    _rms_norm(a, f"{name}.norm", size, width, residual=True)
    a.alive(held + (2 + 4 * EXPANSION) * one)
