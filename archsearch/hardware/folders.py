"""Where profiles of GPUs and architectures are looked for.

Directories are consulted in this order, and an earlier one hides what a later one has of the same name: the
``profiles`` argument (``--profiles DIR``), the directories of the environment variable ``ARCHSEARCH_PROFILES``
(separated as in ``PATH``), the user's own (``user_profiles``), the one that ships with archsearch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from archsearch.data import data_path, user_data_dir
from archsearch.errors import InvalidInputError

Profiles = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None
PROFILES_VARIABLE = "ARCHSEARCH_PROFILES"


def profiles_dirs(profiles: Profiles = None) -> list[Path]:
    """Directories that are searched for profiles, first match wins; the last one is what archsearch ships.

    Raises:
        InvalidInputError: a directory that the caller or the environment names does not exist.
    """
    if profiles is None:
        given: list[Path] = []
    elif isinstance(profiles, str | os.PathLike):
        given = [Path(profiles).expanduser()]
    else:
        given = [Path(item).expanduser() for item in profiles]
    listed = [Path(item).expanduser() for item in os.environ.get(PROFILES_VARIABLE, "").split(os.pathsep) if item]
    for origin, directories in (("profiles directory", given), (PROFILES_VARIABLE, listed)):
        for directory in directories:
            if not directory.is_dir():
                raise InvalidInputError(f"{origin}: {directory} is not a directory of GPU profiles (*.yaml)")
    users = user_profiles()
    return [*given, *listed, *([users] if users.is_dir() else []), data_path("hardware_profiles")]


def yaml_files(folder: Path) -> tuple[tuple[Path, int], ...]:
    """The YAML files of a folder, hidden ones (an editor's locks) aside, with the times in nanoseconds at which they
    last changed; none where there is no folder.

    Raises:
        InvalidInputError: one of them cannot be read, such as a link that leads nowhere.
    """
    try:
        return tuple(
            (path, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.yaml")) if not path.name.startswith(".")
        )
    except OSError as error:
        raise InvalidInputError(f"{error.filename}: cannot be read: {error.strerror}") from None


def user_profiles() -> Path:
    """The user's own folder of profiles and calibrations, consulted where it exists: ``hardware_profiles`` in
    ``ARCHSEARCH_HOME``, or in the user's data directory."""
    return user_data_dir() / "hardware_profiles"
