"""What the clock does to a kernel's time.

A benchmark times one kernel; the longer the kernel, the more of its power-limited clock shows, which the mechanism
counts as 1 + f · t / (t + τ) of the kernel's own duration t (``throttle_fraction`` f and ``throttle_time_s`` τ, fitted
to published kernel tables): the clock ``burst``. A model that runs for seconds keeps the GPU busy, so that every
compute-bound kernel of it, however short, runs at the clock of the limit: 1 + f, the clock ``sustained``. The limit is
the board's, so that f moves with it: GPUs of one architecture spend the same energy per FLOP, and the slow-down of one
that was not measured is the measured one's times the ratio of their peaks per watt, if above 1. From another
architecture no slow-down is borrowed at all: an
A100's long FlashAttention runs as published without any, though the mechanism borrowed counts one, so that of such
kernels a burst is the slower estimate. A lower ``power_limit_w`` raises the slow-down by the same rule. A locked
clock stretches what runs on the SMs' clock (compute and fixed costs) by boost / locked where that is lower, and never
runs faster than the power limit lets it; bytes from DRAM keep their own clock.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from archsearch.arrays import FloatArray, Floats, Labels
from archsearch.cost.calibration import KernelFit, Known
from archsearch.cost.estimate import Provenance
from archsearch.cost.execution import Execution
from archsearch.cost.power import peak_per_watt
from archsearch.dtypes import DType
from archsearch.errors import UnknownNameError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.hardware.spec import GpuSpec


def slow_down(gpu: GpuSpec, known: Known, bound: Labels, latency_s: Floats, execution: Execution) -> Floats:
    """Time under an execution's clock over the time that the mechanism gave; arrays like ``latency_s``.

    Args:
        known: the kernel's coefficients and how they are known.
        bound: array of strings like ``latency_s``: compute, memory or latency.

    Raises:
        UnsupportedError: a power limit on a GPU of which no slow-down is known.
    """
    if execution.clock == "burst" and execution.power_limit_w is None:
        return np.ones_like(latency_s)
    coefficients, bound = known.fit.coefficients, np.asarray(bound)
    counted = np.ones_like(latency_s)
    limited: FloatArray = 1.0
    if "throttle_fraction" in coefficients:
        fraction, onset = coefficients["throttle_fraction"], coefficients["throttle_time_s"]
        shown = latency_s / (latency_s + onset)  # of the slow-down in one kernel of this duration
        counted = 1.0 + fraction * shown
        limited = 1.0 + sustained_fraction(gpu, known.fit, known.provenance, execution.power_limit_w)
        if execution.clock == "burst":
            share = 1.0 if execution.power_limit_w is None else execution.power_limit_w / gpu.tdp_w
            limited = 1.0 + ((1.0 + fraction) / share - 1.0) * shown
    if isinstance(execution.clock, str):
        return np.where(bound == "compute", limited / counted, 1.0)
    stretched = max(1.0, gpu.boost_clock_mhz / execution.clock)
    on_the_clock = np.where(bound == "latency", stretched, 1.0)
    return np.where(bound == "compute", np.maximum(limited, stretched) / counted, on_the_clock)


def sustained_fraction(
    gpu: GpuSpec, fit: KernelFit, provenance: Provenance, power_limit_w: float | None = None
) -> float:
    """Slow-down of a compute-bound kernel in a long run, from the measured GPU's ``throttle_fraction``.

    Raises:
        UnsupportedError: a power limit where no slow-down of this architecture is known.
    """
    fraction = fit.coefficients["throttle_fraction"]
    share = 1.0 if power_limit_w is None else power_limit_w / gpu.tdp_w
    if provenance is Provenance.ANALYTIC:
        if share < 1.0:
            text = f"{{power_limit_w}}: no measurement says how {gpu.id} slows down at its power limit"
            raise UnsupportedError(text, field="power_limit_w")
        return 0.0
    ratio = 1.0 / share
    if provenance is Provenance.TRANSFERRED and len(fit.fitted_on) == 1:
        # Not the other way: boards with less power run at lower voltages, where an operation takes less energy (an L4
        # with 1.6 times the L40S's peak per watt keeps half of its peak, as the L40S does).
        measured = _measured_peak_per_watt(fit.fitted_on[0])
        ratio *= 1.0 if measured is None else min(1.0, peak_per_watt(gpu, DType.FP16) / measured)
    return max(0.0, (1.0 + fraction) * ratio - 1.0)


@lru_cache(maxsize=32)
def _measured_peak_per_watt(gpu_id: str) -> float | None:
    """None for a GPU without a profile (of a user's own calibration)."""
    try:
        return peak_per_watt(load_gpu(gpu_id), DType.FP16)
    except UnknownNameError:
        return None
