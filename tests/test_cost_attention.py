"""Fused attention: key blocks against brute force, hand-worked items and waves, invariants, legality, routes."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.cost import CostModel
from archsearch.cost.execution import Execution
from archsearch.cost.kernels.attention import AttentionModel
from archsearch.cost.kernels.attention_tiles import PAGED, VARIANTS, floor_sum, key_blocks, tiling
from archsearch.cost.routes import attention_routes, fused_attention_reason
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.database import load_gpu
from archsearch.ops import Attention

GPU_OF = {
    "fa2": "l40s",
    "fa3": "h100-sxm",
    "fa4": "b200-sxm",
    "trt": "b200-sxm",
    "eff": "v100-sxm-32gb",
    "tor": "h200-sxm",
}
NAMES = ("batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim", "causal", "window")


def dims_of(*rows: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Rows of (batch, heads_q, heads_kv, seq_q, seq_kv, head_dim, causal, window) as columns."""
    columns = np.array(rows, dtype=np.float64).T
    return dict(zip(NAMES, columns, strict=True))


def start_values(model: AttentionModel) -> dict[str, float]:
    return {c.name: c.start for c in model.coefficients}


def gpu_of(variant: str):
    return load_gpu(GPU_OF[variant[:3]])


def latency(variant: str, *rows: tuple[int, ...], gpu=None, **changes: float) -> np.ndarray:
    model = AttentionModel(variant)
    dtype = DType.FP16
    values = {**start_values(model), **changes}
    return model.predict(gpu or gpu_of(variant), dtype, dims_of(*rows), values).latency_s


