"""What a roofline assumes of a device of unknown kernels, in words."""

from __future__ import annotations

from archsearch.cost.calibration import Band, Calibration
from archsearch.hardware.spec import GpuSpec

KINDS = {
    "gemm": "products",
    "gemm-8bit": "products in 8 bits",
    "attention": "attention",
    "memory": "bandwidth-bound operations",
}


def roofline_shares(gpu: GpuSpec, calibration: Calibration | None = None) -> list[str]:
    """A line for each kind of operation: shares of peak and bandwidth, seconds of a kernel beside, and the band of its
    time where it is bound by either. Empty where kernels are known."""
    if gpu.generation.tiles_known:
        return []
    known = calibration or Calibration.load()
    lines = []
    for kind, word in KINDS.items():
        fit = known.lookup(gpu, f"roofline/{kind}").fit
        v, bands = fit.coefficients, fit.bands
        compute = (
            "" if kind == "memory" else f"{v['compute_fraction']:.0%} of peak (time x {_span(bands['compute'])}), "
        )
        lines.append(
            f"{word}: {compute}{v['memory_fraction']:.0%} of bandwidth (time x {_span(bands['memory'])}), "
            f"{v['launch_s'] * 1e6:.1f} us beside"
        )
    return lines


def _span(band: Band) -> str:
    return f"{band.low:.2f} to {band.high:.2f}"
