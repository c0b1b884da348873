"""Kinds of GPU with their numbers and prices, and the replicas of a pipeline on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware import GpuPool, parse_prices, price_of
from archsearch.pipeline.api import make_plan
from archsearch.serving.fleet import Replica, replica


@dataclass(frozen=True, slots=True)
class Setup:
    """Kinds of GPU with how many there are (None: as many as it takes), and how pipelines run on them.

    ``options`` are what ``make_plan`` takes, for every pipeline that is served: sizes, formats, levers, placement,
    execution. ``mix`` are sizes of requests with their shares. ``refused`` collects the kinds that cannot run a
    pipeline.
    """

    pool: GpuPool
    prices: Mapping[str, float]
    max_batch: int
    options: Mapping[str, Any]
    mix: tuple[tuple[dict[str, int], float], ...] = ()
    refused: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        prices: Sequence[str] = (),
        max_batch: int = 8,
        options: Mapping[str, Any] | None = None,
        mix: Sequence[str] = (),
    ) -> Setup:
        """From ``h100-sxm=8,l40s``, ``l40s=0.79`` and sizes of a mix, ``1024x1024=0.7``.

        Raises:
            UnknownNameError: no such GPU.
            InvalidInputError: counts or prices that are no positive numbers, a kind named twice, a price of a GPU that
                is not among the kinds.
        """
        if max_batch < 1:
            raise InvalidInputError(f"--max-batch must be at least 1, not {max_batch}")
        pool = GpuPool.parse(text)
        shares = tuple(_mixed(item) for item in mix)
        if shares and abs(sum(share for _, share in shares) - 1.0) > 1e-6:
            raise InvalidInputError(f"shares of --mix must sum to 1, not {sum(share for _, share in shares):g}")
        return cls(pool, parse_prices(prices, pool.ids), max_batch, options or {}, shares)

    def replicas(self, pipeline: str, **own: Any) -> tuple[Replica, ...]:
        """The pipeline on every kind of GPU that can run it; others are noted in ``refused``.

        ``own`` are options of this pipeline alone: its steps and guidance.

        Raises:
            ArchSearchError: no kind can.
        """
        found = []
        options: dict[str, Any] = {**self.options, **own}
        for gpu, available in zip(self.pool.gpus, self.pool.counts, strict=True):
            try:
                plan, _ = make_plan(pipeline, gpu, **options)
                mix = [(make_plan(pipeline, gpu, **{**options, **sizes})[0], share) for sizes, share in self.mix]
                price = price_of(gpu, self.prices)
                found.append(
                    replica(plan, gpu, max_batch=self.max_batch, usd_per_hour=price, available=available, mix=mix)
                )
            except UnsupportedError as error:
                self.refused[gpu.id] = str(error)
        if not found:
            raise ArchSearchError("; ".join(self.refused.values()))
        return tuple(found)


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
