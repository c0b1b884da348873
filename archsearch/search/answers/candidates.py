"""The feasible architectures that a recommendation chooses from, and what to say when there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.hardware import load_gpu
from archsearch.models.base import ModelConfig
from archsearch.ranges import require_range
from archsearch.search.answers.diagnosis import why_no_trial, why_nothing
from archsearch.search.answers.finished import finished_study, priced_alike, stored_fronts
from archsearch.search.evaluate.columns import Columns, per_gpu_column
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.limits import Bound
from archsearch.search.evaluate.pool_models import Hardware, resolve_pool
from archsearch.search.evaluate.result import SearchResult
from archsearch.search.explore.enumeration import Sweep, sweep, with_own_fronts
from archsearch.search.space.checks import PARAMETERS, condition_names
from archsearch.search.space.expressions import Expression
from archsearch.search.space.space import SearchSpace, load_space, space_files
from archsearch.search.studies.start import ENUMERABLE_CELLS
from archsearch.search.studies.storage import load_study, study_call, study_names
from archsearch.search.studies.study_contents import study_evaluator, study_fidelity, study_record, study_result
from archsearch.search.studies.trial_table import trial_table

if TYPE_CHECKING:
    import optuna
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Limits:
    """What a recommendation must keep besides the space's own budget; latency and memory hold on every GPU.

    ``where`` is a condition on the space's names, as in its constraints. ``reference`` is a model (preset, config.json,
    YAML) that the answer must equal or beat in predicted quality, and be faster than on every GPU of ``faster_on``.
    """

    max_latency_ms: float | None = None
    max_parameters: float | None = None
    max_memory_gib: float | None = None
    where: str | None = None
    reference: str | None = None
    faster_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.faster_on and self.reference is None:
            text = "{faster_on} needs {reference}: faster than which model?"
            raise InvalidInputError(text, field=("faster_on", "reference"))
        if self.where is not None:
            Expression.parse(self.where).require_condition()
        for name in ("max_latency_ms", "max_parameters", "max_memory_gib"):
            value = getattr(self, name)
            if value is not None:
                require_range(name, value, 0, above=True)

    @property
    def any(self) -> bool:
        """Whether there is any limit."""
        given = (self.max_latency_ms, self.max_parameters, self.max_memory_gib, self.where, self.reference)
        return any(v is not None for v in given)

    def latency_ms(self, space: SearchSpace) -> float | None:
        """The latency that every GPU keeps, by the space's budget and by these limits."""
        return _least(space.record.budget.latency_ms, self.max_latency_ms)

    def tighten(self, space: SearchSpace) -> SearchSpace:
        """The space with its budget narrowed to these limits.

        Raises:
            ArchSearchError: no parameter count satisfies both.
        """
        budget = space.record.budget
        low, high = budget.parameters or (1.0, float("inf"))
        if self.max_parameters is not None:
            if self.max_parameters < low:
                raise ArchSearchError(
                    f"no architecture of {space.name} is feasible: its budget asks for at least {low:.6g} parameters, "
                    f"{{max_parameters}} for at most {self.max_parameters:.6g}",
                    field="max_parameters",
                )
            high = min(high, self.max_parameters)
        changes = {
            "parameters": (low, high) if np.isfinite(high) else budget.parameters,
            "memory_gib": _least(budget.memory_gib, self.max_memory_gib),
            "latency_ms": self.latency_ms(space),
        }
        constraints = (*space.record.constraints, *((self.where,) if self.where else ()))
        update = {"budget": budget.model_copy(update=changes), "constraints": constraints}
        tightened = replace(space, record=space.record.model_copy(update=update))
        if self.where is not None:
            Expression.parse(self.where).require_known(condition_names(space.record))
        return tightened

    def reference_config(self, evaluator: Evaluator) -> ModelConfig | None:
        """The reference model; in a space of pipelines within the space's pipeline, with its steps and guidance.

        Raises:
            UnknownNameError: no such model.
            InvalidInputError: a model of another family, which the space's quality law does not compare.
        """
        if self.reference is None:
            return None
        from archsearch.models.registry.load import load_model

        space, config = evaluator.space, load_model(self.reference)
        if config.family != space.family:
            raise InvalidInputError(
                f"{{reference}} {self.reference} is of family {config.family}, the space {space.name} of "
                f"{space.family}: their predicted qualities do not compare",
                field="reference",
            )
        if space.record.pipeline is None:
            return config
        whole: ModelConfig = space.family_class(**{f.name: getattr(config, f.name) for f in fields(config)})
        return whole

    def reference_columns(self, evaluator: Evaluator) -> Columns | None:
        """The reference model's metrics under the space's workload, as columns of length one.

        Raises:
            UnknownNameError, InvalidInputError: see ``reference_config``.
        """
        config = self.reference_config(evaluator)
        if config is None:
            return None
        return evaluator.columns(evaluator.evaluate_config(config), np.zeros(1, dtype=np.int64))

    def bounds(self, evaluator: Evaluator) -> tuple[Bound, ...]:
        """What the reference asks for, as limits on columns.

        Raises:
            InvalidInputError: a GPU of ``faster_on`` that is not in the pool.
        """
        columns = self.reference_columns(evaluator)
        if columns is None:
            return ()
        slower_on = [load_gpu(name).id for name in self.faster_on]
        outside = [gpu for gpu in slower_on if gpu not in evaluator.pool.ids]
        if outside:
            text = f"{{faster_on}} {', '.join(outside)}: the pool is {', '.join(evaluator.pool.ids)}"
            raise InvalidInputError(text, field="faster_on")
        metric, sign = evaluator.proxy.metric, evaluator.quality_sign
        quality = Bound(f"predicted {metric} of {self.reference}", "quality", sign, sign * float(columns["quality"][0]))
        speeds = [
            Bound(
                f"faster than {self.reference} on {gpu}",
                per_gpu_column("latency_s", gpu),
                1.0,
                _FASTER / float(columns[per_gpu_column("throughput", gpu)][0]),
            )
            for gpu in slower_on
        ]
        return (quality, *speeds)


