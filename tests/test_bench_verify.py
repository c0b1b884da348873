"""The whole way on this processor: measure, calibrate, search, verify, and calibrate again on what was verified."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from archsearch.cli.main import app
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import get_family
from archsearch.verify.compare import verify
from archsearch.verify.kernels_of_models import kernel_cases
from archsearch.workload import Phase, Workload

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

SPACE = {
    "name": "tiny",
    "description": "Decoders that a CPU runs in milliseconds.",
    "family": "decoder",
    "fixed": {"vocab_size": 256, "max_position_embeddings": 64, "tie_word_embeddings": True},
    "dimensions": {
        "hidden_size": {"range": [64, 128], "step": 64},
        "intermediate_size": {"range": [128, 384], "step": 128},
        "num_layers": {"range": [2, 3]},
    },
    "derived": {"num_attention_heads": "hidden_size // 32", "num_key_value_heads": "num_attention_heads"},
    "workload": {"phase": "prefill", "batch_size": 2, "seq_len": 32, "dtype": "fp32"},
    "quality": {"proxy": "chinchilla-besiroglu", "tokens": 1e9},
    "hardware": ["cpu"],
    "baseline": {
        **{"num_layers": 3, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2},
        **{"intermediate_size": 256, "vocab_size": 256, "max_position_embeddings": 64, "tie_word_embeddings": True},
    },
}


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(SPACE))
    return path


def call(*arguments) -> dict:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_measure_calibrate_search_verify_and_calibrate_again(tmp_path, space):
    results = tmp_path / "cpu.csv"
    purposes = ("--only", "grid", "--only", "memory")
    measured = call("bench", "run", "--device", "cpu", "-o", results, *purposes)
    assert measured["measured"] > 30
    fitted = call("bench", "calibrate", results)
    assert "gemm/fp32-linear" in {f["kernel"] for f in fitted["families"]}
    linear = next(f for f in fitted["families"] if f["kernel"] == "gemm/fp32-linear")
    assert linear["mape_after"] < linear["mape_before"]
    call("study", "run", space, "--hardware", "cpu", "--name", "tiny")
    checked = call("bench", "verify", "tiny", "--device", "cpu", "--top", "2", "--recalibrate", results)
    assert [row["rank"] for row in checked["rows"]] == [0, 1, 2]
    assert all(row["measured_s"] > 0 and row["layer_measured_s"] > 0 for row in checked["rows"])
    assert checked["compared"] == "models"
    assert checked["speedup"] > 0
    assert checked["predicted_speedup_low"] <= checked["predicted_speedup"] <= checked["predicted_speedup_high"]
    assert checked["recalibrated"]["kernels_measured"] > 0
    added = pd.read_csv(results)
    assert set(added[added["purpose"] == "model"]["op"]) >= {"linear", "mul"}


def test_kernels_of_a_model_are_its_products_once_each():
    config = get_family("decoder").from_dict(SPACE["baseline"])
    workload = Workload(phase=Phase.FORWARD, batch_size=2, seq_len=32, dtype=DType.FP32)
    cases = kernel_cases([config, config], workload, load_gpu("cpu"))
    products = {(c.dims["m"], c.dims["n"], c.dims["k"]) for c in cases if c.op == "linear"}
    # query, key, value and output; gate and up; down; the head
    assert products == {(64, 64, 64), (64, 256, 64), (64, 64, 256), (64, 256, 64)}
    assert {(c.dims["batch"], c.dims["n"], c.dims["k"]) for c in cases if c.op == "bmm"} == {(4, 32, 32)}


def test_a_study_of_another_phase_is_refused(tmp_path):
    changed = {**SPACE, "workload": {**SPACE["workload"], "phase": "decode"}}
    path = tmp_path / "decode.yaml"
    path.write_text(yaml.safe_dump(changed))
    with pytest.raises(UnsupportedError, match="phases forward and prefill, not decode"):
        verify(str(path), load_gpu("cpu"), device=torch.device("cpu"), device_name="here", top=1)


def test_no_device_and_absurd_requests_are_told(space):
    run = CliRunner().invoke(app, ["bench", "verify", str(space), "--device", "warp"])
    assert run.exit_code != 0
    few = ["bench", "verify", str(space), "--device", "cpu", "--top", "0"]
    with pytest.raises(InvalidInputError, match="top must be a whole number from 1"):
        CliRunner().invoke(app, few, catch_exceptions=False)
