"""Decode attention: bytes and waves by hand, cuts against FlashAttention's loop, invariants, routes, unseen rows."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.bench.validate import predict_frame, predicted_table, scores_of
from archsearch.cost import Calibration, CostModel
from archsearch.cost.execution import Execution
from archsearch.cost.kernels.decode import CUTS, VARIANTS, DecodeModel, splits
from archsearch.cost.routes import attention_routes
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import load_preset
from archsearch.workload import Phase, Workload

GPU_OF = {"fa2": "l40s", "fa3": "h100-sxm", "fa4": "h100-sxm", "trtllm": "b200-sxm", "flashinfer": "l40s"}
NAMES = ("batch", "heads_q", "heads_kv", "seq_kv", "head_dim", "window", "kv_share")


def dims_of(*rows: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Rows of batch, heads_q, heads_kv, seq_kv, head_dim, and optionally window and kv_share, as columns."""
    full = [(*row, *(0.0, 1.0)[len(row) - 5 :]) for row in rows]
    return dict(zip(NAMES, np.array(full, dtype=np.float64).T, strict=True))


def latency(variant: str, *rows: tuple[float, ...], **changes: float) -> np.ndarray:
    model = DecodeModel(variant)
    values = {**{c.name: c.start for c in model.coefficients}, **changes}
    gpu = load_gpu(GPU_OF.get(variant, "l40s"))
    return model.predict(gpu, DType.BF16, dims_of(*rows), values).latency_s


def test_a_long_cache_costs_its_bytes() -> None:
    """64 sequences of 16,384 keys, 8 heads of 128: 4.3 GB of keys and values at the bandwidth of DRAM."""
    gpu = load_gpu("h100-sxm")
    long, longer = latency("fa3", (64, 32, 8, 16384, 128), (64, 32, 8, 32768, 128), step_s=1e-8)
    cache = 2 * 64 * 8 * 16384 * 128 * 2
    assert longer - long == pytest.approx(cache / (0.85 * gpu.bandwidth_bytes_s), rel=1e-3)
    half = latency("fa3", (64, 32, 8, 32768, 128, 0, 0.5), step_s=1e-8)[0]
    assert half == pytest.approx(long, rel=0.01)


def test_query_heads_of_a_key_head_share_its_keys() -> None:
    """8 query heads over one key head read the cache once: an eighth of what 8 key heads read."""
    shared, own = latency("trtllm", (64, 8, 1, 32768, 128), (64, 8, 8, 32768, 128), step_s=1e-8)
    assert 6.5 < own / shared < 8


def flash_2_splits(groups: int, sms: int, tiles: int, most: int = 128) -> int:
    """``num_splits_heuristic`` of csrc/flash_attn/flash_api.cpp, loop by loop; ``sms`` are two blocks an SM."""
    if groups >= 0.8 * sms:
        return 1
    most = min(most, sms, tiles)
    efficiency, best = [], 0.0

    def eligible(parts: int) -> bool:
        return parts == 1 or math.ceil(tiles / parts) != math.ceil(tiles / (parts - 1))

    for parts in range(1, most + 1):
        waves = groups * parts / sms
        efficiency.append(waves / math.ceil(waves) if eligible(parts) else 0.0)
        best = max(best, efficiency[-1])
    return next(parts for parts in range(1, most + 1) if eligible(parts) and efficiency[parts - 1] >= 0.85 * best)


@given(groups=st.integers(1, 400), tiles=st.integers(1, 600))
def test_parts_of_the_keys_follow_flash_attention_2(groups: int, tiles: int) -> None:
    gpu = load_gpu("a100-sxm-80gb")
    found = splits(CUTS["fa2"], gpu, np.array([float(groups)]), np.array([float(tiles)]), np.ones(1))
    assert int(found[0]) == flash_2_splits(groups, 2 * gpu.num_sms, tiles)


SHAPES = st.tuples(
    st.sampled_from([1, 2, 7, 64, 1024]),
    st.sampled_from([(1, 1), (8, 8), (8, 2), (12, 12), (64, 8), (40, 1), (96, 8)]),
    st.integers(2, 70_000),
    st.sampled_from([64, 72, 80, 128, 192, 256]),
)


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, more=st.integers(1, 5000), times=st.integers(2, 5))
def test_more_keys_and_sequences_never_cost_less(variant: str, shape: tuple, more: int, times: int) -> None:
    """Where the keys are cut alike; the first cut costs a kernel that puts the parts together."""
    batch, (heads_q, heads_kv), keys, head_dim = shape
    model, gpu = DecodeModel(variant), load_gpu(GPU_OF.get(variant, "l40s"))
    rows = [(batch, heads_q, heads_kv, keys, head_dim), (batch, heads_q, heads_kv, keys + more, head_dim)]
    rows.append((times * batch, heads_q, heads_kv, keys, head_dim))
    found = model.predict(gpu, DType.BF16, dims_of(*rows), {c.name: c.start for c in model.coefficients})
    alike = found.details["split_k"] == found.details["split_k"][0]
    assert (found.latency_s >= found.latency_s[0] * (1 - 1e-12))[alike].all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_arrays_equal_scalars(variant: str) -> None:
    rng = np.random.default_rng(7)
    rows = [
        (float(b), float(g * kv), float(kv), float(n), float(d), float(w), 1.0)
        for b, kv, g, n, d, w in zip(
            rng.integers(1, 300, 40),
            rng.integers(1, 9, 40),
            rng.integers(1, 17, 40),
            rng.integers(2, 50_000, 40),
            rng.choice([64, 80, 128, 256, 512], 40),
            rng.choice([0, 0, 512], 40),
            strict=True,
        )
    ]
    together = latency(variant, *rows)
    assert together == pytest.approx([latency(variant, row)[0] for row in rows], rel=1e-12)
    assert (together > 0).all()


