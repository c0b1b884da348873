"""The file format of a search space (``search_spaces/*.yaml``), checked by pydantic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from archsearch.cost.asked_execution import execution_of, parse_execution
from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError
from archsearch.hardware.prices import priced_gpu
from archsearch.quality.sampling_table import SamplingRecord
from archsearch.search.space.expressions import Expression
from archsearch.workload import Phase, Workload
from archsearch.yaml_records import Record

Number = int | float
Metric = Literal[
    "throughput",
    "latency_s",
    "quality",
    "parameters",
    "flops",
    "memory_bytes",
    "energy_j",
    "usd_per_million",
    "training_hours",
    "training_usd",
    "training_energy_j",
    "lifetime_usd",
    "distillation_gpu_hours",
]
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
_BEST = {"throughput": "maximize"}
MAX_CHOICES = 10_000


def _dtype(value: object) -> DType:
    try:
        return DType.parse(str(value))
    except ArchSearchError as error:
        raise ValueError(str(error)) from None


class Dimension(Record):
    """The values of one free dimension: ``choices``, or a ``range`` [low, high] (both included) with a ``step``."""

    choices: tuple[Number, ...] | None = None
    range: tuple[int, int] | None = None
    step: PositiveInt = 1

    @model_validator(mode="after")
    def _one_form(self) -> Dimension:
        if (self.choices is None) == (self.range is None):
            raise ValueError("give either 'choices: [...]' or 'range: [low, high]' with a 'step'")
        if self.choices is not None:
            if not self.choices:
                raise ValueError("choices must not be empty")
            if len(set(self.choices)) != len(self.choices):
                raise ValueError("choices must be distinct")
        if self.range is not None:
            low, high = self.range
            if low > high:
                raise ValueError(f"range [{low}, {high}] is empty: low must not exceed high")
            if (high - low) // self.step + 1 > MAX_CHOICES:
                raise ValueError(f"range [{low}, {high}] has more than {MAX_CHOICES} values; use a larger step")
            if (high - low) % self.step:
                raise ValueError(f"range [{low}, {high}] does not end on a step of {self.step}")
        return self

    @property
    def values(self) -> tuple[Number, ...]:
        """All values, ascending."""
        if self.choices is not None:
            return tuple(sorted(self.choices))
        assert self.range is not None
        return tuple(range(self.range[0], self.range[1] + 1, self.step))


class Budget(Record):
    """Limits that every recommended architecture keeps; memory and latency hold on every GPU of the pool."""

    parameters: tuple[PositiveFloat, PositiveFloat] | None = None
    memory_gib: PositiveFloat | None = None
    latency_ms: PositiveFloat | None = None
    training_hours: PositiveFloat | None = None
    training_usd: PositiveFloat | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Budget:
        if self.parameters is not None and self.parameters[0] > self.parameters[1]:
            raise ValueError("parameters: [min, max] with min not above max")
        return self


class WorkloadRecord(Record):
    """The input that architectures are costed on; the fields of ``archsearch.models.Workload``."""

    phase: Phase = Phase.FORWARD
    batch_size: PositiveInt = 1
    seq_len: PositiveInt | None = None
    height: PositiveInt | None = None
    width: PositiveInt | None = None
    frames: PositiveInt | None = None
    dtype: DType = DType.BF16

    @field_validator("dtype", mode="before")
    @classmethod
    def _parse_dtype(cls, value: object) -> DType:
        return _dtype(value)

    def workload(self) -> Workload:
        return Workload(**{name: getattr(self, name) for name in type(self).model_fields})


StatedExecution = str | dict[str, bool | int | float | str | None]
"""How something runs: the name of an execution, or fields of one (``name`` starts from a named one); nothing is the
workload's default (see ``archsearch.cost.execution``)."""


def execution_from(value: StatedExecution, workload: Workload) -> Execution:
    """The execution that a section stands for.

    Raises:
        UnknownNameError, InvalidInputError: it names none.
    """
    return parse_execution(value, workload) if isinstance(value, str) else execution_of(value, workload)


class QualityRecord(Record):
    """The quality proxy (the family's default if none is named), the training tokens that it assumes, and the sampler.

    Without ``tokens`` every architecture is taken as trained compute-optimally.
    """

    proxy: str | None = None
    tokens: PositiveFloat | None = None
    num_inference_steps: PositiveInt | None = None
    guidance: Literal["none", "cfg", "distilled"] | None = None
    distilled: bool | None = None


class SpaceSampling(SamplingRecord):
    """What steps, guidance and distillation do to quality in this space: figures in the form of
    ``quality/sampling.yaml``, each with a source, which stand before the shipped ones.

    ``checkpoint`` is the one that these models are taken to sample like, where it is not the pipeline's. ``alike`` says
    that all architectures sample alike, so that the law alone ranks them.
    """

    checkpoint: str | None = None
    alike: bool = False


class Distillation(Record):
    """What distilling the steps of one architecture takes, in GPU-hours, and who says so."""

    gpu_hours: PositiveFloat
    source: str


