"""What clouds call their machines and GPUs: ``p5.48xlarge`` is eight H100, ``nvidia-tesla-a100`` the 40 GB board.

The names are data: files of one provider each in ``clouds/`` beside the profiles (``hardware_profiles/clouds``, or a
folder of the user's own), with the page that states them. A name of an earlier directory hides a later one's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from archsearch.errors import InvalidInputError
from archsearch.hardware.folders import yaml_files
from archsearch.hardware.names import plain
from archsearch.yaml_records import Record, parse_record

FOLDER = "clouds"
"""Where providers' files lie, beside the profiles."""
_PREFIXES = ("standard-", "ml.")
"""What Azure and SageMaker put before names that are known without it."""

Count = Annotated[int, Field(ge=1, le=10_000)]
"""GPUs of one machine or rack."""
Share = Annotated[str, Field(pattern=r"^[1-9]\d*/[1-9]\d*$")]
"""A fraction of one GPU, as in ``1/8``."""


class Family(Record):
    """Machines with one kind of GPU: how many each has, or which share of one. ``gpu`` is a profile's id, or what one
    would be called where there is none."""

    gpu: str
    url: str = Field(pattern="^https://")
    instances: dict[str, Count | Share] = Field(default={})
    labels: tuple[str, ...] = ()


class Provider(Record):
    """A provider's file: its families of machines, and the labels by which it names a GPU alone."""

    provider: str
    families: tuple[Family, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a provider means by a name: a GPU, how many of them (None: a GPU's label), or which share of one."""

    name: str
    provider: str
    gpu: str
    count: int | None
    share: str | None
    url: str


def find_offer(name: str, directories: Iterable[Path]) -> Offer | None:
    """The machine or GPU that a provider calls so; None where none does.

    Case does not matter, nor spaces and underscores against hyphens (in labels, where words apart are a GPU's name,
    only the latter); ``Standard_`` and ``ml.`` may be left out.

    Raises:
        InvalidInputError: a provider's file is malformed.
    """
    key = _key(name)
    found = next((known[key] for known in map(_offers, directories) if key in known), None)
    label = found is not None and found.count is None and found.share is None
    return None if label and re.search(r"\s", name.strip()) else found


def all_offers(directories: Iterable[Path]) -> list[Offer]:
    """Every machine and label, in the order of the files.

    Raises:
        InvalidInputError: a provider's file is malformed.
    """
    merged: dict[str, Offer] = {}
    for directory in directories:
        merged = {**_offers(directory), **merged}
    return list(merged.values())


def siblings(name: str, directories: Iterable[Path]) -> list[str]:
    """Machines of the family that a name seems to be of: alike up to its last part (``p5`` of ``p5.24xlarge``)."""
    stem = _stem(_key(name))
    return [offer.name for offer in all_offers(directories) if offer.count and stem and _stem(_key(offer.name)) == stem]


def _key(name: str) -> str:
    key = plain(name)
    return next((key.removeprefix(prefix) for prefix in _PREFIXES if key.startswith(prefix)), key)


def _stem(key: str) -> str:
    return re.sub(r"[.-][^.-]*$", "", key) if re.search(r"[.-]", key) else ""


def _offers(directory: Path) -> Mapping[str, Offer]:
    """Offers by key; files are parsed again only when they change."""
    return _read(yaml_files(directory / FOLDER))


@lru_cache(maxsize=64)
def _read(files: Sequence[tuple[Path, int]]) -> Mapping[str, Offer]:
    found: dict[str, Offer] = {}
    for path, _ in files:
        for offer in _of_provider(parse_record(Provider, path)):
            if _key(offer.name) in found:
                raise InvalidInputError(f"{path}: {offer.name!r} is named twice ({found[_key(offer.name)].provider})")
            found[_key(offer.name)] = offer
    return found


def _of_provider(record: Provider) -> Iterable[Offer]:
    for family in record.families:
        for name, many in family.instances.items():
            count, share = (many, None) if isinstance(many, int) else (None, many)
            yield Offer(name, record.provider, family.gpu, count, share, family.url)
        for name in family.labels:
            yield Offer(name, record.provider, family.gpu, None, None, family.url)
