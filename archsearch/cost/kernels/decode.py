"""Time of decode attention: one query a sequence over a cache of keys and values, which has to be read.

The query heads that share a key-value head are the rows of one tile (grouped-query packing), so that a work item is a
(sequence, key-value head) and reads its keys and values once, whatever the number of query heads. A kernel cuts the
keys of an item into ``split`` parts where sequences alone leave SMs idle. With ``slots`` = SMs · resident blocks,

    groups = batch · heads_kv · ⌈heads_q / heads_kv / tile_q⌉
    items  = groups · split,  steps = ⌈⌈seq_kv / tile_kv⌉ / split⌉
    chain  = item_s + row_s · rows + steps · step   (what one item takes alone; a step loads and uses a whole tile)
    waves  = items / slots, and a share of the last wave's imbalance
    time   = launches + max(waves · chain, bytes through L2, bytes of the misses through DRAM)
             + [split > 1] (one launch + split · part_cycles + partial outputs, written and read in 32 bits)

Launches, the write of the cache and the sum of parts follow the SM's clock; what a block does with its tile follows
memory. A step's time grows with the tile's bytes: ``step_s`` is that of 64 keys of 128 elements in 16 bits; a cache in
8 bits is half the bytes and, in kernels that convert it, ``convert_s`` more. The kernel that adds the parts up walks
over them. Tiles and when keys are cut:

* FlashAttention-2's ``num_splits_heuristic`` (https://github.com/Dao-AILab/flash-attention,
  csrc/flash_attn/flash_api.cpp): no parts where groups fill 80 % of two blocks an SM, else the fewest whose wave
  efficiency reaches 85 % of the best; with sequences of several lengths (``mha_varlen_fwd``) only where query heads
  share keys.
* FlashAttention-3, hopper/heuristics.h: as many as fill the SMs, none below five tiles; FlashInfer and TensorRT-LLM
  cut the keys of the whole batch into parts that fill the SMs once. FlashInfer's tiles have 16, 64 or 128 rows, by the
  query heads that share keys (include/flashinfer/utils.cuh, ``FA2DetermineCtaTileQ``).
* FlashAttention-4 under vLLM: always ``GRAPH_PARTS``, whatever the keys, while batches are small enough to be a CUDA
  graph; empty parts cost their blocks, and every block finds its sequence among those of the batch (``scan_s``).

Where a step passes over the cache again (back to back, as benchmarks and the steps of a small model do), it is read
from L2 as long as it fits: the share of misses is that of a cache of ``l2_fraction`` of L2 that falls over as abruptly
as ``l2_sharpness`` says. Kernels of serving engines launch one more that writes the new key and value
(``cache_wave_cycles``, one wave of its blocks; 0 of ``cache_write`` leaves it out).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Floats
from archsearch.cost.kernels.attention import CACHE_WRITE_THREADS
from archsearch.cost.kernels.kernel_cost import Coefficient, Dims, KernelTime, smooth_max
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

COEFFICIENTS = (
    Coefficient("launch_cycles", "clock", 1e3, 8e4, 8e3, "launch, scheduling and drain of the call's first kernels"),
    Coefficient("extra_launch_cycles", "clock", 3e2, 2e4, 4e3, "launch of each further kernel of the call"),
    Coefficient("item_s", "s", 1e-8, 2e-5, 2e-6, "time of a block besides its keys: queries, output, drain"),
    Coefficient("row_s", "s", 1e-10, 1e-6, 2e-8, "time of a block for each further query head of its tile"),
    Coefficient("step_s", "s", 1e-8, 1e-5, 5e-7, "time of a block to load and use 64 keys of 128 16-bit elements"),
    Coefficient("convert_s", "s", 1e-10, 1e-5, 1e-8, "time of a block to convert as many keys kept in 8 bits"),
    Coefficient("dram_fraction", "1", 0.3, 1.0, 0.85, "achievable share of the datasheet's DRAM bandwidth"),
    Coefficient("l2_multiple", "1", 1.0, 8.0, 3.0, "bandwidth of what L2 holds, over the datasheet's of DRAM"),
    Coefficient("l2_fraction", "1", 0.1, 2.0, 0.8, "share of L2 that holds the cache until its next use"),
    Coefficient("l2_sharpness", "1", 1.0, 30.0, 6.0, "how abruptly the hit rate falls beyond that share"),
    Coefficient("tail_fraction", "1", 0.01, 1.0, 0.5, "share of the last wave's imbalance that shows"),
    Coefficient("part_cycles", "clock", 1, 4e3, 4e2, "time to add one more part of the keys to the others"),
    Coefficient("cache_wave_cycles", "clock", 1e2, 2e5, 1e4, "one wave of the cache write's blocks, one per token"),
)
SCAN = (Coefficient("scan_s", "s", 1e-10, 1e-7, 1e-8, "time of a block to find its sequence, for each of the batch"),)
REFERENCE = 64.0 * 128.0
"""Elements of keys that ``step_s`` and ``convert_s`` are stated for."""
GRAPH_PARTS, GRAPH_BATCH = 32.0, 512.0
"""Parts that vLLM asks of FlashAttention where a batch is captured as a CUDA graph, and the largest batch that is
(https://github.com/vllm-project/vllm, ``flash_attn_max_num_splits_for_cuda_graph`` and ``max_cudagraph_capture_size``;
a published table of an H100 has the step between 512 and 1,024 sequences)."""
PARTS = np.arange(1.0, 129.0)
"""Numbers of parts that keys may be cut into."""


Sizes = tuple[tuple[float, float], ...]
"""Pairs of (largest value, size), ascending."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How a kernel cuts its work: rows of a tile by the query heads that share keys, keys of a tile by head_dim, blocks
    that an SM holds, and the rule that cuts keys (``packed_only``: where query heads share them); ``copies``: see
    ``_further_kernels``. Where tiles have several heights a block's time goes with its tile's, else with the rows that
    are there."""

    tile_q: Sizes
    tile_kv: Sizes
    resident: float
    splits: str
    packed_only: bool = False
    copies: bool = False


_ANY = 1e9
_FA2_TILES = ((64.0, 256.0), (128.0, 128.0), (512.0, 64.0))
_FA3_TILES = ((64.0, 128.0), (128.0, 128.0), (192.0, 96.0), (512.0, 80.0))
CUTS: Mapping[str, Cut] = {
    "fa2": Cut(((_ANY, 64.0),), _FA2_TILES, 2.0, "efficiency", packed_only=True, copies=True),
    "fa3": Cut(((_ANY, 64.0),), _FA3_TILES, 1.0, "fill"),
    "fa4": Cut(((_ANY, 128.0),), ((512.0, 128.0),), 1.0, "fixed"),
    "trtllm": Cut(((_ANY, 64.0),), ((512.0, 128.0),), 1.0, "fill"),
    "flashinfer": Cut(((16.0, 16.0), (64.0, 64.0), (_ANY, 128.0)), ((512.0, 64.0),), 2.0, "fill"),
    "triton": Cut(((_ANY, 16.0),), ((512.0, 64.0),), 2.0, "fill"),
}
VARIANTS = tuple(CUTS)


class DecodeModel:
    """Decode attention by one kernel variant (see ``CUTS``)."""

    def __init__(self, variant: str) -> None:
        if variant not in CUTS:
            raise ValueError(f"{variant!r} is none of the decode kernels {', '.join(VARIANTS)}")
        self.variant = variant
        self.name = f"decode/{variant}"
        self.coefficients: tuple[Coefficient, ...] = COEFFICIENTS + (SCAN if CUTS[variant].splits == "fixed" else ())

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Dims, values: Mapping[str, float]) -> KernelTime:
        """Time of each call.

        Args:
            dims: batch, heads_q, heads_kv, seq_kv, head_dim; optional window (keys, 0 for none), kv_share (1; bytes of
                a key's element against a query's) and cache_write (1; 0 where no paged cache is written).
        """
        d, v, cut = _complete(dims), values, CUTS[self.variant]
        clock = gpu.boost_clock_mhz * 1e6
        keys = np.where(d["window"] > 0, np.minimum(d["seq_kv"], d["window"]), d["seq_kv"])
        rows = d["heads_q"] / d["heads_kv"]
        tile_q = _size(cut.tile_q, rows)
        groups = d["batch"] * d["heads_kv"] * np.ceil(rows / tile_q)
        tile_kv = _size(cut.tile_kv, d["head_dim"])
        split = splits(cut, gpu, groups, np.ceil(keys / tile_kv), d["batch"])
        if cut.packed_only:
            split = np.where(rows > 1, split, 1.0)
        waves, work = _blocks_time(gpu, d, v, cut, (groups, keys, tile_kv, split))
        memory = _bytes_time(gpu, dtype, d, v, keys)
        extra = _further_kernels(gpu, dtype, d, v, split, copies=cut.copies)
        latency = v["launch_cycles"] / clock + smooth_max(work, memory) + extra
        bound = np.where(memory >= np.maximum(work, v["launch_cycles"] / clock), "memory", "latency")
        details = {
            "tile_m": tile_q.astype(np.int64),
            "tile_n": tile_kv.astype(np.int64),
            "split_k": split.astype(np.int64),
            "waves": np.ceil(waves).astype(np.int64),
            "wave_efficiency": waves / np.ceil(waves),
        }
        return KernelTime(latency_s=latency, bound=bound, details=details)


def _complete(dims: Dims) -> dict[str, Floats]:
    """Every dimension, defaults filled in, as arrays of one shape [S]."""
    full = {"window": np.zeros(1), "cache_write": np.ones(1), "kv_share": np.ones(1), **dims}
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in full.values()))
    return dict(zip(full, arrays, strict=True))


def _size(table: Sizes, values: Floats) -> Floats:
    """The second of the first pair whose first no value exceeds; of the last pair beyond it, [S]."""
    limits = np.array([limit for limit, _ in table])
    index = np.minimum(np.searchsorted(limits, values), len(limits) - 1)
    return np.array([size for _, size in table])[index]


def splits(cut: Cut, gpu: GpuSpec, groups: Floats, tiles: Floats, batch: Floats) -> Floats:
    """Parts that the ``tiles`` tiles of keys of every group are cut into, [S] (see the module's docstring)."""
    slots = gpu.num_sms * cut.resident
    if cut.splits == "fixed":
        return np.where(batch <= GRAPH_BATCH, GRAPH_PARTS, 1.0)
    if cut.splits == "fill":
        filled = np.clip(np.floor(slots / groups), 1.0, np.minimum(tiles, PARTS[-1]))
        return np.where(tiles <= 4, 1.0, filled)
    waves = groups[:, None] * PARTS / slots
    per_part = np.ceil(tiles[:, None] / PARTS)
    fewer = np.concatenate([np.full((len(tiles), 1), np.inf), per_part[:, :-1]], axis=1)
    eligible = (tiles[:, None] >= PARTS) & (per_part < fewer)
    efficiency = np.where(eligible, waves / np.ceil(waves), 0.0)
    good = efficiency >= 0.85 * efficiency.max(axis=1, keepdims=True)
    return np.where(groups >= 0.8 * slots, 1.0, PARTS[np.argmax(good, axis=1)])


def _blocks_time(
    gpu: GpuSpec,
    d: Mapping[str, Floats],
    v: Mapping[str, float],
    cut: Cut,
    shapes: tuple[Floats, Floats, Floats, Floats],
) -> tuple[Floats, Floats]:
    """Waves of blocks, and the time of all, [S] each. Of keys in a fixed number of parts many parts may be empty."""
    groups, keys, tile_kv, split = shapes
    waves = groups * split / (gpu.num_sms * cut.resident)
    shown = np.maximum(1.0, waves + v["tail_fraction"] * (np.ceil(waves) - waves))
    part = np.ceil(np.ceil(keys / tile_kv) / split) * tile_kv
    elements = part * d["head_dim"] / REFERENCE
    step = v["step_s"] * d["kv_share"] + np.where(d["kv_share"] < 1.0, v["convert_s"], 0.0)
    rows = d["heads_q"] / d["heads_kv"]
    rows = _size(cut.tile_q, rows) if len(cut.tile_q) > 1 else rows
    item = v["item_s"] + v["row_s"] * (rows - 1.0)
    if cut.splits != "fixed":
        return waves, shown * (item + step * elements)
    item = item + v["scan_s"] * d["batch"]
    mean = np.ceil(keys / tile_kv) * tile_kv / split * d["head_dim"] / REFERENCE
    return waves, np.maximum(item + step * elements, shown * (item + step * mean))


def _bytes_time(gpu: GpuSpec, dtype: DType, d: Mapping[str, Floats], v: Mapping[str, float], keys: Floats) -> Floats:
    """Time of keys, values, queries and outputs through L2 and, of what it misses, DRAM, [S]."""
    size = dtype.itemsize
    moved = 2.0 * d["batch"] * d["head_dim"] * size * (d["heads_kv"] * keys * d["kv_share"] + d["heads_q"])
    miss = 1.0 - 1.0 / (1.0 + (moved / (v["l2_fraction"] * gpu.l2_bytes)) ** v["l2_sharpness"])
    bandwidth = v["dram_fraction"] * gpu.bandwidth_bytes_s
    return moved * miss / bandwidth + moved * (1.0 - miss) / (v["l2_multiple"] * gpu.bandwidth_bytes_s)


def _further_kernels(
    gpu: GpuSpec, dtype: DType, d: Mapping[str, Floats], v: Mapping[str, float], split: Floats, *, copies: bool
) -> Floats:
    """Time of the cache write, of combining parts, and of FlashAttention-2's copies (csrc/flash_attn/flash_api.cpp:
    query heads are packed by a transposition, which copies where neither the batch nor the key heads are one), [S]."""
    clock = gpu.boost_clock_mhz * 1e6
    threads = np.minimum(d["heads_kv"] * d["head_dim"], CACHE_WRITE_THREADS)
    waves = d["batch"] * threads / (gpu.sm_limits.threads * gpu.num_sms)
    time = waves * v["cache_wave_cycles"] / clock * d["cache_write"]
    outputs = d["batch"] * d["heads_q"] * d["head_dim"]
    partial = 2.0 * 4.0 * split * outputs / (v["l2_multiple"] * gpu.bandwidth_bytes_s)
    combine = (v["extra_launch_cycles"] + v["part_cycles"] * split) / clock + partial
    time = time + np.where(split > 1, combine, 0.0)
    if not copies:
        return time
    packed = d["heads_q"] > d["heads_kv"]
    transposed = packed & (d["batch"] > 1) & (d["heads_kv"] > 1)
    return time + v["extra_launch_cycles"] / clock * np.where(transposed, 3.0, np.where(packed, 1.0, 0.0))
