"""What launching kernels costs the host."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from archsearch.cost.execution import Execution
from archsearch.hardware.spec import GpuSpec

CONSTANTS_FILE = Path(__file__).with_name("host.yaml")


@lru_cache(maxsize=1)
def _constants() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CONSTANTS_FILE.read_text(encoding="utf-8"))
    return loaded


def launch_s(gpu: GpuSpec, execution: Execution) -> float:
    """Seconds of the host per kernel; a replayed CUDA graph launches all of them at once, and a CPU is its own host."""
    if execution.cuda_graphs or gpu.vendor == "cpu":
        return 0.0
    if execution.launch_us is not None:
        return execution.launch_us * 1e-6
    return float(_constants()["launch_us"]["compiled" if execution.compiled else "eager"]) * 1e-6
