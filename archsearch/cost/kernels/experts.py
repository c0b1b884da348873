"""Time of a mixture's routed feed-forward as vLLM's fused Triton kernels run it.

A layer is five kernels: copies are sorted by expert and padded to blocks of ``block_m`` rows of one expert; one grouped
product from hidden_size to both halves of the expert's width (one where it is not gated), the activation, a grouped
product back, and the sum of a token's copies
(https://github.com/vllm-project/vllm/blob/v0.14.0/vllm/model_executor/layers/fused_moe/fused_moe.py). Without a file of
tuned tiles, which few shapes have, ``get_default_config`` of that file takes 16 × 32 × 64 tiles while there are no more
tokens than experts here, and 64 × 64 × 32 beyond, eight blocks of rows side by side. For each product, with the blocks
and experts of the busiest GPU (``expert_loads``),

    tiles = blocks · ⌈n / block_n⌉,  steps = ⌈k / block_k⌉,  slots = SMs · resident tiles
    time  = smooth_max(waves · (steps · step + wave_cycles), bytes / bandwidth)

* A wave's step takes the resident tiles' multiplications, and no less than a step's latency, which is shorter from L2.
  Waves count part of the last one's imbalance (``tail_fraction``) and are never less than one.
* Every active expert's weights come from DRAM; where one expert's matrix outgrows L2, again for every eight blocks.
  What the layer's last run left in L2 is not read again (``reuse_bytes``: what is touched in between).
* A step of 32 columns reads half a 128-byte line of every row: such reads reach ``narrow_fraction`` of the bandwidth.
* Sorting takes a time per copy and per expert. The activation and the sum move their tensors, for copies of other
  GPUs' experts as well: their zeros are written (``foreign_fraction`` of the bytes) and summed. What of it L2 holds
  from one kernel to the next moves ``l2_speed`` times as fast.
* Long products lose clock to the power limit: time · (1 + throttle · t / (t + throttle_time)).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Floats
from archsearch.cost.kernels.expert_loads import Loads, loads
from archsearch.cost.kernels.kernel_cost import Coefficient, Dims, KernelTime, smooth_max
from archsearch.cost.kernels.tiles import product_flops
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

FEW, MANY = (16.0, 32.0, 64.0), (64.0, 64.0, 32.0)
"""block_m, block_n and block_k of vLLM's default: up to as many tokens as experts here, and beyond."""
GROUPED_BLOCKS = 8.0
"""Blocks of rows that share a panel of weights (``GROUP_SIZE_M``) of the larger tile; 1 of the smaller."""
STAGES = 3.0
"""Steps in flight of a tile: Triton's default ``num_stages``."""
MOST_RESIDENT = 6.0
"""Most tiles that an SM holds: 128 threads of about 80 registers each fill its register file of 65,536."""
LINE_BYTES = 128.0
L2_LATENCY = 0.55
"""Latency of an L2 hit against DRAM's: 261 to 263 and 466 to 479 cycles on A100 and H100 (arXiv 2402.13499)."""
L2_SHARPNESS = 3.0
"""How abruptly the L2 hit rate falls beyond its share; as ``l2_sharpness`` of the matrix products starts."""

COEFFICIENTS = (
    Coefficient("launch_s", "s", 1e-6, 1.5e-4, 1.5e-5, "launches of the layer's kernels, one after the other"),
    Coefficient("copy_s", "s", 1e-12, 2e-8, 2e-10, "sorting, per copy of a token"),
    Coefficient("expert_s", "s", 1e-10, 5e-7, 1e-8, "sorting, per expert of the layer"),
    Coefficient("rate_fraction", "1", 0.05, 1.0, 0.4, "sustained share of the matrix units' datasheet rate"),
    Coefficient("step_cycles", "clock", 20, 6000, 500, "latency floor of one main-loop step"),
    Coefficient("wave_cycles", "clock", 10, 2e4, 2e3, "first loads of a tile and the store of its result"),
    Coefficient("tail_fraction", "1", 0.001, 1.0, 0.2, "share of the last wave's imbalance that shows"),
    Coefficient("dram_fraction", "1", 0.4, 1.0, 0.85, "achievable share of the datasheet's DRAM bandwidth"),
    Coefficient("narrow_fraction", "1", 0.2, 1.0, 0.7, "bandwidth of reads of half lines against whole ones"),
    Coefficient("l2_fraction", "1", 0.02, 3.0, 0.5, "share of L2 that holds data until its next use"),
    Coefficient("stream_fraction", "1", 0.05, 1.0, 0.8, "share of DRAM's bandwidth that activation and sum reach"),
    Coefficient("l2_speed", "1", 1.0, 20.0, 4.0, "bandwidth of what L2 holds between these kernels, against DRAM's"),
    Coefficient("foreign_fraction", "1", 0.001, 1.0, 0.5, "share of zeros written for other GPUs' experts"),
    Coefficient("throttle_fraction", "1", 0.001, 1.5, 0.1, "slow-down of a long product at the power limit"),
    Coefficient("throttle_time_s", "s", 1e-4, 1.0, 1e-2, "duration over which the power limit sets in"),
)


