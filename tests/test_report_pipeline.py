"""Pages of pipelines, optima and fleets: the numbers of the info objects, and documents that need no network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archsearch.cli.main import run as cli
from archsearch.report.pipeline_report import lever_bars, memory_bars, stage_bars, theory_bars


def answer(capsys, command: str, page: Path) -> dict:
    assert cli([*command.split(), "--report", str(page), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_bars_stack_to_what_the_answer_says(capsys, tmp_path):
    page = tmp_path / "p.html"
    d = answer(capsys, "pipeline estimate dit-xl-2 -g h100-sxm --placement model-offload", page)
    bars = stage_bars(d)
    for i, stage in enumerate(d["stages"]):
        assert sum(values[i] for values in bars.series.values()) == pytest.approx(stage["latency_s"])
    assert "PCIe" in bars.series
    memory = memory_bars(d)
    for name, weights, live in zip(memory.labels, memory.series["weights"], memory.series["activations"], strict=True):
        assert (weights + live) * 2**30 == pytest.approx(d["memory_bytes"]["by_stage"][name])
    assert theory_bars(d).series["s"] == sorted(theory_bars(d).series["s"])
    text = page.read_text()
    assert "<h1>dit-xl-2 on h100-sxm" in text
    assert text.count("Plotly.newPlot") >= 3


def test_levers_fall_to_the_best(capsys, tmp_path):
    d = answer(capsys, "pipeline optimize dit-xl-2 -g h100-sxm", tmp_path / "o.html")
    bars = lever_bars(d)
    assert bars.labels[0] == "none"
    assert bars.series["s"][0] == d["baseline"]["latency_s"]
    assert bars.series["s"][-1] == pytest.approx(d["best"]["latency_s"])
    assert "quality left" in (tmp_path / "o.html").read_text()


def test_a_fleet_has_a_page(capsys, tmp_path):
    page = tmp_path / "s.html"
    answer(capsys, "serve fleet dit-xl-2 -g h100-sxm --rate 3 --p95-s 2 --max-batch 1", page)
    assert "requests/s" in page.read_text()
