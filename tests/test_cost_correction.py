"""The learned correction: its leash, its file, its switch; training recovers a known pattern."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.bench.correction_fit import FOLDS, folds_of, train
from archsearch.cost.calibration import Calibration
from archsearch.cost.correction import FEATURES, Correction, corrected, gemm_features, read_corrections
from archsearch.cost.execution import BURST
from archsearch.cost.model import CostModel
from archsearch.cost.routes import gemm_route
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError
from archsearch.hardware import load_gpu

CASES = (
    ("h100-sxm", DType.BF16),
    ("b200-sxm", DType.FP8),
    ("a100-sxm-80gb", DType.FP16),
    ("v100-pcie-32gb", DType.FP32),
)
SIZES = st.integers(1, 60_000)


def constant(log_factor: float, limit: float = 0.3) -> Correction:
    """A correction of one network that always answers the same."""
    f = len(FEATURES)
    zeros, h = np.zeros(f), 2
    return Correction(
        zeros - 50, zeros + 50, zeros, zeros + 1, np.zeros((1, f, h)), np.zeros((1, h)), np.zeros((1, h, h)),
        np.zeros((1, h)), np.zeros((1, h)), np.array([log_factor]), limit,
    )  # fmt: skip


def predict(gpu: str, dtype: DType, correction: bool = True, **dims: object):
    columns = {k: np.atleast_1d(np.asarray(v, dtype=float)) for k, v in dims.items()}
    spec = load_gpu(gpu)
    return CostModel(spec).route_cost(
        gemm_route(spec, dtype, columns, weights=True), replace(BURST, correction=correction)
    )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CASES), SIZES, SIZES, SIZES)
def test_stays_within_its_limit_and_above_the_roofline(case, m, n, k):
    gpu, dtype = case
    spec = load_gpu(gpu)
    with_it, alone = predict(gpu, dtype, m=m, n=n, k=k), predict(gpu, dtype, correction=False, m=m, n=n, k=k)
    limit = Calibration.load().lookup(spec, gemm_route(spec, dtype, {}, weights=True).kernel).correction.limit
    ratio = float(with_it.latency_s[0] / alone.latency_s[0])
    assert np.exp(-limit) * (1 - 1e-9) <= ratio <= np.exp(limit) * (1 + 1e-9)
    assert with_it.latency_s[0] >= 2.0 * m * n * k / spec.peak_flops(dtype)
    assert with_it.details["correction"][0] == pytest.approx(ratio)
    assert "correction" not in alone.details


def test_a_factor_below_the_roofline_is_cut_there():
    gpu = load_gpu("h100-sxm")
    dims = {c: np.array([8192.0]) for c in "mnk"}
    route = gemm_route(gpu, DType.BF16, dims, weights=True)
    values = Calibration.load().lookup(gpu, route.kernel).fit.coefficients

    def mechanism(shapes):
        return route.model.predict(gpu, DType.BF16, shapes, values)

    found = corrected(gpu, DType.BF16, route.dims, mechanism, constant(-5.0, limit=5.0)).latency_s[0]
    assert found == pytest.approx(2 * 8192**3 / gpu.peak_flops(DType.BF16))


def test_limit_bounds_what_the_networks_say():
    features = np.zeros((3, len(FEATURES)))
    assert constant(0.1).log_factor(features) == pytest.approx([0.1] * 3)
    assert constant(0.9).log_factor(features) == pytest.approx([0.3] * 3)
    assert constant(-0.9).log_factor(features) == pytest.approx([-0.3] * 3)


def test_beyond_the_training_range_the_answer_is_the_edge():
    spec = load_gpu("h100-sxm")
    correction = Calibration.load().lookup(spec, "gemm/16bit").correction
    edge, beyond = correction.high.copy(), correction.high + 10
    assert correction.log_factor(beyond[None]) == pytest.approx(correction.log_factor(edge[None]))


def test_a_misaligned_product_takes_the_factor_of_its_aligned_neighbour():
    aligned = predict("a100-sxm-80gb", DType.BF16, m=512, n=4096, k=1056).details["correction"][0]
    odd = predict("a100-sxm-80gb", DType.BF16, m=512, n=4095, k=1025).details["correction"][0]
    assert odd == pytest.approx(aligned, rel=1e-12)
    assert predict("a100-sxm-80gb", DType.BF16, m=512, n=4096, k=1024).details["correction"][0] != aligned


def test_features_are_finite_from_one_to_the_largest_product():
    sizes = np.array([1.0, 7, 128, 1 << 20])
    m, n, k = (a.ravel() for a in np.meshgrid(sizes, sizes, sizes))
    gpu = load_gpu("t4")
    route = gemm_route(gpu, DType.FP32, {"m": m, "n": n, "k": k, "batch": np.ones_like(m)}, weights=False)
    values = Calibration.load().lookup(gpu, route.kernel).fit.coefficients
    time = route.model.predict(gpu, DType.FP32, route.dims, values)
    features = gemm_features(gpu, DType.FP32, route.dims, time)
    assert features.shape == (m.size, len(FEATURES))
    assert np.isfinite(features).all()


def left_out(alone, features, fold):
    """Each row by the network that its part was left out of."""
    return np.stack([network.log_factor(features) for network in alone])[fold, np.arange(len(fold))]


def test_training_finds_a_pattern_and_judges_it_on_rows_left_out():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1200, len(FEATURES)))
    pattern = 0.2 * np.tanh(features[:, 0] - features[:, 3])
    residual = pattern + 0.01 * rng.normal(size=1200)
    fold = folds_of([str(i // 3) for i in range(1200)])
    assert set(fold) == set(range(FOLDS))
    assert (fold[0::3] == fold[1::3]).all()
    correction, alone = train(features, residual, fold)
    assert np.abs(residual - left_out(alone, features, fold)).mean() < 0.35 * np.abs(residual).mean()
    fresh = rng.normal(size=(500, len(FEATURES)))
    error = correction.log_factor(fresh) - 0.2 * np.tanh(fresh[:, 0] - fresh[:, 3])
    assert np.abs(error).mean() < 0.03


def test_training_is_repeatable_and_finds_nothing_in_noise():
    rng = np.random.default_rng(1)
    features, noise = rng.normal(size=(400, len(FEATURES))), 0.05 * rng.normal(size=400)
    fold = folds_of(map(str, range(400)))
    first, alone = train(features, noise, fold)
    again, _ = train(features, noise, fold)
    np.testing.assert_array_equal(first.w2, again.w2)
    assert np.abs(noise - left_out(alone, features, fold)).mean() > 0.9 * np.abs(noise).mean()


def test_file_round_trip_and_refusals(tmp_path):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({"kernels": {"gemm/16bit": constant(0.125).to_json()}}))
    read = read_corrections(path)["gemm/16bit"]
    assert read.log_factor(np.ones((1, len(FEATURES)))) == pytest.approx([0.125])
    assert read_corrections(tmp_path / "none.json") == {}
    for name, text in (("a", "{"), ("b", '{"kernels": {"gemm/16bit": {"features": ["m"]}}}'), ("c", "[]")):
        bad = tmp_path / f"{name}.json"
        bad.write_text(text)
        with pytest.raises(InvalidInputError, match=rf"{name}\.json:1: .*not (a correction|valid JSON)"):
            read_corrections(bad)


def test_a_sibling_inherits_the_correction_and_another_generation_does_not():
    calibration = Calibration.load()
    assert calibration.lookup(load_gpu("gh200"), "gemm/16bit").correction is not None
    assert calibration.lookup(load_gpu("rtx-3090"), "gemm/16bit").correction is None
    assert calibration.lookup(load_gpu("mi300x"), "gemm/16bit").correction is None
