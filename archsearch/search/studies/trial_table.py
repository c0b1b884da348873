"""A study's trials as one table: read from what was kept of its file (``kept_tables``), else from the trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.arrays import Floats
from archsearch.search.evaluate.frames import HIDDEN
from archsearch.search.studies.kept_tables import KeptStudy, Stamp, keep, kept_studies, kept_table, stamp

if TYPE_CHECKING:
    import optuna
    import pandas as pd

CONSTRAINT = "constraint: "
"""Begins the names of kept columns that are constraints."""
KEPT_FROM = 1000
"""Fewest trials whose table is kept: fewer are replayed as soon."""


@dataclass(frozen=True, slots=True)
class TrialTable:
    """The completed trials of a study that have all of its objectives.

    ``frame`` has a row a trial: dimensions, metrics, ``trial``, ``violation``, ``front_of`` (no columns where there is
    no trial). ``constraints`` are by name the trials' values [N], -1 where a trial has none of that name.
    ``unfinished`` counts trials that run or wait.
    """

    frame: pd.DataFrame
    constraints: Mapping[str, Floats]
    unfinished: int


def trial_table(study: optuna.Study, objectives: Mapping[str, float]) -> TrialTable:
    """The trials of a study as a table."""
    place = _place(study)
    if place is None:
        return _of_trials(study, objectives)
    known = (kept_studies(place) or {}).get(study.study_name)
    if known is not None and (kept := kept_table(known)) is not None:
        return _split(kept, known.unfinished)
    read_at = stamp(place)
    table = _of_trials(study, objectives)
    many = len(table.frame) >= KEPT_FROM
    limits = {CONSTRAINT + name: values for name, values in table.constraints.items()}
    whole = table.frame.assign(**limits) if many else None
    _keep(study, read_at, whole, table="" if many else None, unfinished=table.unfinished)
    return table


def kept_summary(study: optuna.Study) -> dict[str, Any] | None:
    """The summary of a study that was kept with it and still holds."""
    place = _place(study)
    known = None if place is None else kept_studies(place)
    return known[study.study_name].summary if known and study.study_name in known else None


def keep_summary(study: optuna.Study, read_at: Stamp | None, summary: dict[str, Any]) -> None:
    """Keep the summary of a study that was as it is now when ``read_at`` was taken (``read_stamp``)."""
    _keep(study, read_at, None, summary=summary)


def read_stamp(study: optuna.Study) -> Stamp | None:
    """The stamp of the file that holds a study; None where no file does."""
    place = _place(study)
    return None if place is None else stamp(place)


def _keep(study: optuna.Study, read_at: Stamp | None, whole: pd.DataFrame | None, **changes: Any) -> None:  # noqa: ANN401
    """Keep what was found out about a study, beside what is kept of the file's other studies."""
    place = _place(study)
    if place is None or read_at is None:
        return
    known = kept_studies(place)
    if known is None:
        known = {
            each.study_name: KeptStudy(
                study_id=each._study_id,
                name=each.study_name,
                directions=[int(direction) for direction in each.directions],
                user_attrs=each.user_attrs,
                system_attrs=each.system_attrs,
            )
            for each in study._storage.get_all_studies()
        }
    if study.study_name in known:
        keep(place, read_at, {**known, study.study_name: replace(known[study.study_name], **changes)}, whole)


def _place(study: optuna.Study) -> Path | None:
    """The file that holds a study: a journal's or SQLite's."""
    backend = getattr(study._storage, "_backend", None)
    path = getattr(backend, "_path", None)
    if path is not None:
        return Path(path)
    url = getattr(getattr(backend, "engine", None), "url", None)
    if url is None or url.get_backend_name() != "sqlite" or not url.database or ":memory:" in url.database:
        return None
    return Path(url.database)


def _of_trials(study: optuna.Study, objectives: Mapping[str, float]) -> TrialTable:
    import pandas as pd

    all_trials = study.get_trials(deepcopy=False)
    trials = [
        trial
        for trial in all_trials
        if trial.state.name == "COMPLETE" and set(objectives) <= set(trial.user_attrs.get("metrics", ()))
    ]
    hidden = set(HIDDEN) - set(objectives)
    rows = [
        {name: trial.params[name] for name in trial.params}
        | {n: v for n, v in trial.user_attrs["metrics"].items() if n not in hidden}
        | {"trial": trial.number, "violation": max(trial.constraints.values(), default=0.0)}
        | {"front_of": ",".join(trial.user_attrs.get("front_of", []))}
        | {name: trial.user_attrs[name] for name in ("measured_on",) if name in trial.user_attrs}
        for trial in trials
    ]
    limits = [trial.constraints for trial in trials]
    names = list(dict.fromkeys(name for constraints in limits for name in constraints))
    constraints = {str(n): np.array([float(c.get(n, -1.0)) for c in limits]) for n in names}
    unfinished = sum(trial.state.name in ("RUNNING", "WAITING") for trial in all_trials)
    return TrialTable(pd.DataFrame(rows), constraints, unfinished)


def _split(kept: pd.DataFrame, unfinished: int) -> TrialTable:
    limits = [name for name in kept if str(name).startswith(CONSTRAINT)]
    constraints = {str(name).removeprefix(CONSTRAINT): kept[name].to_numpy(float) for name in limits}
    return TrialTable(kept.drop(columns=limits), constraints, unfinished)
