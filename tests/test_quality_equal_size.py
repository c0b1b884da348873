"""Order within equal size: groups, concordance and regret by hand, and against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from archsearch.errors import InvalidInputError
from archsearch.quality.equal_size import equal_sizes


def test_groups_start_at_the_smallest_and_end_at_a_fifth_more() -> None:
    sizes = [100, 119, 120, 121, 145, 146, 100]
    groups = equal_sizes(np.arange(7.0), sizes, ["a"] * 6 + ["b"]).groups
    # 121 > 1.2 * 100 opens a group, 145 <= 1.2 * 121 = 145.2, 146 does not; the other recipe stands alone
    assert [g.tolist() for g in groups] == [[0, 1, 2], [3, 4], [5], [6]]


def test_figures_by_hand() -> None:
    measured = [3.0, 1.0, 2.0, 4.0, 10.0, 8.0]
    predicted = [1.0, 2.0, 3.0, 4.0, 5.0, 5.0]
    found = equal_sizes(measured, [100] * 4 + [500] * 2, ["r"] * 6).agreement(predicted)
    # first group: pairs (0,1) and (0,2) are wrong, 4 of 6 right; second group: a tie counts half
    assert found.pairs == 7
    assert found.concordance == pytest.approx(4.5 / 7)
    # ranks 3 1 2 4 against 1 2 3 4: 1 - 6 * (4 + 1 + 1) / (4 * 15); the group of two is too small for rho
    assert found.spearman == pytest.approx(1 - 36 / 60)
    assert found.models == 4
    # the law's first is 3.0 where 1.0 was to be had; of the tied pair the mean, 9, where 8 was
    assert found.regret == pytest.approx((2.0 + 1.0) / 2)


def test_a_proxy_that_knows_the_order_has_no_regret_and_one_that_sees_nothing_no_order() -> None:
    measured = np.array([1.0, 2, 3, 4, 5, 6])
    table = equal_sizes(measured, [1] * 6, [0] * 6)
    right, blind = table.agreement(measured**3), table.agreement(np.ones(6))
    assert (right.spearman, right.concordance, right.regret) == (pytest.approx(1), 1, 0)
    assert (blind.spearman, blind.concordance, blind.regret) == (0, 0.5, pytest.approx(2.5))
    gain, (low, high) = table.spearman_gain(measured, np.ones(6))
    assert gain == pytest.approx(1)
    assert low == pytest.approx(1)
    assert high == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 40)), min_size=4, max_size=25))
def test_against_brute_force(rows: list[tuple[int, int, int]]) -> None:
    x, y, n = (np.array(column, float) for column in zip(*rows, strict=True))
    table = equal_sizes(y, n, ["r"] * len(rows))
    assert sorted(i for g in table.groups for i in g) == list(range(len(rows)))
    right = pairs = 0.0
    weighted, members = 0.0, 0
    for group in table.groups:
        assert n[group].max() <= 1.2 * n[group].min()
        for i in group:
            for j in group:
                if y[i] < y[j]:
                    pairs += 1
                    right += 1.0 if x[i] < x[j] else 0.5 if x[i] == x[j] else 0.0
        if len(group) >= 4 and len(set(y[group])) > 1:
            rho = spearmanr(x[group], y[group]).statistic if len(set(x[group])) > 1 else 0.0
            weighted, members = weighted + rho * len(group), members + len(group)
    found = table.agreement(x)
    assert found.pairs == pairs
    if pairs:
        assert found.concordance == pytest.approx(right / pairs)
    if members:
        assert found.spearman == pytest.approx(weighted / members)


def test_the_interval_of_a_difference_knows_that_both_saw_the_same_rows() -> None:
    rng = np.random.default_rng(1)
    y = rng.standard_normal(200)
    shared = y + rng.standard_normal(200)
    table = equal_sizes(y, [1] * 200, [0] * 200)
    gain, (low, high) = table.spearman_gain(shared + 1e-3 * rng.standard_normal(200), shared)
    width = np.diff(table.agreement(shared).spearman_interval)[0]
    assert low <= gain <= high
    assert high - low < 0.2 * width


def test_mistakes_are_told() -> None:
    with pytest.raises(InvalidInputError, match="2 recipes for 3"):
        equal_sizes([1, 2, 3], [1, 1, 1], ["a", "b"])
    table = equal_sizes([1, 2, 3, 4], [1, 1, 1, 1], ["a"] * 4)
    with pytest.raises(InvalidInputError, match="column of 4 values"):
        table.agreement([1, 2])
    with pytest.raises(InvalidInputError, match="finite"):
        table.agreement([1, 2, 3, np.nan])
