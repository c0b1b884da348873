"""Tables of one layer of a language model, as they are: each row against the same kernel in its own columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from archsearch.bench.measurements import read_measurements
from archsearch.bench.validate import predict_frame, scores_of
from archsearch.cost import CostModel
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError
from archsearch.hardware import load_gpu
from archsearch.ops import MatMul, MemoryOp

LAYER = {"tokens": 96, "hidden_size": 4096, "intermediate_size": 14336, "num_heads": 32, "num_kv_heads": 8}


def predicted_s(op: str, *, gated: bool = True, gpu: str = "a100-sxm-80gb", **changes: Any) -> float:
    row = {"gpu": gpu, "op": op, "dtype": "fp16", **LAYER, "gated": gated, **changes}
    found: float = predict_frame(pd.DataFrame([row]))["predicted_us"][0] * 1e-6
    return found


@pytest.mark.parametrize(
    ("op", "gated", "n", "k"),
    [
        ("linear_qkv", True, 48 * 128, 4096),  # 32 query, 8 key and 8 value heads of 128
        ("linear_out", True, 4096, 4096),
        ("linear_up", True, 2 * 14336, 4096),
        ("linear_up", False, 14336, 4096),
        ("linear_down", True, 4096, 14336),
    ],
)
def test_projections_are_their_products(op: str, gated: bool, n: int, k: int) -> None:
    row = {"gpu": "a100-sxm-80gb", "op": "linear", "dtype": "fp16", "m": 96, "n": n, "k": k}
    expected = predict_frame(pd.DataFrame([row]))["predicted_us"][0] * 1e-6
    assert predicted_s(op, gated=gated) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("op", "gated", "kind", "cols", "reads"),
    [
        ("activation", True, "swiglu", 14336, 2.0),
        ("activation", False, "gelu", 14336, 1.0),
        ("add", True, "add", 4096, 2.0),
        ("rmsnorm", True, "rmsnorm", 4096, 1.0),
        ("embedding", True, "embedding", 4096, 1.0),
        ("rope", True, "rope", 40 * 128, 1.0),  # queries and keys
    ],
)
def test_the_rest_queue_as_kernels_of_a_model_do(op: str, gated: bool, kind: str, cols: int, reads: float) -> None:
    kernel = MemoryOp(name="k", kind=kind, rows=96, cols=cols, dtype=DType.FP16, reads=reads)
    expected = CostModel(load_gpu("a100-sxm-80gb")).estimate([kernel]).latency_s
    assert predicted_s(op, gated=gated) == pytest.approx(float(expected))


def test_a_table_may_mix_gated_layers_with_others() -> None:
    rows = [{"gpu": "a40", "op": "activation", "dtype": "fp16", **LAYER, "gated": g} for g in (True, False, True)]
    first, second, third = predict_frame(pd.DataFrame(rows))["predicted_us"]
    assert first == third > second


def test_kernels_in_their_own_columns_stay_what_they_are() -> None:
    """``add`` is an op of either table; with rows and cols it is a kernel timed on its own."""
    row = {"gpu": "a100-pcie-40gb", "op": "add", "dtype": "fp32", "rows": 96, "cols": 4096}
    alone = predict_frame(pd.DataFrame([row]))["predicted_us"][0] * 1e-6
    kernel = MemoryOp(name="k", kind="add", rows=96, cols=4096, dtype=DType.FP32, reads=2.0)
    assert alone > 1.5 * float(CostModel(load_gpu("a100-pcie-40gb")).estimate([kernel]).latency_s)


def test_what_a_row_lacks_is_named() -> None:
    row = {"gpu": "a40", "op": "linear_up", "dtype": "fp16", **LAYER, "gated": True}
    with pytest.raises(InvalidInputError, match="'num_kv_heads' is missing"):
        predict_frame(pd.DataFrame([row]).drop(columns="num_kv_heads"))
    with pytest.raises(InvalidInputError, match=r"row 2 \(op 'linear_up'\): gated must be true or false, not 'maybe'"):
        predict_frame(pd.DataFrame([{**row, "gated": "maybe"}]))


def test_the_roofline_of_a_product_is_its_flops_or_bytes() -> None:
    row = {"gpu": "a100-sxm-80gb", "op": "linear_out", "dtype": "fp16", **LAYER, "gated": True}
    found = predict_frame(pd.DataFrame([row]))["roofline_us"][0]
    gpu, product = load_gpu("a100-sxm-80gb"), MatMul(name="p", m=96, n=4096, k=4096, dtype=DType.FP16)
    moved = 2 * (96 * 4096 + 4096 * 4096 + 96 * 4096)
    assert float(product.memory_bytes()) == moved
    assert found == pytest.approx(max(2 * 96 * 4096**2 / 312e12, moved / gpu.bandwidth_bytes_s) * 1e6, rel=1e-3)


def test_a_published_table_is_taken_as_it_is(measurements: Path) -> None:
    """Vidur's layers, on which nothing is fitted (one row in eleven, by mechanism alone): every row has a prediction;
    products on a GPU that no fit saw are near, and every op is in order."""
    frame = predict_frame(read_measurements(measurements / "llm_layer_fp16.csv").iloc[::11], correction=False)
    assert frame["predicted_us"].notna().all()
    groups = {(g["gpu"], g["op"]): g for g in scores_of(frame, ("gpu", "op"))["groups"]}
    assert len(groups) == 27
    for (gpu, op), group in groups.items():
        assert group["spearman"] > 0.9, (gpu, op)
        if gpu == "a40" and op.startswith("linear"):
            assert group["mape"] < 12, op
            assert group["within_band"] > 0.8, op
