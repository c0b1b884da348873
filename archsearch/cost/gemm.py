"""Time of a matrix product from tiles, waves and traffic.

For every candidate tile and split-K factor the model counts

    tiles  = ⌈m / tile_m⌉ · ⌈n / tile_n⌉ · batch · split_k
    waves  = ⌈tiles / (num_sms · occupancy)⌉
    steps  = ⌈k / (step · split_k)⌉            main-loop steps of one tile

and takes the fastest candidate, as a library's heuristic aims to. One wave costs, per step, the smooth maximum
of the matrix units' time, the shared-memory time of the operand tiles and the step's latency; the launch costs
the smooth maximum of all waves, the operand traffic through L2, and the traffic to DRAM. The terms:

* Operand traffic counts the clipped tile (min(tile_m, m) + min(tile_n, n)), since nothing beyond the matrix moves.
* DRAM bandwidth ramps with the number of busy SMs (Little's law: each SM keeps a bounded number of bytes in flight).
* What stays in L2 from its last use is not read again. Activations are reused at a distance of this product's own
  footprint, weights at ``reuse_bytes`` (see ``GemmModel.predict``).
* When operands exceed L2, each wave fetches its own panel: bytes ∝ waves · k · √(concurrent tile area).
* Long kernels lose clock to the power limit: time · (1 + throttle · t / (t + throttle_time)).
* Rows that do not start on 16 bytes load and store with narrower instructions (32 lanes · alignment bytes per clock)
  and cannot use TMA, so that Hopper and Blackwell fall back to warp-level instructions; off 32 bytes they touch one
  more L2 sector.
* FP8 linear layers include the dynamic quantization pass over the activations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from archsearch.cost.kernel import Array, Coefficient, KernelTime
from archsearch.cost.tiles import TileSet, step_bytes, tile_set, uses_matrix_units
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

SPLIT_FILLS = (1.0, 0.5, 0.25)
"""Split-K factors tried: those that fill this share of the SMs' slots, besides no split."""
MAX_SPLIT = 32
MIN_SPLIT_BYTES = 512.0
"""Least bytes of k per split: shorter splits cannot fill a pipeline."""
WARP_LEVEL_RATE = 0.63
"""Share of Hopper's peak that warp-level ``mma.sync`` reaches (arXiv 2402.13499, table of mma throughput)."""

COEFFICIENTS = (
    Coefficient("launch_s", "s", 3e-7, 4e-5, 2e-6, "launch, scheduling and drain of an empty kernel"),
    Coefficient("rate_fraction", "1", 0.4, 1.0, 0.9, "sustained share of the datasheet's multiply-add rate"),
    Coefficient("step_cycles", "clock", 10, 3000, 150, "latency floor of one main-loop step"),
    Coefficient("wave_cycles", "clock", 10, 10000, 800, "prologue: first loads of a wave before it multiplies"),
    Coefficient("epilogue_bytes_per_clock", "B/clock", 1, 2000, 60, "output tile bytes an SM writes per clock"),
    Coefficient("dram_fraction", "1", 0.5, 1.0, 0.88, "achievable share of the datasheet's DRAM bandwidth"),
    Coefficient("dram_bytes_per_clock_per_sm", "B/clock", 1, 200, 17, "DRAM bytes one SM can keep arriving"),
    Coefficient("l2_bytes_per_clock_per_sm", "B/clock", 8, 1000, 60, "L2 bytes per clock, per SM of the whole chip"),
    Coefficient("tile_l2_bytes_per_clock", "B/clock", 2, 1000, 60, "L2 bytes per clock that one busy SM can draw"),
    Coefficient("shared_factor", "1", 0.05, 20, 0.8, "shared-memory passes over each operand tile at 128 B/clock"),
    Coefficient("split_k_s", "s", 1e-7, 1e-5, 2e-6, "second kernel or barrier that reduces the splits"),
    Coefficient("l2_fraction", "1", 0.05, 1.5, 0.6, "share of L2 that holds data until its next use"),
    Coefficient("l2_sharpness", "1", 1.0, 12.0, 3.0, "how abruptly the hit rate falls beyond that share"),
    Coefficient("panel_factor", "1", 0.01, 4.0, 0.4, "panel traffic of a wave against its square-root bound"),
    Coefficient("throttle_fraction", "1", 0.001, 1.5, 0.1, "slow-down of a long dense kernel at the power limit"),
    Coefficient("throttle_time_s", "s", 1e-5, 1.0, 2e-4, "duration over which the power limit sets in"),
    Coefficient("gemv_step_cycles", "clock", 10, 3000, 300, "latency of one step of the matrix-vector kernel"),
)
QUANTIZE = (
    Coefficient("quantize_launch_s", "s", 3e-7, 2e-5, 2e-6, "launch of the activation quantization kernel"),
    Coefficient("quantize_row_cycles", "clock", 1, 20000, 800, "SM time that one token's scale reduction takes"),
    Coefficient("quantize_fraction", "1", 0.05, 3.0, 0.6, "its share of DRAM bandwidth (above 1 when L2 serves it)"),
)
BENCHMARK_ROTATION = 6.0
"""Weights cycled through by the published measurements between two uses of one (aiconfigurator's collectors)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate per shape (or a [T, S] grid of them)."""

    tile_m: Any
    tile_n: Any
    max_ctas: Any
    split_k: Any
    gemv: Any


