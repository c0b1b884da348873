"""Fitting a kernel model's coefficients to measured latencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from archsearch.arrays import Rows
from archsearch.cost.kernels.kernel_cost import Array, Coefficient, Dims, KernelModel
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

OUTLIER_LOG = 0.1
"""Residual in natural-log units beyond which the robust loss grows linearly: about 10 %."""
LOG_STEP = 1e-4
POWER = ("throttle_fraction", "throttle_time_s")
HELD = 1e4
"""How much harder a coefficient is drawn to its prior that the rows cannot tell."""


@dataclass(frozen=True, slots=True)
class Group:
    """Measured rows of one GPU and format: ``dims`` of shape [S] each, ``latency_s`` of shape [S]."""

    gpu: GpuSpec
    dtype: DType
    dims: Dims
    latency_s: Array
    bursts: bool = False
    """Whether rows were timed in bursts among other kernels, too short for the board's power limit to set in."""

    def __len__(self) -> int:
        return len(self.latency_s)

    def take(self, index: Rows) -> Group:
        """The rows at an index or mask."""
        dims = {k: v if np.ndim(v) == 0 else np.asarray(v)[index] for k, v in self.dims.items()}
        return Group(self.gpu, self.dtype, dims, self.latency_s[index], self.bursts)


def log_residuals(model: KernelModel, group: Group, values: Mapping[str, float]) -> Array:
    """log(predicted / measured) of every row, shape [S]."""
    predicted = model.predict(group.gpu, group.dtype, group.dims, values).latency_s
    return np.asarray(np.log(predicted / group.latency_s))


def fit(
    model: KernelModel,
    groups: Sequence[Group],
    *,
    prior: Mapping[str, float] | None = None,
    prior_weight: float = 1.0,
    iterations: int = 40,
) -> dict[str, float]:
    """Coefficients that minimise a robust loss of log(predicted / measured) over one or several GPUs.

    Coefficients are fitted as logarithms within their bounds (scipy ``least_squares``, soft-L1). Each is drawn to
    ``prior`` (its start value where none is given) with a Gaussian of ``prior_log_std``, counted
    ``prior_weight`` times as one row. Several groups share the values; each weighs the same whatever its rows. Where
    all rows were timed in bursts, what the power limit costs stays at the prior.
    """
    names = [c.name for c in model.coefficients]
    centre = np.log([(prior or {}).get(c.name, c.start) for c in model.coefficients])
    low, high = np.log([c.low for c in model.coefficients]), np.log([c.high for c in model.coefficients])
    start = np.clip(centre, low + 1e-6, high - 1e-6)
    weights = [1.0 / np.sqrt(len(g) / max(len(x) for x in groups)) for g in groups]
    pull = np.sqrt(prior_weight) / np.array([c.prior_log_std for c in model.coefficients])
    if all(group.bursts for group in groups):
        pull[[name in POWER for name in names]] *= HELD

    def residuals(theta: Array) -> Array:
        values = dict(zip(names, np.exp(theta), strict=True))
        rows = [w * log_residuals(model, g, values) for g, w in zip(groups, weights, strict=True)]
        return np.concatenate([*rows, OUTLIER_LOG * pull * (theta - centre)])

    def jacobian(theta: Array) -> Array:
        values = dict(zip(names, np.exp(theta), strict=True))
        rows = [w * _log_slopes(_frozen(model, g, values), names, theta) for g, w in zip(groups, weights, strict=True)]
        return np.vstack([*rows, np.diag(OUTLIER_LOG * pull)])

    result = least_squares(
        residuals,
        start,
        jacobian,
        bounds=(low, high),
        loss="soft_l1",
        f_scale=OUTLIER_LOG,
        max_nfev=iterations,
        x_scale="jac",
    )
    return dict(zip(names, (float(x) for x in np.exp(result.x)), strict=True))


def _frozen(model: KernelModel, group: Group, values: Mapping[str, float]) -> Callable[[Mapping[str, float]], Array]:
    freeze = getattr(model, "freeze", None)
    if freeze is not None:
        latency: Callable[[Mapping[str, float]], Array] = freeze(group.gpu, group.dtype, group.dims, values)
        return latency
    return lambda v: model.predict(group.gpu, group.dtype, group.dims, v).latency_s


def _log_slopes(latency: Callable[[Mapping[str, float]], Array], names: Sequence[str], theta: Array) -> Array:
    """d log(latency) / d theta by forward differences, shape [S, len(names)]."""

    def at(point: Array) -> Array:
        return np.log(latency(dict(zip(names, np.exp(point), strict=True))))

    base = at(theta)
    slopes = np.empty((base.size, theta.size))
    for j in range(theta.size):
        moved = theta.copy()
        moved[j] += LOG_STEP
        slopes[:, j] = (at(moved) - base) / LOG_STEP
    return slopes


def bounds_hit(coefficients: Sequence[Coefficient], values: Mapping[str, float]) -> list[str]:
    """Names of coefficients that ended on a bound: the mechanism wants something that it cannot say."""
    return [c.name for c in coefficients if not c.low * 1.01 < values[c.name] < c.high / 1.01]
