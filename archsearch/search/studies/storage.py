"""Where studies live: one journal file per study in the user's data directory, or any Optuna storage.

``--storage`` takes a database URL (``sqlite:///studies.db``, ``postgresql+psycopg://...``), the address of a proxy
(``grpc://host:port``, served by ``archsearch study proxy``), or a path: ``*.db`` is SQLite, ``*.journal`` and ``*.log``
are Optuna journal files. Without it, study S lives in ``$ARCHSEARCH_HOME/studies/S.journal``
(``$XDG_DATA_HOME/archsearch``, else ``~/.local/share/archsearch``).

Databases get heartbeats: a trial whose worker died is failed after ``GRACE_S`` and queued again, up to ``MAX_RETRIES``
times. Passwords in URLs stay out of every message (``shown``).
"""

from __future__ import annotations

import shlex
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from archsearch.errors import (
    ArchSearchError,
    InvalidInputError,
    UnknownNameError,
    UnsupportedError,
    masked,
    passwords_in,
)
from archsearch.keywords import checked_call
from archsearch.search.studies.places import artifacts_dir, check_name, default_storage_url, studies_dir

if TYPE_CHECKING:
    import optuna

JOURNALS, DATABASES = (".journal", ".log"), (".db", ".sqlite", ".sqlite3")
"""Suffixes of storages that are files."""
HEARTBEAT_S = 30
GRACE_S = 120
MAX_RETRIES = 3
SQLITE_TIMEOUT_S = 60
PROXY_TIMEOUT_S = 10


def open_storage(storage: str | None, name: str, *, create: bool) -> optuna.storages.BaseStorage:
    """The storage that holds (or will hold) a study.

    Raises:
        InvalidInputError: the storage cannot be opened.
        UnsupportedError: the driver that the URL needs is not installed.
        UnknownNameError: nothing is there and ``create`` is False.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = storage or default_storage_url(check_name(name))
    with storage_errors(place, opening=True):
        if place.startswith("grpc://"):
            return _open_proxy(place)
        if "://" in place:
            return _open_database(place)
        path = _storage_path(place)
        if not create and not path.exists():
            raise UnknownNameError("study", name, study_names(storage), hint=f"(looked in {place})")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in JOURNALS:
            from archsearch.search.studies.lazy_journal import LazyJournal

            return LazyJournal(path)
        return _open_database(f"sqlite:///{path}")


def _storage_path(place: str) -> Path:
    """The file of a storage that is no URL.

    Raises:
        InvalidInputError: its suffix says no kind of storage.
    """
    path = Path(place).expanduser()
    if path.suffix not in (*JOURNALS, *DATABASES):
        raise InvalidInputError(f"storage {shown(place)!r}: give a URL, or a path ending in .journal or .db")
    return path


def _open_database(url: str) -> optuna.storages.BaseStorage:
    """A database with heartbeats and retries; ``postgresql://`` takes the psycopg 3 driver."""
    import optuna
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

    scheme, _, rest = url.partition("://")
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        if find_spec("psycopg") is None:
            raise UnsupportedError("PostgreSQL needs psycopg: pip install 'archsearch[postgres]'")
        url = f"postgresql+psycopg://{rest}"
    engine = {"connect_args": {"timeout": SQLITE_TIMEOUT_S}} if scheme.startswith("sqlite") else {"pool_pre_ping": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # heartbeats are marked experimental
        return optuna.storages.get_storage(
            RDBStorage(
                url,
                engine_kwargs=engine,
                heartbeat_interval=HEARTBEAT_S,
                grace_period=GRACE_S,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES),
            )
        )


def _open_proxy(address: str) -> optuna.storages.BaseStorage:
    host, port = proxy_address(address.removeprefix("grpc://"))
    if find_spec("grpc") is None or find_spec("google.protobuf") is None:
        raise UnsupportedError("a proxy's address needs grpcio: pip install 'archsearch[grpc]'")
    import grpc
    from optuna.storages import GrpcStorageProxy

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=PROXY_TIMEOUT_S)
        except grpc.FutureTimeoutError:
            raise InvalidInputError(f"no proxy answers at {address}; start one: archsearch study proxy") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GrpcStorageProxy(host=host, port=port)


def proxy_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port``.

    Raises:
        InvalidInputError: anything else.
    """
    host, _, port = text.rstrip("/").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidInputError(f"address {text!r}: write HOST:PORT, for example grpc://10.0.0.5:13000")
    return host, int(port)


def serve_proxy(storage: str, host: str, port: int) -> None:
    """Serve a database over gRPC until interrupted; it takes no architecture twice (``ledger.guard``).

    Raises:
        InvalidInputError: the database or the port cannot be used.
        UnsupportedError: grpcio is not installed.
    """
    if find_spec("grpc") is None or find_spec("google.protobuf") is None:
        raise UnsupportedError("the proxy needs grpcio: pip install 'archsearch[grpc]'")
    from optuna.storages import run_grpc_proxy_server

    from archsearch.search.studies.ledger import guard

    served = guard(open_storage(storage, "any", create=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run_grpc_proxy_server(served, host=host, port=port)
        except RuntimeError as error:
            raise InvalidInputError(f"cannot listen on {host}:{port}: {error}") from None


def study_call(words: str, storage: str | None) -> str:
    """A call about stored studies as a text names it, with where they lie unless that is the default."""
    return f"`archsearch study {words}{f' --storage {shlex.quote(shown(storage))}' if storage else ''}`"


def shown(place: str) -> str:
    """A storage's name without its password."""
    return masked(place)


