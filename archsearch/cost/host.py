"""The host's share of a pipeline: launching kernels, and moving weights over PCIe."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from archsearch.cost.kernels.collective import CONSTANTS_FILE as LINK_CONSTANTS_FILE
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec

CONSTANTS_FILE = Path(__file__).with_name("host.yaml")


@lru_cache(maxsize=2)
def _read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def launch_s(*, compiled: bool, cuda_graphs: bool, given_us: float | None = None) -> float:
    """Seconds of the host per kernel; a replayed CUDA graph launches all of them at once."""
    if cuda_graphs:
        return 0.0
    known = _read(CONSTANTS_FILE)["launch_us"]
    return float(known["compiled" if compiled else "eager"] if given_us is None else given_us) * 1e-6


def copy_bandwidth_bytes_s(gpu: GpuSpec, *, pinned: bool = False, given_gb_s: float | None = None) -> float:
    """Bytes per second of host-to-device copies.

    Raises:
        UnsupportedError: the profile names no PCIe link and no bandwidth was given.
    """
    if given_gb_s is not None:
        return given_gb_s * 1e9
    per_lane = _read(LINK_CONSTANTS_FILE)["pcie_gb_s_per_lane"]
    if gpu.pcie is None or gpu.pcie.generation not in per_lane:
        raise UnsupportedError(f"{gpu.id}: its profile names no PCIe link of a known generation; give --pcie-gb-s")
    share = 1.0 if pinned else float(_read(CONSTANTS_FILE)["pageable_share"])
    return float(per_lane[gpu.pcie.generation]) * gpu.pcie.lanes * 1e9 * share
