"""Which kernel family serves a shape on a GPU: the one table that estimating, validating and fitting share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from archsearch.arrays import Count, Dim, FloatArray, Floats, Ints, Labels, as_float
from archsearch.cost.kernels.attention import AttentionModel
from archsearch.cost.kernels.attention_tiles import VARIANTS
from archsearch.cost.kernels.bandwidth import (
    DEPTHWISE_CYCLES,
    KINDS,
    RMS_NORMS,
    SPECIAL_FUNCTION,
    MemoryModel,
    default_tensors,
    memory_class,
)
from archsearch.cost.kernels.decode import VARIANTS as DECODERS
from archsearch.cost.kernels.decode import DecodeModel
from archsearch.cost.kernels.experts import ExpertsModel
from archsearch.cost.kernels.gemm import GemmModel
from archsearch.cost.kernels.kernel_cost import Dims, KernelModel
from archsearch.cost.kernels.roofline_time import KINDS as ROOFLINES
from archsearch.cost.kernels.roofline_time import RooflineModel, kind_of
from archsearch.cost.kernels.tiles import uses_matrix_units
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Convolution

_GEMM = GemmModel()
_GEMM_CALLED = GemmModel(called=True)
_GEMM_QUANTIZED = GemmModel(quantized=True)
_GEMM_WEIGHT_ONLY = GemmModel(weight_only=True)
_ATTENTION: Mapping[str, KernelModel] = {
    **{f"attention/{name}": AttentionModel(name) for name in VARIANTS},
    **{f"decode/{name}": DecodeModel(name) for name in DECODERS},
}
_MEMORY = {name: MemoryModel(name) for name in KINDS}
_EXPERTS = ExpertsModel()
_ROOFLINE = {kind: RooflineModel(kind) for kind in ROOFLINES}


@dataclass(frozen=True, slots=True)
class Route:
    """A kernel family (its calibration key and its model) with the shapes that it serves.

    ``dims`` are 1-d float arrays of one length, or 0-d.
    """

    kernel: str
    model: KernelModel
    gpu: GpuSpec
    dtype: DType
    dims: Dims


def flatten(dims: Mapping[str, Count]) -> tuple[dict[str, Floats], tuple[int, ...]]:
    """Broadcast dimensions against each other and flatten: ([S] float arrays, the broadcast shape)."""
    arrays = np.broadcast_arrays(*(as_float(v) for v in dims.values()))
    return {k: a.ravel() for k, a in zip(dims, arrays, strict=True)}, arrays[0].shape


def modelled(route: Route) -> Route:
    """A route, or that of the roofline where no kernel of the GPU's architecture is known: the one place that asks."""
    return route if route.gpu.generation.tiles_known else roofline_of(route)


def roofline_of(route: Route) -> Route:
    """The same shapes by the roofline of their kind."""
    family = route.kernel.split("/")[0]
    kind = kind_of({"convolution": "gemm", "decode": "attention"}.get(family, family), route.dtype)
    return replace(route, kernel=f"roofline/{kind}", model=_ROOFLINE[kind])


def gemm_route(gpu: GpuSpec, dtype: DType, dims: Dims, *, weights: bool) -> Route:
    """Matrix products; ``weights`` tells ``linear`` from ``bmm``.

    Raises:
        UnsupportedError: the GPU has no units for this format, or it is one of weights and the product has none.
    """
    if not gpu.supports(dtype):
        raise UnsupportedError(gpu.why_unsupported(dtype))
    if dtype.weight_only and not weights:
        raise UnsupportedError(f"{dtype.value} stores weights: a product of two activations (bmm) has none")
    full = {**dims, "weights": 1.0 if weights else 0.0}
    if not uses_matrix_units(gpu, dtype):
        units = "fp32" if dtype is DType.FP32 else f"vector-{dtype.value}"
        route = Route(f"gemm/{units}-{'linear' if weights else 'bmm'}", _GEMM_CALLED, gpu, dtype, full)
    elif dtype in (DType.FP16, DType.BF16):
        route = Route("gemm/16bit", _GEMM, gpu, dtype, full)
    elif dtype.weight_only:
        route = Route(f"gemm/{dtype.value}", _GEMM_WEIGHT_ONLY, gpu, dtype, full)
    elif dtype is DType.TF32:
        route = Route("gemm/tf32", _GEMM, gpu, dtype, full)
    else:
        route = Route(f"gemm/{dtype.value}", _GEMM_QUANTIZED, gpu, dtype, full)
    return modelled(route)


def scaled_route(gpu: GpuSpec, dims: Dims) -> Route:
    """fp8 products of operands that come quantized, one scale per tensor (torch._scaled_mm).

    Raises:
        UnsupportedError: the GPU has no fp8 units.
    """
    if not gpu.supports(DType.FP8):
        raise UnsupportedError(gpu.why_unsupported(DType.FP8))
    return modelled(Route("gemm/fp8-scaled", _GEMM, gpu, DType.FP8, {**dims, "weights": 1.0}))


