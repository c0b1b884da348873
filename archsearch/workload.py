"""What a model is asked to run: the phase, the input's sizes, the format of its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeGuard

import numpy as np

from archsearch.arrays import Dim
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError

MAX_DIMENSION = 1 << 31
"""Largest size of a config or a workload: products of two stay within 64-bit integers."""

_WORKLOAD_SIZES = ("batch_size", "seq_len", "height", "width", "frames")


class Phase(StrEnum):
    """What runs: one forward pass, one training step, prompt processing, or decoding.

    ``decode`` is one generated token per sequence of a language model, and latents to pixels of an autoencoder, whose
    ``encode`` is pixels to latents and whose ``forward`` is both.
    """

    FORWARD = "forward"
    TRAIN = "train"
    PREFILL = "prefill"
    DECODE = "decode"
    ENCODE = "encode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The input a model is costed on.

    ``seq_len`` is tokens per sequence, the context length in decode, and of image and video models the text's tokens
    (their config's ``text_seq_len`` where it is left out). ``height`` and ``width`` are pixels, ``frames`` those of the
    video. ``checkpointing`` trains with every layer's input kept and the layer run again in the backward pass.

    Raises:
        InvalidInputError: a size that is no whole number from 1 to ``MAX_DIMENSION``.
    """

    phase: Phase = Phase.FORWARD
    batch_size: Dim = 1
    seq_len: Dim | None = None
    height: Dim | None = None
    width: Dim | None = None
    frames: Dim | None = None
    dtype: DType = DType.BF16
    checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in _WORKLOAD_SIZES:
            value = getattr(self, name)
            if value is not None and not (is_whole(value) and within(value, 1)):
                raise InvalidInputError(
                    f"{{{name}}} {value} must be a whole number from 1 to {MAX_DIMENSION}", field=name
                )

    @property
    def linear_dtype(self) -> DType:
        """Format of the linear layers' operands."""
        return self.dtype

    @property
    def activation_dtype(self) -> DType:
        """Format of attention, norms and residuals: 8- and 4-bit formats apply to linear layers only."""
        return DType.BF16 if self.dtype.itemsize < 2 else self.dtype


def is_whole(value: object) -> TypeGuard[Dim]:
    """An integer or an array of integers; truth values are neither."""
    if isinstance(value, np.ndarray):
        return bool(np.issubdtype(value.dtype, np.integer))
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def within(value: Dim, smallest: int) -> bool:
    """All of a whole number or an array of them lie between ``smallest`` and ``MAX_DIMENSION``."""
    return bool(np.all((value >= smallest) & (value <= MAX_DIMENSION)))