CHOICE_FIELDS = ("tile_m", "tile_n", "max_ctas", "split_k", "gemv")


@dataclass(frozen=True, slots=True)
class Shapes:
    """Per-shape quantities that no candidate changes, each of shape [S]."""

    m: Array
    n: Array
    k: Array
    batch: Array
    weights: Array
    reuse_bytes: Array
    itemsize: float
    out_itemsize: float

    @classmethod
    def of(cls, dims: Mapping[str, Array], dtype: DType) -> Shapes:
        m, n, k = (np.asarray(dims[c], dtype=np.float64) for c in "mnk")
        m, n, k = np.broadcast_arrays(m, n, k)
        batch = np.broadcast_to(np.asarray(dims.get("batch", 1.0), dtype=np.float64), m.shape)
        weights = np.broadcast_to(np.asarray(dims.get("weights", 1.0), dtype=np.float64), m.shape)
        reuse = np.broadcast_to(np.asarray(dims.get("reuse_bytes", np.nan), dtype=np.float64), m.shape)
        size = dtype.itemsize
        operand_b = k * n * size * batch
        looped = BENCHMARK_ROTATION * operand_b + batch * (m * k * size + m * n * max(size, 2.0))
        return cls(m, n, k, batch, weights, np.where(np.isnan(reuse), looped, reuse), size, max(size, 2.0))

    def take(self, mask: Any) -> Shapes:
        """The shapes under a mask."""
        columns = (self.m, self.n, self.k, self.batch, self.weights, self.reuse_bytes)
        m, n, k, batch, weights, reuse = (c[mask] for c in columns)
        return Shapes(m, n, k, batch, weights, reuse, self.itemsize, self.out_itemsize)


def smooth_max(a: Any, b: Any) -> Any:
    """(a⁴ + b⁴)^¼: the larger of two overlapping times, 19 % above it where they are equal."""
    a2, b2 = a * a, b * b
    return np.sqrt(np.sqrt(a2 * a2 + b2 * b2))


