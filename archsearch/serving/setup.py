"""Kinds of GPU with their numbers and prices, and the replicas of a pipeline on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any

from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware import GpuPool, GpuSpec, parse_prices, quote
from archsearch.pipeline.make_plan import make_plan
from archsearch.progress import progress_bar
from archsearch.ranges import require_range
from archsearch.serving.units import Replica, replica

MAX_BATCH = 8
"""Largest batch that a GPU may take at a time where nobody says."""


@dataclass(frozen=True, slots=True)
class MixedSize:
    """One size of a mix: pixels, and frames of a video (``sizes``), and the share of requests that ask for it."""

    sizes: Mapping[str, int]
    share: float

    @classmethod
    def parse(cls, text: str) -> MixedSize:
        """From ``HEIGHTxWIDTH[xFRAMES]=SHARE``.

        Raises:
            InvalidInputError: not of that form, or a share that is not above 0 and at most 1.
        """
        size, _, share = text.partition("=")
        try:
            numbers, value = [int(n) for n in size.lower().split("x")], float(share)
        except ValueError:
            numbers, value = [], -1.0
        if len(numbers) not in (2, 3) or not 0.0 < value <= 1.0:
            raise InvalidInputError(
                f"{{mix}} {text!r}: write HEIGHTxWIDTH[xFRAMES]=SHARE, as in 1024x1024=0.7", field="mix"
            )
        return cls(dict(zip(("height", "width", "frames"), numbers, strict=False)), value)


@dataclass(frozen=True, slots=True)
class Offer:
    """A pipeline's replicas on the kinds of GPU that can run it, and by kind why the others cannot."""

    replicas: tuple[Replica, ...]
    refused: Mapping[str, UnsupportedError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Kinds of GPU with how many there are (None: as many as it takes), and how pipelines run on them.

    ``generation`` holds keywords of ``make_plan`` that hold for every pipeline that is served: sizes, formats, levers,
    placement, execution. ``mix`` are sizes of requests that are not alike. ``prices`` are USD per GPU-hour by id.
    """

    pool: GpuPool
    prices: Mapping[str, float] = field(default_factory=dict)
    max_batch: int = MAX_BATCH
    generation: Mapping[str, Any] = field(default_factory=dict)
    mix: tuple[MixedSize, ...] = ()

    def __post_init__(self) -> None:
        require_range("max_batch", self.max_batch, 1, whole=True)
        total = fsum(size.share for size in self.mix)
        if self.mix and abs(total - 1.0) > 1e-6:
            raise InvalidInputError(f"shares of {{mix}} must sum to 1, not {total:g}", field="mix")

    @classmethod
    def parse(
        cls,
        hardware: str,
        *,
        prices: Sequence[str] = (),
        max_batch: int = MAX_BATCH,
        generation: Mapping[str, object] | None = None,
        mix: Sequence[str] = (),
    ) -> Setup:
        """From ``h100-sxm=8,l40s``, ``l40s=0.79`` and sizes of a mix, ``1024x1024=0.7``.

        Raises:
            UnknownNameError: no such GPU.
            InvalidInputError: counts or prices that are no positive numbers, a kind named twice, a price of a GPU that
                is not among the kinds, or shares that do not sum to one.
        """
        require_range("max_batch", max_batch, 1, whole=True)
        pool = GpuPool.parse(hardware)
        return cls(
            pool=pool,
            mix=tuple(map(MixedSize.parse, mix)),
            prices=parse_prices(prices, pool.ids),
            max_batch=max_batch,
            generation=generation or {},
        )

    def offer(self, pipeline: str, *, steps: int | None = None, guidance: str | None = None) -> Offer:
        """The pipeline on every kind of GPU that can run it; ``steps`` and ``guidance`` are its own.

        Raises:
            ArchSearchError: no kind can; the text has the reasons.
        """
        generation = {**self.generation, "steps": steps, "guidance": guidance}
        replicas: list[Replica] = []
        refused: dict[str, UnsupportedError] = {}
        with progress_bar(f"{pipeline} on each kind of GPU", len(self.pool.gpus)) as advance:
            for gpu, available in zip(self.pool.gpus, self.pool.counts, strict=True):
                try:
                    replicas.append(self._replica(pipeline, gpu, available, generation))
                except UnsupportedError as error:
                    refused[gpu.id] = error
                advance(1)
        if not replicas:
            raise ArchSearchError.joined(refused.values())
        return Offer(tuple(replicas), refused)

    def _replica(self, pipeline: str, gpu: GpuSpec, available: int | None, generation: Mapping[str, Any]) -> Replica:
        plan, _ = make_plan(pipeline, gpu, **generation)
        mix = [(make_plan(pipeline, gpu, **{**generation, **size.sizes})[0], size.share) for size in self.mix]
        price = quote(gpu, self.prices)
        return replica(
            plan,
            gpu,
            max_batch=self.max_batch,
            usd_per_hour=None if price is None else price.usd_per_hour,
            available=available,
            mix=mix,
            price_source="unknown" if price is None else price.source,
        )
