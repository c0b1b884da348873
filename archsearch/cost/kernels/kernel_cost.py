"""The shape shared by all kernel models: named, bounded, physical coefficients, one array-valued formula, a cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from archsearch.arrays import Column, Count, FloatArray, Floats, Labels
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

Array = Floats


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


AnyFloat = TypeVar("AnyFloat", bound="np.floating[Any]")
Dims = Mapping[str, FloatArray]
"""Dimensions of shapes by name: float64 arrays of one length [S], a number or length 1 where all share it."""
Details = dict[str, Column]
"""What explains a time, by name: arrays of one shape, of numbers or of words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """Predicted time of one call per shape, in seconds, and what explains it. All arrays share one shape [S].

    ``bound`` holds strings: "compute", "memory" or "latency".
    """

    latency_s: Floats
    bound: Labels
    details: Details = field(default_factory=dict)


class Provenance(StrEnum):
    """How a latency is known, best first."""

    MEASURED = "measured"
    CALIBRATED = "calibrated"
    TRANSFERRED = "transferred"
    ANALYTIC = "analytic"

    @staticmethod
    def worst(items: list[Provenance]) -> Provenance:
        """The weakest of several: a sum is known no better than its least-known part."""
        order = list(Provenance)
        return max(items, key=order.index, default=Provenance.ANALYTIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCost:
    """Time of one call of an op. Fields are arrays of the op's broadcast shape (0-d for scalars).

    ``bound`` is an array of strings (compute, memory, latency). ``details`` holds what explains the time,
    where it applies: tile_m, tile_n, split_k, waves, wave_efficiency, tile_efficiency, kernel.
    """

    latency_s: Floats
    low_s: Floats
    high_s: Floats
    provenance: Provenance
    bound: Labels
    kernels: Count = 1
    details: Details = field(default_factory=dict)


class KernelModel(Protocol):
    """A kernel family's mechanism."""

    name: str
    coefficients: tuple[Coefficient, ...]

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Dims, values: Mapping[str, float]) -> KernelTime:
        """Time of every shape on this GPU under the given coefficient values."""


def smooth_max(*values: NDArray[AnyFloat]) -> NDArray[AnyFloat]:
    """(a⁴ + b⁴ + …)^¼: the largest of overlapping times, 19 % above it where two are equal."""
    total: Any = 0.0
    for value in values:
        square = value * value
        total = total + square * square
    root: NDArray[AnyFloat] = np.sqrt(np.sqrt(total))
    return root
