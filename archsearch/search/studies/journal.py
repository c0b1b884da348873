"""Journal files that stay whole: a batch of lines is appended entirely or not at all, and a torn end is mended first.

A full disk or a loss of power may leave the last record without its end. Optuna's reader passes over it; a line that is
appended then would be glued to it, and nothing behind it could be read. So whatever appends looks at the end first:
what is no whole record is cut off, kept beside the journal in ``X.journal.torn``, and told.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from optuna.storages.journal import JournalFileBackend

from archsearch.errors import InvalidInputError
from archsearch.files import replacing
from archsearch.progress import remark
from archsearch.search.studies.journal_lock import SUFFIX, JournalLock

TORN = ".torn"
"""Suffix of the file that keeps what was cut off."""
MOST_TORN_BYTES = 64 * 2**20
"""Most that is cut off: several times the largest batch that is written at once."""
HEAD_BYTES = 256
"""What is compared of a journal's beginning to know it again."""
_BLOCK = 2**16


class LockedJournal(JournalFileBackend):
    """A journal file whose lock can be held over several reads and writes; what is written then is appended at once."""

    def __init__(self, path: str) -> None:
        if Path(path).is_dir():
            raise InvalidInputError(f"{path}: is a directory, not a journal")
        self.guard = JournalLock(path)
        self._pending: list[dict[str, Any]] | None = None
        self._path = path
        self._looked = False
        super().__init__(path, lock_obj=cast("Any", self.guard))
        self._head = b""
        self._require_same_file()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the file: nobody else writes; an exception inside writes nothing."""
        with self._held():
            try:
                self._pending = []
                yield
                lines, self._pending = self._pending, None
                if lines:
                    self._write(lines)
            finally:
                self._pending = None

    def append_logs(self, logs: list[dict[str, object]]) -> None:
        if self._pending is not None:
            self._pending += json.loads(json.dumps(logs))
            return
        with self._held():
            self._append(logs)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, object], None, None]:
        """Lines of the file, then those that wait to be written.

        Raises:
            InvalidInputError: the file is gone, or holds what is no record.
        """
        waiting, written = list(self._pending or ()), max(self._log_number_offset)
        if not waiting or log_number_from < written:
            yield from self._stored(log_number_from)
            written = max(self._log_number_offset)
        yield from waiting[max(log_number_from - written, 0) :]

    def _stored(self, log_number_from: int) -> Generator[dict[str, object], None, None]:
        self._require_same_file()
        try:
            self._require_journal(log_number_from)
            for record in super().read_logs(log_number_from):
                if not _is_record(record):
                    raise ValueError("not a record")
                yield record
        except (ValueError, RecursionError):  # not JSON, not UTF-8, or JSON of something else
            raise InvalidInputError(_problem(self._path)) from None
        except OSError as error:
            raise InvalidInputError(f"{self._path}: cannot be read: {error.strerror or error}") from None

    def _require_journal(self, log_number_from: int) -> None:
        if log_number_from == 0 and self._head:
            with open(self._path, "rb") as file:
                if not _is_line(_first_line(file)):
                    raise ValueError("not a record")

    def _write(self, lines: list[dict[str, Any]]) -> None:
        self._append(lines)
        number = max(self._log_number_offset)
        place = self._log_number_offset[number]
        for line in lines:  # where each begins, so that reading on does not scan the file
            number, place = number + 1, place + len(_encoded([line]))
            self._log_number_offset[number] = place

    @contextmanager
    def _held(self) -> Iterator[None]:
        try:
            self.guard.acquire()
        except FileNotFoundError:
            raise InvalidInputError(_gone(self._path)) from None
        except OSError as error:
            raise InvalidInputError(f"{self._path}: cannot be written: {error.strerror or error}") from None
        try:
            yield
        finally:
            self.guard.release()

    def _append(self, lines: Sequence[dict[str, Any]]) -> None:
        """Append lines, under the lock, entirely or not at all.

        Raises:
            InvalidInputError: the file is gone or was replaced, its end cannot be mended, or the disk is full.
        """
        self._require_same_file()
        try:
            mend(self._path, closely=not self._looked)
            self._looked = True
            if lines:
                _append_whole(self._path, _encoded(lines))
        except OSError as error:
            reason = error.strerror or error
            raise InvalidInputError(
                f"{self._path}: cannot be written: {reason}; what was stored before is whole"
            ) from None

    def mend(self) -> None:
        """Have the file end with a whole record (``mend``).

        Raises:
            InvalidInputError: it is no journal, or cannot be written.
        """
        with self._held():
            self._append([])

    def _require_same_file(self) -> None:
        """The beginning of a journal names the process that made it; no other has the same."""
        try:
            with open(self._path, "rb") as file:
                head = file.read(HEAD_BYTES)
        except OSError:
            head = b""
            if not self._head and os.path.lexists(self._path):  # not to be read: whoever reads says why
                return
        if not head.startswith(self._head) or not os.path.lexists(self._path):
            raise InvalidInputError(_gone(self._path))
        self._head = head


def beside(journal: Path) -> list[Path]:
    """Files that belong to a journal: what was cut off, and a lock."""
    return [path for path in journal.parent.glob(f"{_escaped(journal.name)}.*") if _belongs(path, journal)]


def mend(path: str, *, closely: bool = True) -> None:
    """Cut off what is no whole record at a journal's end, under its lock; it is kept in ``X.journal.torn`` and told.

    Without ``closely``, only a last line without an end is looked for, as a killed or stopped write leaves it.

    Raises:
        InvalidInputError: the file is no journal, or what would be cut is more than an interrupted write can leave.
        OSError: the file cannot be written.
    """
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if not size or (not closely and _ends(file, size)):
            return
        whole = _whole_bytes(file, size)
        if whole == size:
            return
        if not whole or not _is_line(_first_line(file)):
            raise InvalidInputError(_problem(path))
        file.seek(whole)
        kept = _keep(Path(path), file.read())
        file.truncate(whole)
        file.flush()
        os.fsync(file.fileno())
    remark(
        f"{path}: its last {size - whole:,} bytes were no whole record (a full disk, or a loss of power); they are cut "
        f"off and kept in {kept.name}, what was stored before is whole"
    )


def _whole_bytes(file: BinaryIO, size: int) -> int:
    """Where the last whole record ends; 0 where none does within what an interrupted write can leave."""
    end = size
    while end and size - end <= MOST_TORN_BYTES:
        start = _line_start(file, end)
        file.seek(start)
        if _is_line(file.read(end - start)):
            return end
        end = start
    return 0


def _line_start(file: BinaryIO, end: int) -> int:
    """Where the line begins that ends at ``end``."""
    place = end - 1  # its own end of line does not count
    while place > 0:
        start = max(0, place - _BLOCK)
        file.seek(start)
        found = file.read(place - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        place = start
    return 0


def _first_line(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.readline(MOST_TORN_BYTES)


def _ends(file: BinaryIO, size: int) -> bool:
    file.seek(size - 1)
    return file.read(1) == b"\n"


def _is_line(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        return _is_record(json.loads(line))
    except (ValueError, RecursionError):
        return False


def _is_record(value: object) -> bool:
    """Whether this is a record of Optuna's: what is done, and by which process."""
    return isinstance(value, dict) and isinstance(value.get("op_code"), int) and "worker_id" in value


