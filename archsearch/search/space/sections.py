"""The sections of a search space's file, checked by pydantic; each key says what it means."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from archsearch.cost.asked_execution import execution_of, parse_execution
from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError
from archsearch.quality.sampling_table import SamplingRecord
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
TRAINED_IN = (DType.BF16, DType.FP16, DType.FP32, DType.TF32, DType.FP8)
"""Formats of a training run: 8- and 4-bit integers and 4-bit floats are of inference."""
_BEST = {"throughput": "maximize"}
MAX_CHOICES = 10_000


def _dtype(value: object) -> DType:
    try:
        return DType.parse(str(value))
    except ArchSearchError as error:
        raise ValueError(str(error)) from None


class Dimension(Record):
    """The values of one free dimension: ``choices``, or a ``range`` [low, high] (both included) with a ``step``."""

    choices: tuple[Number, ...] | None = Field(default=None, description="the values, distinct")
    range: tuple[int, int] | None = Field(default=None, description="[low, high], both included")
    step: PositiveInt = Field(default=1, description="of a range: from one value to the next")

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

    parameters: tuple[PositiveFloat, PositiveFloat] | None = Field(default=None, description="[least, most] parameters")
    memory_gib: PositiveFloat | None = Field(default=None, description="most memory on each GPU, GiB")
    latency_ms: PositiveFloat | None = Field(default=None, description="most latency on each GPU, ms")
    training_hours: PositiveFloat | None = Field(default=None, description="most hours of the training run")
    training_usd: PositiveFloat | None = Field(default=None, description="highest price of the training run, USD")

    @field_validator("parameters", mode="before")
    @classmethod
    def _two(cls, value: object) -> object:
        if value is not None and (not isinstance(value, list | tuple) or len(value) != 2):
            raise ValueError("write [min, max], for example [2.5e8, 3.0e8]")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Budget:
        if self.parameters is not None and self.parameters[0] > self.parameters[1]:
            raise ValueError("parameters: [min, max] with min not above max")
        return self


class WorkloadRecord(Record):
    """The input that architectures are costed on; the fields of ``archsearch.models.Workload``."""

    phase: Phase = Field(
        default=Phase.FORWARD,
        description="what runs: one pass, prompt processing, a decoded token, a training step",
    )
    batch_size: PositiveInt = Field(default=1, description="sequences, images or videos at a time")
    seq_len: PositiveInt | None = Field(
        default=None,
        description="tokens a sequence; the context in decode; text tokens of image models",
    )
    height: PositiveInt | None = Field(default=None, description="pixels")
    width: PositiveInt | None = Field(default=None, description="pixels")
    frames: PositiveInt | None = Field(default=None, description="frames of a video")
    dtype: DType = Field(default=DType.BF16, description="format of the linear layers")

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

    proxy: str | None = Field(
        default=None,
        description="law of quality by name; the family's default unless said (`archsearch quality --list`)",
    )
    tokens: PositiveFloat | None = Field(
        default=None,
        description="training tokens that a law of loss assumes; compute-optimal training unless said",
    )
    num_inference_steps: PositiveInt | None = Field(
        default=None,
        description="denoising steps, of a space of pipelines; the checkpoint's unless said",
    )
    guidance: Literal["none", "cfg", "distilled"] | None = Field(
        default=None,
        description="guidance, of a space of pipelines; the checkpoint's unless said",
    )
    distilled: bool | None = Field(
        default=None,
        description="whether the steps are distilled, of a space of pipelines; the checkpoint's unless said",
    )


class SpaceSampling(SamplingRecord):
    """What steps, guidance and distillation do to quality in this space: figures in the form of
    ``quality/sampling.yaml``, each with a source, which stand before the shipped ones.

    ``checkpoint`` is the one that these models are taken to sample like, where it is not the pipeline's. ``alike`` says
    that all architectures sample alike, so that the law alone ranks them.
    """

    checkpoint: str | None = Field(
        default=None,
        description="the checkpoint that these models sample like; the pipeline's unless said",
    )
    alike: bool = Field(default=False, description="all architectures sample alike, so that the law alone ranks them")


class Distillation(Record):
    """What distilling the steps of one architecture takes, in GPU-hours, and who says so."""

    gpu_hours: PositiveFloat = Field(description="GPU-hours of distilling the steps of one architecture")
    source: str = Field(description="who says so")


class TrainingRecord(Record):
    """A training run on the GPUs of one node: what ``training_hours``, ``training_usd`` and ``lifetime_usd`` stand for.

    ``tokens`` is the budget, in what the family's throughput counts (tokens, images). ``batch_size`` is sequences
    (images) a step over all GPUs, ``micro_batch`` those of one pass on one GPU. The layouts tried are all combinations
    of ``tensor_parallel`` and ``pipeline_parallel`` (default: 1, 2, 4, 8 for language models); what is left is data
    parallel. ``zero`` is the stage of ZeRO: 1 spreads the optimizer's state over the data-parallel replicas, 2 the
    gradients too, 3 the weights too (FSDP).
    """

    hardware: str = Field(description="the GPU")
    gpus: PositiveInt = Field(default=8, le=8, description="GPUs of one node")
    tokens: PositiveFloat = Field(
        description="budget of the run, in what the family's throughput counts (tokens, images, videos)",
    )
    batch_size: PositiveInt = Field(description="sequences, images or videos a step, over all GPUs")
    micro_batch: PositiveInt = Field(default=1, description="those of one pass on one GPU")
    seq_len: PositiveInt | None = Field(default=None, description="tokens a sequence; the model's own unless said")
    height: PositiveInt | None = Field(default=None, description="pixels; the model's own unless said")
    width: PositiveInt | None = Field(default=None, description="pixels; the model's own unless said")
    frames: PositiveInt | None = Field(default=None, description="frames; the model's own unless said")
    dtype: DType = Field(
        default=DType.BF16,
        description="bf16 and fp16 as autocast of 32-bit weights, fp32, tf32 or fp8",
    )
    checkpointing: bool = Field(
        default=False,
        description="keep the layers' inputs alone and run the layers again in the backward pass",
    )
    execution: StatedExecution = Field(
        default={},
        description="how it runs: a name or fields of an execution; eager PyTorch unless said",
    )
    zero: Literal[0, 1, 2, 3] = Field(
        default=1,
        description="what data-parallel replicas divide: 0 nothing, 1 the optimizer's state, 2 the gradients too, 3 "
        "the weights too (FSDP); 1 unless said",
    )
    tensor_parallel: tuple[PositiveInt, ...] | None = Field(
        default=None,
        min_length=1,
        description="sizes of tensor parallelism to try; [1, 2, 4, 8] for language models, [1] for others",
    )
    pipeline_parallel: tuple[PositiveInt, ...] | None = Field(
        default=None,
        min_length=1,
        description="sizes of pipeline parallelism to try; [1, 2, 4, 8] for language models, [1] for others",
    )

    @field_validator("dtype", mode="before")
    @classmethod
    def _parse_dtype(cls, value: object) -> DType:
        return _dtype(value)

    @model_validator(mode="after")
    def _trains(self) -> TrainingRecord:
        if self.gpus == 1 and self.zero and "zero" in self.model_fields_set:
            raise ValueError(
                f"zero: {self.zero} divides what several GPUs hold, and gpus is 1: give more, or leave it out"
            )
        if self.dtype not in TRAINED_IN:
            legal = ", ".join(dtype.value for dtype in TRAINED_IN)
            raise ValueError(f"dtype: {self.dtype.value} is no format that models are trained in; use {legal}")
        return self

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

    inferences: PositiveFloat = Field(
        description="sequences, images or videos of the workload that a model serves over its life",
    )


class Objective(Record):
    """One thing to optimise. The better direction is known for every metric and may be left out."""

    metric: Metric = Field(description="what is optimised")
    direction: Literal["minimize", "maximize"] | None = Field(
        default=None,
        description="the better direction; known of every metric",
    )

    @property
    def sign(self) -> float:
        """+1 where the metric is minimised, −1 where it is maximised."""
        direction = self.direction or _BEST.get(self.metric, "minimize")
        return 1.0 if direction == "minimize" else -1.0


class PoolRecord(Record):
    """How several GPUs become objectives: ``worst`` GPU, ``weighted`` mean over the pool, capacity of a ``fleet``,
    ``regret`` against each GPU's own optimum (see ``archsearch.search.evaluate.metrics``)."""

    objectives: tuple[Literal["worst", "weighted", "fleet", "regret"], ...] = Field(
        default=("worst", "weighted"),
        min_length=1,
        description="how several GPUs become objectives: the worst GPU, the mean by weights, a fleet's capacity, the "
        "regret against each GPU's own best",
    )
