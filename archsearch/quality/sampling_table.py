"""The table of measured samplings (``sampling.yaml``): checkpoints, sources and figures, checked by pydantic.

A search space may bring figures of its own in the same form (``sampling`` in its file); they stand before the shipped
ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from archsearch.workload import MAX_DIMENSION
from archsearch.yaml_records import Record, parse_record

SAMPLING_FILE = Path(__file__).with_name("sampling.yaml")
COLUMNS = ("checkpoint", "metric", "direction", "steps", "guidance", "value", "reference", "source")
Kind = Literal["base", "guidance-distilled", "step-distilled"]
GuidanceMode = Literal["none", "cfg", "distilled"]
GUIDANCE: tuple[str, ...] = ("none", "cfg", "distilled")
MOST_STEPS = 1000
"""Steps of a checkpoint that names no limit: the noise levels of DDPM's schedule."""


Steps = Annotated[int, Field(gt=0, le=MAX_DIMENSION)]
"""Denoising steps; their logarithms are taken as those of 64-bit integers."""


class Source(Record):
    """Where a figure is printed."""

    title: str = Field(description="the document")
    url: str = Field(description="its address")
    table: str | None = Field(default=None, description="which table or section of it")

    def __str__(self) -> str:
        return f"{self.title}{', ' + self.table if self.table else ''} {self.url}"


class DefaultSampling(Record):
    """Steps and guidance that a checkpoint is used with unless told otherwise."""

    steps: Steps = Field(description="denoising steps")
    guidance: GuidanceMode = Field(description="guidance")


class DistillationRecord(Record):
    """What training a distilled checkpoint took, in GPU-hours."""

    gpu_hours: PositiveFloat = Field(description="GPU-hours")
    gpu: str | None = Field(default=None, description="on which GPU")
    source: str = Field(description="who says so")


class CheckpointRecord(Record):
    """What a checkpoint is; the file's head explains the fields."""

    kind: Kind = Field(default="base", description="what is distilled of it: nothing, the guidance, or the steps")
    method: str | None = Field(default=None, description="how the steps were distilled; required of step-distilled")
    teacher: str | None = Field(default=None, description="the checkpoint that it was distilled from")
    family: str | None = Field(default=None, description="the model family")
    models: tuple[str, ...] = Field(default=(), description="presets that it is of")
    guidance: tuple[GuidanceMode, ...] = Field(
        default=("none", "cfg"),
        min_length=1,
        description="guidance that it runs with",
    )
    steps: tuple[Steps, Steps] = Field(
        default=(1, MOST_STEPS),
        description="[least, most] steps that it is made for",
    )
    sampling: DefaultSampling | None = Field(
        default=None,
        description="steps and guidance that it is used with unless told otherwise",
    )
    training: DistillationRecord | None = Field(default=None, description="what the distillation took")

    @model_validator(mode="after")
    def _whole(self) -> CheckpointRecord:
        if self.steps[0] > self.steps[1]:
            raise ValueError("steps: [least, most] with least not above most")
        if self.kind == "step-distilled" and self.method is None:
            raise ValueError("a step-distilled checkpoint names its method")
        if self.sampling is not None and self.sampling.guidance not in self.guidance:
            raise ValueError(f"sampling.guidance {self.sampling.guidance!r} is not among guidance")
        return self


Row = tuple[str, str, Literal["minimize", "maximize"], Steps, GuidanceMode, PositiveFloat, PositiveFloat, str]


