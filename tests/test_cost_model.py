"""The cost model as a whole: whose coefficients answer, what a sum is, grids against single shapes, CSV conventions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from archsearch.bench.measurements import route_rows
from archsearch.bench.validate import predict_frame
from archsearch.cost import Calibration, CostModel, Provenance
from archsearch.cost.execution import BURST
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware import list_gpus, load_gpu
from archsearch.models.registry.families import load_preset
from archsearch.ops import Attention, Convolution, FusedGroup, MatMul, MemoryOp
from archsearch.workload import Workload


@pytest.mark.parametrize(
    ("gpu", "kernel", "provenance"),
    [
        ("h100-sxm", "gemm/16bit", Provenance.CALIBRATED),
        ("h200-sxm", "gemm/16bit", Provenance.CALIBRATED),
        ("gh200", "gemm/16bit", Provenance.TRANSFERRED),
        ("l4", "gemm/16bit", Provenance.TRANSFERRED),
        ("rtx-3090", "gemm/16bit", Provenance.ANALYTIC),
        ("h100-sxm", "memory/norm", Provenance.TRANSFERRED),
        ("l40s", "memory/norm", Provenance.ANALYTIC),
        ("mi300x", "gemm/16bit", Provenance.ANALYTIC),
        ("h100-sxm", "gemm/tf32", Provenance.ANALYTIC),
    ],
)
def test_answers_say_whose_coefficients_they_rest_on(gpu, kernel, provenance):
    assert Calibration.load().lookup(load_gpu(gpu), kernel).provenance is provenance


def test_every_gpu_costs_every_preset_family_in_a_format_it_has():
    configs = [load_preset(name) for name in ("gpt2", "modernbert-base", "dit-s-8")]
    for gpu in list_gpus():
        dtype = next(d for d in (DType.BF16, DType.FP16, DType.FP32) if gpu.supports(d))
        for config in configs:
            work = Workload(seq_len=128, height=256, width=256, dtype=dtype)
            answer = CostModel(gpu).estimate(config.lower(work))
            assert 0 < answer.low_s <= answer.latency_s <= answer.high_s < np.inf


def test_a_sum_is_known_no_better_than_its_least_known_part():
    order = [Provenance.CALIBRATED, Provenance.ANALYTIC, Provenance.TRANSFERRED]
    assert Provenance.worst(order) is Provenance.ANALYTIC


def test_open_grid_equals_its_architectures_one_by_one():
    model = CostModel(load_gpu("l40s"))
    widths, depths = np.array([[512], [1000], [2048]]), np.array([[4, 7, 12, 33]])

    def ops(width, depth):
        return [
            MatMul(name="a", m=777, n=width, k=width, dtype=DType.BF16, count=depth),
            Attention(name="b", batch=2, heads_q=8, heads_kv=8, seq_q=512, seq_kv=512, head_dim=64, dtype=DType.BF16),
            MemoryOp(name="c", kind="gelu", rows=777, cols=width, dtype=DType.BF16, count=depth),
        ]

    grid = model.estimate(ops(widths, depths))
    assert grid.latency_s.shape == (3, 4)
    assert grid.breakdown[0].cost.latency_s.shape == (3, 1)  # costed once per width, not once per architecture
    for i, width in enumerate(widths[:, 0]):
        for j, depth in enumerate(depths[0]):
            alone = model.estimate(ops(int(width), int(depth)))
            assert float(alone.latency_s) == pytest.approx(grid.latency_s[i, j], rel=1e-12)


def test_large_grids_are_costed_in_chunks_alike():
    model = CostModel(load_gpu("a100-sxm-80gb"))
    n = np.arange(64, 64 + 20_000)
    whole = model.estimate([MatMul(name="a", m=512, n=n, k=1024, dtype=DType.BF16)]).latency_s
    part = model.estimate([MatMul(name="a", m=512, n=n[9000:9100], k=1024, dtype=DType.BF16)]).latency_s
    np.testing.assert_allclose(whole[9000:9100], part, rtol=1e-14)


def test_compiled_execution_is_never_slower_on_a_fused_chain():
    dims = {"rows": 8192, "cols": 4096, "dtype": DType.BF16}
    members = (
        MemoryOp(name="add", kind="add", reads=2.0, **dims),
        MemoryOp(name="norm", kind="layernorm", **dims),
    )
    group = FusedGroup(name="g", kind="layernorm", members=members, reads=2.0, writes=2.0, **dims)
    model = CostModel(load_gpu("h100-sxm"))
    eager, compiled = (float(model.estimate([group], replace(BURST, compiled=c)).latency_s) for c in (False, True))
    assert compiled < eager


def test_compiled_norms_cost_alike_alone_in_a_group_and_in_a_grid():
    """Short rows (a head's 128 elements) cost their bytes, and so faster than the eager kernel of a block a row."""
    model = CostModel(load_gpu("h100-sxm"))

    def norm(cols):
        return MemoryOp(name="norm", kind="rmsnorm", rows=98304, cols=cols, dtype=DType.BF16)

    def group(cols):
        dims = {"rows": 98304, "cols": cols, "dtype": DType.BF16, "reads": 1.0, "writes": 1.0}
        return FusedGroup(name="g", kind="rmsnorm", members=(norm(cols),), **dims)

    widths = np.array([128, 1024, 2048])
    grids = [model.estimate([op(widths)], replace(BURST, compiled=True)) for op in (norm, group)]
    for index, cols in enumerate(map(int, widths)):
        alone = model.estimate([norm(cols)], replace(BURST, compiled=True))
        for grid in grids:
            for name in ("latency_s", "low_s", "high_s"):
                assert getattr(grid, name)[index] == pytest.approx(float(getattr(alone, name)))
    eager = model.estimate([norm(widths)], replace(BURST, compiled=False))
    assert grids[0].latency_s[0] < eager.latency_s[0] / 2
    assert grids[0].latency_s[2] == eager.latency_s[2]


def test_unfused_attention_is_its_two_products_and_the_kernels_between():
    op = Attention(
        name="x", batch=2, heads_q=4, heads_kv=4, seq_q=256, seq_kv=256, head_dim=64, dtype=DType.FP16, causal=True
    )
    model = CostModel(load_gpu("t4"))
    answer = model.estimate([op], replace(BURST, attention="eager"))
    assert int(answer.breakdown[0].cost.kernels) == 5  # product, scale, mask, softmax, product
    assert float(answer.flops) == 4 * 2 * 4 * 256 * 256 * 64
    with pytest.raises(UnsupportedError, match=r"flash.*t4"):
        model.estimate([op], replace(BURST, attention="flash"))


def convolution(channels: int = 256, side: int = 512, **changes: object) -> Convolution:
    """A 3 · 3 convolution of one image."""
    sizes = {"in_channels": channels, "out_channels": channels, "out_size": (side, side), "kernel_size": (3, 3)}
    return Convolution(**{"name": "c", "batch": 1, "dtype": DType.BF16, **sizes, **changes})


def test_a_patch_embedding_is_a_matrix_product():
    conv = convolution(
        channels=128, in_channels=8, batch=2, kernel_size=(2, 2), stride=(2, 2), out_size=(16, 16), bias=False
    )
    model = CostModel(load_gpu("a100-sxm-80gb"))
    gemm = MatMul(name="p", m=2 * 256, n=128, k=32, dtype=DType.BF16)
    theirs, ours = (model.estimate([op], replace(BURST, compiled=True)) for op in (gemm, conv))
    assert float(ours.latency_s) == float(theirs.latency_s)
    assert ours.provenance is theirs.provenance


def test_a_convolution_reads_its_input_from_dram_about_once():
    """Nine windows overlap at every position: the implicit product's operand is nine times the input."""
    model, conv = CostModel(load_gpu("a100-sxm-80gb")), convolution()
    item = model.estimate([conv], replace(BURST, compiled=True)).breakdown[0]
    assert float(item.flops) == 2 * 512**2 * 256 * 256 * 9
    assert float(item.memory_bytes) == conv.memory_bytes() == 2 * (2 * 512**2 * 256 + 9 * 256**2)
    moved = float(item.cost.details["dram_bytes"])
    assert conv.memory_bytes() * 0.5 < moved < conv.memory_bytes() * 1.5
    product = model.estimate([conv.as_matmul()], replace(BURST, compiled=True)).breakdown[0]
    assert float(product.cost.details["dram_bytes"]) > 2 * moved
    assert item.cost.provenance is Provenance.ANALYTIC


def test_eager_convolutions_change_layouts_and_add_the_bias_apart():
    model = CostModel(load_gpu("h100-sxm"))
    first, last = convolution(), convolution(channels_last=True)
    kernels = [int(model.estimate([op]).breakdown[0].cost.kernels) for op in (first, last)]
    assert kernels == [5, 3]
    assert int(model.estimate([first], replace(BURST, compiled=True)).breakdown[0].cost.kernels) == 1
    assert float(model.estimate([first]).latency_s) > float(model.estimate([last]).latency_s)
    assert "tile_m" in model.estimate([first]).breakdown[0].cost.details


def test_32_bit_convolutions_run_in_tf32_where_there_is_any():
    tf32, fp32 = convolution(dtype=DType.TF32), convolution(dtype=DType.FP32)
    a100, v100 = CostModel(load_gpu("a100-sxm-80gb")), CostModel(load_gpu("v100-sxm-32gb"))
    assert float(a100.estimate([fp32]).latency_s) == float(a100.estimate([tf32]).latency_s)
    assert int(v100.estimate([fp32]).breakdown[0].cost.kernels) == 2  # no layout to change for plain lanes


def test_few_channels_are_padded_to_whole_vectors():
    model = CostModel(load_gpu("h100-sxm"))
    few, padded = (
        model.estimate([convolution(in_channels=c)], replace(BURST, compiled=True)).latency_s for c in (3, 8)
    )
    assert float(few) == float(padded)


def test_depthwise_convolutions_are_bound_by_traffic_or_lanes():
    gpu = load_gpu("h100-sxm")
    model = CostModel(gpu)
    small, large = (
        float(model.estimate([convolution(groups=256, kernel_size=(k, k), bias=False)]).latency_s) for k in (3, 7)
    )
    assert small > 2 * 512**2 * 256 * 2 / gpu.bandwidth_bytes_s
    assert 2 < large / small < 49 / 9


def test_group_norm_is_as_slow_as_few_groups_make_it():
    """Group norm and SiLU of 1 · 128 · 20 · 256 · 256 in 32 groups take 4.71 ms on an H200, 13.71 ms for 1 · 512 · 16 ·
    180 · 320 and 0.45 ms for 1 · 512 · 8 · 45 · 80 on an H100 (sgl-project/sglang pull requests 23938 and 26045)."""
    for gpu, elements, measured in (
        ("h200-sxm", 128 * 20 * 256 * 256, 4.71e-3),
        ("h100-sxm", 512 * 16 * 180 * 320, 13.71e-3),
        ("h100-sxm", 512 * 8 * 45 * 80, 0.452e-3),
    ):
        ops = [
            MemoryOp(name=kind, kind=kind, rows=32, cols=elements // 32, dtype=DType.BF16)
            for kind in ("groupnorm", "silu")
        ]
        assert float(CostModel(load_gpu(gpu)).estimate(ops).latency_s) == pytest.approx(measured, rel=0.1)


def test_formats_without_units_are_refused_with_the_legal_ones():
    with pytest.raises(UnsupportedError, match=r"8\.9.*bf16"):
        CostModel(load_gpu("a100-sxm-80gb")).estimate([MatMul(name="a", m=8, n=8, k=8, dtype=DType.FP8)])


def test_bmm_rows_sum_over_n_unless_the_row_says_otherwise():
    base = {"gpu": "a100-pcie-40gb", "op": "bmm", "dtype": "fp32", "batch": 3, "m": 100, "n": 200, "k": 300}
    frame = pd.DataFrame([base, {**base, "inner": "k"}]).assign(inner=["n", "k"])
    dims = next(iter(route_rows(frame))).route.dims
    assert dims["k"].tolist() == [200, 300]
    assert dims["n"].tolist() == [300, 200]


@pytest.mark.parametrize(
    ("file", "op", "limit"),
    [("gemm_tensor_core.csv", "linear", 6.5), ("attention.csv", "attention", 6.0), ("gemm_fp32.csv", "bmm", 10.0)],
)
def test_errors_on_rows_that_were_not_fitted(measurements, file, op, limit):
    """The shipped calibration predicts held-out rows within the documented error, in the right order."""
    frame = pd.read_csv(measurements / file)
    rows = frame[(frame["split"] == "test") & (frame["op"] == op)].reset_index(drop=True)
    predicted = predict_frame(rows)
    error = (predicted["predicted_us"] / predicted["latency_us"] - 1).abs().mean() * 100
    assert error < limit
    assert predicted["predicted_us"].corr(predicted["latency_us"], method="spearman") > 0.99
    inside = predicted["latency_us"].between(predicted["low_us"], predicted["high_us"]).mean()
    assert 0.7 < inside < 0.9


@pytest.mark.parametrize(
    ("gpu", "issue", "published"),
    [
        ("l20", 107, {2048: 103.97, 4096: 111.82, 8192: 114.14}),
        ("rtx-4090", 78, {2048: 164.81, 4096: 151.50, 8192: 160.17}),
        ("l4", 120, {2048: 70.89, 8192: 59.40}),
    ],
)
def test_square_products_of_unmeasured_boards_as_published(gpu, issue, published):
    """TFLOP/s in bf16, https://github.com/zzc0721/torch-performance-test-data/issues; no fit saw them. Left out: 1024
    (20 % too slow) and the L4 at 4096 (25 % too fast: published is less than at twice the size)."""
    model = CostModel(load_gpu(gpu))
    for size, rate in published.items():
        op = MatMul(name="a", m=size, n=size, k=size, dtype=DType.BF16)
        assert op.flops() / float(model.estimate([op]).latency_s) == pytest.approx(rate * 1e12, rel=0.1), issue


@pytest.mark.parametrize(
    ("gpu", "relieved"), [("l40s", False), ("l20", True), ("rtx-4090", True), ("l4", False), ("rtx-6000-ada", False)]
)
def test_the_power_limit_of_a_measured_board_is_not_that_of_one_with_far_more_power(gpu, relieved):
    """Watts for each TFLOP/s: L40S 0.97, RTX 6000 Ada 0.82, L4 0.60; L20 2.3, RTX 4090 2.7."""
    calibration = Calibration.load()
    known, own = (calibration.lookup(load_gpu(name), "gemm/16bit") for name in (gpu, "l40s"))
    assert (known.fit.coefficients["throttle_fraction"] == 0.0) is relieved
    assert (known.correction is None) is relieved
    rest = [{k: v for k, v in k_.fit.coefficients.items() if k != "throttle_fraction"} for k_ in (known, own)]
    assert rest[0] == rest[1]
