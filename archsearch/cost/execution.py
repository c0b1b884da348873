"""From what is computed to which kernels run: eager or compiled execution, fused or unfused attention."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import numpy as np

from archsearch.cost.routes import fused_attention_reason
from archsearch.errors import UnknownNameError, UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Attention, Collective, Convolution, FusedGroup, MatMul, MemoryOp, Op

Kernel = MatMul | Attention | MemoryOp | Collective


class AttentionKernel(StrEnum):
    """How attention runs.

    ``flash``: the fastest fused kernel of this GPU, or refuse. ``sdpa``: torch's fused kernels (FlashAttention-2,
    memory-efficient where that is not available). ``eager``: product, scale, mask, softmax, product. ``auto``:
    fused where a fused kernel exists for the GPU, format and head_dim, else eager.
    """

    AUTO = "auto"
    FLASH = "flash"
    SDPA = "sdpa"
    EAGER = "eager"

    @classmethod
    def parse(cls, text: str) -> AttentionKernel:
        """Read a choice.

        Raises:
            UnknownNameError: no such choice.
        """
        try:
            return cls(text)
        except ValueError:
            raise UnknownNameError("attention kernel", text, [a.value for a in cls]) from None


def kernels_of(op: Op, gpu: GpuSpec, *, compiled: bool, attention: AttentionKernel) -> Iterator[Kernel]:
    """The kernels that one call of an op launches, each with count 1.

    Raises:
        UnsupportedError: a fused attention kernel was asked for that this GPU, format or head_dim does not have.
    """
    if isinstance(op, Convolution):
        yield op.as_matmul()
    elif isinstance(op, FusedGroup):
        if compiled:
            yield op.fused()
        else:
            yield from op.members
    elif isinstance(op, Attention):
        if _runs_fused(op, gpu, attention):
            yield op
        else:
            yield from unfused_attention(op, compiled=compiled)
    else:
        yield op


def unfused_attention(op: Attention, *, compiled: bool) -> Iterator[Kernel]:
    """Attention as separate kernels over the score matrix; compiled execution fuses scale, mask and softmax."""
    heads = np.asarray(op.batch) * np.asarray(op.heads_q)
    rows = heads * np.asarray(op.seq_q)
    masked = op.causal or op.mask or op.window is not None
    yield MatMul(
        name=f"{op.name}.scores", m=op.seq_q, n=op.seq_kv, k=op.head_dim, batch=heads, dtype=op.dtype, weights=False
    )
    if compiled:
        yield MemoryOp(name=f"{op.name}.softmax", kind="softmax", rows=rows, cols=op.seq_kv, dtype=op.dtype)
    else:
        yield MemoryOp(name=f"{op.name}.scale", kind="mulu", rows=rows, cols=op.seq_kv, dtype=op.dtype)
        if masked:
            yield MemoryOp(name=f"{op.name}.mask", kind="addu", rows=rows, cols=op.seq_kv, dtype=op.dtype)
        yield MemoryOp(name=f"{op.name}.softmax", kind="softmax", rows=rows, cols=op.seq_kv, dtype=op.dtype)
    yield MatMul(
        name=f"{op.name}.values", m=op.seq_q, n=op.head_dim, k=op.seq_kv, batch=heads, dtype=op.dtype, weights=False
    )


def _runs_fused(op: Attention, gpu: GpuSpec, attention: AttentionKernel) -> bool:
    if attention is AttentionKernel.EAGER:
        return False
    reason = fused_attention_reason(gpu, op.dtype, op.head_dim, flash=attention is AttentionKernel.FLASH)
    if reason is None:
        return True
    if attention is AttentionKernel.AUTO:
        return False
    raise UnsupportedError(f"{attention.value} attention on {gpu.id}: {reason}; use --attention auto or eager")
