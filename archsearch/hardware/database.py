"""The GPUs that archsearch knows: YAML profiles found by id, by alias or by what torch calls the device.

``folders`` says where they are looked for; an earlier profile hides a later one of the same id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.architecture import Changed, architecture_files
from archsearch.hardware.clouds import Offer, find_offer, siblings
from archsearch.hardware.folders import Profiles, profiles_dirs, yaml_files
from archsearch.hardware.names import Known, bare, meant, plain, refusal, written
from archsearch.hardware.parsed import keep_parsed, parsed_mapping
from archsearch.hardware.profile import read_profile
from archsearch.hardware.spec import GpuSpec
from archsearch.keywords import checked_call

_ID = re.compile(r"[a-z0-9][a-z0-9.-]{,99}")
LONGEST_NAME = 200
"""Characters: more than any name of a GPU or machine has."""


@dataclass(slots=True)
class _Index:
    """The profiles of one directory: by id, ids by names as ids are written, and what is known of their names.
    ``broken`` are those that cannot be read, ``claims`` which of them has a name."""

    specs: dict[str, GpuSpec] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    known: list[Known] = field(default_factory=list)
    broken: list[InvalidInputError] = field(default_factory=list)
    claims: dict[str, InvalidInputError] = field(default_factory=dict)

    def refuse_broken(self, key: str) -> None:
        """Refuse a name that a profile has which cannot be read.

        Raises:
            InvalidInputError: what is wrong with the profile.
        """
        if key in self.claims:
            raise self.claims[key]


@checked_call
def load_gpu(name: str, profiles: Profiles = None) -> GpuSpec:
    """The GPU of an id, alias or device name (``h100-sxm``, ``H100``, ``NVIDIA H100 80GB HBM3``), or of a cloud's
    machine or label (``p5.48xlarge``, ``nvidia-tesla-a100``).

    Names are compared as ``hardware.names`` says: case, separators and brand words do not matter, digits and variants
    (Ti, SUPER, Laptop ...) do.

    Args:
        name: any of these.
        profiles: directories of profiles that come before the shipped ones (default: ``ARCHSEARCH_PROFILES``). Only
            profiles and architectures are read there: calibrations in their folder ``calibration`` hold where
            ``ARCHSEARCH_PROFILES`` (``--profiles``) names the directory, since they are of all GPUs of a run.

    Returns:
        Every figure of the GPU.

    Raises:
        UnknownNameError: no profile has that name, or several may be meant; ``near`` has the nearest or the choices.
        UnsupportedError: a cloud's machine that has a share of a GPU only.
        InvalidInputError: the profile of that name is malformed, or one that may have it where no other does.

    >>> from archsearch import load_gpu
    >>> load_gpu("NVIDIA H100 80GB HBM3").id
    'h100-sxm'
    """
    return load_counted(name, profiles)[0]


def load_counted(name: str, profiles: Profiles = None) -> tuple[GpuSpec, int | None]:
    """The GPU that a name means, and how many of it: a cloud's machine has some, a GPU's name says nothing (None).

    Raises:
        UnknownNameError, UnsupportedError, InvalidInputError: as ``load_gpu`` does.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"{{hardware}} is the name of a GPU, not {name!r:.60}", field="hardware")
    if len(name) > LONGEST_NAME:
        reason = f"no GPU has a name of {len(name)} characters"
        raise UnknownNameError("GPU", f"{name[:60]}...", (), field="hardware", near=(), reason=reason)
    directories = profiles_dirs(profiles)
    if (spec := _own(name, directories)) is not None or (spec := _of_id(plain(name), directories)) is not None:
        return spec, None
    if (offer := find_offer(name, directories)) is not None:
        return _offered(offer, directories), offer.count
    spec = _of_id(bare(name), directories)
    if spec is not None and written(name).vendors <= {spec.vendor}:
        return spec, None
    indices = _indices(directories)
    key = plain(name)
    for index in indices:
        if gpu_id := index.names.get(key) or meant(name, index.known):
            return _hiding(gpu_id, indices), None
    if (pool := _why_one(name, profiles)) is not None:
        raise pool
    _refuse_broken(indices)
    refused = refusal(name, [gpu for index in indices for gpu in index.known])
    if not refused.near and (family := siblings(name, directories)):
        reason = f"did you mean {', '.join(family)}?"
        raise UnknownNameError("machine", name, (), field="hardware", near=family, reason=reason)
    raise refused


