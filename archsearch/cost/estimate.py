"""Answers of the cost model: every number says how it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from archsearch.arrays import Count, FloatArray, Floats, Mask, as_float
from archsearch.cost.execution import Execution
from archsearch.cost.kernels.kernel_cost import KernelCost, Provenance

__all__ = ["Estimate", "KernelCost", "OpCost", "Provenance", "SegmentCost"]


Number = TypeVar("Number", bound="np.number[Any]")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpCost:
    """One op of the list with its cost. ``latency_s`` and the band cover one call; times ``count`` for the total."""

    name: str
    op: str
    count: Count
    flops: Floats
    memory_bytes: Floats
    cost: KernelCost


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentCost:
    """One segment of a run. Seconds, FLOPs and kernels are of one of its ``calls``; the breakdown too.

    ``gpu_s`` is the kernels back to back with its band, ``gaps_s`` what the GPU waits between them, ``host_s`` the
    host's launching of them; a call takes the longer of the two sides, since the host runs ahead.
    """

    name: str
    calls: Count
    execution: Execution
    gpu_s: Floats
    low_s: Floats
    high_s: Floats
    host_s: Floats
    kernels: Floats
    flops: Floats
    breakdown: tuple[OpCost, ...]
    gaps_s: FloatArray = 0.0

    @property
    def waits_s(self) -> FloatArray:
        """Seconds of a call that the GPU waits for a launch; 0 where it never does."""
        if np.max(self.host_s, initial=0.0) <= np.min(self.gpu_s, initial=np.inf):
            return self.gaps_s
        waits: Floats = np.maximum(self.host_s - self.gpu_s, self.gaps_s)
        return waits

    @property
    def latency_s(self) -> Floats:
        """Seconds of one call."""
        return self.gpu_s + self.waits_s

    @property
    def provenance(self) -> Provenance:
        return Provenance.worst([item.cost.provenance for item in self.breakdown])

    def times_of(self, value: NDArray[Number]) -> NDArray[Number] | Floats:
        """A value of one call over all calls."""
        return value if np.ndim(self.calls) == 0 and self.calls == 1 else as_float(value) * as_float(self.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Time of a run: Σ calls · max(GPU with gaps, host) over its segments, the 80 % band, and how it is known.

    Waiting for the host does not widen the kernels' band: it is added to both ends. ``spread`` is what a whole run has
    beside it (``cost/spread.py``), in the band already. ``execution`` is the whole run's.
    """

    latency_s: Floats
    low_s: Floats
    high_s: Floats
    provenance: Provenance
    flops: Floats
    segments: tuple[SegmentCost, ...] = ()
    execution: Execution = field(default_factory=Execution)
    spread: float = 0.0

    @classmethod
    def of(cls, segments: Sequence[SegmentCost], execution: Execution, spread: float = 0.0) -> Estimate:
        """The sum of segments, its kernels' band widened by the ``spread`` of a whole run."""
        latency: list[Floats] = []
        low: list[Floats] = []
        high: list[Floats] = []
        for part in segments:
            waits, ends = part.waits_s, (part.gpu_s, part.low_s, part.high_s)
            if not (np.ndim(waits) == 0 and waits == 0.0):
                ends = (ends[0] + waits, ends[1] + waits, ends[2] + waits)
            latency.append(part.times_of(ends[0]))
            low.append(part.times_of(widened(ends[0], ends[1], spread)))
            high.append(part.times_of(widened(ends[0], ends[2], spread)))
        return cls(
            latency_s=_sum(latency),
            low_s=_sum(low),
            high_s=_sum(high),
            provenance=Provenance.worst([part.provenance for part in segments]),
            flops=_sum([part.times_of(part.flops) for part in segments]),
            segments=tuple(segments),
            execution=execution,
            spread=spread,
        )

    def total(self, name: str) -> Floats:
        """A field of the segments (``gpu_s``, ``host_s``, ``waits_s``, ``kernels``) summed over all calls."""
        return _sum([part.times_of(as_float(getattr(part, name))) for part in self.segments])

    @property
    def host_bound(self) -> Mask:
        """Whether the host is what the run waits for in some segment: a bool or an array of them."""
        waits = np.asarray(False)
        for part in self.segments:
            waits = waits | ((as_float(part.host_s) > as_float(part.gpu_s)) & (as_float(part.calls) > 0))
        return waits

    @property
    def breakdown(self) -> tuple[OpCost, ...]:
        """All ops, each counted as often as it runs."""
        return tuple(
            replace(item, count=part.times_of(np.asarray(item.count)))
            for part in self.segments
            for item in part.breakdown
        )

    def rows(self) -> list[dict[str, Any]]:
        """The breakdown of a scalar estimate as plain dicts: totals over ``count`` for flops, bytes and latency."""
        return [_row(item) for item in self.breakdown]


def widened(value: Floats, end: Floats, spread: float) -> Floats:
    """An end of a band moved away from the value: independent errors add up in quadrature, in logarithms."""
    if spread == 0.0:
        return end
    with np.errstate(all="ignore"):  # illegal architectures of a grid
        distance = np.asarray(np.log(end / value))
        moved = np.asarray(distance * distance)
        moved += spread**2
        np.sqrt(moved, out=moved)
        np.copysign(moved, distance, out=moved)
        np.exp(moved, out=moved)
        moved *= value
    return moved


def _sum(terms: Sequence[Floats]) -> Floats:
    """The sum of arrays that broadcast, smallest first."""
    return sum(sorted(terms, key=np.size), as_float(0.0)) if len(terms) != 1 else terms[0]


def _row(item: OpCost) -> dict[str, object]:
    count = float(np.asarray(item.count))
    detail = {name: value.item() for name, value in item.cost.details.items()}
    tile = f"{detail['tile_m']}x{detail['tile_n']}" if "tile_m" in detail else None
    if tile and detail.get("split_k", 1) > 1:
        tile += f" split-k {detail['split_k']}"
    return {
        "name": item.name,
        "op": item.op,
        "count": int(count),
        "flops": float(as_float(item.flops)) * count,
        "bytes": float(as_float(item.memory_bytes)) * count,
        "latency_s": float(as_float(item.cost.latency_s)) * count,
        "bound": str(item.cost.bound),
        "tile": tile,
        "waves": detail.get("waves"),
        "wave_efficiency": detail.get("wave_efficiency"),
        "provenance": item.cost.provenance.value,
    }
