"""The shape shared by all kernel models: named, bounded, physical coefficients and one array-valued formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A fitted quantity of a kernel model: what it is, its unit, and the bounds that physics allows.

    ``prior_log_std`` is how far it may stray from its architecture's value, in natural-log units, before the
    fit counts it as evidence against the value.
    """

    name: str
    unit: str
    low: float
    high: float
    start: float
    meaning: str
    prior_log_std: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """Predicted time of one call per shape, in seconds, and what explains it. All arrays share one shape [S].

    ``bound`` holds strings: "compute", "memory" or "latency".
    """

    latency_s: Array
    bound: NDArray[np.str_]
    details: dict[str, Any] = field(default_factory=dict)


class KernelModel(Protocol):
    """A kernel family's mechanism. ``dims`` are 1-d float64 arrays of equal length (or length 1)."""

    name: str
    coefficients: tuple[Coefficient, ...]

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Mapping[str, Array], values: Mapping[str, float]) -> KernelTime:
        """Time of every shape on this GPU under the given coefficient values."""


def smooth_max(*values: Any) -> Any:
    """(a⁴ + b⁴ + …)^¼: the largest of overlapping times, 19 % above it where two are equal."""
    total: Any = 0.0
    for value in values:
        square = value * value
        total = total + square * square
    return np.sqrt(np.sqrt(total))