@dataclass(frozen=True, slots=True)
class Layer:
    """What no coefficient changes of layers, arrays of shape [S]: sizes, loads and tiles."""

    tokens: Floats
    copies: Floats
    hidden: Floats
    width: Floats
    up: Floats
    experts: Floats
    reuse_bytes: Floats
    load: Loads
    block_m: Floats
    block_n: Floats
    block_k: Floats
    grouped: Floats

    @classmethod
    def of(cls, dims: Dims, dtype: DType) -> Layer:
        d = _complete(dims)
        here = d["num_experts"] / d["expert_parallel"]
        tokens, whole = d["tokens"], d["whole_tokens"] > 0
        if whole.any():
            arrived = loads(d, np.full_like(here, FEW[0])).copies / d["num_experts_per_tok"]
            tokens = np.where(whole, arrived, tokens)
        few = tokens <= here
        block_m, block_n, block_k = (np.where(few, a, b) for a, b in zip(FEW, MANY, strict=True))
        load = loads(d, block_m)
        hidden, width = d["hidden_size"], d["moe_intermediate_size"]
        up = width * np.where(d["gated"] > 0, 2.0, 1.0)
        read = np.where(d["skew"] > 0, np.minimum(here, load.active * d["routings"]), load.active)
        own = read * hidden * (up + width) * dtype.itemsize
        return cls(
            tokens=tokens,
            copies=tokens * d["num_experts_per_tok"],
            hidden=hidden,
            width=width,
            up=up,
            experts=d["num_experts"],
            reuse_bytes=np.where(np.isnan(d["reuse_bytes"]), own, d["reuse_bytes"]),
            load=load,
            block_m=block_m,
            block_n=block_n,
            block_k=block_k,
            grouped=np.where(few, 1.0, GROUPED_BLOCKS),
        )


OPTIONAL = {"expert_parallel": 1.0, "gated": 1.0, "skew": 0.0, "whole_tokens": 0.0, "routings": 1.0}


def _complete(dims: Dims) -> dict[str, Floats]:
    """Every dimension, defaults filled in, as arrays of one shape [S]."""
    full = {**{name: np.asarray(value) for name, value in OPTIONAL.items()}, "reuse_bytes": np.asarray(np.nan), **dims}
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in full.values()))
    return dict(zip(full, arrays, strict=True))


class ExpertsModel:
    """Routed experts of one GPU's share."""

    name = "experts"
    coefficients: tuple[Coefficient, ...] = COEFFICIENTS

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Dims, values: Mapping[str, float]) -> KernelTime:
        """Time of each layer.

        Args:
            dims: tokens, hidden_size, moe_intermediate_size, num_experts_per_tok, num_experts; optional expert_parallel
                (1), gated (1), skew (0), whole_tokens (0; see ``expert_loads``), reuse_bytes: what is touched between
                two uses of the weights (default: a benchmark loop over this layer), and routings (1): skewed loads
                that such a loop goes through.
        """
        layer = Layer.of(dims, dtype)
        parts = _layer_time(gpu, dtype, layer, values)
        bound = np.array(["compute", "memory", "latency"])[np.argmax(np.stack(parts[1:]), axis=0)]
        details = {
            "tile_m": layer.block_m.astype(np.int64),
            "tile_n": layer.block_n.astype(np.int64),
            "active_experts": layer.load.active,
            "copies": layer.load.copies,
            "tile_efficiency": layer.load.copies / (layer.load.blocks * layer.block_m),
        }
        return KernelTime(latency_s=parts[0], bound=bound, details=details)

    def freeze(
        self, gpu: GpuSpec, dtype: DType, dims: Dims, values: Mapping[str, float]
    ) -> Callable[[Mapping[str, float]], Floats]:
        """Latency as a function of the coefficients: loads and tiles, which they do not change, are found once."""
        layer = Layer.of(dims, dtype)
        return lambda v: _layer_time(gpu, dtype, layer, v)[0]


