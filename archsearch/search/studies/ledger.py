"""Writing trials so that several workers never keep one architecture twice, nor more than were asked for.

``insert`` checks and writes in one step that no other worker can interleave with:

* databases (SQLite, PostgreSQL, MySQL): one transaction that holds the study's row, rows inserted in bulk;
* journal files: under the file's lock, lines written with one ``fsync``;
* Optuna's gRPC proxy: the server (``archsearch study proxy``) does it, one trial at a time (``guard``);
* in memory: one process, nothing to guard against.

A trial's architecture stands in its system attribute ``KEY``. Failed trials do not count: theirs may be tried again.
A worker killed at any moment leaves either all of a batch or nothing of it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import uuid4

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from archsearch.errors import ArchSearchError
from archsearch.search.explore.keys import KEY, key_of
from archsearch.search.studies.journal import LockedJournal

if TYPE_CHECKING:
    from optuna.study import Study
    from sqlalchemy.orm import Session

WRITER = "archsearch:writer"
LIMIT = "archsearch:limit"
"""Study's system attribute: most trials that it may hold, for the proxy's server to keep."""
COUNTED = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING, TrialState.PRUNED)
_RETRIES = 8
_LASTING = ("full", "readonly", "No space left", "read-only")
"""What no second try mends, in a database's words."""
T = TypeVar("T")


def insert(study: Study, trials: Sequence[FrozenTrial], *, limit: int | None = None) -> list[bool]:
    """Add the trials whose architecture the study does not hold yet, in order, up to ``limit`` trials in all.

    Returns, for each trial, whether it was added.

    Raises:
        ArchSearchError: the database stayed locked or refused the write.
    """
    if not trials:
        return []
    storage = getattr(study._storage, "_backend", study._storage)
    if isinstance(storage, RDBStorage):
        return _insert_rows(storage, study._study_id, trials, limit)
    backend = getattr(study._storage, "_backend", None)
    if isinstance(backend, LockedJournal):
        with backend.exclusive():
            return _insert_one_by_one(study, trials, limit)
    if isinstance(study._storage, InMemoryStorage | JournalStorage):
        return _insert_one_by_one(study, trials, limit)
    return _insert_through_proxy(study, trials, limit)


def _insert_one_by_one(study: Study, trials: Sequence[FrozenTrial], limit: int | None) -> list[bool]:
    kept = study.get_trials(deepcopy=False, states=COUNTED)
    known, count = {key_of(trial) for trial in kept}, len(kept)
    added = []
    for trial in trials:
        key = key_of(trial)
        fresh = (key is None or key not in known) and (limit is None or count < limit)
        if fresh:
            study.add_trial(trial)
            known.add(key)
            count += 1
        added.append(fresh)
    return added


def _insert_through_proxy(study: Study, trials: Sequence[FrozenTrial], limit: int | None) -> list[bool]:
    """The server refuses in silence (``guard``); what carries this batch's mark was taken."""
    if limit is not None and study._storage.get_study_system_attrs(study._study_id).get(LIMIT) != limit:
        study._storage.set_study_system_attr(study._study_id, LIMIT, limit)
    mark = uuid4().hex
    for trial in trials:
        marked = copy(trial)
        marked.system_attrs = {**trial.system_attrs, WRITER: mark}
        study.add_trial(marked)
    mine = Counter(key_of(t) for t in study.get_trials(deepcopy=False) if t.system_attrs.get(WRITER) == mark)
    added = []
    for trial in trials:
        added.append(mine[key_of(trial)] > 0)
        mine[key_of(trial)] -= 1  # an architecture that a batch holds twice was taken once
    return added


def _insert_rows(storage: RDBStorage, study_id: int, trials: Sequence[FrozenTrial], limit: int | None) -> list[bool]:
    from optuna.storages._rdb.storage import _create_scoped_session

    def write() -> list[bool]:
        with _create_scoped_session(storage.scoped_session) as session:
            return _rows_in_session(session, study_id, trials, limit)

    return patient(write, f"refused {len(trials)} trials")


def patient(call: Callable[[], T], refusal: str) -> T:
    """What a call of a database answers, tried anew for half a minute where it is locked or away (a restart).

    Raises:
        ArchSearchError: it stayed so, or refuses for good (a full disk, no leave to write).
    """
    from sqlalchemy.exc import SQLAlchemyError

    for attempt in range(_RETRIES):
        try:
            return call()
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            cause = error.__cause__ or error
            reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
            if attempt == _RETRIES - 1 or any(word in reason for word in _LASTING):
                raise ArchSearchError(f"the study's database {refusal}: {reason}") from None
            time.sleep(0.1 * 2**attempt)
    raise AssertionError  # unreachable


