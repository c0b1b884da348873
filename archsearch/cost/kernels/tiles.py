"""Which tiles a GEMM library can launch for a GPU and a number format.

A tile computes tile_m × tile_n outputs on one SM, walking k in steps of ``step_bytes`` bytes of each operand row. Which
tiles there are is a fact of the architecture (``hardware_profiles/architectures``).
cuBLAS chooses among many tiles; we take the shapes that appear in its kernel names (``ampere_sgemm_128x64``,
``sm90_xmma_gemm_bf16bf16_..._tilesize128x256x64``) and in CUTLASS's profiled defaults, and let the cost model
choose. vLLM's FP8 GEMM instead dispatches by shape: each tile carries the range of m and n it serves, as in
vllm-project/vllm ``csrc/quantization/cutlass_w8a8`` (``scaled_mm_sm90_fp8_dispatch.cuh``,
``scaled_mm_sm100_fp8_dispatch.cuh``, ``scaled_mm_c2x_sm89_fp8_dispatch.cuh``).

``max_ctas`` is how many such tiles one SM holds at a time: pipelined tensor-core tiles of 128×128 and more take
most of an SM's shared memory (NVIDIA, CUTLASS "Efficient GEMM"), smaller ones share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from archsearch.dtypes import DType
from archsearch.hardware.architecture import Architecture, Tile
from archsearch.hardware.spec import GpuSpec

UNBOUNDED = 1 << 40
WARP_LEVEL_RATE = 0.63
"""Share of Hopper's peak that warp-level ``mma.sync`` reaches (arXiv 2402.13499, table of mma throughput)."""


@dataclass(frozen=True, slots=True)
class TileSet:
    """Candidate tiles as float columns of shape [T, 1]; ``split_k`` is a bool column.

    Single precision, like the shapes they are compared over (``gemm.choose``).
    """

    tile_m: NDArray[np.float32]
    tile_n: NDArray[np.float32]
    max_ctas: NDArray[np.float32]
    m_min: NDArray[np.float32]
    m_max: NDArray[np.float32]
    n_min: NDArray[np.float32]
    n_max: NDArray[np.float32]
    split_k: NDArray[np.bool_]

    @classmethod
    def of(cls, tiles: Sequence[Tile]) -> TileSet:
        def column(values: Iterable[int]) -> NDArray[np.float32]:
            return np.array([[value] for value in values], dtype=np.float32)

        return cls(
            tile_m=column(t.m for t in tiles),
            tile_n=column(t.n for t in tiles),
            max_ctas=column(t.resident for t in tiles),
            m_min=column(t.serves_m[0] for t in tiles),
            m_max=column(t.serves_m[1] or UNBOUNDED for t in tiles),
            n_min=column(t.serves_n[0] for t in tiles),
            n_max=column(t.serves_n[1] or UNBOUNDED for t in tiles),
            split_k=np.array([[t.split_k] for t in tiles]),
        )


def uses_matrix_units(gpu: GpuSpec, dtype: DType) -> bool:
    """Whether this format runs on tensor or matrix cores here (fp32 never does; see TF32 for that) whose tiles are
    known."""
    generation = gpu.generation
    return gpu.tensor_cores_per_sm > 0 and dtype.multiplied not in generation.vector_formats and generation.tiles_known


def product_flops(gpu: GpuSpec, dtype: DType) -> float:
    """FLOP/s that a library's product in a format can reach: its units' peak.

    On vector units fp16 is what operands are stored in, and products add up in fp32, on its units: PyTorch asks cuBLAS
    for it (aten/src/ATen/cuda/CUDABlas.cpp, ``gemm<at::Half>``: ``CUDA_R_32F``), whose kernels say so
    (``maxwell_fp16_sgemm_fp16_128x64_nn``). The 18.7 TFLOP/s of a P100 add up in fp16: nobody asks.

    Raises:
        UnsupportedError: the silicon has no such format.
    """
    on_fp32_units = dtype is DType.FP16 and not uses_matrix_units(gpu, dtype) and gpu.generation.tiles_known
    return min(gpu.peak_flops(dtype), gpu.peak_flops(DType.FP32)) if on_fp32_units else gpu.peak_flops(dtype)


def step_bytes(gpu: GpuSpec, dtype: DType) -> float:
    """Bytes of each operand row per main-loop step: 128-byte lines on matrix units, 8 elements on vector units."""
    return 128.0 if uses_matrix_units(gpu, dtype) else 8 * dtype.itemsize


@lru_cache(maxsize=256)
def _tiles_of(generation: Architecture, matrix_units: bool, dtype: DType, weights: bool) -> TileSet:
    if not matrix_units:
        return TileSet.of(generation.vector_tiles.linear if weights else generation.vector_tiles.bmm)
    own = {DType.FP8: generation.fp8_tiles, DType.FP4: generation.fp4_tiles}.get(dtype)
    return TileSet.of(generation.tensor_tiles if own is None else own)


def tile_set(gpu: GpuSpec, dtype: DType, weights: bool = True) -> TileSet:
    """The candidate tiles of a GPU and format, for products with weights (``linear``) or without (``bmm``)."""
    return _tiles_of(gpu.generation, uses_matrix_units(gpu, dtype), dtype, weights)
