"""What the picture of the front shows, as numbers, and that the figure holds just these."""

from __future__ import annotations

import numpy as np
import pytest

import archsearch
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.plotting import front_info, plot_front
from archsearch.search.answers.recommend import recommend
from archsearch.search.explore.enumeration import sweep
from archsearch.search.studies.study import run_study

pytest_plugins = ["search_fakes"]


@pytest.fixture
def tables(toy_space, evaluator):
    front = sweep(toy_space, evaluator=evaluator, progress=False).front
    return front, recommend(toy_space, evaluator=evaluator, top=3, progress=False)


def test_points_are_the_tables_rows(tables):
    front, best = tables
    info = front_info(front, best)
    assert list(zip(info.front.x, info.front.y, strict=True)) == list(
        zip(front["throughput_worst"], front["quality"], strict=True)
    )
    assert [label.split(".")[0] for label in info.recommended.labels] == ["1", "2", "3"]
    assert f"hidden_size {best['hidden_size'][0]}" in info.recommended.labels[0]
    assert info.baseline.x == [1.0]  # by definition: throughput relative to the baseline's
    assert set(zip(info.recommended.x, info.recommended.y, strict=True)) <= set(
        zip(info.front.x, info.front.y, strict=True)
    )
    assert info.front.y_low == front["quality_low"].tolist()
    assert len(info.others) == 0
    assert info.density is None


def test_figure_draws_the_info(tables):
    info, figure = front_info(*tables), plot_front(*tables)
    drawn = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data if trace.legendgroup is None}
    assert drawn == {
        "Pareto front": (info.front.x, info.front.y),
        "recommended": (info.recommended.x, info.recommended.y),
        "baseline": (info.baseline.x, info.baseline.y),
    }
    shades = [trace for trace in figure.data if trace.legendgroup == "noise"]
    assert [(min(s.x), max(s.x), min(s.y), max(s.y)) for s in shades] == [
        (r.x_low, r.x_high, r.y_low, r.y_high) for r in info.regions
    ]
    assert figure.layout.xaxis.title.text == info.x_title


def test_axis_may_be_a_gpu_and_has_the_band_of_its_latency(tables):
    front, _ = tables
    info = front_info(front, x="throughput:t4")
    assert info.x_title == "throughput on t4 (tokens/s)"
    assert info.front.x == front["throughput:t4"].tolist()
    assert info.baseline.x == []
    # the toy's latencies lie within 0.9 and 1.1 of the estimate
    assert np.allclose(np.asarray(info.front.x) / info.front.x_low, 1.1)
    assert np.allclose(np.asarray(info.front.x) / info.front.x_high, 0.9)


def test_units_are_those_that_people_read(tables):
    front, _ = tables
    info = front_info(front, x="latency_s:t4", y="memory_bytes")
    assert (info.x.unit, info.y.unit) == ("ms", "GiB")
    assert np.allclose(info.front.x, front["latency_s:t4"] * 1e3)
    assert np.allclose(info.front.y, front["memory_bytes"] / 2**30)
    assert np.allclose(info.front.x_high, front["latency_s:t4"] * 1.1e3)


def test_equal_within_noise_is_the_band_of_the_ratio(tables):
    front, best = tables
    info = front_info(front, best, x="throughput:t4")
    gains = {g["rank"]: g for g in best.attrs["gains"] if g["gpu"] == "t4" and g["against"] == "baseline"}
    assert [region.rank for region in info.regions] == [1, 2, 3]
    for region, x, y in zip(info.regions, info.recommended.x, info.recommended.y, strict=True):
        gain = gains[region.rank]
        factor = (gain["high"] / gain["low"]) ** 0.5
        assert region.x_low == pytest.approx(x / factor)
        assert region.x_high == pytest.approx(x * factor)
        assert region.y_low <= y <= region.y_high
        inside = [
            region.x_low <= a <= region.x_high and region.y_low <= b <= region.y_high
            for a, b in zip(info.front.x, info.front.y, strict=True)
        ]
        assert region.members == sum(inside) >= 1


