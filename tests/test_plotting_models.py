"""What pictures of one model show, as numbers, against the answer of ``estimate``."""

from __future__ import annotations

import pytest

import archsearch
from archsearch.errors import InvalidInputError
from archsearch.plotting import breakdown_info, plot_breakdown
from archsearch.plotting.breakdown_tree import WAITS


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
