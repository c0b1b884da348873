"""How well a proxy orders architectures of equal size, and what choosing by it costs.

Over all sizes every count of parameters orders models well, which tells nothing of shape. What a search needs is the
order among models that cost the same memory. The pairing rule: architectures of one recipe (same data, batch, task),
sorted by total parameters, form groups from the smallest on whose largest has at most ``WITHIN`` times the parameters
of its smallest. Three figures follow:

* Spearman's rho within groups of at least ``SMALLEST_GROUP``, the mean over groups weighted by their members;
* concordance: the share of pairs of one group that the proxy orders as measured, ties counting half;
* regret: the measured quality that is lost, on average over groups, by taking the proxy's best instead of the best.

Intervals (80 %) are percentiles of a bootstrap that draws architectures within each group, and groups for the regret;
differences between proxies use the same draws for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.arrays import Floats
from archsearch.errors import InvalidInputError
from archsearch.quality.rank_agreement import SMALLEST_GROUP

WITHIN = 1.2
"""Largest over smallest of a group, in total parameters."""
RESAMPLES = 400
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One proxy against a table, within equal size; ``*_interval`` are 80 % intervals.

    ``pairs`` are those of equal size whose measured qualities differ, ``models`` the members of groups that Spearman
    speaks of. NaN where no group is large enough.
    """

    pairs: int
    models: int
    spearman: float
    spearman_interval: Interval
    concordance: float
    concordance_interval: Interval
    regret: float
    regret_interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualSizes:
    """Measured qualities [N], smaller is better, and the groups of equal size among them (indices into N)."""

    measured: Floats
    groups: tuple[NDArray[np.intp], ...]

    @property
    def pairs(self) -> int:
        """Pairs of equal size whose measured qualities differ."""
        return sum(_pairs(self.measured[g]) for g in self.groups)

    def agreement(self, predicted: ArrayLike) -> Agreement:
        """Figures of predictions [N], smaller is better.

        Raises:
            InvalidInputError: another length, or values that are not finite.
        """
        drawn = self._figures(_column(predicted, len(self.measured)))
        value, low, high = drawn[0], *_interval(drawn[1:])
        models = sum(len(g) for g in self.groups if len(g) >= SMALLEST_GROUP)
        intervals = list(zip(low.tolist(), high.tolist(), strict=True))
        return Agreement(
            pairs=self.pairs,
            models=models,
            spearman=float(value[0]),
            spearman_interval=intervals[0],
            concordance=float(value[1]),
            concordance_interval=intervals[1],
            regret=float(value[2]),
            regret_interval=intervals[2],
        )

    def spearman_gain(self, predicted: ArrayLike, baseline: ArrayLike) -> tuple[float, Interval]:
        """Spearman of one column of predictions less that of another, with the 80 % interval of the difference.

        Raises:
            InvalidInputError: as ``agreement``.
        """
        n = len(self.measured)
        gain = self._figures(_column(predicted, n))[:, 0] - self._figures(_column(baseline, n))[:, 0]
        low, high = _interval(gain[1:, None])
        return float(gain[0]), (float(low[0]), float(high[0]))

    def _figures(self, predicted: Floats) -> Floats:
        """Spearman, concordance and regret [1 + RESAMPLES, 3]: first of the table itself, then of draws."""
        rng = np.random.default_rng(0)
        rho, rho_weight, right, pairs = (np.zeros(1 + RESAMPLES) for _ in range(4))
        lost = []
        for group in self.groups:
            n = len(group)
            picks = np.vstack([np.arange(n), rng.integers(0, n, (RESAMPLES, n))])
            x, y = predicted[group], self.measured[group]
            if n >= SMALLEST_GROUP:
                found = _spearman(x[picks], y[picks])
                known = np.isfinite(found)
                rho += np.where(known, found, 0.0) * n
                rho_weight += known * n
            if n >= 2:
                hits, all_pairs = _concordant(x, y, picks)
                right, pairs = right + hits, pairs + all_pairs
                lost.append(_regret(x, y))
        choices = rng.integers(0, max(len(lost), 1), (RESAMPLES, max(len(lost), 1)))
        regrets = np.array(lost or [np.nan])
        with np.errstate(invalid="ignore", divide="ignore"):
            regret = np.concatenate([[regrets.mean()], regrets[choices].mean(axis=1)])
            return np.stack([rho / rho_weight, right / pairs, regret], axis=1)


def equal_sizes(
    measured: ArrayLike, parameters: ArrayLike, recipes: Sequence[object], within: float = WITHIN
) -> EqualSizes:
    """Groups of equal size by the rule at the top of this module.

    Args:
        measured: quality [N], smaller is better.
        parameters: total parameters [N].
        recipes: what rows must share to be compared [N].
        within: largest over smallest of a group.

    Raises:
        InvalidInputError: columns of different length, or values that are not finite.
    """
    y = np.asarray(measured, float)
    n, labels = _column(parameters, len(y)), np.asarray([str(recipe) for recipe in recipes])
    if len(labels) != len(y):
        raise InvalidInputError(f"{len(labels)} recipes for {len(y)} architectures; every one needs its own")
    _column(y, len(y))
    groups: list[NDArray[np.intp]] = []
    for label in dict.fromkeys(labels.tolist()):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(n[members], kind="stable")]
        start = 0
        for end in range(1, len(members) + 1):
            if end == len(members) or n[members[end]] > within * n[members[start]]:
                groups.append(members[start:end])
                start = end
    return EqualSizes(measured=y, groups=tuple(groups))


def _column(values: ArrayLike, length: int) -> Floats:
    column = np.asarray(values, float)
    if column.shape != (length,):
        raise InvalidInputError(f"a column of {length} values is needed, not one of shape {column.shape}")
    if not np.isfinite(column).all():
        raise InvalidInputError("orders need finite values; drop architectures that have none")
    return column


def _pairs(y: Floats) -> int:
    return int(np.count_nonzero(np.triu(y[:, None] != y)))


def _spearman(x: Floats, y: Floats) -> Floats:
    """Rho of rows [R, n]; 0 where only the prediction is constant, NaN where the measurement is."""
    from scipy.stats import rankdata

    a, b = rankdata(x, axis=1), rankdata(y, axis=1)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.sum(a * a, axis=1) * np.sum(b * b, axis=1))
    told = np.any(b != 0, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where(spread > 0, np.sum(a * b, axis=1) / spread, 0.0)
    return np.where(told, rho, np.nan)


def _concordant(x: Floats, y: Floats, picks: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Pairs ordered as measured (ties count half), and all pairs that differ, of each draw [R]."""
    counts = np.zeros((len(picks), len(x)))
    np.add.at(counts, (np.arange(len(picks))[:, None], picks), 1.0)
    differ = (y[:, None] < y).astype(float)
    right = differ * (0.5 + 0.5 * np.sign(x - x[:, None]))
    return np.einsum("ri,ij,rj->r", counts, right, counts, optimize=True), np.einsum(
        "ri,ij,rj->r", counts, differ, counts, optimize=True
    )


def _regret(x: Floats, y: Floats) -> float:
    """What the prediction's best of a group [n] loses against the best; of several bests the mean."""
    return float(y[x == x.min()].mean() - y.min())


def _interval(draws: Floats) -> tuple[Floats, Floats]:
    """80 % percentiles of draws [R, k]; NaN where no draw of a column is known."""
    low, high = np.full(draws.shape[1], np.nan), np.full(draws.shape[1], np.nan)
    known = ~np.isnan(draws).all(axis=0)
    if known.any():
        low[known], high[known] = np.nanpercentile(draws[:, known], [10, 90], axis=0)
    return low, high
