"""Time of a fused attention kernel from query blocks, key blocks, exponentials and traffic.

A block of ``tile_q`` query rows of one (batch, head) is one work item; it walks over the key blocks that the mask
leaves (``attention_tiles``). With ``slots`` = SMs · resident blocks,

    items   = cuts · ⌈rows / tile_q⌉ · split_kv
    waves   = ⌈items / slots⌉
    steps   = key blocks visited, on average and at most

Per key block an SM spends the products' time on its tensor cores (4 · tile_q · tile_kv · padded head_dim FLOPs) and
the softmax's on its special-function and vector units (tile_q · tile_kv exponentials at 16 per clock and SM); a single
block cannot be faster than the latency of its chain (product, softmax, product). The launch takes the smooth maximum
of that, of the traffic through L2 and of the traffic to DRAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from archsearch.cost.attention_tiles import VARIANTS, Tiling, key_blocks, tiling
from archsearch.cost.gemm import smooth_max
from archsearch.cost.kernel import Array, Coefficient, KernelTime
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

EXPONENTIALS_PER_CLOCK = 16.0
"""Special-function results per clock and SM from compute capability 7.0 on (CUDA C++ Programming Guide, throughput)."""

COEFFICIENTS = (
    Coefficient("launch_s", "s", 5e-7, 4e-5, 6e-6, "launch, scheduling and drain of the call's kernels"),
    Coefficient("rate_fraction", "1", 0.3, 1.0, 0.85, "sustained share of the tensor cores' datasheet rate"),
    Coefficient("softmax_factor", "1", 0.05, 8.0, 1.0, "softmax time against its exponentials at 16 per clock and SM"),
    Coefficient("step_cycles", "clock", 10, 10000, 1000, "latency of one key block's chain in one resident block"),
    Coefficient("item_cycles", "clock", 10, 40000, 2000, "latency of a work item's first loads and last stores"),
    Coefficient("row_cycles", "clock", 0.1, 400, 10, "SM time to load one query row and store its output"),
    Coefficient("issue_cycles", "clock", 10, 40000, 500, "SM time of a work item besides its key blocks"),
    Coefficient("dram_fraction", "1", 0.3, 1.0, 0.85, "achievable share of the datasheet's DRAM bandwidth"),
    Coefficient("l2_fraction", "1", 0.02, 2.0, 0.6, "share of L2 that holds data until its next use"),
    Coefficient("l2_bytes_per_clock_per_sm", "B/clock", 4, 300, 40, "L2 bytes per clock, per SM of the whole chip"),
    Coefficient("tail_fraction", "1", 0.01, 1.0, 0.5, "share of the last wave's imbalance that shows"),
    Coefficient("extra_launch_s", "s", 3e-7, 1e-5, 2e-6, "launch of each further kernel: cache write, head packing"),
)
CACHE_WRITE = (
    Coefficient("cache_wave_cycles", "clock", 100, 20000, 4000, "time of one wave of its blocks (one block per token)"),
)
L2_SHARPNESS = 3.0
PAGED = ("fa2-causal", "fa3-causal", "fa4-causal", "trtllm-prefill", "trtllm-decode")


class AttentionModel:
    """Fused attention by one kernel variant (see ``attention_tiles.VARIANTS``)."""

    def __init__(self, variant: str) -> None:
        if variant not in VARIANTS:
            raise KeyError(variant)
        self.variant = variant
        self.name = f"attention/{variant}"
        self.coefficients: tuple[Coefficient, ...] = COEFFICIENTS + CACHE_WRITE if variant in PAGED else COEFFICIENTS

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Mapping[str, Array], values: Mapping[str, float]) -> KernelTime:
        """Time of each call.

        Args:
            dims: batch, heads_q, heads_kv, seq_q, seq_kv, head_dim, causal (0 or 1), and window (total width in keys,
                0 for none).
        """
        full = _complete(dims)
        t = tiling(self.variant, gpu, full)
        parts = call_time(gpu, dtype, full, t, values)
        busiest = np.stack([parts["compute"], parts["memory"], parts["latency"]])
        bound = np.array(["compute", "memory", "latency"])[np.argmax(busiest, axis=0)]
        details = {
            "tile_m": t.tile_q.astype(np.int64),
            "tile_n": t.tile_kv.astype(np.int64),
            "split_k": parts["split"].astype(np.int64),
            "waves": parts["waves"].astype(np.int64),
            "wave_efficiency": parts["items"] / (parts["waves"] * parts["slots"]),
        }
        return KernelTime(latency_s=parts["total"], bound=bound, details=details)


def _complete(dims: Mapping[str, Array]) -> dict[str, Array]:
    full = {"window": np.zeros(1), **dims}
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in full.values()))
    return dict(zip(full, arrays, strict=True))


def call_time(
    gpu: GpuSpec, dtype: DType, dims: Mapping[str, Array], t: Tiling, v: Mapping[str, float]
) -> dict[str, Any]:
    """Time of each call and its parts, arrays of shape [S] (see the module's docstring)."""
    clock, sms = gpu.boost_clock_mhz * 1e6, float(gpu.num_sms)
    steps_all, steps_max = key_blocks(t, dims)
    blocks = np.ceil(t.rows / t.tile_q)
    items = t.groups * blocks * t.split
    steps = steps_all / (blocks * t.split)
    steps_max = np.ceil(steps_max / t.split)
    slots = sms * t.occupancy
    waves = np.ceil(items / slots)

    multiply = 4 * t.tile_q * t.tile_kv * t.dim / (gpu.peak_flops(dtype) * v["rate_fraction"] / sms)
    softmax = v["softmax_factor"] * t.tile_q * t.tile_kv / (EXPONENTIALS_PER_CLOCK * clock)
    work = multiply + softmax
    chain = v["step_cycles"] / clock

    per_sm = items / sms + v["tail_fraction"] * (np.ceil(items / sms) - items / sms)
    busy = per_sm * (steps * work + (v["issue_cycles"] + v["row_cycles"] * t.rows / blocks) / clock)
    in_waves = items / slots + v["tail_fraction"] * (waves - items / slots)
    latency = np.maximum(in_waves, 1) * (v["item_cycles"] / clock + steps * chain)
    longest = v["item_cycles"] / clock + steps_max * smooth_max(work, chain)
    compute = np.maximum(smooth_max(busy, latency), longest)

    size = dtype.itemsize
    kv_step = 2 * t.tile_kv * dims["head_dim"] * size
    ends = 2 * t.rows * t.groups * dims["head_dim"] * size
    l2 = (t.groups * steps_all * kv_step + ends) / (v["l2_bytes_per_clock_per_sm"] * clock * sms)
    keys = 2 * dims["batch"] * dims["heads_kv"] * dims["seq_kv"] * dims["head_dim"] * size
    written, write = 0.0, 0.0
    dram_rate = v["dram_fraction"] * gpu.bandwidth_bytes_s
    if "cache_wave_cycles" in v:
        written = 2 * keys
    footprint = ends + keys + written
    miss = 1 - 1 / (1 + (footprint / (v["l2_fraction"] * gpu.l2_bytes)) ** L2_SHARPNESS)
    if "cache_wave_cycles" in v:
        threads = np.minimum(dims["heads_kv"] * dims["head_dim"], 512.0)
        turns = dims["batch"] * dims["seq_q"] * threads / (gpu.max_threads_per_sm * sms)
        write = v["extra_launch_s"] * (1 + t.copies) + smooth_max(turns * v["cache_wave_cycles"] / clock, written * miss / dram_rate)
    partial = np.where(t.split > 1, 8 * t.split * t.rows * t.groups * dims["head_dim"], 0.0)
    combine = np.where(t.split > 1, v["extra_launch_s"] + partial / (v["l2_bytes_per_clock_per_sm"] * clock * sms), 0.0)
    dram = (ends + keys) * miss / dram_rate
    body = smooth_max(smooth_max(compute, l2), dram)
    return {
        "total": v["launch_s"] + write + combine + body,
        "items": items,
        "slots": slots,
        "waves": waves,
        "split": t.split,
        "compute": busy,
        "memory": np.maximum(l2, dram),
        "latency": v["launch_s"] + latency,
    }
