"""A video that passes causal 3D convolutions a few frames at a time, as diffusers' ``AutoencoderKLWan`` runs it.

Each convolution over three frames keeps the last two frames of its input for the next chunk. The first chunk finds
nothing kept, the second the first's single frame, all others two. A chunk's kernels are said once and repeated for the
chunks alike; what its convolutions keep counts as alive all along.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from archsearch.arrays import Dim, FloatArray, Floats, Ints, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.autoencoders.autoencoder import Size, elements
from archsearch.models.tally import Elements
from archsearch.ops import MemoryOp

KEPT = 2
"""Frames that a convolution keeps (``CACHE_T``)."""


@dataclass(slots=True)
class Chunk:
    """``repeats`` runs over a chunk whose convolutions find ``known`` frames kept.

    ``cached`` are the elements kept at this point of the run, ``held`` those that live all along besides (frames
    decoded before). ``frames`` below are those of a feature map within the chunk.
    """

    a: Assembly
    name: str
    repeats: Ints
    known: int
    cached: Elements = 0.0
    held: Elements = 0.0

    @classmethod
    def of(cls, a: Assembly, name: str, chunks: Dim) -> Iterator[Chunk]:
        """The first chunk, the second, and all others of ``chunks``."""
        cached: Elements = 0.0
        for known, (part, repeats) in enumerate(
            (("first", 1), ("second", np.clip(chunks - 1, 0, 1)), ("later", np.maximum(chunks - 2, 0)))
        ):
            chunk = cls(a, f"{name}.{part}", np.asarray(repeats), known, cached)
            yield chunk
            cached = chunk.kept(cached)

    def kept(self, before: Elements) -> Elements:
        """Elements kept after the run: those ``before`` where there is none."""
        return np.where(self.repeats > 0, self.cached, before)

    def weights(self) -> AbstractContextManager[None]:
        """Around a run: weights count in the first chunk alone."""
        return self.a.again() if self.known else nullcontext()

    def times(self, count: Dim = 1, carries: Elements = 0.0) -> AbstractContextManager[None]:
        """``count`` modules alike, in every repeat."""
        return self.a.layers(np.asarray(self.repeats) * np.asarray(count), carries=carries)

    def alive(self, live: Elements) -> None:
        """A moment with ``live`` elements besides what is cached and held."""
        self.a.alive(as_float(live + self.cached + self.held) * (self.repeats > 0))

    def elements(self, frames: int, size: Size, channels: Dim) -> Floats:
        """Elements of feature maps."""
        return elements(self.a, (frames, *size), channels)

    def rows(self, frames: int, size: Size) -> Ints:
        """Positions of feature maps."""
        return blocks.product(self.a.w.batch_size, frames, *size)

    def newly_kept(self, frames: int) -> int:
        """Frames that a convolution keeps beyond those that it kept before."""
        return min(KEPT, self.known + frames) - self.known

    def pointwise(
        self,
        name: str,
        kind: str,
        frames: int,
        size: Size,
        channels: Dim,
        *,
        reads: FloatArray = 1.0,
        writes: FloatArray = 1.0,
        calls: Dim = 1,
        dtype: DType | None = None,
    ) -> None:
        """One bandwidth-bound kernel over a feature map."""
        rows, full_name = self.rows(frames, size), f"{self.name}.{name}"
        self.a.pointwise(full_name, kind, rows, channels, reads=reads, writes=writes, calls=calls, dtype=dtype)

    def norm(self, name: str, frames: int, size: Size, channels: Dim, *, silu: bool = True) -> None:
        """``WanRMS_norm``: in 32 bits the channels' length, clamped, divides; then scale, weight and an addition of 0.

        16-bit models cast up and back. Autograd keeps the 32-bit input, its lengths before and after the clamp, what
        the weight multiplies, and SiLU's input.
        """
        w, half, rows = self.a.w, dblocks.is_half(self.a.w), self.rows(frames, size)
        few = 1.0 / as_float(channels)
        members: tuple[MemoryOp, ...] = (
            blocks.pointwise(
                f"{self.name}.{name}.eager",
                "mul",
                rows,
                channels,
                w,
                reads=12.0 + 2 * few if half else 6.0 + few,
                writes=8.0 + 4 * few if half else 4.0 + 2 * few,
                kernels=8 if half else 6,
            ),
        )
        if silu:
            members += (blocks.pointwise(f"{self.name}.{name}.silu", "silu", rows, channels, w),)
        one = self.elements(frames, size, channels)
        kept = ((3.0 if half else 2.0) + silu + (4.0 if half else 2.0) * few) * one
        self.a.op(blocks.group(f"{self.name}.{name}", "rmsnorm", members, reads=1.0), saves=kept)
        self.a.weigh(as_float(channels))

    def norm_peak(self, one: Elements) -> Floats:
        """Elements alive in a norm of ``one`` elements, its input apart."""
        return (4.0 if dblocks.is_half(self.a.w) else 3.0) * as_float(one)

    def causal(
        self, name: str, frames: int, size: Size, channels: tuple[Dim, Dim], live: Elements, *, channels_last: bool
    ) -> None:
        """A 3 · 3 · 3 convolution with kept frames: its input's last frames copied, joined with the one kept where the
        chunk has a single frame, then everything kept and the input joined, padded and convolved. ``live`` are elements
        alive beside all this, the input among them."""
        frame = self.elements(1, size, channels[0])
        last, found = min(frames, KEPT), self.known + frames
        self.pointwise(f"{name}.keep", "copy", last, size, channels[0])
        if self.known and last < KEPT:
            self.pointwise(f"{name}.keep_both", "cat", KEPT, size, channels[0])
        if self.known:
            self.pointwise(f"{name}.join", "cat", found, size, channels[0])
        wide = tuple(np.asarray(side) + 2 for side in size)
        padded = (frames + KEPT) * as_float(blocks.product(*wide)) / as_float(blocks.product(*size))
        self.pointwise(f"{name}.pad", "pad", 1, size, channels[0], reads=float(found), writes=padded)
        self.a.convolution(
            f"{self.name}.{name}",
            *channels,
            (3, 3, 3),
            (frames, *size),
            input_size=(frames + KEPT, *wide),
            channels_last=channels_last,
        )
        kept = self.known + self.newly_kept(frames)
        joined = found if self.known else 0
        self.alive(live + frame * (kept + joined + padded))
        into, out = frame * padded, self.elements(frames, size, channels[1])
        self.alive(live + frame * kept + into + out + self.a.workspace(into, out))
        self.cached = self.cached + self.newly_kept(frames) * frame

    def resnet(
        self,
        name: str,
        frames: int,
        size: Size,
        channels: tuple[Dim, Dim],
        held: Elements = 0.0,
        *,
        channels_last: bool,
    ) -> None:
        """``WanResidualBlock``: twice norm, SiLU and a causal convolution; the residual passes a convolution over
        single positions where ``channels`` differ. ``held`` are elements that callers keep beside the input."""
        into, out = channels
        x, y = self.elements(frames, size, into), self.elements(frames, size, out)
        differs = (np.asarray(into) != np.asarray(out)).astype(np.int64)
        shortcut = differs * y
        self.pointwise(f"{name}.shortcut.pad", "pad", frames, size, into, calls=differs)  # by nothing, but a copy
        options: dict[str, Any] = {"calls": differs, "saves": 0, "channels_last": channels_last}
        self.a.convolution(f"{self.name}.{name}.shortcut", into, out, (1, 1, 1), (frames, *size), **options)
        self.a.save(differs * x)
        self.alive(held + 2 * x + shortcut)
        self.norm(f"{name}.norm1", frames, size, into)
        self.alive(held + x + shortcut + self.norm_peak(x))
        self.causal(f"{name}.conv1", frames, size, channels, held + 2 * x + shortcut, channels_last=channels_last)
        self.norm(f"{name}.norm2", frames, size, out)
        self.alive(held + x + shortcut + y + self.norm_peak(y))
        self.causal(f"{name}.conv2", frames, size, (out, out), held + x + shortcut + y, channels_last=channels_last)
        self.pointwise(f"{name}.sum", "add", frames, size, out, reads=2.0)
        self.alive(held + x + shortcut + 2 * y)

    def resnets(
        self,
        name: str,
        frames: int,
        size: Size,
        channels: tuple[Dim, Dim],
        count: Dim,
        *,
        held: bool,
        channels_last: bool,
    ) -> None:
        """``count`` residual blocks, of which the first changes the width; ``held`` where the stage's input lives until
        the stage is through."""
        given, inside = self.elements(frames, size, channels[0]), self.elements(frames, size, channels[1])
        with self.times(carries=given):
            self.resnet(f"{name}.first", frames, size, channels, channels_last=channels_last)
        rest = np.asarray(count) - 1
        kept = 2 * self.newly_kept(frames) * self.elements(1, size, channels[1])
        self.cached = self.cached + np.maximum(rest - 1, 0) * kept  # the last of them runs beside the others' frames
        before = self.cached
        with self.times(rest, carries=inside):
            out = (channels[1], channels[1])
            self.resnet(f"{name}.rest", frames, size, out, given * held * (rest > 0), channels_last=channels_last)
        self.cached = np.where(rest > 0, self.cached, before)

    def attention(self, name: str, frames: int, size: Size, width: Dim) -> None:
        """``WanAttentionBlock``: one head over the positions of each frame. Its result lies channels last."""
        one, batch = self.elements(frames, size, width), blocks.product(self.a.w.batch_size, frames)
        self.norm(f"{name}.norm", frames, size, width, silu=False)
        a, own = self.a, f"{self.name}.{name}"
        a.convolution(f"{own}.qkv_proj", width, blocks.product(3, width), (1, 1), size, batch=batch)
        self.pointwise(f"{name}.lay_out", "transpose", frames, size, blocks.product(3, width))
        a.attention(f"{own}.core", heads=1, head_dim=width, seq_q=blocks.product(*size), batch=batch)
        a.convolution(f"{own}.proj", width, width, (1, 1), size, batch=batch, channels_last=True)
        self.pointwise(f"{name}.sum", "add", frames, size, width, reads=2.0)
        a.save(3 * one)
        self.alive(9 * one)

    def downsample(self, name: str, frames: int, size: Size, width: Dim, *, temporal: bool) -> tuple[int, Size]:
        """``WanResample`` to half the sides, and half the frames after the first chunk."""
        half, wide = tuple(np.asarray(side) // 2 for side in size), tuple(np.asarray(side) + 1 for side in size)
        grown = as_float(blocks.product(*wide)) / as_float(blocks.product(*size))
        self.pointwise(f"{name}.pad", "pad", frames, size, width, writes=grown)
        self.a.convolution(
            f"{self.name}.{name}.conv",
            width,
            width,
            (3, 3),
            half,
            batch=blocks.product(self.a.w.batch_size, frames),
            stride=(2, 2),
            input_size=wide,
        )
        x, y = self.elements(frames, size, width), self.elements(frames, half, width)
        self.alive(2 * x + y)
        if not temporal:
            return frames, half
        frame = self.elements(1, half, width)
        self.pointwise(f"{name}.keep", "copy", 1, half, width)
        if not self.known:
            self.cached = self.cached + frame
            self.a.weigh(3 * as_float(width) * as_float(width) + as_float(width))
            return frames, half
        self.pointwise(f"{name}.join", "cat", 1 + frames, half, width)
        self.pointwise(f"{name}.time_pad", "pad", 1 + frames, half, width)
        self.a.convolution(
            f"{self.name}.{name}.time_conv",
            width,
            width,
            (3, 1, 1),
            (frames // 2, *half),
            stride=(2, 1, 1),
            input_size=(1 + frames, *half),
        )
        self.alive(x + y + frame * (1 + 2 * (1 + frames)))
        return frames // 2, half

    def upsample(
        self, name: str, frames: int, size: Size, width: Dim, held: Elements, *, temporal: bool, channels_last: bool
    ) -> tuple[int, Size]:
        """``WanResample`` to twice the sides and half the channels, and twice the frames after the first chunk: nearest
        neighbours in 32 bits, then a convolution of each frame."""
        given = self.elements(frames, size, width)
        if temporal:
            frames = self._double_frames(name, frames, size, width, held, channels_last=channels_last)
            channels_last = channels_last and not self.known
        double = tuple(np.asarray(side) * 2 for side in size)
        half, batch = dblocks.is_half(self.a.w), blocks.product(self.a.w.batch_size, frames)
        if half:
            self.pointwise(f"{name}.cast", "cast", frames, size, width, writes=2.0)
        self.pointwise(f"{name}.nearest", "upsample", frames, double, width, reads=0.25, dtype=DType.FP32)
        if half:
            self.pointwise(f"{name}.cast_back", "cast", frames, double, width, reads=2.0)
        into, out = np.asarray(width), np.asarray(width) // 2
        self.a.convolution(
            f"{self.name}.{name}.conv", into, out, (3, 3), double, batch=batch, channels_last=channels_last
        )
        x = self.elements(frames, size, width)
        grown = self.known and temporal  # the chunk's input lives beside its doubled frames
        self.alive(held + (given if grown else 0.0) + x + (12 if half else 6) * x)
        return frames, double

    def _double_frames(
        self,
        name: str,
        frames: int,
        size: Size,
        width: Dim,
        held: Elements,
        *,
        channels_last: bool,
    ) -> int:
        """A convolution over time to twice the channels, which become frames; the first chunk leaves it out."""
        both = blocks.product(2, width)
        if not self.known:
            self.a.weigh(3 * as_float(width) * as_float(both) + as_float(both))
            return frames
        one, found = self.elements(1, size, width), frames + (KEPT if self.known > 1 else 0)
        last = min(frames, KEPT)
        self.pointwise(f"{name}.keep", "copy", last, size, width)
        if last < KEPT and self.known == 1:
            self.pointwise(f"{name}.zeros", "fill", 1, size, width)
        if last < KEPT:
            self.pointwise(f"{name}.keep_both", "cat", KEPT, size, width)
        if self.known > 1:
            self.pointwise(f"{name}.join", "cat", found, size, width)
        padded = frames + KEPT
        self.pointwise(f"{name}.time_pad", "pad", 1, size, width, reads=float(found), writes=float(padded))
        self.a.convolution(
            f"{self.name}.{name}.time_conv",
            width,
            both,
            (3, 1, 1),
            (frames, *size),
            input_size=(padded, *size),
            channels_last=channels_last,
        )
        self.pointwise(f"{name}.interleave", "transpose", 2 * frames, size, width)
        joined = found if self.known > 1 else 0
        self.alive(held + one * (frames + KEPT + joined + padded))
        self.alive(held + one * (5 * frames + KEPT))
        if self.known == 1:
            self.cached = self.cached + KEPT * one
        return 2 * frames
