"""What a roofline assumes of a device of unknown kernels, in words."""

from __future__ import annotations

from typing import TypedDict

from archsearch.cost.calibration import Band, Calibration
from archsearch.hardware.spec import GpuSpec

KINDS = {
    "gemm": "products",
    "gemm-8bit": "products in 8 bits",
    "attention": "attention",
    "memory": "bandwidth-bound operations",
}


class Shares(TypedDict):
    """Why times are a roofline, and a line for each kind of operation."""

    why: str
    shares: list[str]


def roofline_of(gpu: GpuSpec, calibration: Calibration | None = None) -> Shares | None:
    """Shares of peak and bandwidth that count, microseconds of a kernel beside, and the band of its time where it is
    bound by either; None where kernels are known."""
    why = gpu.why_roofline
    if why is None:
        return None
    known = calibration or Calibration.load()
    lines = []
    for kind, word in KINDS.items():
        fit = known.lookup(gpu, f"roofline/{kind}").fit
        v, bands = fit.coefficients, fit.bands
        parts = [
            f"{v['compute_fraction']:.0%} of peak (time x {_span(bands['compute'])})",
            f"{v['memory_fraction']:.0%} of bandwidth (time x {_span(bands['memory'])})",
            f"{v['launch_s'] * 1e6:.1f} us beside",
        ]
        lines.append(f"{word}: {', '.join(parts[1:] if kind == 'memory' else parts)}")
    return Shares(why=why, shares=lines)


def _span(band: Band) -> str:
    return f"{band.low:.2f} to {band.high:.2f}"
