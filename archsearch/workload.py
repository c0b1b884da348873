"""What a model is asked to run: the phase, the input's sizes, the format of its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypedDict, TypeGuard

from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError

if TYPE_CHECKING:
    from archsearch.arrays import Dim

MAX_DIMENSION = 1 << 31
"""Largest size of a config or a workload: products of two stay within 64-bit integers."""

SIZES = ("batch_size", "seq_len", "height", "width", "frames")
"""The fields of a workload that are sizes."""


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


class WorkloadFields(TypedDict, total=False):
    """What a user may say of a workload; what is left out takes the model's default.

    The keywords of ``archsearch.estimate`` and the options of its verbs are these fields with these texts.
    """

    dtype: Annotated[
        str,
        "Format of linear layers: bf16 (default; fp16 or fp32 on a GPU without it), fp16, fp32, tf32, fp8, int8, "
        "fp4 (nvfp4), int8_weight_only, int4_weight_only.",
    ]
    batch_size: Annotated[int, "Sequences, images or videos at a time (1)."]
    seq_len: Annotated[int | None, "Tokens per sequence; context length in decode; text tokens of image models."]
    height: Annotated[int | None, "Image or video height in pixels."]
    width: Annotated[int | None, "Image or video width in pixels."]
    frames: Annotated[int | None, "Video frames."]
    phase: Annotated[str, "forward (default), train, prefill, decode; autoencoders: encode, decode, forward."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The input a model is costed on.

    ``phase`` is what runs, ``batch_size`` sequences, images or videos at a time, ``dtype`` the linear layers' format.
    ``seq_len`` is tokens per sequence, the context length in decode, and of image and video models the text's tokens
    (their config's ``text_seq_len`` where it is left out). ``height`` and ``width`` are pixels, ``frames`` those of the
    video. ``checkpointing`` trains with every layer's input kept and the layer run again in the backward pass.

    Raises:
        InvalidInputError: a size that is no whole number from 1 to ``MAX_DIMENSION``, or training in a format that
            stores weights alone.
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
        for name in SIZES:
            value = getattr(self, name)
            if value is not None and not (is_whole(value) and within(value, 1)):
                raise InvalidInputError(
                    f"{{{name}}} {value} must be a whole number from 1 to {MAX_DIMENSION}", field=name
                )
        if self.phase is Phase.TRAIN and self.dtype.weight_only:
            raise InvalidInputError(f"{{dtype}} {self.dtype.value} is of trained weights: train in bf16", field="dtype")

    @property
    def linear_dtype(self) -> DType:
        """Format of the linear layers' operands."""
        return self.dtype

    @property
    def activation_dtype(self) -> DType:
        """Format of attention, norms and residuals: 8- and 4-bit formats apply to linear layers only."""
        return DType.BF16 if self.dtype.weight_itemsize < 2 else self.dtype


def is_whole(value: object) -> TypeGuard[Dim]:
    """An integer or an array of integers; truth values are neither."""
    if isinstance(value, int):
        return not isinstance(value, bool)
    import numpy as np

    if isinstance(value, np.ndarray):
        return bool(np.issubdtype(value.dtype, np.integer))
    return isinstance(value, np.integer)


def within(value: Dim, smallest: int) -> bool:
    """All of a whole number or an array of them lie between ``smallest`` and ``MAX_DIMENSION``."""
    if isinstance(value, int):
        return smallest <= value <= MAX_DIMENSION
    import numpy as np

    return bool(np.all((value >= smallest) & (value <= MAX_DIMENSION)))
