"""What a lever is: one entry of ``levers.yaml``, and the record of the group that it belongs to.

Most levers are data alone: ``set`` names the fields of the plan's execution, deployment or request that they set. A
group whose change follows from the plan (fewer steps bring another checkpoint) has it as a function of its record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod
from typing import NamedTuple, TypeVar

from archsearch.cost.execution import LAYOUT, Execution
from archsearch.errors import InvalidInputError
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import OpList
from archsearch.pipeline.pipeline_record import TilingRecord
from archsearch.pipeline.plan import Plan
from archsearch.pipeline.request import Deployment, Request
from archsearch.yaml_records import Record

VALUE = "$value"
"""In ``set``: the lever's own number."""
EXACT, SAMPLING, UNKNOWN = "exact", "sampling", "unknown"
TRAINING = ("none", "distill", "retrain")
GPU_FIELDS = frozenset((*(f"execution.{name}" for name in LAYOUT), "deployment.cfg_parallel"))
"""Fields of a plan that are numbers of GPUs which share a generation."""


Part = TypeVar("Part", Execution, Deployment, Request)


class Role(StrEnum):
    """What part of a plan a lever changes; the optimiser treats levers by it.

    ``execution``: how the transformer's call runs. ``formats``: what its numbers are. ``sampling``: steps and guidance.
    ``model``: the transformer or its latents. ``placement``: time for memory, tried where nothing else fits.
    ``request``: how much is made at once, which shortens no single generation.
    """

    EXECUTION = "execution"
    FORMATS = "formats"
    SAMPLING = "sampling"
    MODEL = "model"
    PLACEMENT = "placement"
    REQUEST = "request"


class Number(StrEnum):
    """The kind of number that a group's levers take: a share between 0 and 1, a count from 1, or none."""

    NONE = "none"
    SHARE = "share"
    COUNT = "count"

    def parse(self, text: str) -> float | int | None:
        """The number that a text is, None where it is none of this kind."""
        try:
            number = float(text) if self is Number.SHARE else int(text)
        except ValueError:
            return None
        return number if self.allows(number) else None

    def allows(self, value: object) -> bool:
        """Whether a value is a number of this kind."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return 0.0 < value < 1.0 if self is Number.SHARE else isinstance(value, int) and value >= 1

    @property
    def text(self) -> str:
        """The legal numbers in words."""
        return "a share between 0 and 1" if self is Number.SHARE else "a whole number from 1"


class Measurement(NamedTuple):
    """A metric of a checkpoint that a source measured with the lever (``value``) and without it (``reference``)."""

    checkpoint: str
    metric: str
    direction: str
    value: float
    reference: float
    source: str


class AutoencoderRecord(Record):
    """Another autoencoder of a pipeline: its preset, the modality that it is for and what to take for the other one,
    its tiles, and whether its decoder takes the last denoising step."""

    model: str
    modality: str
    otherwise: str
    tiling: TilingRecord
    denoises: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """One lever. ``value`` is its number (steps, GPUs, batch, share) or release, where it has one; ``quality`` what it
    leaves of the quality: ``exact``, ``sampling``, ``unknown`` or what sources measured (``lever_effects``)."""

    id: str
    title: str
    group: LeverGroup
    training: str
    source: str
    quality: str | tuple[Measurement, ...] = UNKNOWN
    value: float | int | str | None = None
    fields: tuple[tuple[str, object], ...] = ()
    autoencoder: AutoencoderRecord | None = None

    @property
    def sets(self) -> dict[str, object]:
        """What it sets: ``execution.compiled`` and the like → value."""
        return {name: self.value if value == VALUE else value for name, value in self.fields}

    @property
    def number(self) -> float:
        """Its number.

        Raises:
            TypeError: it has none.
        """
        if not isinstance(self.value, int | float):
            raise TypeError(f"lever {self.id} has no number")
        return self.value

    @property
    def gpus(self) -> int:
        """GPUs that share a generation through it."""
        return prod(value for name, value in self.sets.items() if name in GPU_FIELDS and isinstance(value, int))

    @property
    def sampling(self) -> bool:
        """Whether it changes what is sampled: steps or guidance."""
        return self.quality == SAMPLING

    @property
    def free(self) -> bool:
        """Whether it changes the time of the transformer's call and nothing else: no quality, training or GPU."""
        exact = self.quality == EXACT and self.training == TRAINING[0] and self.gpus == 1
        return exact and self.group.role is Role.EXECUTION

    def numbered(self, text: str) -> Lever:
        """The lever with another number; what was measured with its own does not hold for it.

        Raises:
            InvalidInputError: it takes none, or not this one.
        """
        if self.group.number is Number.NONE:
            raise InvalidInputError(f"lever {self.id} takes no number")
        number = self.group.number.parse(text)
        if number is None:
            raise InvalidInputError(f"lever {self.id}={text}: needs {self.group.number.text}")
        quality = self.quality if isinstance(self.quality, str) else UNKNOWN
        return replace(self, id=f"{self.id}={text}", value=number, quality=quality)

    def document(self) -> dict[str, object]:
        """Plain values."""
        return {
            "id": self.id,
            "title": self.title,
            "group": self.group.name,
            "training": self.training,
            "source": self.source,
            "quality": self.quality,
            "value": self.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A plan with all its levers pulled, the GPU, and the operations of one pass of the transformer."""

    plan: Plan
    gpu: GpuSpec
    ops: OpList


def set_fields(plan: Plan, lever: Lever) -> Plan:
    """The plan with the fields that a lever sets."""
    parts: dict[str, dict[str, object]] = {"execution": {}, "deployment": {}, "request": {}}
    for name, value in lever.sets.items():
        part, _, field = name.partition(".")
        parts[part][field] = value
    deployment, request = plan.deployment, plan.request
    if parts["execution"]:
        parts["deployment"]["execution"] = _with(deployment.execution, parts["execution"])
    if parts["deployment"]:
        deployment = _with(deployment, parts["deployment"])
    if parts["request"]:
        request = _with(request, parts["request"])
    return replace(plan, deployment=deployment, request=request)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverGroup:
    """Levers that exclude each other. Everything that is the same for all of them stands here.

    ``order``: groups of lower order are pulled first (among equals no order matters). ``change`` gives the plan
    with a lever pulled, legal or not. ``before`` says what the plan that it is pulled on lacks, ``after`` what the
    finished plan or the GPU lacks, both None where nothing.
    """

    name: str
    role: Role
    number: Number = Number.NONE
    order: int = 0
    change: Callable[[Plan, Lever], Plan] = set_fields
    before: Callable[[Plan, Lever], str | None] | None = None
    after: Callable[[Finished, Lever], str | None] | None = None

    @property
    def by_data(self) -> bool:
        """Whether its levers change what their entries ``set``, and nothing else."""
        return self.change is set_fields


def changed_already(plan: Plan, lever: Lever) -> bool:
    """Whether the plan has already all that a lever of data sets."""
    return set_fields(plan, lever) == plan


def _with(part: Part, values: Mapping[str, object]) -> Part:
    return replace(part, **values)  # type: ignore[arg-type]
