"""Bandwidth-bound kernels: hand-worked traffic and thread mapping, invariants, and published measurements."""

from __future__ import annotations

import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.bench.fit import Group, fit, log_residuals
from archsearch.cost.kernels.bandwidth import (
    CLASS_OF,
    COEFFICIENTS,
    KINDS,
    MemoryModel,
    Tensor,
    _softmax_steps,
    default_tensors,
    memory_class,
)
from archsearch.cost.routes import memory_route
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.database import load_gpu

START = {name: {c.name: c.start for c in coefficients} for name, coefficients in COEFFICIENTS.items()}
CLASSES = st.sampled_from(list(KINDS))
GPUS = st.sampled_from(["a100-pcie-40gb", "h100-sxm", "t4", "p4", "mi300x", "rtx-4090"])
FORMATS = st.sampled_from([DType.FP32, DType.BF16, DType.FP8, DType.FP4])
DIM = st.integers(1, 200_000)
MEASURED = Path(__file__).resolve().parents[2] / "shared" / "measurements" / "memory_bound_fp32.csv"


def seconds(name: str, gpu: str, dtype: DType, **dims: object) -> np.ndarray:
    arrays = {k: np.atleast_1d(np.asarray(v, dtype=np.float64)) for k, v in dims.items()}
    return MemoryModel(name).predict(load_gpu(gpu), dtype, arrays, START[name]).latency_s


def test_large_add_by_hand() -> None:
    # 3 tensors of 16384 x 16384 floats at 85 % of 1555 GB/s; at 25 B/clock/SM L2 takes part: (1 + (1322/3807)^4)^(1/4).
    moved = 3 * 16384**2 * 4
    dram, l2 = moved / (0.85 * 1555e9), moved / (25 * 108 * 1410e6)
    expected = 2e-6 + (dram**4 + l2**4) ** 0.25
    found = seconds("pointwise", "a100-pcie-40gb", DType.FP32, rows=16384, cols=16384, reads=2.0, writes=1.0)
    assert found[0] == pytest.approx(expected, rel=1e-3)


def test_single_calls_show_the_host_and_queued_kernels_do_not() -> None:
    queued, alone = (seconds("norm", "t4", DType.FP32, rows=64, cols=1024, alone=a)[0] for a in (0.0, 1.0))
    assert alone - queued == pytest.approx(START["norm"]["call_s"])


def test_input_that_the_previous_kernel_left_in_l2_is_not_read_again() -> None:
    # 4 MiB in and out of a 50 MiB L2: only the output goes to DRAM; of 1 GiB both do.
    values = dict(START["pointwise"], l2_bytes_per_clock_per_sm=1e6)
    dims = {"rows": np.array([1024.0, 262144.0]), "cols": np.array([2048.0])}
    latency = MemoryModel("pointwise").predict(load_gpu("h100-sxm"), DType.BF16, dims, values).latency_s
    small, large = latency - values["launch_s"]
    assert small * 256 == pytest.approx(large / 2, rel=0.05)


def steps_of(cols: int, threads: int) -> float:
    tensor = Tensor.of({"rows": np.ones(1), "cols": np.array([float(cols)])}, DType.FP32)
    return float(_softmax_steps(tensor, float(threads), 4.0)[0])


def test_softmax_steps_of_one_pass_by_hand() -> None:
    assert steps_of(1280, 256) == 2  # 1024 in one vector step, 256 in one scalar step
    assert steps_of(2048, 256) == 2  # two vector steps
    assert steps_of(1276, 256) == 2  # the rest of 252 still takes one scalar step
    # every second row starts 8 bytes off: a scalar step of 256, then 1024 left (one vector step): also 2
    assert steps_of(1278, 256) == 2
    # odd rows: three in four begin with a scalar step and have 940 left, four scalar steps more
    assert steps_of(1195, 256) == pytest.approx(0.25 * 2 + 0.75 * 5)


def test_row_kernels_follow_their_dispatch() -> None:
    gpu = "v100-pcie-32gb"
    long = {"rows": 65536.0, "cols": np.array([1024.0, 1028.0])}
    warp, block = seconds("softmax", gpu, DType.FP32, **long)
    assert block > 1.2 * warp  # three passes over the row against one warp with the row in registers
    # norms: 383 vectors are three steps; 385 are four for one lane of a warp, which walks the remainder loop as well
    compute = dict(START["norm"], element_cycles=2000.0)
    dims = {"rows": np.array([65536.0]), "cols": np.array([1536.0, 1540.0, 2048.0])}
    whole, split, full = MemoryModel("norm").predict(load_gpu(gpu), DType.FP32, dims, compute).latency_s
    assert split / whole == pytest.approx(7 / 3, rel=0.02)
    assert full / whole == pytest.approx(4 / 3, rel=0.02)


def test_rows_that_leave_l2_are_read_again_from_dram() -> None:
    # T4 keeps 80 rows of 64 KiB in flight: 5 MiB against 4 MiB of L2; 160 of 8 KiB fit.
    short, wide = seconds("softmax", "t4", DType.FP32, rows=np.array([131072, 16384]), cols=np.array([2048, 16384]))
    assert wide > 1.5 * short  # the same bytes


