"""Where a report goes: a path refused before any work, a file that is whole or not there."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from archsearch.errors import InvalidInputError

HTML = (".html", ".htm")
LONGEST_NAME = 80


def check_path(path: Path, suffixes: tuple[str, ...] = HTML) -> None:
    """Refuse, before any work, a report that could not be written.

    Raises:
        InvalidInputError: another suffix, no such directory, or a directory in the file's place.
    """
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        kinds = " or ".join(suffixes)
        raise InvalidInputError(f"{path}: a report is {kinds}, not {suffix or 'without suffix'}; rename it")
    if not path.parent.is_dir():
        raise InvalidInputError(f"{path}: no directory {path.parent}; make it or name another")
    if path.is_dir():
        raise InvalidInputError(f"{path}: a directory is in the report's place; name another file")


def default_path(source: str) -> Path:
    """The file in the working directory that a report of ``source`` goes to where none is named."""
    stem = Path(source).stem if source.endswith((".yaml", ".yml", ".json")) else source
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:LONGEST_NAME]
    return Path(f"{plain or 'archsearch'}-report.html")


def write_text(path: Path, text: str) -> int:
    """Write a report as UTF-8; returns its bytes. Raises as ``write_whole`` does."""
    content = text.encode()
    write_whole(path, lambda temporary: temporary.write_bytes(content))
    return len(content)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path`` (of the same suffix), which then takes its name: readers see
    the old file or the new one, and a failure leaves the old one.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(_mode(path))
        temporary.replace(path)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _mode(path: Path) -> int:
    """The permissions of the file that is replaced, else what a new file has here."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