def prepared_route(gpu: GpuSpec, dtype: DType, dims: Dims, rate: float = 1.0) -> Route:
    """Products of a linear layer whose activations come quantized, in kernels that multiply at this ``rate`` against
    the library's. Those of fp8 were measured so; of other formats it is the product without the quantization that
    tables measure with it.

    Raises:
        UnsupportedError: the GPU has no units for this format.
    """
    if dtype is DType.FP8:
        return scaled_route(gpu, dims)
    return gemm_route(gpu, dtype, {**dims, "quantized": np.array(rate)}, weights=True)


def convolution_route(gpu: GpuSpec, op: Convolution) -> tuple[Route, tuple[int, ...]]:
    """A convolution and its dimensions' broadcast shape.

    Windows that lie side by side (patch embeddings) make it a matrix product. Others are implicit products, calibrated
    as such (``convolution/...``). Depthwise ones have no product to speak of: one thread per output loads and
    multiplies through its window.

    Raises:
        UnsupportedError: the GPU has no units for this format.
    """
    if op.is_depthwise:
        depthwise = {
            "rows": op.positions,
            "cols": op.out_channels,
            "lane_cycles": DEPTHWISE_CYCLES * as_float(op.volume),
            "reads": as_float(op.input_positions) / as_float(op.positions),
            "writes": 1.0,
        }
        flat, shape = flatten(depthwise)
        return memory_route(gpu, op.dtype, "depthwise", flat), shape
    product = op.as_matmul()
    dims = {"m": product.m, "n": product.n, "k": product.k, "batch": product.batch, "input_share": op.input_share}
    flat, shape = flatten(dims)
    route = gemm_route(gpu, op.dtype, {**flat, "reuse_bytes": np.array(np.inf)}, weights=True)
    if np.all(flat["input_share"] == 1.0):
        return route, shape
    return replace(route, kernel=route.kernel.replace("gemm/", "convolution/").removesuffix("-linear")), shape


PERSISTENT_ROW = 1024
"""Longest row of an inner reduction that inductor keeps in a block (``persistent_reductions``' threshold)."""
PERSISTENT_KIND = "modulate"
"""A pointwise kernel of a few instructions an element, as which such a reduction costs."""


EXPERT_FORMATS = (DType.FP16, DType.BF16)
"""Formats of routed experts whose kernels are modelled; quantized ones are other kernels."""


def experts_route(gpu: GpuSpec, dtype: DType, dims: Dims) -> Route:
    """The routed feed-forward of a mixture of experts.

    Raises:
        UnsupportedError: the GPU has no units for this format, or the kernels are not known in it.
    """
    if not gpu.supports(dtype):
        raise UnsupportedError(gpu.why_unsupported(dtype))
    if dtype not in EXPERT_FORMATS or (gpu.generation.tiles_known and not uses_matrix_units(gpu, dtype)):
        raise UnsupportedError(f"routed experts on {gpu.id} are not known in {dtype.value}: bf16 and fp16 tensor cores")
    return modelled(Route("experts/16bit", _EXPERTS, gpu, dtype, dims))


def memory_route(gpu: GpuSpec, dtype: DType, kind: str, dims: Dims) -> Route:
    """Bandwidth-bound kernels over [rows, cols] tensors; formats differ by their itemsize alone.

    Where ``dims`` says nothing of reads and writes it is a measured row: the operation's own tensors are filled in
    and the call counts as timed on its own (``alone``), as published tables time it. An operation of a model says
    both and queues behind others.

    Raises:
        UnsupportedError: no known kernel computes this kind.
    """
    structure = memory_class(kind)
    reads, writes = default_tensors(kind)
    full: dict[str, FloatArray] = {"reads": reads, "writes": writes, "alone": 0.0 if "reads" in dims else 1.0, **dims}
    full["special"] = 1.0 if kind in SPECIAL_FUNCTION else 0.0
    full["rms"] = 1.0 if kind in RMS_NORMS else 0.0
    return modelled(Route(f"memory/{structure}", _MEMORY[structure], gpu, dtype, full))


def torch_attention(gpu: GpuSpec) -> str:
    """The backend that torch's scaled_dot_product_attention takes: cuDNN or its FlashAttention-2."""
    return gpu.generation.torch_attention