@given(
    n=st.integers(0, 60),
    m=st.integers(1, 4000),
    a=st.integers(0, 4000),
    b=st.integers(0, 9000),
    extra=st.integers(0, 9),
)
def test_floor_sum_is_the_sum(n: int, m: int, a: int, b: int, extra: int) -> None:
    counts, expected = np.array([n, extra]), [sum((a * i + b) // m for i in range(k)) for k in (n, extra)]
    assert floor_sum(counts, np.array(m), np.array(a), np.array(b)).tolist() == expected


def brute_force_blocks(cut: SimpleNamespace, seq_q: int, seq_kv: int, causal: bool, window: int) -> list[int]:
    """Key blocks between the first and the last key that any row of each query block sees."""
    queries, keys = np.arange(seq_q)[:, None] + (seq_kv - seq_q), np.arange(seq_kv)[None, :]
    seen = np.ones((seq_q, seq_kv), dtype=bool)
    if causal:
        seen &= keys <= queries
    if window:
        left = window - 1 if causal else window // 2
        seen &= keys >= queries - left
        seen &= keys <= queries + (0 if causal else window // 2)
    rows = np.repeat(seen, cut.per_query, axis=0)
    counts = []
    for start in range(0, len(rows), cut.tile_q):
        columns = np.flatnonzero(rows[start : start + cut.tile_q].any(axis=0))
        counts.append(0 if not columns.size else columns[-1] // cut.tile_kv - columns[0] // cut.tile_kv + 1)
    return counts


@settings(max_examples=300, deadline=None)
@given(
    tile_q=st.sampled_from([1, 16, 48, 64, 128, 192]),
    tile_kv=st.sampled_from([1, 32, 80, 112, 128, 144, 176]),
    per_query=st.sampled_from([1, 2, 3, 5, 8]),
    seq_q=st.integers(1, 260),
    more=st.integers(0, 200),
    causal=st.booleans(),
    window=st.sampled_from([0, 0, 1, 2, 33, 64, 150, 1000]),
)
def test_key_blocks_against_brute_force(
    tile_q: int, tile_kv: int, per_query: int, seq_q: int, more: int, causal: bool, window: int
) -> None:
    cut = SimpleNamespace(tile_q=tile_q, tile_kv=tile_kv, per_query=per_query)
    expected = brute_force_blocks(cut, seq_q, seq_q + more, causal, window)
    arrays = SimpleNamespace(
        **{k: np.array([float(v)]) for k, v in vars(cut).items()}, rows=np.array([seq_q * per_query])
    )
    dims = dims_of((1, per_query, 1, seq_q, seq_q + more, 64, int(causal), window))
    total, most = key_blocks(arrays, dims)
    assert total[0] == sum(expected)
    assert most[0] >= max(expected)
    if not window:
        assert most[0] == max(expected)


def test_queries_before_the_first_key_visit_nothing() -> None:
    cut = SimpleNamespace(tile_q=np.array([64.0]), tile_kv=np.array([64.0]), per_query=np.ones(1), rows=np.array([512]))
    total, _ = key_blocks(cut, dims_of((1, 1, 1, 512, 128, 64, 1, 0)))
    # the last 128 queries are two blocks: one key block, then two
    assert total.tolist() == [3.0]


def test_causal_blocks_by_hand() -> None:
    """64-row blocks of 256 queries against 128-row key blocks: 1 + 1 + 2 + 2."""
    cut = tiling("fa2-causal", load_gpu("a100-sxm-80gb"), dims_of((1, 1, 1, 256, 256, 128, 1, 0)))
    assert (cut.tile_q[0], cut.tile_kv[0], cut.occupancy[0]) == (64, 128, 2)
    total, most = key_blocks(cut, dims_of((1, 1, 1, 256, 256, 128, 1, 0)))
    assert (total[0], most[0]) == (6, 2)


@pytest.mark.parametrize(
    ("variant", "gpu", "head_dim", "expected"),
    [
        ("fa2-full", "a100-sxm-80gb", 64, (128, 128, 64)),
        ("fa2-full", "a100-sxm-80gb", 72, (128, 64, 96)),
        ("fa2-full", "a100-sxm-80gb", 128, (128, 64, 128)),
        ("fa2-full", "l40s", 128, (128, 32, 128)),
        ("fa2-causal", "l40s", 64, (64, 256, 64)),
        ("fa2-causal", "l40s", 256, (64, 64, 256)),
        ("fa3-full", "h100-sxm", 64, (192, 192, 64)),
        ("fa3-full", "h100-sxm", 80, (192, 144, 96)),
        ("fa3-full", "h100-sxm", 128, (128, 176, 128)),
        ("fa3-causal", "h100-sxm", 256, (128, 80, 256)),
        ("fa4-full", "b200-sxm", 72, (256, 128, 80)),
    ],
)
def test_published_block_sizes(variant: str, gpu: str, head_dim: int, expected: tuple[int, int, int]) -> None:
    cut = tiling(variant, load_gpu(gpu), dims_of((1, 8, 8, 4096, 4096, head_dim, 0, 0)))
    assert (cut.tile_q[0], cut.tile_kv[0], cut.dim[0]) == expected


def test_waves_by_hand() -> None:
    """L40S: 142 SMs hold two blocks of 48 KiB each of 100 KiB, hence 284 slots."""
    model = AttentionModel("fa2-full")
    dims = dims_of((2, 16, 16, 1000, 1000, 64, 0, 0), (2, 16, 16, 1200, 1200, 64, 0, 0))
    details = model.predict(load_gpu("l40s"), DType.BF16, dims, start_values(model)).details
    # 2 · 16 · ⌈1000 / 128⌉ = 256 items; 2 · 16 · ⌈1200 / 128⌉ = 320
    assert details["waves"].tolist() == [1, 2]
    assert details["wave_efficiency"] == pytest.approx([256 / 284, 320 / 568])
    assert details["tile_m"].tolist() == [128, 128]


def test_one_item_by_hand() -> None:
    """One query block against three key blocks: products and softmax one after the other, each step's latency shown."""
    gpu = load_gpu("l40s")
    clock = gpu.boost_clock_mhz * 1e6
    measured = latency(
        "fa2-full",
        (1, 1, 1, 128, 384, 64, 0, 0),
        rate_fraction=0.8,
        softmax_factor=2.0,
        step_cycles=500.0,
        launch_cycles=10_000.0,
        item_s=1e-6,
        row_s=1e-8,
        tail_fraction=0.01,
        throttle_fraction=0.001,
    )[0]
    products = 4 * 128 * 128 * 64 / (0.8 * gpu.peak_flops(DType.FP16) / 142)
    softmax = 2.0 * 128 * 128 / 16 / clock
    expected = 10_000 / clock + 1e-6 + 128 * 1e-8 + 3 * (products + softmax + 500 / clock)
    assert measured == pytest.approx(expected, rel=2e-3)


def test_hopper_splits_the_keys_of_few_long_sequences() -> None:
    h100 = load_gpu("h100-sxm")
    dims = dims_of((1, 1, 1, 2048, 2048, 128, 0, 0), (8, 32, 32, 2048, 2048, 128, 0, 0), (1, 1, 1, 512, 512, 128, 0, 0))
    split = tiling("fa3-full", h100, dims).split
    # 16 query blocks of 12 key blocks each: ⌈1.1 · 192 / 132⌉ = 2 key blocks per SM, hence 6 splits (8 would fit);
    # a full batch is not split, nor are three key blocks
    assert split.tolist() == [6.0, 1.0, 1.0]


def test_heads_that_share_keys_fill_one_block() -> None:
    cut = tiling("fa3-causal", load_gpu("h100-sxm"), dims_of((4, 32, 8, 100, 100, 128, 1, 0)))
    assert (cut.rows[0], cut.groups[0], cut.per_query[0]) == (400, 32, 4)


def test_training_skips_the_cache_write() -> None:
    model = AttentionModel("fa2-causal")
    dims = dims_of((8, 32, 32, 1024, 1024, 128, 1, 0))
    gpu, values = load_gpu("l40s"), start_values(model)
    served = model.predict(gpu, DType.BF16, dims, values).latency_s
    trained = model.predict(gpu, DType.BF16, {**dims, "cache_write": np.zeros(1)}, values).latency_s
    # at least reading and writing the new keys and values once: 2 · 2 · 8 · 1024 · 32 · 128 · 2 bytes
    assert served[0] - trained[0] > 2 * 2 * 8 * 1024 * 32 * 128 * 2 / gpu.bandwidth_bytes_s


SHAPES = st.tuples(
    st.sampled_from([1, 2, 7, 32]),
    st.sampled_from([(1, 1), (8, 8), (8, 2), (12, 12), (64, 8), (40, 1)]),
    st.integers(1, 5000),
    st.integers(0, 5000),
    st.sampled_from([64, 72, 80, 128, 256]),
)


def row(shape: tuple, causal: bool, window: int = 0, extra: int = 0) -> tuple[int, ...]:
    batch, (heads_q, heads_kv), seq_q, more, head_dim = shape
    return (batch, heads_q, heads_kv, seq_q, seq_q + more + extra, head_dim, int(causal), window)


@pytest.mark.parametrize("variant", ["fa2-causal", "fa2-full", "trtllm-prefill", "efficient"])
@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, extra=st.integers(1, 3000))
def test_more_keys_never_cost_less(variant: str, shape: tuple, extra: int) -> None:
    if variant == "fa2-causal" and shape[2] == 1:
        shape = (*shape[:2], 2, *shape[3:])  # single queries split their keys, which may pay
    causal = variant != "fa2-full"
    few, many = latency(variant, row(shape, causal), row(shape, causal, extra=extra))
    assert many >= few * (1 - 1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, causal=st.booleans())
def test_never_faster_than_the_matrix_units(variant: str, shape: tuple, causal: bool) -> None:
    gpu, one = gpu_of(variant), row(shape, causal)
    op = Attention(name="a", dtype=DType.FP16, **dict(zip(NAMES[:6], one[:6], strict=True)), causal=causal)
    ideal = float(op.executed_flops()) / gpu.peak_flops(DType.FP16)
    assert latency(variant, one, rate_fraction=1.0)[0] >= ideal


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, window=st.integers(1, 4000))
def test_masks_never_cost_time(variant: str, shape: tuple, window: int) -> None:
    full, causal, windowed = latency(variant, row(shape, False), row(shape, True), row(shape, True, window))
    assert causal <= full * (1 + 1e-12)
    assert windowed <= causal * (1 + 1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_arrays_equal_scalars(variant: str) -> None:
    rng = np.random.default_rng(7)
    rows = [
        (int(b), int(kv * g), int(kv), int(q), int(q + more), int(d), int(c), int(w))
        for b, kv, g, q, more, d, c, w in zip(
            rng.integers(1, 64, 40),
            rng.integers(1, 9, 40),
            rng.integers(1, 9, 40),
            rng.integers(1, 5000, 40),
            rng.integers(0, 3000, 40),
            rng.choice([64, 72, 128, 256], 40),
            rng.integers(0, 2, 40),
            rng.choice([0, 0, 512], 40),
            strict=True,
        )
    ]
    together = latency(variant, *rows)
    alone = [latency(variant, one)[0] for one in rows]
    assert together == pytest.approx(alone, rel=1e-12)
    assert np.isfinite(together).all()
    assert (together > 0).all()


def test_coefficients_are_bounded_and_paged_kernels_have_one_more() -> None:
    for variant in VARIANTS:
        model = AttentionModel(variant)
        assert all(0 < c.low < c.start < c.high for c in model.coefficients)
        assert ("cache_wave_cycles" in start_values(model)) == (variant in PAGED)


@pytest.mark.parametrize(
    ("gpu", "dtype", "head_dim", "flash", "sdpa"),
    [
        ("a100-sxm-80gb", DType.BF16, 128, True, True),
        ("l40s", DType.FP16, 72, True, True),
        ("h100-sxm", DType.BF16, 256, True, True),
        ("b200-sxm", DType.BF16, 64, True, True),
        ("a100-sxm-80gb", DType.BF16, 264, False, True),
        ("l40s", DType.BF16, 512, False, True),
        ("a100-sxm-80gb", DType.BF16, 100, False, False),
        ("a100-sxm-80gb", DType.FP32, 64, False, True),
        ("t4", DType.FP16, 64, False, True),
        ("t4", DType.BF16, 64, False, False),
        ("v100-sxm-32gb", DType.FP16, 128, False, True),
        ("v100-sxm-32gb", DType.FP32, 60, False, True),
        ("v100-sxm-32gb", DType.FP32, 62, False, False),
        ("h100-sxm", DType.FP8, 128, False, False),
    ],
)
def test_legality(gpu: str, dtype: DType, head_dim: int, flash: bool, sdpa: bool) -> None:
    spec = load_gpu(gpu)
    assert (fused_attention_reason(spec, dtype, head_dim, flash=True) is None) == flash
    assert (fused_attention_reason(spec, dtype, head_dim, flash=False) is None) == sdpa


def test_reasons_name_the_cause() -> None:
    assert "compute capability 8.0" in str(fused_attention_reason(load_gpu("t4"), DType.FP16, 64, flash=True))
    assert "multiples of 8, not 100" in str(fused_attention_reason(load_gpu("l40s"), DType.BF16, 100, flash=True))
    assert "up to 256, not 264" in str(fused_attention_reason(load_gpu("l40s"), DType.BF16, 264, flash=True))
    with pytest.raises(UnsupportedError, match=r"fused attention on t4: .*bf16"):
        attention_routes(load_gpu("t4"), DType.BF16, dims_of((1, 8, 8, 64, 64, 64, 0, 0)))


@pytest.mark.parametrize(
    ("gpu", "dtype", "expected"),
    [
        ("a100-sxm-80gb", DType.BF16, ["fa2-causal", "fa2-full"]),
        ("rtx-4090", DType.BF16, ["fa2-causal", "fa2-full"]),
        ("rtx-5090", DType.BF16, ["fa2-causal", "fa2-full"]),
        ("h100-sxm", DType.BF16, ["fa3-causal", "fa3-full"]),
        ("b200-sxm", DType.BF16, ["trtllm-prefill", "fa4-full"]),
        ("v100-sxm-32gb", DType.FP16, ["efficient", "efficient"]),
        ("a100-sxm-80gb", DType.FP32, ["efficient", "efficient"]),
    ],
)
def test_routes_without_kernel_names(gpu: str, dtype: DType, expected: list[str]) -> None:
    dims = dims_of((1, 8, 8, 64, 64, 64, 1, 0), (1, 8, 8, 64, 64, 64, 0, 0))
    served = {}
    for index, route in attention_routes(load_gpu(gpu), dtype, dims):
        served.update({int(i): route.kernel for i in index})
        assert all(np.shape(v) == (len(index),) for v in route.dims.values())
    assert [served[0], served[1]] == [f"attention/{name}" for name in expected]


def test_routes_follow_kernel_names() -> None:
    names = ["vllm_flash_attn_fa2", "vllm_vit_flash_attn_fa3", "", "vllm_flashinfer_trtllmdecode"]
    dims = dims_of(*[(1, 8, 8, q, 64, 64, c, 0) for q, c in ((64, 1), (64, 0), (64, 1), (1, 1))])
    served = {}
    for index, route in attention_routes(load_gpu("h100-sxm"), DType.BF16, dims, np.array(names)):
        served.update({int(i): route.kernel for i in index})
    families = ["attention/fa2-causal", "attention/fa3-full", "attention/fa3-causal", "decode/trtllm"]
    assert [served[i] for i in range(4)] == families


def test_large_heads_are_priced_for_their_halves() -> None:
    """head_dim 512 computes its scores twice: three times the products of 256, not twice."""
    narrow, wide = latency(
        "fa4-full", *[(8, 32, 32, 8192, 8192, d, 0, 0) for d in (256, 512)], softmax_factor=0.05, step_cycles=10
    )
    assert wide / narrow == pytest.approx(3.0, rel=0.1)
    assert math.isfinite(wide)


def test_flash_attention_2_on_hopper_as_published() -> None:
    """https://arxiv.org/abs/2407.08608, abstract: FlashAttention-2 reaches 35 % of an H100's peak, FlashAttention-3 is
    1.5 to 2 times as fast; 16 heads of 128 columns and 16,384 tokens, as in its figure 5. No fit saw this."""
    model, tokens = CostModel(load_gpu("h100-sxm")), 16384
    dims = dims_of((1, 16, 16, tokens, tokens, 128, 0, 0))
    second, third = (
        model.route_cost(attention_routes(model.gpu, DType.BF16, dims, kernel)[0][1]) for kernel in ("torch_fa2", "fa3")
    )
    published = 4 * 16 * tokens**2 * 128 / (0.35 * 989.4e12)
    assert second.low_s[0] < published < second.high_s[0]
    assert second.high_s[0] / third.latency_s[0] > 1.5
    assert second.low_s[0] / third.latency_s[0] < 2.0


def test_warp_level_kernels_miss_a_capped_rate_as_they_miss_a_full_one() -> None:
    """An H20 leaves a quarter of GH100's tensor rate. Wan 2.1's attention in FlashAttention-2 (75,600 tokens, 40 heads
    of 128) is most of its published run (6,935.5 s for 50 steps of two passes, https://github.com/Wan-Video/Wan2.1,
    efficiency table), in which it can have had no more than 69.4 s of a pass less the products' at the peak."""
    gpu, layers = load_gpu("h20"), 40
    call = Attention(
        name="attention", batch=1, heads_q=40, heads_kv=40, seq_q=75_600, seq_kv=75_600, head_dim=128, dtype=DType.BF16
    )
    own = layers * float(CostModel(gpu).estimate((call,), Execution(attention="fa2")).latency_s)
    flops = layers * 4 * 75_600**2 * 40 * 128
    assert flops / own < 0.63 * gpu.peak_flops(DType.BF16) * 1.001
    products = (6_523e12 - flops) / gpu.peak_flops(DType.BF16)
    assert 0.8 < own / (6_935.5 / 100 - products) < 1.0