def test_a_window_reads_no_more_than_itself() -> None:
    windowed, short = latency("fa3", (8, 32, 8, 65536, 128, 4096, 1.0), (8, 32, 8, 4096, 128))
    assert windowed == short


@pytest.mark.parametrize(
    ("gpu", "row", "kernel", "expected"),
    [
        ("a100-sxm-80gb", (8, 32, 8, 1, 4096, 128, 1.0), "", "decode/fa2"),
        ("a100-sxm-80gb", (8, 32, 8, 2, 4096, 128, 1.0), "", "attention/fa2-causal"),
        ("a100-sxm-80gb", (8, 32, 8, 1, 1, 128, 1.0), "", "attention/fa2-causal"),
        ("a100-sxm-80gb", (8, 32, 8, 1, 4096, 512, 1.0), "", "decode/triton"),
        ("a100-sxm-80gb", (8, 32, 8, 1, 4096, 512, 1.0), "torch_fa2", "attention/efficient"),
        ("a100-sxm-80gb", (8, 32, 8, 9, 4096, 512, 1.0), "", "attention/efficient"),
        ("t4", (8, 32, 8, 1, 4096, 128, 1.0), "", "decode/triton"),
        ("a100-sxm-80gb", (8, 32, 8, 1, 4096, 128, 1.0), "torch_fa2", "decode/fa2"),
        ("a100-sxm-80gb", (8, 32, 8, 77, 4096, 128, 1.0), "torch_fa2", "attention/torch-fa2"),
        ("h100-sxm", (8, 32, 8, 1, 4096, 128, 1.0), "torch_cudnn", "attention/torch-cudnn"),
        ("h100-sxm", (8, 32, 8, 1, 4096, 128, 0.5), "", "decode/fa3"),
        ("h100-sxm", (8, 32, 8, 1, 4096, 512, 1.0), "", "decode/fa4"),
        ("b200-sxm", (8, 32, 8, 1, 4096, 128, 1.0), "", "decode/trtllm"),
        ("l40s", (8, 32, 8, 1, 4096, 128, 0.5), "", "decode/flashinfer"),
        ("l40s", (8, 32, 8, 1, 4096, 128, 0.5), "vllm_flashinfer_fidecode", "decode/flashinfer"),
        ("rtx-pro-6000-server", (8, 32, 8, 1, 4096, 512, 0.5), "vllm_triton_attn", "decode/triton"),
    ],
)
def test_one_query_over_a_cache_is_served_by_a_decode_kernel(gpu: str, row: tuple, kernel: str, expected: str) -> None:
    names = ("batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim", "kv_share")
    dims = {name: np.array([float(value)]) for name, value in zip(names, row, strict=True)} | {"causal": np.ones(1)}
    ((_, route),) = attention_routes(load_gpu(gpu), DType.FP16, dims, np.array([kernel]))
    assert route.kernel == expected


@pytest.mark.parametrize("gpu", ["a100-sxm-80gb", "h100-sxm", "b200-sxm", "l40s"])
def test_a_decode_step_of_a_model_takes_the_decode_kernel(gpu: str) -> None:
    """The attention of a step is what a table's row of the same shape takes, less the write of the cache."""
    config = load_preset("llama-3.1-8b")
    answer = CostModel(load_gpu(gpu)).price(
        config, Workload(seq_len=32768, phase=Phase.DECODE), Execution(compiled=True)
    )
    core = next(op for op in answer.breakdown if op.name == "attention.core")
    row = {"gpu": gpu, "op": "decode_attention", "dtype": "bf16", "batch": 1, "heads_q": 32, "heads_kv": 8, "seq_q": 1}
    table = predict_frame(pd.DataFrame([{**row, "seq_kv": 32768, "head_dim": 128, "causal": True}]))
    assert float(core.cost.latency_s) * 1e6 == pytest.approx(table["predicted_us"][0], rel=0.05)


def test_every_measured_gpu_has_its_own_coefficients() -> None:
    calibration = Calibration.load()
    measured = {"a100-sxm-80gb": "fa2", "h100-sxm": "fa3", "b200-sxm": "trtllm", "rtx-pro-6000-server": "flashinfer"}
    for gpu, variant in measured.items():
        fit = calibration.lookup(load_gpu(gpu), f"decode/{variant}").fit
        assert fit.fitted_on == (gpu,)
        assert set(fit.coefficients) == {c.name for c in DecodeModel(variant).coefficients}


LIMITS = {"a100-sxm-80gb": 6.5, "b200-sxm": 7.5, "h100-sxm": 8.0, "l40s": 8.0, "rtx-pro-6000-server": 8.0}
"""Mean absolute percentage error on rows that no fit saw."""


def test_unseen_rows_of_every_gpu(measurements) -> None:
    predicted = predicted_table(measurements / "decode_attention.csv", split="test")
    found = {str(g["gpu"]): g for g in scores_of(predicted, ["gpu"])["groups"]}
    assert set(found) == set(LIMITS)
    for gpu, limit in LIMITS.items():
        assert found[gpu]["mape"] < limit, gpu
        assert abs(found[gpu]["bias"]) < 4, gpu
        assert 0.72 < found[gpu]["within_band"] < 0.93, gpu
