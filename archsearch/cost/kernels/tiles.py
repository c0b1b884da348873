"""Which tiles a GEMM library can launch for a GPU and a number format.

A tile computes tile_m × tile_n outputs on one SM, walking k in steps of ``k_bytes`` bytes of each operand row.
cuBLAS chooses among many tiles; we take the shapes that appear in its kernel names (``ampere_sgemm_128x64``,
``sm90_xmma_gemm_bf16bf16_..._tilesize128x256x64``) and in CUTLASS's profiled defaults, and let the cost model
choose. vLLM's FP8 GEMM instead dispatches by shape: each tile carries the range of m and n it serves, as in
vllm-project/vllm ``csrc/quantization/cutlass_w8a8`` (``scaled_mm_sm90_fp8_dispatch.cuh``,
``scaled_mm_sm100_fp8_dispatch.cuh``, ``scaled_mm_c2x_sm89_fp8_dispatch.cuh``).

``max_ctas`` is how many such tiles one SM holds at a time: pipelined tensor-core tiles of 128×128 and more take
most of an SM's shared memory (NVIDIA, CUTLASS "Efficient GEMM"), smaller ones share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

UNBOUNDED = 1 << 40
WARP_LEVEL_RATE = 0.63
"""Share of Hopper's peak that warp-level ``mma.sync`` reaches (arXiv 2402.13499, table of mma throughput)."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One launchable tile and the shapes it serves (m and n ranges are inclusive)."""

    tile_m: int
    tile_n: int
    max_ctas: int
    m_min: int = 1
    m_max: int = UNBOUNDED
    n_min: int = 1
    n_max: int = UNBOUNDED
    split_k: bool = True


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
    def of(cls, tiles: tuple[Tile, ...]) -> TileSet:
        def column(name: str) -> NDArray[np.float32]:
            return np.array([[getattr(t, name)] for t in tiles], dtype=np.float32)

        names = ("tile_m", "tile_n", "max_ctas", "m_min", "m_max", "n_min", "n_max")
        columns: dict[str, Any] = {name: column(name) for name in names}
        return cls(**columns, split_k=np.array([[t.split_k] for t in tiles]))


_TENSOR = (
    Tile(16, 64, 4),
    Tile(32, 64, 3),
    Tile(64, 32, 3),
    Tile(64, 64, 2),
    Tile(32, 128, 2),
    Tile(128, 32, 2),
    Tile(64, 128, 2),
    Tile(128, 64, 2),
    Tile(128, 128, 1),
    Tile(64, 256, 1),
    Tile(256, 64, 1),
    Tile(128, 256, 1),
    Tile(256, 128, 1),
)
_TENSOR_WGMMA = (*_TENSOR, Tile(128, 160, 1), Tile(128, 192, 1), Tile(192, 128, 1))
"""Hopper's warp-group instruction takes any multiple of eight columns, so widths between powers of two appear."""
_TENSOR_2CTA = (*_TENSOR_WGMMA, Tile(256, 192, 1), Tile(256, 256, 1))
"""Blackwell pairs two SMs on one 256-row instruction tile (tcgen05 ``cta_group::2``)."""

# Vector-unit (fp32) kernels: the tiles seen in the kernel names of the NeuSight measurements (torch 2.1, cuBLAS 12),
# where cuBLAS's column-major "128x64" is tile_n × tile_m. Keys: (generation, weights).
_SIMT = {
    ("gp100", False): (Tile(64, 128, 3),),
    ("gp100", True): (Tile(128, 32, 3), Tile(64, 64, 4)),
    ("pascal", False): (Tile(64, 128, 2), Tile(128, 128, 2)),
    ("pascal", True): (Tile(64, 128, 2), Tile(128, 128, 2)),
    ("volta", False): (Tile(128, 32, 3), Tile(64, 64, 4), Tile(64, 128, 2), Tile(128, 128, 2)),
    ("volta", True): (
        Tile(32, 64, 4),
        Tile(32, 128, 3),
        Tile(128, 32, 3),
        Tile(64, 64, 4),
        Tile(64, 128, 2),
        Tile(128, 128, 2),
    ),
    ("turing", False): (Tile(32, 128, 2), Tile(64, 64, 2), Tile(64, 128, 2)),
    ("turing", True): (Tile(64, 64, 2), Tile(64, 128, 2), Tile(128, 128, 1)),
    ("ampere", False): (Tile(128, 128, 2),),
    ("ampere", True): (
        Tile(32, 32, 6),
        Tile(32, 64, 4),
        Tile(32, 128, 3),
        Tile(128, 32, 3),
        Tile(64, 64, 4),
        Tile(64, 128, 2),
        Tile(128, 128, 2),
    ),
}

