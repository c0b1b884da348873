"""Parts of a run that follow one another: a pipeline's text encoder, denoising step and decoder, a training step's
micro-batches and update.

The host runs ahead of the GPU within a segment's call, so that one call takes the longer of the two; a run takes the
sum over its segments, each as often as it is called.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from archsearch.arrays import Count, Dim, FloatArray, Floats, as_float
from archsearch.ops import Op, OpList
from archsearch.workload import Workload

WEIGHT_CASTS = ("autocast.weights", "autocast.gradients")
"""Ops of a training pass that cast all weights to 16 bits, and their gradients to 32."""
WEIGHT_GRADIENT = ".backward.weight"
"""How the products end that sum a weight's gradient over the tokens."""
RECOMPUTED = ".recomputed"
"""How the ops end that checkpointing runs a second time."""
UPDATE = "update"
"""The segment of a training step that updates the weights, after its passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What a segment runs beside, both a layer at a time: a ``share`` of one call of the segment named ``beside``,
    which comes before it; of layers that checkpointing runs a second time in it, ``share_again``. ``layers`` follow one
    after the other."""

    beside: str
    share: float
    layers: Dim
    share_again: float = 0.0

    def hidden_s(self, call_s: FloatArray, again: FloatArray = 0.0) -> Floats:
        """Seconds of a call that it runs beside; the part ``again`` of the call runs layers a second time."""
        return as_float(call_s) * (self.share * (1.0 - as_float(again)) + self.share_again * as_float(again))

    def exposed_s(self, exchange_s: FloatArray, call_s: FloatArray, again: FloatArray = 0.0) -> Floats:
        """Seconds of an exchange that show beside a call of ``call_s``: one layer's, and what of the rest takes longer
        than the computation."""
        first = as_float(exchange_s) / as_float(self.layers)
        return first + np.maximum(as_float(exchange_s) - first - self.hidden_s(call_s, again), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Ops of one call, ``calls`` times in a row (a number or an array that broadcasts with the ops' dimensions).

    ``workload`` is what the part works on, where that is not the whole run's. ``beside`` marks what stands beside a
    pipeline's transformer and runs plainly (see ``Execution.beside``). ``key`` names the ops where they are those of
    another segment of equal key, so that they are priced once; None where nobody can tell. ``trains`` marks parts of a
    training step. A segment with an ``overlap`` takes what shows of it.
    """

    name: str
    ops: OpList
    calls: Count = 1
    workload: Workload | None = None
    beside: bool = False
    key: Hashable | None = None
    trains: bool = False
    overlap: Overlap | None = None


@dataclass(frozen=True, slots=True)
class SegmentedOps(OpList):
    """An op list made of segments; ``ops`` are all of them, each counted as often as it runs."""

    segments: tuple[Segment, ...] = ()

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> SegmentedOps:
        """The list of all segments' ops."""
        ops = tuple(counted(op, segment.calls) for segment in segments for op in segment.ops)
        return cls(ops, tuple(segments))


def segments_of(ops: OpList | Sequence[Op]) -> tuple[Segment, ...]:
    """The segments of a list; a plain list is one."""
    if isinstance(ops, SegmentedOps):
        return ops.segments
    return (Segment(name="model", ops=ops if isinstance(ops, OpList) else OpList(tuple(ops))),)


def counted(op: Op, calls: Count) -> Op:
    """The op with its count multiplied by how often its segment is called."""
    if np.ndim(calls) == 0 and calls == 1:
        return op
    whole = np.asarray(calls).dtype.kind in "iu"
    count: Count = np.asarray(op.count) * np.asarray(calls) if whole else as_float(op.count) * calls
    return replace(op, count=count)
