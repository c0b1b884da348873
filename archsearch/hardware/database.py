"""The GPUs that archsearch knows: YAML profiles found by id, by alias or by what torch calls the device.

``folders`` says where they are looked for; an earlier profile hides a later one of the same id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.hardware.architecture import Changed, architecture_files
from archsearch.hardware.folders import Profiles, profiles_dirs
from archsearch.hardware.parsed import keep_parsed
from archsearch.hardware.profile import read_profile
from archsearch.hardware.spec import GpuSpec

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
    directories = profiles_dirs(profiles)
    if len(directories) == 1 and (direct := directories[0] / f"{key}.yaml").is_file():
        return _read_profile(direct, directories)
    indices = [_read_directory(directory, directories) for directory in directories]
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
    specs: dict[str, GpuSpec] = {}
    directories = profiles_dirs(profiles)
    for directory in directories:
        for gpu_id, spec in _read_directory(directory, directories).specs.items():
            specs.setdefault(gpu_id, spec)
    return sorted(specs.values(), key=lambda spec: (spec.vendor != "nvidia", spec.vendor, -spec.released, spec.id))


def gpu_ids(profiles: Profiles = None) -> list[str]:
    """The ids of every known GPU, in the order of ``list_gpus``."""
    return [spec.id for spec in list_gpus(profiles)]


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
    hint = "(`archsearch hardware list` shows all; {profiles} DIR adds your own)"
    about = ("hardware", "profiles")
    ids = [spec.id for spec in specs]
    aliases = [alias for spec in specs for alias in (spec.name, *spec.aliases)]
    by_id = UnknownNameError("GPU", name, ids, hint, field=about)
    if by_id.near:
        return by_id
    by_alias = UnknownNameError("GPU", name, aliases, hint, field=about)
    return by_alias if by_alias.near else by_id


def _read_directory(directory: Path, directories: Sequence[Path]) -> _Index:
    """Index of a directory's profiles; files are parsed again only when they change."""
    files = tuple((path, path.stat().st_mtime_ns) for path in sorted(directory.glob("*.yaml")))
    return _index(files, tuple(directories), architecture_files(directories))


def _read_profile(path: Path, directories: Sequence[Path]) -> GpuSpec:
    changed = path.stat().st_mtime_ns
    return _complete(path, changed, tuple(directories), architecture_files(directories))


@lru_cache(maxsize=1024)
def _complete(path: Path, changed_ns: int, directories: tuple[Path, ...], architectures: Changed) -> GpuSpec:
    """One profile with the facts of its architecture, which stand in it or in a file of ``directories``; the times at
    which files last changed are the cache's other keys."""
    return read_profile(path, directories)


@lru_cache(maxsize=64)
def _index(files: tuple[tuple[Path, int], ...], directories: tuple[Path, ...], architectures: Changed) -> _Index:
    """Names of one directory's profiles; two profiles may not claim the same name."""
    index = _Index()
    origin: dict[str, Path] = {}
    for path, changed_ns in files:
        spec = _complete(path, changed_ns, directories, architectures)
        for name in sorted(profile_names(spec)):
            if name in index.names:
                raise InvalidInputError(f"{path}: the name {name!r} is taken by {origin[name]}")
            index.names[name] = spec.id
            origin[name] = path
        index.specs[spec.id] = spec
    keep_parsed()
    return index