@settings(deadline=None)
@given(name=CLASSES, gpu=GPUS, dtype=FORMATS, rows=DIM, cols=DIM, more=st.integers(0, 100_000))
def test_more_rows_never_take_less(name: str, gpu: str, dtype: DType, rows: int, cols: int, more: int) -> None:
    few, many = seconds(name, gpu, dtype, rows=np.array([rows, rows + more]), cols=cols)
    assert many >= few * (1 - 1e-12)


@settings(deadline=None)
@given(gpu=GPUS, dtype=FORMATS, rows=DIM, cols=DIM, more=st.integers(0, 100_000))
def test_pointwise_depends_on_elements_alone_and_grows(gpu: str, dtype: DType, rows: int, cols: int, more: int) -> None:
    few, many, turned = seconds(
        "pointwise", gpu, dtype, rows=np.array([rows, rows, cols]), cols=np.array([cols, cols + more, rows])
    )
    assert many >= few * (1 - 1e-12)
    assert turned == pytest.approx(few, rel=1e-12)


@settings(deadline=None)
@given(name=CLASSES, gpu=GPUS, dtype=FORMATS, rows=DIM, cols=DIM, reads=st.floats(0, 4), writes=st.floats(0.5, 3))
def test_never_faster_than_dram_takes_the_output_and_l2_takes_all(
    name: str, gpu: str, dtype: DType, rows: int, cols: int, reads: float, writes: float
) -> None:
    found = seconds(name, gpu, dtype, rows=rows, cols=cols, reads=reads, writes=writes)[0]
    spec, tensor = load_gpu(gpu), rows * cols * dtype.itemsize
    l2 = START[name]["l2_bytes_per_clock_per_sm"] * spec.num_sms * spec.boost_clock_mhz * 1e6
    assert found >= tensor * writes / spec.bandwidth_bytes_s
    assert found >= tensor * (reads + writes) / l2
    if tensor * (reads + writes) > 20 * spec.l2_bytes:
        assert found >= 0.99 * tensor * (reads + writes) / spec.bandwidth_bytes_s


@settings(deadline=None, max_examples=25)
@given(name=CLASSES, dtype=FORMATS, shapes=st.lists(st.tuples(DIM, DIM), min_size=1, max_size=8))
def test_arrays_equal_scalars(name: str, dtype: DType, shapes: list[tuple[int, int]]) -> None:
    rows, cols = (np.array(c, dtype=np.float64) for c in zip(*shapes, strict=True))
    together = seconds(name, "h100-sxm", dtype, rows=rows, cols=cols, reads=2.0)
    single = [seconds(name, "h100-sxm", dtype, rows=r, cols=c, reads=2.0)[0] for r, c in shapes]
    np.testing.assert_allclose(together, single, rtol=1e-12)


def test_kinds_and_routes() -> None:
    gpu = load_gpu("h100-sxm")
    assert [memory_class(k) for k in ("gelu", "softmax", "rmsnorm")] == ["pointwise", "softmax", "norm"]
    assert default_tensors("add") == (2.0, 1.0)
    assert default_tensors("addu") == (1.0, 1.0)
    assert len(CLASS_OF) == sum(map(len, KINDS.values()))  # no kind in two classes
    shape = {"rows": np.array([8.0]), "cols": np.array([16.0])}
    measured = memory_route(gpu, DType.BF16, "add", shape)
    queued = memory_route(gpu, DType.BF16, "add", {**shape, "reads": np.array(3.0), "writes": np.array(1.0)})
    assert measured.kernel == "memory/pointwise"
    assert (measured.dims["reads"], measured.dims["alone"]) == (2.0, 1.0)
    assert (queued.dims["reads"], queued.dims["alone"]) == (3.0, 0.0)
    with pytest.raises(UnsupportedError, match=r"'fft'.*known:.*gelu"):
        memory_route(gpu, DType.BF16, "fft", shape)


def test_throughput_exceeds_300_000_shapes_per_second() -> None:
    generator = np.random.default_rng(0)
    dims = {
        "rows": generator.integers(1, 1e5, 8192).astype(float),
        "cols": generator.integers(1, 1e4, 8192).astype(float),
    }
    for name in KINDS:
        model, best = MemoryModel(name), np.inf
        for _ in range(5):
            begun = time.perf_counter()
            model.predict(load_gpu("h100-sxm"), DType.BF16, dims, START[name])
            best = min(best, time.perf_counter() - begun)
        assert 8192 / best > 300_000


@pytest.mark.skipif(not MEASURED.is_file(), reason="published measurements are not in this checkout")
@pytest.mark.parametrize("op", ["add", "gelu", "softmax", "layernorm"])
@pytest.mark.parametrize("gpu", ["a100-pcie-40gb", "v100-pcie-32gb", "t4", "p100-pcie-16gb", "p4"])
def test_unseen_row_lengths_are_predicted_within_eight_percent(gpu: str, op: str) -> None:
    import pandas as pd

    frame = pd.read_csv(MEASURED).query("gpu == @gpu and op == @op")
    unseen = np.array([zlib.crc32(f"{op},{cols}".encode()) % 4 == 0 for cols in frame.cols])
    route = memory_route(
        load_gpu(gpu), DType.FP32, op, {c: frame[c].to_numpy(dtype=np.float64) for c in ("rows", "cols")}
    )
    group = Group(route.gpu, route.dtype, route.dims, frame.latency_us.to_numpy() * 1e-6)
    values = fit(route.model, [group.take(~unseen)])
    assert np.abs(np.expm1(log_residuals(route.model, group.take(unseen), values))).mean() < 0.08
