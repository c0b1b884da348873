"""What the replicas of a training run divide among them, exchange, and wait for.

Replicas are the GPUs that hold the same weights and see other data: other samples (data parallel), or other tokens of
the same ones (sequence parallel; DeepSpeed-Ulysses, https://arxiv.org/abs/2309.14509, section 3.2). ZeRO (Rajbhandari
et al. 2019, https://arxiv.org/abs/1910.02054, section 5) divides by the d replicas

    stage   optimizer's state   gradients   weights   exchanged
    0                                                 gradients all-reduced once a step
    1       yes                                       gradients reduce-scattered, new weights all-gathered once a step
    2       yes                 yes                   gradients reduce-scattered every micro-batch, weights as in 1
    3       yes                 yes         yes       weights all-gathered twice (for the forward pass, and again for
                                                      the backward pass, whether or not it runs the forward pass once
                                                      more) and gradients reduce-scattered every micro-batch (FSDP's
                                                      FULL_SHARD)

From stage 1 on a replica updates its share of the weights; under stage 3 it casts its share alone, since what is
gathered is in 16 bits already (FULL_SHARD with ``param_dtype``,
https://docs.pytorch.org/docs/stable/_modules/torch/distributed/fsdp/api.html).

Exchanges run beside the computation, a layer at a time (PyTorch FSDP, https://arxiv.org/abs/2304.11277, section 3.3):
the first layer's gather and the last one's scatter have nothing to run beside, and what takes longer than the
computation shows too. What the computation loses to them meanwhile is in ``archsearch/cost/training.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from archsearch.arrays import Count, Dim, FloatArray, as_float
from archsearch.cost.execution import Execution
from archsearch.ops import Collective, MemoryOp, Op, OpList
from archsearch.segments import UPDATE, WEIGHT_CASTS, Overlap, Segment
from archsearch.workload import Workload

GATHERED_LAYERS = 2
"""Layers whose weights a GPU holds whole under stage 3: the one that runs, and the next that is fetched meanwhile."""
PASSES = 3.0
"""A training pass in forward passes: the forward pass, and two products for one in the backward pass."""


class Trained(Protocol):
    """What replicas share: a model's config, or a pipeline stage's."""

    def parameters(self) -> Count:
        """Number of parameters."""


class TrainedUse(Protocol):
    """Bytes that training holds; a dataclass (``MemoryUse``). ``optimizer`` holds the gradients too."""

    @property
    def weights(self) -> FloatArray: ...

    @property
    def optimizer(self) -> FloatArray: ...

    @property
    def gradients(self) -> FloatArray: ...


Use = TypeVar("Use", bound=TrainedUse)


def with_replicas(
    parts: Sequence[Segment], model: Trained, w: Workload, execution: Execution, *, turns: int = 1, stages: int = 1
) -> list[Segment]:
    """A training step's passes and update as one of the replicas runs them, with what they exchange.

    ``turns`` is micro-batches a step. ``stages``: the pass goes through so many pipeline stages one after the other,
    each of which exchanges and updates its own share of ``model`` at the same time as the others.
    """
    replicas, zero = execution.replicas, execution.zero
    passes = [part for part in parts if part.name != UPDATE]
    updates = [part for part in parts if part.name == UPDATE]
    if zero == 3:
        passes = [_shared(part, replicas, WEIGHT_CASTS) for part in passes]
    updates = [_shared(part, stages * (replicas if zero else 1)) for part in updates]
    swaps = _exchanges(passes[-1].name, model, w, execution, turns, stages) if replicas > 1 else ()
    return [*passes, *swaps, *updates]


def _exchanges(
    beside: str, model: Trained, w: Workload, execution: Execution, turns: int, stages: int
) -> Iterator[Segment]:
    """What the replicas exchange in a step, a layer at a time; ``beside`` names the segment of the computation."""
    zero, layers = execution.zero, -(-np.asarray(layers_of(model)) // stages)
    payload = as_float(model.parameters()) / stages / layers * w.activation_dtype.itemsize
    backward = 1.0 - 1.0 / PASSES  # and of layers that checkpointing runs again, all

    def op(kind: str, what: str) -> Collective:
        name = f"data_parallel.{what}.{kind}"
        return Collective(name=name, kind=kind, payload_bytes=payload, group_size=execution.replicas, count=layers)

    def hidden(name: str, share: float, calls: int, *ops: Op) -> Segment:
        again = 1.0 if share == backward else 0.0
        overlap = Overlap(beside=beside, share=share / stages, layers=layers, share_again=again / stages)
        return Segment(name=name, ops=OpList(ops), calls=calls, overlap=overlap)

    if zero == 0:
        yield hidden("gradients", backward, 1, op("all_reduce", "gradients"))
        return
    scatter = op("reduce_scatter", "gradients")
    if zero == 3:
        gather = op("all_gather", "weights")
        yield hidden("weights", 1.0 - backward, turns, gather)
        yield hidden("weights and gradients", backward, turns, gather, scatter)
        return
    yield hidden("gradients", backward, turns if zero == 2 else 1, scatter)
    yield Segment(name="weights", ops=OpList((op("all_gather", "weights"),)))


def _shared(part: Segment, gpus: int, names: Sequence[str] = ()) -> Segment:
    """A segment in which each of ``gpus`` runs its share of kernels over all weights: of those of these names."""

    def share(op: Op) -> Op:
        if not isinstance(op, MemoryOp) or (names and op.name not in names):
            return op
        return replace(op, rows=-(-np.asarray(op.rows) // gpus))

    return replace(part, ops=OpList(tuple(map(share, part.ops)))) if gpus > 1 else part


def layers_of(model: object) -> Dim:
    """Layers that exchange one after the other; 1 where a family does not say."""
    layers: Dim = getattr(model, "num_layers", 1)
    return layers


def shared_state(use: Use, model: object, execution: Execution) -> Use:
    """What one of the replicas holds of weights, gradients and optimizer's state, in bytes."""
    replicas, zero = execution.replicas, execution.zero
    if replicas == 1 or zero == 0:
        return use
    weights, gradients = as_float(use.weights), as_float(use.gradients)
    state = (as_float(use.optimizer) - gradients) / replicas
    if zero == 3:
        gathered = np.minimum(weights * (1 - 1 / replicas), GATHERED_LAYERS * weights / as_float(layers_of(model)))
        weights = weights / replicas + gathered
    if zero >= 2:
        gradients = gradients / replicas
    return replace(use, weights=weights, gradients=gradients, optimizer=gradients + state)  # type: ignore[type-var]  # a dataclass
