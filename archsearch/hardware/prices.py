"""What a GPU-hour costs: the user's price, else the on-demand price of the file of prices, else unknown.

Prices are a file beside the profiles, ``prices/on_demand.yaml``, one entry per GPU. It is looked for in the folders of
profiles (``folders``), and the entry of an earlier folder hides a later one's. Each says who asks it and since when.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.hardware.database import load_counted
from archsearch.hardware.folders import Profiles, profiles_dirs
from archsearch.hardware.spec import GpuSpec
from archsearch.yaml_records import Record, line_of, parse_records

FILE = Path("prices", "on_demand.yaml")
"""Where prices lie in a folder of profiles."""

IN_A_SPACE = "give USD per GPU-hour in the space, prices: {{{gpu}: USD}}"
"""How a search is told a price that nobody knows."""


Usd = Annotated[float, Field(ge=0.001, le=1000)]


class Price(Record):
    """An on-demand price of one GPU-hour: what ``provider`` asked on ``date``, as read from ``url``; ``note`` says what
    was read where that is not the GPU's own price."""

    usd_per_hour: Usd
    provider: str = Field(min_length=1)
    date: datetime.date
    url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    note: str = ""

    @property
    def source(self) -> str:
        """Provider, date and address, as far as they are known."""
        parts = (self.provider, self.date.isoformat(), self.url, self.note)
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Quote:
    """USD per hour of one GPU and who says so."""

    usd_per_hour: float
    source: str


@dataclass(frozen=True, slots=True)
class Quotes:
    """The prices of some GPUs by id, and those whose price nobody knows, in their order."""

    known: Mapping[str, Quote] = field(default_factory=dict)
    unpriced: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Plain values: ``prices`` by GPU and the ``unpriced``."""
        return {"prices": {gpu: asdict(quote) for gpu, quote in self.known.items()}, "unpriced": list(self.unpriced)}

    def lines(self, give: str) -> list[str]:
        """A line per GPU: what its hour costs and who says so, or that nobody knows and how to give it (``give``, with
        ``{gpu}`` for the GPU's id)."""
        priced = [f"{gpu} {quote.usd_per_hour:.4g} USD: {quote.source}" for gpu, quote in self.known.items()]
        return priced + [f"{gpu}: no price known; {give.format(gpu=gpu)}" for gpu in self.unpriced]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Quotes:
        """From ``to_dict``, or a document that has its keys among others; none where it has not."""
        known = {gpu: Quote(**price) for gpu, price in document.get("prices", {}).items()}
        return cls(known, tuple(document.get("unpriced", ())))


def listed_prices(profiles: Profiles = None) -> dict[str, Price]:
    """The on-demand prices of the files of prices by GPU id; a GPU that is in none has no known price.

    Args:
        profiles: as ``load_gpu`` takes them.

    Returns:
        USD per hour of one GPU, with provider, date and address.

    Raises:
        InvalidInputError: a file of prices is malformed.
        UnknownNameError: a file of the user's names a GPU that has no profile.
    """
    found: dict[str, Price] = {}
    *own, shipped = profiles_dirs(profiles)
    for folder in own:
        for gpu, price in _own(folder / FILE, profiles).items():
            found.setdefault(gpu, price)
    return {**_read(shipped / FILE), **found}


def listed_price(gpu: GpuSpec) -> Price | None:
    """The on-demand price of the files of prices; None where they have none."""
    return listed_prices().get(gpu.id)


def quote(gpu: GpuSpec, overrides: Mapping[str, float] | None = None, *, given: str = "given") -> Quote | None:
    """The price of a GPU-hour with its source: an override by the GPU's id (its source is ``given``), else the files'
    on-demand price; None where neither is."""
    if overrides and gpu.id in overrides:
        return Quote(overrides[gpu.id], given)
    listed = listed_price(gpu)
    return None if listed is None else Quote(listed.usd_per_hour, listed.source)


def quotes(gpus: Iterable[GpuSpec], overrides: Mapping[str, float] | None = None, *, given: str = "given") -> Quotes:
    """``quote`` of each GPU, and which have none."""
    found = {gpu.id: quote(gpu, overrides, given=given) for gpu in gpus}
    known = {gpu: price for gpu, price in found.items() if price is not None}
    return Quotes(known, tuple(gpu for gpu in found if gpu not in known))


def price_of(gpu: GpuSpec, overrides: Mapping[str, float] | None = None) -> float | None:
    """USD per hour of one GPU: an override by its id, else the files' on-demand price; None where neither is."""
    found = quote(gpu, overrides)
    return None if found is None else found.usd_per_hour


def price_source(gpu: GpuSpec, overrides: Mapping[str, float] | None = None, *, given: str = "given") -> str | None:
    """Where ``price_of`` has its price from: ``given``, or provider, date and address; None where there is none."""
    found = quote(gpu, overrides, given=given)
    return None if found is None else found.source


def parse_prices(items: Sequence[str], among: Collection[str]) -> dict[str, float]:
    """Overrides by GPU id from ``GPU=USD`` pairs, as ``--price l40s=0.79`` gives them, of the GPUs ``among``.

    Raises:
        UnknownNameError: no such GPU.
        InvalidInputError: not of that form, a price that is no positive number, two of one GPU, or one of another GPU.
    """
    prices: dict[str, float] = {}
    for item in items:
        name, _, text = item.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value < float("inf"):
            raise InvalidInputError(f"{{price}} {item!r}: write GPU=USD_PER_HOUR, as in l40s=0.79", field="price")
        gpu = priced_gpu(name)
        if gpu in prices:
            raise InvalidInputError(f"{{price}} names {gpu} twice", field="price")
        if gpu not in among:
            text = f"{{price}} {item!r} has no effect: the hardware is {', '.join(among)}"
            raise InvalidInputError(text, field="price")
        prices[gpu] = value
    return prices


def priced_gpu(name: str, profiles: Profiles = None) -> str:
    """The id of the GPU whose hour is priced under a name.

    Raises:
        UnknownNameError: no such GPU.
        InvalidInputError: a machine of several GPUs, whose price is not that of one.
    """
    spec, count = load_counted(name, profiles)
    if count is not None and count > 1:
        raise InvalidInputError(f"{name} has {count} GPUs; give the price of one, under {spec.id}", field="price")
    return spec.id


def _own(path: Path, profiles: Profiles) -> dict[str, Price]:
    """A user's file by GPU id: it may name GPUs by any of their names, but none that has no profile."""
    prices: dict[str, Price] = {}
    for name, price in _read(path).items():
        try:
            gpu = priced_gpu(name, profiles)
        except ArchSearchError as error:
            raise error.about(f"{path}:{line_of(path, name)}") from None
        if gpu in prices:
            raise InvalidInputError(f"{path}:{line_of(path, name)}: {name}: a second price of {gpu}")
        prices[gpu] = price
    return prices


def _read(path: Path) -> Mapping[str, Price]:
    """The entries of a file, none where there is no file."""
    return _parsed(path, path.stat().st_mtime_ns) if path.is_file() else {}


@lru_cache(maxsize=64)
def _parsed(path: Path, changed_ns: int) -> Mapping[str, Price]:
    """A file's entries; the time at which it last changed is the cache's other key."""
    return parse_records(Price, path)
