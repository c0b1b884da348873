"""Pieces of HunyuanVideo's autoencoder: causal convolutions that repeat what lies at the edges, and what is built of
them (diffusers/models/autoencoders/autoencoder_kl_hunyuan_video.py).

A feature map's ``size`` is its frames, height and width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Dim, FloatArray, Ints, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.autoencoders.autoencoder import Size, elements, group_norm
from archsearch.models.tally import Elements

WINDOW = 3
"""Positions along every axis that a convolution sees; the first frame is repeated before it, edges around it."""
PIECE_FRAMES, PIECE_STRIDE = 5, 3
"""Latent frames of a piece of a video, and from one piece to the next: 16 frames of the video, of which 12 are new, and
one latent frame before them (``tile_sample_min_num_frames``, ``tile_sample_stride_num_frames``)."""


def is_cut(frames: Dim) -> Ints:
    """1 where so many latent frames run in pieces (``use_framewise_decoding``), 0 where all at once."""
    found: Ints = (np.asarray(frames) >= PIECE_FRAMES).astype(np.int64)
    return found


@dataclass(slots=True)
class Piece:
    """``repeats`` runs over ``frames`` latent frames of a video.

    ``held`` are elements that live all along: what the pieces before gave, and the input.
    """

    a: Assembly
    name: str
    repeats: Ints
    frames: Ints
    groups: Dim
    is_first: bool = False
    held: Elements = 0.0

    @classmethod
    def of(cls, a: Assembly, name: str, frames: Dim, groups: Dim) -> Iterator[Piece]:
        """The first piece of ``frames`` latent frames, those as long as it, the shorter one that reaches the end, and
        one more that begins at the last frame, of which nothing is kept."""
        total = np.asarray(frames)
        full = np.maximum((total - PIECE_FRAMES) // PIECE_STRIDE + 1, 1)
        cut, left = is_cut(total), total - PIECE_STRIDE * full
        yield cls(a, f"{name}.first", np.asarray(1), np.minimum(total, PIECE_FRAMES), groups, True)
        yield cls(a, f"{name}.later", cut * (full - 1), np.minimum(total, PIECE_FRAMES), groups)
        yield cls(a, f"{name}.rest", cut, np.where(cut > 0, left, 1), groups)
        yield cls(a, f"{name}.last", cut * (left == PIECE_STRIDE + 1), np.asarray(1), groups)

    @property
    def blends(self) -> Ints:
        """Runs whose first frames are mixed with the piece's before."""
        found: Ints = np.asarray(self.repeats) * (np.asarray(self.frames) > 1) * (not self.is_first)
        return found

    def weights(self) -> AbstractContextManager[None]:
        """Around a run: weights count in the first piece alone."""
        return nullcontext() if self.is_first else self.a.again()

    def times(self, count: Dim = 1, carries: Elements = 0.0) -> AbstractContextManager[None]:
        """``count`` modules alike, in every repeat."""
        return self.a.layers(self.repeats * np.asarray(count), carries=carries)

    def alive(self, live: Elements) -> None:
        """A moment with ``live`` elements besides what is held."""
        self.a.alive(as_float(live + self.held) * (self.repeats > 0))

    def pointwise(
        self,
        name: str,
        kind: str,
        size: Size,
        channels: Dim,
        *,
        reads: FloatArray = 1.0,
        writes: FloatArray = 1.0,
        calls: Dim = 1,
    ) -> None:
        """One bandwidth-bound kernel over a feature map."""
        rows = blocks.product(self.a.w.batch_size, *size)
        self.a.pointwise(f"{self.name}.{name}", kind, rows, channels, reads=reads, writes=writes, calls=calls)

    def causal(
        self,
        name: str,
        size: Size,
        channels: tuple[Dim, Dim],
        live: Elements,
        *,
        stride: tuple[int, int, int] = (1, 1, 1),
        is_data: bool = False,
    ) -> Size:
        """``HunyuanVideoCausalConv3d``: a padded copy and a 3 · 3 · 3 convolution of it. ``live`` are elements alive
        beside both, the input among them. Autograd keeps the input and the copy. Returns the result's size."""
        wide = tuple(np.asarray(side) + WINDOW - 1 for side in size)
        after = tuple((np.asarray(side) - 1) // step + 1 for side, step in zip(size, stride, strict=True))
        grown = as_float(blocks.product(*wide)) / as_float(blocks.product(*size))
        self.pointwise(f"{name}.pad", "pad", size, channels[0], writes=grown)
        self.a.convolution(
            f"{self.name}.{name}",
            *channels,
            (WINDOW,) * 3,
            after,
            stride=None if max(stride) == 1 else stride,
            input_size=wide,
            input_is_data=is_data,
        )
        if not is_data:
            self.a.save(elements(self.a, size, channels[0]))
        into, out = elements(self.a, wide, channels[0]), elements(self.a, after, channels[1])
        self.alive(live + into + out + self.a.workspace(into, out))
        return after

    def norm(self, name: str, size: Size, channels: Dim, *, silu: bool = True) -> None:
        """A group norm over all frames."""
        group_norm(self.a, f"{self.name}.{name}", size, channels, self.groups, silu=silu)

    def resnet(
        self, name: str, size: Size, channels: tuple[Dim, Dim], held: Elements = 0.0, *, channels_last: bool = False
    ) -> None:
        """``HunyuanVideoResnetBlockCausal3D``: twice norm, SiLU and a convolution; the residual passes a copy and a
        convolution over single positions where ``channels`` differ. ``held`` are elements that callers keep beside the
        input, which is copied where it lies ``channels_last``."""
        into, out = channels
        x, y = elements(self.a, size, into), elements(self.a, size, out)
        differs = (np.asarray(into) != np.asarray(out)).astype(np.int64)
        self.pointwise(f"{name}.gather", "copy", size, into, calls=int(channels_last))
        self.norm(f"{name}.norm1", size, into)
        self.alive(held + 3 * x)
        self.causal(f"{name}.conv1", size, channels, held + 2 * x)
        self.norm(f"{name}.norm2", size, out)
        self.causal(f"{name}.conv2", size, (out, out), held + x + y)
        self.pointwise(f"{name}.shortcut.pad", "pad", size, into, calls=differs)  # by nothing, but a copy
        self.a.convolution(f"{self.name}.{name}.shortcut", into, out, (1, 1, 1), size, calls=differs, saves=0)
        self.a.save(differs * x)
        self.alive(differs * (held + 2 * x + 2 * y))
        self.pointwise(f"{name}.sum", "add", size, out, reads=2.0)
        self.alive(held + x + (2 + differs) * y)

    def resnets(self, name: str, size: Size, channels: tuple[Dim, Dim], count: Dim) -> None:
        """``count`` residual blocks, of which the first changes the width; the stage's input lives until all are
        through."""
        given, inside = elements(self.a, size, channels[0]), elements(self.a, size, channels[1])
        with self.times(carries=given):
            self.resnet(f"{name}.first", size, channels)
        rest = np.asarray(count) - 1
        with self.times(rest, carries=inside):
            self.resnet(f"{name}.rest", size, (channels[1], channels[1]), given * (rest > 0))

    def middle(self, name: str, size: Size, width: Dim, *, attends: bool) -> None:
        """``HunyuanVideoMidBlock3D``: attention between two residual blocks. Its mask lives until the block is through,
        as its input does."""
        one = elements(self.a, size, width)
        with self.times(carries=one):
            self.resnet(f"{name}.resnet0", size, (width, width))
        held = one
        if attends:
            with self.times():
                self.attention(f"{name}.attention", size, width)
            held = held + one + as_float(blocks.product(*size)) ** 2
        with self.times(carries=one):
            self.resnet(f"{name}.resnet1", size, (width, width), held, channels_last=attends)

    def attention(self, name: str, size: Size, width: Dim) -> None:
        """One head over the positions of all frames, each of which sees its own frame and those before. The normed map
        is transposed: linear layers add their bias apart, and copy several videos' maps first."""
        a, own, one = self.a, f"{self.name}.{name}", elements(self.a, size, width)
        positions = blocks.product(*size)
        rows, gaps = blocks.product(a.w.batch_size, positions), dblocks.gaps(a.w)
        self._mask(name, size, 2 * one)
        self.norm(f"{name}.norm", size, width, silu=False)
        self.pointwise(f"{name}.lay_out", "transpose", size, width, calls=3 * gaps)
        projection = f"{own}.q_proj+k_proj+v_proj"
        a.linear(projection, rows, width, width, bias=False, calls=3, saves=0, quantized=False)
        self.pointwise(f"{name}.bias", "bias", size, width, calls=3)
        a.weigh(3 * as_float(width))
        a.attention(f"{own}.core", heads=1, head_dim=width, seq_q=positions, mask=True)
        a.save((4 + np.maximum(1, 3 * gaps)) * one)  # queries, keys, values, output; the layers' inputs
        a.linear(f"{own}.o_proj", rows, width, width, bias=True, saves=0, quantized=False)
        self.pointwise(f"{name}.sum", "add", size, width, reads=2.0)
        self.pointwise(f"{name}.rescale", "divu", size, width)
        self.alive(8 * one + as_float(positions) ** 2)

    def _mask(self, name: str, size: Size, live: Elements) -> None:
        """``prepare_causal_attention_mask``: every pair of positions compared, then zeros and minus infinities in 32
        bits, cast to 16 for models that have them. ``live`` are elements alive besides."""
        a, positions = self.a, blocks.product(*size)
        pairs, itemsize, own = as_float(positions) ** 2, a.w.activation_dtype.itemsize, f"{self.name}.{name}.mask"
        a.pointwise(f"{own}.frames", "fill", 1, size[0], reads=0.0, dtype=DType.FP32)
        a.pointwise(f"{own}.repeat", "copy", 1, positions, dtype=DType.FP32)
        a.pointwise(f"{own}.compare", "mask", positions, positions, reads=0.0, writes=0.25, dtype=DType.FP32)
        a.pointwise(f"{own}.values", "fill", 1, 1, reads=0.0, calls=2, dtype=DType.FP32)
        a.pointwise(f"{own}.choose", "mask", positions, positions, reads=0.25, dtype=DType.FP32)
        moment = 5.0
        if dblocks.is_half(a.w):
            a.pointwise(f"{own}.cast", "cast", positions, positions, reads=2.0)
            moment = 4.0 + itemsize
        self.alive(live + pairs * (moment / itemsize))

    def downsample(self, name: str, size: Size, width: Dim, held: Elements, stride: tuple[int, int, int]) -> Size:
        """``HunyuanVideoDownsampleCausal3D``; ``held`` are elements that callers keep beside its input."""
        return self.causal(name, size, (width, width), held + elements(self.a, size, width), stride=stride)

    def upsample(self, name: str, size: Size, width: Dim, held: Elements, factors: tuple[int, int, int]) -> Size:
        """``HunyuanVideoUpsampleCausal3D``: nearest neighbours, the first frame apart, which stays one, then a
        convolution. ``held`` are elements that callers keep beside its input."""
        frames, *sides = size
        large = tuple(np.asarray(side) * by for side, by in zip(sides, factors[1:], strict=True))
        others, after = np.asarray(frames) - 1, (np.asarray(frames) - 1) * factors[0]
        some = (others > 0).astype(np.int64)
        grown = as_float(factors[1] * factors[2])
        once: Size = (1, *large)
        self.pointwise(f"{name}.first", "upsample", once, width, reads=1 / grown)
        gathered: Size = (np.maximum(others, 1), *sides)
        self.pointwise(f"{name}.gather", "copy", gathered, width, calls=some)
        enlarged: Size = (np.maximum(after, 1), *large)
        self.pointwise(f"{name}.others", "upsample", enlarged, width, reads=1 / (grown * factors[0]), calls=some)
        both = (after + 1, *large)
        self.pointwise(f"{name}.join", "cat", both, width, calls=some)
        x, total = elements(self.a, size, width), elements(self.a, both, width)
        self.causal(name, both, (width, width), held + x + (1 + some) * total)
        return both
