"""One model on one GPU: from what a user named to a workload, and from the cost model's answer to plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np

from archsearch.cost.bounds import bounds
from archsearch.cost.estimate import Estimate
from archsearch.cost.execution import ExecutionFields
from archsearch.cost.layouts import laid_out
from archsearch.cost.memory import memory
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware import GpuSpec
from archsearch.hardware.figures import main_format
from archsearch.hardware.formats import format_on
from archsearch.models.base import ModelConfig
from archsearch.models.modality import sizes_read
from archsearch.models.registry.load import load_model
from archsearch.models.tracing import TracedModel, is_builder, load_traced
from archsearch.notebook_html import facts_html, gibibytes, milliseconds, table_html
from archsearch.ranges import require_range
from archsearch.workload import MAX_DIMENSION, SIZES, Phase, Workload, WorkloadFields

if TYPE_CHECKING:
    import pandas as pd

Sizes = dict[str, int | None]
"""batch_size, seq_len, height, width and frames; None where the model's default holds."""


class EstimateFields(WorkloadFields, ExecutionFields, total=False):
    """What is said of a workload and of its execution together, as ``estimate`` and ``explain`` take it."""


class OpRow(TypedDict):
    """One op of a breakdown: ``flops``, ``bytes`` and ``latency_s`` are those of all ``count`` of it.

    ``bound`` names what limits it; ``tile``, ``waves`` and ``wave_efficiency`` are None where a kernel has no tiles.
    """

    name: str
    op: str
    count: int
    flops: float
    bytes: float
    latency_s: float
    bound: str
    tile: str | None
    waves: float | None
    wave_efficiency: float | None
    provenance: str


class UnknownOp(TypedDict):
    """A call of a traced module that no rule maps: its aten name, how often, its bytes and their share of all."""

    op: str
    calls: int
    bytes: int
    share: float


@dataclass(frozen=True, slots=True)
class EstimateResult:
    """Cost of one model on one GPU under one workload. Times in seconds, memory in bytes of each of ``gpus``.

    Attributes:
        model: what was named; ``family`` and ``config`` are its class and its fields' values.
        hardware: the GPU's id; ``gpus`` share the model.
        workload: phase, dtype and the sizes that were used; ``assumed`` lists those left open (``name=value``).
        execution: how it runs, every field.
        parameters: of the model; ``active_parameters`` are those that one token uses, fewer in a mixture of experts.
        flops: floating-point operations that the model needs.
        latency_s: one pass; ``latency_low_s`` and ``latency_high_s`` hold the 80 % band.
        gpu_s: its kernels back to back; ``waits_s`` what waiting for launches adds to them; ``host_s`` the host's
            launching of them; ``kernels`` how many there are.
        provenance: how the latency is known: measured, calibrated, transferred or analytic.
        roofline: that no kernels of the GPU are known and the latency is a roofline with a wide band; None elsewhere.
        throughput: what is completed per second, in ``throughput_unit``.
        memory_bytes: weights, activations, kv_cache, optimizer and their total; ``fits`` says whether that is
            within ``available_memory_bytes``, what a program sees of the GPU's memory less its context.
        mfu: share of the peak by the FLOPs that the model needs; ``hfu`` by those that the kernels execute
            (``cost.bounds``).
        breakdown: one row per op.
        unknown_ops: calls of a traced module that no rule maps, costed by their bytes.
        remarks: where a GPU runs other kernels of a traced module than those that were priced.
        formats: what the products run in: the workload's dtype, of a traced module its own.
    """

    model: str
    hardware: str
    gpus: int
    family: str
    config: dict[str, object]
    workload: dict[str, str | int | bool]
    execution: ExecutionFields
    assumed: tuple[str, ...]
    parameters: int
    active_parameters: int
    flops: float
    latency_s: float
    latency_low_s: float
    latency_high_s: float
    gpu_s: float
    waits_s: float
    host_s: float
    provenance: str
    roofline: str | None
    throughput: float
    throughput_unit: str
    memory_bytes: dict[str, float]
    available_memory_bytes: float
    fits: bool
    mfu: float
    hfu: float
    kernels: int
    breakdown: list[OpRow]
    unknown_ops: list[UnknownOp]
    remarks: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Plain values, as the command line's ``--json`` prints them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def _repr_html_(self) -> str:
        """What a notebook shows: the answer, and the ops that take longest."""
        band = f"{milliseconds(self.latency_low_s)} to {milliseconds(self.latency_high_s)}, {self.provenance}"
        held, there = gibibytes(self.memory_bytes["total"]), gibibytes(self.available_memory_bytes)
        facts = (
            ("latency", f"{milliseconds(self.latency_s)} (80 % band {band})"),
            ("throughput", f"{self.throughput:,.4g} {self.throughput_unit}, {self.mfu:.1%} of the peak"),
            ("memory", f"{held} of {there}" + ("" if self.fits else ": does not fit")),
            ("parameters", f"{self.parameters / 1e6:,.4g} M"),
            ("run", ", ".join(f"{name} {value}" for name, value in self.workload.items())),
        )
        longest = sorted(self.breakdown, key=lambda row: -row["latency_s"])
        rows = [
            (
                row["name"],
                row["count"],
                f"{row['latency_s'] * 1e3:.4g}",
                f"{row['latency_s'] / self.latency_s:.1%}",
                row["bound"],
                row["tile"] or "",
                "" if row["waves"] is None else f"{row['waves']:g}",
            )
            for row in longest
        ]
        heads = ("op", "count", "ms", "share", "bound", "tile", "waves")
        gpus = f"{self.gpus} × {self.hardware}" if self.gpus > 1 else self.hardware
        return facts_html(f"{self.model} on {gpus}", facts) + table_html(heads, rows)

    def frame(self) -> pd.DataFrame:
        """The breakdown as a table, one op a row."""
        import pandas as pd

        return pd.DataFrame(self.breakdown)


