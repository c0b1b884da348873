"""What autoencoders of images and videos share: their phases, and the residual block of group norms and convolutions.

``decode`` turns latents into pixels, ``encode`` pixels into latents, ``forward`` is one after the other. A feature map
is ``size`` (its sides, or frames and sides) by channels; ``held`` are elements that callers keep while a block runs,
which Python does not free before the block returns.

Peaks are of the tensors that live at once and of cuDNN's workspaces (``Assembly.workspace``). What the allocator
reserves is more: freed blocks of smaller stages that fit no larger tensor. Stable Diffusion's decoder is published with
18.5 % of an RTX 3090 at 1024² pixels in 16 bits, 4.7 GB, of which 2.6 GB live and 0.2 GB are weights
(https://github.com/huggingface/diffusers/blob/main/docs/source/en/hybrid_inference/vae_decode.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from archsearch.arrays import Dim, Flags, Floats, as_float
from archsearch.models import blocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import Modality, Requirement
from archsearch.models.modality import ImageModel, VideoModel
from archsearch.models.tally import Elements
from archsearch.ops import MemoryOp
from archsearch.workload import Phase

Size = tuple[Dim, ...]


class ImageAutoencoder(ImageModel):
    """An autoencoder of images: a workload's height and width are pixels; one run is ``batch_size`` images.

    Configs have ``vae_scale_factor``, the pixels per latent along a side.
    """

    modality: ClassVar[Modality] = Modality.AUTOENCODER
    phases: ClassVar[tuple[Phase, ...]] = (Phase.FORWARD, Phase.TRAIN, Phase.ENCODE, Phase.DECODE)
    patch_size: Dim = 1

    def encodes(self, a: Assembly) -> bool:
        """Whether the workload's phase runs the encoder."""
        return a.w.phase is not Phase.DECODE

    def decodes(self, a: Assembly) -> bool:
        """Whether the workload's phase runs the decoder."""
        return a.w.phase is not Phase.ENCODE


class VideoAutoencoder(ImageAutoencoder, VideoModel):
    """An autoencoder of videos; configs also have ``vae_temporal_factor``, frames per latent frame after the first."""

    patch_size_t: Dim = 1


def everywhere(flags: Iterable[Flags]) -> NDArray[np.bool_]:
    """Where all of several conditions hold, an architecture at a time; everywhere where there are none."""
    return reduce(np.logical_and, flags, np.asarray(True))


def elements(a: Assembly, size: Size, channels: Dim) -> Floats:
    """Elements of a batch's feature maps."""
    total = as_float(a.w.batch_size) * as_float(channels)
    for side in size:
        total = total * as_float(side)
    return total


def scaled(size: Size, factor: int) -> Size:
    """Every side times a factor."""
    return tuple(np.asarray(side) * factor for side in size)


def positive_channels(config: object, names: tuple[str, ...], multiple_of: Dim = 1) -> list[Requirement]:
    """One requirement per field of several widths: each is 1 or more, and a whole number of groups."""
    found = []
    for name in names:
        widths = getattr(config, name)
        holds: NDArray[np.bool_] = np.asarray(len(widths) > 0)
        for width in widths:
            holds = holds & (np.asarray(width) >= 1) & (np.asarray(width) % np.maximum(multiple_of, 1) == 0)
        found.append(Requirement(reason=f"{name} must be positive multiples of the norms' groups", holds=holds))
    return found


def posterior(a: Assembly, rows: Dim, channels: Dim) -> None:
    """``DiagonalGaussianDistribution``: log-variances clamped, then deviations and variances."""
    for part, kind in (("clamp", "relu"), ("half", "mulu"), ("deviation", "exp"), ("variance", "exp")):
        a.pointwise(f"posterior.{part}", kind, rows, channels)


def group_norm(
    a: Assembly,
    name: str,
    size: Size,
    channels: Dim,
    groups: Dim,
    *,
    silu: bool = True,
    gathered: bool = False,
) -> None:
    """Group norm over groups of channels, with SiLU after it. PyTorch's kernel wants channels first: ``gathered`` where
    the map lies channels last and is copied. Autograd keeps the norm's input, and SiLU's."""
    rows = blocks.product(a.w.batch_size, groups)
    cols = blocks.product(*size, np.asarray(channels) // np.asarray(groups))
    members: tuple[MemoryOp, ...] = (blocks.pointwise(f"{name}.norm", "groupnorm", rows, cols, a.w),)
    if gathered:
        members = (blocks.pointwise(f"{name}.contiguous", "copy", rows, cols, a.w), *members)
    if silu:
        members += (blocks.pointwise(f"{name}.silu", "silu", rows, cols, a.w),)
    kept = (2.0 if silu else 1.0) * elements(a, size, channels)
    a.op(blocks.group(name, "norm", members, reads=1.0), saves=kept)  # a compiler spreads each group over all SMs
    a.weigh(2 * as_float(channels))


def residual_sum(a: Assembly, name: str, size: Size, channels: Dim) -> None:
    """The residual sum and its division by ``output_scale_factor``, which eager modules run even where it is 1."""
    rows = blocks.product(a.w.batch_size, *size)
    members = (
        blocks.pointwise(f"{name}.add", "add", rows, channels, a.w, reads=2.0),
        blocks.pointwise(f"{name}.scale", "divu", rows, channels, a.w),
    )
    a.op(blocks.group(name, "add", members, reads=2.0))


def resnet(
    a: Assembly,
    name: str,
    size: Size,
    channels: tuple[Dim, Dim],
    groups: Dim,
    *,
    held: Elements = 0.0,
    channels_last: bool = False,
) -> None:
    """``ResnetBlock2D`` without a timestep: twice group norm, SiLU and a 3 · 3 convolution, and the residual sum; the
    residual passes a 1 · 1 convolution where ``channels`` (in, out) differ. ``channels_last`` tells how the block's
    input lies, and so the residual stream after it."""
    into, out = channels
    x, y = elements(a, size, into), elements(a, size, out)
    shortcut = (np.asarray(into) != np.asarray(out)).astype(np.int64)
    group_norm(a, f"{name}.norm1", size, into, groups, gathered=channels_last)
    a.convolution(f"{name}.conv1", into, out, (3, 3), size)
    group_norm(a, f"{name}.norm2", size, out, groups)
    a.convolution(f"{name}.conv2", out, out, (3, 3), size)
    a.convolution(f"{name}.shortcut", into, out, (1, 1), size, calls=shortcut, saves=0, channels_last=channels_last)
    residual_sum(a, f"{name}.sum", size, out)
    a.alive(held + 3 * x)
    a.convolving(held + x, x, y)
    a.alive(held + x + (3 + shortcut) * y)
    a.convolving(held + x, y, y)