def compiled_memory_routes(gpu: GpuSpec, dtype: DType, kind: str, dims: Dims) -> list[tuple[Ints, Route]]:
    """The same in a compiler's kernels: (row indices, route) pairs over [S] dimensions.

    Rows of a norm or softmax that a block of threads holds whole cost no second pass: such a kernel gives a block
    several rows, and is bound by its bytes (``persistent_reduction``, torch/_inductor/choices.py).
    """
    whole = np.asarray(dims["cols"]) <= PERSISTENT_ROW
    if memory_class(kind) == "pointwise" or not np.any(whole):
        return [(np.arange(whole.size), memory_route(gpu, dtype, kind, dims))]
    parts = [(np.flatnonzero(rows), name) for rows, name in ((whole, PERSISTENT_KIND), (~whole, kind)) if np.any(rows)]
    return [
        (index, memory_route(gpu, dtype, name, {key: np.asarray(value)[index] for key, value in dims.items()}))
        for index, name in parts
    ]


TORCH_VARIANTS = {
    "torch_fa2": "torch-fa2",
    "flash_attn_fa2": "torch-fa2",
    "torch_cudnn": "torch-cudnn",
    "torch_efficient": "efficient",
}
"""Backends of torch's scaled_dot_product_attention, and the package flash-attn, as tables name them: their variants."""
FLASH_DTYPES = (DType.BF16, DType.FP16)
FLASH_MAX_HEAD_DIM = 256
"""Widest heads of FlashAttention-2 and of what torch takes of cuDNN; torch runs wider ones in its memory-efficient
kernel (``check_head_dim_size_flash`` and ``check_cudnn_tensor_shapes`` of sdp_utils.cpp)."""


def fused_attention_reason(gpu: GpuSpec, dtype: DType, head_dim: Dim | FloatArray, *, flash: bool) -> str | None:
    """Why no fused attention kernel runs a shape, or None where one does.

    ``flash`` asks for FlashAttention; without it PyTorch's memory-efficient kernel, which scaled_dot_product_attention
    falls back to, counts as well. Limits: https://github.com/Dao-AILab/flash-attention (Ampere or newer, fp16 and bf16,
    head_dim up to 256 in multiples of 8) and PyTorch's aten/src/ATen/native/transformers/cuda/sdp_utils.cpp
    (memory-efficient: compute capability 5.0, bf16 from 8.0, head_dim in multiples of 8 at 16 bits, 4 at fp32; under
    ROCm both are AOTriton's, where the architecture's file says so). A device of unknown kernels is taken to have a
    fused one of its own, whatever its library calls it.
    """
    if not gpu.generation.tiles_known:
        named = f"no kernels of {gpu.id} are known, FlashAttention's as little as others"
        return named if flash else None
    reason = _flash_reason(gpu, dtype, np.asarray(head_dim))
    if reason is None or flash:
        return reason
    return _efficient_reason(gpu, dtype, np.asarray(head_dim))


def _flash_reason(gpu: GpuSpec, dtype: DType, head_dim: Ints | Floats) -> str | None:
    largest = gpu.generation.flash_max_head_dim
    if largest is None and gpu.vendor == "nvidia":
        return f"FlashAttention needs compute capability 8.0, this GPU has {gpu.compute_capability}"
    if largest is None:
        return f"no FlashAttention is known of {gpu.generation.name} ({gpu.vendor})"
    if dtype not in FLASH_DTYPES:
        return f"FlashAttention computes in bf16 and fp16, not {dtype.value}"
    if (head_dim > largest).any():
        return f"FlashAttention on this GPU takes head_dim up to {largest}, not {int(head_dim.max())}"
    if (head_dim % 8 != 0).any():
        return f"FlashAttention needs head_dim in multiples of 8, not {int(head_dim[head_dim % 8 != 0].flat[0])}"
    return None


def _efficient_reason(gpu: GpuSpec, dtype: DType, head_dim: Ints | Floats) -> str | None:
    formats = gpu.generation.efficient_attention
    if gpu.vendor == "cpu":
        return (
            None
            if dtype in formats
            else f"torch's fused attention on CPUs computes in fp32, bf16 and fp16, not {dtype.value}"
        )
    if not formats:
        return "the memory-efficient kernel needs an NVIDIA GPU of compute capability 5.0 or AMD's gfx90a or later"
    if dtype is DType.BF16 and dtype not in formats:
        return f"the memory-efficient kernel needs compute capability 8.0 in bf16, not {gpu.compute_capability}"
    if dtype not in formats:
        return f"the memory-efficient kernel computes in fp32, fp16 and bf16, not {dtype.value}"
    multiple = 8 if dtype in FLASH_DTYPES else 4
    if (head_dim % multiple != 0).any():
        return f"the memory-efficient kernel needs head_dim in multiples of {multiple} in {dtype.value}"
    return None


