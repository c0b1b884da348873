"""What the picture of the front shows, as numbers, and that the figure holds just these."""

from __future__ import annotations

import pytest

from archsearch.errors import InvalidInputError
from archsearch.report import front_info, plot_front
from archsearch.search.answers.recommend import recommend
from archsearch.search.explore.enumeration import sweep

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


def test_figure_draws_the_info(tables):
    info, figure = front_info(*tables), plot_front(*tables)
    drawn = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data}
    assert drawn == {
        "Pareto front": (info.front.x, info.front.y),
        "recommended": (info.recommended.x, info.recommended.y),
        "baseline": (info.baseline.x, info.baseline.y),
    }
    assert figure.layout.xaxis.title.text == info.x_title


def test_axis_may_be_a_gpu(tables):
    front, _ = tables
    info = front_info(front, x="throughput:t4")
    assert info.x_title == "throughput on t4 (per second)"
    assert info.front.x == front["throughput:t4"].tolist()
    assert info.baseline.x == []


def test_unknown_column_and_foreign_recommendations_are_refused(tables):
    front, best = tables
    with pytest.raises(InvalidInputError, match="throughput:b300"):
        front_info(front, x="throughput:b300")
    best.attrs["space"] = "another"
    with pytest.raises(InvalidInputError, match="another"):
        front_info(front, best)
