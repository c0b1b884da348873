"""Files of profiles, of calibrations and of presets as they were parsed before: a cache that makes answers quick.

Parsing 140 YAML files takes 0.15 s, reading the same from one file of JSON 5 ms. Each kind of file has a cache of its
own, so that listing GPUs reads no coefficients and a change of one leaves the others. The cache is a convenience: a
file that has changed is parsed anew, a cache that is missing, broken or cannot be written is done without, and what
JSON cannot say exactly is not kept.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from archsearch.data import data_path, user_cache_dir
from archsearch.errors import InvalidInputError
from archsearch.files import write_text
from archsearch.yaml_records import read_mapping

FORMAT = 1
"""Raised when the cache's own form changes."""
MOST_FILES = 1000
Kind = Literal["profiles", "calibrations", "presets"]
Stamp = list[int]
"""What changes with a file: times of its content and of its entry in nanoseconds, size in bytes, number."""


@dataclass(slots=True)
class _Kept:
    """The cache in memory: stamp and content by path, the paths asked for, and whether there is something to write."""

    place: Path
    entries: dict[str, tuple[Stamp, dict[str, Any]]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    changed: bool = False


def parsed_mapping(path: Path, kind: Kind = "profiles") -> dict[str, object]:
    """The mapping a YAML file holds, as ``read_mapping`` gives it; ``kind`` says whose cache may know it.

    Raises:
        InvalidInputError: the file cannot be read, is not YAML, repeats a key or holds no mapping.
    """
    kept = _kept(cache_place(kind))
    kept.asked.add(str(path))
    stamp = _stamp(path)
    known = kept.entries.get(str(path))
    if known is not None and stamp == known[0]:
        return dict(known[1])
    content = read_mapping(path)
    if stamp is not None and _exact(content):
        kept.entries[str(path)] = (stamp, content)
        kept.changed = True
    return dict(content)


def keep_parsed(kind: Kind = "profiles") -> None:
    """Write what is known of a kind, in one step, if any of it was parsed anew.

    Done without where the place cannot be written. Files that are gone or have changed are left out, and those that
    were not asked for beyond ``MOST_FILES``: the cache does not grow.
    """
    kept = _kept(cache_place(kind))
    if not kept.changed:
        return
    kept.changed = False
    others = [p for p, (stamp, _) in kept.entries.items() if p not in kept.asked and stamp == _stamp(Path(p))]
    names = [*(p for p in kept.entries if p in kept.asked), *others][:MOST_FILES]
    text = json.dumps({"format": FORMAT, "files": {name: kept.entries[name] for name in names}})
    with suppress(OSError, InvalidInputError):
        kept.place.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept.place, text)


def cache_place(kind: Kind = "profiles") -> Path:
    """Where this installation's cache of a kind lies: several on one machine each keep their own."""
    own = hashlib.sha256(str(data_path("hardware_profiles")).encode()).hexdigest()[:12]
    return user_cache_dir() / f"parsed_{kind}-{own}.json"


@lru_cache(maxsize=8)
def _kept(place: Path) -> _Kept:
    """The cache that lies at a place; empty where there is none that can be read."""
    try:
        document = json.loads(place.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            return _Kept(place)
        entries = {path: (stamp, dict(content)) for path, (stamp, content) in document["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _Kept(place)
    return _Kept(place, entries)


def _stamp(path: Path) -> Stamp | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return [about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino]


def _exact(content: dict[str, object]) -> bool:
    """Whether JSON gives a content back as it is (a date, a NaN or a key that is no text it does not)."""
    try:
        return bool(json.loads(json.dumps(content)) == content)
    except (TypeError, ValueError):
        return False