def test_quality_that_laws_rank_alike_is_equal(tables):
    front, best = tables
    best["quality_rank_best"], best["quality_rank_worst"] = 2, 4
    best.attrs["quality"]["compared"] = ["one", "another"]
    region = front_info(front, best).regions[0]
    ordered = sorted(front["quality"])  # a loss: rank 1 is the least
    assert region.y_low == min(ordered[1], best["quality"][0])
    assert region.y_high == max(ordered[3], best["quality"][0])
    assert "one, another" in region.basis


def test_a_study_shows_what_the_front_beats_and_recommends(toy_file, evaluator, tmp_path):
    storage = f"sqlite:///{tmp_path}/s.db"
    study = run_study(
        toy_file, evaluator=evaluator, storage=storage, name="toy", progress=False, strategy="random", trials=60
    )
    frame = archsearch.load_study("toy", storage).trials_dataframe()
    info = front_info(study, storage=storage, top=2)
    assert info.x.column == "throughput_worst"
    assert info.y.column == "quality"
    points = np.stack([info.front.x, info.front.y], axis=1)
    for x, y in zip(info.others.x, info.others.y, strict=True):  # each is beaten by a member of the front
        assert ((points[:, 0] >= x) & (points[:, 1] <= y)).any()
    refused = int(info.notes[0].split()[0]) if info.notes else 0
    assert len(info.front) + len(info.others) + refused == len(frame) == 60
    assert len(info.recommended) == 2
    assert plot_front("toy", storage=storage, top=0).layout.title.text.startswith("toy on t4, a100-sxm-40gb")


def test_an_enumerated_study_shows_its_whole_front(toy_file, evaluator, tmp_path):
    storage = f"sqlite:///{tmp_path}/s.db"
    study = run_study(toy_file, evaluator=evaluator, storage=storage, name="toy", progress=False)
    swept = sweep(toy_file, evaluator=evaluator, progress=False)
    info = front_info(study, storage=storage, top=0)
    assert sorted(info.front.x) == sorted(swept.front["throughput_worst"])
    assert len(info.others) > 0
    assert info.recommended.total == 0


def test_many_points_become_a_density_and_a_thinned_front(tables):
    front, _ = tables
    rng = np.random.default_rng(0)
    many = front.loc[np.zeros(50_000, dtype=int)].reset_index(drop=True)
    many.attrs = front.attrs
    many["quality"] = rng.uniform(2, 3, len(many))
    many["throughput_worst"] = many["throughput_weighted"] = rng.uniform(1, 2, len(many))
    info = front_info(many)
    assert info.density is not None
    assert np.sum(info.density.counts) == info.density.total == 50_000 - info.front.total
    column = (np.asarray(info.others.x), info.density.x_edges)
    assert len(column[0]) == 0
    assert len(column[1]) == len(info.density.counts[0]) + 1
    assert len(plot_front(many).to_json()) < 500_000

    few = many[:4000].copy()
    few["throughput_worst"] = few["throughput_weighted"] = few["quality"]  # a loss: all on the front
    info = front_info(few)
    assert info.front.total == 4000
    assert len(info.front) == 3000
    assert {min(few["quality"]), max(few["quality"])} <= set(info.front.y)
    assert info.notes == ("3,000 of the front's 4,000 points are drawn",)


def test_hostile_names_are_shown_to_the_letter(tables):
    front, best = tables
    for table in (front, best):
        table.attrs["space"] = "<img src=x onerror=alert(1)>"
    figure = plot_front(front, best)
    assert "<img" not in figure.to_json()
    assert "\\u003cimg" not in figure.to_json()
    assert "&lt;img" in figure.layout.title.text


def test_what_cannot_be_drawn_is_refused(tables):
    front, best = tables
    with pytest.raises(InvalidInputError, match="throughput:b300"):
        front_info(front, x="throughput:b300")
    with pytest.raises(InvalidInputError, match="holds no numbers"):
        front_info(front, x="proxy")
    with pytest.raises(InvalidInputError, match="both axes are quality"):
        front_info(front, x="quality", y="quality")
    with pytest.raises(InvalidInputError, match="has its own"):
        front_info(front, hardware="t4")
    with pytest.raises(UnknownNameError, match="light"):
        plot_front(front, theme="sepia")
    with pytest.raises(UnknownNameError, match="study or search space"):
        plot_front("no-such-study")
    best.attrs["space"] = "another"
    with pytest.raises(InvalidInputError, match="another"):
        front_info(front, best)
