"""A learned correction makes no wider product faster: between widths it is interpolated, along them it falls slowly."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arrays import Floats
from archsearch.cost.calibration import Calibration
from archsearch.cost.correction_leash import LEASH, WIDTHS, Lattices, leashed
from archsearch.cost.execution import BURST
from archsearch.cost.kernels.kernel_cost import Dims
from archsearch.cost.model import CostModel
from archsearch.cost.routes import gemm_route
from archsearch.dtypes import DType
from archsearch.hardware import list_gpus, load_gpu

FORMATS = (DType.BF16, DType.FP8, DType.FP32)


def kernel_of(gpu: str, dtype: DType) -> str:
    return gemm_route(load_gpu(gpu), dtype, {}, weights=True).kernel


CORRECTED = [
    (gpu.id, dtype)
    for gpu in list_gpus()
    for dtype in FORMATS
    if gpu.supports(dtype) and gpu.generation.tiles_known
    if Calibration.load().lookup(gpu, kernel_of(gpu.id, dtype)).correction is not None
]
CLOCKS = ("burst", "sustained")


def times(
    gpu: str, dtype: DType, m: float, n: Floats, k: Floats, *, correction: bool = True, clock: str = "burst"
) -> Floats:
    spec = load_gpu(gpu)
    dims = {"m": np.full(n.shape, m), "n": n, "k": k, "reuse_bytes": np.array(np.inf)}
    execution = replace(BURST, correction=correction, clock=clock)
    return CostModel(spec).route_cost(gemm_route(spec, dtype, dims, weights=True), execution).latency_s


def test_there_are_corrections_to_hold() -> None:
    assert {("l40s", DType.BF16), ("h100-sxm", DType.BF16), ("b200-sxm", DType.FP8), ("t4", DType.FP32)} <= set(
        CORRECTED
    )


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(CORRECTED),
    st.sampled_from(CLOCKS),
    st.integers(1, 16384),
    st.integers(1, 1500),
    st.integers(1, 1500),
    st.data(),
)
def test_a_wider_product_is_faster_by_the_mechanism_alone(
    case: tuple[str, DType], clock: str, m: int, n32: int, k32: int, data: st.DataObject
) -> None:
    """For all pairs of widths: what the correction lets a time fall is less than the width grows, to the ``LEASH``."""
    wider = [data.draw(st.integers(side, 4 * side), label="wider") for side in (n32, k32)]
    n, k = np.array([n32, wider[0]]) * 32.0, np.array([k32, wider[1]]) * 32.0
    (before, after), (plain_before, plain_after) = (
        times(*case, m, n, k, correction=c, clock=clock) for c in (True, False)
    )
    allowed = (n[1] / n[0] * k[1] / k[0]) ** -LEASH * min(1.0, plain_after / plain_before)
    assert after / before >= allowed * (1 - 1e-9)


@pytest.mark.parametrize(("gpu", "dtype"), CORRECTED, ids=str)
def test_at_the_widths_that_tables_have_no_time_falls_where_the_mechanisms_does_not(gpu: str, dtype: DType) -> None:
    """On every GPU, whoever's coefficients it has and whatever its clock: the mechanism's time at that clock."""
    sides = WIDTHS[4:-2]
    n, k = (grid.ravel() for grid in np.meshgrid(sides, sides, indexing="ij"))
    for m, clock in itertools.product((16, 700, 8192), CLOCKS):
        found, plain = (
            np.log(times(gpu, dtype, m, n, k, correction=c, clock=clock)).reshape(sides.size, -1) for c in (True, False)
        )
        for axis in (0, 1):
            falls = np.diff(found, axis=axis)
            assert np.all(falls >= np.minimum(np.diff(plain, axis=axis), 0.0) - 1e-9), (m, clock)


@pytest.mark.parametrize(("gpu", "dtype"), [("l40s", DType.BF16), ("b200-sxm", DType.BF16), ("h100-sxm", DType.FP8)])
def test_steps_of_a_feed_forward_do_not_make_it_faster(gpu: str, dtype: DType) -> None:
    """Both products of decoder-1b's, in steps of 64: they were up to 9 % faster in two steps of five on an L40S."""
    width = np.arange(2048, 12288, 64.0)
    hidden = np.full(width.shape, 2048.0)
    for m in (512, 2048, 8192):
        both = times(gpu, dtype, m, 2 * width, hidden) + times(gpu, dtype, m, hidden, width)
        assert np.diff(np.log(both)).min() > -0.002
        assert np.mean(np.diff(both) < 0) < 0.05


