"""The GPUs that archsearch knows: YAML profiles found by id, by alias or by what torch calls the device.

Directories are consulted in this order, and an earlier profile hides a later one of the same id: the
``profiles`` argument (``--profiles DIR``), the directories of the environment variable
``ARCHSEARCH_PROFILES`` (separated as in ``PATH``), the user's own (``user_profiles``), those that ship with archsearch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from archsearch.data import data_path, user_data_dir
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.hardware.spec import GpuSpec
from archsearch.yaml_records import parse_record

Profiles = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None
PROFILES_VARIABLE = "ARCHSEARCH_PROFILES"

_SEPARATORS = re.compile(r"[\s_/]+")
_BRANDS = ("nvidia-", "amd-", "tesla-", "geforce-", "instinct-", "radeon-")


@dataclass(frozen=True, slots=True)
class _Index:
    """The profiles of one directory: by id, and ids by normalised id or alias."""

    specs: dict[str, GpuSpec] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


def load_gpu(name: str, profiles: Profiles = None) -> GpuSpec:
    """The GPU of an id, alias or device name (``h100-sxm``, ``H100``, ``NVIDIA H100 80GB HBM3``).

    Case, spaces against hyphens and leading brand words (NVIDIA, Tesla, GeForce, AMD, Instinct) do not matter.

    Args:
        name: any of these.
        profiles: directories of profiles that come before the shipped ones (default: ``ARCHSEARCH_PROFILES``).

    Returns:
        Every figure of the GPU.

    Raises:
        UnknownNameError: no profile has that name; the text lists the nearest ids and aliases.
        InvalidInputError: a profile that had to be read is malformed.
    """
    key = normalise(name)
    *user, shipped = profiles_dirs(profiles)
    indices = [_read_directory(directory) for directory in user]
    if not indices and (direct := shipped / f"{key}.yaml").is_file():
        return _read_profile(direct)
    indices.append(_read_directory(shipped))
    gpu_id = next((index.names[key] for index in indices if key in index.names), None)
    if gpu_id is not None:
        # an earlier profile hides a later one of the same id, for the later one's aliases too
        return next(index.specs[gpu_id] for index in indices if gpu_id in index.specs)
    raise _unknown_gpu(name, list_gpus(profiles))


def list_gpus(profiles: Profiles = None) -> list[GpuSpec]:
    """Every known GPU, sorted by vendor (NVIDIA first), release year and id.

    Args:
        profiles: as ``load_gpu`` takes them.

    Returns:
        Every figure of each.

    Raises:
        InvalidInputError: a profile is malformed.
    """
    found: dict[str, GpuSpec] = {}
    for directory in profiles_dirs(profiles):
        for gpu_id, spec in _read_directory(directory).specs.items():
            found.setdefault(gpu_id, spec)
    return sorted(found.values(), key=lambda spec: (spec.vendor != "nvidia", spec.vendor, -spec.released, spec.id))


def gpu_ids(profiles: Profiles = None) -> list[str]:
    """The ids of every known GPU, in the order of ``list_gpus``."""
    return [spec.id for spec in list_gpus(profiles)]


def profiles_dirs(profiles: Profiles = None) -> list[Path]:
    """Directories that are searched for profiles, first match wins; the last one is what archsearch ships.

    Raises:
        InvalidInputError: a directory that the caller or the environment names does not exist.
    """
    if profiles is None:
        asked: list[Path] = []
    elif isinstance(profiles, str | os.PathLike):
        asked = [Path(profiles).expanduser()]
    else:
        asked = [Path(item).expanduser() for item in profiles]
    listed = [Path(item).expanduser() for item in os.environ.get(PROFILES_VARIABLE, "").split(os.pathsep) if item]
    for origin, directories in (("profiles directory", asked), (PROFILES_VARIABLE, listed)):
        for directory in directories:
            if not directory.is_dir():
                raise InvalidInputError(f"{origin}: {directory} is not a directory of GPU profiles (*.yaml)")
    own = user_profiles()
    return [*asked, *listed, *([own] if own.is_dir() else []), data_path("hardware_profiles")]


def user_profiles() -> Path:
    """The user's own folder of profiles and calibrations, consulted where it exists: ``hardware_profiles`` in
    ``ARCHSEARCH_HOME``, or in the user's data directory."""
    return user_data_dir() / "hardware_profiles"


def normalise(name: str) -> str:
    """A name as the database compares it: lower case, hyphens for spaces, no leading brand words."""
    key = _SEPARATORS.sub("-", name.strip().lower())
    stripped = True
    while stripped:
        shorter = next((key.removeprefix(brand) for brand in _BRANDS if key.startswith(brand)), key)
        stripped = shorter != key
        key = shorter
    return key


def profile_names(spec: GpuSpec) -> set[str]:
    """The normalised names that resolve to a GPU."""
    return {normalise(name) for name in (spec.id, spec.name, *spec.aliases)}


def _unknown_gpu(name: str, specs: list[GpuSpec]) -> UnknownNameError:
    """Refusal that lists near ids, or else near aliases, or else every id."""
    hint = "(`archsearch hardware list` shows all; --profiles DIR adds your own)"
    ids = [spec.id for spec in specs]
    by_id = UnknownNameError("GPU", name, ids, hint)
    if by_id.near:
        return by_id
    by_alias = UnknownNameError("GPU", name, [alias for spec in specs for alias in (spec.name, *spec.aliases)], hint)
    return by_alias if by_alias.near else by_id


def _read_directory(directory: Path) -> _Index:
    """Index of a directory's profiles; files are parsed again only when they change."""
    files = sorted(directory.glob("*.yaml"))
    return _index(tuple((path, path.stat().st_mtime_ns) for path in files))


def _read_profile(path: Path) -> GpuSpec:
    return _parse(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1024)
def _parse(path: Path, changed_ns: int) -> GpuSpec:
    """One profile; ``changed_ns`` is the file's modification time, the cache's second key."""
    return parse_record(GpuSpec, path)


@lru_cache(maxsize=64)
def _index(files: tuple[tuple[Path, int], ...]) -> _Index:
    """Names of one directory's profiles; two profiles may not claim the same name."""
    index = _Index()
    origin: dict[str, Path] = {}
    for path, changed_ns in files:
        spec = _parse(path, changed_ns)
        for name in sorted(profile_names(spec)):
            if name in index.names:
                raise InvalidInputError(f"{path}: the name {name!r} is taken by {origin[name]}")
            index.names[name] = spec.id
            origin[name] = path
        index.specs[spec.id] = spec
    return index