class GemmModel:
    """Matrix products ``linear`` (weights, possibly L2-resident) and ``bmm`` (two activations)."""

    name = "gemm"

    def __init__(self, quantized: bool = False) -> None:
        self.coefficients: tuple[Coefficient, ...] = COEFFICIENTS + QUANTIZE if quantized else COEFFICIENTS

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Mapping[str, Array], values: Mapping[str, float]) -> KernelTime:
        """Time of each product.

        Args:
            dims: m, n, k; optional batch (1), weights (1 where B is a parameter), and reuse_bytes: what is touched
                between two uses of the weights (default: a benchmark loop over six weight matrices).
        """
        shapes = Shapes.of(dims, dtype)
        machine = Machine.of(gpu, dtype, values)
        choice = choose(gpu, dtype, shapes, machine, values)
        return self.explain(shapes, machine, choice, values)

    def freeze(
        self, gpu: GpuSpec, dtype: DType, dims: Mapping[str, Array], values: Mapping[str, float]
    ) -> Callable[[Mapping[str, float]], Array]:
        """Latency as a function of the coefficients with each shape's tile held: what a derivative needs."""
        shapes = Shapes.of(dims, dtype)
        choice = choose(gpu, dtype, shapes, Machine.of(gpu, dtype, values), values)
        return lambda v: np.asarray(candidate_time(shapes, Machine.of(gpu, dtype, v), choice, v)["total"])

    def explain(self, s: Shapes, machine: Machine, choice: Choice, values: Mapping[str, float]) -> KernelTime:
        """Time and details of given candidates, one per shape."""
        parts = candidate_time(s, machine, choice, values)
        latency = parts["total"]
        busiest = np.stack([parts["compute"], parts["memory"], parts["latency"]])
        bound = np.array(["compute", "memory", "latency"])[np.argmax(busiest, axis=0)]
        slots = machine.num_sms * choice.max_ctas
        details = {
            "tile_m": choice.tile_m.astype(np.int64),
            "tile_n": choice.tile_n.astype(np.int64),
            "split_k": choice.split_k.astype(np.int64),
            "tiles": parts["tiles"].astype(np.int64),
            "waves": np.ceil(parts["tiles"] / slots).astype(np.int64),
            "wave_efficiency": parts["tiles"] / (np.ceil(parts["tiles"] / slots) * slots),
            "tile_efficiency": s.m * s.n / (_up(s.m, choice.tile_m) * _up(s.n, choice.tile_n)),
        }
        return KernelTime(latency_s=latency, bound=bound, details=details)


@dataclass(frozen=True, slots=True)
class Machine:
    """A GPU's rates under given coefficients, in seconds and bytes."""

    num_sms: float
    clock_hz: float
    multiply_rate_per_sm: float
    step_bytes: float
    shared_s_per_byte: float
    dram_bytes_s: float
    sm_dram_bytes_s: float
    l2_bytes_s: float
    sm_l2_bytes_s: float
    l2_bytes: float
    has_tma: bool
    matrix_units: bool

    @classmethod
    def of(cls, gpu: GpuSpec, dtype: DType, v: Mapping[str, float]) -> Machine:
        clock = gpu.boost_clock_mhz * 1e6
        return cls(
            num_sms=float(gpu.num_sms),
            clock_hz=clock,
            multiply_rate_per_sm=gpu.peak_flops(dtype) * v["rate_fraction"] / gpu.num_sms,
            step_bytes=step_bytes(gpu, dtype),
            shared_s_per_byte=v["shared_factor"] / (128.0 * clock),
            dram_bytes_s=v["dram_fraction"] * gpu.bandwidth_bytes_s,
            sm_dram_bytes_s=v["dram_bytes_per_clock_per_sm"] * clock,
            l2_bytes_s=v["l2_bytes_per_clock_per_sm"] * clock * gpu.num_sms,
            sm_l2_bytes_s=v["tile_l2_bytes_per_clock"] * clock,
            l2_bytes=v["l2_fraction"] * gpu.l2_bytes,
            has_tma=gpu.compute_capability_tuple >= (9, 0) and gpu.compute_capability_tuple[0] in (9, 10),
            matrix_units=uses_matrix_units(gpu, dtype),
        )


def choose(gpu: GpuSpec, dtype: DType, s: Shapes, machine: Machine, values: Mapping[str, float]) -> Choice:
    """The fastest candidate of each shape."""
    weights = s.weights > 0
    if not weights.all() and weights.any():
        halves = [(mask, choose(gpu, dtype, s.take(mask), machine, values)) for mask in (weights, ~weights)]
        return Choice(*(_interleave(halves, f) for f in CHOICE_FIELDS))
    grid, legal = candidates(tile_set(gpu, dtype, bool(weights.all())), s, machine)
    time = np.where(legal, candidate_time(s, machine, grid, values)["total"], np.inf)
    best = np.argmin(time, axis=0)
    columns = np.arange(best.size)

    def pick(values_2d: Any) -> Array:
        return np.asarray(np.broadcast_to(values_2d, time.shape)[best, columns])

    return Choice(*(pick(getattr(grid, f)) for f in CHOICE_FIELDS))