_FASTER = 1 - 1e-9


def _least(*values: float | None) -> float | None:
    return min((v for v in values if v is not None), default=None)


@dataclass(frozen=True)
class Candidates:
    """Feasible architectures [N] to choose from: the pool's front and the fronts of each GPU alone.

    ``exact`` says whether the whole space stands behind them or a sample of it.
    """

    result: SearchResult
    evaluator: Evaluator
    exact: bool


def gather_candidates(
    source: optuna.Study | SearchSpace | str | Path,
    hardware: Hardware | None,
    limits: Limits,
    *,
    storage: str | None = None,
    progress: bool = True,
    evaluator: Evaluator | None = None,
    swept: Sweep | None = None,
) -> Candidates:
    """Feasible architectures of a study or a space under limits; ``swept`` is that space, where it was enumerated.

    A space, and the space of an exhaustive study, is enumerated under the limits, so the answer is exact; without
    limits a study that is finished answers for itself and for the space that it is named after (see ``finished``). A
    sampled study answers from its trials.

    Raises:
        UnknownNameError: the name is neither a study nor a space.
        ArchSearchError: nothing is feasible; the text names the binding limit and the nearest architecture.
    """
    resolved = resolve_source(source, storage)
    if isinstance(resolved, SearchSpace) and not isinstance(source, SearchSpace) and evaluator is None:
        resolved = _answering_study(resolved, hardware, storage) or resolved
    pricer = evaluator or source_evaluator(resolved, hardware, storage)
    if isinstance(resolved, SearchSpace):
        return _from_space(resolved, pricer, limits, progress, swept)
    record = study_record(resolved)
    analytic = study_fidelity(resolved).objective == "analytic"
    if hardware is not None and resolve_pool(hardware).members != pricer.pool.members:
        if not analytic:
            raise InvalidInputError(
                f"study {resolved.study_name!r} was measured or trained: its hardware cannot be changed"
            )
        pricer = Evaluator(pricer.space, resolve_pool(hardware))
        if pricer.space.size > ENUMERABLE_CELLS:
            raise InvalidInputError(
                f"study {resolved.study_name!r} searched {', '.join(record['frame']['hardware'])} and its space is too "
                f"large to enumerate for another pool; run a study on {', '.join(pricer.pool.ids)}"
            )
        return _from_space(pricer.space, pricer, limits, progress)
    if record["strategy"] == "exhaustive" and analytic:
        fronts = None if limits.any else stored_fronts(resolved, pricer)
        if fronts is not None:
            return Candidates(fronts, with_own_fronts(pricer, progress=progress), exact=True)
        return _from_space(pricer.space, pricer, limits, progress)
    return _from_trials(resolved, with_own_fronts(pricer, progress=progress), limits, storage)


