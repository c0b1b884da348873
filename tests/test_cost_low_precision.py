"""Products of few bits: bytes and rates by hand, what is refused, and rows that no fit saw."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import archsearch
from archsearch.bench.calibrate import fitted_rows
from archsearch.bench.validate import predict_frame
from archsearch.cost.calibration import Calibration
from archsearch.cost.kernels.gemm import GemmModel
from archsearch.cost.model import CostModel
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.ops import MatMul
from archsearch.workload import Phase, Workload

WEIGHT_ONLY = (DType.INT8_WEIGHT_ONLY, DType.INT4_WEIGHT_ONLY)
MODEL = GemmModel(weight_only=True)
START = {c.name: c.start for c in MODEL.coefficients}
PLAIN = {name: value for name, value in START.items() if name != "dequantize_per_clock"}


def dims(m: int, n: int, k: int) -> dict[str, np.ndarray]:
    return {"m": np.array([float(m)]), "n": np.array([float(n)]), "k": np.array([float(k)]), "reuse_bytes": np.inf}


@pytest.mark.parametrize(("dtype", "bytes_per_weight"), [(DType.INT8_WEIGHT_ONLY, 1.0), (DType.INT4_WEIGHT_ONLY, 0.5)])
def test_weights_alone_are_few_bits_wide(dtype, bytes_per_weight):
    m, n, k = 3, 14336, 4096
    by_hand = n * k * bytes_per_weight + 2 * (m * k + m * n)
    assert float(MatMul(name="a", m=m, n=n, k=k, dtype=dtype).memory_bytes()) == by_hand
    activations = MatMul(name="a", m=m, n=n, k=k, dtype=dtype, weights=False)
    assert float(activations.memory_bytes()) == 2 * (m * k + k * n + m * n)
    weights = {}
    for name, values in ((dtype, START), (DType.BF16, PLAIN)):
        found = MODEL.predict(load_gpu("a100-sxm-80gb"), name, dims(m, n, k), values)
        weights[name] = float(found.details["dram_bytes"][0])
    assert weights[dtype] == pytest.approx(n * k * bytes_per_weight, rel=0.01)
    assert weights[DType.BF16] == pytest.approx(n * k * 2, rel=0.01)


@pytest.mark.parametrize("dtype", WEIGHT_ONLY)
def test_time_of_one_row_follows_the_weights_bytes_and_of_many_the_16_bit_rate(dtype):
    """Weights that take milliseconds to read: nothing else counts; and products are never above 312 TFLOP/s."""
    gpu = load_gpu("a100-sxm-80gb")
    fast = {**START, "dequantize_per_clock": 1e4}
    few, plain = (
        MODEL.predict(gpu, name, dims(1, 262144, 16384), values).latency_s[0]
        for name, values in ((dtype, fast), (DType.BF16, PLAIN))
    )
    assert plain / few == pytest.approx(2 / dtype.weight_itemsize, rel=0.06)
    many = MODEL.predict(gpu, dtype, dims(16384, 8192, 8192), fast).latency_s[0]
    assert 2 * 16384 * 8192 * 8192 / many < 312e12
    assert many == pytest.approx(MODEL.predict(gpu, DType.BF16, dims(16384, 8192, 8192), PLAIN).latency_s[0], rel=0.03)


def test_turning_weights_costs_what_every_row_of_tiles_turns_again():
    """8192 · 8192 weights for each of 16384 / 128 rows of tiles (or fewer, taller ones), 16 a clock on 108 SMs at 1410
    MHz: at most 8192 · 8192 · 128 / (16 · 108 · 1.41e9) s on top, at least half of it (tiles of 256 rows)."""
    gpu, shape = load_gpu("a100-sxm-80gb"), dims(16384, 8192, 8192)
    slow = {**START, "dequantize_per_clock": 16.0}
    extra = (
        MODEL.predict(gpu, DType.INT4_WEIGHT_ONLY, shape, slow).latency_s[0]
        - MODEL.predict(gpu, DType.INT4_WEIGHT_ONLY, shape, {**START, "dequantize_per_clock": 1e9}).latency_s[0]
    )
    most = 8192 * 8192 * 128 / (16 * 108 * 1.41e9)
    assert 0.45 * most < extra < 1.3 * most


def test_what_cannot_run_is_refused_with_the_reason():
    with pytest.raises(UnsupportedError, match=r"int4_weight_only multiplies in bf16.*8\.0"):
        archsearch.estimate("llama-3.1-8b", hardware="v100-sxm-32gb", dtype="int4_weight_only")
    with pytest.raises(InvalidInputError, match="train in bf16"):
        Workload(phase=Phase.TRAIN, dtype=DType.INT8_WEIGHT_ONLY)
    row = {"op": "linear", "dtype": "nvfp4", "batch": 1, "m": 16, "n": 4096, "k": 4096}
    for gpu, reason in (("h100-sxm", "10.0"), ("mi355x", "mxfp4")):
        with pytest.raises(UnsupportedError, match=reason):
            predict_frame(pd.DataFrame([{"gpu": gpu, **row}]))
    pair = {**row, "gpu": "a100-sxm-80gb", "op": "bmm", "dtype": "int8_weight_only"}
    with pytest.raises(UnsupportedError, match="stores weights"):
        predict_frame(pd.DataFrame([pair]))


def test_a_models_layers_are_few_bits_wide_and_the_rest_is_not():
    """Llama 3.1 8B: 8,030,261,248 parameters, of them 2 · 128256 · 4096 of embedding and head and 65 norms of 4096."""
    rest = 2 * 128256 * 4096 + 65 * 4096
    layers = 8_030_261_248 - rest
    for dtype, size in (("int8_weight_only", 1.0), ("int4_weight_only", 0.5)):
        found = archsearch.estimate("llama-3.1-8b", hardware="h100-sxm", dtype=dtype, phase="decode", seq_len=1024)
        assert found.memory_bytes["weights"] == layers * size + rest * 2


def test_a_decode_step_is_faster_in_fewer_bits_and_never_faster_than_its_bytes():
    gpu, times = load_gpu("a100-sxm-80gb"), []
    for dtype in (DType.BF16, *WEIGHT_ONLY):
        op = MatMul(name="a", m=1, n=28672, k=8192, dtype=dtype)
        time = float(CostModel(gpu).estimate([op]).latency_s)
        assert time >= 28672 * 8192 * dtype.weight_itemsize / gpu.bandwidth_bytes_s
        times.append(time)
    assert times[0] > times[1] > times[2]


def test_fits_take_one_librarys_8_bit_products_and_all_libraries_16_bit_ones():
    rows = [(t, k, s) for t in ("bf16", "fp8_e4m3") for k in ("vllm", "trtllm") for s in ("fit", "test")]
    frame = pd.DataFrame(rows, columns=["dtype", "kernel", "split"]).assign(op="linear", rows=1, cols=1)
    kept = fitted_rows(frame)
    assert list(zip(kept["dtype"], kept["kernel"], strict=True)) == [
        ("bf16", "vllm"),
        ("bf16", "trtllm"),
        ("fp8_e4m3", "vllm"),
    ]


@pytest.mark.parametrize(
    ("gpu", "dtype", "limit"),
    [
        ("b200-sxm", "nvfp4", 12.0),
        ("rtx-pro-6000-server", "nvfp4", 12.0),
        *((gpu, f"int{bits}_weight_only", 15.0) for gpu in ("a100-sxm-80gb", "l40s") for bits in (4, 8)),
    ],
)
def test_errors_on_rows_that_were_not_fitted(measurements, gpu, dtype, limit):
    frame = pd.read_csv(measurements / "gemm_more.csv")
    rows = frame[(frame["split"] == "test") & (frame["gpu"] == gpu) & (frame["dtype"] == dtype)]
    found = predict_frame(rows.reset_index(drop=True))
    assert (found["predicted_us"] / found["latency_us"] - 1).abs().mean() * 100 < limit
    assert set(found["provenance"]) == {"calibrated"}
    assert 0.7 < found["latency_us"].between(found["low_us"], found["high_us"]).mean() < 0.92


def test_only_measured_formats_count_as_calibrated():
    calibration = Calibration.load()
    known = {
        (gpu, kernel): calibration.lookup(load_gpu(gpu), kernel).provenance.value
        for gpu in ("b200-sxm", "b300-sxm", "h100-sxm", "l40s")
        for kernel in ("gemm/fp4", "gemm/int4_weight_only")
    }
    assert known["b200-sxm", "gemm/fp4"] == "calibrated"
    assert known["b300-sxm", "gemm/fp4"] == "transferred"
    assert known["l40s", "gemm/int4_weight_only"] == "calibrated"
    assert known["h100-sxm", "gemm/int4_weight_only"] == known["b200-sxm", "gemm/int4_weight_only"] == "analytic"
