"""The version of the code at hand: the installed one's."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed version, or ``0+unknown`` for a checkout on the path that is not installed."""
    try:
        return metadata.version("archsearch")
    except metadata.PackageNotFoundError:
        return "0+unknown"