def _answering_study(space: SearchSpace, hardware: Hardware | None, storage: str | None) -> optuna.Study | None:
    """The study that answers for its space (``finished_study``), unless it samples it and is priced differently today;
    of an enumerated one ``stored_fronts`` sees to that."""
    study = finished_study(space, hardware, storage)
    if study is None or study_record(study)["strategy"] == "exhaustive":
        return study
    stored = study_result(study)
    alike = len(stored) > 0 and priced_alike(stored, source_evaluator(study, hardware, storage))
    return study if alike else None


def source_evaluator(
    source: optuna.Study | SearchSpace, hardware: Hardware | None, storage: str | None = None
) -> Evaluator:
    """What prices a study's or a space's architectures: a study on its own pool, a space on ``hardware`` or its own.

    ``storage`` is where a study was loaded from: what was traced of a user's modules lies beside it.
    """
    if isinstance(source, SearchSpace):
        return Evaluator(source, resolve_pool(hardware, source))
    return study_evaluator(source, storage)


def resolve_source(source: optuna.Study | SearchSpace | str | Path, storage: str | None) -> optuna.Study | SearchSpace:
    """The study or space of a name; a space file, or the object itself.

    Raises:
        UnknownNameError: the name is neither a study nor a space.
    """
    if isinstance(source, SearchSpace):
        return source
    if not isinstance(source, str | Path):
        return source
    text = str(source)
    if text.endswith((".yaml", ".yml")):
        return load_space(source)
    if storage is None and text in space_files():
        return load_space(source)
    if text in study_names(storage):
        return load_study(text, storage)
    if text in space_files():  # a named space beside a storage that a variable sets
        return load_space(source)
    raise UnknownNameError("study or search space", text, [*study_names(storage), *space_files()])


def changed_source(
    source: optuna.Study | SearchSpace | str | Path, changes: Mapping[str, object], storage: str | None
) -> SearchSpace:
    """The space of a name or file with keys set to other values.

    Raises:
        UnknownNameError: the name is neither a study nor a space.
        InvalidInputError: it is a study, which keeps its space; or as ``SearchSpace.with_keys``.
    """
    resolved = resolve_source(source, storage)
    if isinstance(resolved, SearchSpace):
        return resolved.with_keys(changes)
    text = f"study {resolved.study_name!r} keeps its space as it ran: leave out {{set}}, or name the space"
    raise InvalidInputError(text, field="set")


def _from_space(
    space: SearchSpace, evaluator: Evaluator, limits: Limits, progress: bool, swept: Sweep | None = None
) -> Candidates:
    pricer = evaluator.on(limits.tighten(space), limits.bounds(evaluator)) if limits.any else evaluator
    if swept is None or limits.any:
        swept = sweep(pricer.space, progress=progress, evaluator=pricer)
    if not len(swept.front_cells):
        conditions = () if limits.where is None else (limits.where,)
        raise ArchSearchError(why_nothing(swept, conditions, progress=progress))
    labels: dict[int, list[str]] = {}
    for label, cells in {"pool": swept.front_cells, **swept.gpu_front_cells}.items():
        for cell in cells.tolist():
            labels.setdefault(cell, []).append(label)
    result = swept.result(np.asarray(list(labels), dtype=np.int64))
    frame = result.frame.assign(front_of=[",".join(names) for names in labels.values()])
    return Candidates(result.with_frame(frame), swept.evaluator, exact=True)


