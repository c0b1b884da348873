"""What pictures of one model show, as numbers, against the answer of ``estimate``."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re

import numpy as np
import pytest

import archsearch
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.plotting import (
    breakdown_info,
    draw,
    latency_info,
    memory_info,
    plot_breakdown,
    plot_latency_per_gpu,
    plot_memory,
    plot_sensitivity,
    save,
    sensitivity_info,
)
from archsearch.plotting.breakdown_tree import WAITS
from archsearch.plotting.theme import PALETTE, THEMES
from archsearch.plotting.theme import shown as look_shown


@pytest.fixture(scope="module")
def result():
    return archsearch.estimate("llama-3.2-1b", "h100-sxm", seq_len=512)


def test_tiles_add_up_to_the_latency(result):
    info = breakdown_info(result)
    assert info.total_s == pytest.approx(result.latency_s)
    assert sum(tile.share for tile in info.tiles) == pytest.approx(1)
    assert sum(info.groups.values()) == pytest.approx(info.total_s)
    assert list(info.groups.values()) == sorted(info.groups.values(), reverse=True)
    ops = [tile for tile in info.tiles if tile.name != WAITS]
    assert [(t.name, t.seconds, t.tile, t.waves) for t in ops] == [
        (row["name"], row["latency_s"], row["tile"], row["waves"]) for row in result.breakdown
    ]
    assert info.groups["mlp"] == sum(r["latency_s"] for r in result.breakdown if r["name"].startswith("mlp"))


def test_a_model_is_asked_for_by_name(result):
    assert breakdown_info("llama-3.2-1b", "h100-sxm", seq_len=512) == breakdown_info(result)


def test_the_treemap_holds_ops_under_their_groups(result):
    info, figure = breakdown_info(result), plot_breakdown(result)
    tree = figure.data[0]
    assert len(tree.ids) == 1 + len(info.groups) + len(info.tiles) == len(set(tree.ids))
    for parent in set(tree.parents) - {""}:  # branches are the sum of what lies in them
        below = sum(v for v, p in zip(tree.values, tree.parents, strict=True) if p == parent)
        assert tree.values[tree.ids.index(parent)] == pytest.approx(below)
    row = next(row for row in result.breakdown if row["tile"] is not None)
    hover = tree.hovertext[tree.labels.index(row["name"])]
    assert f"tile {row['tile']}" in hover
    assert f"waves {row['waves']:g}" in hover
    assert f"{row['wave_efficiency']:.0%}" in hover
    assert f"bound by {row['bound']}" in hover


def test_hardware_and_answers_do_not_mix(result):
    with pytest.raises(InvalidInputError, match="hardware, seq_len: no effect"):
        breakdown_info(result, "t4", seq_len=5)
    with pytest.raises(InvalidInputError, match="name the GPU"):
        breakdown_info("llama-3.2-1b")


def test_latency_of_each_gpu_is_what_estimate_says():
    info = latency_info("gpt2", "t4,a10,v100-sxm-32gb", dtype="fp16", batch_size=8)
    assert info.labels == ["t4", "a10", "v100-sxm-32gb"]
    for place, gpu in enumerate(info.labels):
        answer = archsearch.estimate("gpt2", gpu, dtype="fp16", batch_size=8)
        assert info.series["gpt2"][place] == answer.latency_s * 1e3
        assert info.low["gpt2"][place] == answer.latency_low_s * 1e3
        assert info.high["gpt2"][place] == answer.latency_high_s * 1e3
    (bars,) = plot_latency_per_gpu("gpt2", "t4,a10,v100-sxm-32gb", dtype="fp16", batch_size=8).data
    assert list(bars.y) == info.series["gpt2"]
    assert bars.y[0] + bars.error_y.array[0] == pytest.approx(info.high["gpt2"][0])
    assert bars.y[0] - bars.error_y.arrayminus[0] == pytest.approx(info.low["gpt2"][0])


def test_a_gpu_that_cannot_run_it_is_named_and_all_of_them_are_refused():
    info = latency_info("gpt2", "t4,a10", dtype="bf16")
    assert info.labels == ["a10"]
    assert len(info.notes) == 1
    assert info.notes[0].startswith("t4 left out: t4 (compute capability 7.5) has no native bf16")
    with pytest.raises(UnsupportedError, match="t4 left out"):
        latency_info("gpt2", "t4,p4", dtype="bf16")


def test_an_open_format_is_one_that_all_the_gpus_have():
    info = latency_info("gpt2", "t4,a10")
    assert info.labels == ["t4", "a10"]
    assert info.series["gpt2"][1] == archsearch.estimate("gpt2", "a10", dtype="fp16").latency_s * 1e3


def test_answers_of_several_models_stand_side_by_side(result):
    other = archsearch.estimate("gpt2", "a10")
    info = latency_info([result, other])
    assert info.labels == ["h100-sxm", "a10"]
    assert info.series["gpt2"][1] == other.latency_s * 1e3
    assert math.isnan(info.series["gpt2"][0])
    with pytest.raises(InvalidInputError, match="no answers"):
        latency_info([])


def test_memory_stacks_to_the_total_below_what_is_usable():
    answer = archsearch.estimate("llama-3-8b", "a10", phase="train", seq_len=512)
    info = memory_info("llama-3-8b", "a10,h100-sxm", phase="train", seq_len=512)
    assert set(info.series) == {"weights", "activations", "optimizer"}  # no cache where nothing is decoded
    assert info.totals[0] == pytest.approx(answer.memory_bytes["total"] / 2**30)
    for gpu, usable in zip(info.labels, info.limits["usable memory"], strict=True):
        assert usable == pytest.approx(archsearch.load_gpu(gpu).available_gib)
    over = [total > usable for total, usable in zip(info.totals, info.limits["usable memory"], strict=True)]
    assert [f"{gpu} does not fit" in info.notes for gpu in info.labels] == over
    assert over[0]
    figure = plot_memory("llama-3-8b", "a10,h100-sxm", phase="train", seq_len=512)
    line = next(trace for trace in figure.data if trace.name == "usable memory")
    assert list(line.y) == info.limits["usable memory"]
    assert figure.layout.barmode == "stack"


def test_a_curve_is_what_estimate_says_of_each_value(tmp_path):
    info = sensitivity_info("llama-3.2-1b", "h100-sxm", seq_len=512, dimensions=["intermediate_size"], span=0.1)
    (curve,) = info.curves
    config = archsearch.load_model("llama-3.2-1b")
    assert curve.here == config.intermediate_size
    assert {b - a for a, b in itertools.pairwise(curve.values)} == {8}
    for place in (0, 17, len(curve.values) - 1):
        model = dataclasses.replace(config, intermediate_size=curve.values[place])
        answer = archsearch.estimate(model, "h100-sxm", seq_len=512)
        assert curve.ms[place] == pytest.approx(answer.latency_s * 1e3)
        assert curve.high[place] == pytest.approx(answer.latency_high_s * 1e3)
        row = next(row for row in answer.breakdown if row["name"] == curve.op)
        assert curve.waves[place] == row["waves"]
    assert info.ms == curve.ms[curve.values.index(curve.here)]


def test_a_wave_more_is_a_step():
    """A projection gains a wave where its tiles pass a multiple of what the SMs take at once: latency leaps there."""
    info = sensitivity_info("llama-3-8b", "h100-sxm", dimensions=["intermediate_size"])
    (curve,) = info.curves
    assert len(curve.steps) > 3
    before = {b: (x, y) for b, x, y in zip(curve.values[1:], curve.ms, curve.ms[1:], strict=False)}
    rises = [y - x for x, y in before.values()]
    at_steps = [before[value][1] - before[value][0] for value in curve.steps]
    assert max(at_steps) == max(rises)
    assert np.mean(at_steps) > 5 * np.median(np.abs(rises))


def test_dimensions_are_models_all_along():
    info = sensitivity_info("modernbert-base", "h100-sxm")
    assert [curve.dimension for curve in info.curves][:3] == ["hidden_size", "intermediate_size", "num_layers"]
    for curve in info.curves:
        assert curve.here in curve.values
        assert curve.values == sorted(set(curve.values))
    config = archsearch.load_model("modernbert-base")
    hidden = info.curves[0]
    assert hidden.carried == ("num_attention_heads",)  # heads stay 64 wide
    assert hidden.values == list(range(384, 1153, 64))
    for value, ms in zip(hidden.values[::6], hidden.ms[::6], strict=True):
        changed = dataclasses.replace(config, hidden_size=value, num_attention_heads=value // 64)
        assert ms == pytest.approx(archsearch.estimate(changed, "h100-sxm").latency_s * 1e3)
    figure = plot_sensitivity("modernbert-base", "h100-sxm", dimensions=["num_layers"])
    assert [list(trace.x) for trace in figure.data][2] == info.curves[2].values
    with pytest.raises(UnknownNameError, match="num_layers"):
        sensitivity_info("modernbert-base", "h100-sxm", dimensions=["num_layer"])
    with pytest.raises(InvalidInputError, match="span"):
        sensitivity_info("modernbert-base", "h100-sxm", span=2)


def test_names_of_nothing_are_refused_with_what_there_is():
    with pytest.raises(UnknownNameError, match="model, study or search space 'gpt-2-shape': did you mean gpt2-shape"):
        latency_info("gpt-2-shape", "a10")


def test_one_palette_for_both_papers_and_all_eyes():
    """Contrast of 3:1 on both papers (WCAG 2.1, 1.4.11), and colours apart by ΔE 20 under simulated deficiencies."""

    def linear(colour):
        share = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)

    def contrast(a, b):
        light, dark = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] for c in (a, b)), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    def lab(rgb):
        to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for theme in THEMES.values():
        assert all(contrast(colour, theme.paper) >= 3 for colour in PALETTE)
        assert contrast(theme.ink, theme.paper) >= 7
    machado = {  # severity 1.0, Machado, Oliveira and Fernandes 2009, table 1
        "none": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    for eyes in machado.values():
        seen = [lab(np.asarray(eyes) @ linear(colour)) for colour in PALETTE]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 20


def test_pictures_are_files_without_a_browser(result, tmp_path):
    info = breakdown_info(result)
    svg = save(info, tmp_path / "a.svg", theme="dark").read_text()
    assert "<svg" in svg
    assert "#15181d" in svg  # the dark paper
    assert save(plot_breakdown(result), tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    page = save(info, tmp_path / "c.html").read_text()
    assert "Plotly.newPlot" in page
    changed = plot_breakdown(result).update_layout(title="mine")
    with pytest.raises(UnsupportedError, match=r"not as archsearch drew it.*save the record"):
        save(changed, tmp_path / "d.png")
    with pytest.raises(InvalidInputError, match=r"written as \.png"):
        save(info, tmp_path / "e.gif")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        save(info, tmp_path / "none" / "f.png")
    with pytest.raises(InvalidInputError, match="dict is no picture"):
        save({}, tmp_path / "g.png")


@pytest.mark.parametrize(
    "info",
    [
        lambda: latency_info("gpt2", "a10,h100-sxm"),
        lambda: memory_info("gpt2", "a10,h100-sxm"),
        lambda: sensitivity_info("gpt2", "a10", dimensions=["num_layers"]),
    ],
)
def test_every_record_has_a_static_picture_of_its_numbers(info, tmp_path):
    record = info()
    text = save(record, tmp_path / "a.svg").read_text()
    assert record.title.split(":")[0].replace(" ", "") in "".join(re.findall(r"<!-- (.*?) -->", text)).replace(" ", "")
    assert look_shown(draw(record)) == (record, "light")
