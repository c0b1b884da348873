"""What the data-parallel replicas of a training run divide among them, exchange, and wait for.

ZeRO (Rajbhandari et al. 2019, https://arxiv.org/abs/1910.02054, section 5) divides by the d replicas

    stage   optimizer's state   gradients   weights   exchanged
    0                                                 gradients all-reduced once a step
    1       yes                                       gradients reduce-scattered, new weights all-gathered once a step
    2       yes                 yes                   gradients reduce-scattered every micro-batch, weights as in 1
    3       yes                 yes         yes       weights all-gathered twice (forward, backward) and gradients
                                                      reduce-scattered every micro-batch (FSDP's FULL_SHARD)

Exchanges run beside the computation, a layer at a time (PyTorch FSDP, https://arxiv.org/abs/2304.11277, section 3.3):
the first layer's gather and the last one's scatter have nothing to run beside, and what takes longer than the
computation shows too. What the computation loses to them meanwhile is in ``archsearch/cost/training.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from archsearch.arrays import FloatArray, Floats, as_float
from archsearch.cost.layouts import is_layered
from archsearch.models.base import MemoryUse, ModelConfig
from archsearch.ops import Collective
from archsearch.workload import Workload

GATHERED_LAYERS = 2
"""Layers whose weights a GPU holds whole under stage 3: the one that runs, and the next that is fetched meanwhile."""
BACKWARD_SHARE = 2.0 / 3.0
"""Of a training pass's time, the backward pass: two products for one."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One collective of the replicas: every micro-batch or once a step, and the share of a micro-batch's computation
    that it may run beside."""

    op: Collective
    each_pass: bool
    beside: float


def replica_exchanges(stage: ModelConfig, w: Workload, replicas: int, zero: int) -> Iterator[Exchange]:
    """What the replicas of one part of a model exchange in a training step."""
    if replicas == 1:
        return
    size = as_float(stage.parameters()) * w.activation_dtype.itemsize

    def op(kind: str, what: str, count: int = 1) -> Collective:
        name = f"data_parallel.{what}.{kind}"
        return Collective(name=name, kind=kind, payload_bytes=size, group_size=replicas, count=count)

    if zero == 0:
        yield Exchange(op("all_reduce", "gradients"), each_pass=False, beside=BACKWARD_SHARE)
        return
    yield Exchange(op("reduce_scatter", "gradients"), each_pass=zero >= 2, beside=BACKWARD_SHARE)
    if zero == 3:
        yield Exchange(op("all_gather", "weights", count=2), each_pass=True, beside=1.0)
    else:
        yield Exchange(op("all_gather", "weights"), each_pass=False, beside=0.0)


def exposed_s(exchange_s: FloatArray, compute_s: FloatArray, layers: FloatArray) -> Floats:
    """Seconds of an exchange that show beside a computation, both a layer at a time: one layer's exchange, and what of
    the rest takes longer than the computation."""
    first = as_float(exchange_s) / as_float(layers)
    return first + np.maximum(as_float(exchange_s) - first - as_float(compute_s), 0.0)


def layers_of(stage: ModelConfig) -> Floats:
    """Layers that exchange one after the other; 1 where a family does not say."""
    return as_float(stage.num_layers) if is_layered(stage) else as_float(1.0)


def replica_bytes(memory: MemoryUse, stage: ModelConfig, replicas: int, zero: int) -> Floats:
    """Weights, gradients and optimizer's state that one of the replicas holds, in bytes."""
    weights, gradients = as_float(memory.weights), as_float(memory.gradients)
    state = as_float(memory.optimizer) - gradients
    if zero == 3:
        gathered = np.minimum(weights * (1 - 1 / replicas), GATHERED_LAYERS * weights / layers_of(stage))
        weights = weights / replicas + gathered
    return weights + gradients / (replicas if zero >= 2 else 1) + state / (replicas if zero >= 1 else 1)
