"""The public functions, in the words of the command line, which calls them too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.cost.bounds import bounds
from archsearch.cost.estimate import Estimate
from archsearch.cost.execution import Execution, chosen_execution
from archsearch.cost.layouts import laid_out
from archsearch.cost.memory import memory
from archsearch.cost.model import CostModel
from archsearch.differences import diff
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware import GpuSpec, load_gpu
from archsearch.models.base import Modality, ModelConfig
from archsearch.models.registry.load import load_model
from archsearch.models.tracing import TracedModel, is_builder, load_traced
from archsearch.workload import MAX_DIMENSION, Phase, Workload

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from archsearch.search.answers.explain import Explanation
    from archsearch.search.evaluate.pricing import Hardware
    from archsearch.search.space.space import SearchSpace

__all__ = ["EstimateResult", "diff", "enumerate_space", "estimate", "explain", "load_gpu", "recommend", "run_study"]


@dataclass(frozen=True, slots=True)
class EstimateResult:
    """Cost of one model on one GPU under one workload. Times in seconds, memory in bytes of each of ``gpus``.

    ``execution`` is how it runs; ``gpu_s`` are its kernels back to back and ``host_s`` the host's launching of them.
    ``mfu`` counts the FLOPs that the model needs, ``hfu`` those that the kernels execute (see ``cost.bounds``).
    ``latency_low_s`` and ``latency_high_s`` hold the 80 % band. ``active_parameters`` are those that one token uses,
    fewer than ``parameters`` in a mixture of experts. ``unknown_ops`` are calls of a traced module that no rule maps,
    costed by their bytes, with their share of all bytes. ``assumed`` lists workload values that the caller
    left open.
    """

    model: str
    hardware: str
    gpus: int
    family: str
    config: dict[str, Any]
    workload: dict[str, Any]
    execution: dict[str, Any]
    assumed: tuple[str, ...]
    parameters: int
    active_parameters: int
    flops: float
    latency_s: float
    latency_low_s: float
    latency_high_s: float
    gpu_s: float
    host_s: float
    provenance: str
    throughput: float
    throughput_unit: str
    memory_bytes: dict[str, float]
    fits: bool
    mfu: float
    hfu: float
    kernels: int
    breakdown: list[dict[str, Any]]
    unknown_ops: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line's ``--json`` prints them."""
        return {name: getattr(self, name) for name in self.__slots__}

    def frame(self) -> pd.DataFrame:
        """The breakdown as a table, one op a row."""
        import pandas as pd

        return pd.DataFrame(self.breakdown)


def estimate(
    model: str | Path | ModelConfig,
    hardware: str | GpuSpec,
    *,
    dtype: str = "bf16",
    batch_size: int = 1,
    seq_len: int | None = None,
    height: int | None = None,
    width: int | None = None,
    frames: int | None = None,
    phase: str = "forward",
    checkpointing: bool = False,
    execution: Execution | str | None = None,
    allow_code: bool = False,
    **run: Any,
) -> EstimateResult:
    """Latency, throughput and memory of a model on a GPU, with the breakdown that explains them.

    Args:
        model: a preset's name, a path (archsearch YAML, Hugging Face config.json) or a config.
        hardware: a GPU's id, alias or record.
        seq_len: tokens per sequence (context length in decode; the text's tokens of image and video models). Sizes left
            out take the family's default, which the result lists in ``assumed``.
        height, width, frames: pixels and frames of image and video models.
        phase: forward, train, prefill or decode; encode, decode or forward (both) of an autoencoder.
        checkpointing: train with each layer's input kept and the layer run again in the backward pass.
        execution: how it runs: an ``Execution``, a name or a file of one (default: ``cost.execution``'s table).
        run: fields of the execution to change: ``compiled=True``, ``attention="fa2"``, ``clock="burst"`` ...
        allow_code: let ``model`` be ``module:function``, which runs that code to trace the module that it builds.

    Raises:
        UnknownNameError: no such model, GPU, dtype, phase, execution or field of one.
        InvalidInputError: sizes that describe no workload of this model, or a run that this GPU does not have.
        UnsupportedError: the GPU has no units for the dtype, no such attention kernel, or the model no such layout.
    """
    gpu = hardware if isinstance(hardware, GpuSpec) else load_gpu(hardware)
    config, name = _load(model, allow_code)
    sizes = {"batch_size": batch_size, "seq_len": seq_len, "height": height, "width": width, "frames": frames}
    workload, assumed = workload_of(config, dtype=dtype, sizes=sizes, phase=phase, checkpointing=checkpointing)
    chosen = chosen_execution(workload, execution, run).resolved(workload)
    answer = CostModel(gpu).price(config, workload, chosen)
    described: dict[str, Any] = {"phase": workload.phase.value, "dtype": workload.dtype.value}
    described |= {k: v for k, v in sizes.items() if v is not None}
    described |= {"checkpointing": True} if checkpointing else {}
    return _result(name, gpu, config, workload, answer, described, assumed)