def named_model(model: str | Path | ModelConfig, allow_code: bool = False) -> tuple[ModelConfig, str]:
    """The config of a model and what to call it.

    Raises:
        UnknownNameError: no such preset or file.
        InvalidInputError: an empty name, or a file that describes no model.
        UnsupportedError: Python code without leave to run it.
    """
    if not isinstance(model, str | Path):
        return model, model.family
    if not str(model):
        raise InvalidInputError("name a model: a preset, a config.json or an archsearch YAML", field="model")
    if is_builder(str(model)):
        if not allow_code:
            raise UnsupportedError(
                f"{str(model)!r} names Python code: to run it and trace its module, add {{allow_code}}",
                field="allow_code",
            )
        return load_traced(str(model)), str(model)
    try:
        return load_model(str(model)), str(model)
    except UnknownNameError as error:
        if (verb := _verb_of(str(model))) is None:
            raise
        raise UnknownNameError(error.kind, str(model), (), field=error.fields, near=(), reason=verb) from None


def _verb_of(name: str) -> str | None:
    """What to call for a name that is no model's but a pipeline's or a space's; None where it is neither."""
    from archsearch.pipeline.catalog import list_pipelines
    from archsearch.search.space.space import space_files

    if name in list_pipelines():
        return f"it is a whole pipeline: `archsearch pipeline estimate {name}`"
    if name in space_files():
        return f"it is a search space: `archsearch recommend {name}`, or `archsearch explain {name}:1` for its best"
    return None


def workload_of(
    config: ModelConfig, named: WorkloadFields, *, gpus: Sequence[GpuSpec] = (), checkpointing: bool = False
) -> tuple[Workload, tuple[str, ...]]:
    """A workload of a model from what a user named, and what was assumed (``name=value``).

    Sizes left open take the family's defaults, an open format is bf16, or what all ``gpus`` have in its place
    (``main_format``), which is then told; further fields go to ``Workload`` as they are.

    Raises:
        UnknownNameError: no such dtype or phase.
        UnsupportedError: a vendor's own format on another's GPU.
        InvalidInputError: a size that is out of range or that the model does not have, or checkpointing of what is not
            trained.
    """
    given: dict[str, Any] = {"phase": "forward", **named}
    sizes: Sizes = {name: given.pop(name, None) for name in SIZES}
    if sizes["batch_size"] is None:
        sizes["batch_size"] = 1
    _refuse_idle(sizes, config)
    sizes, assumed = _complete(sizes, config)
    given |= sizes
    phase, asked = _phase(given.pop("phase")), given.pop("dtype", None)
    dtype = main_format(gpus) if asked is None else format_on(asked, gpus)
    if asked is None and dtype is not DType.BF16:
        assumed = (*assumed, f"dtype={dtype.value}")
    workload = Workload(phase=phase, dtype=dtype, checkpointing=checkpointing, **given)
    if checkpointing and phase is not Phase.TRAIN:
        raise InvalidInputError(
            f"{{checkpointing}} has no effect on phase {phase.value}: add {{phase}} train",
            field=("checkpointing", "phase"),
        )
    return workload, assumed


def _refuse_idle(sizes: Mapping[str, int | None], config: ModelConfig) -> None:
    """Refuse sizes that nothing of the model reads. What a traced module reads is its function's to say.

    Raises:
        InvalidInputError: the first of them.
    """
    read = sizes_read(config)
    if not read:
        return
    for name, value in sizes.items():
        if value is not None and name not in {*read, "batch_size"}:
            others = [other for other in sizes if other in read]
            listed = ", ".join(f"{{{other}}}" for other in others)
            raise InvalidInputError(
                f"{{{name}}} has no effect on {config.family}: it has {listed}", field=(name, *others)
            )


