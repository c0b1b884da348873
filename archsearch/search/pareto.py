"""Exact Pareto fronts of many points, and the knee of a front.

Convention: an N×M array of objectives, every column *minimised* (negate what is maximised). A point p
dominates q when p ≤ q in every column and p < q in at least one. The front is the set of points that no
point dominates; points with equal objectives do not dominate each other, so ties stay together.

NaN: a row with a NaN has no place in the order. It is never on the front and dominates nothing.
Infinities are ordinary values.

Derivation of the general case. Sort rows lexicographically. If p dominates q, then at the first column where
they differ p is smaller, so p precedes q: a row can only be dominated by an earlier one. Dominance is
transitive, so it suffices to compare a row with the *front* rows before it: were it dominated by a non-front
row, that row is itself dominated by a front row, which then dominates this row as well. Hence one pass in
sorted order, in blocks: compare a block with the front found so far, then settle the block within itself.
With front size F the cost is O(N log N + N·F·M) time and O(B·F) memory for blocks of B rows; for M = 2 the
test against the front collapses to a running minimum of the second column, and for M = 1 to a minimum.

Before the pass, rows that lose to one strong point (smallest sum of normalised objectives) are dropped; each
such round removes most of a random cloud for one vectorised comparison, and changes nothing in the result.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.arrays import Column

_BLOCK_ROWS = 512
_FILTER_ROUNDS = 8
_FILTER_MIN_ROWS = 4096
_CHAMPIONS = 12

FloatMatrix = NDArray[np.float64]
BoolVector = NDArray[np.bool_]


def non_dominated(objectives: FloatMatrix) -> BoolVector:
    """Mask [N] of the rows of ``objectives`` [N, M] (all minimised) that no row dominates.

    Rows with a NaN get False. Equal rows are kept together. M must be at least 1.
    """
    points = np.asarray(objectives, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] < 1:
        raise ValueError(f"objectives must be an [N, M] array with M >= 1, not of shape {points.shape}")
    mask = np.zeros(len(points), dtype=bool)
    rows = np.flatnonzero(~np.isnan(points).any(axis=1))
    if rows.size == 0:
        return mask
    rows = _prefilter(points, rows)
    rows = rows[np.lexsort(points[rows].T[::-1])]
    ordered = points[rows]
    fresh = np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1)))
    unique = ordered[fresh]
    keep = _sweep(unique) if unique.shape[1] <= 2 else _blocked(unique)
    mask[rows] = keep[np.cumsum(fresh) - 1]
    return mask


def _prefilter(points: FloatMatrix, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Drop rows that a few strong points dominate; the front is unchanged."""
    for _ in range(_FILTER_ROUNDS):
        if rows.size < _FILTER_MIN_ROWS:
            break
        values = points[rows]
        low, high = values.min(axis=0), values.max(axis=0)
        span = high - low
        usable = np.isfinite(span) & (span > 0)
        if not usable.any():
            break
        weights = np.where(usable, 1.0 / np.where(usable, span, 1.0), 0.0)
        with np.errstate(invalid="ignore"):
            scaled = np.where(usable, (values - low) * weights, 0.0)
        champion = values[np.argmin(scaled.sum(axis=1))]
        dominated = (values >= champion).all(axis=1) & (values > champion).any(axis=1)
        removed = int(dominated.sum())
        rows = rows[~dominated]
        if removed < rows.size // 8:
            break
    return rows


def _sweep(unique: FloatMatrix) -> BoolVector:
    """Front of lexicographically sorted distinct rows with one or two columns: O(N)."""
    if unique.shape[1] == 1:
        keep = np.zeros(len(unique), dtype=bool)
        keep[0] = True
        return keep
    second = unique[:, 1]
    best_before = np.concatenate(([np.inf], np.minimum.accumulate(second)[:-1]))
    keep = second < best_before
    keep[0] = True  # the first row in order is dominated by none, even at +inf
    return keep