def _keep(journal: Path, torn: bytes) -> Path:
    """Keep what is cut off in a file that is not there yet."""
    place = journal.with_name(journal.name + TORN)
    number = 1
    while place.exists():
        number += 1
        place = journal.with_name(f"{journal.name}{TORN}-{number}")
    with replacing(place) as draft:
        draft.write_bytes(torn)
    return place


def _append_whole(path: str, data: bytes) -> None:
    """Append bytes and have them on the disk; where anything fails, the file ends as it did."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
    try:
        end, rest = os.fstat(descriptor).st_size, memoryview(data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except BaseException as error:
            if rest or isinstance(error, OSError):  # an interrupt after the last byte leaves it whole
                with suppress(OSError):
                    os.ftruncate(descriptor, end)
            raise
    finally:
        os.close(descriptor)


def _encoded(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)


def _gone(path: str) -> str:
    return f"{path}: was deleted or replaced while it was in use; nothing more is written"


def _problem(path: str) -> str:
    """Why a file is no journal: the first line that is no record."""
    number = 1
    with suppress(OSError), open(path, "rb") as file:
        number = next((n for n, line in enumerate(file, start=1) if not _is_line(line)), 1)
    if number == 1:
        return f"{path}: is no journal of studies (its first line is no record of Optuna's)"
    return f"{path}:{number}: is no record of Optuna's journal; what stands before it is whole ({number - 1:,} lines)"


def _belongs(path: Path, journal: Path) -> bool:
    rest = path.name.removeprefix(journal.name)
    return rest in (SUFFIX, TORN) or rest.startswith(f"{TORN}-")


def _escaped(name: str) -> str:
    return name.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
