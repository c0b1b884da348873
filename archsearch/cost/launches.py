"""From what is computed to which kernels are launched: eager or compiled, fused or unfused attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from archsearch.arrays import Dim, Mask
from archsearch.cost.execution import AttentionChoice
from archsearch.cost.kernels.tiles import uses_matrix_units
from archsearch.cost.releases import RELEASES
from archsearch.cost.routes import fused_attention_reason, torch_attention
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.linear_attention import GatedDeltaNet
from archsearch.ops import Attention, Collective, Convolution, FusedGroup, MatMul, MemoryOp, Op
from archsearch.routed_experts import Experts

Kernel = MatMul | Attention | Convolution | MemoryOp | Collective | GatedDeltaNet | Experts


def kernels_of(op: Op, gpu: GpuSpec, *, compiled: bool, attention: AttentionChoice) -> Iterator[Kernel]:
    """The kernels that one call of an op launches, each with count 1.

    Raises:
        UnsupportedError: a fused attention kernel was asked for that this GPU, format or head_dim does not have.
    """
    if isinstance(op, Convolution):
        yield from convolution_kernels(op, gpu, compiled=compiled)
    elif isinstance(op, FusedGroup):
        if compiled:
            yield op.fused()
        else:
            yield from op.members
    elif isinstance(op, Attention):
        if np.all(runs_fused(op, gpu, attention)):
            yield op
            if op.backward:
                yield from around_fused_backward(op)
        else:
            yield from unfused_attention(op, compiled=compiled)
    else:
        yield op


def convolution_kernels(op: Convolution, gpu: GpuSpec, *, compiled: bool) -> Iterator[Kernel]:
    """A convolution with what eager PyTorch runs around it.

    Tensor cores want channels last, in multiples of 16 bytes: cuDNN turns the input and the weights around, pads them,
    and turns the output back; PyTorch adds the bias to it in a kernel of its own (aten/src/ATen/native/Convolution.cpp,
    ``output.add_(reshape_bias(...))``). A compiler lays tensors out for the convolution and fuses the bias. 32-bit
    convolutions run in TF32 where the GPU has it, as ``torch.backends.cudnn.allow_tf32`` is on by default.
    """
    if op.is_depthwise:
        yield op
    else:
        if op.dtype is DType.FP32 and gpu.vendor == "nvidia" and gpu.supports(DType.TF32):
            op = replace(op, dtype=DType.TF32)
        on_tensor_cores = uses_matrix_units(gpu, op.dtype)
        padded = _padded(op) if on_tensor_cores else op
        if on_tensor_cores and not compiled:
            yield from _turned_around(op, padded)
        yield padded
    if op.bias and not compiled:
        yield MemoryOp(name=f"{op.name}.bias", kind="addu", rows=op.positions, cols=op.out_channels, dtype=op.dtype)


def _padded(op: Convolution) -> Convolution:
    """Channels in whole vectors of 16 bytes; those of grouped convolutions stay as they are."""
    if np.any(np.asarray(op.groups) > 1):
        return op
    vector = int(16 / op.dtype.itemsize)

    def up(channels: Dim) -> Dim:
        return -(-np.asarray(channels) // vector) * vector

    return replace(op, in_channels=up(op.in_channels), out_channels=up(op.out_channels))


def _turned_around(op: Convolution, padded: Convolution) -> Iterator[MemoryOp]:
    """Kernels that change layouts; each reads one layout and writes the other."""
    taps = np.asarray(padded.in_channels) // np.asarray(padded.groups) * padded.volume
    weights = (f"{op.name}.weights_channels_last", padded.out_channels, taps)
    data = (
        (f"{op.name}.input_channels_last", op.input_positions, padded.in_channels),
        (f"{op.name}.output_channels_first", op.positions, op.out_channels),
    )
    for name, rows, cols in (weights,) if op.channels_last else (weights, *data):
        yield MemoryOp(name=name, kind="transpose", rows=rows, cols=cols, dtype=op.dtype)


def unfused_attention(op: Attention, *, compiled: bool) -> Iterator[Kernel]:
    """Attention as separate kernels over the score matrix; compiled execution fuses scale, mask and softmax.

    The backward pass has the saved probabilities and computes no score again: four products, the softmax's gradient
    from the probabilities and theirs, and the scale's.
    """
    masked = op.causal or op.mask or op.window is not None
    if op.backward:
        yield _per_head(op, "values_gradient", op.seq_kv, op.head_dim, op.seq_q)
        yield _per_head(op, "probabilities_gradient", op.seq_q, op.seq_kv, op.head_dim)
        yield from _softmax(op, "softmax_gradient", reads=2.0, compiled=compiled)
        if not compiled:
            yield _over_scores(op, "scale_gradient", "mulu")
        yield _per_head(op, "queries_gradient", op.seq_q, op.head_dim, op.seq_kv)
        yield _per_head(op, "keys_gradient", op.seq_kv, op.head_dim, op.seq_q)
        return
    yield from _grown_cache(op)
    yield _per_head(op, "scores", op.seq_q, op.seq_kv, op.head_dim)
    if not compiled:
        yield _over_scores(op, "scale", "mulu")
        if masked:
            yield _over_scores(op, "mask", "addu")
    yield from _softmax(op, "softmax", reads=1.0, compiled=compiled)
    yield _per_head(op, "values", op.seq_q, op.head_dim, op.seq_kv)


def is_over_a_cache(op: Attention) -> bool:
    """Whether one query of each sequence meets keys and values of the steps before."""
    return bool(not op.backward and np.all(np.asarray(op.seq_q) == 1) and np.any(np.asarray(op.seq_kv) > 1))


def _grown_cache(op: Attention) -> Iterator[MemoryOp]:
    """Keys and values of a step, each joined with all before in a new tensor, as transformers' cache grows by default
    (``DynamicLayer.update``, transformers/cache_utils.py: ``torch.cat``)."""
    if not is_over_a_cache(op):
        return
    rows = np.asarray(op.batch) * np.asarray(op.heads_kv) * np.asarray(op.seq_kv)
    for name in ("keys", "values"):
        yield MemoryOp(name=f"{op.name}.grown_{name}", kind="cat", rows=rows, cols=op.head_dim, dtype=op.dtype)


def _per_head(op: Attention, name: str, m: Dim, n: Dim, k: Dim) -> MatMul:
    """One product of two activations per query head."""
    heads = np.asarray(op.batch) * np.asarray(op.heads_q)
    return MatMul(name=f"{op.name}.{name}", m=m, n=n, k=k, batch=heads, dtype=op.dtype, weights=False)


def _over_scores(op: Attention, name: str, kind: str, reads: float = 1.0) -> MemoryOp:
    """A bandwidth-bound kernel over all scores."""
    rows = np.asarray(op.batch) * np.asarray(op.heads_q) * np.asarray(op.seq_q)
    return MemoryOp(name=f"{op.name}.{name}", kind=kind, rows=rows, cols=op.seq_kv, dtype=op.dtype, reads=reads)


def _softmax(op: Attention, name: str, *, reads: float, compiled: bool) -> Iterator[MemoryOp]:
    """Softmax over scores, or its gradient: ``reads`` 1 or 2 tensors of [rows, keys]. Autocast computes it in 32 bits,
    eagerly between a cast up and one down (https://docs.pytorch.org/docs/stable/amp.html)."""
    softmax = _over_scores(op, name, "softmax", reads)
    if compiled or not op.autocast or op.dtype.itemsize >= 4:
        yield softmax
        return
    cast = replace(_over_scores(op, f"{name}.cast", "cast"), writes=2.0)
    yield from (cast, replace(softmax, dtype=DType.FP32), replace(cast, reads=2.0, writes=1.0))


def around_fused_backward(op: Attention) -> Iterator[Kernel]:
    """What fused attention's backward runs before and after its products (FlashAttention-2,
    csrc/flash_attn/src/flash_bwd_preprocess_kernel.h): the sum of output times gradient of every row, with 32-bit
    query gradients set to zero, and those cast at the end."""
    rows = np.asarray(op.batch) * np.asarray(op.heads_q) * np.asarray(op.seq_q)
    wide = 4.0 / op.dtype.itemsize
    for name, kind, reads, writes in (("row_sums", "mul", 2.0, wide), ("query_gradient", "cast", wide, 1.0)):
        yield MemoryOp(
            name=f"{op.name}.{name}",
            kind=kind,
            rows=rows,
            cols=op.head_dim,
            dtype=op.dtype,
            reads=reads,
            writes=writes,
        )


def runs_fused(op: Attention, gpu: GpuSpec, attention: AttentionChoice) -> Mask:
    """Whether a fused kernel runs the attention of each head_dim: a bool array over head_dim's shape.

    The one mask that both time and memory go by.

    Raises:
        UnsupportedError: a fused kernel was asked for that this GPU, format or head_dim does not have.
    """
    dims, where = np.unique(np.asarray(op.head_dim), return_inverse=True)
    if attention is AttentionChoice.EAGER:
        return np.zeros(np.shape(op.head_dim), dtype=bool)
    flash = attention is AttentionChoice.FLASH or (attention is AttentionChoice.FA2 and not gpu.generation.tiles_known)
    reasons = [fused_attention_reason(gpu, op.dtype, head_dim, flash=flash) for head_dim in dims]
    refusal = next((reason for reason in reasons if reason), None)
    if refusal and attention in (AttentionChoice.FLASH, AttentionChoice.FA2):
        raise UnsupportedError(
            f"{attention.value} attention on {gpu.id}: {refusal}; use {{attention}} auto, sdpa or eager",
            field="attention",
        )
    return np.array([reason is None for reason in reasons])[where].reshape(np.shape(op.head_dim))


def fused_backends(gpu: GpuSpec, attention: AttentionChoice, torch: str) -> tuple[str | None, ...]:
    """The fused backends among which the fastest is taken, as tables name them; None is the serving engines' choice,
    and all that there is where no kernels are known."""
    if not gpu.generation.tiles_known:
        return (None,)
    if attention is AttentionChoice.FA2:
        return ("torch_fa2",)
    default = torch_attention(gpu) if RELEASES[torch].prefers_cudnn else "torch_fa2"
    if attention in (AttentionChoice.SDPA, AttentionChoice.AUTO):
        return (default,)
    if attention is AttentionChoice.FLASH:
        return (None, "torch_fa2")
    return tuple(dict.fromkeys((None, default, "torch_fa2")))
