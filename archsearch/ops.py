"""What is computed: operations with array-valued dimensions.

Every dimension (``Dim``) is an integer or a NumPy integer array. Arrays of one operation broadcast
against each other, so an operation holds only the axes that it depends on: a QKV projection in a grid
over depth and width has arrays that vary with width alone, and is costed once per width. ``flops`` and
``memory_bytes`` are *per call*; ``count`` says how often the call runs in its ``OpList``.

FLOPs follow ``torch.utils.flop_counter``: two per multiply-add; only matrix products, attention products
and convolutions count. Causal and windowed attention are counted over the full score matrix, as torch
counts them; ``Attention.executed_flops`` is what a kernel that skips masked blocks has to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from archsearch.arrays import Count, Dim, FloatArray, Floats, Ints, as_float
from archsearch.dtypes import DType
from archsearch.linear_attention import GatedDeltaNet
from archsearch.routed_experts import Experts


@dataclass(frozen=True, slots=True, kw_only=True)
class MatMul:
    """``batch`` products C[m, n] = A[m, k] · B[k, n].

    ``weights`` is True where B is a parameter shared by the batch (``linear``), False for a product of two
    activations (``bmm``). ``bias`` adds a row vector in the epilogue. ``grouped`` marks products of a mixture's
    experts, each with weights of its own: no table measures them as ``bmm``, so that nothing is learned of them.
    """

    name: str
    m: Dim
    n: Dim
    k: Dim
    dtype: DType
    batch: Dim = 1
    count: Count = 1
    weights: bool = True
    bias: bool = False
    grouped: bool = False

    @property
    def kind(self) -> str:
        return "linear" if self.weights else "bmm"

    def flops(self) -> Floats:
        return 2.0 * as_float(self.batch) * as_float(self.m) * as_float(self.n) * as_float(self.k)

    def memory_bytes(self) -> Floats:
        """Compulsory traffic: each operand read once, the result written once (bf16 where operands are 8 bits)."""
        m, n, k, b = map(as_float, (self.m, self.n, self.k, self.batch))
        size, out = self.dtype.itemsize, max(self.dtype.itemsize, 2.0)
        second = self.dtype.weight_itemsize if self.weights else size
        return b * (m * k * size + k * n * second + m * n * out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Softmax attention of ``batch`` sequences; heads_q is a multiple of heads_kv (grouped-query attention).

    ``causal`` aligns the diagonal to the last key. ``window`` (total width in keys, None for global) is a
    sliding window: one-sided when causal, centred otherwise. ``mask`` marks an additive mask tensor that an
    unfused implementation has to add. ``backward`` is the gradient pass: five products instead of two. ``autocast``
    marks a 16-bit training pass, whose softmax an unfused implementation computes in 32 bits.
    """

    name: str
    batch: Dim
    heads_q: Dim
    heads_kv: Dim
    seq_q: Dim
    seq_kv: Dim
    head_dim: Dim
    dtype: DType
    causal: bool = False
    window: Dim | None = None
    mask: bool = False
    backward: bool = False
    autocast: bool = False
    count: Count = 1

    @property
    def kind(self) -> str:
        return "attention"

    @property
    def passes(self) -> float:
        """Work against one forward pass: 2.5 in the backward pass, which recomputes the scores."""
        return 2.5 if self.backward else 1.0

    def flops(self) -> Floats:
        """Both products over the full score matrix, as torch counts them."""
        b, h, q, kv, d = map(as_float, (self.batch, self.heads_q, self.seq_q, self.seq_kv, self.head_dim))
        return self.passes * 4.0 * b * h * q * kv * d

    def attended_pairs(self) -> Floats:
        """Query-key pairs per head that the mask leaves, exactly (a centred window of unequal lengths: its bound)."""
        q, kv = as_float(self.seq_q), as_float(self.seq_kv)
        window: Floats = kv if self.window is None else np.minimum(as_float(self.window), kv)
        if self.causal:
            # the j-th query from the end sees min(window, kv - j) keys
            queries = np.minimum(q, kv)
            capped = np.clip(kv - window + 1, 0, queries)
            rest = queries - capped
            return capped * window + rest * kv - rest * (queries - 1 + capped) / 2
        if self.window is None:
            return q * kv
        # query i sees itself, min(half, i) keys before and as many after, mirrored
        half: Floats = np.minimum(np.floor(as_float(self.window) / 2), q - 1)
        square = q + 2 * (half * (half + 1) / 2 + (q - 1 - half) * half)
        seen: Floats = np.minimum(2 * half + 1, kv)
        return np.where(q == kv, square, q * seen)

    def executed_flops(self) -> Floats:
        b, h, d = map(as_float, (self.batch, self.heads_q, self.head_dim))
        return self.passes * 4.0 * b * h * d * self.attended_pairs()

    def memory_bytes(self) -> Floats:
        """Compulsory traffic of a fused kernel: q, k, v read once, the output written once."""
        b, hq, hkv, q, kv, d = map(
            as_float, (self.batch, self.heads_q, self.heads_kv, self.seq_q, self.seq_kv, self.head_dim)
        )
        return self.passes * b * d * (2 * hq * q + 2 * hkv * kv) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A convolution over one to three spatial axes, costed as an implicit GEMM.

    ``out_size`` and ``kernel_size`` are tuples over the spatial axes; ``groups`` divides both channel counts.
    ``input_is_data`` marks a model's first layer, whose input needs no gradient. ``channels_last`` tells that input and
    output lie channels last in memory, as tensor cores want them; else eager execution turns them around and back.
    ``input_size`` are the positions read along each axis, where that is not a stride for every output (a padded input).
    """

    name: str
    batch: Dim
    in_channels: Dim
    out_channels: Dim
    kernel_size: tuple[Dim, ...]
    out_size: tuple[Dim, ...]
    dtype: DType
    stride: tuple[Dim, ...] | None = None
    input_size: tuple[Dim, ...] | None = None
    groups: Dim = 1
    bias: bool = True
    input_is_data: bool = False
    channels_last: bool = False
    count: Count = 1

    @property
    def kind(self) -> str:
        return "convolution"

    @property
    def volume(self) -> Ints:
        """Positions of the kernel's window."""
        return _product(self.kernel_size)

    @property
    def positions(self) -> Ints:
        """Output positions of the batch."""
        return np.asarray(self.batch) * _product(self.out_size)

    @property
    def input_positions(self) -> Ints:
        """Input positions of the batch: a stride's worth for every output, unless ``input_size`` says otherwise."""
        if self.input_size is not None:
            return np.asarray(self.batch) * _product(self.input_size)
        return self.positions * _product(self.stride or (1,))

    @property
    def input_share(self) -> Floats:
        """How much of what the windows cover differs: 1 where they lie side by side, 1 / volume at stride 1."""
        return np.minimum(1.0, as_float(self.input_positions) / (as_float(self.positions) * as_float(self.volume)))

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel has its own kernel (in all architectures of a grid)."""
        groups = np.asarray(self.groups)
        one_each = (groups == self.in_channels) & (groups == self.out_channels) & (groups > 1)
        return bool(np.all(one_each))

    def as_matmul(self) -> MatMul:
        """The implicit GEMM: m output positions, n output channels, k = in_channels · kernel volume."""
        groups = np.asarray(self.groups)
        return MatMul(
            name=self.name,
            m=self.positions,
            n=np.asarray(self.out_channels) // groups,
            k=np.asarray(self.in_channels) // groups * self.volume,
            batch=self.groups,
            dtype=self.dtype,
            count=self.count,
            bias=self.bias,
        )

    def flops(self) -> Floats:
        return self.as_matmul().flops()

    def memory_bytes(self) -> Floats:
        """Input read once (stride-sized footprint), weights read once, output written once."""
        into, out = as_float(self.in_channels), as_float(self.out_channels)
        weights = into * out / as_float(self.groups) * as_float(self.volume)
        moved = as_float(self.input_positions) * into + weights + as_float(self.positions) * out
        return moved * self.dtype.itemsize


def _product(sizes: tuple[Dim, ...]) -> Ints:
    result = np.asarray(1)
    for size in sizes:
        result = result * np.asarray(size)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOp:
    """A bandwidth-bound kernel over a [rows, cols] tensor: pointwise, norm, softmax, rope, gather.

    ``kind`` names the kernel (add, mul, gelu, silu, relu, tanh, layernorm, rmsnorm, softmax, rope, modulate,
    embedding, copy ...); ``reads`` and ``writes`` count [rows, cols] tensors moved (fractions allowed for
    broadcast operands). ``kernels`` is how many launches eager execution needs for it.
    """

    name: str
    kind: str
    rows: Dim
    cols: Dim
    dtype: DType
    reads: FloatArray = 1.0
    writes: FloatArray = 1.0
    kernels: int = 1
    count: Count = 1

    def flops(self) -> Floats:
        return as_float(0.0)

    def memory_bytes(self) -> Floats:
        tensors = self.reads + self.writes
        return as_float(self.rows) * as_float(self.cols) * tensors * self.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedGroup:
    """Bandwidth-bound ops that a compiler fuses into one kernel; eager execution runs the members one by one.

    ``reads`` and ``writes`` are the group's external [rows, cols] tensors once fused. ``kind`` is the member
    that shapes the kernel: a norm or softmax makes it a row reduction, otherwise it is pointwise. ``count``
    applies to the group; members carry count 1.
    """

    name: str
    kind: str
    members: tuple[MemoryOp, ...]
    rows: Dim
    cols: Dim
    dtype: DType
    reads: FloatArray
    writes: FloatArray
    count: Count = 1

    def fused(self) -> MemoryOp:
        """The one kernel of compiled execution."""
        return MemoryOp(
            name=self.name,
            kind=self.kind,
            rows=self.rows,
            cols=self.cols,
            dtype=self.dtype,
            reads=self.reads,
            writes=self.writes,
            count=self.count,
        )

    def flops(self) -> Floats:
        return as_float(0.0)

    def memory_bytes(self) -> Floats:
        return sum((op.memory_bytes() for op in self.members), as_float(0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Collective:
    """A collective over ``group_size`` GPUs of one node; ``payload_bytes`` is the full tensor's size.

    ``kind`` is all_reduce, all_gather, reduce_scatter or all_to_all.
    """

    name: str
    kind: str
    payload_bytes: FloatArray
    group_size: Dim
    count: Count = 1

    def flops(self) -> Floats:
        return as_float(0.0)

    def memory_bytes(self) -> Floats:
        return as_float(self.payload_bytes)


Op = MatMul | Attention | Convolution | MemoryOp | FusedGroup | Collective | GatedDeltaNet | Experts


def weighted_total(values: Iterable[FloatArray], counts: Iterable[Count]) -> Floats:
    """Σ value · count of arrays that broadcast: terms of one count are added before they are multiplied by it.

    Layers of one kind share their count, so the products and sums over the whole mesh are as few as the counts, and
    the terms themselves are added on the axes that they depend on.
    """
    groups: dict[tuple[tuple[int, ...], bytes], list[Floats]] = {}
    for value, count in zip(values, counts, strict=True):
        array = np.asarray(count)
        groups.setdefault((array.shape, array.tobytes()), [as_float(array)]).append(as_float(value))
    terms = []
    for count, *parts in groups.values():
        terms.append(_ascending_sum(parts) * count)
    return _ascending_sum(terms)


def _ascending_sum(terms: Iterable[Floats]) -> Floats:
    """The sum of arrays that broadcast, smallest first; 0 of none."""
    return sum(sorted(terms, key=np.size), as_float(0.0))


@dataclass(frozen=True, slots=True)
class OpList:
    """The operations of one forward pass (or step), in execution order; repeated layers use ``count``."""

    ops: tuple[Op, ...] = field(default_factory=tuple)

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    def __len__(self) -> int:
        return len(self.ops)

    def __add__(self, other: OpList) -> OpList:
        return OpList(self.ops + other.ops)

    def flops(self) -> Floats:
        """Total FLOPs by torch's counting rule, broadcast over the dimensions' shape."""
        return weighted_total((op.flops() for op in self.ops), (op.count for op in self.ops))

    def memory_bytes(self) -> Floats:
        """Total compulsory traffic of eager execution in bytes."""
        return weighted_total((op.memory_bytes() for op in self.ops), (op.count for op in self.ops))