def attention_routes(
    gpu: GpuSpec, dtype: DType, dims: Dims, kernels: ArrayLike | None = None
) -> list[tuple[Ints, Route]]:
    """Fused attention split by the kernel variant that serves each row: (row indices, route) pairs.

    Args:
        dims: batch, heads_q, heads_kv, seq_q, seq_kv, head_dim, causal, optional window; 1-d or 0-d.
        kernels: names as published tables give them ("vllm_flash_attn_fa3"), "" where unknown; without them, the
            variant that serving engines choose on this GPU.

    Raises:
        UnsupportedError: no fused kernel runs these shapes in this format on this GPU.
    """
    reason = fused_attention_reason(gpu, dtype, dims["head_dim"], flash=False)
    if reason:
        raise UnsupportedError(f"fused attention on {gpu.id}: {reason}")
    names = list(dims)
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(dims[n], dtype=np.float64)) for n in names))
    full = dict(zip(names, arrays, strict=True))
    if not gpu.generation.tiles_known:
        route = Route("attention", _ROOFLINE["attention"], gpu, dtype, full)
        return [(np.arange(full["seq_q"].size), roofline_of(route))]
    named = np.broadcast_to(np.asarray("" if kernels is None else kernels).astype(str), full["seq_q"].shape)
    families = _attention_families(gpu, dtype, full, named)
    full["cache_write"] = np.where(np.isin(named, list(TORCH_VARIANTS)), 0.0, full.get("cache_write", np.ones(1)))
    routes = []
    for kernel in map(str, np.unique(families)):
        index = np.flatnonzero(families == kernel)
        part = {n: a[index] for n, a in full.items()}
        routes.append((index, Route(kernel, _ATTENTION[kernel], gpu, dtype, part)))
    return routes


DECODE_NAMES = {"fidecode": "flashinfer", "triton": "triton"}
"""Kernels of single queries alone, as tables name them: their variants."""


def _attention_families(gpu: GpuSpec, dtype: DType, dims: Mapping[str, Floats], named: Labels) -> Labels:
    """The kernel family of each row, shape [S]: ``decode/...`` of a serving engine's kernel for one query over a cache.

    FlashAttention-2 reads no cache in 8 bits; engines take FlashInfer's kernel there (vLLM,
    vllm/v1/attention/backends/flash_attn.py: ``supports_kv_cache_dtype``). Torch's FlashAttention-2 runs the kernel of
    the package (aten/src/ATen/native/transformers/cuda/flash_attn), over keys that lie in one piece. Where no
    FlashAttention runs a shape, engines take their kernel in Triton (vllm/platforms/cuda.py, order of the backends).
    """
    variants = _attention_variants(gpu, dtype, dims, named)
    family = variants.astype("<U24")
    for part in ("-causal", "-decode", "torch-"):
        family = np.char.replace(family, part, "").astype("<U24")
    narrow = dims["kv_share"] < 1 if "kv_share" in dims else np.zeros(family.shape, dtype=bool)
    family[narrow & (family == "fa2")] = "flashinfer"
    if gpu.generation.triton and dtype in FLASH_DTYPES:
        family[(named == "") & (family == "efficient")] = "triton"
    for name, variant in DECODE_NAMES.items():
        family[np.char.find(named, name) >= 0] = variant
    decoded = (dims["seq_q"] == 1) & (dims["seq_kv"] > 1) & np.isin(family, DECODERS)
    return np.where(decoded, np.char.add("decode/", family), np.char.add("attention/", variants))


def _attention_variants(gpu: GpuSpec, dtype: DType, dims: Mapping[str, Floats], named: Labels) -> Labels:
    """The variant of each row, shape [S].

    One query sees every key with the mask as without it; engines decode with their causal kernels, which pack the query
    heads of a key-value head into one tile (vLLM, vllm/v1/attention/backends/flash_attn.py: ``causal=True``).
    """
    causal, served_by = (dims["causal"] > 0) | (dims["seq_q"] == 1), gpu.generation.serving_attention
    family = np.where(causal, served_by.causal, served_by.full).astype("<U16")
    if served_by.wide is not None:
        family[dims["head_dim"] > FLASH_MAX_HEAD_DIM] = served_by.wide
    for name in ("fa2", "fa3", "fa4", "trtllm"):
        family[np.char.find(named, name) >= 0] = name
    masked = np.where(causal, "-causal", "-full")
    variants = np.char.add(family, masked).astype("<U16")
    for name, variant in TORCH_VARIANTS.items():
        variants[named == name] = variant
    served = family == "trtllm"
    variants[served] = np.where(dims["seq_q"][served] == 1, "trtllm-decode", "trtllm-prefill")
    of_torch = np.char.startswith(variants, "torch-")
    variants[of_torch & (dims["head_dim"] > FLASH_MAX_HEAD_DIM)] = "efficient"
    for head_dim in np.unique(dims["head_dim"]):
        if _flash_reason(gpu, dtype, np.asarray(head_dim)) is not None:
            variants[dims["head_dim"] == head_dim] = "efficient"
    return variants
