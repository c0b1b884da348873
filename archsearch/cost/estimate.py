"""Answers of the cost model: every number says how it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from archsearch.cost.kernels.base import KernelCost, Provenance
from archsearch.ops import as_float

__all__ = ["Estimate", "KernelCost", "OpCost", "Provenance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpCost:
    """One op of the list with its cost. ``latency_s`` and the band cover one call; times ``count`` for the total."""

    name: str
    op: str
    count: Any
    flops: Any
    memory_bytes: Any
    cost: KernelCost


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Latency of an op list: total, 80 % band, provenance, and the breakdown it sums."""

    latency_s: Any
    low_s: Any
    high_s: Any
    provenance: Provenance
    flops: Any
    breakdown: tuple[OpCost, ...]

    def rows(self) -> list[dict[str, Any]]:
        """The breakdown of a scalar estimate as plain dicts: totals over ``count`` for flops, bytes and latency."""
        return [_row(item) for item in self.breakdown]


def _row(item: OpCost) -> dict[str, Any]:
    count = float(np.asarray(item.count))
    detail = {k: _plain(v) for k, v in item.cost.details.items()}
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
        "bound": str(_plain(item.cost.bound)),
        "tile": tile,
        "waves": detail.get("waves"),
        "wave_efficiency": detail.get("wave_efficiency"),
        "provenance": item.cost.provenance.value,
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray | np.generic) else value
