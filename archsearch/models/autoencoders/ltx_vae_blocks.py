"""Pieces of the LTX-Video autoencoder: convolutions that repeat frames at the ends, and residual blocks of them.

A feature map's ``size`` is its frames, height and width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Dim, as_float
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.autoencoders.autoencoder import Size, elements
from archsearch.models.tally import Elements
from archsearch.ops import MemoryOp

REPEATED = 2
"""Frames that a convolution over three frames repeats: the first twice, or the first and the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """``causal`` convolutions repeat the first frame only. ``noise`` adds a random image to the result of each;
    ``conditioned`` blocks scale and shift normed values by the timestep."""

    causal: bool = False
    noise: bool = False
    conditioned: bool = False


def convolution(
    a: Assembly,
    name: str,
    size: Size,
    channels: tuple[Dim, Dim],
    style: Style,
    *,
    out_size: Size | None = None,
    held: Elements | None = None,
) -> None:
    """``LTXVideoCausalConv3d`` over 3 · 3 · 3 positions, to half the size where ``out_size`` says so; ``held`` are
    elements alive beside it, its input among them (by default the input alone)."""
    into, out = channels
    frames, *image = size
    frame = elements(a, tuple(image), into)
    rows = blocks.product(a.w.batch_size, *image)
    found = np.asarray(frames) + REPEATED
    if style.causal:
        a.pointwise(f"{name}.repeat", "copy", rows, into, reads=1.0, writes=float(REPEATED))
    else:
        a.pointwise(f"{name}.repeat", "copy", rows, into, calls=REPEATED)
    a.pointwise(f"{name}.join", "cat", rows, into, reads=as_float(found), writes=as_float(found))
    stride = None if out_size is None else (2, 2, 2)
    target = size if out_size is None else out_size
    a.convolution(name, into, out, (3, 3, 3), target, stride=stride, input_size=(found, *image))
    live = elements(a, size, into) if held is None else held
    a.convolving(live + frame * REPEATED, frame * as_float(found), elements(a, target, out))


def norm_silu(a: Assembly, name: str, size: Size, channels: Dim, style: Style | None = None) -> None:
    """RMSNorm over the channels without weights, in 32 bits, and SiLU; ``conditioned`` blocks scale and shift between.

    Autograd keeps the 32-bit input of 16-bit models, the input, what is scaled, and SiLU's input.
    """
    half, rows = dblocks.is_half(a.w), blocks.product(a.w.batch_size, *size)
    few = (6.0 if half else 3.0) / as_float(channels)  # the statistics, a number per position
    members: tuple[MemoryOp, ...] = (
        blocks.pointwise(
            f"{name}.eager",
            "mul",
            rows,
            channels,
            a.w,
            reads=(8.0 if half else 3.0) + few,
            writes=(7.0 if half else 2.0) + few,
            kernels=7 if half else 5,
        ),
    )
    conditioned = style is not None and style.conditioned
    if conditioned:
        members += (
            blocks.pointwise(f"{name}.one_plus_scale", "addu", a.w.batch_size, channels, a.w),
            blocks.pointwise(f"{name}.scale", "modulate", rows, channels, a.w),
            blocks.pointwise(f"{name}.shift", "modulate", rows, channels, a.w),
        )
    members += (blocks.pointwise(f"{name}.silu", "silu", rows, channels, a.w),)
    kept = (4.0 if half else 2.0) + conditioned + few / 3
    a.op(blocks.group(name, "rmsnorm", members, reads=1.0), saves=kept * elements(a, size, channels))
    one = elements(a, size, channels)
    a.alive(one * (5 if half else 3))


def resnet(
    a: Assembly,
    name: str,
    size: Size,
    channels: tuple[Dim, Dim],
    style: Style,
    *,
    held: Elements = 0.0,
    present: Dim | None = None,
) -> None:
    """``LTXVideoResnetBlock3d``: twice norm, SiLU and a convolution. Where ``channels`` differ, the residual passes a
    layer norm and a convolution over single positions; ``present`` is 1 where such a block exists. ``held`` are
    elements that callers keep beside the block's input."""
    into, out = channels
    x, y, half = elements(a, size, into), elements(a, size, out), dblocks.is_half(a.w)
    if style.conditioned:
        a.pointwise(f"{name}.table", "add", a.w.batch_size, blocks.product(4, into), reads=2.0)
        a.weigh(4 * as_float(into))
    exists = 1 if present is None else present
    norm_silu(a, f"{name}.norm1", size, into, style)
    convolution(a, f"{name}.conv1", size, channels, style, held=(held + 2 * x) * exists)
    _noise(a, f"{name}.noise1", size, into, out, style)
    norm_silu(a, f"{name}.norm2", size, out, style)
    a.alive((held + x + y * (5 if half else 3)) * exists)
    convolution(a, f"{name}.conv2", size, (out, out), style, held=(held + x + y) * exists)
    _noise(a, f"{name}.noise2", size, into, out, style)
    if present is not None:
        rows = blocks.product(a.w.batch_size, *size)
        a.pointwise(f"{name}.shortcut_norm", "layernorm", rows, into, saves=1.0)
        a.weigh(2 * as_float(into))
        a.pointwise(f"{name}.shortcut_join", "cat", rows, into)
        a.convolution(f"{name}.shortcut", into, out, (1, 1, 1), size)
        a.alive((held + 3 * x + 2 * y) * exists)
    a.pointwise(f"{name}.sum", "add", blocks.product(a.w.batch_size, *size), out, reads=2.0)
    a.alive((held + x + 3 * y) * exists)


def _noise(a: Assembly, name: str, size: Size, into: Dim, out: Dim, style: Style) -> None:
    """One random image, scaled per channel and added to every frame."""
    if not style.noise:
        return
    frames, *image = size
    pixels = blocks.product(*image)
    a.pointwise(f"{name}.draw", "noise", pixels, 1, reads=0.0)
    a.pointwise(f"{name}.scale", "mul", pixels, into, reads=1 / as_float(into))
    rows = blocks.product(a.w.batch_size, *size)
    share = 1 / (as_float(a.w.batch_size) * as_float(frames))
    a.pointwise(f"{name}.add", "add", rows, out, reads=1.0 + share)
    a.weigh(as_float(into))
    a.save(as_float(pixels))


def timestep_embedding(a: Assembly, name: str, width: Dim) -> None:
    """``PixArtAlphaCombinedTimestepSizeEmbeddings`` without sizes: sines of the timestep and two linear layers."""
    dblocks.timestep_features(a, f"{name}.sines")
    dblocks.embedding_mlp(a, name, dblocks.TIMESTEP_CHANNELS, width)
