"""What the command line does of its own accord, and what it says of it: formats, refusals, next steps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from verbs import asker

from archsearch.cli.main import run


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Any:
    return asker(capsys)


def refused(capsys: Any, *words: str) -> str:
    """The one line of a call that must be refused."""
    assert run(list(words)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return str(err)


@pytest.mark.parametrize(("gpu", "dtype"), [("t4", "fp16"), ("p100-pcie-16gb", "fp16"), ("h100-sxm", "bf16")])
def test_an_open_format_is_one_that_the_gpu_has_and_is_the_same_as_asked_for(gpu, dtype, ask):
    open_, said = (ask("estimate", "bert-base", "-g", gpu, *more) for more in ((), ("--dtype", dtype)))
    assert open_["workload"] == said["workload"]
    assert open_["latency_s"] == said["latency_s"]
    assert ("dtype=fp16" in open_["assumed"]) == (dtype == "fp16")
    assert not any(item.startswith("dtype") for item in said["assumed"])


def test_a_format_taken_for_another_is_said_with_the_reason(capsys):
    for call in ("estimate bert-base -g t4", "explain modernbert-base --hardware t4,h100-sxm"):
        assert run(call.split()) == 0
        assert "dtype=fp16 (no bf16 on t4)" in capsys.readouterr().err
    assert run(["pipeline", "estimate", "flux-schnell", "-g", "v100-sxm-32gb"]) == 0
    assert "dtype=fp16 (no bf16 on v100-sxm-32gb)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("estimate bert-base -g t4 --dtype bf16", ["bf16", "8.0", "fp16"]),
        ("recommend modernbert-base-budget -g t4 --where 1/0", ["'1/0'", "not a condition", "num_layers <= 24"]),
        ("recommend modernbert-base-budget -g t4 --where num_layers+1", ["not a condition"]),
        ("estimate bert-base -g a100-sxm-80gb=8", ["one GPU here", "write a100-sxm-80gb", "--tensor-parallel 8"]),
        ("estimate bert-base -g t4,l4", ["one GPU here", "write t4"]),
        ("estimate flux-dev -g t4", ["archsearch pipeline estimate flux-dev"]),
        ("explain sana-class -g t4", ["archsearch recommend sana-class"]),
        ("estimate bert-base -g t4 --launch-us 5 --cuda-graphs", ["--launch-us has no effect", "--cuda-graphs"]),
    ],
)
def test_refusals_say_what_and_what_to_do(call, told, capsys):
    line = refused(capsys, *call.split())
    assert [word for word in told if word not in line] == []


def test_a_latency_of_seconds_is_written_out(capsys):
    assert run(["explain", "llama-3.1-8b", "-g", "t4"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("t4: "))
    assert "e+" not in line
    assert run(["explain", "llama-3.1-8b", "-g", "t4", "--json"]) == 0
    seconds = json.loads(capsys.readouterr().out)["per_gpu"][0]["latency_s"]
    assert f"{1e3 * seconds:,.0f} ms" in line
