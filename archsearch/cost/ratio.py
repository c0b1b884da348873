"""The band of a ratio of two estimates: what both share cancels.

An estimate's band holds two kinds of error. That of a run (``Estimate.spread``: library, host, clock, framework) is the
same for two runs of one kind on one GPU under one execution, as far as they spend their time alike: it stays by half of
the sum of |share of one − share of the other| over the ops, the share of time that lies elsewhere. That of a kernel
(its family's residuals) is the same where both runs have the same op at the same shape, and independent elsewhere. With
b an op's half width in logarithms and w its share of a run's time, the ratio's half width is

    √(Σ_same (w₁ − w₂)² b² + Σ_other (w₁² b₁² + w₂² b₂²) + d² s²),   d = ½ Σ |w₁ − w₂|,

and √(s₁² + s₂²) in place of d s where kind, GPU or execution differ, which the caller says (``alike``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Floats, Mask, as_float
from archsearch.cost.estimate import Estimate, OpCost


@dataclass(frozen=True, slots=True)
class Ratio:
    """Seconds of one run over those of another, with the 80 % band; scalars or arrays that broadcast."""

    value: Floats
    low: Floats
    high: Floats


def ratio_of(first: Estimate, second: Estimate, *, alike: bool | None = None) -> Ratio:
    """How many times as long the first run takes as the second.

    Args:
        first, second: estimates whose arrays broadcast against each other.
        alike: whether both are of one kind and run on one GPU, so that they share the error of a run; by default where
            spread and execution are equal.
    """
    if alike is None:
        alike = first.spread == second.spread and first.execution == second.execution
    value = as_float(first.latency_s) / as_float(second.latency_s)
    kernels, moved = _differences(first, second)
    spread = (0.5 * moved) ** 2 * first.spread**2 if alike else first.spread**2 + second.spread**2
    width = np.exp(np.sqrt(kernels + spread))
    return Ratio(value, value / width, value * width)


def _differences(first: Estimate, second: Estimate) -> tuple[Floats, Floats]:
    """The squared half width that kernels leave, and the sum of differences between the shares of time."""
    mine, theirs = ({item.name: item for item in run.breakdown} for run in (first, second))
    kernels, moved = as_float(0.0), as_float(0.0)
    for name in dict.fromkeys((*mine, *theirs)):
        one, other = mine.get(name), theirs.get(name)
        w1, b1 = _part(one, first)
        w2, b2 = _part(other, second)
        same = _is_same(one, other)
        kernels = kernels + np.where(same, ((w1 - w2) * b1) ** 2, (w1 * b1) ** 2 + (w2 * b2) ** 2)
        moved = moved + np.abs(w1 - w2)
    return kernels, moved


def _part(item: OpCost | None, run: Estimate) -> tuple[Floats, Floats]:
    """An op's share of a run's time, and half of its band's width in logarithms."""
    if item is None:
        return as_float(0.0), as_float(0.0)
    each = as_float(item.cost.latency_s)
    share = each * as_float(item.count) / as_float(run.latency_s)
    with np.errstate(all="ignore"):  # ops that take no time
        half = np.log(as_float(item.cost.high_s) / as_float(item.cost.low_s)) / 2.0
    return share, np.where(each > 0.0, half, 0.0)


def _is_same(one: OpCost | None, other: OpCost | None) -> Mask:
    """Whether two ops of one name are the same kernel at the same shape."""
    if one is None or other is None:
        return np.asarray(False)
    pairs = (
        (one.cost.latency_s, other.cost.latency_s),
        (one.flops, other.flops),
        (one.memory_bytes, other.memory_bytes),
    )
    same = np.asarray(True)
    for mine, theirs in pairs:
        same = same & np.equal(as_float(mine), as_float(theirs))
    return same
