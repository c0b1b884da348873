"""A transformer with linear self-attention in place of softmax."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from archsearch.arrays import Floats
from archsearch.models.base import MemoryUse, ModelConfig, Requirement
from archsearch.ops import Attention, MatMul, MemoryOp, Op, OpList
from archsearch.workload import Workload


@dataclass(frozen=True, slots=True)
class WithLinearAttention:
    """A config whose self-attention has a ReLU kernel; everything else is ``config``'s. Its memory is taken as the
    fused softmax's."""

    config: ModelConfig

    def __getattr__(self, name: str) -> object:
        value: object = getattr(self.config, name)
        return value

    @property
    def default_sizes(self) -> Mapping[str, int]:
        return self.config.default_sizes

    def parameters(self) -> Floats:
        return self.config.parameters()

    def active_parameters(self) -> Floats:
        return self.config.active_parameters()

    def requirements(self) -> tuple[Requirement, ...]:
        return self.config.requirements()

    def lower(self, workload: Workload) -> OpList:
        return OpList(tuple(part for op in self.config.lower(workload) for part in _linear(op)))

    def memory(self, workload: Workload) -> MemoryUse:
        return replace(self.config.memory(workload), unfused=())

    def tokens(self, workload: Workload) -> Floats:
        return self.config.tokens(workload)


def _linear(op: Op) -> Iterator[Op]:
    """Self-attention with a ReLU kernel (https://arxiv.org/abs/2410.10629): keys and queries through ReLU, per head the
    [head_dim, head_dim + 1] state of values and keys, and its product with the queries; both in 16 bits."""
    if not isinstance(op, Attention) or not np.array_equal(np.asarray(op.seq_q), np.asarray(op.seq_kv)):
        yield op
        return
    heads = np.asarray(op.batch) * np.asarray(op.heads_q)
    state = np.asarray(op.head_dim) + 1
    rows = np.asarray(op.batch) * np.asarray(op.seq_q)
    wide = np.asarray(op.heads_q) * np.asarray(op.head_dim)
    pointwise = {"rows": rows, "cols": wide, "dtype": op.dtype, "count": op.count}
    yield MemoryOp(name=f"{op.name}.kernel", kind="relu", reads=2.0, writes=2.0, kernels=2, **pointwise)
    product = {"batch": heads, "dtype": op.dtype, "weights": False, "count": op.count}
    yield MatMul(name=f"{op.name}.state", m=state, n=op.head_dim, k=op.seq_kv, **product)
    yield MatMul(name=f"{op.name}.read", m=state, n=op.seq_q, k=op.head_dim, **product)
    yield MemoryOp(name=f"{op.name}.normalise", kind="div", reads=1.0, writes=1.0, kernels=1, **pointwise)
