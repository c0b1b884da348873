"""What every model family provides, and what a workload asks of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np

from archsearch.arrays import Flags, FloatArray, Floats, as_float
from archsearch.errors import InvalidInputError
from archsearch.models.field_types import field_problems, fill_in
from archsearch.ops import Attention, OpList
from archsearch.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfusedAttention:
    """What attention needs where no fused kernel runs it: bytes alive at its fullest moment in inference, and bytes
    that training saves in all layers besides what ``MemoryUse`` counts. ``beside`` marks a model beside a pipeline's
    transformer."""

    op: Attention
    alive_bytes: Floats
    saved_bytes: Floats
    beside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Device memory in bytes, by what holds it (scalars or broadcastable arrays), with fused attention.

    ``optimizer`` is what training holds beside weights and activations; ``gradients`` says how much of it are
    gradients, the rest is the optimizer's own. ``unfused`` says what each attention needs without;
    ``archsearch.cost.memory`` chooses by the mask of the kernels that run.
    """

    weights: FloatArray
    activations: FloatArray
    kv_cache: FloatArray = 0.0
    optimizer: FloatArray = 0.0
    gradients: FloatArray = 0.0
    unfused: tuple[UnfusedAttention, ...] = ()

    @property
    def total(self) -> Floats:
        return as_float(self.weights) + self.activations + self.kv_cache + self.optimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A condition that an architecture must meet: ``holds`` is a bool or a broadcastable bool array."""

    reason: str
    holds: Flags


class Modality(StrEnum):
    """What a family's models compute: what decides which quality can be predicted, and what one pass of one is."""

    CAUSAL_LANGUAGE = "causal language"
    """Predicts the next token."""
    MASKED_LANGUAGE = "masked language"
    """Sees a whole sequence, and is trained to fill in tokens."""
    TEXT_ENCODER = "text encoder"
    """Conditions what generates images and videos."""
    CLASS_IMAGE = "class-conditional image"
    """One denoising step of images of a class."""
    IMAGE = "image"
    """One denoising step of images of a text."""
    VIDEO = "video"
    """One denoising step of videos."""
    AUTOENCODER = "autoencoder"
    """Pixels to latents and back."""
    TRACED = "traced"
    """A torch module of the user's: unknown."""

    @property
    def denoises(self) -> bool:
        """Whether one pass is a denoising step."""
        return self in (Modality.CLASS_IMAGE, Modality.IMAGE, Modality.VIDEO)


@runtime_checkable
class ModelConfig(Protocol):
    """One architecture, or a grid of them where fields are arrays. Implemented by dataclasses."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    family: ClassVar[str]
    modality: ClassVar[Modality]
    throughput_unit: ClassVar[str]

    @property
    def default_sizes(self) -> Mapping[str, int]:
        """The workload's sizes where a user names none."""

    def parameters(self) -> Floats:
        """Number of parameters, equal to the reference module's."""

    def active_parameters(self) -> Floats:
        """Parameters that one token passes through."""

    def requirements(self) -> tuple[Requirement, ...]:
        """What must hold for the dimensions to describe a real model."""

    def lower(self, workload: Workload) -> OpList:
        """The operations of the workload's phase, in order."""

    def memory(self, workload: Workload) -> MemoryUse:
        """Device memory that the phase needs."""

    def tokens(self, workload: Workload) -> Floats:
        """Tokens (or images, for generators) that one run of the workload completes: throughput's numerator."""

    def to_dict(self) -> dict[str, Any]:
        """What describes one architecture, as plain Python values."""


class ConfigMixin:
    """Reading and checking shared by the families' frozen dataclasses.

    ``default_sizes`` are the workload's sizes where a user names none; ``throughput_unit`` is what ``tokens`` counts.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    family: ClassVar[str]
    modality: ClassVar[Modality]
    default_sizes: ClassVar[Mapping[str, int]] = {"seq_len": 512}
    throughput_unit: ClassVar[str] = "tokens/s"
    tensor_parallel_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that tensor parallelism divides; none where a family has no tensor and pipeline parallel layouts."""
    plain_layer: ClassVar[str] = ""
    """The block of plain torch (``archsearch/bench/micro/model_blocks.py``) that is one of its layers, if any."""

    def __post_init__(self) -> None:
        fill_in(self)

    def active_parameters(self) -> Floats:
        """Parameters that one token passes through: all of them, but in a mixture of experts."""
        return self.parameters()

    def parameters(self) -> Floats:
        raise NotImplementedError(f"{type(self).__name__} must count its parameters")

    def tokens(self, workload: Workload) -> Floats:
        raise NotImplementedError(f"{type(self).__name__} must say what a run completes")

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Build a config from field values.

        Raises:
            InvalidInputError: unknown or missing fields and values of another kind, one a line, or values that describe
                no real model.
        """
        values = {str(n): tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        problems = field_problems(cls.family, cls, values)
        if problems:
            text = "\n".join(f"{cls.family} config{':' if p.is_value else ''} {p.told}" for p in problems)
            raise InvalidInputError(text, field=[p.field for p in problems])
        config = cls(**values)
        config.check()
        return config

    def to_dict(self) -> dict[str, Any]:
        """Field values as plain Python numbers, strings and booleans (scalar configs only)."""
        values = asdict(self)
        return {k: tuple(map(_plain, v)) if isinstance(v, tuple) else _plain(v) for k, v in values.items()}

    def requirements(self) -> tuple[Requirement, ...]:
        raise NotImplementedError(f"{type(self).__name__} must state its requirements")

    def check(self) -> None:
        """Refuse a config that no real module can have.

        Raises:
            InvalidInputError: the first requirement that some architecture misses.
        """
        for requirement in self.requirements():
            if not np.all(requirement.holds):
                raise InvalidInputError(f"{self.family} config: {requirement.reason}")


def _plain(value: object) -> object:
    """A NumPy scalar as Python's number."""
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def at_least_one(config: object, names: tuple[str, ...]) -> list[Requirement]:
    """One requirement per named field: it is 1 or more."""
    return [
        Requirement(reason=f"{name} must be at least 1", holds=np.asarray(getattr(config, name)) >= 1) for name in names
    ]