class SamplingRecord(Record):
    """A table of measured samplings: ``rows`` in the order of ``columns``, each with one of ``sources``."""

    checkpoints: dict[str, CheckpointRecord] = Field(default_factory=dict, description="checkpoints by name")
    sources: dict[str, Source] = Field(
        default_factory=dict,
        description="where figures are printed, by a name that rows use",
    )
    columns: tuple[str, ...] = Field(default=COLUMNS, description="what a row holds, in this order")
    rows: tuple[Row, ...] = Field(default=(), description="one measured figure a row, in the order of columns")

    @model_validator(mode="after")
    def _sourced(self) -> SamplingRecord:
        if self.columns != COLUMNS:
            raise ValueError(f"columns must be {', '.join(COLUMNS)}")
        for row in self.rows:
            if row[-1] not in self.sources:
                raise ValueError(f"rows: {row[0]} at {row[3]} steps names the source {row[-1]!r}, which sources lacks")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What sampling needs to know of a checkpoint.

    ``kind`` is ``base``, ``guidance-distilled`` (the scale is an input: one pass) or ``step-distilled`` (by ``method``,
    from ``teacher``). ``guidance`` are the modes that it runs with, ``steps`` the least and most that it is made for,
    ``sampling`` its steps and guidance unless told otherwise.
    """

    name: str
    kind: Kind = "base"
    method: str | None = None
    teacher: str | None = None
    family: str | None = None
    models: tuple[str, ...] = ()
    guidance: tuple[str, ...] = GUIDANCE
    steps: tuple[int, int] = (1, MOST_STEPS)
    sampling: DefaultSampling | None = None
    training: DistillationRecord | None = None

    @property
    def distilled(self) -> bool:
        """Whether its steps are distilled."""
        return self.kind == "step-distilled"

    @property
    def one_pass(self) -> str:
        """The guidance of one pass a step: what is built in, else none."""
        if self.sampling is not None and self.sampling.guidance != "cfg" and self.kind != "base":
            return self.sampling.guidance
        return "none" if self.kind == "base" else "distilled"


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one checkpoint and guidance over its measured steps, ascending: ``values`` as printed, ``ratios``
    to the reference."""

    metric: str
    direction: str
    guidance: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    ratios: tuple[float, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class SamplingTable:
    """Checkpoints by name and their curves, those of the first metric first."""

    checkpoints: Mapping[str, Checkpoint]
    curves: Mapping[str, tuple[Curve, ...]]
    sources: Mapping[str, Source] = field(default_factory=dict)

    def student(self, teacher: Checkpoint, method: str | None = None) -> Checkpoint | None:
        """The first step-distilled checkpoint of a teacher (by a method, where one is named)."""
        for found in self.checkpoints.values():
            if found.distilled and found.teacher == teacher.name and method in (None, found.method):
                return found
        return None

    def extended(self, record: SamplingRecord) -> SamplingTable:
        """This table behind another: the other's checkpoints and figures count first.

        Raises:
            InvalidInputError: a figure of a checkpoint that neither describes.
        """
        own = build_table(record, self.checkpoints)
        checkpoints = {**own.checkpoints, **{n: c for n, c in self.checkpoints.items() if n not in own.checkpoints}}
        return SamplingTable(checkpoints, {**self.curves, **own.curves}, {**self.sources, **own.sources})


def build_table(record: SamplingRecord, known: Mapping[str, Checkpoint] | None = None) -> SamplingTable:
    """The table that a record describes; ``known`` are checkpoints that its rows may name besides its own.

    Raises:
        InvalidInputError: a row names a checkpoint that is not described, or a metric changes its direction.
    """
    from archsearch.errors import InvalidInputError

    own = {name: Checkpoint(name=name, **dict(c)) for name, c in record.checkpoints.items()}
    described = {**(known or {}), **own}
    grouped: dict[str, dict[tuple[str, str, str], list[Row]]] = {}
    for row in record.rows:
        if row[0] not in described:
            raise InvalidInputError(f"sampling: checkpoint {row[0]!r} has figures and no description under checkpoints")
        grouped.setdefault(row[0], {}).setdefault((row[1], row[2], row[4]), []).append(row)
    curves = {
        name: tuple(_curve(key, rows, record.sources) for key, rows in groups.items())
        for name, groups in grouped.items()
    }
    return SamplingTable(own, curves, record.sources)


def _curve(key: tuple[str, str, str], rows: Iterable[Row], sources: Mapping[str, Source]) -> Curve:
    ordered = sorted(rows, key=lambda row: row[3])
    metric, direction, guidance = key
    return Curve(
        metric,
        direction,
        guidance,
        tuple(row[3] for row in ordered),
        tuple(row[5] for row in ordered),
        tuple(row[5] / row[6] for row in ordered),
        tuple(dict.fromkeys(sources[row[-1]] for row in ordered)),
    )


@lru_cache(maxsize=1)
def shipped_table() -> SamplingTable:
    """The table of ``sampling.yaml``."""
    return build_table(parse_record(SamplingRecord, SAMPLING_FILE))