# ---------------------------------------------------------------- the lattice alone


def held(log_factor: Floats, n: Floats, k: Floats, rise: float = 1.0) -> Floats:
    """A made-up factor of n alone on the leash, under a mechanism whose time grows as (n · k)^rise."""
    return leashed(
        {"m": np.array(8.0), "n": n, "k": k},
        n.shape,
        lambda d: (
            np.interp(np.log(d["n"]), np.log(WIDTHS), log_factor) + 0.0 * d["k"],
            rise * np.log(d["n"] * d["k"]),
        ),
    )


def test_what_is_on_the_leash_is_left_alone() -> None:
    rising, gentle = np.linspace(-0.3, 0.4, WIDTHS.size), -0.2 * np.log(WIDTHS)
    for wanted in (rising, gentle):
        np.testing.assert_allclose(held(wanted, WIDTHS, np.full(WIDTHS.shape, 640.0)), wanted, atol=1e-12)


def test_a_cliff_becomes_a_slope_around_its_middle() -> None:
    cliff = np.where(WIDTHS < 2048, 0.2, -0.2)
    found = held(cliff, WIDTHS, np.full(WIDTHS.shape, 4096.0))
    slopes = np.diff(found) / np.diff(np.log(WIDTHS))
    assert slopes.min() == pytest.approx(-LEASH)
    assert found[0] == pytest.approx(0.2)
    assert found[-1] == pytest.approx(-0.2)
    middle = np.interp(np.log(2048), np.log(WIDTHS), found)
    assert abs(middle) < 0.1


def test_under_a_flat_mechanism_the_factor_does_not_fall() -> None:
    cliff = np.where(WIDTHS < 2048, 0.2, -0.2)
    found = held(cliff, WIDTHS, np.full(WIDTHS.shape, 4096.0), rise=0.0)
    np.testing.assert_allclose(found, 0.0, atol=1e-12)


def test_a_shape_has_one_answer_alone_and_among_others() -> None:
    n, k = np.array([96.0, 4352, 70000, 33]), np.array([11008.0, 50, 32, 65536])
    for m in (1.0, 4096.0):
        together = times("h100-sxm", DType.BF16, m, n, k)
        alone = [times("h100-sxm", DType.BF16, m, n[i : i + 1], k[i : i + 1])[0] for i in range(n.size)]
        np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_remembered_lattices_are_those_that_learning_gives() -> None:
    """To the last bit, whatever was asked for before; and another owner's are not taken for them."""
    asked: list[int] = []

    def learned(d: Dims, scale: float = 1.0) -> tuple[Floats, Floats]:
        asked.append(np.broadcast_shapes(*(np.shape(v) for v in d.values()))[0])
        sizes = np.log(d["n"] * d["k"]) + 0.0 * d["m"]
        return scale * np.sin(3 * sizes) * np.log(d["m"]) / 9, sizes

    rng = np.random.default_rng(3)
    memory = Lattices()
    lattice = WIDTHS.size**2
    for m in ((8, 8, 64), (64, 8, 512), (512,)):
        dims = {name: rng.integers(32, 9000, len(m)).astype(float) for name in "nk"} | {"m": np.array(m, float)}
        wanted = leashed(dims, (len(m),), learned)
        asked.clear()
        assert (leashed(dims, (len(m),), learned, partial(memory.of, "own")) == wanted).all()
        fresh = {(8, 8, 64): 2, (64, 8, 512): 1, (512,): 0}[m]
        assert sum(asked) == fresh * lattice
    theirs = partial(learned, scale=2.0)
    dims = {"m": np.array([512.0]), "n": np.array([100.0]), "k": np.array([900.0])}
    assert leashed(dims, (1,), theirs, partial(memory.of, "theirs")) == leashed(dims, (1,), theirs)
