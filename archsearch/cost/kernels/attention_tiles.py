"""Block sizes of fused attention kernels, and how many key blocks causal and windowed masks leave.

A kernel cuts the queries of one (batch, head) into blocks of ``tile_q`` rows and walks over keys and values in blocks
of ``tile_kv`` rows, skipping blocks that the mask empties. The block sizes below are facts read from public sources:

* FlashAttention-2 (https://github.com/Dao-AILab/flash-attention), csrc/flash_attn/src/flash_fwd_launch_template.h:
  ``run_mha_fwd_hdim*``, by architecture (``Architecture.fa2_blocks``); with a paged key-value cache
  ``run_mha_fwd_splitkv_dispatch``.
* FlashAttention-3, same repository, hopper/tile_size.h (``tile_size_fwd_sm90``) and hopper/heuristics.h (when query
  heads that share keys are packed into one block).
* FlashAttention-4, same repository, flash_attn/cute/flash_fwd_sm100.py: two 128-row query blocks against 128 keys.
* cuDNN's kernels are closed; on an H200, FLOPs per second grow with head_dim between 65 and 128 as they would if it
  were padded to 128 (hardware_profiles/measurements); blocks of 128 by 128 are assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsearch.arrays import Floats
from archsearch.hardware.spec import GpuSpec

SHARED_RESERVED_BYTES = 1024.0
"""Shared memory that CUDA keeps for itself per block (CUDA C++ Programming Guide, compute capability 8.0 on)."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a kernel cuts each shape; arrays of shape [S].

    ``dim`` is head_dim as padded in registers and shared memory; ``rows`` and ``groups`` are the rows of one cut and
    the number of cuts (packed heads share a cut, ``per_query`` rows to a query); ``copies`` the further kernels that
    packing needs; ``split`` the parts that keys are cut into; ``overlaps`` whether products and softmax run at once;
    ``spills`` whether outputs too wide for the accumulators add up in memory.
    """

    tile_q: Floats
    tile_kv: Floats
    dim: Floats
    occupancy: Floats
    rows: Floats
    groups: Floats
    per_query: Floats
    copies: Floats
    split: Floats
    overlaps: bool
    spills: bool


def tiling(variant: str, gpu: GpuSpec, dims: Mapping[str, Floats]) -> Tiling:
    """The cut of every shape by a kernel variant (see ``VARIANTS``)."""
    seq_q, shared = dims["seq_q"], dims["heads_q"] / dims["heads_kv"]
    tile_q, tile_kv, dim = _BLOCKS[variant](gpu, dims["head_dim"])
    pack = _packs(variant, seq_q, shared)
    per_query = np.where(pack, shared, 1.0)
    rows = seq_q * per_query
    if variant.startswith("fa3"):  # one warp group of 64 rows serves short queries
        tile_q = np.where((rows <= 64) & ((dim == 64) | (dim == 128)), 64.0, tile_q)
    elif not variant.startswith(FLASH_2):  # two query blocks per CTA only where there are two
        tile_q = np.where(rows > 128, tile_q, np.minimum(tile_q, 128.0))
    return Tiling(
        tile_q=tile_q,
        tile_kv=tile_kv,
        dim=dim,
        occupancy=_occupancy(variant, gpu, tile_q, tile_kv, dim),
        rows=rows,
        groups=dims["batch"] * dims["heads_q"] / per_query,
        per_query=per_query,
        copies=_copies(variant, dims, pack),
        split=_splits(variant, gpu, dims, tile_q, tile_kv),
        overlaps=not variant.startswith((*FLASH_2, "efficient")),
        spills=variant == "efficient",
    )


def _packs(variant: str, seq_q: Floats, shared: Floats) -> NDArray[np.bool_]:
    """Whether query heads that share keys are packed into one block."""
    if variant in ("fa3-causal", "fa4-causal", "trtllm-decode"):
        return np.asarray(shared > 1)
    if variant in FLASH_2_PACKED:
        return np.asarray((seq_q == 1) & (shared > 1))
    return np.zeros(shared.shape, dtype=bool)


def _copies(variant: str, dims: Mapping[str, Floats], pack: NDArray[np.bool_]) -> Floats:
    """Further kernels that FlashAttention-2 launches to pack heads: one copies the output back; transposing queries
    and outputs copies them where neither the batch nor the key heads are one (csrc/flash_attn/flash_api.cpp)."""
    if variant != "fa2-causal":
        return np.zeros(pack.shape)
    transposes = (dims["batch"] > 1) & (dims["heads_kv"] > 1)
    return np.where(pack, np.where(transposes, 4.0, 1.0), 0.0)


def _splits(variant: str, gpu: GpuSpec, dims: Mapping[str, Floats], tile_q: Floats, tile_kv: Floats) -> Floats:
    """Splits of the keys where query blocks alone leave SMs idle.

    ``num_splits_heuristic`` of flash_attn/cute/interface.py: as many as fill the SMs, none below five key blocks.
    FlashAttention-3 bounds that by one sequence (hopper/heuristics.h) and then divides the key blocks of the whole
    batch among SMs (hopper/flash_prepare_scheduler.cu). FlashAttention-2 splits for single queries alone.
    """
    shared = dims["heads_q"] / dims["heads_kv"]
    cuts = dims["heads_kv"] * np.ceil(dims["seq_q"] * shared / tile_q)
    across = np.ceil(dims["seq_kv"] / tile_kv)
    every = cuts * dims["batch"]
    sequences = cuts if variant.startswith("fa3") else every
    split = np.clip(np.minimum(np.floor(gpu.num_sms / sequences), across), 1, 128)
    split = np.where(across <= 4, 1.0, split)
    if variant.startswith("fa4") or variant == "trtllm-decode":
        return split
    if variant in FLASH_2_PACKED:
        return np.where((dims["seq_q"] == 1) & (shared > 1), split, 1.0)
    if not variant.startswith("fa3"):
        return np.ones_like(split)
    split = np.where((cuts >= 0.8 * gpu.num_sms) | ((across <= 8) & (cuts >= 32)), 1.0, split)
    per_sm = np.ceil(1.1 * every * across / gpu.num_sms)
    return np.clip(np.ceil(across / per_sm), 1, split)


def _table(head_dim: Floats, rows: tuple[tuple[float, float, float], ...]) -> tuple[Floats, Floats, Floats]:
    """Rows of (largest head_dim, tile_q, tile_kv), ascending: blocks, and the dimension padded to the row's; beyond the
    last row its blocks, over as many times its columns as it takes."""
    limits = np.array([r[0] for r in rows])
    index = np.minimum(np.searchsorted(limits, head_dim), len(rows) - 1)
    padded = np.ceil(head_dim / limits[-1]) * limits[-1]
    dim = np.where(head_dim > limits[-1], padded, limits[index])
    return np.array([r[1] for r in rows])[index], np.array([r[2] for r in rows])[index], dim


def _fa2_paged(gpu: GpuSpec, head_dim: Floats) -> tuple[Floats, Floats, Floats]:
    rows = ((32, 64, 256), (64, 64, 256), (96, 64, 128), (128, 64, 128), (192, 64, 64), (256, 64, 64))
    return _table(head_dim, rows)


def _fa2_full(gpu: GpuSpec, head_dim: Floats) -> tuple[Floats, Floats, Floats]:
    return _table(head_dim, gpu.generation.fa2_blocks)


def _fa3_causal(gpu: GpuSpec, head_dim: Floats) -> tuple[Floats, Floats, Floats]:
    return _table(head_dim, ((64, 192, 128), (96, 192, 128), (128, 128, 128), (192, 128, 96), (256, 128, 80)))


def _fa3_full(gpu: GpuSpec, head_dim: Floats) -> tuple[Floats, Floats, Floats]:
    return _table(head_dim, ((64, 192, 192), (96, 192, 144), (128, 128, 176), (192, 128, 112), (256, 128, 80)))


def _blackwell(gpu: GpuSpec, head_dim: Floats) -> tuple[Floats, Floats, Floats]:
    tile_q = np.where(head_dim <= 128, 256.0, 128.0)
    return tile_q, np.full_like(head_dim, 128.0), np.ceil(head_dim / 16) * 16


def _cudnn(gpu: GpuSpec, head_dim: Floats) -> tuple[Floats, Floats, Floats]:
    return _table(head_dim, ((64, 128, 128), (128, 128, 128), (256, 128, 64)))


_BLOCKS = {
    "fa2-causal": _fa2_paged,
    "fa2-full": _fa2_full,
    "fa3-causal": _fa3_causal,
    "fa3-full": _fa3_full,
    "fa4-causal": _blackwell,
    "fa4-full": _blackwell,
    "trtllm-prefill": _blackwell,
    "trtllm-decode": _blackwell,
    "efficient": _fa2_full,
    "torch-fa2": _fa2_full,
    "torch-cudnn": _cudnn,
}
VARIANTS = tuple(_BLOCKS)
FLASH_2_PACKED = ("fa2-causal", "torch-fa2")
"""Variants that pack the query heads of a single query and split its keys (``seqlenq_ngroups_swapped``)."""
FLASH_2 = ("fa2", "torch-fa2")
"""Variants of FlashAttention-2, which multiplies and takes exponentials in turn."""
PAGED = ("fa2-causal", "fa3-causal", "fa4-causal", "trtllm-prefill", "trtllm-decode")
"""Variants that read a paged key-value cache."""


def _occupancy(variant: str, gpu: GpuSpec, tile_q: Floats, tile_kv: Floats, dim: Floats) -> Floats:
    """Blocks resident on an SM: FlashAttention-2 runs as many as shared memory holds, at most two of four warps."""
    if not variant.startswith(FLASH_2):
        return np.ones_like(dim)
    shared = (tile_q + 2 * tile_kv) * dim * 2.0 + SHARED_RESERVED_BYTES
    fits = np.floor(gpu.sm_limits.shared_memory_bytes / shared)
    registers = np.where((tile_q == 128) & (dim >= 192), 1.0, 2.0)
    return np.clip(np.minimum(fits, registers), 1, None)


def key_blocks(t: Tiling, dims: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Key blocks that the query blocks of one cut visit in all, and the most that one of them visits.

    Queries align to the last key: query i of a cut sees keys (i + offset - left) to (i + offset + right), with
    offset = seq_kv - seq_q. Block b holds rows [b·tile_q, (b+1)·tile_q), ``per_query`` rows to a query, and visits

        ⌈min(seq_kv, ⌈(b+1)·tile_q / per_query⌉ + offset + right) / tile_kv⌉
        - ⌊max(0, ⌊b·tile_q / per_query⌋ + offset - left) / tile_kv⌋

    blocks. Both sums are over floors of arithmetic progressions (``floor_sum``).
    """
    blocks = np.ceil(t.rows / t.tile_q)
    every = np.ceil(dims["seq_kv"] / t.tile_kv)
    window, causal = dims["window"], dims["causal"] > 0
    if not causal.any() and not (window > 0).any():
        return blocks * every, every
    half = np.where(causal, window - 1, np.floor(window / 2))
    left = np.where(window > 0, half, dims["seq_kv"] + dims["seq_q"])
    right = np.where(causal, 0.0, np.where(window > 0, half, dims["seq_kv"] + dims["seq_q"]))
    total = _ends(t, dims, blocks, every, right) - _starts(t, dims, blocks, left)
    # a block that starts within a query's rows touches one query more; a run of keys off a boundary one block more
    reach = np.floor((t.tile_q + t.per_query - 2) / t.per_query) + 1 + left + right
    longest = np.minimum(every, np.floor((reach + t.tile_kv - 2) / t.tile_kv) + 1)
    return total, longest


