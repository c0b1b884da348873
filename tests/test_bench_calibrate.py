"""Calibration on made-up GPUs' measurements whose law is known: it is found, held-back rows are never read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from archsearch.bench.calibrate import calibrate
from archsearch.bench.calibration_files import write_calibration
from archsearch.bench.measurements import route_rows
from archsearch.cost.calibration import Calibration
from archsearch.cost.model import CostModel
from archsearch.errors import InvalidInputError
from archsearch.hardware import load_gpu

BANDWIDTH = {"a100-pcie-40gb": 1.3e12, "v100-pcie-32gb": 0.8e12}


def memory_table(factor_of_test: float = 1.0) -> pd.DataFrame:
    """Element-wise adds at a fixed bandwidth and launch time, one GPU slower than the other, 3 % of noise."""
    rng = np.random.default_rng(0)
    rows = []
    for gpu, bandwidth in BANDWIDTH.items():
        for rows_, cols in ((r, c) for r in (512, 2048, 8192, 32768) for c in (256, 768, 1024, 1536, 3072, 4096, 6144)):
            split = "test" if cols in (768, 3072) else "fit"
            time = (3e-6 + 3 * 4 * rows_ * cols / bandwidth) * np.exp(0.03 * rng.normal())
            time *= factor_of_test if split == "test" else 1.0
            rows.append((gpu, "add", "fp32", rows_, cols, time * 1e6, split))
    return pd.DataFrame(rows, columns=["gpu", "op", "dtype", "rows", "cols", "latency_us", "split"])


def run(tmp_path, table):
    table.to_csv(tmp_path / "memory_bound_fp32.csv", index=False)
    return calibrate([tmp_path], date="2026-01-01", code_version="0")


def test_finds_the_law_and_writes_what_it_found(tmp_path):
    table = memory_table()
    found = run(tmp_path, table)
    paths = write_calibration(found, tmp_path / "out")
    assert {p.name for p in paths} >= {"a100-pcie-40gb.yaml", "architecture-ampere.yaml", "default.yaml"}
    loaded = Calibration.load(tmp_path / "out")
    held_back = table[table.split == "test"].reset_index(drop=True)
    for routed in route_rows(held_back):
        cost = CostModel(routed.route.gpu, loaded).route_cost(routed.route)
        measured = held_back["latency_us"].to_numpy()[routed.index] * 1e-6
        assert np.abs(cost.latency_s / measured - 1).mean() < 0.06
        assert ((measured >= cost.low_s) & (measured <= cost.high_s)).mean() > 0.5
    assert loaded.lookup(load_gpu("a100-sxm-80gb"), "memory/pointwise").provenance.value == "transferred"


def test_rows_marked_test_change_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert run(tmp_path / "a", memory_table()).files == run(tmp_path / "b", memory_table(factor_of_test=9.0)).files


def test_every_gpu_is_also_predicted_with_itself_left_out(tmp_path):
    (default,) = (f for f in run(tmp_path, memory_table()).files if f.level == "default")
    carried = default.kernels["memory/pointwise"].carried
    assert set(carried) == set(BANDWIDTH)
    assert all(error > 0 for error in carried.values())


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="holds none of"):
        calibrate([tmp_path], date="", code_version="")
