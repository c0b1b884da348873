"""Kinds of GPU with their numbers and prices, and the replicas of a pipeline on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.hardware.spec import GpuSpec
from archsearch.pipeline.api import make_plan
from archsearch.serving.fleet import Replica, replica


@dataclass(frozen=True, slots=True)
class Setup:
    """Kinds of GPU as (record, how many there are or None); ``refused`` collects those that cannot run a pipeline."""

    kinds: tuple[tuple[GpuSpec, int | None], ...]
    prices: dict[str, float]
    max_batch: int
    sizes: dict[str, int | None]
    mix: tuple[tuple[dict[str, int], float], ...] = ()
    refused: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        prices: Sequence[str],
        max_batch: int,
        sizes: dict[str, int | None],
        mix: Sequence[str] = (),
    ) -> Setup:
        """From ``h100-sxm=8,l40s``, ``l40s=0.79`` and sizes of a mix, ``1024x1024=0.7``.

        Raises:
            UnknownNameError: no such GPU.
            InvalidInputError: counts or prices that are no positive numbers, a kind named twice.
        """
        if max_batch < 1:
            raise InvalidInputError(f"--max-batch must be at least 1, not {max_batch}")
        kinds: list[tuple[GpuSpec, int | None]] = []
        for item in text.split(","):
            name, separator, count = item.partition("=")
            if not name.strip():
                raise InvalidInputError(f"--hardware {text!r} has an empty item; write names separated by commas")
            kinds.append((load_gpu(name), _count(count, item) if separator else None))
        ids = [gpu.id for gpu, _ in kinds]
        if len(set(ids)) != len(ids):
            raise InvalidInputError(f"--hardware {text!r} names a GPU twice; give its number instead: {ids[0]}=2")
        shares = tuple(_mixed(item) for item in mix)
        if shares and abs(sum(share for _, share in shares) - 1.0) > 1e-6:
            raise InvalidInputError(f"shares of --mix must sum to 1, not {sum(share for _, share in shares):g}")
        return cls(tuple(kinds), dict(_price(item) for item in prices), max_batch, sizes, shares)

    def replicas(self, pipeline: str, **how: Any) -> tuple[Replica, ...]:
        """The pipeline on every kind of GPU that can run it; others are noted in ``refused``.

        Raises:
            ArchSearchError: no kind can.
        """
        found = []
        for gpu, available in self.kinds:
            try:
                options: dict[str, Any] = {**self.sizes, **how}
                plan, _ = make_plan(pipeline, gpu, **options)
                mix = [(make_plan(pipeline, gpu, **{**options, **own})[0], share) for own, share in self.mix]
                price = self.prices.get(gpu.id)
                found.append(
                    replica(plan, gpu, max_batch=self.max_batch, usd_per_hour=price, available=available, mix=mix)
                )
            except UnsupportedError as error:
                self.refused[gpu.id] = str(error)
        if not found:
            raise ArchSearchError("; ".join(self.refused.values()))
        return tuple(found)


def _count(text: str, item: str) -> int:
    if not text.strip().isdigit() or int(text) < 1:
        raise InvalidInputError(f"number in {item.strip()!r} must be a whole number of GPUs, as in h100-sxm=8")
    return int(text)


def _mixed(item: str) -> tuple[dict[str, int], float]:
    """``HEIGHTxWIDTH[xFRAMES]=SHARE``."""
    text, _, share = item.partition("=")
    try:
        numbers = [int(n) for n in text.lower().split("x")]
        value = float(share)
    except ValueError:
        numbers, value = [], -1.0
    if len(numbers) not in (2, 3) or not 0.0 < value <= 1.0:
        raise InvalidInputError(f"--mix {item!r}: write HEIGHTxWIDTH[xFRAMES]=SHARE, as in 1024x1024=0.7")
    return dict(zip(("height", "width", "frames"), numbers, strict=False)), value


def _price(item: str) -> tuple[str, float]:
    name, _, text = item.partition("=")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value > 0:
        raise InvalidInputError(f"--price {item!r}: write GPU=USD_PER_HOUR, as in l40s=0.79")
    return load_gpu(name).id, value
