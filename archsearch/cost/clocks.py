"""The cost model under continuous load.

A benchmark times one kernel; the longer the kernel, the more of its power-limited clock shows, which the
mechanism counts as 1 + f · t / (t + τ) of the kernel's own duration t (``throttle_fraction`` f and ``throttle_time_s``
τ, fitted to published kernel tables). A pipeline keeps the GPU busy for seconds, so that every compute-bound kernel of
it, however short, runs at the clock of the limit: 1 + f. The limit is the board's, so that f moves with it: GPUs of
one architecture spend the same energy per FLOP, and the slow-down of one that was not measured is the measured one's
times the ratio of their peaks per watt, if above 1. From another architecture no slow-down is borrowed at all.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from archsearch.cost import CostModel
from archsearch.cost.calibration import Known
from archsearch.cost.estimate import KernelCost, Provenance
from archsearch.cost.power import peak_per_watt
from archsearch.cost.routes import Route
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu
from archsearch.hardware.spec import GpuSpec

MEASURED = {"ampere": "a100-sxm-80gb", "ada": "l40s", "hopper": "h100-sxm", "blackwell": "b200-sxm"}
"""The GPU whose measurements stand behind each architecture's fit (hardware_profiles/calibration)."""


class SustainedCostModel(CostModel):
    """``CostModel`` with compute-bound kernels at the clock that the power limit leaves in long runs.

    Single shapes are remembered: combinations of levers share most of their kernels.
    """

    def route_cost(self, route: Route) -> KernelCost:
        if any(np.size(value) > 1 for value in route.dims.values()):
            return self._sustained(route)
        key = (
            route.kernel,
            route.dtype,
            *((n, np.asarray(v, dtype=np.float64).tobytes()) for n, v in route.dims.items()),
        )
        remembered: dict[Any, KernelCost] = self.__dict__.setdefault("_remembered", {})
        if key not in remembered:
            remembered[key] = self._sustained(route)
        return remembered[key]

    def _sustained(self, route: Route) -> KernelCost:
        cost = super().route_cost(route)
        known = self.calibration.lookup(self.gpu, route.kernel)
        slower = np.where(np.asarray(cost.bound) == "compute", _power(self.gpu, known, cost.latency_s), 1.0)
        return replace(cost, latency_s=cost.latency_s * slower, low_s=cost.low_s * slower, high_s=cost.high_s * slower)


def _power(gpu: GpuSpec, known: Known, latency_s: Any) -> Any:
    """Time at the sustained clock over the time that the mechanism gave."""
    coefficients = known.fit.coefficients
    if "throttle_fraction" not in coefficients:
        return np.ones_like(latency_s)
    fraction, onset = coefficients["throttle_fraction"], coefficients["throttle_time_s"]
    counted = 1.0 + fraction * latency_s / (latency_s + onset)
    return (1.0 + sustained_fraction(gpu, fraction, known.provenance)) / counted


def sustained_fraction(gpu: GpuSpec, fraction: float, provenance: Provenance) -> float:
    """Slow-down of a compute-bound kernel in a long run, from the measured GPU's ``fraction``."""
    if provenance is Provenance.ANALYTIC:
        return 0.0
    if provenance is not Provenance.TRANSFERRED or gpu.architecture not in MEASURED:
        return fraction
    # Not the other way: boards with less power run at lower voltages, where an operation takes less energy (an L4 with
    # 1.6 times the L40S's peak per watt keeps half of its peak, as the L40S does).
    ratio = min(1.0, peak_per_watt(gpu, DType.FP16) / _measured_peak_per_watt(gpu.architecture))
    return max(0.0, (1.0 + fraction) * ratio - 1.0)


@lru_cache(maxsize=8)
def _measured_peak_per_watt(architecture: str) -> float:
    return peak_per_watt(load_gpu(MEASURED[architecture]), DType.FP16)
