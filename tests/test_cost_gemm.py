"""The GEMM model against hand-worked tiles and waves, and against what must hold for any coefficients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.cost.kernels.gemm import GemmModel
from archsearch.cost.kernels.gemm_time import Choice, Load, Machine, Shapes, candidate_time
from archsearch.cost.kernels.kernel_cost import smooth_max
from archsearch.cost.kernels.tiles import tile_set
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu

MODEL = GemmModel()
START = {c.name: c.start for c in MODEL.coefficients}
A100 = load_gpu("a100-sxm-80gb")
GPUS = ("a100-sxm-80gb", "h100-sxm", "l40s", "b200-sxm", "v100-pcie-32gb", "t4")


def columns(**dims: object) -> dict[str, np.ndarray]:
    return {k: np.atleast_1d(np.asarray(v, dtype=float)) for k, v in dims.items()}


def held(tile_m: int, tile_n: int, max_ctas: int = 1, split_k: int = 1) -> Choice:
    one = np.ones(1)
    return Choice(one * tile_m, one * tile_n, one * max_ctas, one * split_k, one * 0)


def explain(m: int, n: int, k: int, choice: Choice) -> dict[str, object]:
    machine = Machine.of(A100, DType.BF16, START)
    load = Load.of(Shapes.of(columns(m=m, n=n, k=k), DType.BF16), machine, START)
    details = MODEL.explain(load, machine, choice, START).details
    return {name: value.item() for name, value in details.items()}


def predict(gpu: str, dtype: DType = DType.FP16, **dims: object) -> np.ndarray:
    return MODEL.predict(load_gpu(gpu), dtype, columns(**dims), START).latency_s


@pytest.mark.parametrize(
    ("m", "n", "tiles", "waves", "wave_efficiency", "tile_efficiency"),
    [
        (1792, 1920, 14 * 15, 2, 210 / 216, 1.0),  # 210 tiles on 108 SMs: two waves, six slots idle
        (1920, 1920, 15 * 15, 3, 225 / 324, 1.0),  # fifteen more tiles start a third wave for nine of them
        (1536, 1152, 12 * 9, 1, 1.0, 1.0),  # exactly one wave
        (1537, 1152, 13 * 9, 2, 117 / 216, 1537 / 1664),  # one row more: a new row of tiles and a second wave
        (1, 128, 1, 1, 1 / 108, 1 / 128),
    ],
)
def test_hand_worked_tiles_and_waves(m, n, tiles, waves, wave_efficiency, tile_efficiency):
    found = explain(m, n, 4096, held(128, 128))
    assert (found["tiles"], found["waves"]) == (tiles, waves)
    assert found["wave_efficiency"] == pytest.approx(wave_efficiency)
    assert found["tile_efficiency"] == pytest.approx(tile_efficiency)


def test_two_resident_tiles_halve_the_waves_and_split_k_multiplies_the_tiles():
    assert explain(1920, 1920, 4096, held(128, 128, max_ctas=2))["waves"] == 2  # 225 tiles on 216 slots
    split = explain(256, 256, 16384, held(128, 128, split_k=8))
    assert (split["tiles"], split["waves"]) == (32, 1)


def test_wave_step_costs_a_wave():
    """At a held tile, the 109th tile costs about as much as the first 108; the next ones cost nothing."""
    machine = Machine.of(A100, DType.BF16, START)

    def time(tiles_n: int) -> float:
        load = Load.of(Shapes.of(columns(m=128, n=128 * tiles_n, k=8192), DType.BF16), machine, START)
        found = candidate_time(load, machine, held(128, 128), START)
        return float((found.waves * found.steps * found.work_s)[0])

    assert time(109) == pytest.approx(2 * time(108), rel=1e-9)
    assert time(109) == pytest.approx(time(216), rel=1e-9)


def test_chosen_tile_is_the_fastest_legal_candidate():
    """Brute force over every tile and no split: the model is never slower than the best of them."""
    gpu = load_gpu("h100-sxm")
    machine = Machine.of(gpu, DType.BF16, START)
    dims = columns(m=[17, 777, 4096], n=[1000, 4096, 5120], k=[4096, 512, 8192])
    load = Load.of(Shapes.of(dims, DType.BF16), machine, START)
    best = np.full(3, np.inf)
    tiles = tile_set(gpu, DType.BF16)
    for i in range(len(tiles.tile_m)):
        row = [np.full(3, getattr(tiles, f)[i, 0]) for f in ("tile_m", "tile_n", "max_ctas")]
        choice = Choice(*row, np.ones(3), np.zeros(3))
        best = np.minimum(best, candidate_time(load, machine, choice, START).total_s)
    chosen = MODEL.predict(gpu, DType.BF16, dims, START)
    assert np.all(chosen.latency_s <= best * (1 + 1e-12))
    unsplit = chosen.details["split_k"] == 1
    assert unsplit.any()
    np.testing.assert_allclose(chosen.latency_s[unsplit], best[unsplit], rtol=1e-12)


def test_fp8_tiles_follow_the_dispatch_by_shape():
    """vLLM's Hopper kernel takes 64×128 tiles for 65-128 rows and 128×128 beyond, without split-K."""
    model = GemmModel(quantized=True)
    values = {c.name: c.start for c in model.coefficients}
    found = model.predict(load_gpu("h100-sxm"), DType.FP8, columns(m=[65, 128, 129], n=4096, k=4096), values).details
    assert found["tile_m"].tolist() == [64, 64, 128]
    assert found["tile_n"].tolist() == [128, 128, 128]
    assert found["split_k"].tolist() == [1, 1, 1]


