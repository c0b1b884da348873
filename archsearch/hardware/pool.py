"""Several GPUs that one model has to serve: how many there are of each, and what weight each has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from archsearch.errors import InvalidInputError
from archsearch.hardware.database import load_counted, load_gpu
from archsearch.hardware.folders import Profiles
from archsearch.hardware.spec import GpuSpec

_EXAMPLE = "h100-sxm or t4,a10=2"


MOST_DIGITS = 9
MOST_WEIGHT = 1e12
"""Bounds of counts and weights that a pool may have: far beyond any, and their sums stay finite."""


@dataclass(frozen=True, slots=True)
class GpuPool:
    """GPUs with weights (the share of work, of GPUs or of users that each stands for); stored weights sum to one.

    ``counts`` are the GPUs of each kind in the order of ``members``, None where nobody said how many there are.

    Raises:
        InvalidInputError: no GPU, the same GPU twice, or a weight that is not a positive finite number.
    """

    members: tuple[tuple[GpuSpec, float], ...]
    counts: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.members:
            raise InvalidInputError(f"a GPU pool needs at least one GPU, for example {_EXAMPLE}")
        seen: set[str] = set()
        for gpu, weight in self.members:
            if gpu.id in seen:
                raise InvalidInputError(f"GPU {gpu.id} is in the pool twice; name it once, with a count ({gpu.id}=2)")
            seen.add(gpu.id)
            if not 0 < weight < MOST_WEIGHT:
                raise InvalidInputError(f"weight of {gpu.id} must be a positive number, not {weight}")
        total = math.fsum(weight for _, weight in self.members)
        object.__setattr__(self, "members", tuple((gpu, weight / total) for gpu, weight in self.members))
        object.__setattr__(self, "counts", self.counts or (None,) * len(self.members))

    @classmethod
    def of(cls, gpus: Sequence[GpuSpec]) -> GpuPool:
        """GPUs of equal weight."""
        return cls(tuple((gpu, 1.0) for gpu in gpus))

    @classmethod
    def parse(cls, text: str, *, weights: str | None = None, profiles: Profiles = None) -> GpuPool:
        """A pool from comma-separated names, each with an optional count of GPUs: ``t4,a10,h100-sxm=2``.

        A cloud's machine stands for its GPUs, and is counted in machines: ``p5.48xlarge=2`` are sixteen H100.

        Weights follow the counts (1 where none is given), unless ``weights`` gives each GPU's share:
        ``t4=0.6,a10=0.3,h100-sxm=0.1`` (any positive numbers; they are divided by their sum).

        Raises:
            UnknownNameError: a name is no known GPU.
            UnsupportedError: a cloud's machine that has a share of a GPU only.
            InvalidInputError: an empty item, a count that is no whole number from 1, a GPU named twice, or weights that
                name other GPUs than the pool.

        >>> GpuPool.parse("t4,h100-sxm=3").weights
        (0.25, 0.75)
        """
        items = [_counted(name, _count(number, item), profiles) for item, name, number in _items(text, "GPU pool")]
        counts = tuple(count for _, count in items)
        shares = [1.0 if count is None else float(count) for count in counts]
        if weights is not None:
            named = _weights(weights, profiles)
            ids = [gpu.id for gpu, _ in items]
            if set(named) != set(ids):
                missing, other = (", ".join(sorted(names)) for names in (set(ids) - set(named), set(named) - set(ids)))
                parts = (missing and f"leaves out {missing}", other and f"adds {other}")
                difference = " and ".join(part for part in parts if part)
                raise _bad_weights(f"{weights!r} {difference}: give a share of each GPU of {', '.join(ids)}")
            shares = [named[name] for name in ids]
        return cls(tuple((gpu, share) for (gpu, _), share in zip(items, shares, strict=True)), counts)

    @classmethod
    def weighted(cls, text: str, profiles: Profiles = None) -> GpuPool:
        """A pool from names with weights, ``t4=0.25,a10=0.75``: what ``to_text`` writes and studies store.

        Raises:
            UnknownNameError: a name is no known GPU.
            InvalidInputError: an item without a weight, or a weight that is no positive number.
        """
        return cls(tuple((load_gpu(name, profiles), weight) for name, weight in _weights(text, profiles).items()))

    @property
    def gpus(self) -> tuple[GpuSpec, ...]:
        return tuple(gpu for gpu, _ in self.members)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights in the order of ``gpus``; they sum to one."""
        return tuple(weight for _, weight in self.members)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(gpu.id for gpu, _ in self.members)

    def to_text(self) -> str:
        """Ids with their weights, to the last bit, as ``weighted`` reads them."""
        return ",".join(f"{gpu.id}={weight!r}" for gpu, weight in self.members)

    def __iter__(self) -> Iterator[tuple[GpuSpec, float]]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def _counted(name: str, count: int | None, profiles: Profiles) -> tuple[GpuSpec, int | None]:
    """The GPU of an item, and how many: those of each machine times the count of machines."""
    gpu, of_machine = load_counted(name, profiles)
    return gpu, count if of_machine is None else of_machine * (count or 1)


def _bad_weights(text: str) -> InvalidInputError:
    return InvalidInputError(f"{{weights}} {text}", field="weights")


def _items(text: str, what: str, field: str = "") -> Iterator[tuple[str, str, str | None]]:
    """(item, name, what follows its ``=`` or None) of a comma-separated list."""
    for item in text.split(","):
        name, separator, number = item.partition("=")
        if not name.strip():
            raise InvalidInputError(
                f"{what} {text!r} has an empty item; write names separated by commas", field=field or ()
            )
        yield item.strip(), name, number.strip() if separator else None


def _count(text: str | None, item: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS) or int(text) < 1:
        raise InvalidInputError(
            f"{item[:60]!r}: what follows = is a whole number of GPUs, as in h100-sxm=8; shares of a pool are given by "
            "{weights} GPU=SHARE,...",
            field="weights",
        )
    return int(text)


def _weights(text: str, profiles: Profiles) -> dict[str, float]:
    shares: dict[str, float] = {}
    for item, name, number in _items(text, "{weights}", "weights"):
        gpu = load_gpu(name, profiles).id
        if gpu in shares:
            raise _bad_weights(f"{text!r} names {gpu} twice")
        try:
            shares[gpu] = float(number or "")
        except ValueError:
            text = f"{{weights}}: {item!r} needs a number, as in h100-sxm=0.5"
            raise InvalidInputError(text, field="weights") from None
        if not (math.isfinite(shares[gpu]) and shares[gpu] > 0):
            raise InvalidInputError(f"{{weights}}: {item!r}: a weight is a positive number", field="weights")
    return shares