def enumerate_space(space: str | Path | SearchSpace, hardware: Hardware | None = None, **options: Any) -> pd.DataFrame:
    """The exact Pareto front of a search space on a GPU or pool; see ``archsearch.search.explore.enumeration``."""
    from archsearch.search.explore.enumeration import enumerate_space as run

    return run(space, hardware, **options)


def run_study(space: str | Path | SearchSpace, hardware: Hardware | None = None, **options: Any) -> optuna.Study:
    """Run and store a study; see ``archsearch.search.studies.study.run_study``."""
    from archsearch.search.studies.study import run_study as run

    return run(space, hardware, **options)


def recommend(
    source: optuna.Study | str | Path | SearchSpace, hardware: Hardware | None = None, **options: Any
) -> pd.DataFrame:
    """The best architectures of a study or space, with reasons; see ``archsearch.search.answers.recommend``."""
    from archsearch.search.answers.recommend import recommend as run

    return run(source, hardware, **options)


def explain(
    model: str | Path | ModelConfig,
    hardware: Hardware,
    *,
    dtype: str = "bf16",
    batch_size: int = 1,
    seq_len: int | None = None,
    height: int | None = None,
    width: int | None = None,
    frames: int | None = None,
    phase: str = "forward",
    checkpointing: bool = False,
    execution: Execution | str | None = None,
    allow_code: bool = False,
    **run: Any,
) -> Explanation:
    """Where a model's time goes on each GPU, what each dimension costs, and the nearest better shapes."""
    from archsearch.search.answers.explain import explain as explained
    from archsearch.search.evaluate.pricing import resolve_pool

    config, _ = _load(model, allow_code)
    sizes = {"batch_size": batch_size, "seq_len": seq_len, "height": height, "width": width, "frames": frames}
    workload, _ = workload_of(config, dtype=dtype, sizes=sizes, phase=phase, checkpointing=checkpointing)
    return explained(config, workload, resolve_pool(hardware), execution=chosen_execution(workload, execution, run))


def workload_of(
    config: ModelConfig,
    *,
    sizes: dict[str, int | None],
    dtype: str = "bf16",
    phase: str = "forward",
    checkpointing: bool = False,
) -> tuple[Workload, tuple[str, ...]]:
    """A workload of a model from what a user named, and what was assumed (``name=value``).

    ``sizes`` holds batch_size, seq_len, height, width and frames; those left open (None) take the family's defaults and
    are filled in.

    Raises:
        UnknownNameError: no such dtype or phase.
        InvalidInputError: a size that is out of range or that the model does not have, or checkpointing of what is not
            trained.
    """
    _refuse_idle(sizes, config)
    assumed = _complete(sizes, config)
    numbers: dict[str, Any] = {**sizes}
    found = Workload(phase=_phase(phase), dtype=DType.parse(dtype), checkpointing=checkpointing, **numbers)
    if checkpointing and found.phase is not Phase.TRAIN:
        raise InvalidInputError(f"--checkpointing has no effect on phase {found.phase.value}: add --phase train")
    return found, assumed


def _refuse_idle(sizes: Mapping[str, int | None], config: ModelConfig) -> None:
    """Refuse sizes that nothing of the model reads. What a traced module reads is its function's to say.

    Raises:
        InvalidInputError: the first of them.
    """
    known = set(config.default_sizes)
    if not known or config.modality is Modality.TRACED:
        return
    if hasattr(config, "text_seq_len"):
        known.add("seq_len")
    if "height" in known:
        known.add("frames")  # an image model says itself that it makes one
    for name, value in sizes.items():
        if value is not None and name not in {*known, "batch_size"}:
            has = ", ".join(f"--{n.replace('_', '-')}" for n in sizes if n in known)
            raise InvalidInputError(f"--{name.replace('_', '-')} has no effect on {config.family}: it has {has}")


