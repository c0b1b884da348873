"""The public functions, in the words of the command line, which calls them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from archsearch.cost.asked_execution import chosen_execution
from archsearch.cost.execution import Execution, ExecutionFields
from archsearch.cost.model import CostModel
from archsearch.errors import UnknownNameError
from archsearch.estimate_result import EstimateFields, EstimateResult, estimate_result, named_model, workload_of
from archsearch.hardware import GpuSpec, load_gpu
from archsearch.keywords import checked_call
from archsearch.models.base import ModelConfig
from archsearch.workload import WorkloadFields

if TYPE_CHECKING:
    from typing import Unpack

    import optuna
    import pandas as pd

    from archsearch.search.answers.explain import Explanation
    from archsearch.search.evaluate.pool_models import Hardware
    from archsearch.search.explore.fidelity import Fidelity
    from archsearch.search.space.space import SearchSpace

__all__ = [
    "EstimateResult",
    "enumerate_space",
    "estimate",
    "explain",
    "load_gpu",
    "recommend",
    "resume_study",
    "run_study",
]


@checked_call
def estimate(
    model: str | Path | ModelConfig,
    hardware: str | GpuSpec,
    *,
    checkpointing: bool = False,
    execution: Execution | str | None = None,
    allow_code: bool = False,
    **fields: Unpack[EstimateFields],
) -> EstimateResult:
    """Latency, throughput and memory of a model on a GPU, with the breakdown that explains them.

    Args:
        model: a preset's name, a path (archsearch YAML, Hugging Face config.json) or a config.
        hardware: a GPU's id, alias or record.
        checkpointing: train with each layer's input kept and the layer run again in the backward pass.
        execution: how it runs: an ``Execution``, a name or a file of one (default: ``cost.execution``'s table).
        allow_code: let ``model`` be ``module:function``, which runs that code to trace the module that it builds.
        fields: the workload (``WorkloadFields``: ``batch_size=8``, ``seq_len=2048``, ``phase="decode"`` ...; sizes left
            out take the family's default, which the result lists in ``assumed``), and fields of the execution to change
            (``ExecutionFields``: ``compiled=True``, ``attention="fa2"``, ``clock="burst"`` ...).

    Returns:
        Plain values; see ``EstimateResult``.

    Raises:
        UnknownNameError: no such model, GPU, dtype, phase, execution or field of one.
        InvalidInputError: sizes that describe no workload of this model, or an execution that this GPU does not have.
        UnsupportedError: the GPU has no units for the dtype, no such attention kernel, or the model no such layout.

    >>> from archsearch import estimate
    >>> result = estimate("gpt2", "t4", dtype="fp16", batch_size=8)
    >>> result.parameters, result.assumed, result.fits
    (124439808, ('seq_len=1024',), True)
    """
    gpu = hardware if isinstance(hardware, GpuSpec) else load_gpu(hardware)
    config, name = named_model(model, allow_code)
    named, changes = _parted(fields)
    workload, assumed = workload_of(config, named, gpus=[gpu], checkpointing=checkpointing)
    chosen = chosen_execution(workload, execution, changes).resolved(workload)
    return estimate_result(name, gpu, config, workload, CostModel(gpu).price(config, workload, chosen), assumed)


@checked_call
def explain(
    model: str | Path | ModelConfig,
    hardware: Hardware,
    *,
    checkpointing: bool = False,
    execution: Execution | str | None = None,
    allow_code: bool = False,
    **fields: Unpack[EstimateFields],
) -> Explanation:
    """Where a model's time goes on each GPU, what each dimension costs, and the nearest better shapes.

    Args:
        model: as ``estimate`` takes it.
        hardware: a GPU or several (``t4,h100-sxm``).
        checkpointing: as ``estimate`` takes it.
        execution: as ``estimate`` takes it.
        allow_code: as ``estimate`` takes it.
        fields: the workload and fields of the execution to change, as ``estimate`` takes them.

    Returns:
        What was found, GPU by GPU; ``lines()`` are sentences, ``to_dict()`` plain values.

    Raises:
        UnknownNameError, InvalidInputError, UnsupportedError: as ``estimate`` does.

    >>> from archsearch import explain
    >>> told = explain("gpt2", "a10")
    >>> told.lines()[0]
    'decoder: 124.4 M parameters, 0.2916 TFLOPs per forward pass, 0.3291 GiB'
    """
    from archsearch.search.answers.explain import explain as explained
    from archsearch.search.evaluate.pool_models import resolve_pool

    config, _ = named_model(model, allow_code)
    named, changes = _parted(fields)
    pool = resolve_pool(hardware)
    workload, assumed = workload_of(config, named, gpus=pool.gpus, checkpointing=checkpointing)
    run = chosen_execution(workload, execution, changes)
    return replace(explained(config, workload, pool, execution=run), assumed=assumed)


def _parted(fields: EstimateFields) -> tuple[WorkloadFields, ExecutionFields]:
    """What is said of the workload, and what of the execution.

    Raises:
        UnknownNameError: a field that neither has.
    """
    ours = WorkloadFields.__annotations__
    for name in fields:
        if name not in ours and name not in ExecutionFields.__annotations__:
            known = (*ours, *ExecutionFields.__annotations__, "checkpointing", "execution", "allow_code")
            raise UnknownNameError("field of a workload or an execution", name, known)
    named = {name: value for name, value in fields.items() if name in ours}
    changes = {name: value for name, value in fields.items() if name not in ours}
    return cast("WorkloadFields", named), cast("ExecutionFields", changes)  # by their names


@checked_call
def enumerate_space(
    space: str | Path | SearchSpace,
    hardware: Hardware | None = None,
    *,
    output: str | Path | None = None,
    progress: bool = False,
    scheduler: str | None = None,
    set: Mapping[str, object] | None = None,
    long: bool = False,
    allow_code: bool = False,
) -> pd.DataFrame:
    """The exact Pareto front of a search space on a GPU or pool: every architecture is evaluated.

    Args:
        space: a shipped space's name, a YAML file, or a space.
        hardware: the GPUs to search for (default: those that the space names).
        output: also write the front there (.parquet, .csv or .json).
        progress: show a progress bar on stderr.
        scheduler: the address of a Dask scheduler whose workers do the work (``tcp://HOST:PORT``).
        set: keys of the space's file set to other values, ``{"workload.batch_size": 8}``, dotted; a name set in
            ``fixed``, ``dimensions`` or ``derived`` leaves the other two.
        long: enumerate it although that takes over an hour, which is refused else.
        allow_code: let the code that the space names run.

    Returns:
        One architecture a row, best quality first: its dimensions, ``parameters``, ``flops``, ``memory_bytes``,
        ``quality``, and ``latency_s:GPU``, ``throughput:GPU`` ... of each GPU. ``attrs`` hold what was counted:
        ``architectures``, ``legal``, ``valid``, ``rejected`` by reason, ``evaluation_s``.

    Raises:
        UnknownNameError: unknown space, GPU, proxy or preset.
        InvalidInputError: a malformed space, or a file that cannot be written.
        UnsupportedError: a GPU that cannot run the workload's format, hours of work, or code without leave.
        ArchSearchError: the cluster failed.

    >>> from archsearch import enumerate_space
    >>> front = enumerate_space("gpt2-shape", "a10")
    >>> front.attrs["architectures"] >= front.attrs["legal"] >= front.attrs["valid"] >= len(front) > 0
    True
    """
    from archsearch.search.explore.enumeration import enumerate_space as enumerated

    changed = _with_keys(space, set)
    return enumerated(
        changed,
        hardware,
        output=output,
        progress=progress,
        scheduler=scheduler,
        long=long,
        allow_code=allow_code,
    )


def _with_keys(space: str | Path | SearchSpace, changes: Mapping[str, object] | None) -> str | Path | SearchSpace:
    """The space with keys of its file set to other values, where there are any."""
    if not changes:
        return space
    from archsearch.search.space.space import load_space

    return load_space(space).with_keys(changes)


@checked_call
def run_study(
    space: str | Path | SearchSpace,
    hardware: Hardware | None = None,
    *,
    trials: int | None = None,
    strategy: str = "auto",
    storage: str | None = None,
    name: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
    scheduler: str | None = None,
    fidelity: Fidelity | None = None,
    set: Mapping[str, object] | None = None,
    allow_code: bool = False,
) -> optuna.Study:
    """Search a space on a GPU or pool and store the study. An interrupt keeps what is done.

    Args:
        space: a shipped space's name, a YAML file, or a space.
        hardware: the GPUs to search for (default: those that the space names).
        trials: architectures to evaluate where the space is sampled (1000).
        strategy: auto, exhaustive, hybrid, nsga2, nsga3, tpe, gp, cmaes or random. ``auto`` enumerates spaces of up to
            5 million cells and samples larger ones with ``hybrid``.
        storage: a path, a database's URL or ``grpc://HOST:PORT`` (default: your data directory).
        name: the study's name (default: the space's and the GPUs').
        seed: equal seeds give equal studies.
        overwrite: replace a study of the same name, once all that was asked for has been found to be possible.
        progress: show a progress bar on stderr.
        scheduler: the address of a Dask scheduler whose workers enumerate.
        fidelity: how trials are evaluated (default: by the cost model and the quality's proxy alone).
        set: keys of the space's file set to other values, as ``enumerate_space`` takes them; the study keeps them.
        allow_code: let the code that the space names run.

    Returns:
        The stored study. Of an enumerated space it holds the exact front, the fronts of each GPU alone, and a uniform
        sample of the other valid architectures.

    Raises:
        UnknownNameError: unknown space, GPU, strategy, proxy or preset.
        InvalidInputError: a malformed space, a name that is taken, or a storage that cannot be used.
        UnsupportedError: a GPU that cannot run the workload's format, ``gp`` without PyTorch, or code without leave.
    """
    from archsearch.search.studies.study import run_study as searched

    return searched(
        _with_keys(space, set),
        hardware,
        trials=trials,
        strategy=strategy,
        storage=storage,
        name=name,
        seed=seed,
        overwrite=overwrite,
        progress=progress,
        scheduler=scheduler,
        fidelity=fidelity,
        allow_code=allow_code,
    )


@checked_call
def resume_study(
    name: str,
    *,
    trials: int = 1000,
    until: int | None = None,
    storage: str | None = None,
    seed: int | None = None,
    progress: bool = True,
    allow_code: bool = False,
) -> optuna.Study:
    """Add new architectures to a stored study: same space, GPUs and strategy, no architecture twice.

    Args:
        name: the study's name.
        trials: architectures to add.
        until: stop when the study holds this many trials, whoever added them.
        storage: where the study is (as ``run_study`` takes it).
        seed: of this process, where several work on one study (default: the study's).
        progress: show a progress bar on stderr.
        allow_code: let the code that the study names run.

    Returns:
        The study.

    Raises:
        UnknownNameError: no such study.
        InvalidInputError: a study that is complete, that archsearch did not write, or whose storage fails.
        UnsupportedError: code without leave.
    """
    from archsearch.search.studies.study import resume_study as resumed

    return resumed(
        name, trials=trials, until=until, storage=storage, seed=seed, progress=progress, allow_code=allow_code
    )


@checked_call
def recommend(
    source: optuna.Study | str | Path | SearchSpace,
    hardware: Hardware | None = None,
    *,
    max_latency_ms: float | None = None,
    max_parameters: float | None = None,
    max_memory_gib: float | None = None,
    where: str | None = None,
    reference: str | None = None,
    faster_on: Sequence[str] = (),
    prefer: str | None = None,
    top: int = 5,
    weights: Mapping[str, float] | None = None,
    storage: str | None = None,
    progress: bool = True,
    set: Mapping[str, object] | None = None,
    allow_code: bool = False,
) -> pd.DataFrame:
    """The best architectures of a study or space within limits, with the reason for each.

    Args:
        source: a study, a stored study's name, or a space (name, file or object), which is enumerated.
        hardware: the GPUs that a space is searched for (default: those that it names); a study has its own.
        max_latency_ms, max_parameters, max_memory_gib: limits, on every GPU.
        where: a condition on the space's names and ``parameters``, ``"num_layers <= 24"``.
        reference: a model whose predicted quality is the least that counts; ``attrs["reference"]`` is its row.
        faster_on: GPUs on which they have to be faster than the reference.
        prefer: what ranks first: quality, speed, cost, or knee: what matches or beats the baseline in every objective,
            then what trades the objectives best (default: what the space says).
        top: how many.
        weights: what counts more, by metric (1 for those left out); the baseline then plays no part in the order.
        set: keys of a space's file set to other values, as ``enumerate_space`` takes them.
        storage, progress, allow_code: as ``run_study`` takes them.

    Returns:
        The columns of ``enumerate_space`` and ``rank``, ``why``, ``twins`` (ranks of near twins), ``pass_flops`` and
        the range of the rank by quality over independent proxies; ``attrs`` hold the baseline's row, the workload, the
        execution, and, of a pool, what each GPU alone would choose.

    Raises:
        UnknownNameError: neither a study nor a space has that name.
        InvalidInputError: a limit, weight, preference or ``top`` that makes no sense.
        UnsupportedError: code without leave.
        ArchSearchError: nothing is feasible; the text names the binding limit and the nearest architecture.
    """
    from archsearch.search.answers.candidates import changed_source
    from archsearch.search.answers.recommend import recommend as recommended

    return recommended(
        changed_source(source, set, storage) if set else source,
        hardware,
        max_latency_ms=max_latency_ms,
        max_parameters=max_parameters,
        max_memory_gib=max_memory_gib,
        where=where,
        reference=reference,
        faster_on=faster_on,
        prefer=prefer,
        top=top,
        weights=weights,
        storage=storage,
        progress=progress,
        allow_code=allow_code,
    )
