"""How many matrix products the cost model predicts per second on this machine.

python benchmarks/prediction.py [--gpu h100-sxm] [--shapes 400000]
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import replace

import numpy as np

from archsearch.cost.calibration import Calibration
from archsearch.cost.execution import BURST, Execution
from archsearch.cost.model import CostModel
from archsearch.cost.routes import gemm_route
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu


def shapes(count: int) -> dict[str, np.ndarray]:
    """Products as search meets them: 1 to 16,384 tokens, widths from 64 to 12,800 in steps of 64."""
    rng = np.random.default_rng(0)
    widths = {name: 64.0 * rng.integers(1, 201, count) for name in ("n", "k")}
    return {"m": 2.0 ** rng.integers(0, 15, count), **widths, "batch": np.ones(count)}


def rate(model: CostModel, dtype: DType, dims: dict[str, np.ndarray], execution: Execution, repeat: int = 3) -> float:
    """Shapes per second of the fastest of several calls."""
    route = gemm_route(model.gpu, dtype, dims, weights=True)
    fastest = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        model.route_cost(route, execution)
        fastest = min(fastest, time.perf_counter() - start)
    return len(dims["m"]) / fastest


def main() -> None:
    """Print the rates with and without the learned correction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", default="h100-sxm")
    parser.add_argument("--shapes", type=int, default=400_000)
    given = parser.parse_args()
    gpu, dims = load_gpu(given.gpu), shapes(given.shapes)
    print(f"{os.cpu_count()} cores, {platform.machine()}, NumPy {np.__version__}")
    for dtype in (DType.BF16, DType.FP8):
        if not gpu.supports(dtype):
            continue
        for corrected in (True, False):
            model = CostModel(gpu, Calibration.load())
            name = "with correction" if corrected else "mechanism alone"
            rated = rate(model, dtype, dims, replace(BURST, correction=corrected))
            print(f"{rated:12,.0f} shapes/s  {gpu.id} {dtype.value} {name}")


if __name__ == "__main__":
    main()