def _why_one(name: str, profiles: Profiles) -> UnknownNameError | None:
    """The error for a pool where one GPU is asked for (``t4=8``, ``t4,l4``); None for any other name."""
    first, mark, count = re.split("([=,])", name, maxsplit=1) if re.search("[=,]", name) else (name, "", "")
    if not mark:
        return None
    try:
        gpu = load_gpu(first.strip(), profiles)
    except (UnknownNameError, UnsupportedError):
        return None
    shared = f"; GPUs that share one model are a layout, as {{tensor_parallel}} {count.strip()}"
    reason = f"{{hardware}} is one GPU here, not a pool: write {gpu.id}{shared if count.strip().isdigit() else ''}"
    return UnknownNameError("GPU", name, (), field=("hardware", "tensor_parallel"), near=(gpu.id,), reason=reason)


def list_gpus(profiles: Profiles = None) -> list[GpuSpec]:
    """Every known GPU, sorted by vendor (NVIDIA first), release year and id.

    Args:
        profiles: as ``load_gpu`` takes them.

    Returns:
        Every figure of each.

    Raises:
        InvalidInputError: a profile is malformed.
    """
    directories = profiles_dirs(profiles)
    _refuse_broken(_indices(directories))
    return readable_gpus(profiles)[0]


def readable_gpus(profiles: Profiles = None) -> tuple[list[GpuSpec], list[InvalidInputError]]:
    """The GPUs whose profiles can be read, in the order of ``list_gpus``, and what is wrong with the other profiles."""
    specs: dict[str, GpuSpec] = {}
    indices = _indices(profiles_dirs(profiles))
    for index in indices:
        for gpu_id, spec in index.specs.items():
            specs.setdefault(gpu_id, spec)
    told = sorted(specs.values(), key=lambda spec: (spec.vendor != "nvidia", spec.vendor, -spec.released, spec.id))
    return told, [error for index in indices for error in index.broken]


def _refuse_broken(indices: Sequence[_Index]) -> None:
    """Refuse profiles that cannot be read.

    Raises:
        InvalidInputError: what is wrong with each, a line a problem.
    """
    broken = [error for index in indices for error in index.broken]
    if broken:
        raise InvalidInputError("\n".join(map(str, broken)))


def gpu_ids(profiles: Profiles = None) -> list[str]:
    """The ids of every known GPU, in the order of ``list_gpus``."""
    return [spec.id for spec in list_gpus(profiles)]


def names_of(spec: GpuSpec) -> Known:
    """What a profile says of its GPU's names, and the facts that a name may mention."""
    memory, link = spec.memory, spec.interconnect
    facts = [spec.form_factor, f"{memory.size_gib:.0f}GB", memory.type, spec.architecture]
    facts += [word for word in spec.generation.name.split() if word.isalpha()]
    if link is not None and link.name.startswith("NVLink"):
        facts.append("NVLink")
    return Known.of(spec.id, spec.vendor, (spec.name, *spec.aliases), facts)


def _own(name: str, directories: Sequence[Path]) -> GpuSpec | None:
    """The GPU that a folder before the shipped one means by a name, whatever the shipped profiles mean by it."""
    for index in [_read_directory(directory, directories) for directory in directories[:-1]]:
        index.refuse_broken(plain(name))
        gpu_id = index.names.get(plain(name)) or meant(name, index.known)
        if gpu_id is not None:
            return index.specs[gpu_id]
    return None


