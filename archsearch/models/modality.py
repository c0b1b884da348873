"""What text, image and video models ask of a workload: sizes that must be there, and the grid of latent tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import numpy as np

from archsearch.arrays import Dim, Floats, Ints, as_float
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models import blocks
from archsearch.models.assembly import Assembled
from archsearch.models.base import Modality, ModelConfig
from archsearch.workload import Phase, Workload

_ONE_PASS = (Phase.FORWARD, Phase.TRAIN)


def sizes_read(model: ModelConfig | type[ModelConfig]) -> frozenset[str]:
    """Sizes of a workload that a family reads, the batch apart; none where a torch module's builder says."""
    read = set(cast("Mapping[str, int]", model.default_sizes))
    if not read or model.modality is Modality.TRACED:
        return frozenset()
    if hasattr(model, "text_seq_len") or "text_seq_len" in getattr(model, "__dataclass_fields__", {}):
        read.add("seq_len")
    if "height" in read:
        read.add("frames")  # an image model says itself that it makes one
    return frozenset(read)


class TextModel(Assembled):
    """A model over token sequences: ``seq_len`` is needed. ``phases`` lists what it can run."""

    modality: ClassVar[Modality] = Modality.TEXT_ENCODER
    phases: ClassVar[tuple[Phase, ...]] = _ONE_PASS

    @property
    def has_output_matrix(self) -> bool:
        """Whether logits come from a matrix of their own, neither left out nor the embedding's."""
        return False

    def smallest_workload(self) -> Workload:
        return Workload(seq_len=1)

    def tokens(self, workload: Workload) -> Floats:
        """Tokens that one run completes."""
        new = 1 if workload.phase is Phase.DECODE else self.sequence(workload)
        return as_float(workload.batch_size) * as_float(new)

    def sequence(self, workload: Workload) -> Dim:
        """Tokens per sequence (the context's in decode).

        Raises:
            InvalidInputError: none given, or more than the model has learned positions for.
            UnsupportedError: a phase that the model does not have.
        """
        _check_phase(self, workload, self.phases)
        if workload.seq_len is None:
            text = f"a model of family {self.family} needs the sequence length: {{seq_len}} N"
            raise InvalidInputError(text, field="seq_len")
        limit = getattr(self, "max_position_embeddings", None)
        if limit is not None and getattr(self, "positions", "") == "learned" and np.any(workload.seq_len > limit):
            text = f"{{seq_len}} {workload.seq_len} exceeds the model's {limit} learned positions"
            raise InvalidInputError(text, field="seq_len")
        return workload.seq_len


class ImageModel(Assembled):
    """A transformer over latent patches of images: a workload's height and width are pixels.

    Configs have ``vae_scale_factor`` (pixels per latent along a side) and ``patch_size`` (latents per token), and
    ``text_seq_len`` where text conditions them; one pass is one denoising step of ``batch_size`` images.
    """

    modality: ClassVar[Modality] = Modality.IMAGE
    phases: ClassVar[tuple[Phase, ...]] = _ONE_PASS
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 1024, "width": 1024}
    throughput_unit: ClassVar[str] = "images/s"
    video: ClassVar[bool] = False
    packs_latents: ClassVar[bool] = False
    """Whether ``in_channels`` and ``out_channels`` count those of a patch, patch_size² latents packed into a token."""
    vae_scale_factor: Dim
    patch_size: Dim

    def smallest_workload(self) -> Workload:
        side = blocks.product(self.vae_scale_factor, self.patch_size)
        return Workload(height=side, width=side, frames=1)

    def tokens(self, workload: Workload) -> Floats:
        """Images or videos: one pass moves ``batch_size`` of them one step on."""
        self.grid(workload)
        return as_float(workload.batch_size)

    def text_tokens(self, workload: Workload) -> Dim:
        """Tokens of text per image: the workload's ``seq_len``, else the config's ``text_seq_len``."""
        default: Dim = getattr(self, "text_seq_len", 0)
        return default if workload.seq_len is None else workload.seq_len

    def grid(self, workload: Workload) -> tuple[Ints, Ints]:
        """Patches along height and width.

        Raises:
            InvalidInputError: height or width missing, or no whole number of patches.
            UnsupportedError: a phase that image models do not have.
        """
        _check_phase(self, workload, self.phases)
        if not self.video and workload.frames is not None and np.any(np.asarray(workload.frames) != 1):
            raise InvalidInputError(f"{self.family} generates single images: leave out {{frames}}", field="frames")
        step = blocks.product(self.vae_scale_factor, self.patch_size)
        return _sides(self.family, workload, step, "vae_scale_factor · patch_size")


class VideoModel(ImageModel):
    """A transformer over latent patches of videos: a workload's ``frames`` are those of the video.

    Beside ``ImageModel``'s fields configs have ``vae_temporal_factor`` (frames per latent frame after the first) and
    ``patch_size_t`` (latent frames per token). Causal video autoencoders encode 1 + n · factor frames to 1 + n latent
    frames.
    """

    modality: ClassVar[Modality] = Modality.VIDEO
    video: ClassVar[bool] = True
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 480, "width": 832, "frames": 81}
    throughput_unit: ClassVar[str] = "videos/s"
    vae_temporal_factor: Dim
    patch_size_t: Dim

    def latent_frames(self, workload: Workload) -> Ints:
        """Patches along time.

        Raises:
            InvalidInputError: frames missing, or no whole number of latent frames or patches.
        """
        if workload.frames is None:
            text = f"a model of family {self.family} needs the number of frames: {{frames}} F"
            raise InvalidInputError(text, field="frames")
        frames, factor = np.asarray(workload.frames), np.asarray(self.vae_temporal_factor)
        if np.any((frames - 1) % factor):
            raise InvalidInputError(
                f"{{frames}} {workload.frames} must be 1 more than a multiple of {factor} (vae_temporal_factor)",
                field="frames",
            )
        latents = 1 + (frames - 1) // factor
        patches: Ints = -(-latents // np.asarray(self.patch_size_t))
        return patches


def _sides(family: str, w: Workload, step: Ints, why: str) -> tuple[Ints, Ints]:
    """Height and width in steps of ``step`` pixels, which must divide them."""
    missing = [side for side in ("height", "width") if getattr(w, side) is None]
    if missing:
        names = " and ".join(f"{{{side}}}" for side in missing)
        raise InvalidInputError(f"a model of family {family} needs the image's size in pixels: {names}", field=missing)
    for side in ("height", "width"):
        size = np.asarray(getattr(w, side))
        if np.any(size % step) or np.any(size < 1):
            text = f"{{{side}}} {getattr(w, side)} must be a multiple of {step} pixels ({why})"
            raise InvalidInputError(text, field=side)
    return np.asarray(w.height) // step, np.asarray(w.width) // step


def _check_phase(model: Assembled, w: Workload, phases: tuple[Phase, ...]) -> None:
    if w.phase not in phases:
        possible = " or ".join(p.value for p in phases)
        raise UnsupportedError(f"family {model.family} has no {w.phase.value} phase; use {possible}", field="phase")
