"""Studies: a search over a space on a pool, kept in Optuna so that it can be listed, resumed and explored.

Exhaustive or sampled, a study holds the same kind of trials (metrics under ``user_attrs["metrics"]``, budget
violations as constraints), and records under ``user_attrs["archsearch"]`` all that is needed to repeat it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.progress import progress_bar
from archsearch.ranges import require_range
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.pool_models import Hardware, resolve_pool
from archsearch.search.explore.enumeration import Sweep, sweep, with_own_fronts
from archsearch.search.explore.fidelity import (
    Fidelity,
    candidates,
    make_pruner,
    require_evaluation,
    waiting_trials,
    work,
)
from archsearch.search.explore.hybrid import spread
from archsearch.search.explore.liveness import release_dead
from archsearch.search.explore.samplers import BatchSearch, cell_trials
from archsearch.search.pareto import objective_matrix
from archsearch.search.space.space import Cells, SearchSpace, load_space
from archsearch.search.space.user_code import with_leave
from archsearch.search.studies.artifacts import write_artifact
from archsearch.search.studies.endings import telling_ends
from archsearch.search.studies.listing import list_studies
from archsearch.search.studies.places import RECORD
from archsearch.search.studies.start import (
    LARGEST_SEED,
    create_study,
    is_enumerated,
    is_there,
    require_run,
    require_seed,
)
from archsearch.search.studies.storage import delete_study, load_study, mend_storage, storage_errors
from archsearch.search.studies.study_contents import (
    export_study,
    study_evaluator,
    study_fidelity,
    study_frame,
    study_record,
    study_space,
    summarize_study,
)
from archsearch.search.studies.traces import keep_traces

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

__all__ = [
    "create_study",
    "export_study",
    "list_studies",
    "load_study",
    "resume_study",
    "run_study",
    "study_evaluator",
    "study_fidelity",
    "study_frame",
    "study_record",
    "study_space",
    "summarize_study",
]

DEFAULT_TRIALS = 1000
SAMPLE_TRIALS = 500
SAMPLE_ROWS = 10_000
FRONT_TRIALS = 2000
"""Members of one front that an exhaustive study keeps as trials; its table ``front`` has them all."""
BULK_TRIALS = 1000
"""Trials written in one transaction."""


@with_leave
def run_study(
    space: SearchSpace | str | Path,
    hardware: Hardware | None = None,
    *,
    trials: int | None = None,
    strategy: str = "auto",
    storage: str | None = None,
    name: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
    evaluator: Evaluator | None = None,
    scheduler: str | None = None,
    fidelity: Fidelity | None = None,
    allow_code: bool = False,
) -> optuna.Study:
    """Search a space on a pool and return the stored study.

    ``auto`` enumerates spaces of up to 5 million cells and samples larger ones with ``hybrid``: the front of a
    coarsened space seeds the study, NSGA-II refines it. An exhaustive study stores the exact front, the fronts of each
    GPU alone, and a uniform sample of the other valid architectures; a Dask ``scheduler`` may do the enumeration.
    ``trials`` (``DEFAULT_TRIALS`` where None) counts where the space is sampled. Equal seeds give equal studies. An
    interrupt keeps what is done; an error before the first trial leaves no study.

    Raises:
        UnknownNameError: unknown space, GPU, strategy, proxy or preset.
        InvalidInputError: malformed space, the study's name is taken, or the storage cannot be used.
        UnsupportedError: a GPU cannot run the workload's dtype, or ``gp`` without PyTorch.
        ArchSearchError: an enumeration found nothing valid; the text counts what each reason excludes.
    """
    wanted = DEFAULT_TRIALS if trials is None else trials
    require_range("trials", wanted, 1, whole=True)
    loaded = load_space(space)
    pricer = evaluator or Evaluator(loaded, resolve_pool(hardware, loaded))
    require_run(pricer, strategy, fidelity or Fidelity(), seed, scheduler, allow_code=allow_code)
    kept: dict[str, Any] = {"storage": storage, "name": name, "seed": seed, "evaluator": pricer}
    ways: dict[str, Any] = {"progress": progress, "scheduler": scheduler, "allow_code": allow_code}
    swept: Sweep | None = None
    if name and is_there(name, storage, overwrite) and is_enumerated(loaded, strategy, fidelity or Fidelity()):
        swept = _swept(pricer, seed, progress, scheduler)  # the old study stays until there is what replaces it
    study = create_study(loaded, strategy=strategy, fidelity=fidelity, overwrite=overwrite, **kept)
    try:
        with telling_ends(study, storage):
            _continue(study, pricer, storage, seed=seed, trials=wanted, swept=swept, **ways)
    except BaseException:
        with suppress(Exception):  # what failed is told, not what cannot be cleared away after it
            if not study.get_trials(deepcopy=False):
                delete_study(study.study_name, storage)
        raise
    keep_traces(study, storage, pricer.space)
    return study


def _swept(evaluator: Evaluator, seed: int, progress: bool, scheduler: str | None) -> Sweep:
    """The whole space with the sample that a study keeps.

    Raises:
        ArchSearchError: nothing is valid.
    """
    sample: dict[str, Any] = {"sample": SAMPLE_ROWS, "seed": seed}
    swept = sweep(evaluator.space, progress=progress, evaluator=evaluator, scheduler=scheduler, **sample)
    if not swept.valid:
        raise ArchSearchError(swept.excluded())
    return swept


@with_leave
def resume_study(
    name: str,
    *,
    trials: int = 1000,
    until: int | None = None,
    storage: str | None = None,
    seed: int | None = None,
    progress: bool = True,
    evaluator: Evaluator | None = None,
    allow_code: bool = False,
) -> optuna.Study:
    """Add ``trials`` new architectures to a stored study: same space, GPUs and strategy, no architecture twice.

    ``until`` stops when the study holds that many trials, whoever added them. Several processes may work on one
    storage at once (give each its own ``seed``): each learns before every batch what the others have stored, and
    the storage takes no architecture twice.

    Raises:
        UnknownNameError: no such study.
        InvalidInputError: the study is exhaustive and complete, archsearch did not write it, or the storage fails.
    """
    require_range("trials", trials, 1, whole=True)
    if until is not None:
        require_range("until", until, 1, whole=True)
    if seed is not None:
        require_seed(seed)
    mend_storage(name, storage)
    study = load_study(name, storage)
    record = study_record(study)
    if record["strategy"] == "exhaustive" and record.get("complete"):
        raise InvalidInputError(f"study {name!r} enumerated its whole space; there is nothing left to add")
    pricer = evaluator or study_evaluator(study, storage)
    chosen = record["seed"] if seed is None else seed
    ways: dict[str, Any] = {"progress": progress, "allow_code": allow_code}
    with telling_ends(study, storage):
        _continue(study, pricer, storage, seed=chosen, trials=trials, until=until, **ways)
    keep_traces(study, storage, pricer.space)
    return study


def _continue(
    study: optuna.Study,
    evaluator: Evaluator,
    storage: str | None,
    *,
    seed: int,
    trials: int,
    progress: bool,
    until: int | None = None,
    scheduler: str | None = None,
    allow_code: bool = False,
    swept: Sweep | None = None,
) -> None:
    fidelity = study_fidelity(study)
    if fidelity.objective != "analytic":
        require_evaluation(evaluator, fidelity, allow_code=allow_code)
        with storage_errors(storage):
            _try_candidates(study, evaluator, fidelity, trials, until, progress, allow_code)
        return
    with storage_errors(storage):
        strategy = study_record(study)["strategy"]
        if strategy != "exhaustive":
            _sample(study, evaluator, strategy, seed, trials, progress, until)
            return
        _store_sweep(study, swept or _swept(evaluator, seed, progress, scheduler), storage, progress)


def _try_candidates(
    study: optuna.Study,
    evaluator: Evaluator,
    fidelity: Fidelity,
    trials: int,
    until: int | None,
    progress: bool,
    allow_code: bool,
) -> None:
    """Measure or train: queue the analytic model's best where nothing is queued, then work the queue off.

    Workers that start together queue the same architectures, which the storage takes once: all use the study's seed.
    """
    from optuna.trial import TrialState

    from archsearch.search.studies.ledger import COUNTED, insert

    study.pruner = make_pruner(fidelity)
    release_dead(study)
    if not study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
        held = len(study.get_trials(deepcopy=False, states=COUNTED))
        wanted = held + trials if until is None else min(held + trials, until)
        if wanted > held:
            seed = study_record(study)["seed"]
            evaluator = with_own_fronts(evaluator, progress=progress)
            chosen = candidates(evaluator, wanted, fidelity.keep, seed, progress=progress)
            insert(study, waiting_trials(evaluator, chosen))
    work(study, evaluator, fidelity, allow_code=allow_code, progress=progress)


def _store_sweep(study: optuna.Study, swept: Sweep, storage: str | None, progress: bool) -> None:
    """Write what a sweep found: as trials the front, the per-GPU fronts (a spread selection of each, where it is long)
    and a sample; as tables the whole front and a larger sample. What an interrupted run stored is not written twice."""
    from archsearch.search.studies.ledger import insert

    labels: dict[int, list[str]] = {}
    for label, cells in {"pool": swept.front_cells, **swept.gpu_front_cells}.items():
        for cell in _selected(swept, cells).tolist():
            labels.setdefault(cell, []).append(label)
    sample = swept.sample_cells[:SAMPLE_TRIALS].tolist()
    wanted = np.asarray([*labels, *(cell for cell in sample if cell not in labels)], dtype=np.int64)
    trials = cell_trials(swept.evaluator, wanted, labels=labels)
    with progress_bar(f"storing {study.study_name}", len(trials), enabled=progress) as advance:
        for start in range(0, len(trials), BULK_TRIALS):
            insert(study, trials[start : start + BULK_TRIALS])
            advance(len(trials[start : start + BULK_TRIALS]))
    write_artifact(study, storage, "front", swept.result(swept.front_cells).frame)
    write_artifact(study, storage, "sample", swept.result(swept.sample_cells).frame)
    _update(study, complete=True, counts=swept.to_dict(rows=False))


def _selected(swept: Sweep, cells: Cells) -> Cells:
    """A front's cells, or as many as a study keeps as trials, spread over it."""
    if len(cells) <= FRONT_TRIALS:
        return cells
    points = objective_matrix(swept.columns(cells), swept.evaluator.objective_columns)
    return cells[np.sort(spread(points, FRONT_TRIALS))]


