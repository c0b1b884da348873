"""What a GPU-hour costs: the user's price, else the on-demand price of the GPU's profile, else unknown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from archsearch.errors import InvalidInputError
from archsearch.hardware.database import load_gpu
from archsearch.hardware.spec import GpuSpec


def price_of(gpu: GpuSpec, overrides: Mapping[str, float] | None = None) -> float | None:
    """USD per hour of one GPU: an override by its id, else its profile's on-demand price; None where neither is."""
    if overrides and gpu.id in overrides:
        return overrides[gpu.id]
    return None if gpu.price is None else gpu.price.usd_per_hour


def price_source(gpu: GpuSpec, overrides: Mapping[str, float] | None = None, *, given: str = "given") -> str | None:
    """Where ``price_of`` has its price from: ``given``, or provider, date and address of the profile; None of none."""
    if overrides and gpu.id in overrides:
        return given
    return None if gpu.price is None else f"{gpu.price.provider}, {gpu.price.date}, {gpu.price.url}"


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
        gpu = load_gpu(name).id
        if gpu in prices:
            raise InvalidInputError(f"{{price}} names {gpu} twice", field="price")
        if gpu not in among:
            text = f"{{price}} {item!r} has no effect: the hardware is {', '.join(among)}"
            raise InvalidInputError(text, field="price")
        prices[gpu] = value
    return prices