def _phase(text: str) -> Phase:
    try:
        return Phase(text)
    except ValueError:
        raise UnknownNameError("phase", text, [p.value for p in Phase], field="phase") from None


def _complete(sizes: Sizes, config: ModelConfig) -> tuple[Sizes, tuple[str, ...]]:
    """The sizes, checked, with those left open filled in; and what was assumed, as ``name=value``."""
    for name, value in sizes.items():
        if value is not None:
            require_range(name, value, 1, MAX_DIMENSION, whole=True)
    defaults: Sizes = dict(config.default_sizes)
    limit = getattr(config, "max_position_embeddings", None)
    if limit and (length := defaults.get("seq_len")) is not None:
        defaults["seq_len"] = min(length, int(limit))
    for side, other in (("height", "width"), ("width", "height")):  # one side given: a square
        if side in defaults and sizes[side] is None and sizes[other] is not None and sizes.get("frames") is None:
            defaults[side] = sizes[other]
    assumed = {name: value for name, value in defaults.items() if sizes[name] is None}
    return {**sizes, **assumed}, tuple(f"{name}={value}" for name, value in assumed.items())


def step_unit(config: ModelConfig) -> str:
    """What one pass completes, per second: of an image or video transformer a denoising step of an image or video."""
    unit = config.throughput_unit
    return f"{unit.removesuffix('s/s')} steps/s" if config.modality.denoises else unit


def estimate_result(
    name: str, gpu: GpuSpec, config: ModelConfig, workload: Workload, answer: Estimate, assumed: tuple[str, ...]
) -> EstimateResult:
    """The cost model's answer about one model as plain values; ``name`` is what to call the model."""
    execution = answer.execution
    latency = float(answer.latency_s)
    memory_bytes = _memory_bytes(config, workload, answer, gpu)
    limits = bounds(laid_out(config, workload, execution), gpu, execution)
    return EstimateResult(
        model=name,
        hardware=gpu.id,
        gpus=execution.gpus,
        family=config.family,
        config=config.to_dict(),
        workload=_described(workload),
        execution=cast("ExecutionFields", execution.to_dict()),  # its own fields
        assumed=assumed,
        parameters=int(config.parameters()),
        active_parameters=int(config.active_parameters()),
        flops=float(config.lower(workload).flops()) if execution.gpus > 1 else float(answer.flops),
        latency_s=latency,
        latency_low_s=float(answer.low_s),
        latency_high_s=float(answer.high_s),
        gpu_s=float(answer.total("gpu_s")),
        waits_s=float(answer.total("waits_s")),
        host_s=float(answer.total("host_s")),
        provenance=answer.provenance.value,
        roofline=gpu.why_roofline,
        throughput=float(config.tokens(workload)) / latency,
        throughput_unit=step_unit(config),
        memory_bytes=memory_bytes,
        available_memory_bytes=gpu.available_bytes,
        fits=memory_bytes["total"] <= gpu.available_bytes,
        mfu=float(limits.peak_s) / latency,
        hfu=float(limits.executed_peak_s) / latency,
        kernels=int(answer.total("kernels")),
        breakdown=cast("list[OpRow]", answer.rows()),  # the keys that it makes,
        unknown_ops=_unknown_ops(config, workload),
        remarks=config.trace(workload).remarks if isinstance(config, TracedModel) else (),
        formats=config.formats(workload) if isinstance(config, TracedModel) else (workload.dtype.value,),
    )


def _described(workload: Workload) -> dict[str, str | int | bool]:
    """A scalar workload as plain values: phase, dtype, its sizes, and checkpointing where it is on."""
    described: dict[str, str | int | bool] = {"phase": workload.phase.value, "dtype": workload.dtype.value}
    described |= {name: size for name in SIZES if (size := getattr(workload, name)) is not None}
    return described | ({"checkpointing": True} if workload.checkpointing else {})


def _memory_bytes(config: ModelConfig, workload: Workload, answer: Estimate, gpu: GpuSpec) -> dict[str, float]:
    use = memory(config, workload, answer.execution, gpu)
    parts = ("weights", "activations", "kv_cache", "optimizer", "total")
    return {part: float(np.asarray(getattr(use, part))) for part in parts}


def _unknown_ops(config: ModelConfig, workload: Workload) -> list[UnknownOp]:
    if not isinstance(config, TracedModel):
        return []
    return [UnknownOp(op=u.op, calls=u.calls, bytes=u.bytes, share=u.share) for u in config.trace(workload).unknown]
