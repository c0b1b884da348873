"""A journal that is replayed when its trials are asked for, or written: not to say what its studies are.

The names, attributes and directions of studies are answered from what was kept of the file (``kept_tables``) as long as
that holds, which is asked anew each time.
"""

from __future__ import annotations

import copy
from pathlib import Path
from threading import RLock
from typing import Any

from optuna.storages import JournalStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy

from archsearch.search.studies.journal import LockedJournal
from archsearch.search.studies.kept_tables import KeptStudy, kept_studies

_REPLAYED = ("_worker_id_prefix", "_thread_lock", "_replay_result")
"""What ``JournalStorage`` sets when it is made, each of its methods needs one of them."""


class LazyJournal(JournalStorage):
    """Optuna's storage of a journal file, asleep until it has to replay it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waking = RLock()
        self._backend = LockedJournal(str(path))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  attributes of Optuna's class
        if name not in _REPLAYED:
            raise AttributeError(name)
        self._wake()
        return self.__dict__[name]

    def __getstate__(self) -> dict[Any, Any]:
        self._wake()
        state = super().__getstate__()
        del state["_waking"]
        return state

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self._waking = RLock()

    def _wake(self) -> None:
        with self._waking:
            if "_replay_result" not in self.__dict__:
                super().__init__(self._backend)

    def _asleep(self) -> dict[int, KeptStudy] | None:
        """What is kept of the studies, by number; None where the journal is awake or nothing kept holds."""
        if "_replay_result" in self.__dict__:
            return None
        known = kept_studies(self._path)
        return None if known is None else {study.study_id: study for study in known.values()}

    def get_study_id_from_name(self, study_name: str) -> int:
        """See Optuna's ``BaseStorage``; so with all that follow."""
        for number, study in (self._asleep() or {}).items():
            if study.name == study_name:
                return number
        return super().get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        known = self._asleep()
        return known[study_id].name if known and study_id in known else super().get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        known = self._asleep()
        if known and study_id in known:
            return [StudyDirection(number) for number in known[study_id].directions]
        return super().get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        known = self._asleep()
        return known[study_id].user_attrs if known and study_id in known else super().get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        known = self._asleep()
        return known[study_id].system_attrs if known and study_id in known else super().get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        known = self._asleep()
        if known is None:
            return super().get_all_studies()
        return [
            FrozenStudy(
                study_name=study.name,
                direction=None,
                user_attrs=copy.deepcopy(study.user_attrs),
                system_attrs=copy.deepcopy(study.system_attrs),
                study_id=number,
                directions=[StudyDirection(direction) for direction in study.directions],
            )
            for number, study in known.items()
        ]
