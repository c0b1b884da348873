"""Pages of pipelines, optima and fleets: the numbers of the info objects, and documents that need no network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_pages import read

from archsearch.cli.main import run as cli
from archsearch.pipeline.levers import levers
from archsearch.plotting.pipeline_bars import lever_bars, memory_bars, stage_bars, theory_bars


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
    found = read(text)
    assert set(found.data["figures"]) == {"stages", "theory", "memory"}
    low, high = d["stages"][0]["latency_low_s"], d["stages"][0]["latency_high_s"]
    band = found.data["figures"]["stages"]["data"][-1]["error_y"]
    assert d["stages"][0]["latency_s"] - band["arrayminus"][0] == pytest.approx(low)
    assert d["stages"][0]["latency_s"] + band["array"][0] == pytest.approx(high)
    assert f"archsearch pipeline estimate dit-xl-2 -g h100-sxm --placement model-offload --report {page} --json" in text


def test_every_lever_is_told_with_its_legality(capsys, tmp_path):
    page = tmp_path / "p.html"
    d = answer(capsys, "pipeline estimate dit-xl-2 -g t4", page)
    rows = {row[0]: row for table in read(page.read_text()).tables for row in table if len(row) == 8}
    assert set(levers()) <= set(rows)
    assert rows["fp8"][2] == "no"
    assert "fp8" in rows["fp8"][3]
    alone = answer(capsys, "pipeline estimate dit-xl-2 -g t4 --steps 8", page)
    assert rows["steps-8"][2] == "yes"
    speed_up = d["latency_s"] / alone["latency_s"]
    assert float(rows["steps-8"][6]) == pytest.approx(speed_up, abs=0.006)


def test_levers_fall_to_the_best(capsys, tmp_path):
    d = answer(capsys, "pipeline optimize dit-xl-2 -g h100-sxm", tmp_path / "o.html")
    bars = lever_bars(d)
    assert bars.labels[0] == "none"
    assert bars.series["s"][0] == d["baseline"]["latency_s"]
    assert bars.series["s"][-1] == pytest.approx(d["best"]["latency_s"])
    assert "quality left" in (tmp_path / "o.html").read_text()


def test_a_fleet_has_a_page(capsys, tmp_path):
    page = tmp_path / "s.html"
    d = answer(capsys, "serve fleet dit-xl-2 -g h100-sxm,t4 --rate 3 --p95-s 2 --max-batch 1", page)
    found = read(page.read_text())
    cells = {cell for table in found.tables for row in table for cell in row}
    assert {g["gpu"] for g in d["fleet"]} <= cells
    assert {a["fleet"] for a in d["alternatives"]} <= cells
    assert any(d["prices"]["h100-sxm"]["source"] in cell for cell in cells)
    bars = found.data["figures"]["use"]["data"][0]
    assert bars["y"] == [pytest.approx(100 * g["utilisation"]) for g in d["fleet"]]
