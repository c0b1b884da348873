"""Pareto fronts against the definition, spelled out pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from archsearch.search.pareto import knee_order, merge_fronts, non_dominated, normalize, survivors

grid_values = st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, -1.5, np.inf, -np.inf, np.nan])
matrices = hnp.arrays(
    np.float64, st.tuples(st.integers(0, 24), st.integers(1, 5)), elements=grid_values, fill=st.nothing()
)


def brute_force(points: np.ndarray) -> np.ndarray:
    """The definition, one pair at a time."""
    legal = [not any(np.isnan(v) for v in row) for row in points]
    front = []
    for i, q in enumerate(points):
        beaten = any(
            legal[j]
            and all(a <= b for a, b in zip(p, q, strict=True))
            and any(a < b for a, b in zip(p, q, strict=True))
            for j, p in enumerate(points)
        )
        front.append(legal[i] and not beaten)
    return np.array(front, dtype=bool)


@given(matrices)
@settings(max_examples=300, deadline=None)
def test_front_is_the_definition(points: np.ndarray) -> None:
    np.testing.assert_array_equal(non_dominated(points), brute_force(points))


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_large_clouds_cross_blocks_and_filter(columns: int) -> None:
    rng = np.random.default_rng(columns)
    cloud = rng.normal(size=(6000, columns))
    # a curved front keeps many points alive, so several blocks hold front rows
    shell = np.abs(rng.normal(size=(2500, columns)))
    shell = -shell / np.linalg.norm(shell, axis=1, keepdims=True) * 5
    points = np.concatenate((cloud, shell, shell[:100]))
    mask = non_dominated(points)
    front = points[mask]
    dominated_by_front = (
        ((front[:, None, :] <= points[None]).all(-1) & (front[:, None, :] < points[None]).any(-1)).any(0)
        if len(front) < 600
        else np.array([((front <= p).all(1) & (front < p).any(1)).any() for p in points])
    )
    np.testing.assert_array_equal(mask, ~dominated_by_front)


@given(matrices, st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_merging_chunk_fronts_equals_front_of_everything(points: np.ndarray, parts: int) -> None:
    rows = np.arange(len(points))
    pieces = [
        (points[chunk][m], chunk[m]) for chunk in np.array_split(rows, parts) for m in [non_dominated(points[chunk])]
    ]
    merged = merge_fronts(*pieces)[1]
    assert sorted(merged.tolist()) == np.flatnonzero(brute_force(points)).tolist()


numbers = st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.5])
pairs_of_clouds = st.integers(2, 4).flatmap(
    lambda columns: st.tuples(
        *(
            hnp.arrays(np.float64, st.tuples(st.integers(1, 16), st.just(columns)), elements=numbers, fill=st.nothing())
            for _ in range(2)
        )
    )
)


@given(pairs_of_clouds)
@settings(max_examples=150, deadline=None)
def test_what_a_front_leaves_of_a_cloud_has_all_that_stands_beside_it(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    known, cloud = clouds
    front = known[brute_force(known)]
    left = set(survivors(cloud, front).tolist())
    with_front = brute_force(np.concatenate((front, cloud)))[len(front) :]
    assert set(np.flatnonzero(with_front)) <= left
    worse_than_all = (cloud[:, None, :] > front[None]).all(axis=(1, 2))
    assert not left & set(np.flatnonzero(worse_than_all))
    if cloud.shape[1] == 2:  # by one search per row: whoever is worse than any member in both is found
        worse_than_any = (cloud[:, None, :] > front[None]).all(axis=2).any(axis=1)
        assert not left & set(np.flatnonzero(worse_than_any))


def test_a_front_of_nothing_leaves_everything_and_takes_nothing_from_nothing() -> None:
    points = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    assert survivors(points, np.empty((0, 3))).tolist() == [0, 1]
    assert survivors(np.empty((0, 3)), points).tolist() == []
    assert survivors(points, points[:1]).tolist() == [0]  # a member that stands in the cloud too stays


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="N, M"):
        non_dominated(np.zeros(3))
    assert non_dominated(np.empty((0, 2))).shape == (0,)


def test_knee_is_the_corner() -> None:
    front = np.array([[0.0, 10.0], [1.0, 2.0], [9.0, 1.0], [10.0, 0.0]])
    # sums of normalised objectives: 1, 0.1 + 0.2, 0.9 + 0.1, 1; the balanced one of equals comes first
    assert knee_order(front)[0] == 1
    line = np.array([[0.0, 1.0], [0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])
    assert knee_order(line)[0] == 2


def test_constant_objective_does_not_divide_by_zero() -> None:
    np.testing.assert_array_equal(normalize(np.array([[1.0, 5.0], [3.0, 5.0]])), [[0.0, 0.0], [1.0, 0.0]])


def test_weights_move_the_choice() -> None:
    front = np.array([[0.0, 1.0], [0.4, 0.4], [1.0, 0.0]])
    assert knee_order(front)[0] == 1
    assert knee_order(front, np.array([100.0, 1.0]))[0] == 0
    assert knee_order(front, np.array([1.0, 100.0]))[0] == 2


def test_weights_are_shares_of_their_sum() -> None:
    """By hand, weights 2 and 1: a third for (0, 1), two thirds for (1, 0), 0.3 for (0.2, 0.5)."""
    front = np.array([[0.0, 1.0], [1.0, 0.0], [0.2, 0.5]])
    for weights in ([2.0, 1.0], [0.2, 0.1], [20.0, 10.0]):
        assert knee_order(front, weights).tolist() == [2, 0, 1]
