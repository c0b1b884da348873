"""The file format of a generation pipeline (``pipelines/*.yaml``), checked by pydantic."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError
from archsearch.quality.sampling_table import CheckpointRecord
from archsearch.yaml_records import Record


class Guidance(StrEnum):
    """Transformer passes per step: ``none`` one; ``cfg`` two (conditional and unconditional); ``distilled`` one, with
    the guidance scale as an input of the model (https://arxiv.org/abs/2210.03142)."""

    NONE = "none"
    CFG = "cfg"
    DISTILLED = "distilled"

    @property
    def passes(self) -> int:
        return 2 if self is Guidance.CFG else 1


class ComponentRecord(Record):
    """One model of a pipeline: ``model`` names a preset or a file, or ``family`` and ``config`` describe it.

    ``dtype`` is the format that the pipeline runs it in, where that is not the transformer's.
    """

    model: str | None = Field(default=None, description="a preset or a file; or family and config")
    family: str | None = Field(default=None, description="the model family, with config")
    config: dict[str, Any] = Field(default_factory=dict, description="fields of the family")
    dtype: DType | None = Field(default=None, description="format that it runs in; the request's unless said")

    @field_validator("dtype", mode="before")
    @classmethod
    def _parse_dtype(cls, value: object) -> DType | None:
        if value is None:
            return None
        try:
            return DType.parse(str(value))
        except ArchSearchError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _one_form(self) -> ComponentRecord:
        if (self.model is None) == (self.family is None):
            raise ValueError("give either 'model: NAME' or 'family: NAME' with 'config: {...}'")
        if self.model is not None and self.config:
            raise ValueError("'config' goes with 'family'; a named model brings its own")
        return self


class TextEncoderRecord(ComponentRecord):
    """A text encoder: ``seq_len`` tokens per prompt, padded; run once more for the negative prompt of guidance unless
    ``negative`` is false."""

    name: str = Field(description="how the encoder is called")
    seq_len: PositiveInt = Field(description="tokens of a prompt, padded")
    negative: bool = Field(default=True, description="runs once more for the negative prompt of guidance")


class TilingRecord(Record):
    """Tiles of a decoder, in pixels along both sides or [high, wide]: its implementation's size and stride.
    ``default`` tells that the pipeline runs tiled unless told otherwise."""

    size: PositiveInt | tuple[PositiveInt, PositiveInt] = Field(
        description="pixels along both sides of a tile, or [high, wide]",
    )
    stride: PositiveInt | tuple[PositiveInt, PositiveInt] = Field(
        description="from one tile to the next, or [down, right]; not above size",
    )
    default: bool = Field(default=False, description="runs tiled unless told otherwise")

    @property
    def sides(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(size, stride) of the height, and of the width."""
        sizes, strides = (v if isinstance(v, tuple) else (v, v) for v in (self.size, self.stride))
        return (sizes[0], strides[0]), (sizes[1], strides[1])

    @model_validator(mode="after")
    def _overlap(self) -> TilingRecord:
        if any(stride > size for size, stride in self.sides):
            raise ValueError("stride must not exceed size: tiles overlap")
        return self


class DecoderRecord(ComponentRecord):
    """The autoencoder. ``denoises`` tells that its decoder takes the last denoising step (LTX-Video)."""

    tiling: TilingRecord | None = Field(default=None, description="the tiles that its implementation cuts")
    denoises: bool = Field(default=False, description="the decoder takes the last denoising step (LTX-Video)")
    encodes_reference: bool = Field(
        default=False,
        description="the encoder runs first, over the image that is edited or continued",
    )


class GuidanceRecord(Record):
    """How guidance runs. ``batched`` concatenates both passes into one call of twice the batch."""

    default: Guidance = Field(
        description="what runs unless told otherwise: one pass, two (cfg), or one with the scale as input (distilled)",
    )
    modes: tuple[Guidance, ...] = Field(min_length=1, description="what may be asked for")
    batched: bool = Field(default=True, description="both passes run as one call of twice the batch")

    @model_validator(mode="after")
    def _legal(self) -> GuidanceRecord:
        if self.default not in self.modes:
            raise ValueError(f"default {self.default.value!r} is not among modes")
        return self


class DefaultsRecord(Record):
    """What a request leaves open."""

    height: PositiveInt = Field(description="pixels")
    width: PositiveInt = Field(description="pixels")
    frames: PositiveInt | None = Field(default=None, description="frames; required of a video")
    frames_per_second: PositiveFloat | None = Field(default=None, description="of the video, where that is told")
    steps: PositiveInt = Field(description="denoising steps")
    dtype: DType = Field(default=DType.BF16, description="format of the linear layers")


class PipelineRecord(Record):
    """A pipeline file. docs/pipelines.md explains every field.

    ``not_costed`` names models that the pipeline runs and archsearch has no family for, with their parameters: they
    count as resident weights and are reported, their time is not. ``checkpoint`` says what samples: a name of
    ``quality/sampling.yaml`` or a description of the same form; its guidance and steps are what the pipeline runs.
    """

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        max_length=120,
        description="how the pipeline is called: lower case, digits and . _ -",
    )
    description: str = Field(description="what it is")
    modality: Literal["image", "video"] = Field(description="what it generates")
    text_encoders: tuple[TextEncoderRecord, ...] = Field(default=(), description="what reads the prompt")
    transformer: ComponentRecord = Field(description="what denoises")
    checkpoint: str | CheckpointRecord | None = Field(
        default=None,
        description="what samples: a name of quality/sampling.yaml, or a description of the same form",
    )
    decoder: DecoderRecord | None = Field(default=None, description="latents to pixels")
    guidance: GuidanceRecord = Field(description="how guidance runs")
    defaults: DefaultsRecord = Field(description="what a request leaves open")
    max_steps: PositiveInt = Field(default=1000, description="most denoising steps")
    not_costed: dict[str, PositiveInt] = Field(
        default_factory=dict,
        description="models that it runs and that archsearch has no family for, with their parameters: held, untimed",
    )
    references: tuple[str, ...] = Field(default=(), description="sources")

    @model_validator(mode="after")
    def _distinct(self) -> PipelineRecord:
        names = [e.name for e in self.text_encoders]
        if len(set(names)) != len(names):
            raise ValueError("text encoders must have different names")
        if self.modality == "video" and self.defaults.frames is None:
            raise ValueError("a video pipeline needs defaults.frames")
        return self
