"""What a fit says of rows that it did not see: the band and the error that are stored with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Floats, Labels
from archsearch.bench.fit import Group
from archsearch.cost.calibration import BOUNDS, Band, Bound, KernelFit, Residuals
from archsearch.cost.kernels.kernel_cost import KernelModel

MIN_ROWS = 12
JOINT_ROWS = 1500
BAND = (0.1, 0.9)
SIGNIFICANT_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Unseen:
    """Residuals log(measured / predicted) of rows a fit did not see [S], and what bounded each row [S]."""

    residuals: Floats
    bound: Labels

    def mape(self) -> float:
        """Mean absolute percentage error of the predictions."""
        return float(np.mean(np.abs(np.expm1(-self.residuals))) * 100)


def unseen_rows(model: KernelModel, group: Group, values: Mapping[str, float]) -> Unseen:
    time = model.predict(group.gpu, group.dtype, group.dims, values)
    return Unseen(np.log(group.latency_s / time.latency_s), time.bound)


def pool(parts: Sequence[Unseen]) -> Unseen:
    return Unseen(np.concatenate([p.residuals for p in parts]), np.concatenate([p.bound for p in parts]))


def kernel_fit(
    values: Mapping[str, float],
    unseen: Unseen,
    groups: Mapping[str, Group],
    held_back: str,
    correction: str | None = None,
    carried: Mapping[str, float] | None = None,
) -> KernelFit:
    """A fit as it is stored: coefficients, and the band and error that unseen rows give it (by what bounds a row, where
    enough rows are bound so)."""
    bands: dict[Bound, Band] = {}
    for bound in BOUNDS:
        rows = unseen.residuals[unseen.bound == bound]
        rows = rows if rows.size >= 5 * MIN_ROWS else unseen.residuals
        low, high = np.exp(np.quantile(rows, BAND))
        bands[bound] = Band(low=rounded(min(low, 1.0)), high=rounded(max(high, 1.0)))
    return KernelFit(
        coefficients={name: rounded(value) for name, value in values.items()},
        bands=bands,
        residuals=Residuals(
            rows=int(unseen.residuals.size),
            mape=rounded(unseen.mape()),
            held_back=held_back,
        ),
        rows=sum(map(len, groups.values())),
        fitted_on=tuple(groups),
        correction=correction,
        carried=dict(carried or {}),
    )


def thinned(group: Group) -> Group:
    if len(group) <= JOINT_ROWS:
        return group
    return group.take(np.sort(np.random.default_rng(0).permutation(len(group))[:JOINT_ROWS]))


def rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