def _load(model: str | Path | ModelConfig, allow_code: bool = False) -> tuple[ModelConfig, str]:
    """The config of a model and what to call it."""
    if not isinstance(model, str | Path):
        return model, model.family
    if not str(model):
        raise InvalidInputError("name a model: a preset, a config.json or an archsearch YAML")
    if is_builder(str(model)):
        if not allow_code:
            raise UnsupportedError(
                f"{str(model)!r} names Python code: to run it and trace its module, add --allow-code"
            )
        return load_traced(str(model)), str(model)
    return load_model(str(model)), str(model)


def _phase(text: str) -> Phase:
    from archsearch.errors import UnknownNameError

    try:
        return Phase(text)
    except ValueError:
        raise UnknownNameError("phase", text, [p.value for p in Phase]) from None


def _complete(sizes: dict[str, int | None], config: ModelConfig) -> tuple[str, ...]:
    """Check the sizes and fill in those left open; returns what was assumed, as ``name=value``."""
    for name, value in sizes.items():
        if value is not None and not 1 <= value <= MAX_DIMENSION:
            flag = name.replace("_", "-")
            raise InvalidInputError(f"--{flag} must be between 1 and {MAX_DIMENSION}, not {value}")
    assumed = []
    defaults = dict(config.default_sizes)
    limit = getattr(config, "max_position_embeddings", None)
    if limit and "seq_len" in defaults:
        defaults["seq_len"] = min(defaults["seq_len"], int(limit))
    for side, other in (("height", "width"), ("width", "height")):  # one side given: a square
        if side in defaults and sizes[side] is None and sizes[other] is not None and sizes.get("frames") is None:
            defaults[side] = sizes[other]  # type: ignore[assignment]
    for name, value in defaults.items():
        if sizes[name] is None:
            sizes[name] = value
            assumed.append(f"{name}={value}")
    return tuple(assumed)


def step_unit(config: ModelConfig) -> str:
    """What one pass completes, per second: of an image or video transformer a denoising step of an image or video."""
    unit = config.throughput_unit
    return f"{unit.removesuffix('s/s')} steps/s" if config.modality.denoises else unit


def _result(
    name: str,
    gpu: GpuSpec,
    config: ModelConfig,
    workload: Workload,
    answer: Estimate,
    described: dict[str, Any],
    assumed: tuple[str, ...],
) -> EstimateResult:
    execution = answer.execution
    latency = float(answer.latency_s)
    use = memory(config, workload, execution, gpu)
    parts = {
        part: float(np.asarray(getattr(use, part))) for part in ("weights", "activations", "kv_cache", "optimizer")
    }
    parts["total"] = float(np.asarray(use.total))
    limits = bounds(laid_out(config, workload, execution), gpu, execution)
    return EstimateResult(
        model=name,
        hardware=gpu.id,
        gpus=execution.gpus,
        family=config.family,
        config=config.to_dict(),
        workload=described,
        execution=execution.to_dict(),
        assumed=assumed,
        parameters=int(config.parameters()),
        active_parameters=int(config.active_parameters()),
        flops=float(config.lower(workload).flops()) if execution.gpus > 1 else float(answer.flops),
        latency_s=latency,
        latency_low_s=float(answer.low_s),
        latency_high_s=float(answer.high_s),
        gpu_s=float(answer.total("gpu_s")),
        host_s=float(answer.total("host_s")),
        provenance=answer.provenance.value,
        throughput=float(config.tokens(workload)) / latency,
        throughput_unit=step_unit(config),
        memory_bytes=parts,
        fits=parts["total"] <= gpu.memory_bytes,
        mfu=float(limits.peak_s) / latency,
        hfu=float(limits.executed_peak_s) / latency,
        kernels=int(answer.total("kernels")),
        breakdown=answer.rows(),
        unknown_ops=[asdict(u) for u in config.trace(workload).unknown] if isinstance(config, TracedModel) else [],
    )