def _layer_time(gpu: GpuSpec, dtype: DType, layer: Layer, v: Mapping[str, float]) -> tuple[Floats, ...]:
    """Time of each layer; of it on matrix units, on DRAM, and in launches and sorting. Arrays of shape [S]."""
    fixed = v["launch_s"] + v["copy_s"] * layer.copies + v["expert_s"] * layer.experts
    first, first_dram = _product(gpu, dtype, layer, layer.up, layer.hidden, v)
    second, second_dram = _product(gpu, dtype, layer, layer.hidden, layer.width, v)
    streamed = _stream(layer, dtype, v["l2_fraction"] * gpu.l2_bytes, v)
    stream = streamed / (v["stream_fraction"] * gpu.bandwidth_bytes_s)
    total = fixed + smooth_max(first, first_dram) + smooth_max(second, second_dram) + stream
    return total, first + second, first_dram + second_dram + stream, fixed


def _product(
    gpu: GpuSpec, dtype: DType, layer: Layer, n: Floats, k: Floats, v: Mapping[str, float]
) -> tuple[Floats, Floats]:
    """Time of one grouped product's tiles, and of its bytes, each of shape [S]."""
    clock, sms, size = gpu.boost_clock_mhz * 1e6, float(gpu.num_sms), dtype.itemsize
    tiles = layer.load.blocks * np.ceil(n / layer.block_n)
    steps = np.ceil(k / layer.block_k)
    staged = STAGES * (layer.block_m + layer.block_n) * layer.block_k * size
    fitting = np.clip(np.floor(gpu.sm_limits.shared_memory_bytes / staged), 1.0, MOST_RESIDENT)
    resident = np.clip(np.ceil(tiles / sms), 1.0, fitting)
    rate = product_flops(gpu, dtype) / sms * v["rate_fraction"]
    multiply = 2.0 * layer.block_m * layer.block_n * layer.block_k / rate
    hit = _kept(layer.reuse_bytes, v["l2_fraction"] * gpu.l2_bytes)
    latency = v["step_cycles"] / clock * (1.0 - (1.0 - L2_LATENCY) * hit)
    step = smooth_max(resident * multiply, latency)
    waves = tiles / (sms * fitting)
    waves = np.maximum(waves + v["tail_fraction"] * (np.ceil(waves) - waves), 1.0)
    compute = waves * (steps * step + v["wave_cycles"] / clock)
    compute = compute * (1.0 + v["throttle_fraction"] * compute / (compute + v["throttle_time_s"]))

    held = v["l2_fraction"] * gpu.l2_bytes
    matrix = n * k * size
    kept = _kept(matrix, held)
    passes = np.maximum(layer.load.blocks / layer.grouped / layer.load.active, 1.0)
    weights = matrix * layer.load.active * (kept + (1.0 - kept) * passes) * (1.0 - hit)
    whole = np.where(layer.block_k * size >= LINE_BYTES, 1.0, v["narrow_fraction"])
    moved = weights / whole + layer.load.copies * (n + k) * size
    return compute, moved / (v["dram_fraction"] * gpu.bandwidth_bytes_s)


def _stream(layer: Layer, dtype: DType, held: float, v: Mapping[str, float]) -> Floats:
    """Bytes of activation and sum, those that L2 holds between kernels counted by its bandwidth, [S]."""
    moved = layer.copies * (layer.up + layer.width + layer.hidden) + layer.tokens * layer.hidden
    foreign = np.maximum(layer.copies - layer.load.copies, 0.0) * (layer.up + layer.hidden)
    total = (moved + v["foreign_fraction"] * foreign) * dtype.itemsize
    kept = _kept(total, held)
    return total * (1.0 - kept + kept / v["l2_speed"])


def _kept(reuse_bytes: Floats, held_bytes: float) -> Floats:
    """Share of data that L2 still holds after this many bytes."""
    with np.errstate(over="ignore"):
        kept: Floats = 1.0 / (1.0 + (reuse_bytes / held_bytes) ** L2_SHARPNESS)
    return kept
