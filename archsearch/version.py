"""The version of the code at hand: the installed one's."""

from __future__ import annotations

from importlib import metadata

JSON_SCHEMA = 1
"""Version of the keys of all ``--json`` documents (docs/reference/json.md): it grows where a key changes its meaning or
goes, not where one is added."""


def version() -> str:
    """The installed version, or ``0+unknown`` for a checkout on the path that is not installed."""
    try:
        return metadata.version("archsearch")
    except metadata.PackageNotFoundError:
        return "0+unknown"