def _blocked(unique: FloatMatrix) -> BoolVector:
    """Front of lexicographically sorted distinct rows, block by block: O(N·F·M) time, O(B·F) memory.

    Rows are distinct and earlier rows never exceed later ones in the first column, so "≤ in the other
    columns" is dominance.
    """
    keep = np.zeros(len(unique), dtype=bool)
    rest = np.ascontiguousarray(unique[:, 1:])
    front = np.empty((0, rest.shape[1]))
    for start in range(0, len(unique), _BLOCK_ROWS):
        block = rest[start : start + _BLOCK_ROWS]
        alive = np.flatnonzero(~_covered(block, front))
        inside = _at_most(block[alive], block[alive])
        earlier = np.triu(np.ones_like(inside), k=1)  # [i, j]: row i stands before row j
        alive = alive[~(inside & earlier).any(axis=0)]
        keep[start + alive] = True
        front = np.concatenate((front, block[alive]))
    return keep


def _at_most(left: FloatMatrix, right: FloatMatrix) -> NDArray[np.bool_]:
    """[i, j]: row i of ``left`` is ≤ row j of ``right`` in every column."""
    result = left[:, None, 0] <= right[None, :, 0]
    for column in range(1, left.shape[1]):
        result &= left[:, None, column] <= right[None, :, column]
    return result


def _covered(block: FloatMatrix, front: FloatMatrix) -> BoolVector:
    """Rows of ``block`` that some front row equals or beats in every column."""
    covered = np.zeros(len(block), dtype=bool)
    for start in range(0, len(front), 8 * _BLOCK_ROWS):
        covered |= _at_most(front[start : start + 8 * _BLOCK_ROWS], block).any(axis=0)
    return covered


def survivors(objectives: FloatMatrix, front: FloatMatrix) -> NDArray[np.int64]:
    """Rows of ``objectives`` [N, M] that may stand on the front together with ``front`` [F, M]; no front row is lost.

    Two columns: exact, one binary search per row. More: rows that a few spread members of the front dominate go.
    Rows with a NaN may stay: ``non_dominated`` drops them.
    """
    if not len(front) or not len(objectives):
        return np.arange(len(objectives))
    if objectives.shape[1] == 2:
        order = np.lexsort(front.T[::-1])
        first, second = front[order].T
        best = np.minimum.accumulate(second)
        place = np.searchsorted(first, objectives[:, 0], side="right") - 1
        beaten = (place >= 0) & (objectives[:, 1] > best[place])
        return np.flatnonzero(~beaten)
    rows = np.arange(len(objectives))
    order = knee_order(front)
    for champion in front[order[:: max(1, len(order) // _CHAMPIONS)]]:
        points = objectives[rows]
        beaten = (points >= champion).all(axis=1) & (points > champion).any(axis=1)
        rows = rows[~beaten]
    return rows


def merge_fronts(*fronts: tuple[FloatMatrix, Column]) -> tuple[FloatMatrix, Column]:
    """Front of a union: each part is (objectives [N_i, M], payload [N_i, ...]).

    A point of the union's front is on the front of its own part, so merging the parts' fronts loses nothing:
    chunks of a space can be reduced one after another in memory proportional to the front.
    """
    objectives = np.concatenate([part[0] for part in fronts])
    payload = np.concatenate([part[1] for part in fronts])
    keep = non_dominated(objectives)
    return objectives[keep], payload[keep]


def normalize(objectives: FloatMatrix) -> FloatMatrix:
    """Columns scaled to [0, 1] over the rows [N, M]; a constant column becomes 0."""
    points = np.asarray(objectives, dtype=np.float64)
    low = points.min(axis=0)
    span = points.max(axis=0) - low
    return np.asarray((points - low) / np.where(span > 0, span, 1.0))


def knee_order(objectives: FloatMatrix, weights: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Order [N] of a front's rows [N, M], the knee first.

    In normalised objectives x the extremes of a front lie on the axes at 1, and the plane Σ w_i x_i = const through
    them (for equal weights) is the rate at which the front as a whole trades one objective for another. A row is
    the better the deeper it lies below that plane, so rows are ordered by Σ w_i x_i. Ties (rows on one such
    plane) go to the more balanced row, the one nearer to the ideal point, then to the lower row number.
    """
    scaled = normalize(objectives)
    w = np.ones(scaled.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    level = np.round(scaled @ (w / w.sum()), 12)
    return np.lexsort((np.round((scaled**2) @ w, 12), level))


def objective_matrix(columns: Mapping[str, ArrayLike], objectives: Mapping[str, float]) -> NDArray[np.float64]:
    """[N, M] objectives, all minimised, from metric columns and {column: sign}."""
    return np.stack([sign * np.asarray(columns[name], dtype=np.float64) for name, sign in objectives.items()], axis=1)
