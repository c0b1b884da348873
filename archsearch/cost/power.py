"""Whether a GPU is under the power limit of another of its architecture.

A long dense kernel slows down where its power, at full clock, would be more than the board's. Operations of one
architecture take about the same energy each at the same clock, so a board with far more power for its matrix rate does
not slow down, and what was fitted of the slow-down on the other (its throttle, and the learned correction, which has
seen no long kernel without it) does not hold. Compared are peak / power:

    L40S      362 TFLOP/s   350 W   1.03
    L20       119.5         275     0.43    published at 8192³ in bf16: 114 TFLOP/s, 96 % of its peak
    RTX 4090  165           450     0.37    160, 97 %
    L4        121           72      1.68     59, 49 %: as the L40S, half of whose peak is measured

Published: https://github.com/zzc0721/torch-performance-test-data/issues/107, 78 and 120; no fit saw them. A
board with less power for its rate falls back to a lower clock and voltage, where an operation takes less energy
(``clock_slow_down``).
"""

from __future__ import annotations

from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

VOLTAGE_EXPONENT = 0.6
"""How a board's voltage grows with its clock, V ∝ f^u: an operation's energy is then ∝ f^2u and the power of a dense
kernel ∝ f^(1 + 2u). Read from one pair of published products: an H100 PCIe (756 TFLOP/s, 350 W) reaches 458 TFLOP/s,
the SXM (989, 700 W) 794 (zzc0721/torch-performance-test-data, stas00/ml-engineering)."""

SWITCHING = 1.25
"""Power that matrix products of a whole model take at full clock, over those of a kernel table. Read from one clock: an
H200 that runs whole models keeps up to 1,500 MHz (NVML after large products, docs/benchmarks.md), where the slow-down
that its table shows leaves 1,665."""

RELIEVED = 0.75
"""Peak per watt, against the measured GPU's, below which a board counts as free of its limit; nearer ones count as
alike (a superchip's power, say, is the processor's too)."""


def rated_dtype(kernel: str) -> DType:
    """The format whose peak rates a kernel family: that of its matrix units."""
    if "fp32" in kernel:
        return DType.FP32
    if "fp4" in kernel:
        return DType.FP4
    return DType.FP8 if "fp8" in kernel else DType.FP16


def peak_per_watt(gpu: GpuSpec, dtype: DType) -> float:
    """Datasheet FLOP/s of a format over the board's power.

    Raises:
        UnsupportedError: the GPU has no such format.
    """
    return gpu.peak_flops(dtype) / gpu.tdp_w


def clock_slow_down(power: float) -> float:
    """By how much the clock falls where full clock would take ``power`` times what the board has; above 1 for more."""
    share: float = power ** (1.0 / (1.0 + 2.0 * VOLTAGE_EXPONENT))
    return share


def power_against(gpu: GpuSpec, other: GpuSpec, dtype: DType) -> float:
    """Power that a dense kernel takes at a GPU's rated clock, of the board's own, over the same of another board: the
    ratio of their peaks per watt, and of what an operation takes at the voltage of the rated clock.

    Raises:
        UnsupportedError: a GPU has no such format.
    """
    ratio = peak_per_watt(gpu, dtype) / peak_per_watt(other, dtype)
    energy: float = (gpu.boost_clock_mhz / other.boost_clock_mhz) ** (2.0 * VOLTAGE_EXPONENT)
    return ratio * energy


def board_power_w(gpu: GpuSpec, execution: Execution) -> float:
    """What a board draws at most under an execution: its own limit, or the lower one that is asked for."""
    return gpu.tdp_w if execution.power_limit_w is None else min(gpu.tdp_w, execution.power_limit_w)


def same_rates(kernel: str, gpu: GpuSpec, measured: GpuSpec) -> bool:
    """Whether two products of one architecture leave the same share of its rate to a kernel family's format; what was
    learned beside the mechanism on one (its correction) says nothing of another share."""
    dtype = rated_dtype(kernel)
    return gpu.tensor_rate_share(dtype) == measured.tensor_rate_share(dtype)


def is_relieved(kernel: str, gpu: GpuSpec, measured: GpuSpec) -> bool:
    """Whether a kernel family's power limit on a measured GPU is none on this one of the same architecture: a product
    that caps more of its tensor rates, or has far more power for its rate."""
    dtype = rated_dtype(kernel)
    if not (gpu.supports(dtype) and measured.supports(dtype)):
        return False
    if gpu.tensor_rate_share(dtype) < measured.tensor_rate_share(dtype):
        return True
    return peak_per_watt(gpu, dtype) < RELIEVED * peak_per_watt(measured, dtype)