def _interleave(parts: list[tuple[Any, Choice]], field: str) -> Array:
    out = np.empty(parts[0][0].size)
    for mask, choice in parts:
        out[mask] = getattr(choice, field)
    return out


def candidates(tiles: TileSet, s: Shapes, machine: Machine) -> tuple[Choice, Any]:
    """All candidates of all shapes as [T·(1 + fills) + 1, S] arrays, and which of them are legal."""
    count = np.ceil(s.m / tiles.tile_m) * np.ceil(s.n / tiles.tile_n) * s.batch
    legal = (s.m >= tiles.m_min) & (s.m <= tiles.m_max) & (s.n >= tiles.n_min) & (s.n <= tiles.n_max)
    fill = machine.num_sms * tiles.max_ctas / count
    cap = np.clip(np.floor(s.k * s.itemsize / MIN_SPLIT_BYTES), 1, MAX_SPLIT)
    splits = [np.ones_like(count)]
    legals = [legal]
    if tiles.split_k.any():
        splits += [np.clip(np.floor(fill * share), 1, cap) for share in SPLIT_FILLS]
        legals += [legal & tiles.split_k] * len(SPLIT_FILLS)
    rows = len(splits)
    one_row = np.ones((1, s.m.size))
    grid = Choice(
        tile_m=np.vstack([np.tile(tiles.tile_m, (rows, 1)), [[1.0]]]),
        tile_n=np.vstack([np.tile(tiles.tile_n, (rows, 1)), [[4.0]]]),
        max_ctas=np.vstack([np.tile(tiles.max_ctas, (rows, 1)), [[8.0]]]),
        split_k=np.vstack([*splits, one_row]),
        gemv=np.vstack([np.zeros((rows * len(tiles.tile_m), 1)), [[1.0]]]),
    )
    gemv_legal = (s.m == 1) & (s.itemsize >= 2)
    return grid, np.vstack([*legals, gemv_legal[None, :]])


def candidate_time(s: Shapes, machine: Machine, c: Choice, v: Mapping[str, float]) -> dict[str, Any]:
    """Time of candidates, elementwise over broadcast shapes and choices (see the module's docstring)."""
    clock = machine.clock_hz
    step = machine.step_bytes * np.where(c.gemv > 0, 16.0, 1.0)
    tiles = np.ceil(s.m / c.tile_m) * np.ceil(s.n / c.tile_n) * s.batch * c.split_k
    steps = np.ceil(s.k * s.itemsize / (step * c.split_k))
    slots = machine.num_sms * c.max_ctas
    waves = np.ceil(tiles / slots)
    last = np.ceil((tiles - (waves - 1) * slots) / machine.num_sms)
    busy = np.minimum(tiles, machine.num_sms)

    rate, loads, stores = _alignment(s, machine)
    multiply = 2 * c.tile_m * c.tile_n * (step / s.itemsize) / (machine.multiply_rate_per_sm * rate)
    operand = (c.tile_m + c.tile_n) * step
    work = smooth_max(multiply, operand * (machine.shared_s_per_byte + loads / clock))
    floor = np.where(c.gemv > 0, v["gemv_step_cycles"], v["step_cycles"]) / clock
    compute = (waves - 1) * steps * smooth_max(c.max_ctas * work, floor) + steps * smooth_max(last * work, floor)

    drawn = (np.minimum(c.tile_m, s.m) + np.minimum(c.tile_n, s.n)) * step * steps * tiles * _sectors(s)
    l2 = drawn / np.minimum(machine.l2_bytes_s, busy * machine.sm_l2_bytes_s)
    dram = _dram_bytes(s, machine, c, np.minimum(slots, tiles), waves, v)
    dram_time = dram / np.minimum(machine.dram_bytes_s, busy * machine.sm_dram_bytes_s)
    body = smooth_max(smooth_max(compute, l2), dram_time)
    body = body * (1 + v["throttle_fraction"] * compute / (compute + v["throttle_time_s"]))

    out_tile = np.minimum(c.tile_m, s.m) * np.minimum(c.tile_n, s.n) * s.out_itemsize
    stored = stores * c.max_ctas * out_tile / (v["epilogue_bytes_per_clock"] * clock)
    body = smooth_max(body, waves * stored)
    epilogue = stored
    prologue = waves * v["wave_cycles"] / clock
    reduction = np.where(c.split_k > 1, v["split_k_s"] + s.batch * s.m * s.n * 4 * c.split_k / machine.l2_bytes_s, 0.0)
    fixed = v["launch_s"] + prologue + reduction + _quantize_time(s, machine, v)
    return {
        "total": fixed + body + epilogue,
        "tiles": tiles,
        "compute": np.broadcast_to(steps * waves * c.max_ctas * work, body.shape),
        "memory": np.maximum(l2, dram_time),
        "latency": np.broadcast_to(fixed + steps * waves * floor, body.shape),
    }


