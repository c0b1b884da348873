"""The band of a ratio of two estimates: what both share cancels.

An estimate's band holds two kinds of error. That of a run (``Estimate.spread``: library, host, clock, framework) is the
same for two runs of one kind on one GPU under one workload and execution (as architectures that are compared are), as
far as they spend their time alike: it stays by half of the sum of |share of one − share of the other| over the ops and
the waits for launches of every segment, the share of time that lies elsewhere. That of a kernel (its family's
residuals) is the same where both runs have the same op at the same shape, and independent elsewhere; waiting for the
host has none. With b an op's half width in logarithms and w its share of a run's time, the ratio's half width is

    √(Σ_same (w₁ b₁ − w₂ b₂)² + Σ_other (w₁² b₁² + w₂² b₂²) + d² s²),   d = ½ Σ |w₁ − w₂|,

and √(s₁² + s₂²) in place of d s where kind, GPU, workload or execution differ, which the caller says (``alike``).

Ops of one name in different segments (two text encoders, a denoising step and a decoder) are different ops. Of a run
that does not say what it consists of, nothing is known to be shared: the two bands add up in quadrature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from archsearch.arrays import FloatArray, Floats, Mask, as_float
from archsearch.cost.estimate import Estimate, OpCost, SegmentCost

Place = tuple[str, str, int]
"""Where an op stands in a run: its segment, its name, and which of that name there."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Seconds of one run over those of another, with the 80 % band; scalars or arrays that broadcast."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class _Part:
    """An op of a run: its share of the run's time, and half of its band's width in logarithms."""

    item: OpCost
    share: Floats
    half: Floats


def ratio_of(first: Estimate, second: Estimate, *, alike: bool | None = None) -> Ratio:
    """How many times as long the first run takes as the second.

    Args:
        first, second: estimates whose arrays broadcast against each other.
        alike: whether both are of one kind and run one workload on one GPU, so that they share the error of a run; by
            default where spread and execution are equal. Runs of other batches and lengths are not: what library, host
            and framework show changes with them.
    """
    if alike is None:
        alike = first.spread == second.spread and first.execution == second.execution
    value = as_float(first.latency_s) / as_float(second.latency_s)
    if first.segments and second.segments:
        kernels, moved = _of_kernels(first, second)
        moved = moved + _of_waits(first, second)
        spread = (0.5 * moved) ** 2 * first.spread**2 if alike else first.spread**2 + second.spread**2
        width = np.exp(np.sqrt(kernels + spread))
    else:
        width = np.exp(np.hypot(*(np.log(as_float(run.high_s) / as_float(run.low_s)) / 2 for run in (first, second))))
    return Ratio(value, value / width, value * width)


def _of_kernels(first: Estimate, second: Estimate) -> tuple[Floats, Floats]:
    """The squared half width that kernels leave, and the sum of differences between their shares of time."""
    mine, theirs = (dict(_parts(run)) for run in (first, second))
    kernels, moved = as_float(0.0), as_float(0.0)
    for place in dict.fromkeys((*mine, *theirs)):
        one, other = mine.get(place), theirs.get(place)
        w1, b1 = (as_float(0.0), as_float(0.0)) if one is None else (one.share, one.half)
        w2, b2 = (as_float(0.0), as_float(0.0)) if other is None else (other.share, other.half)
        same = _is_same(one, other)
        kernels = kernels + np.where(same, (w1 * b1 - w2 * b2) ** 2, (w1 * b1) ** 2 + (w2 * b2) ** 2)
        moved = moved + np.abs(w1 - w2)
    return kernels, moved


def _of_waits(first: Estimate, second: Estimate) -> Floats:
    """The sum of differences between the shares of time that the GPU waits for its host, segment by segment."""
    mine, theirs = (_waits(run) for run in (first, second))
    moved = as_float(0.0)
    for name in dict.fromkeys((*mine, *theirs)):
        moved = moved + np.abs(as_float(mine.get(name, 0.0)) - as_float(theirs.get(name, 0.0)))
    return moved


def _waits(run: Estimate) -> dict[str, FloatArray]:
    """The share of a run's time that each of its segments waits."""
    waits: dict[str, FloatArray] = {}
    for segment in run.segments:
        waits[segment.name] = waits.get(segment.name, 0.0) + _share(segment, segment.waits_s, run)
    return waits


def _parts(run: Estimate) -> Iterator[tuple[Place, _Part]]:
    """The ops of a run by their place in it."""
    met: Counter[tuple[str, str]] = Counter()
    for segment in run.segments:
        for item in segment.breakdown:
            name = (segment.name, item.name)
            share = _share(segment, as_float(item.cost.latency_s) * as_float(item.count), run)
            yield (*name, met[name]), _Part(item, share, _half_width(item))
            met[name] += 1


def _share(segment: SegmentCost, seconds: FloatArray, run: Estimate) -> Floats:
    """The share of a run's time that so many seconds of each of a segment's calls take."""
    return as_float(segment.times_of(as_float(seconds))) / as_float(run.latency_s)


def _half_width(item: OpCost) -> Floats:
    """Half of the width of an op's band, in logarithms; 0 for ops that take no time."""
    with np.errstate(all="ignore"):
        half = np.log(as_float(item.cost.high_s) / as_float(item.cost.low_s)) / 2.0
    return np.where(as_float(item.cost.latency_s) > 0.0, half, 0.0)


def _is_same(one: _Part | None, other: _Part | None) -> Mask:
    """Whether two ops of one place are the same kernel at the same shape."""
    if one is None or other is None:
        return np.asarray(False)
    pairs = (
        (one.item.cost.latency_s, other.item.cost.latency_s),
        (one.item.flops, other.item.flops),
        (one.item.memory_bytes, other.item.memory_bytes),
    )
    same = np.asarray(one.item.op == other.item.op)
    for mine, theirs in pairs:
        same = same & np.equal(as_float(mine), as_float(theirs))
    return same
