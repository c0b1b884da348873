"""Tables of whole models, and the plain roofline of measured rows, against hand-worked values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from archsearch.bench.measurements import read_measurements, route_rows
from archsearch.bench.roofline import routed_roofline_s
from archsearch.bench.validate import predict_frame, predicted_table, scores_of
from archsearch.bench.whole_models import _model
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.hardware import load_gpu

A100 = load_gpu("a100-sxm-80gb")


def roofline_s(gpu: str = "a100-sxm-80gb", dtype: str = "bf16", **row: object) -> float:
    frame = pd.DataFrame([{"gpu": gpu, "dtype": dtype, **row}])
    (routed,) = route_rows(frame)
    return float(np.ravel(routed_roofline_s(routed))[0])


def test_roofline_of_products_by_hand():
    assert roofline_s(op="linear", m=8192, n=8192, k=8192) == pytest.approx(2 * 8192**3 / 312e12)
    weights = 2 * (4096 * 4096 + 4096 + 4096)
    assert roofline_s(op="linear", m=1, n=4096, k=4096) == pytest.approx(weights / A100.bandwidth_bytes_s)
    # torch.bmm([b, m, n], [b, n, k]): n is summed
    moved = 2 * 64 * (128 * 16 + 16 * 512 + 128 * 512)
    assert roofline_s(op="bmm", batch=64, m=128, n=16, k=512) == pytest.approx(moved / A100.bandwidth_bytes_s)


def test_roofline_of_bandwidth_bound_rows_by_hand():
    tensor = 4 * 1000 * 4096
    assert roofline_s(op="add", dtype="fp32", rows=1000, cols=4096) == pytest.approx(
        3 * tensor / A100.bandwidth_bytes_s
    )
    assert roofline_s(op="gelu", dtype="fp32", rows=1000, cols=4096) == pytest.approx(
        2 * tensor / A100.bandwidth_bytes_s
    )


def test_roofline_of_attention_by_hand():
    row = {"batch": 4, "heads_q": 32, "heads_kv": 32, "seq_q": 4096, "seq_kv": 4096, "head_dim": 128}
    full = roofline_s(op="attention", causal=False, **row)
    assert full == pytest.approx(4 * 4 * 32 * 4096**2 * 128 / 312e12)


def test_predictions_are_slower_than_the_roofline_where_weights_are_cold():
    frame = pd.DataFrame([{"gpu": "a100-sxm-80gb", "op": "linear", "dtype": "bf16", "m": 4096, "n": 8192, "k": 8192}])
    predicted = predict_frame(frame)
    assert predicted["predicted_us"][0] > predicted["roofline_us"][0] > 0
    assert predicted["bound"][0] == "compute"


def whole(tmp_path, **changes):
    row = {"gpu": "v100-pcie-32gb", "model": "gpt2_large", "batch": 4, "seq": 1024, "phase": "inf", "latency_ms": 700.0}
    path = tmp_path / "whole.csv"
    pd.DataFrame([{**row, **changes}, {**row, "model": "switchxl4"}]).to_csv(path, index=False)
    return path


def test_whole_models_are_predicted_eager_and_others_skipped_with_the_reason(tmp_path):
    table = predicted_table(whole(tmp_path))
    assert table["latency_us"].tolist() == [700e3, 700e3]
    assert table["predicted_us"].notna().tolist() == [True, False]
    assert "mixture of experts" in table["skipped"][1]
    assert scores_of(table)["overall"]["rows"] == 1
    # 774 M parameters (1.3 M of them positions) over 4,096 tokens, and attention, on 14.1 TFLOP/s of fp32
    compute_us = (2 * 772.7e6 * 4096 + 4 * 4 * 1024**2 * 1280 * 36) / 14.1e6
    assert compute_us < table["roofline_us"][0] < table["predicted_us"][0]
    assert table["low_us"][0] < table["predicted_us"][0] < table["high_us"][0]


def test_whole_model_tables_refuse_what_they_cannot_compare(tmp_path):
    with pytest.raises(UnknownNameError, match="no-such-model"):
        predicted_table(whole(tmp_path, model="no-such-model"))
    with pytest.raises(InvalidInputError, match="forward passes alone"):
        predicted_table(whole(tmp_path, phase="train"))
    with pytest.raises(InvalidInputError, match=r"row 2 .*batch must be a whole number"):
        predicted_table(whole(tmp_path, batch="x"))
    with pytest.raises(InvalidInputError, match=r"row 2 .*seq must be a whole number"):
        predicted_table(whole(tmp_path, seq=None))
    with pytest.raises(InvalidInputError, match=r"none of the 2 rows has a prediction .*mixture of experts"):
        scores_of(predicted_table(whole(tmp_path, model="switchxl4")))
    with pytest.raises(InvalidInputError, match="latency_us must be a positive number"):
        predicted_table(whole(tmp_path, latency_ms=-1))


def test_presets_of_the_published_labels_have_the_published_dimensions():
    """hidden, layers, heads, ffn, vocabulary as in the table's README; BERT ends in its language-model head."""
    published = {
        "bert_large": (1024, 24, 16, 4096, 30522),
        "gpt2_large": (1280, 36, 20, 5120, 50257),
        "gpt3_xl": (3072, 24, 24, 12288, 50257),
        "gpt3_27": (2560, 32, 32, 10240, 50257),
        "opt_13": (2048, 24, 32, 8192, 50272),
    }
    for name, sizes in published.items():
        c = _model(name)
        found = (c.hidden_size, c.num_layers, c.num_attention_heads, c.intermediate_size, c.vocab_size)
        assert found == sizes, name
    assert _model("bert_large").mlm_head
    assert not _model("bert_large").pooler


def test_whole_passes_on_v100_and_a100(measurements):
    frame = read_measurements(measurements / "end_to_end_fp32.csv")
    found = {g["gpu"]: g["mape"] for g in scores_of(predict_frame(frame), ["gpu"])["groups"]}
    assert found["v100-pcie-32gb"] < 6
    assert found["a100-pcie-40gb"] < 6


def test_decode_attention_is_one_query_over_a_cache() -> None:
    """Rows of cached attention: as attention of one query; a cache in fp8 has half the bytes to read."""
    row = {"gpu": "h100-sxm", "dtype": "bf16", "batch": 64, "heads_q": 32, "heads_kv": 8, "seq_q": 1}
    row |= {"seq_kv": 8192, "head_dim": 128, "causal": True}
    rows = [
        {**row, "op": "attention"},
        {**row, "op": "decode_attention", "kv_dtype": "bf16"},
        {**row, "op": "decode_attention", "kv_dtype": "fp8_e4m3"},
    ]
    time = predict_frame(pd.DataFrame(rows))["predicted_us"]
    assert time[0] == time[1]
    cache_bytes = 2 * 64 * 8192 * 8 * 128 * 2
    assert time[1] * 1e-6 > cache_bytes / 3352e9  # the H100's bandwidth
    assert 0.5 * time[1] <= time[2] < 0.75 * time[1]