def _up(value: Any, multiple: Any) -> Any:
    return np.ceil(value / multiple) * multiple


def _alignment(s: Shapes, machine: Machine) -> tuple[Any, Any, Any]:
    """What rows off 16-byte boundaries cost: matrix-unit rate factor, extra load cycles per byte, store slow-down.

    k is contiguous in A and in weights, n in the output and in the second operand of a ``bmm``.
    """
    if not machine.matrix_units:
        return 1.0, 0.0, 1.0
    k_row = _row_alignment(s.k * s.itemsize)
    n_row = _row_alignment(s.n * s.out_itemsize)
    loaded = np.where(s.weights > 0, k_row, np.minimum(k_row, n_row))
    rate = np.where((np.minimum(k_row, n_row) < 16) & machine.has_tma, WARP_LEVEL_RATE, 1.0)
    # a warp moves 32 lanes of `loaded` bytes per clock; below 4 bytes cp.async is not available: load, then store
    loads = np.where(loaded < 16, np.where(loaded < 4, 2.0, 1.0) / (32.0 * loaded), 0.0)
    return rate, loads, 16.0 / n_row


def _row_alignment(row_bytes: Any) -> Any:
    """The largest power of two up to 16 bytes that every row of this length starts on (half a byte for 4 bits)."""
    return np.gcd(np.maximum(1, np.rint(row_bytes * 2)).astype(np.int64), 32) / 2.0


def _sectors(s: Shapes) -> Any:
    """L2 sectors touched per 128-byte row segment, against the aligned four: one more off 32-byte boundaries."""
    return np.where((s.k * s.itemsize) % 32 == 0, 1.0, 1.25)


def _dram_bytes(s: Shapes, machine: Machine, c: Choice, concurrent: Any, waves: Any, v: Mapping[str, float]) -> Any:
    """Bytes to and from DRAM after L2 hits, with panels fetched again once the operands outgrow L2."""
    a = s.batch * s.m * s.k * s.itemsize
    b = s.batch * s.n * s.k * s.itemsize
    out = s.batch * s.m * s.n * s.out_itemsize
    footprint = a + b + out
    sharp = v["l2_sharpness"]
    miss_a = 1 - 1 / (1 + (footprint / machine.l2_bytes) ** sharp)
    distance = np.where(s.weights > 0, np.maximum(s.reuse_bytes, footprint), footprint)
    miss_b = 1 - 1 / (1 + (distance / machine.l2_bytes) ** sharp)
    panels = v["panel_factor"] * waves * (s.k * s.itemsize / c.split_k) * 2 * np.sqrt(concurrent * c.tile_m * c.tile_n)
    return np.maximum(a * miss_a + b * miss_b, miss_a * panels) + out * miss_a


def _quantize_time(s: Shapes, machine: Machine, v: Mapping[str, float]) -> Any:
    """The dynamic activation quantization before an FP8 product: bf16 in, fp8 out."""
    if "quantize_launch_s" not in v:
        return 0.0
    rows = s.batch * s.m
    moving = rows * s.k * (2.0 + s.itemsize) / (v["quantize_fraction"] * machine.dram_bytes_s)
    reducing = np.ceil(rows / machine.num_sms) * v["quantize_row_cycles"] / machine.clock_hz
    return v["quantize_launch_s"] + smooth_max(moving, reducing)
