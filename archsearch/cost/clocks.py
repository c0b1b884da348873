"""What the clock does to a kernel's time.

A benchmark times one kernel; the longer the kernel, the more of its power-limited clock shows, which the mechanism
counts as 1 + f · t / (t + τ) of the kernel's own duration t (``throttle_fraction`` f and ``throttle_time_s`` τ, fitted
to published kernel tables): the clock ``burst``. A model that runs for seconds keeps the GPU busy, so that every
compute-bound kernel of it, however short, runs as one that is as long as the board takes to settle at its limit
(``SETTLING_S``): the clock ``sustained``. The limit is the board's, so that f moves with it. Power at full clock is the
measured board's times the ratio of their peaks per watt, and of the energy of an operation at their rated clocks, since
voltage rises with the clock (``cost/power.py``); the clock falls until the power is the board's. From another
architecture no slow-down is borrowed: there a board of the same process tells the power (``keeps_clock`` of its
architecture), or none is counted. A lower ``power_limit_w`` raises the slow-down by the same rule. A locked clock
stretches what runs on the SMs' clock (compute and fixed costs) by boost / locked where that is lower, and never runs
faster than the power limit lets it; bytes from DRAM keep their own clock.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from archsearch.arrays import FloatArray, Floats, Labels
from archsearch.cost.calibration import Known
from archsearch.cost.estimate import Provenance
from archsearch.cost.execution import Execution
from archsearch.cost.power import SWITCHING, clock_slow_down, power_against, rated_dtype
from archsearch.dtypes import DType
from archsearch.errors import UnknownNameError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.hardware.spec import GpuSpec

SUSTAINED = Execution(clock="sustained")
ONSET_S = 1e-3
"""Seconds of one kernel after which half of what a board lacks in power shows, as an H100's table has it (τ 1.0 ms)."""
SETTLING_S = 0.1
"""Seconds of load after which a board runs at its limit. A slow-down that long kernels alone show (fp32 products, τ of
0.6 to 1 s) is not the limit's: whole fp32 models run for seconds as single kernels do (NeuSight's labels, median
measured / predicted 0.90 to 1.01 on A100, V100, T4 and P100; with all of f 0.48 to 0.88)."""


def slow_down(
    gpu: GpuSpec, known: Known, kernel: str, bound: Labels, latency_s: Floats, execution: Execution
) -> Floats:
    """Time under an execution's clock over the time that the mechanism gave; arrays like ``latency_s``.

    Args:
        known: the kernel's coefficients and how they are known.
        kernel: its family, as calibrations name it.
        bound: array of strings like ``latency_s``: compute, memory or latency.

    Raises:
        UnsupportedError: a power limit on a GPU of which no slow-down is known.
    """
    coefficients, bound = known.fit.coefficients, np.asarray(bound)
    counted = np.ones_like(latency_s)
    limited: FloatArray = 1.0
    if "throttle_fraction" in coefficients:
        fraction, onset = coefficients["throttle_fraction"], coefficients["throttle_time_s"]
        shown = latency_s / (latency_s + onset)  # of the slow-down in one kernel of this duration
        counted = 1.0 + fraction * shown
        if execution.clock == "burst":
            _, own = _reference(gpu, known, rated_dtype(kernel))
            late = latency_s / (latency_s + max(onset, ONSET_S))
            more = limited_slow_down(gpu, known, kernel, 1.0, execution) / (1.0 + own)
            limited = (1.0 + own * shown) * (1.0 + (more - 1.0) * late)
        else:
            settled = np.maximum(shown, SETTLING_S / (SETTLING_S + onset))
            limited = limited_slow_down(gpu, known, kernel, settled, execution)
    if isinstance(execution.clock, str):
        return np.where(bound == "compute", limited / counted, 1.0)
    stretched = max(1.0, gpu.boost_clock_mhz / execution.clock)
    on_the_clock = np.where(bound == "latency", stretched, 1.0)
    return np.where(bound == "compute", np.maximum(limited, stretched) / counted, on_the_clock)


def limited_slow_down(
    gpu: GpuSpec, known: Known, kernel: str, settled: FloatArray = 1.0, execution: Execution = SUSTAINED
) -> FloatArray:
    """Time of a compute-bound kernel under a board's power limit over its time at full clock, 1 or more.

    Args:
        settled: share of the measured board's ``throttle_fraction`` that the run shows.

    Raises:
        UnsupportedError: a power limit where no slow-down of this architecture is known.
    """
    share = 1.0 if execution.power_limit_w is None else execution.power_limit_w / gpu.tdp_w
    dtype = rated_dtype(kernel)
    other, fraction = _reference(gpu, known, dtype)
    if other is None:
        if share < 1.0:
            text = f"{{power_limit_w}}: no measurement says how {gpu.id} slows down at its power limit"
            raise UnsupportedError(text, field="power_limit_w")
        return 1.0 + fraction if execution.clock == "burst" else 1.0  # a burst is as the borrowed mechanism counts it
    power = _power_against(gpu, other, dtype) / share
    if execution.clock != "burst" and dtype is not DType.FP32 and kernel.startswith(("gemm", "convolution")):
        power *= SWITCHING
    return np.maximum(1.0, (1.0 + fraction * settled) * clock_slow_down(power))


def _reference(gpu: GpuSpec, known: Known, dtype: DType) -> tuple[str | None, float]:
    """The board that a GPU's power is held against, and its slow-down at its own limit; None where there is none."""
    measured = known.fit.fitted_on
    fraction = known.fit.coefficients["throttle_fraction"]
    if known.provenance is not Provenance.ANALYTIC:
        return (measured[0] if len(measured) == 1 else gpu.id), fraction
    if len(measured) == 1 and _architecture(measured[0]) == gpu.generation.id:
        return measured[0], fraction  # a relative of the kernel's, on the same architecture
    other = gpu.generation.keeps_clock.get(dtype)
    return other, fraction if other is None else 0.0


@lru_cache(maxsize=32)
def _architecture(gpu_id: str) -> str | None:
    """None for a GPU without a profile (of a user's own calibration)."""
    try:
        return load_gpu(gpu_id).generation.id
    except UnknownNameError:
        return None


@lru_cache(maxsize=256)
def _power_against(gpu: GpuSpec, other: str, dtype: DType) -> float:
    """``power_against`` of another GPU by its id; 1 for one without a profile (of a user's own calibration), or where
    one of the two has no such format."""
    try:
        return power_against(gpu, load_gpu(other), dtype)
    except (UnknownNameError, UnsupportedError):
        return 1.0
