"""Time of a fused attention kernel from query blocks, key blocks, exponentials and traffic.

A block of ``tile_q`` query rows of one (batch, head) is one work item; it walks over the key blocks that the mask
leaves (``attention_tiles``). With ``slots`` = SMs · resident blocks,

    items  = cuts · ⌈rows / tile_q⌉ · split_kv
    waves  = ⌈items / slots⌉
    steps  = key blocks that an item visits, on average and at most

Per key block an SM spends 4 · tile_q · tile_kv · padded head_dim FLOPs on its matrix units and tile_q · tile_kv
exponentials, 16 per clock, on its special-function units. FlashAttention-2 does one after the other, with warp-level
instructions, which on Hopper and Blackwell miss the peak (``WARP_LEVEL_RATE``; published is 35 % of an H100's peak in
all, https://arxiv.org/abs/2407.08608, abstract); kernels with warp specialisation overlap them, so that the longer
counts. Where a product caps its matrix units' rate (``GpuSpec.tensor_rate_share``), the rest of a key block's work
stays what it is on uncapped silicon and hides behind them: the longer of the two counts. Warp-level instructions reach
the same share of a capped rate as of a full one. On top come

* a latency per key block that only other resident blocks can hide: with one resident block, all of it shows;
* a fixed time per item and a time per query row (load of Q, store of O), which follow memory, not the SM clock;
* items are dealt out as SMs fall free, so a launch takes its average load, part of the last wave's imbalance, and
  never less than its longest item;
* query, key, value and output through DRAM, less what stays in L2 from its last use; partial outputs of split keys
  are written and read in fp32 by a further kernel;
* kernels on a paged key-value cache (``PAGED``) include the kernel that writes the new keys and values to it, one
  block of up to 512 threads per token, as serving engines launch it and as the published tables time it;
* long kernels lose clock to the power limit: time · (1 + throttle · t / (t + throttle_time)).

Outputs wider than 256 columns do not fit the accumulators and are computed in parts of 256, scores anew for each; but
PyTorch's memory-efficient kernel accumulates wide outputs in memory, and takes heads of any width
(aten/src/ATen/native/transformers/cuda/mem_eff_attention/kernel_forward.h, ``kKeepOutputInRF``).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archsearch.arrays import Floats
from archsearch.cost.kernels.attention_tiles import PAGED, VARIANTS, Tiling, key_blocks, tiling
from archsearch.cost.kernels.kernel_cost import Coefficient, Dims, KernelTime, smooth_max
from archsearch.cost.kernels.tiles import WARP_LEVEL_RATE, product_flops, uses_matrix_units
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

EXPONENTIALS_PER_CLOCK = 16.0
"""Special-function results per clock and SM (CUDA C++ Programming Guide, arithmetic instructions, 7.x on)."""
CACHE_WRITE_THREADS = 512.0
"""Most threads of a block that writes one token to the cache (vLLM, csrc/cache_kernels.cu, reshape_and_cache_flash)."""
ACCUMULATOR_COLUMNS = 256.0
"""Widest head_dim of FlashAttention kernels that hold the whole output (hopper/tile_size.h)."""
L2_SHARPNESS = 3.0
"""How abruptly the L2 hit rate falls beyond its share; as ``l2_sharpness`` of the matrix products starts."""

COEFFICIENTS = (
    Coefficient("launch_cycles", "clock", 1e3, 8e4, 8e3, "launch, scheduling and drain of the kernel"),
    Coefficient("rate_fraction", "1", 0.3, 1.0, 0.85, "sustained share of the matrix units' datasheet rate"),
    Coefficient("softmax_factor", "1", 0.05, 8.0, 1.0, "softmax time against its exponentials at 16 per clock and SM"),
    Coefficient("step_cycles", "clock", 10, 1e4, 1e3, "latency of one key block that other resident blocks hide"),
    Coefficient("row_s", "s", 1e-10, 4e-7, 1e-8, "time of an SM to load one query row and store its output"),
    Coefficient("item_s", "s", 1e-8, 2e-5, 5e-7, "time of an SM per work item besides its rows and key blocks"),
    Coefficient("dram_fraction", "1", 0.3, 1.0, 0.85, "achievable share of the datasheet's DRAM bandwidth"),
    Coefficient("l2_fraction", "1", 0.02, 2.0, 0.6, "share of L2 that holds data until its next use"),
    Coefficient("tail_fraction", "1", 0.01, 1.0, 0.5, "share of the last wave's imbalance that shows"),
    Coefficient("throttle_fraction", "1", 0.001, 1.5, 0.1, "slow-down of a long kernel at the power limit"),
    Coefficient("throttle_time_s", "s", 1e-4, 1.0, 1e-2, "duration over which the power limit sets in"),
    Coefficient("extra_launch_cycles", "clock", 500, 2e4, 2.8e3, "launch of each further kernel of the call"),
)
CACHE_WRITE = (
    Coefficient("cache_wave_cycles", "clock", 100, 2e4, 4e3, "one wave of the cache write's blocks, one per token"),
)


class AttentionModel:
    """Fused attention by one kernel variant (see ``attention_tiles.VARIANTS``)."""

    def __init__(self, variant: str) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"{variant!r} is none of the attention kernels {', '.join(VARIANTS)}")
        self.variant = variant
        self.name = f"attention/{variant}"
        self.coefficients: tuple[Coefficient, ...] = COEFFICIENTS + CACHE_WRITE if variant in PAGED else COEFFICIENTS

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Dims, values: Mapping[str, float]) -> KernelTime:
        """Time of each call.

        Args:
            dims: batch, heads_q, heads_kv, seq_q, seq_kv, head_dim, causal (0 or 1); optional window (total width in
                keys, 0 for none), cache_write (1; 0 where no paged cache is written, as in training) and kv_share
                (1; bytes of a key's or value's element against a query's).
        """
        full = _complete(dims)
        cut = tiling(self.variant, gpu, full)
        parts = call_time(gpu, dtype, full, cut, values)
        busiest = np.stack([parts["compute"], parts["memory"], parts["latency"]])
        details = {
            "tile_m": cut.tile_q.astype(np.int64),
            "tile_n": cut.tile_kv.astype(np.int64),
            "split_k": cut.split.astype(np.int64),
            "waves": parts["waves"].astype(np.int64),
            "wave_efficiency": parts["items"] / (parts["waves"] * parts["slots"]),
        }
        bound = np.array(["compute", "memory", "latency"])[np.argmax(busiest, axis=0)]
        return KernelTime(latency_s=parts["total"], bound=bound, details=details)


def _complete(dims: Dims) -> dict[str, Floats]:
    """Every dimension, defaults filled in, as arrays of one shape [S]."""
    full = {"window": np.zeros(1), "cache_write": np.ones(1), "kv_share": np.ones(1), **dims}
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in full.values()))
    return dict(zip(full, arrays, strict=True))


def call_time(
    gpu: GpuSpec, dtype: DType, dims: Mapping[str, Floats], cut: Tiling, v: Mapping[str, float]
) -> dict[str, Floats]:
    """Time of each call and its parts, arrays of shape [S] (see the module's docstring)."""
    clock = gpu.boost_clock_mhz * 1e6
    blocks = np.ceil(cut.rows / cut.tile_q)
    items = cut.groups * blocks * cut.split
    slots = gpu.num_sms * cut.occupancy
    waves = np.ceil(items / slots)
    compute, body = _blocks_time(gpu, dtype, dims, cut, v, items)
    dram, cache_write, combine = _traffic_time(gpu, dtype, dims, cut, v)
    body = smooth_max(body, dram)
    body = body * (1 + v["throttle_fraction"] * compute / (compute + v["throttle_time_s"]))
    launches = v["launch_cycles"] + v["extra_launch_cycles"] * (cut.copies + (cut.split > 1))
    if cache_write is not None:
        launches = launches + v["extra_launch_cycles"] * dims["cache_write"]
        body = body + cache_write * dims["cache_write"]
    return {
        "total": launches / clock + body + combine,
        "items": items,
        "slots": slots,
        "waves": waves,
        "compute": compute,
        "memory": dram + combine,
        "latency": launches / clock + v["item_s"] * waves,
    }


def _blocks_time(
    gpu: GpuSpec, dtype: DType, dims: Mapping[str, Floats], cut: Tiling, v: Mapping[str, float], items: Floats
) -> tuple[Floats, Floats]:
    """Time of the matrix and special-function units, and of the launch's work items with their latencies."""
    clock, sms = gpu.boost_clock_mhz * 1e6, float(gpu.num_sms)
    visited, most = key_blocks(cut, dims)
    blocks = np.ceil(cut.rows / cut.tile_q)
    steps, most = visited / (blocks * cut.split), np.ceil(most / cut.split)
    products = 2.0 + 2.0 * np.where(cut.spills, 1.0, np.ceil(cut.dim / ACCUMULATOR_COLUMNS))
    share = gpu.tensor_rate_share(dtype)
    peak = product_flops(gpu, dtype) / share / sms  # of the silicon; what the product leaves of it comes below
    rate = peak * v["rate_fraction"]
    by_warps = not cut.overlaps and gpu.generation.warp_group_units and uses_matrix_units(gpu, dtype)
    reached = WARP_LEVEL_RATE if by_warps else 1.0
    rate = rate * reached
    flops = products * cut.tile_q * cut.tile_kv * cut.dim
    softmax = v["softmax_factor"] * cut.tile_q * cut.tile_kv / (EXPONENTIALS_PER_CLOCK * clock)
    work = smooth_max(flops / rate, softmax) if cut.overlaps else flops / rate + softmax
    if share < 1.0:  # slower matrix units hide what else the same warps do
        work = smooth_max(flops / (peak * share * reached), work)
    chain = work + v["step_cycles"] / clock
    fixed = v["item_s"] + v["row_s"] * cut.rows / blocks
    shown = v["tail_fraction"]
    per_sm = items / sms + shown * (np.ceil(items / sms) - items / sms)
    slots = sms * cut.occupancy
    waves = np.maximum(items / slots + shown * (np.ceil(items / slots) - items / slots), 1)
    load = smooth_max(per_sm * (steps * work + fixed), waves * (fixed + steps * chain))
    return per_sm * steps * work, np.maximum(load, fixed + most * chain)


def _traffic_time(
    gpu: GpuSpec, dtype: DType, dims: Mapping[str, Floats], cut: Tiling, v: Mapping[str, float]
) -> tuple[Floats, Floats | None, Floats]:
    """Time on DRAM, of the cache write (None where there is none) and of combining split keys."""
    clock, size = gpu.boost_clock_mhz * 1e6, dtype.itemsize
    bandwidth = v["dram_fraction"] * gpu.bandwidth_bytes_s
    outputs = cut.rows * cut.groups * dims["head_dim"]
    token = 2 * dims["heads_kv"] * dims["head_dim"] * size * dims["kv_share"]
    queries, keys = 2 * outputs * size, dims["batch"] * dims["seq_kv"] * token
    tokens = dims["batch"] * np.minimum(dims["seq_q"], dims["seq_kv"])
    paged = "cache_wave_cycles" in v
    written = 2 * tokens * token * dims["cache_write"] if paged else np.zeros_like(keys)
    footprint = queries + keys + written
    miss = 1 - 1 / (1 + (footprint / (v["l2_fraction"] * gpu.l2_bytes)) ** L2_SHARPNESS)
    partial = np.where(cut.split > 1, 2 * 4 * cut.split * outputs, 0.0)
    cache_write = None
    if paged:
        threads = np.minimum(dims["heads_kv"] * dims["head_dim"], CACHE_WRITE_THREADS)
        waves = tokens * threads / (gpu.sm_limits.threads * gpu.num_sms)
        cache_write = smooth_max(waves * v["cache_wave_cycles"] / clock, written * miss / bandwidth)
    return (queries + keys) * miss / bandwidth, cache_write, partial / bandwidth
