"""Where a report goes: a path refused before any work."""

from __future__ import annotations

import re
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
