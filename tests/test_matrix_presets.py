"""Every preset through estimate, explain and build; every pipeline through estimate, optimize and fits."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from verbs import Ask, asker

from archsearch.models.registry.families import load_preset, preset_names
from archsearch.pipeline import list_pipelines

SAME = 1e-9


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    return asker(capsys)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_goes_through_estimate_explain_and_build(name: str, ask: Ask, tmp_path: Path) -> None:
    answer = ask("estimate", name, "-g", "h100-sxm")
    assert answer["parameters"] == int(load_preset(name).parameters())
    assert 0 < answer["mfu"] <= answer["hfu"] * (1 + SAME)
    assert answer["hfu"] <= 1
    told = ask("explain", name, "-g", "h100-sxm")
    assert told["per_gpu"][0]["latency_s"] == pytest.approx(answer["latency_s"], rel=SAME)
    assert told["parameters"] == answer["parameters"]
    script = tmp_path / "module.py"
    ask("build", name, "-o", str(script), as_text=True)
    ast.parse(script.read_text())


@pytest.mark.parametrize("name", list_pipelines())
def test_a_pipeline_goes_through_estimate_optimize_and_fits(name: str, ask: Ask) -> None:
    answer = ask("pipeline", "estimate", name, "-g", "h100-sxm")
    best = ask("pipeline", "optimize", name, "-g", "h100-sxm")
    assert best["baseline"]["latency_s"] == pytest.approx(answer["latency_s"], rel=SAME)
    assert best["best"]["latency_s"] <= answer["latency_s"]
    where = ask("pipeline", "fits", name, "-g", "h100-sxm,l40s")
    row = next(row for row in where["gpus"] if row["gpu"] == "h100-sxm")
    assert row["latency_s"] == pytest.approx(answer["latency_s"], rel=SAME)
    assert row["fits"] == answer["fits"]
