"""Pieces of CogVideoX's autoencoder: convolutions that see two frames before a chunk of a video, and what is built of
them (diffusers/models/autoencoders/autoencoder_kl_cogvideox.py).

A feature map is its frames within the chunk, its sides and its channels. An odd number of frames, more than one, starts
with the video's first, which stands for itself where others are pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Dim, FloatArray, Floats, Ints, as_float
from archsearch.models import blocks
from archsearch.models.assembly import Assembly
from archsearch.models.autoencoders.autoencoder import Size, elements
from archsearch.models.tally import Elements
from archsearch.ops import MemoryOp

KEPT = 2
"""Frames that a convolution over three sees before a chunk: kept of the chunk before, or the first frame repeated."""
SPLIT_ELEMENTS = 2.0**30
"""Elements of an input beyond which ``CogVideoXSafeConv3d`` cuts it along the frames."""


def is_odd(frames: Dim) -> Ints:
    """1 where a map starts with the video's first frame alone, 0 elsewhere."""
    found: Ints = ((np.asarray(frames) > 1) & (np.asarray(frames) % 2 == 1)).astype(np.int64)
    return found


@dataclass(slots=True)
class Chunk:
    """``repeats`` runs over ``frames`` frames of the input.

    ``before`` are elements that the run before keeps for this one, ``kept`` those kept for the next so far; both live
    until the run ends. ``held`` is what lives all along besides (frames decoded before).
    """

    a: Assembly
    name: str
    repeats: Ints
    frames: Ints
    is_first: bool
    before: Elements = 0.0
    kept: Elements = 0.0
    held: Elements = 0.0

    @classmethod
    def of(cls, a: Assembly, name: str, frames: Dim, step: int) -> Iterator[Chunk]:
        """The first chunk, which takes what is left of ``frames`` by ``step``, the second and all later ones."""
        count = np.maximum(np.asarray(frames) // step, 1)
        first = cls(a, f"{name}.first", np.asarray(1), np.asarray(frames) - step * (count - 1), True)
        yield first
        second = cls(a, f"{name}.second", np.clip(count - 1, 0, 1), np.asarray(step), False, first.kept)
        yield second
        yield cls(a, f"{name}.later", np.maximum(count - 2, 0), np.asarray(step), False, second.left())

    def left(self) -> Elements:
        """Elements kept after the run: those of before where there is none."""
        return np.where(self.repeats > 0, as_float(self.kept), as_float(self.before))

    def weights(self) -> AbstractContextManager[None]:
        """Around a run: weights count in the first chunk alone."""
        return nullcontext() if self.is_first else self.a.again()

    def times(self, count: Dim = 1, carries: Elements = 0.0) -> AbstractContextManager[None]:
        """``count`` modules alike, in every repeat."""
        return self.a.layers(self.repeats * np.asarray(count), carries=carries)

    def alive(self, live: Elements) -> None:
        """A moment with ``live`` elements besides what is kept and held."""
        self.a.alive(as_float(live + self.before + self.kept + self.held) * (self.repeats > 0))

    def elements(self, frames: Dim, size: Size, channels: Dim) -> Floats:
        """Elements of feature maps."""
        return elements(self.a, (frames, *size), channels)

    def pointwise(
        self,
        name: str,
        kind: str,
        frames: Dim,
        size: Size,
        channels: Dim,
        *,
        reads: FloatArray = 1.0,
        writes: FloatArray = 1.0,
        calls: Dim = 1,
    ) -> None:
        """One bandwidth-bound kernel over a feature map."""
        rows = blocks.product(self.a.w.batch_size, frames, *size)
        self.a.pointwise(f"{self.name}.{name}", kind, rows, channels, reads=reads, writes=writes, calls=calls)

    def causal(self, name: str, frames: Dim, size: Size, channels: tuple[Dim, Dim], live: Elements) -> None:
        """A 3 · 3 · 3 convolution over the frames and the two before them, which are joined with them; the last two are
        copied for the next chunk. ``live`` are elements alive beside all this, the input among them."""
        frame = self.elements(1, size, channels[0])
        self.pointwise(f"{name}.join", "cat", np.asarray(frames) + KEPT, size, channels[0])
        self.pointwise(f"{name}.keep", "copy", KEPT, size, channels[0])
        self.kept = self.kept + KEPT * frame
        self._convolution(name, frames, size, channels, KEPT, live + frame * (as_float(frames) + KEPT))

    def position_wise(
        self, name: str, frames: Dim, size: Size, channels: tuple[Dim, Dim], live: Elements, *, calls: Dim, saves: float
    ) -> None:
        """A convolution over single positions; ``live`` are elements alive beside its output, its input among them."""
        self._convolution(name, frames, size, channels, 0, live, calls=calls, saves=saves)

    def _convolution(
        self,
        name: str,
        frames: Dim,
        size: Size,
        channels: tuple[Dim, Dim],
        more: int,
        live: Elements,
        *,
        calls: Dim = 1,
        saves: float = 1.0,
    ) -> None:
        """A convolution of ``frames + more`` frames, in parts where the input is large: each part but the first is
        joined with the frames before it, and the results are joined."""
        found = np.asarray(frames) + more
        into, out = self.elements(found, size, channels[0]), self.elements(frames, size, channels[1])
        wanted = np.where(into > SPLIT_ELEMENTS, into // SPLIT_ELEMENTS + 1, 1).astype(np.int64)
        part = -(-found // wanted)
        parts = -(-found // part)
        cut = (parts > 1).astype(np.int64)
        copied = cut * (found - part + more * (parts - 1)) * (more > 0)  # frames
        self.pointwise(f"{name}.cut", "cat", np.maximum(copied, 1), size, channels[0], calls=(copied > 0) * calls)
        window = 3 if more else 1
        self.a.convolution(
            f"{self.name}.{name}",
            *channels,
            (window, window, window),
            (frames, *size),
            input_size=(found, *size),
            calls=calls,
            saves=saves,
        )
        self.pointwise(f"{name}.join_parts", "cat", frames, size, channels[1], calls=cut * calls)
        share = as_float(np.minimum(part + more * cut, found)) / as_float(found)
        work = self.a.workspace(into, out) * share if more else 0.0
        beside = live + copied * self.elements(1, size, channels[0]) + out
        self.alive(np.where(np.asarray(calls) > 0, beside + np.maximum(work, cut * out), 0.0))

    def spatial_norm(self, name: str, frames: Dim, size: Size, channels: Dim, latents: Size, live: Elements) -> None:
        """``CogVideoXSpatialNorm3D`` and SiLU: a group norm, scaled and shifted by convolutions of the chunk's latents
        at the map's size. ``live`` are elements alive besides, the map among them. ``latents`` are those latents'
        frames, sides and channels; their enlarged copies are kept, though nothing uses them."""
        width, one = latents[-1], self.elements(frames, size, channels)
        enlarged = self.elements(frames, size, width)
        odd = is_odd(frames)
        self.pointwise(
            f"{name}.enlarge", "upsample", frames, size, width, reads=as_float(latents[0]) / as_float(frames)
        )
        self.pointwise(f"{name}.enlarge_first", "upsample", 1, size, width, reads=0.0, calls=odd)
        self.pointwise(f"{name}.join_first", "cat", frames, size, width, calls=odd)
        both = enlarged * (1 + as_float(odd))
        self.pointwise(f"{name}.keep", "copy", frames, size, width, calls=2)
        self.kept = self.kept + 2 * enlarged
        self.position_wise(f"{name}.scale+shift", frames, size, (width, channels), live + both + one, calls=2, saves=0)
        self.a.save(enlarged)
        rows, cols = blocks.product(self.a.w.batch_size, frames, *size), channels
        members: tuple[MemoryOp, ...] = (
            blocks.pointwise(f"{self.name}.{name}.norm", "groupnorm", rows, cols, self.a.w),
            blocks.pointwise(f"{self.name}.{name}.scaled", "mul", rows, cols, self.a.w, reads=2.0),
            blocks.pointwise(f"{self.name}.{name}.shifted", "add", rows, cols, self.a.w, reads=2.0),
            blocks.pointwise(f"{self.name}.{name}.silu", "silu", rows, cols, self.a.w),
        )
        self.a.op(blocks.group(f"{self.name}.{name}", "norm", members, reads=3.0), saves=4 * one)
        self.a.weigh(2 * as_float(channels))
        self.alive(live + both + 5 * one)

    def group_norm(self, name: str, frames: Dim, size: Size, channels: Dim, live: Elements) -> None:
        """A group norm and SiLU; ``live`` are elements alive besides, the map among them."""
        rows, one = blocks.product(self.a.w.batch_size, frames, *size), self.elements(frames, size, channels)
        members: tuple[MemoryOp, ...] = (
            blocks.pointwise(f"{self.name}.{name}.norm", "groupnorm", rows, channels, self.a.w),
            blocks.pointwise(f"{self.name}.{name}.silu", "silu", rows, channels, self.a.w),
        )
        self.a.op(blocks.group(f"{self.name}.{name}", "norm", members, reads=1.0), saves=2 * one)
        self.a.weigh(2 * as_float(channels))
        self.alive(live + 2 * one)

    def norm(self, name: str, frames: Dim, size: Size, channels: Dim, latents: Size | None, live: Elements) -> None:
        """The decoder's norm where there are ``latents``, else the encoder's."""
        if latents is None:
            self.group_norm(name, frames, size, channels, live)
        else:
            self.spatial_norm(name, frames, size, channels, latents, live)

    def resnet(
        self,
        name: str,
        frames: Dim,
        size: Size,
        channels: tuple[Dim, Dim],
        latents: Size | None,
        held: Elements = 0.0,
        *,
        gathered: bool = False,
    ) -> None:
        """``CogVideoXResnetBlock3D``: twice norm, SiLU and a causal convolution; the residual passes a convolution over
        single positions where ``channels`` differ. ``held`` are elements that callers keep beside the input, which the
        first norm copies where it lies frame by frame (``gathered``)."""
        into, out = channels
        x, y = self.elements(frames, size, into), self.elements(frames, size, out)
        differs = (np.asarray(into) != np.asarray(out)).astype(np.int64)
        self.pointwise(f"{name}.gather", "copy", frames, size, into, calls=int(gathered))
        self.norm(f"{name}.norm1", frames, size, into, latents, held + x)
        self.causal(f"{name}.conv1", frames, size, channels, held + 2 * x)
        self.norm(f"{name}.norm2", frames, size, out, latents, held + x + y)
        self.causal(f"{name}.conv2", frames, size, (out, out), held + x + y)
        self.position_wise(f"{name}.shortcut", frames, size, channels, held + x + y, calls=differs, saves=0)
        self.a.save(differs * gathered * x)
        self.pointwise(f"{name}.sum", "add", frames, size, out, reads=2.0)
        self.alive(held + x + (2 + differs) * y)

    def resnets(
        self,
        name: str,
        frames: Dim,
        size: Size,
        channels: tuple[Dim, Dim],
        count: Dim,
        latents: Size | None,
        *,
        gathered: bool = False,
    ) -> None:
        """``count`` residual blocks, of which the first changes the width; the stage's input lives until all are
        through, and lies frame by frame where it is ``gathered``."""
        given, inside = self.elements(frames, size, channels[0]), self.elements(frames, size, channels[1])
        with self.times(carries=given):
            self.resnet(f"{name}.first", frames, size, channels, latents, gathered=gathered)
        rest, before = np.asarray(count) - 1, self.kept
        each = self._kept_by_resnet(frames, size, channels[1], latents)
        self.kept = self.kept + np.maximum(rest - 1, 0) * each  # the last of them runs beside what the others keep
        with self.times(rest, carries=inside):
            same = (channels[1], channels[1])
            self.resnet(f"{name}.rest", frames, size, same, latents, given * (rest > 0))
        self.kept = before + np.maximum(rest, 0) * each

    def _kept_by_resnet(self, frames: Dim, size: Size, width: Dim, latents: Size | None) -> Floats:
        """Elements that a residual block of one width keeps for the next chunk."""
        frames_kept = 2 * KEPT * self.elements(1, size, width)
        return frames_kept if latents is None else frames_kept + 4 * self.elements(frames, size, latents[-1])

    def downsample(
        self, name: str, frames: Dim, size: Size, width: Dim, held: Elements, *, temporal: bool
    ) -> tuple[Ints, Size]:
        """``CogVideoXDownsample3D``: pairs of frames are averaged, then a convolution of each to half the sides."""
        x = self.elements(frames, size, width)
        live, after = held + x, np.asarray(frames)
        if temporal:
            odd, after = is_odd(frames), -(-np.asarray(frames) // 2)
            self.pointwise(f"{name}.frames_last", "transpose", frames, size, width)
            pairs = np.asarray(frames) // 2
            some = (pairs > 0).astype(np.int64)
            self.pointwise(f"{name}.average", "mulu", np.maximum(pairs, 1), size, width, reads=2.0, calls=some)
            self.pointwise(f"{name}.join_first", "cat", after, size, width, calls=1 - some * (1 - odd))
            single = as_float(odd | (1 - some))  # the first frame stays, and with it the map that it is of
            averaged, joined = self.elements(pairs, size, width), self.elements(after, size, width)
            self.alive(live + x + averaged + single * joined)
            live = live + single * (x + averaged) + joined
            self.a.save(x)
        half = tuple(np.asarray(side) // 2 for side in size)
        wide = tuple(np.asarray(side) + 1 for side in size)
        grown = as_float(blocks.product(*wide)) / as_float(blocks.product(*size))
        self.pointwise(f"{name}.pad", "pad", after, size, width, writes=grown)
        padded, out = self.elements(after, wide, width), self.elements(after, half, width)
        self._frame_by_frame(name, after, half, width, wide, (2, 2))
        self.alive(live + padded)
        several = self.a.w.batch_size > 1
        self.alive(held + x + (1 + several) * padded + out + self.a.workspace(padded, out))
        return after, half

    def upsample(
        self, name: str, frames: Dim, size: Size, width: Dim, held: Elements, *, temporal: bool
    ) -> tuple[Ints, Size]:
        """``CogVideoXUpsample3D``: nearest neighbours in both sides, and over time but for the first frame, then a
        convolution of each frame. ``held`` are elements alive besides its input."""
        odd, after = is_odd(frames), np.asarray(frames)
        if temporal:
            after = np.where(after > 1, 2 * after - odd, 1)
        double = tuple(np.asarray(side) * 2 for side in size)
        x, large = self.elements(frames, size, width), self.elements(after, double, width)
        self.pointwise(
            f"{name}.nearest", "upsample", after, double, width, reads=as_float(frames) / (4 * as_float(after))
        )
        parts = as_float(odd) * large if temporal else 0.0
        if temporal:
            self.pointwise(f"{name}.join_first", "cat", after, double, width, calls=odd)
        live = held + x + parts
        self.alive(live + large)
        self._frame_by_frame(name, after, double, width, double, None)
        several = self.a.w.batch_size > 1
        self.alive(live + (2 + several) * large + self.a.workspace(large, large))
        return after, double

    def _frame_by_frame(
        self,
        name: str,
        frames: Dim,
        out_size: Size,
        width: Dim,
        input_size: Size,
        stride: tuple[int, int] | None,
    ) -> None:
        """A 3 · 3 convolution of each frame, which several videos are laid out for."""
        if self.a.w.batch_size > 1:
            self.pointwise(f"{name}.lay_out", "transpose", frames, input_size, width)
        batch = blocks.product(self.a.w.batch_size, frames)
        self.a.convolution(
            f"{self.name}.{name}.conv",
            width,
            width,
            (3, 3),
            out_size,
            batch=batch,
            stride=stride,
            input_size=input_size if stride else None,
        )