def _sample(
    study: optuna.Study,
    evaluator: Evaluator,
    strategy: str,
    seed: int,
    trials: int,
    progress: bool,
    limit: int | None = None,
) -> None:
    """Add up to ``trials`` architectures, the study not growing beyond ``limit``."""
    from optuna.trial import TrialState

    from archsearch.search.studies.ledger import insert, patient

    def stored() -> list[FrozenTrial]:
        return patient(lambda: study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)), "did not answer")

    with progress_bar(f"{strategy} on {evaluator.space.name}", trials, enabled=progress) as advance:

        def store(finished: list[FrozenTrial]) -> list[bool]:
            taken = insert(study, finished, limit=limit)
            advance(sum(taken))
            if limit is not None and not all(taken) and len(stored()) >= limit:
                raise _LimitReached
            return taken

        search = BatchSearch(evaluator, strategy, (seed + len(stored())) % (LARGEST_SEED + 1), stored, store)
        try:
            search.run(trials)
        except _LimitReached:
            pass
        except KeyboardInterrupt:
            _update(study, interrupted=True)
            raise


class _LimitReached(Exception):
    """The study holds as many trials as were asked for."""


def _update(study: optuna.Study, **changes: object) -> None:
    study.set_user_attr(RECORD, {**study_record(study), **changes})