class TrainingRecord(Record):
    """A training run on the GPUs of one node: what ``training_hours``, ``training_usd`` and ``lifetime_usd`` stand for.

    ``tokens`` is the budget, in what the family's throughput counts (tokens, images). ``batch_size`` is sequences
    (images) a step over all GPUs, ``micro_batch`` those of one pass on one GPU. The layouts tried are all combinations
    of ``tensor_parallel`` and ``pipeline_parallel`` (default: 1, 2, 4, 8 for language models); what is left is data
    parallel. ``zero`` is the stage of ZeRO: 1 spreads the optimizer's state over the data-parallel replicas, 2 the
    gradients too, 3 the weights too (FSDP).
    """

    hardware: str
    gpus: PositiveInt = Field(default=8, le=8)
    tokens: PositiveFloat
    batch_size: PositiveInt
    micro_batch: PositiveInt = 1
    seq_len: PositiveInt | None = None
    height: PositiveInt | None = None
    width: PositiveInt | None = None
    frames: PositiveInt | None = None
    dtype: DType = DType.BF16
    checkpointing: bool = False
    execution: StatedExecution = Field(default={})
    zero: Literal[0, 1, 2, 3] = 1
    tensor_parallel: tuple[PositiveInt, ...] | None = Field(default=None, min_length=1)
    pipeline_parallel: tuple[PositiveInt, ...] | None = Field(default=None, min_length=1)

    @field_validator("dtype", mode="before")
    @classmethod
    def _parse_dtype(cls, value: object) -> DType:
        return _dtype(value)

    def workload(self) -> Workload:
        """One micro-batch."""
        sizes = {"seq_len": self.seq_len, "height": self.height, "width": self.width, "frames": self.frames}
        form = {"batch_size": self.micro_batch, "dtype": self.dtype, "checkpointing": self.checkpointing}
        return Workload(phase=Phase.TRAIN, **form, **sizes)  # type: ignore[arg-type]

    def chosen_execution(self) -> Execution:
        """How it runs.

        Raises:
            UnknownNameError, InvalidInputError: ``execution`` names none.
        """
        return execution_from(self.execution, self.workload())


class Lifetime(Record):
    """What a model serves over its life: so many sequences, images or videos of the workload."""

    inferences: PositiveFloat


class Objective(Record):
    """One thing to optimise. The better direction is known for every metric and may be left out."""

    metric: Metric
    direction: Literal["minimize", "maximize"] | None = None

    @property
    def sign(self) -> float:
        """+1 where the metric is minimised, −1 where it is maximised."""
        direction = self.direction or _BEST.get(self.metric, "minimize")
        return 1.0 if direction == "minimize" else -1.0


class PoolRecord(Record):
    """How several GPUs become objectives: ``worst`` GPU, ``weighted`` mean over the pool, capacity of a ``fleet``,
    ``regret`` against each GPU's own optimum (see ``archsearch.search.evaluate.metrics``)."""

    objectives: tuple[Literal["worst", "weighted", "fleet", "regret"], ...] = Field(
        default=("worst", "weighted"), min_length=1
    )


class SpaceRecord(Record):
    """A search space file. docs/search.md explains every field.

    ``pipeline`` names the generation pipeline around the transformer (docs/pipelines.md): then what is searched, priced
    and held in memory is a whole generation, and ``num_inference_steps``, ``guidance_passes`` and ``distilled`` are
    fields too. ``distillation`` is what ``distilled: 1`` costs, where no source of the checkpoint's student says so.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str
    family: str | None = None
    builder: str | None = None
    pipeline: str | None = None
    fixed: dict[str, bool | int | float | str | None] = Field(default={})
    dimensions: dict[str, Dimension] = Field(min_length=1)
    derived: dict[str, str] = Field(default={})
    constraints: tuple[str, ...] = ()
    width_multiple: PositiveInt = 64
    budget: Budget = Budget()
    workload: WorkloadRecord = WorkloadRecord()
    execution: StatedExecution = Field(default={})
    quality: QualityRecord = QualityRecord()
    sampling: SpaceSampling = SpaceSampling()
    distillation: Distillation | None = None
    objectives: tuple[Objective, ...] = (Objective(metric="quality"), Objective(metric="throughput"))
    prefer: Preference = "knee"
    pool: PoolRecord = PoolRecord()
    training: TrainingRecord | None = None
    lifetime: Lifetime | None = None
    prices: dict[str, PositiveFloat] = Field(default={})
    hardware: tuple[str, ...] = ()
    baseline: str | dict[str, bool | int | float | str | None] | None = None
    references: tuple[str, ...] = ()

    @field_validator("derived", "constraints")
    @classmethod
    def _parse(cls, value: dict[str, str] | tuple[str, ...]) -> dict[str, str] | tuple[str, ...]:
        for text in value.values() if isinstance(value, dict) else value:
            try:
                Expression.parse(text)
            except ArchSearchError as error:
                raise ValueError(str(error)) from None
        return value

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