def _rows_in_session(session: Session, study_id: int, trials: Sequence[FrozenTrial], limit: int | None) -> list[bool]:
    """Check and insert within one transaction, which first takes the study's row."""
    from optuna.storages._rdb import models
    from sqlalchemy import func, update

    studies, table = models.StudyModel, models.TrialModel
    # an update takes the row (SQLite: the file) from the start; "select for update" takes nothing in SQLite
    held = session.execute(update(studies).where(studies.study_id == study_id).values(study_name=studies.study_name))
    if not cast("int", getattr(held, "rowcount", 1)):
        raise KeyError(study_id)  # as Optuna's storages tell a study that is no more
    keys = [key_of(trial) for trial in trials]
    known = _known_keys(session, study_id, [key for key in keys if key is not None])
    counted = session.query(func.count(table.trial_id)).filter(table.study_id == study_id)
    number: int = counted.scalar()
    count: int = counted.filter(table.state.in_(COUNTED)).scalar()
    added, chosen = [], []
    for trial, key in zip(trials, keys, strict=True):
        fresh = (key is None or key not in known) and (limit is None or count < limit)
        if fresh:
            known.add(key)
            chosen.append(trial)
            count += 1
        added.append(fresh)
    _write_rows(session, study_id, number, chosen)
    return added


def _known_keys(session: Session, study_id: int, keys: list[str]) -> set[str | None]:
    """Which of these architectures the study holds."""
    from optuna.storages._rdb import models

    attributes, table = models.TrialSystemAttributeModel, models.TrialModel
    stored = [json.dumps(key) for key in keys]
    rows = (
        session.query(attributes.value_json)
        .join(table, table.trial_id == attributes.trial_id)
        .filter(table.study_id == study_id, table.state.in_(COUNTED))
        .filter(attributes.key == KEY, attributes.value_json.in_(stored))
        .all()
    )
    return {cast("str", json.loads(row[0])) for row in rows}


def _write_rows(session: Session, study_id: int, number: int, trials: Sequence[FrozenTrial]) -> None:
    """Rows of new trials, numbered from ``number``, as Optuna's own ``create_new_trial`` writes them one by one."""
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models

    made = [
        models.TrialModel(
            study_id=study_id,
            number=number + position,
            state=trial.state,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
        )
        for position, trial in enumerate(trials)
    ]
    session.add_all(made)
    session.flush()
    values: list[dict[str, Any]] = []
    parameters: list[dict[str, Any]] = []
    user: list[dict[str, Any]] = []
    system: list[dict[str, Any]] = []
    texts: dict[str, str] = {}
    for row, trial in zip(made, trials, strict=True):
        for objective, value in enumerate(trial.values or ()):
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            values.append({"trial_id": row.trial_id, "objective": objective, "value": stored, "value_type": kind})
        for name, value in trial.params.items():
            distribution = trial.distributions[name]
            if name not in texts:
                texts[name] = distribution_to_json(distribution)
            stored = distribution.to_internal_repr(value)
            entry = {"trial_id": row.trial_id, "param_name": name, "param_value": stored}
            parameters.append(entry | {"distribution_json": texts[name]})
        for rows, attributes in ((user, trial.user_attrs), (system, trial.system_attrs)):
            rows += [{"trial_id": row.trial_id, "key": k, "value_json": json.dumps(v)} for k, v in attributes.items()]
    for model, rows in (
        (models.TrialValueModel, values),
        (models.TrialParamModel, parameters),
        (models.TrialUserAttributeModel, user),
        (models.TrialSystemAttributeModel, system),
    ):
        if rows:
            session.bulk_insert_mappings(model, rows)


def guard(storage: BaseStorage) -> BaseStorage:
    """Make a storage, as the proxy's server holds it, take no architecture twice and no more than the study's limit.

    A refused trial is answered with the id of one that the study has, so that any Optuna client goes on.
    """
    create, mutex = storage.create_new_trial, Lock()

    def create_new_trial(study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if template_trial is None or key_of(template_trial) is None:
            return int(create(study_id, template_trial))
        with mutex:
            kept = storage.get_all_trials(study_id, deepcopy=False, states=COUNTED)
            limit = storage.get_study_system_attrs(study_id).get(LIMIT)
            twin = next((t for t in kept if key_of(t) == key_of(template_trial)), None)
            if twin is None and limit is not None and len(kept) >= limit:
                twin = kept[-1]
            return int(create(study_id, template_trial) if twin is None else twin._trial_id)

    storage.create_new_trial = create_new_trial  # type: ignore[method-assign]
    return storage
