"""New studies: what was asked for is found to be possible before anything is written, and the study is made at once.

A study that cannot be run would block its name, and one that ``overwrite`` replaces would be lost for it.
"""

from __future__ import annotations

import re
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.hardware import GpuPool
from archsearch.ranges import require_range
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import setting_of
from archsearch.search.evaluate.plain import plain
from archsearch.search.evaluate.pool_models import Hardware, resolve_pool
from archsearch.search.explore.cluster import require_cluster
from archsearch.search.explore.fidelity import Fidelity, require_evaluation
from archsearch.search.explore.samplers import directions, make_sampler, require_sampler
from archsearch.search.space.space import SearchSpace, load_space
from archsearch.search.space.user_code import with_leave
from archsearch.search.studies.places import RECORD, check_name
from archsearch.search.studies.storage import (
    delete_study,
    free_name,
    open_storage,
    storage_errors,
    study_call,
    study_names,
)
from archsearch.version import version

if TYPE_CHECKING:
    import optuna

STRATEGIES = ("auto", "exhaustive", "hybrid", "nsga2", "nsga3", "tpe", "gp", "cmaes", "random")
ENUMERABLE_CELLS = 5_000_000
TRACEABLE_CELLS = 2_000
LARGEST_SEED = 2**32 - 1
"""Largest seed that every sampler's generator takes."""


@with_leave
def create_study(
    space: SearchSpace | str | Path,
    hardware: Hardware | None = None,
    *,
    strategy: str = "auto",
    storage: str | None = None,
    name: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    evaluator: Evaluator | None = None,
    fidelity: Fidelity | None = None,
    allow_code: bool = False,
) -> optuna.Study:
    """A new study without trials, for ``resume_study`` in one process or ``study worker`` in many to fill.

    ``overwrite`` deletes a study of the same name once all that was asked for has been found to be possible.

    Raises:
        UnknownNameError: unknown space, GPU, strategy, proxy or preset.
        InvalidInputError: malformed space, the study's name is taken, or the storage cannot be used.
        UnsupportedError: a GPU cannot run the workload's dtype.
    """
    import optuna

    loaded = load_space(space)
    pricer = evaluator or Evaluator(loaded, resolve_pool(hardware, loaded))
    chosen, way = _strategy(strategy, loaded), fidelity or Fidelity()
    signs = way.objectives(pricer)
    require_seed(seed)
    if way.objective == "analytic":
        require_sampler(chosen, len(signs))
    record = _record(pricer, chosen, seed, way)  # what cannot be priced fails before a study is made
    label = check_name(name) if name else free_name(study_stem(loaded, pricer.pool), storage)
    if name and is_there(name, storage, overwrite):
        delete_study(name, storage)
    place = open_storage(storage, label, create=True)
    with storage_errors(storage), _at_once(place), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # metric names are marked experimental
        try:
            study = optuna.create_study(study_name=label, storage=place, directions=directions(signs))
        except optuna.exceptions.DuplicatedStudyError:  # another process was quicker
            raise _taken(label, storage) from None
        study.set_metric_names(list(signs))
        study.set_user_attr(RECORD, record)
    return study


def _at_once(place: optuna.storages.BaseStorage) -> AbstractContextManager[None]:
    """What is written inside is written together or not at all, where the storage is a journal."""
    from archsearch.search.studies.journal import LockedJournal

    backend = getattr(place, "_backend", None)
    return backend.exclusive() if isinstance(backend, LockedJournal) else nullcontext()


def is_there(name: str, storage: str | None, overwrite: bool) -> bool:
    """Whether a study of that name is stored.

    Raises:
        InvalidInputError: it is, and nothing may be overwritten.
    """
    there = check_name(name) in study_names(storage)
    if there and not overwrite:
        raise _taken(name, storage)
    return there


def _taken(name: str, storage: str | None) -> InvalidInputError:
    return InvalidInputError(
        f"study {name!r} exists; continue it with {study_call(f'resume {name}', storage)}, choose another "
        "{name}, or replace it with {overwrite}",
        field=("name", "overwrite"),
    )


def require_seed(seed: int) -> None:
    """Refuse a seed that a sampler's generator does not take.

    Raises:
        InvalidInputError: it is not a whole number from 0 to 2**32 - 1.
    """
    require_range("seed", seed, 0, LARGEST_SEED, whole=True)


def require_run(
    evaluator: Evaluator, strategy: str, fidelity: Fidelity, seed: int, scheduler: str | None, *, allow_code: bool
) -> None:
    """Refuse a search that this machine cannot run, before a study is made for it.

    Raises:
        UnknownNameError: no such strategy.
        InvalidInputError: a seed out of range, a scheduler that does not answer or that a sampled space has no use
            for, or no such trainer.
        UnsupportedError: code without leave, a package that is missing, no such device, or a sampler's limits.
    """
    require_seed(seed)
    space = evaluator.space
    chosen = _strategy(strategy, space)
    enumerated = is_enumerated(space, strategy, fidelity)
    if scheduler is not None and not enumerated:
        text = "{scheduler} spreads an enumeration; this study samples its space: leave it out"
        raise InvalidInputError(text, field="scheduler")
    _record(evaluator, chosen, seed, fidelity)  # a baseline that cannot be priced is named
    require_evaluation(evaluator, fidelity, allow_code=allow_code)
    if scheduler is not None:
        require_cluster(evaluator, scheduler)
    elif fidelity.objective == "analytic" and not enumerated:
        make_sampler(chosen, seed, len(space.dimensions), len(evaluator.objective_columns))


def study_stem(space: SearchSpace, pool: GpuPool) -> str:
    """What a study is called where no name is given, but for a number: space, pool and what was set."""
    said = "".join(f"-{key.rpartition('.')[2]}={value}" for key, value in space.changes.items())
    return re.sub(r"[^A-Za-z0-9._+=-]+", "_", f"{space.name}-{'+'.join(pool.ids)}{said}")[:100]


def is_enumerated(space: SearchSpace, strategy: str, fidelity: Fidelity) -> bool:
    """Whether such a study holds the whole space."""
    return fidelity.objective == "analytic" and _strategy(strategy, space) == "exhaustive"


def _strategy(strategy: str, space: SearchSpace) -> str:
    if strategy not in STRATEGIES:
        raise UnknownNameError("strategy", strategy, STRATEGIES, field="strategy")
    if strategy != "auto":
        return strategy
    return "exhaustive" if space.size <= enumerable_cells(space) else "hybrid"


def enumerable_cells(space: SearchSpace) -> int:
    """Largest mesh that is enumerated unless asked: a builder's modules have to be traced one by one."""
    return ENUMERABLE_CELLS if space.record.builder is None else TRACEABLE_CELLS


def _record(evaluator: Evaluator, strategy: str, seed: int, fidelity: Fidelity) -> dict[str, Any]:
    baseline = evaluator.baseline_columns
    space = evaluator.space
    return {
        "version": version(),
        "space_name": space.name,
        "space": space.source_text,
        "hardware": evaluator.pool.to_text().split(","),
        "strategy": strategy,
        "seed": seed,
        "proxy": evaluator.proxy.name,
        "fidelity": fidelity.to_dict(),
        "frame": replace(setting_of(evaluator), objectives=fidelity.objectives(evaluator)).to_dict(),
        "baseline": None if baseline is None else {n: plain(v[0]) for n, v in baseline.items()},
        "complete": False,
    }