def _of_id(key: str, directories: Sequence[Path]) -> GpuSpec | None:
    """The GPU of an id; of the last directory, whose files are named by their ids, no file but its own is read."""
    if not _ID.fullmatch(key):
        return None
    *before, last = directories
    for index in (_read_directory(directory, directories) for directory in before):
        index.refuse_broken(key)
        if key in index.specs:
            return index.specs[key]
    path = last / f"{key}.yaml"
    return _read_profile(path, directories) if path.is_file() else None


def _offered(offer: Offer, directories: Sequence[Path]) -> GpuSpec:
    """The GPU of a cloud's machine."""
    if offer.share is not None:
        told = f"{offer.name} of {offer.provider} has {offer.share} of a GPU ({offer.gpu}): figures are of whole GPUs"
        raise UnsupportedError(f"{{hardware}} {told}; name the GPU or a machine that has one", field="hardware")
    spec = _of_id(offer.gpu, directories)
    if spec is None:
        reason = f"it is {offer.gpu} at {offer.provider} ({offer.url}), of which there is no profile"
        hint = "({profiles} DIR adds your own)"
        raise UnknownNameError("GPU", offer.name, (), hint, field=("hardware", "profiles"), near=(), reason=reason)
    return spec


def _hiding(gpu_id: str, indices: Sequence[_Index]) -> GpuSpec:
    """An earlier profile hides a later one of the same id, for the later one's aliases too."""
    return next(index.specs[gpu_id] for index in indices if gpu_id in index.specs)


def _indices(directories: Sequence[Path]) -> list[_Index]:
    return [_read_directory(directory, directories) for directory in directories]


def _read_directory(directory: Path, directories: Sequence[Path]) -> _Index:
    """Index of a directory's profiles; files are parsed again only when they change."""
    return _index(yaml_files(directory), tuple(directories), architecture_files(directories))


def _read_profile(path: Path, directories: Sequence[Path]) -> GpuSpec:
    changed = path.stat().st_mtime_ns
    return _complete(path, changed, tuple(directories), architecture_files(directories))


@lru_cache(maxsize=1024)
def _complete(path: Path, changed_ns: int, directories: tuple[Path, ...], architectures: Changed) -> GpuSpec:
    """One profile with the facts of its architecture, which stand in it or in a file of ``directories``; the times at
    which files last changed are the cache's other keys."""
    return read_profile(path, directories, architectures)


@lru_cache(maxsize=64)
def _index(files: tuple[tuple[Path, int], ...], directories: tuple[Path, ...], architectures: Changed) -> _Index:
    """Names of one directory's profiles; two profiles may not claim the same name."""
    index = _Index()
    origin: dict[object, Path] = {}
    for path, changed_ns in files:
        try:
            spec = _complete(path, changed_ns, directories, architectures)
        except InvalidInputError as error:
            index.broken.append(error)
            index.claims |= dict.fromkeys(_claimed(path), error)
            continue
        known = names_of(spec)
        claims = {plain(text): text for text in known.texts} | {name: str(name) for name in known.names if name.tokens}
        for claim, text in claims.items():
            if claim in origin:
                raise InvalidInputError(f"{path}: the name {text!r} is taken by {origin[claim]}")
        origin |= dict.fromkeys(claims, path)
        index.names |= dict.fromkeys(map(plain, known.texts), spec.id)
        index.known.append(known)
        index.specs[spec.id] = spec
    keep_parsed()
    return index


def _claimed(path: Path) -> set[str]:
    """The names that a malformed profile has, as far as it can be read: its file's, its id, name and aliases."""
    try:
        content = parsed_mapping(path)
    except InvalidInputError:
        content = {}
    aliases = content.get("aliases")
    texts = [path.stem, content.get("id"), content.get("name"), *(aliases if isinstance(aliases, list) else [])]
    return {plain(text) for text in texts if isinstance(text, str)}