sizes = st.integers(1, 20000)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GPUS), sizes, sizes, sizes)
def test_never_faster_than_the_roofline(gpu, m, n, k):
    """Peak rate, and cold weights through DRAM at the datasheet's bandwidth, bound every prediction from below."""
    spec = load_gpu(gpu)
    time = predict(gpu, m=m, n=n, k=k, reuse_bytes=np.inf)[0]
    assert time >= 2.0 * m * n * k / spec.peak_flops(DType.FP16)
    assert time >= 2.0 * n * k / spec.bandwidth_bytes_s


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GPUS), sizes, sizes, st.integers(1, 300), st.integers(1, 64))
def test_more_work_in_the_same_tiles_and_waves_is_never_faster(gpu, m, n, k64, more):
    spec = load_gpu(gpu)
    machine = Machine.of(spec, DType.FP16, START)

    def time(k: int) -> np.ndarray:
        load = Load.of(Shapes.of(columns(m=m, n=n, k=k), DType.FP16), machine, START)
        return candidate_time(load, machine, held(128, 128), START).total_s

    assert time(64 * (k64 + more)) >= time(64 * k64)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GPUS), st.integers(64, 8192), st.integers(1, 200), st.integers(16, 200), st.integers(1, 63))
def test_aligned_is_never_slower_than_misaligned_at_equal_work(gpu, m, n64, k64, off):
    """n and k a few elements below a multiple of 64 fill the same tiles and steps, and never run faster."""
    aligned = predict(gpu, m=m, n=64 * n64, k=64 * k64)[0]
    work = m * 64 * n64 * 64 * k64
    for n, k in ((64 * n64, 64 * k64 - off), (64 * n64 - off, 64 * k64)):
        if n < 1 or (n % 8 == 0 and k % 8 == 0):
            continue
        per_flop = predict(gpu, m=m, n=n, k=k)[0] / (m * n * k)
        assert per_flop >= aligned / work * (1 - 1e-9)


@given(st.floats(1e-9, 1e3), st.floats(1e-9, 1e3))
def test_smooth_max_lies_between_the_maximum_and_the_sum(a, b):
    value = float(smooth_max(np.float64(a), np.float64(b)))
    assert max(a, b) * (1 - 1e-12) <= value <= (a + b) * (1 + 1e-12)


def test_arrays_and_scalars_agree():
    rng = np.random.default_rng(0)
    dims = {c: rng.integers(1, 5000, 50).astype(float) for c in "mnk"}
    together = MODEL.predict(A100, DType.BF16, dims, START).latency_s
    alone = [
        MODEL.predict(A100, DType.BF16, {c: v[i : i + 1] for c, v in dims.items()}, START).latency_s[0]
        for i in range(50)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-14)
