"""Attention that no fused kernel runs holds its scores: what estimates say, and what budgets of spaces count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from archsearch.cli.main import run
from archsearch.search.explore.enumeration import enumerate_space as enumerated
from archsearch.search.space.space import load_space

GIB = 2.0**30
SCORES = 32 * 32768 * 32768 * 2
"""Bytes of one layer's scores in bf16: 32 heads, 32,768 tokens: 64 GiB."""
SPACE = """
name: long
description: one width of a decoder at 32,768 tokens
family: decoder
fixed: {vocab_size: 32000, hidden_size: 4096, num_attention_heads: 32, num_key_value_heads: 8, head_dim: 128}
dimensions:
  num_layers: {choices: [2, 4]}
  intermediate_size: {choices: [8192, 11008]}
budget: {memory_gib: 40}
workload: {phase: prefill, batch_size: 1, seq_len: 32768, dtype: bf16}
execution: torch-eager
"""


def estimate(capsys: pytest.CaptureFixture[str], attention: str) -> Any:
    arguments = ["llama-3.1-8b", "-g", "h100-sxm", "--phase", "prefill", "--seq-len", "32768", "--attention", attention]
    assert run(["estimate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_eager_prefill_of_32k_holds_scores_and_probabilities(capsys: pytest.CaptureFixture[str]) -> None:
    eager, fused = (estimate(capsys, attention) for attention in ("eager", "auto"))
    assert SCORES == 64 * GIB
    more = eager["memory_bytes"]["activations"] - fused["memory_bytes"]["activations"]
    assert 1.0 * SCORES < more < 2.2 * SCORES  # scores, and their softmax beside them
    assert fused["fits"]
    assert not eager["fits"]


@pytest.mark.parametrize(("attention", "fits"), [("auto", True), ("eager", False)])
def test_a_budget_of_memory_counts_them(attention: str, fits: bool, tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(SPACE)
    space = load_space(path).with_execution("torch-eager", {"attention": attention})
    front = enumerated(space, "h200-sxm")
    assert (front.attrs["valid"] > 0) is fits