def _from_trials(study: optuna.Study, evaluator: Evaluator, limits: Limits, storage: str | None) -> Candidates:
    result = study_result(study)
    frame = result.frame
    if frame.empty:
        call = study_call(f"resume {study.study_name}", storage)
        raise ArchSearchError(f"study {study.study_name!r} has no finished trials; continue it with {call}")
    misses = _stored_misses(study, result) | _limit_misses(limits, evaluator, frame)
    worst = np.stack([np.asarray(values, dtype=float) for values in misses.values()]).max(axis=0)
    if not (worst <= 0).any():
        raise ArchSearchError(why_no_trial(study.study_name, misses, frame, evaluator))
    return Candidates(result.with_frame(frame[worst <= 0].reset_index(drop=True)), evaluator, exact=False)


def refuse_infeasible(study: optuna.Study, storage: str | None) -> None:
    """Say what binds where trials of a study are finished and none is feasible.

    Raises:
        ArchSearchError: none is; the text names the binding limit and the nearest architecture.
    """
    result = study_result(study)
    if len(result) and not result.frame["feasible"].any():
        misses = _stored_misses(study, result)
        raise ArchSearchError(why_no_trial(study.study_name, misses, result.frame, study_evaluator(study, storage)))


def _limit_misses(limits: Limits, evaluator: Evaluator, frame: pd.DataFrame) -> dict[str, ArrayLike]:
    """Misses [N] of the user's limits by the rows of a table; infinite where a condition does not hold."""
    misses: dict[str, ArrayLike] = {}
    if limits.max_parameters is not None:
        misses[f"parameters at most {limits.max_parameters:.6g}"] = frame["parameters"] / limits.max_parameters - 1
    if limits.max_memory_gib is not None:
        size = limits.max_memory_gib * 2**30
        misses[f"memory at most {limits.max_memory_gib:g} GiB"] = frame["memory_bytes"] / size - 1
    if limits.max_latency_ms is not None:
        for gpu in evaluator.pool.ids:
            latency_ms = frame[per_gpu_column("latency_s", gpu)] * 1e3
            misses[f"latency at most {limits.max_latency_ms:g} ms on {gpu}"] = latency_ms / limits.max_latency_ms - 1
    for bound in limits.bounds(evaluator):
        values = {name: frame[name].to_numpy() for name in frame.columns} | {"tokens": 1.0}
        for gpu in evaluator.pool.ids:  # per unit, as the bound compares them
            values[per_gpu_column("latency_s", gpu)] = 1 / values[per_gpu_column("throughput", gpu)]
        misses[bound.text] = bound.miss(values)
    if limits.where is not None:
        rule = Expression.parse(limits.where)
        space = evaluator.space
        rule.require_known(condition_names(space.record))
        fields = space.field_values({name: frame[name].to_numpy() for name in space.dimensions})
        names = {PARAMETERS: frame["parameters"].to_numpy(), **fields}
        misses[f"condition {limits.where}"] = np.where(np.broadcast_to(rule.evaluate(names), len(frame)), 0.0, np.inf)
    return misses


def _stored_misses(study: optuna.Study, result: SearchResult) -> dict[str, ArrayLike]:
    """Misses [N] of the study's own limits by the rows of its table; one column where its trials keep no names."""
    misses: dict[str, ArrayLike] = dict(trial_table(study, result.setting.objectives).constraints)
    return misses or {"the study's budget": result.frame["violation"].to_numpy(float)}
