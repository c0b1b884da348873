"""What an evaluation of a mesh or batch of architectures holds: metrics, rules and budgets, unbroadcast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.arrays import Column
from archsearch.cost.estimate import Estimate, Provenance
from archsearch.models.base import Requirement
from archsearch.search.evaluate.columns import Columns, Metrics
from archsearch.search.space.space import Cells


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a mesh or batch. ``values`` are broadcastable arrays over ``shape``.

    ``rules`` make an architecture legal (bool arrays); ``violations`` say by how much a legal one misses a
    budget, relative to the limit (≤ 0 is kept).
    """

    shape: tuple[int, ...]
    values: Mapping[str, Any]
    rules: tuple[Requirement, ...]
    violations: Metrics
    provenance: Mapping[str, Provenance]
    estimates: Mapping[str, Estimate]

    def host_bound(self, gpu_id: str) -> NDArray[np.bool_]:
        """[shape] where a GPU waits for its host's launches, so that wider layers cost no time."""
        return np.broadcast_to(np.asarray(self.estimates[gpu_id].host_bound), self.shape)

    @cached_property
    def legal(self) -> NDArray[np.bool_]:
        """[shape] every rule holds."""
        mask = np.ones(self.shape, dtype=bool)
        for rule in self.rules:
            mask &= np.asarray(rule.holds, dtype=bool)
        return mask

    @cached_property
    def feasible(self) -> NDArray[np.bool_]:
        """[shape] legal and within every budget."""
        mask = self.legal.copy()
        for amount in self.violations.values():
            mask &= np.asarray(amount) <= 0
        return mask

    def rejected(self) -> dict[str, int]:
        """How many cells each rule and budget excludes; one cell may miss several."""
        counts: dict[str, int] = {}
        for rule in self.rules:
            counts[rule.reason] = counts.get(rule.reason, 0) + self._count(~np.asarray(rule.holds, dtype=bool))
        for name, amount in self.violations.items():
            counts[name] = counts.get(name, 0) + int(np.count_nonzero((np.asarray(amount) > 0) & self.legal))
        return {reason: count for reason, count in counts.items() if count}

    def _count(self, mask: NDArray[np.bool_]) -> int:
        size = int(np.prod(self.shape, dtype=np.int64))
        return int(np.count_nonzero(mask)) * (size // max(mask.size, 1))

    def take(self, cells: Cells) -> Columns:
        """Columns [N] of metrics at cell numbers [N] (C order)."""
        coordinates = np.unravel_index(np.asarray(cells, dtype=np.int64), self.shape)
        return {name: gather(value, coordinates) for name, value in self.values.items()}

    def violation_columns(self, cells: Cells) -> Columns:
        """Columns [N] of budget violations at cell numbers [N]."""
        coordinates = np.unravel_index(np.asarray(cells, dtype=np.int64), self.shape)
        return {name: gather(value, coordinates) for name, value in self.violations.items()}


def gather(value: ArrayLike, coordinates: Sequence[NDArray[np.int64]]) -> Column:
    """Elements [N] of a broadcastable array at coordinates given for the full rank."""
    array = np.asarray(value)
    padded = array.reshape((1,) * (len(coordinates) - array.ndim) + array.shape)
    index = tuple(c if n > 1 else np.zeros_like(c) for c, n in zip(coordinates, padded.shape, strict=True))
    return np.asarray(padded[index])
