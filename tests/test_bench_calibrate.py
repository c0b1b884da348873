"""Calibration on made-up GPUs' measurements whose law is known: it is found, held-back rows are never read."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from archsearch.bench.calibrate import calibrate
from archsearch.bench.calibration_files import write_calibration
from archsearch.bench.measurements import route_rows
from archsearch.cost.calibration import Calibration
from archsearch.cost.kernels.experts import ExpertsModel
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


def test_routed_experts_of_a_known_law_are_found(tmp_path):
    """Rows that the mechanism itself gives under other coefficients, 3 % of noise: unseen mixtures within the noise."""
    sizes = product((1, 4, 16, 64, 256, 1024, 4096), (2048, 4096), (512, 1536), (8, 64))
    names = ("tokens", "hidden_size", "moe_intermediate_size", "num_experts")
    table = pd.DataFrame(list(sizes), columns=list(names)).assign(num_experts_per_tok=4, expert_parallel=2)
    table = table.assign(gpu="h100-sxm", op="experts", dtype="bf16", distribution="balanced")
    (routed,) = route_rows(table)
    law = {c.name: c.start for c in ExpertsModel.coefficients} | {"launch_s": 5e-5, "dram_fraction": 0.5}
    time = ExpertsModel().predict(routed.route.gpu, routed.route.dtype, routed.route.dims, law).latency_s
    noise = np.exp(0.03 * np.random.default_rng(0).normal(size=len(table)))
    split = np.where((table.hidden_size == 4096) & (table.moe_intermediate_size == 512), "test", "fit")
    table.assign(latency_us=time * noise * 1e6, split=split).to_csv(tmp_path / "experts.csv", index=False)
    found = calibrate([tmp_path], date="2026-01-01", code_version="0", only="experts")
    (own,) = (f.kernels["experts/16bit"] for f in found.files if f.level == "gpu")
    assert own.coefficients["launch_s"] == pytest.approx(5e-5, rel=0.2)
    assert own.coefficients["dram_fraction"] == pytest.approx(0.5, rel=0.1)
    held_back = routed.route.dims["hidden_size"] + routed.route.dims["moe_intermediate_size"] == 4608
    again = ExpertsModel().predict(routed.route.gpu, routed.route.dtype, routed.route.dims, own.coefficients).latency_s
    assert np.abs(again / time - 1)[held_back].max() < 0.06


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="holds none of"):
        calibrate([tmp_path], date="", code_version="")
