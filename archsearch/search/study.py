"""Studies: a search over a space on a pool, kept in Optuna so that it can be listed, resumed and explored.

Exhaustive or sampled, a study holds the same kind of trials (metrics under ``user_attrs["metrics"]``, budget
violations as constraints), and records under ``user_attrs["archsearch"]`` all that is needed to repeat it.
"""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.errors import InvalidInputError
from archsearch.hardware import GpuPool
from archsearch.search.enumeration import Sweep, sweep
from archsearch.search.evaluate import Evaluator
from archsearch.search.frames import frame_attributes, plain
from archsearch.search.pareto import non_dominated
from archsearch.search.pricing import Hardware, resolve_pool
from archsearch.search.progress import progress_bar
from archsearch.search.samplers import BatchSearch, cell_trials, directions
from archsearch.search.space import SearchSpace, load_space, space_from_text
from archsearch.search.storage import check_name, free_name, load_study, open_storage, study_names
from archsearch.tables import write_table

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from optuna.trial import FrozenTrial

STRATEGIES = ("auto", "exhaustive", "hybrid", "nsga2", "nsga3", "tpe", "gp", "cmaes", "random")
ENUMERABLE_CELLS = 5_000_000
SAMPLE_TRIALS = 500
RECORD = "archsearch"


def run_study(
    space: SearchSpace | str | Path,
    hardware: Hardware | None = None,
    *,
    trials: int = 1000,
    strategy: str = "auto",
    storage: str | None = None,
    name: str | None = None,
    seed: int = 0,
    progress: bool = True,
    evaluator: Evaluator | None = None,
) -> optuna.Study:
    """Search a space on a pool and return the stored study.

    ``auto`` enumerates spaces of up to 5 million cells and samples larger ones with ``hybrid``: the front of a
    coarsened space seeds the study, NSGA-II refines it. An exhaustive
    study stores the exact front, the fronts of each GPU alone, and a uniform sample of the other valid
    architectures (``trials`` does not apply). Equal seeds give equal studies. An interrupt keeps what is done.

    Raises:
        UnknownNameError: unknown space, GPU, strategy, proxy or preset.
        InvalidInputError: malformed space, or the study's name is taken.
        UnsupportedError: a GPU cannot run the workload's dtype, or ``gp`` without PyTorch.
    """
    import optuna

    loaded = load_space(space)
    pricer = evaluator or Evaluator(loaded, resolve_pool(hardware, loaded))
    chosen = _strategy(strategy, loaded, trials)
    stem = f"{loaded.name}-{'+'.join(pricer.pool.ids)}"[:100]
    label = check_name(name) if name else free_name(stem, storage)
    if name and name in study_names(storage):
        raise InvalidInputError(f"study {name!r} exists; continue it with `study resume {name}` or choose another name")
    place = open_storage(storage, label, create=True)
    study = optuna.create_study(study_name=label, storage=place, directions=directions(pricer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # metric names are marked experimental
        study.set_metric_names(list(pricer.objective_columns))
    study.set_user_attr(RECORD, _record(pricer, chosen, seed))
    if chosen == "exhaustive":
        _store_sweep(
            study, sweep(loaded, progress=progress, sample=SAMPLE_TRIALS, seed=seed, evaluator=pricer), progress
        )
    else:
        _sample(study, pricer, chosen, seed, trials, progress)
    return study


def resume_study(
    name: str,
    *,
    trials: int = 1000,
    storage: str | None = None,
    seed: int | None = None,
    progress: bool = True,
    evaluator: Evaluator | None = None,
) -> optuna.Study:
    """Add ``trials`` new architectures to a stored study: same space, GPUs and strategy, no architecture twice.

    Several processes may do so at once on one storage (give each its own ``seed``): each learns before every
    batch what the others have stored.

    Raises:
        UnknownNameError: no such study.
        InvalidInputError: the study is exhaustive and complete, or archsearch did not write it.
    """
    study = load_study(name, storage)
    record = study_record(study)
    pricer = evaluator or study_evaluator(study)
    if record["strategy"] == "exhaustive":
        if record.get("complete"):
            raise InvalidInputError(f"study {name!r} enumerated its whole space; there is nothing left to add")
        result = sweep(pricer.space, progress=progress, sample=SAMPLE_TRIALS, seed=record["seed"], evaluator=pricer)
        _store_sweep(study, result, progress)
    else:
        _sample(study, pricer, record["strategy"], record["seed"] if seed is None else seed, trials, progress)
    return study


def _strategy(strategy: str, space: SearchSpace, trials: int) -> str:
    from archsearch.errors import UnknownNameError

    if strategy not in STRATEGIES:
        raise UnknownNameError("strategy", strategy, STRATEGIES)
    if trials < 1:
        raise InvalidInputError(f"trials must be at least 1, not {trials}")
    if strategy != "auto":
        return strategy
    return "exhaustive" if space.size <= ENUMERABLE_CELLS else "hybrid"


def _record(evaluator: Evaluator, strategy: str, seed: int) -> dict[str, Any]:
    baseline = evaluator.baseline_columns
    space = evaluator.space
    return {
        "version": _version(),
        "space_name": space.name,
        "space": space.source_text,
        "hardware": [f"{gpu.id}={weight!r}" for gpu, weight in evaluator.pool],
        "strategy": strategy,
        "seed": seed,
        "proxy": evaluator.proxy.name,
        "frame": frame_attributes(evaluator),
        "baseline": None if baseline is None else {n: plain(v[0]) for n, v in baseline.items()},
        "complete": False,
    }


def _version() -> str:
    try:
        return version("archsearch")
    except PackageNotFoundError:
        return "0+unknown"


def _store_sweep(study: optuna.Study, result: Sweep, progress: bool) -> None:
    """Write front, per-GPU fronts and sample of a sweep; what an interrupted run stored is not written twice."""
    labels: dict[int, list[str]] = {}
    for label, cells in {"pool": result.front_cells, **result.gpu_front_cells}.items():
        for cell in cells.tolist():
            labels.setdefault(cell, []).append(label)
    stored = set(_stored_cells(study, result.space))
    wanted = [*labels, *(cell for cell in result.sample_cells.tolist() if cell not in labels)]
    missing = np.asarray([cell for cell in wanted if cell not in stored], dtype=np.int64)
    trials = cell_trials(result.evaluator, missing, labels=labels)
    with progress_bar(f"storing {study.study_name}", len(trials), enabled=progress) as advance:
        for start in range(0, len(trials), 100):
            study.add_trials(trials[start : start + 100])
            advance(len(trials[start : start + 100]))
    _update(study, complete=True, counts=result.to_dict(rows=False))


def _sample(study: optuna.Study, evaluator: Evaluator, strategy: str, seed: int, trials: int, progress: bool) -> None:
    def stored() -> list[FrozenTrial]:
        return study.get_trials(deepcopy=False)

    with progress_bar(f"{strategy} on {evaluator.space.name}", trials, enabled=progress) as advance:

        def store(finished: list[FrozenTrial]) -> None:
            study.add_trials(finished)
            advance(len(finished))

        search = BatchSearch(evaluator, strategy, seed + len(stored()), stored, store)
        try:
            search.run(trials)
        except KeyboardInterrupt:
            _update(study, interrupted=True)
            raise
    _update(study, interrupted=False)


def _stored_cells(study: optuna.Study, space: SearchSpace) -> list[int]:
    trials = study.trials
    if not trials:
        return []
    values = {name: np.array([trial.params[name] for trial in trials]) for name in space.dimensions}
    return [int(cell) for cell in space.encode(values)]


def _update(study: optuna.Study, **changes: Any) -> None:
    study.set_user_attr(RECORD, {**study_record(study), **changes})


def study_record(study: optuna.Study) -> dict[str, Any]:
    """What archsearch noted about a study.

    Raises:
        InvalidInputError: the study was not written by archsearch.
    """
    record = study.user_attrs.get(RECORD)
    if not isinstance(record, dict) or "space" not in record:
        raise InvalidInputError(f"study {study.study_name!r} was not written by archsearch")
    return dict(record)


def study_space(study: optuna.Study) -> SearchSpace:
    """The space of a study, from the text that the study keeps."""
    return space_from_text(study_record(study)["space"], f"study {study.study_name}")


def study_evaluator(study: optuna.Study) -> Evaluator:
    """The evaluator that a study was run with, rebuilt from its record."""
    record = study_record(study)
    return Evaluator(study_space(study), GpuPool.parse(",".join(record["hardware"])))


def study_frame(study: optuna.Study, *, front_only: bool = False) -> pd.DataFrame:
    """All completed trials as a table: an enumeration's columns plus ``trial``, ``feasible``, ``violation``,
    ``on_front`` and, for pools, ``front_of`` (comma-separated). ``violation`` is the worst relative one.
    """
    import pandas as pd

    record = study_record(study)
    trials = [trial for trial in study.trials if trial.state.is_finished() and "metrics" in trial.user_attrs]
    attributes = record["frame"]
    rows = [
        {name: trial.params[name] for name in trial.params}
        | {n: v for n, v in trial.user_attrs["metrics"].items() if n not in ("latency_worst", "latency_weighted")}
        | {"trial": trial.number, "violation": max(trial.constraints.values(), default=0.0)}
        | {"front_of": ",".join(trial.user_attrs.get("front_of", []))}
        for trial in trials
    ]
    frame = pd.DataFrame(rows)
    frame.attrs = {**attributes, "study": study.study_name, "baseline": record.get("baseline")}
    if frame.empty:
        return frame
    frame = frame.drop(columns="tokens")
    frame["proxy"] = record["proxy"]
    frame["feasible"] = frame["violation"] <= 0
    signs = attributes["objectives"]
    points = np.stack([sign * frame[name].to_numpy(float) for name, sign in signs.items()], axis=1)
    points[~frame["feasible"].to_numpy()] = np.nan
    frame["on_front"] = non_dominated(points)
    return frame[frame["on_front"]].reset_index(drop=True) if front_only else frame


def summarize_study(study: optuna.Study) -> dict[str, Any]:
    """What a study searched and found, as plain values."""
    record = study_record(study)
    frame = study_frame(study)
    counts = record.get("counts", {})
    return {
        "name": study.study_name,
        "space": record["space_name"],
        "hardware": record["frame"]["hardware"],
        "strategy": record["strategy"],
        "seed": record["seed"],
        "proxy": record["proxy"],
        "objectives": list(record["frame"]["objectives"]),
        "trials": len(frame),
        "feasible": int(frame["feasible"].sum()) if len(frame) else 0,
        "front": int(frame["on_front"].sum()) if len(frame) else 0,
        "complete": bool(record.get("complete")),
        "version": record["version"],
        **{key: counts[key] for key in ("architectures", "legal", "valid", "architectures_per_s") if key in counts},
    }


def list_studies(storage: str | None = None) -> pd.DataFrame:
    """The stored studies, one a row: name, space, hardware, strategy, trials, front."""
    import pandas as pd

    shown = ("name", "space", "hardware", "strategy", "trials", "feasible", "front")
    rows = []
    for name in study_names(storage):
        study = load_study(name, storage)
        if RECORD in study.user_attrs:
            summary = summarize_study(study)
            rows.append({key: summary[key] for key in shown} | {"hardware": ",".join(summary["hardware"])})
    return pd.DataFrame(rows, columns=list(shown))


def export_study(study: optuna.Study, path: str | Path, *, front_only: bool = False) -> Path:
    """Write a study's table to .parquet, .csv or .json.

    Raises:
        InvalidInputError: another suffix, or a path that cannot be written.
    """
    return write_table(study_frame(study, front_only=front_only), path)
