"""Files in and out: one way to read a text, and one to write a file whole or not at all."""

from __future__ import annotations

import codecs
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from archsearch.errors import InvalidInputError

MOST_DEPTH = 64
"""Lists and mappings inside each other of a JSON text; real files have ten."""
LARGEST_TEXT_BYTES = 256 * 2**20
"""Largest text that is read: the largest of real ones (a table of measurements) is a tenth of it."""
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is this one's beginning
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks that a text may begin with, and how it is spelled then."""


def read_text(path: str | Path) -> str:
    """The text of a file: UTF-8, or what its byte order mark says (as Windows' editors and spreadsheets write).

    Raises:
        InvalidInputError: no such file, a directory, over 256 MiB, not a text, or a file that may not be read.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > LARGEST_TEXT_BYTES:
            raise InvalidInputError(f"{file}: {size / 2**20:.0f} MiB, over the {LARGEST_TEXT_BYTES / 2**20:.0f} read")
        data = file.read_bytes()
    except FileNotFoundError:
        raise InvalidInputError(f"{file}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{file}: cannot be read: {reason}") from None
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{file}: is no {encoding.upper()} text (byte {error.start}); save it as UTF-8"
        ) from None


def read_json(path: str | Path) -> object:
    """What a JSON file holds.

    Raises:
        InvalidInputError: it cannot be read (``read_text``), or is not JSON, with the line.
    """
    text = read_text(path)
    try:
        content = cast("object", json.loads(text))
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise InvalidInputError(f"{path}: nested deeper than {MOST_DEPTH}") from None
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidInputError(f"{path}: not valid JSON: {error}") from None
    if _depth(content) > MOST_DEPTH:
        raise InvalidInputError(f"{path}: nested deeper than {MOST_DEPTH}")
    return content


def _depth(content: object) -> int:
    """How many lists and mappings lie inside each other; no more are counted than ``MOST_DEPTH`` and one."""
    level, depth = [content], 0
    while depth <= MOST_DEPTH:
        level = [
            part
            for one in level
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            break
        depth += 1
    return depth


def write_text(path: str | Path, text: str) -> Path:
    """Write a UTF-8 text in one step (``replacing``).

    Raises:
        InvalidInputError: the file cannot be written; what was there is still there.
    """
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return Path(path)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path to write beside the file, which takes the file's place once it is whole and on the disk.

    Until then, and if anything fails, the file stays as it was. A device or a pipe is written as it stands.

    Raises:
        InvalidInputError: the file cannot be written (no such folder, no leave, a full disk).
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise InvalidInputError(f"{target}: cannot be written: is a directory")
        if target.exists() and not target.is_file():
            yield target
            return
        target = target.resolve()  # of a link, what it leads to
        # in a folder of its own: what a killed process leaves is nothing that lists of the target's folder show
        with tempfile.TemporaryDirectory(
            dir=target.parent, prefix=f".{target.stem[:40]}-", ignore_cleanup_errors=True
        ) as scratch:
            draft = Path(scratch) / f"draft{target.suffix}"
            draft.touch()
            yield draft
            _keep(draft)
            draft.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
            os.replace(draft, target)
            _keep(target.parent)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{path}: cannot be written: {reason}") from None


def _keep(path: Path) -> None:
    """Have the system put a file, or a folder's list of names, onto the disk, where it can (not Windows' folders)."""
    flags = os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR
    with suppress(PermissionError, NotImplementedError):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
