"""Rank correlations against SciPy, and rank aggregation by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from archsearch.errors import InvalidInputError
from archsearch.quality.ensemble import aggregate_ranks
from archsearch.quality.rank_agreement import rank_correlation, within_groups


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-5, 5)), min_size=4, max_size=40).filter(
    lambda rows: len({a for a, _ in rows}) > 1 and len({b for _, b in rows}) > 1
))  # fmt: skip
def test_agrees_with_scipy_ties_included(rows: list[tuple[int, float]]) -> None:
    x, y = map(np.array, zip(*rows, strict=True))
    found = rank_correlation(x, y, resamples=20)
    assert found.kendall == pytest.approx(kendalltau(x, y).statistic, abs=1e-9)
    assert found.spearman == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)


def test_intervals_hold_the_value_and_narrow_with_more_data() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(400)
    y = x + rng.standard_normal(400)
    few, many = rank_correlation(x[:20], y[:20]), rank_correlation(x, y)
    assert few.spearman_interval[0] < few.spearman < few.spearman_interval[1]
    assert np.diff(many.spearman_interval) < np.diff(few.spearman_interval)


def test_within_groups_is_the_mean_of_groups() -> None:
    x = np.array([1, 2, 3, 4, 1, 2, 3, 4, 9.0])
    y = np.array([1, 2, 3, 4, 4, 3, 2, 1, 0.0])
    found = within_groups(x, y, ["a"] * 4 + ["b"] * 4 + ["c"])
    assert found.spearman == pytest.approx(0.0)
    assert found.count == 8  # the group of one says nothing


def test_mistakes_are_told() -> None:
    with pytest.raises(InvalidInputError, match="at least 4"):
        rank_correlation([1, 2, 3], [1, 2, 3])
    with pytest.raises(InvalidInputError, match="finite"):
        rank_correlation([1, 2, 3, np.nan], [1, 2, 3, 4])
    with pytest.raises(InvalidInputError, match="no group"):
        within_groups([1, 2, 3, 4], [1, 2, 3, 4], list("aabb"))


def test_ranks_are_aggregated_with_their_weights() -> None:
    values = {"loss": [2.0, 1.0, 3.0], "score": [10.0, 30.0, 20.0]}
    directions = {"loss": "minimize", "score": "maximize"}
    found = aggregate_ranks(values, directions, {"loss": 3.0, "score": 1.0})
    # ranks by loss 2 1 3, by score 3 1 2
    np.testing.assert_allclose(found.mean, [(3 * 2 + 3) / 4, 1, (3 * 3 + 2) / 4])
    assert found.best.tolist() == [2, 1, 2]
    assert found.worst.tolist() == [3, 1, 3]
    tied = aggregate_ranks({"loss": [1.0, 1.0, 2.0]}, directions)
    assert tied.best.tolist() == [1, 1, 3]


def test_ensembles_refuse_nonsense() -> None:
    with pytest.raises(InvalidInputError, match="at least one"):
        aggregate_ranks({}, {})
    with pytest.raises(InvalidInputError, match="equal length"):
        aggregate_ranks({"a": [1.0], "b": [1.0, 2.0]}, {"a": "minimize", "b": "minimize"})
    with pytest.raises(InvalidInputError, match="weights"):
        aggregate_ranks({"a": [1.0, 2.0]}, {"a": "minimize"}, {"a": -1.0})
