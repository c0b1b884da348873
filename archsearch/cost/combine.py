"""Costs put together: reshaped to their op, repeated, in sequence, joined from disjoint rows, chosen by a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.arrays import Column, Count, FloatArray, Floats, Ints, Mask, as_float
from archsearch.cost.estimate import KernelCost, OpCost, Provenance, SegmentCost
from archsearch.ops import Op, weighted_total
from archsearch.segments import RECOMPUTED, Overlap

Scalar = TypeVar("Scalar", bound=np.generic)


def reshaped(cost: KernelCost, shape: tuple[int, ...]) -> KernelCost:
    def fold(value: NDArray[Scalar]) -> NDArray[Scalar]:
        return np.asarray(value).reshape(shape)

    return replace(
        cost,
        latency_s=fold(cost.latency_s),
        low_s=fold(cost.low_s),
        high_s=fold(cost.high_s),
        bound=fold(cost.bound),
        details={k: fold(v) for k, v in cost.details.items()},
    )


def scaled(cost: KernelCost, times: FloatArray, kernels: Count = 1) -> KernelCost:
    """The cost of several like it in a row."""
    if np.ndim(times) == 0 and times == 1:
        return cost
    return replace(
        cost, latency_s=cost.latency_s * times, low_s=cost.low_s * times, high_s=cost.high_s * times, kernels=kernels
    )


def no_faster(cost: KernelCost, least_s: Floats) -> KernelCost:
    """A cost raised to a time that is known of its implementation, its band with it."""
    if not np.any(least_s > cost.latency_s):
        return cost
    times = np.maximum(1.0, least_s / cost.latency_s)
    return replace(
        cost,
        latency_s=cost.latency_s * times,
        low_s=cost.low_s * times,
        high_s=cost.high_s * times,
        provenance=Provenance.ANALYTIC,
    )


def in_sequence(costs: Sequence[KernelCost]) -> KernelCost:
    """Several kernels run one after another; what bounds the longest bounds the op, and a single product tells its
    tiles."""
    shape = np.broadcast_shapes(*(np.shape(c.latency_s) for c in costs))
    latencies = np.stack([np.broadcast_to(c.latency_s, shape) for c in costs])
    bounds = np.stack([np.broadcast_to(c.bound, shape) for c in costs])
    longest = np.argmax(latencies, axis=0)
    tiled = [c.details for c in costs if "tile_m" in c.details]
    return KernelCost(
        latency_s=latencies.sum(axis=0),
        low_s=sum((c.low_s for c in costs), as_float(0.0)),
        high_s=sum((c.high_s for c in costs), as_float(0.0)),
        provenance=Provenance.worst([c.provenance for c in costs]),
        bound=np.take_along_axis(bounds, longest[None], axis=0)[0],
        kernels=sum(c.kernels for c in costs),
        details={k: np.broadcast_to(v, shape) for k, v in tiled[0].items()} if len(tiled) == 1 else {},
    )


def either(mask: Mask, first: OpCost, second: OpCost, op: Op) -> OpCost:
    """The first cost where ``mask`` holds, else the second."""

    def pick(a: ArrayLike, b: ArrayLike) -> Column:
        return np.where(mask, a, b)

    costs = (first.cost, second.cost)
    cost = KernelCost(
        latency_s=pick(*(c.latency_s for c in costs)),
        low_s=pick(*(c.low_s for c in costs)),
        high_s=pick(*(c.high_s for c in costs)),
        provenance=Provenance.worst([c.provenance for c in costs]),
        bound=pick(*(c.bound for c in costs)),
        kernels=pick(*(c.kernels for c in costs)),
    )
    moved = pick(first.memory_bytes, second.memory_bytes)
    return OpCost(name=op.name, op=first.op, count=op.count, flops=op.flops(), memory_bytes=moved, cost=cost)


def exposed(cost: SegmentCost, overlap: Overlap, before: Sequence[SegmentCost]) -> SegmentCost:
    """What shows of a segment that runs beside a call of an earlier one, in which the host launches it."""
    beside = next(part for part in before if part.name == overlap.beside)
    second = [item for item in beside.breakdown if item.name.endswith(RECOMPUTED)]
    again = weighted_total((item.cost.latency_s for item in second), (item.count for item in second)) / beside.gpu_s

    def shown(seconds: FloatArray) -> Floats:
        return overlap.exposed_s(seconds, beside.latency_s, again)

    seconds = as_float(cost.gpu_s)
    share = np.divide(shown(seconds), seconds, out=np.ones_like(shown(seconds)), where=seconds > 0)
    items = tuple(replace(item, cost=scaled(item.cost, share, item.cost.kernels)) for item in cost.breakdown)
    gpu, low, high = map(shown, (cost.gpu_s, cost.low_s, cost.high_s))
    return replace(cost, gpu_s=gpu, low_s=low, high_s=high, host_s=as_float(0.0), gaps_s=0.0, breakdown=items)


def fastest(costs: Sequence[KernelCost]) -> KernelCost:
    """The least of several costs, shape by shape [S]; the explanation of a single shape is its own."""
    if len(costs) == 1:
        return costs[0]
    latencies = np.stack([np.asarray(c.latency_s) for c in costs])
    best = np.argmin(latencies, axis=0)
    if best.size == 1:
        return costs[int(best.flat[0])]

    def pick(of: Sequence[NDArray[Scalar]]) -> NDArray[Scalar]:
        taken: NDArray[Scalar] = np.take_along_axis(np.stack([np.asarray(v) for v in of]), best[None], axis=0)[0]
        return taken

    taken = np.unique(best)
    return KernelCost(
        latency_s=pick([c.latency_s for c in costs]),
        low_s=pick([c.low_s for c in costs]),
        high_s=pick([c.high_s for c in costs]),
        provenance=Provenance.worst([costs[i].provenance for i in taken]),
        bound=pick([c.bound for c in costs]),
    )


def joined(parts: Sequence[tuple[Ints, KernelCost]], size: int) -> KernelCost:
    """Costs of disjoint rows put back in order."""
    if len(parts) == 1:
        return parts[0][1]
    fields: dict[str, Any] = {f: np.empty(size) for f in ("latency_s", "low_s", "high_s")}
    bound = np.empty(size, dtype="<U16")
    for index, cost in parts:
        for name, column in fields.items():
            column[index] = getattr(cost, name)
        bound[index] = cost.bound
    return KernelCost(**fields, provenance=Provenance.worst([c.provenance for _, c in parts]), bound=bound)
