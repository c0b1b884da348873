"""Time of an operation on a device whose kernels nobody modelled: its roofline over the share of it that kernels of
measured GPUs reach.

    time = launch_s + max(FLOPs / (peak · compute_fraction), bytes / (bandwidth · memory_fraction))

FLOPs are those that the operation has to do (attention: the query-key pairs that its mask leaves), bytes those that it
has to move, each operand once; peak and bandwidth are the datasheet's. Shares are at most 1 and ``launch_s`` is not
negative, so that no time is below the roofline. All three are fitted for each kind of operation on every measured GPU
together, and the band is that of whole GPUs that the fit did not see (``archsearch.bench.roofline_families``): it holds
what tiles, caches and libraries make of a shape, which is what this model does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from archsearch.arrays import Floats
from archsearch.cost.kernels.delta_net import delta_net_work
from archsearch.cost.kernels.kernel_cost import Coefficient, Dims, KernelTime
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Attention
from archsearch.routed_experts import Experts

COEFFICIENTS = (
    Coefficient("launch_s", "s", 1e-7, 4e-5, 3e-6, "launch, first loads and drain of a kernel"),
    Coefficient("compute_fraction", "1", 0.02, 1.0, 0.6, "typical share of the datasheet's peak"),
    Coefficient("memory_fraction", "1", 0.02, 1.0, 0.6, "typical share of the datasheet's bandwidth"),
)
Work = tuple[Floats, Floats]
"""FLOPs and bytes of each shape, [S]."""


class RooflineModel:
    """One kind of operation: ``gemm``, ``gemm-8bit`` (8 bits and fewer), ``attention``, ``experts``, ``memory`` or
    ``delta``."""

    def __init__(self, kind: str) -> None:
        self.coefficients: tuple[Coefficient, ...] = COEFFICIENTS
        self.name = f"roofline/{kind}"
        self._work = _WORK[kind]

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Dims, values: Mapping[str, float]) -> KernelTime:
        """Time of each shape; ``dims`` are those of the kernel that serves it elsewhere (``GemmModel``,
        ``AttentionModel``, ``MemoryModel``)."""
        flops, moved = self._work(dims, dtype)
        memory = moved / (gpu.bandwidth_bytes_s * values["memory_fraction"])
        compute = flops / (gpu.peak_flops(dtype) * values["compute_fraction"]) if flops.any() else np.zeros_like(memory)
        busy = np.maximum(compute, memory)
        bound = np.where(compute >= memory, "compute", "memory")
        bound = np.where(values["launch_s"] > busy, "latency", bound)
        return KernelTime(latency_s=values["launch_s"] + busy, bound=bound)


def kind_of(family: str, dtype: DType) -> str:
    """The kind whose share counts for a kernel family (``gemm``, ``attention``, ``memory``) in a format."""
    return "gemm-8bit" if family == "gemm" and dtype.itemsize <= 1 else family


def _product(dims: Dims, dtype: DType) -> Work:
    """Of matrix products, and of convolutions as implicit ones (``input_share``: how much of A differs)."""
    m, n, k, batch, share = _columns(dims, "m", "n", "k", batch=1.0, input_share=1.0)
    moved = share * m * k * dtype.itemsize + k * n * dtype.weight_itemsize + m * n * max(dtype.itemsize, 2.0)
    return 2.0 * batch * m * n * k, batch * moved


def attention_work(dims: Dims, dtype: DType) -> Work:
    """Of attention: the query-key pairs that its mask leaves; queries, keys, values and outputs once."""
    names = ("batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim")
    *sizes, causal, window = _columns(dims, *names, causal=0.0, window=0.0)
    shape: dict[str, Any] = {name: size.astype(np.int64) for name, size in zip(names, sizes, strict=True)}
    full, masked = (Attention(name="", dtype=dtype, causal=c, **shape) for c in (False, True))
    flops = np.where(causal > 0, masked.executed_flops(), full.executed_flops())
    if window.any():
        width = np.where(window > 0, window, 1.0).astype(np.int64)
        cut, masked_cut = (Attention(name="", dtype=dtype, causal=c, window=width, **shape) for c in (False, True))
        cut_flops = np.where(causal > 0, masked_cut.executed_flops(), cut.executed_flops())
        flops = np.where(window > 0, np.minimum(flops, cut_flops), flops)
    return flops, full.memory_bytes()


def memory_work(dims: Dims, dtype: DType) -> Work:
    """Of bandwidth-bound kernels: no products; their tensors once."""
    rows, cols, reads, writes, size = _columns(dims, "rows", "cols", reads=1.0, writes=1.0, itemsize=dtype.itemsize)
    moved = rows * cols * (reads + writes) * size
    return np.zeros_like(moved), moved


def experts_work(dims: Dims, dtype: DType) -> Work:
    """Of routed experts: the products of this GPU's copies; weights of every active expert, tokens in and out."""
    names = ("tokens", "hidden_size", "moe_intermediate_size", "num_experts_per_tok", "num_experts", "expert_parallel")
    *sizes, parallel, gated, skew = _columns(dims, *names[:-1], expert_parallel=1.0, gated=1.0, skew=0.0)
    shape: dict[str, Any] = dict(zip(names, (*sizes, parallel), strict=True))

    def work(has_gate: bool) -> Floats:
        even, uneven = (Experts(name="", dtype=dtype, gated=has_gate, skew=s, **shape) for s in (0.0, 1.0))
        return np.stack([even.flops(), np.where(skew > 0, uneven.memory_bytes(), even.memory_bytes())])

    flops, moved = np.where(gated > 0, work(True), work(False))
    return flops, moved


def _columns(dims: Dims, *names: str, **optional: float) -> tuple[Floats, ...]:
    """Dimensions as float arrays of one shape [S]; those that a table may lack have a default."""
    given = [dims[name] for name in names] + [dims.get(name, value) for name, value in optional.items()]
    return tuple(np.broadcast_arrays(*(np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in given)))


_WORK: dict[str, Callable[[Dims, DType], Work]] = {
    "gemm": _product,
    "gemm-8bit": _product,
    "attention": attention_work,
    "experts": experts_work,
    "memory": memory_work,
    "delta": delta_net_work,
}
KINDS = tuple(_WORK)
