"""Where studies live: one journal file per study in the user's data directory, or any Optuna storage.

``--storage`` takes a database URL (``sqlite:///studies.db``, ``postgresql://...``), or a path: ``*.db`` is SQLite,
``*.journal`` and ``*.log`` are Optuna journal files. Without it, study S lives in
``$ARCHSEARCH_HOME/studies/S.journal`` (``$XDG_DATA_HOME/archsearch``, else ``~/.local/share/archsearch``).
Journals take about thirty times as many trials per second as SQLite.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.data import user_data_dir
from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    import optuna

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")


def studies_dir() -> Path:
    """Directory of the studies that are stored by default."""
    return user_data_dir() / "studies"


def default_storage_url(name: str | None = None) -> str:
    """The default place of a study (of all studies where no name is given), as ``--storage`` takes it."""
    return str(studies_dir() / f"{name}.journal") if name else str(studies_dir())


def check_name(name: str) -> str:
    """A study name that is safe as a file name.

    Raises:
        InvalidInputError: any other name.
    """
    if not _NAME.fullmatch(name) or len(name) > 120:
        raise InvalidInputError(f"study name {name!r}: use up to 120 letters, digits and . _ + = -")
    return name


def open_storage(storage: str | None, name: str, *, create: bool) -> optuna.storages.BaseStorage:
    """The storage that holds (or will hold) a study.

    Raises:
        InvalidInputError: the storage cannot be opened.
        UnknownNameError: nothing is there and ``create`` is False.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = storage or default_storage_url(check_name(name))
    try:
        if "://" not in place:
            path = Path(place).expanduser()
            if not create and not path.exists():
                raise UnknownNameError("study", name, study_names(storage), hint=f"(looked in {place})")
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".journal", ".log"):
                return JournalStorage(JournalFileBackend(str(path)))
            if path.suffix not in (".db", ".sqlite", ".sqlite3"):
                raise InvalidInputError(f"storage {place!r}: give a URL, or a path ending in .journal or .db")
            place = f"sqlite:///{path}"
        return optuna.storages.get_storage(place)
    except ArchSearchError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidInputError(f"storage {place!r} cannot be opened: {reason}") from None


def study_names(storage: str | None = None) -> list[str]:
    """Names of the studies in a storage, or in the default directory."""
    import optuna

    if storage is None:
        return sorted(path.stem for path in studies_dir().glob("*.journal"))
    path = Path(storage).expanduser()
    if "://" not in storage and not path.exists():
        return []
    return sorted(optuna.get_all_study_names(open_storage(storage, "any", create=False)))


def load_study(name: str, storage: str | None = None) -> optuna.Study:
    """A stored study by name.

    Raises:
        UnknownNameError: no such study; the text lists near names.
        InvalidInputError: the storage cannot be opened.
    """
    import optuna

    known = study_names(storage)
    if name not in known:
        where = storage or str(studies_dir())
        raise UnknownNameError("study", name, known, hint=f"(in {where}; `archsearch study list` shows all)")
    return optuna.load_study(study_name=name, storage=open_storage(storage, name, create=False))


def delete_study(name: str, storage: str | None = None) -> None:
    """Delete a stored study.

    Raises:
        UnknownNameError: no such study.
    """
    import optuna

    load_study(name, storage)
    if storage is None:
        Path(default_storage_url(name)).unlink()
    else:
        optuna.delete_study(study_name=name, storage=open_storage(storage, name, create=False))


def free_name(stem: str, storage: str | None = None) -> str:
    """``stem``, or ``stem-2``, ``stem-3`` ... where that is taken."""
    taken = set(study_names(storage))
    candidates = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in candidates if name not in taken)
