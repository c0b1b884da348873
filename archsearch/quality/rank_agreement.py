"""How well a proxy ranks: Kendall's tau and Spearman's rho with bootstrap intervals, overall and within groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.errors import InvalidInputError

RESAMPLES = 2000
SMALLEST_GROUP = 4
"""Groups with fewer members tell nothing of ranking."""


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Correlation of predicted with measured order, with 80 % bootstrap intervals (low, high)."""

    count: int
    kendall: float
    kendall_interval: tuple[float, float]
    spearman: float
    spearman_interval: tuple[float, float]


def rank_correlation(
    predicted: ArrayLike, measured: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES
) -> RankCorrelation:
    """Kendall's tau-b and Spearman's rho of two columns [N].

    Intervals resample architectures with replacement (80 %, percentiles); resamples without spread are left out.

    Raises:
        InvalidInputError: columns of different length, fewer than ``SMALLEST_GROUP``, or not finite.
    """
    x, y = np.asarray(predicted, float), np.asarray(measured, float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < SMALLEST_GROUP:
        raise InvalidInputError(f"rank correlation needs two columns of at least {SMALLEST_GROUP} values each")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InvalidInputError("rank correlation needs finite values; drop architectures that have none")
    picks = np.random.default_rng(seed).integers(0, len(x), size=(resamples, len(x)))
    taus, rhos = zip(*(correlation(x[p], y[p]) for p in picks), strict=True)
    tau, rho = correlation(x, y)
    return RankCorrelation(len(x), tau, _interval(taus), rho, _interval(rhos))


def within_groups(
    predicted: ArrayLike, measured: ArrayLike, groups: Sequence[object], *, seed: int = 0
) -> RankCorrelation:
    """Mean correlation over groups of at least ``SMALLEST_GROUP``; intervals resample within each group.

    Raises:
        InvalidInputError: no group is large enough.
    """
    x, y, labels = np.asarray(predicted, float), np.asarray(measured, float), np.asarray(groups)
    members = [np.flatnonzero(labels == label) for label in dict.fromkeys(labels.tolist())]
    members = [m for m in members if len(m) >= SMALLEST_GROUP]
    if not members:
        raise InvalidInputError(f"no group has {SMALLEST_GROUP} architectures")
    rng = np.random.default_rng(seed)
    tau, rho = np.mean([correlation(x[m], y[m]) for m in members], axis=0)
    draws = []
    for _ in range(RESAMPLES // 4):
        draw = np.array([correlation(x[p], y[p]) for p in (m[rng.integers(0, len(m), len(m))] for m in members)])
        if np.isfinite(draw).all():  # resamples of one value say nothing
            draws.append(draw.mean(axis=0))
    taus, rhos = np.array(draws).T
    return RankCorrelation(sum(map(len, members)), float(tau), _interval(taus), float(rho), _interval(rhos))


def correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Kendall's tau-b and Spearman's rho; NaN where a column is constant."""
    from scipy.stats import rankdata

    dx, dy = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    pairs = np.sqrt(np.sum(dx**2) * np.sum(dy**2))
    if not pairs > 0:
        return float("nan"), float("nan")
    return float(np.sum(dx * dy) / pairs), float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def _interval(draws: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanpercentile(np.asarray(draws, float), [10, 90])
    return float(low), float(high)
