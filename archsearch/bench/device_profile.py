"""The profile that a calibration is for: one that exists, one written off the device that is here, or one whose
inferred peaks its owner accepts."""

from __future__ import annotations

import datetime
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from archsearch.bench.device_facts import present_device
from archsearch.bench.peak_check import on_device
from archsearch.bench.skeleton import skeleton
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.files import write_text
from archsearch.hardware.architecture import architecture_files
from archsearch.hardware.database import load_gpu
from archsearch.hardware.folders import profiles_dirs
from archsearch.hardware.profile import read_profile
from archsearch.hardware.spec import GpuSpec
from archsearch.yaml_records import without_key

_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True, slots=True)
class Profiled:
    """A GPU's profile: what it says, and the file that was written or changed (None: neither)."""

    spec: GpuSpec
    written: Path | None = None


def profile_of(gpu: str, device: str, folder: Path, *, accept_inferred: bool = False) -> Profiled:
    """The profile of a GPU; one that the database lacks is read off the device and written to ``folder``.

    Args:
        gpu: an id or name; a new one is the id of the profile that is written.
        device: what torch calls the device.
        accept_inferred: its inferred peaks may be used without a check.

    Raises:
        UnsupportedError: ``gpu`` is new and no GPU is here to read a profile off.
        InvalidInputError: a new name that is no id, a device of no architecture known, or nothing to accept.
    """
    try:
        spec = load_gpu(gpu)
    except UnknownNameError as unknown:
        return _read_off(gpu, device, folder, accept_inferred, unknown)
    if not accept_inferred:
        return Profiled(spec)
    return _accepted(spec)


def _read_off(gpu: str, device: str, folder: Path, accept_inferred: bool, unknown: UnknownNameError) -> Profiled:
    facts = present_device(device)
    if facts is None:
        reason = unknown.spelled("{{{}}}".format)
        text = f"{reason}; a profile of a new GPU is read off the device, and torch sees no GPU as {device!r}"
        raise UnsupportedError(text, field=unknown.fields)
    if not _ID.fullmatch(gpu):
        text = f"{{gpu}} {gpu!r}: a new profile's id is lower case, of letters, digits, hyphens and points (rtx-5070)"
        raise InvalidInputError(text, field="gpu")
    _not_there(facts.name, folder)
    profile = skeleton(gpu, facts, datetime.date.today().isoformat(), on_device(device))
    if accept_inferred:
        profile.pop("unchecked", None)
    return write_profile(folder / f"{gpu}.yaml", profile)


def _not_there(name: str, folder: Path) -> None:
    """Refuse a second profile of one device in a folder: no name may mean two."""
    try:
        there = folder / f"{load_gpu(name).id}.yaml"
    except UnknownNameError:
        return
    if there.is_file():
        raise InvalidInputError(f"{there} is the profile of this device ({name}): name it with {{gpu}}", field="gpu")


def write_profile(path: Path, profile: dict[str, object]) -> Profiled:
    """Write a profile's file, once the loader has read it without complaint.

    Raises:
        InvalidInputError: the loader refuses it.
    """
    import yaml

    return _kept(path, yaml.safe_dump(profile, sort_keys=False, width=120, allow_unicode=True))


def _accepted(spec: GpuSpec) -> Profiled:
    """Take ``unchecked`` out of a profile's file and leave the rest as it is."""
    if not spec.unchecked:
        text = f"{{accept_inferred}} without effect: no peak of {spec.id} is unchecked"
        raise InvalidInputError(text, field="accept_inferred")
    paths = (folder / f"{spec.id}.yaml" for folder in profiles_dirs())
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise InvalidInputError(
            f"no file {spec.id}.yaml in your folders of profiles; delete its line `unchecked` by hand"
        )
    return _kept(path, without_key(path, "unchecked"))


def _kept(path: Path, text: str) -> Profiled:
    """Check a profile's text and put it in place in one step; a file that is there stays until then."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".profile-") as scratch:
        draft = Path(scratch) / path.name
        draft.write_text(text, encoding="utf-8")
        folders = tuple(profiles_dirs([path.parent]))
        spec = read_profile(draft, folders, architecture_files(folders))
    write_text(path, text)
    return Profiled(spec, path)
