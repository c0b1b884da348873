"""Where the data that ships with archsearch lies, in a checkout or in an installed wheel."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def user_data_dir() -> Path:
    """The user's data directory: ``ARCHSEARCH_HOME``, else ``archsearch`` in ``XDG_DATA_HOME`` or ~/.local/share."""
    own = os.environ.get("ARCHSEARCH_HOME")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "archsearch"


def user_cache_dir() -> Path:
    """Where what can be made again is kept: ``cache`` in ``ARCHSEARCH_HOME``, else ``archsearch`` in ``XDG_CACHE_HOME``
    or ~/.cache."""
    own = os.environ.get("ARCHSEARCH_HOME")
    if own:
        return Path(own).expanduser() / "cache"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "archsearch"


def data_path(name: str) -> Path:
    """The directory of shipped data called ``name`` (``hardware_profiles``, ``search_spaces``, ``pipelines``).

    An installed wheel carries it in ``archsearch/_data``; a checkout has it next to the package.

    Raises:
        FileNotFoundError: neither place has it, so the installation is incomplete.
    """
    places = (_PACKAGE / "_data" / name, _PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    looked = " or ".join(str(place) for place in places)
    raise FileNotFoundError(f"shipped data {name!r} is missing: looked in {looked}; reinstall archsearch")
