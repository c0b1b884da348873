"""The lock of a journal file: held over several reads and writes, and free at once when its holder is killed.

Two locks, taken one after the other:

* the operating system's, on the journal itself (``flock``): it ends with the process that holds it. Windows has none of
  this kind;
* Optuna's, a file ``X.journal.lock`` that is created exclusively: ``optuna-dashboard`` and other programs of Optuna's
  respect it, over network file systems too. It needs no privilege on any system, as a symbolic link does on Windows.
  Who holds it writes its machine and process into it. What a killed process of this machine left behind is removed by
  whoever holds the system's lock, since no living process can hold it then; any other is broken after 30 s.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from threading import RLock

from optuna.storages.journal import JournalFileOpenLock

SUFFIX = ".lock"


class JournalLock:
    """Reentrant in one thread; other threads and processes wait."""

    def __init__(self, path: str) -> None:
        self.file = JournalFileOpenLock(path)
        self._path, self._lock = path, Path(path + SUFFIX)
        self._depth = 0
        self._descriptor: int | None = None
        self._thread = RLock()

    def acquire(self) -> bool:
        """Wait for the lock.

        Raises:
            OSError: the journal is gone, or neither it nor its folder may be written.
        """
        self._thread.acquire()
        if self._depth == 0:
            try:
                self._take()
            except BaseException:
                self._thread.release()
                raise
        self._depth += 1
        return True

    def release(self) -> None:
        """Give the lock to the next; a lock that somebody took away meanwhile is no error."""
        self._depth -= 1
        try:
            if self._depth == 0:
                with suppress(RuntimeError):
                    self.file.release()
        finally:
            if self._depth == 0 and self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
            self._thread.release()

    def _take(self) -> None:
        self._descriptor = _system_lock(self._path)
        try:
            if self._descriptor is not None and _is_ours(self._lock):
                self._lock.unlink(missing_ok=True)
            self.file.acquire()
            with suppress(OSError):  # a full disk: the lock holds without a name in it
                descriptor = os.open(self._lock, os.O_WRONLY)
                try:
                    os.write(descriptor, f"{_machine()}{os.getpid()}".encode())
                finally:
                    os.close(descriptor)
        except BaseException:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
            raise


def _machine() -> str:
    return f"archsearch {socket.gethostname()} "


def _is_ours(lock: Path) -> bool:
    """Whether a process of this machine wrote its name into the lock (a link is another program's)."""
    try:
        return not lock.is_symlink() and lock.read_text(encoding="utf-8", errors="replace").startswith(_machine())
    except OSError:
        return False


def _system_lock(path: str) -> int | None:
    """A descriptor that holds the journal until it is closed; None where there is no such lock."""
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a network file system without locks
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