@contextmanager
def storage_errors(place: str | None, *, opening: bool = False) -> Iterator[None]:
    """Turn what a storage raises into one line that names it, without its password.

    Raises:
        InvalidInputError: in place of any error of Optuna's storages, SQLAlchemy, a driver or gRPC; in place of any
            error at all while ``opening`` it.
    """
    try:
        yield
    except (ArchSearchError, KeyboardInterrupt):
        raise
    except Exception as error:
        if place is None or not (opening or _is_storage_error(error)):
            raise
        cause = error.__cause__ or error
        message = str(getattr(cause, "orig", None) or cause).strip() or type(error).__name__
        hidden = message.splitlines()[0]
        for secret in _secrets(place):
            hidden = hidden.replace(secret, "***")
        raise InvalidInputError(f"storage {shown(place)!r} cannot be used: {shown(hidden)}") from None


def _is_storage_error(error: Exception) -> bool:
    roots = {type(e).__module__.split(".")[0] for e in (error, error.__cause__) if e is not None}
    return bool(roots & {"sqlalchemy", "psycopg", "sqlite3", "grpc"}) or type(error).__name__ == "StorageInternalError"


def _secrets(place: str) -> list[str]:
    """Passwords in a URL, as written and decoded, longest first."""
    secrets = passwords_in(place)
    return sorted({*secrets, *(unquote(secret) for secret in secrets)} - {""}, key=len, reverse=True)


def study_names(storage: str | None = None) -> list[str]:
    """Names of the studies in a storage, or in the default directory."""
    if storage is None:
        return sorted(path.stem for path in studies_dir().glob("*.journal"))
    import optuna

    if "://" not in storage and not _storage_path(storage).exists():
        return []
    with storage_errors(storage):
        return sorted(optuna.get_all_study_names(open_storage(storage, "any", create=False)))


@checked_call
def load_study(name: str, storage: str | None = None) -> optuna.Study:
    """A stored study by name.

    Args:
        name: the study's name.
        storage: a path, a database's URL or ``grpc://HOST:PORT`` (default: your data directory).

    Returns:
        The study, as Optuna has it.

    Raises:
        UnknownNameError: no such study; the text lists near names.
        InvalidInputError: the storage cannot be opened, or holds no study.
    """
    import optuna

    require_study(name, storage)
    opened = open_storage(storage, name, create=False)
    try:
        return optuna.load_study(study_name=name, storage=opened)
    except KeyError:  # a journal without records, or with others
        raise InvalidInputError(f"study {name!r}: {_other_contents(name, opened, storage)}") from None


def mend_storage(name: str, storage: str | None) -> None:
    """Have a study's journal end with a whole record, before anything is read that is to be continued.

    Raises:
        InvalidInputError: the file is no journal, or cannot be written.
    """
    from archsearch.search.studies.journal import LockedJournal

    if storage is not None and "://" in storage:
        return
    path = _storage_path(storage or default_storage_url(check_name(name)))
    if path.suffix in JOURNALS and path.exists():
        LockedJournal(str(path)).mend()


def _other_contents(name: str, opened: optuna.storages.BaseStorage, storage: str | None) -> str:
    """What a storage holds that should hold this study."""
    import optuna

    held = sorted(optuna.get_all_study_names(opened))
    if not held:
        return f"its storage holds no study; {study_call(f'delete {name}', storage)} removes it"
    return (
        f"its file holds the study {held[0]!r} (it was renamed or copied): give it the name {held[0]}.journal, or "
        f"read it with --storage"
    )


def require_study(name: str, storage: str | None) -> None:
    """Refuse a name that no study of a storage has.

    Raises:
        UnknownNameError: with near names, and where was looked.
        InvalidInputError: a name that no study may have.
    """
    names = study_names(storage)
    if storage is not None or name not in names:  # a file's own name leads nowhere else, whatever it is
        check_name(name)
    if name not in names:
        where = shown(storage) if storage else str(studies_dir())
        raise UnknownNameError("study", name, names, hint=f"(in {where}; {study_call('list', storage)} shows all)")


def delete_study(name: str, storage: str | None = None) -> None:
    """Delete a stored study, and what lies beside it.

    Raises:
        UnknownNameError: no such study.
        InvalidInputError: a name that no study may have, or a place that may not be written.
    """
    import optuna

    require_study(name, storage)
    if storage is None:
        _delete_file(Path(default_storage_url(name)))
    else:
        with storage_errors(storage):
            optuna.delete_study(study_name=name, storage=open_storage(storage, name, create=False))
    with suppress(InvalidInputError):  # a file of another name than studies have has no tables
        shutil.rmtree(artifacts_dir(name, storage), ignore_errors=True)


def _delete_file(file: Path) -> None:
    """Delete what lies where a study's journal should, whatever it is, and what belongs to it."""
    from archsearch.search.studies.journal import beside

    try:
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)  # of a link, the link
        for path in beside(file):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be deleted: {error.strerror or error}") from None


def free_name(stem: str, storage: str | None = None) -> str:
    """``stem``, or ``stem-2``, ``stem-3`` ... where that is taken."""
    taken = set(study_names(storage))
    candidates = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in candidates if name not in taken)
