"""The file format of a search space (``search_spaces/*.yaml``), checked by pydantic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from archsearch.errors import ArchSearchError
from archsearch.hardware.prices import priced_gpu
from archsearch.search.space.expressions import Expression
from archsearch.search.space.sections import (
    Budget,
    Dimension,
    Distillation,
    Lifetime,
    Objective,
    PoolRecord,
    QualityRecord,
    SpaceSampling,
    StatedExecution,
    TrainingRecord,
    WorkloadRecord,
    execution_from,
)
from archsearch.yaml_records import Record

Preference = Literal["quality", "speed", "cost", "knee"]
"""What ranks first on a front."""
PREFERRED: dict[str, tuple[str, ...]] = {
    "quality": ("quality",),
    "speed": ("throughput", "latency_s"),
    "cost": (
        "lifetime_usd",
        "usd_per_million",
        "training_usd",
        "training_hours",
        "distillation_gpu_hours",
        "energy_j",
        "training_energy_j",
    ),
}
"""The objectives that a preference is about; ``knee`` is about all of them."""


def _expression(text: str) -> str:
    try:
        Expression.parse(text)
    except ArchSearchError as error:
        raise ValueError(str(error)) from None
    return text


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


ExpressionText = Annotated[str, AfterValidator(_expression)]
"""An expression over the space's names."""
DerivedText = Annotated[ExpressionText, BeforeValidator(_number_as_text)]
"""An expression, or a number, which is one too."""


class SpaceRecord(Record):
    """A search space file. docs/search.md explains every field.

    ``pipeline`` names the generation pipeline around the transformer (docs/pipelines.md): then what is searched, priced
    and held in memory is a whole generation, and ``num_inference_steps``, ``guidance_passes`` and ``distilled`` are
    fields too. ``distillation`` is what ``distilled: 1`` costs, where no source of the checkpoint's student says so.
    """

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        max_length=120,
        description="how the space is called: lower case, digits and . _ -",
    )
    description: str = Field(description="what it is for")
    family: str | None = Field(default=None, description="the model family (`archsearch models list`); or builder")
    builder: str | None = Field(
        default=None, description="module:function or FILE.py:function that builds a torch module, in place of a family"
    )
    pipeline: str | None = Field(
        default=None, description="a generation pipeline around the transformer: whole generations are searched"
    )
    fixed: dict[str, bool | int | float | str | None] = Field(
        default={}, description="fields of the family that do not vary"
    )
    dimensions: dict[str, Dimension] = Field(
        min_length=1, description="the free dimensions: fields of the family, or helpers that an expression reads"
    )
    derived: dict[str, DerivedText] = Field(
        default={}, description="fields computed from others, as expressions; a number is one"
    )
    constraints: tuple[ExpressionText, ...] = Field(
        default=(), description="conditions that every architecture must meet, on the space's names and parameters"
    )
    width_multiple: PositiveInt = Field(
        default=64, description="what hidden_size, intermediate_size, head_dim and vocab_size must be multiples of"
    )
    budget: Budget = Field(default=Budget(), description="limits of every recommended architecture")
    workload: WorkloadRecord = Field(default=WorkloadRecord(), description="what the architectures are priced on")
    execution: StatedExecution = Field(
        default={},
        description="how it runs: a name (torch-compiled) or fields of an execution; the phase's default unless said",
    )
    quality: QualityRecord = Field(default=QualityRecord(), description="the law that predicts quality")
    sampling: SpaceSampling = Field(
        default=SpaceSampling(),
        description="of pipelines: measured samplings of your own, in the form of quality/sampling.yaml",
    )
    distillation: Distillation | None = Field(default=None, description="of pipelines: what distilling the steps takes")
    objectives: tuple[Objective, ...] = Field(
        default=(Objective(metric="quality"), Objective(metric="throughput")),
        description="what is optimised; quality and throughput unless said",
    )
    prefer: Preference = Field(default="knee", description="what ranks first on the front")
    pool: PoolRecord = Field(default=PoolRecord(), description="how several GPUs become objectives")
    training: TrainingRecord | None = Field(
        default=None, description="the training run that training_hours, training_usd and lifetime_usd are of"
    )
    lifetime: Lifetime | None = Field(default=None, description="what a model serves over its life")
    prices: dict[str, PositiveFloat] = Field(
        default={}, description="USD per GPU-hour by GPU, before the file of prices"
    )
    hardware: tuple[str, ...] = Field(default=(), description="the GPUs searched for where none is named")
    baseline: str | dict[str, bool | int | float | str | None] | None = Field(
        default=None, description="the naive reference: a preset's name, or field values over fixed"
    )
    references: tuple[str, ...] = Field(default=(), description="sources")

    @field_validator("prices")
    @classmethod
    def _by_id(cls, value: dict[str, float]) -> dict[str, float]:
        """Prices by GPU id, whatever the GPUs are called in the file."""
        prices: dict[str, float] = {}
        for name, usd in value.items():
            try:
                gpu = priced_gpu(name)
            except ArchSearchError as error:
                raise ValueError(str(error)) from None
            if gpu in prices:
                raise ValueError(f"two prices of {gpu}")
            prices[gpu] = usd
        return prices

    @model_validator(mode="after")
    def _runs(self) -> SpaceRecord:
        try:
            execution_from(self.execution, self.workload.workload())
            if self.training is not None:
                self.training.chosen_execution()
        except ArchSearchError as error:
            raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _one_source(self) -> SpaceRecord:
        if (self.family is None) == (self.builder is None):
            raise ValueError("give either 'family' or 'builder: module:function'")
        return self

    @model_validator(mode="after")
    def _sampling(self) -> SpaceRecord:
        varied = [n for n in ("num_inference_steps", "guidance_passes", "distilled") if n in self.dimensions]
        if self.sampling.alike and varied:
            raise ValueError(f"sampling.alike: {varied[0]!r} is a dimension, so architectures do not sample alike")
        return self

    @model_validator(mode="after")
    def _disjoint(self) -> SpaceRecord:
        seen: dict[str, str] = {}
        for section in ("fixed", "dimensions", "derived"):
            for name in getattr(self, section):
                if name in seen:
                    raise ValueError(f"{name!r} stands in both {seen[name]!r} and {section!r}")
                seen[name] = section
        if not self.objectives:
            raise ValueError("objectives must name at least one metric")
        if len({objective.metric for objective in self.objectives}) != len(self.objectives):
            raise ValueError("objectives must name different metrics")
        return self

    @model_validator(mode="after")
    def _preferable(self) -> SpaceRecord:
        reason = why_not_preferred(self.prefer, [objective.metric for objective in self.objectives])
        if reason is not None:
            raise ValueError(reason)
        return self


def why_not_preferred(prefer: str, metrics: Sequence[str]) -> str | None:
    """Why a preference says nothing about objectives of these metrics; None where it does."""
    wanted = PREFERRED.get(prefer)
    if wanted is None or set(wanted) & set(metrics):
        return None
    legal = [name for name, about in PREFERRED.items() if set(about) & set(metrics)]
    return (
        f"prefer {prefer} needs an objective of {', '.join(wanted)}; the objectives are {', '.join(metrics)}: "
        f"prefer {' or '.join([*legal, 'knee'])}"
    )
