"""What was read of a study's file before, kept so that reading it again takes no replay of the file.

A journal is a log of operations: to know a study one replays all of it, ten seconds and a gigabyte for 100,000 trials.
So what the replay came to is kept in the user's cache directory, one file of JSON for each file of studies: the
studies' attributes, their summaries, and the name of a Parquet file with the table of trials.

The study's own file stays the truth. What is kept counts only while that file is to the byte the one that was read: of
the same inode, size and times, with the same beginning and end (``stamp``: SQLite counts its changes at the beginning,
a journal grows at its end). Anything else, and anything here that is missing, torn, of another version or not what its
digest says, is done without, and replaced when the study is read again. What cannot be kept exactly is not kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.data import user_cache_dir
from archsearch.errors import InvalidInputError
from archsearch.files import replacing, write_text
from archsearch.version import version

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
"""Raised when what is kept, or how it follows from trials, changes."""
MOST_STUDY_FILES = 200
MOST_BYTES = 2 * 2**30
HEAD_BYTES, TAIL_BYTES = 4096, 65536
Stamp = list[int | str]
"""Times of a file's content and entry in nanoseconds, size, inode, and the digest of its beginning and end."""


@dataclass(frozen=True, slots=True)
class KeptStudy:
    """What is kept of one study. ``table`` and its ``digest`` are missing where few trials make none worth it."""

    study_id: int
    name: str
    directions: list[int]
    user_attrs: dict[str, Any]
    system_attrs: dict[str, Any]
    summary: dict[str, Any] | None = None
    unfinished: int = 0
    table: str | None = None
    digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {name: getattr(self, name) for name in self.__slots__}


def stamp(path: Path) -> Stamp | None:
    """What tells whether a file of studies is still the one that was read; None: no such file, or one that another
    file completes (a database's write-ahead log)."""
    try:
        with path.open("rb") as file:
            about = path.stat()
            digest = hashlib.blake2b(file.read(HEAD_BYTES), digest_size=16)
            file.seek(max(about.st_size - TAIL_BYTES, 0))
            digest.update(file.read(TAIL_BYTES))
    except (OSError, ValueError):
        return None
    for ending in ("-wal", "-journal"):  # SQLite's: changes that are not in the file yet, or not wholly
        if path.with_name(path.name + ending).exists():
            return None
    return [about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino, digest.hexdigest()]


def kept_studies(path: Path) -> dict[str, KeptStudy] | None:
    """All studies of a file by name, as they were read; None where nothing is kept that still holds."""
    try:
        document = json.loads(_place(path).read_text(encoding="utf-8"))
        if [document["format"], document["version"], document["path"]] != [FORMAT, version(), str(_real(path))]:
            return None
        if document["stamp"] != stamp(path):
            return None
        studies = [KeptStudy(**entry) for entry in document["studies"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return {study.name: study for study in studies}


def kept_table(study: KeptStudy) -> pd.DataFrame | None:
    """The table of a study's trials; None where it has none, or it is not whole."""
    import pandas as pd

    if study.table is None or Path(study.table).name != study.table:
        return None
    path = _folder() / study.table
    try:
        if _digest(path) != study.digest:
            return None
        return pd.read_parquet(path)
    except (OSError, ValueError):  # pyarrow's errors are among them
        return None


def keep(path: Path, read_at: Stamp | None, studies: Mapping[str, KeptStudy], table: pd.DataFrame | None) -> None:
    """Keep what was read of a file, if it is still what it was when reading began.

    Args:
        path: the file of studies.
        read_at: its stamp before it was read.
        studies: all of its studies; the table of the one whose ``table`` is empty text is ``table``.
        table: the trials of that study.
    """
    if read_at is None:
        return
    with suppress(OSError, InvalidInputError, ValueError, TypeError):
        _folder().mkdir(parents=True, exist_ok=True)
        entries = []
        for study in studies.values():
            entry = study.to_dict()
            if study.table == "":
                entry |= dict(zip(("table", "digest"), _write_table(path, table), strict=True))
            entries.append(entry)
        about = {"format": FORMAT, "version": version(), "path": str(_real(path)), "stamp": read_at}
        text = json.dumps({**about, "studies": entries})
        if json.loads(text)["studies"] != entries or stamp(path) != read_at:
            return
        write_text(_place(path), text)
        _tidy(path, {str(entry["table"]) for entry in entries})


def _write_table(path: Path, table: pd.DataFrame | None) -> tuple[str | None, str]:
    """Write a table; its file's name and digest, or no name where Parquet does not give it back as it is."""
    import pandas as pd

    if table is None:
        return None, ""
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    same = pd.read_parquet(content)
    if not (same.equals(table) and (same.dtypes == table.dtypes).all()):
        return None, ""
    digest = hashlib.blake2b(content.getbuffer()).hexdigest()
    name = f"{_key(path)}-{digest[:16]}.parquet"
    with replacing(_folder() / name) as draft:
        draft.write_bytes(content.getbuffer())
    return name, digest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _tidy(path: Path, named: set[str]) -> None:
    """Remove tables of this file that nothing names any more, and what was kept longest ago where it is too much."""
    for table in _folder().glob(f"{_key(path)}-*.parquet"):
        if table.name not in named:
            table.unlink(missing_ok=True)
    for kept in list(_too_much(sorted(_folder().glob("*.json"), key=lambda file: -file.stat().st_mtime_ns))):
        for file in (kept, *_folder().glob(f"{kept.stem}-*.parquet")):
            file.unlink(missing_ok=True)


def _too_much(newest_first: list[Path]) -> Iterator[Path]:
    size = 0
    for number, kept in enumerate(newest_first):
        size += sum(table.stat().st_size for table in _folder().glob(f"{kept.stem}-*.parquet"))
        if number and (number >= MOST_STUDY_FILES or size > MOST_BYTES):
            yield kept


def _folder() -> Path:
    return user_cache_dir() / "studies"


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path.expanduser()))  # of a link that leads to itself too, which has no studies


def _key(path: Path) -> str:
    return hashlib.sha256(str(_real(path)).encode()).hexdigest()[:24]


def _place(path: Path) -> Path:
    return _folder() / f"{_key(path)}.json"