def _ends(t: Tiling, dims: Mapping[str, Floats], blocks: Floats, every: Floats, right: Floats) -> Floats:
    """Sum over blocks of the key block after the last that each visits."""
    shift = (dims["seq_kv"] - dims["seq_q"] + right) * t.per_query
    empty = np.clip(np.floor(-shift / t.tile_q), 0, blocks)
    partial = np.clip(np.ceil((dims["seq_q"] - right) * t.per_query / t.tile_q) - 1, empty, blocks)
    width = t.tile_kv * t.per_query
    start = t.tile_q * (empty + 1) + shift + width - 1
    return np.asarray(floor_sum(partial - empty, width, t.tile_q, start) + (blocks - partial) * every)


def _starts(t: Tiling, dims: Mapping[str, Floats], blocks: Floats, left: Floats) -> Floats:
    """Sum over blocks of the first key block that each visits."""
    shift = (dims["seq_kv"] - dims["seq_q"] - left) * t.per_query
    whole = np.clip(np.ceil(-shift / t.tile_q), 0, blocks)
    start = np.maximum(t.tile_q * whole + shift, 0)
    return floor_sum(blocks - whole, t.tile_kv * t.per_query, t.tile_q, start)


def floor_sum(count: Floats, divisor: Floats, slope: Floats, start: Floats) -> Floats:
    """Σ_{i < count} ⌊(slope · i + start) / divisor⌋ for whole numbers ≥ 0, elementwise.

    The Euclidean algorithm counts lattice points below a line, exchanging the axes: a handful of steps for blocks
    of up to a few hundred rows, whatever the count.
    """
    n, m, a, b = (np.array(x, dtype=np.float64) for x in np.broadcast_arrays(count, divisor, slope, start))
    total, sign = np.zeros_like(n), 1.0
    while True:
        total += sign * ((n - 1) * n / 2 * np.floor(a / m) + n * np.floor(b / m))
        a, b = a % m, b % m
        top = np.floor((a * n + b) / m)
        live = top > 0
        if not live.any():
            return total
        total += sign * n * top
        b = np.where(live, m - b + a - 1, 0)
        n, m, a = np.where(live, top, 0), np.where(live, a, 1), np.where(live, m, 0)
        sign = -sign