_FP8_SM90 = (
    Tile(16, 64, 2, m_max=64, n_max=1280, split_k=False),
    Tile(64, 64, 2, m_max=64, n_min=1281, split_k=False),
    Tile(64, 128, 1, m_min=65, m_max=128, split_k=False),
    Tile(128, 128, 1, m_min=129, split_k=False),
    Tile(256, 128, 1, m_min=8192, split_k=False),
)
_FP8_SM100 = (
    Tile(16, 128, 1, m_max=16, split_k=False),
    Tile(64, 128, 1, m_min=17, m_max=64, split_k=False),
    Tile(128, 128, 1, m_min=65, m_max=256, split_k=False),
    Tile(256, 128, 1, m_min=257, split_k=False),
)
_FP8_SM89 = (
    Tile(16, 64, 2, m_max=16, n_max=8192, split_k=False),
    Tile(16, 128, 1, m_max=16, n_min=8193, n_max=24576, split_k=False),
    Tile(32, 64, 1, m_max=16, n_min=24577, split_k=False),
    Tile(32, 64, 1, m_min=17, m_max=32, split_k=False),
    Tile(64, 64, 1, m_min=33, m_max=64, split_k=False),
    Tile(64, 128, 1, m_min=65, m_max=128, n_max=8192, split_k=False),
    Tile(128, 128, 1, m_min=65, m_max=128, n_min=8193, n_max=16384, split_k=False),
    Tile(128, 64, 1, m_min=65, m_max=128, n_min=16385, split_k=False),
    Tile(64, 128, 1, m_min=129, m_max=256, n_max=4096, split_k=False),
    Tile(128, 128, 1, m_min=129, m_max=256, n_min=4097, split_k=False),
    Tile(128, 128, 1, m_min=257, n_max=4096, split_k=False),
    Tile(256, 128, 1, m_min=257, n_min=4097, n_max=8192, split_k=False),
    Tile(128, 128, 1, m_min=257, n_min=8193, split_k=False),
)


def has_warpgroup_units(gpu: GpuSpec) -> bool:
    """Whether the matrix units reach their peak under instructions of a warp group alone (Hopper, data-centre
    Blackwell; with TMA to feed them), not under warp-level ones."""
    return gpu.compute_capability_tuple[0] in (9, 10)


def uses_matrix_units(gpu: GpuSpec, dtype: DType) -> bool:
    """Whether this format runs on tensor or matrix cores here (fp32 never does; see TF32 for that)."""
    return gpu.tensor_cores_per_sm > 0 and dtype is not DType.FP32


def step_bytes(gpu: GpuSpec, dtype: DType) -> float:
    """Bytes of each operand row per main-loop step: 128-byte lines on matrix units, 8 elements on vector units."""
    return 128.0 if uses_matrix_units(gpu, dtype) else 8 * dtype.itemsize


@lru_cache(maxsize=256)
def _tiles_for(vendor: str, capability: tuple[int, int], matrix_units: bool, dtype: DType, weights: bool) -> TileSet:
    if not matrix_units:
        generations = {(7, 0): "volta", (7, 5): "turing", (6, 0): "gp100", (6, 1): "pascal"}
        return TileSet.of(_SIMT[generations.get(capability, "ampere"), weights])
    if dtype is DType.FP8 and vendor == "nvidia":
        if capability >= (10, 0):
            return TileSet.of(_FP8_SM100)
        if capability >= (9, 0):
            return TileSet.of(_FP8_SM90)
        return TileSet.of(_FP8_SM89)
    by_generation = {9: _TENSOR_WGMMA, 10: _TENSOR_2CTA}
    return TileSet.of(by_generation.get(capability[0], _TENSOR))


def tile_set(gpu: GpuSpec, dtype: DType, weights: bool = True) -> TileSet:
    """The candidate tiles of a GPU and format, for products with weights (``linear``) or without (``bmm``)."""
    return _tiles_for(gpu.vendor, gpu.compute_capability_tuple, uses_matrix_units(gpu, dtype), dtype, weights)
