"""Time of a matrix product from tiles, waves and traffic.

For every candidate tile and split-K factor the model counts

    tiles  = ⌈m / tile_m⌉ · ⌈n / tile_n⌉ · batch · split_k
    waves  = ⌈tiles / (num_sms · occupancy)⌉
    steps  = ⌈k / (step · split_k)⌉            main-loop steps of one tile

One wave costs, per step, the smooth maximum
of the matrix units' time, the shared-memory time of the operand tiles and the step's latency; the launch costs
the smooth maximum of all waves, the operand traffic through L2, and the traffic to DRAM. The terms:

* Operand traffic counts the clipped tile (min(tile_m, m) + min(tile_n, n)), since nothing beyond the matrix moves.
* DRAM bandwidth ramps with the number of busy SMs (Little's law: each SM keeps a bounded number of bytes in flight).
* What stays in L2 from its last use is not read again. Activations are reused at a distance of this product's own
  footprint, weights at ``reuse_bytes`` (see ``GemmModel.predict``).
* When operands exceed L2, each wave fetches its own panel: bytes ∝ waves · k · √(concurrent tile area).
* A convolution is an implicit product: tiles draw every window's k elements through L2, but DRAM holds each input
  element once. ``input_share`` scales what A brings from DRAM, and a wave's panel by its square root: of the panels of
  r rows and c columns with r · c given, k · (share · r + c) is least at 2 · k · √(share · r · c).
* Long kernels lose clock to the power limit: time · (1 + throttle · t / (t + throttle_time)); those that multiply at a
  share of the rate, as misaligned ones do, times that share, and not below 1. An H100 that is held to 398 TFLOP/s of
  aligned products computes misaligned ones at 273
  (https://github.com/stas00/ml-engineering/blob/master/training/performance/README.md), this project's H200 at 275.
* Rows of A, B or C that do not start on 16 bytes load and store with narrower instructions (``narrow_rate``), those
  that start on odd elements without asynchronous copies at all (``odd_rate``), and neither can use TMA, so that Hopper
  and Blackwell fall back to warp-level instructions; a step's latency grows with its loads by the same factor. Off 32
  bytes they touch one more L2 sector.
* FP8 and FP4 linear layers include the dynamic quantization pass over the activations.
* Weight-only kernels draw and hold B in its few bits, and turn every tile of it into 16 bits for the units of that
  rate, ``tile_n`` · step of it whatever the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from archsearch.arrays import Reals, Rows
from archsearch.cost.kernels.kernel_cost import Coefficient, Dims, smooth_max
from archsearch.cost.kernels.tiles import WARP_LEVEL_RATE, product_flops, step_bytes, uses_matrix_units
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

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
    Coefficient("narrow_rate", "1", 0.1, 1.0, 0.45, "multiply rate with rows off 16 bytes against aligned rows", 0.2),
    Coefficient("odd_rate", "1", 0.02, 1.0, 0.18, "multiply rate with rows off 4 bytes against aligned rows", 0.2),
)
CALLED = (
    Coefficient("launch_s", "s", 1e-6, 6e-6, 2e-6, "launch and drain of a queued kernel", 0.1),
    Coefficient("call_s", "s", 0.0, 1e-4, 2e-5, "host time to issue a call that is timed on its own", 1.0),
    *COEFFICIENTS[1:],
)
"""Of products on vector units, which published tables time call by call, the host's time included."""
QUANTIZE = (
    Coefficient("quantize_launch_s", "s", 3e-7, 2e-5, 2e-6, "launch of the activation quantization kernel"),
    Coefficient("quantize_row_cycles", "clock", 1, 20000, 800, "SM time that one token's scale reduction takes"),
    Coefficient("quantize_fraction", "1", 0.05, 3.0, 0.6, "its share of DRAM bandwidth (above 1 when L2 serves it)"),
)
DEQUANTIZE = (
    Coefficient("dequantize_per_clock", "1/clock", 8, 20000, 256, "weights that an SM turns into 16 bits per clock"),
)
BENCHMARK_ROTATION = 6.0
"""Weights cycled through by the published measurements between two uses of one (aiconfigurator's collectors)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate per shape (or a [T, S] grid of them)."""

    tile_m: Reals
    tile_n: Reals
    max_ctas: Reals
    split_k: Reals
    gemv: Reals


CHOICE_FIELDS = tuple(f.name for f in fields(Choice))


@dataclass(frozen=True, slots=True)
class Shapes:
    """Per-shape quantities that no candidate changes, each of shape [S].

    ``k_row`` and ``n_row`` are the alignments in bytes of rows of k operands and of n outputs (see ``_alignment``).
    ``input_share`` is how much of the m · k elements of A differ: all of a matrix, about 1 / kernel volume of what a
    convolution's windows cover.
    """

    m: Reals
    n: Reals
    k: Reals
    batch: Reals
    weights: Reals
    reuse_bytes: Reals
    activation_reuse_bytes: Reals
    k_row: Reals
    n_row: Reals
    input_share: Reals
    itemsize: float
    weight_itemsize: float
    out_itemsize: float

    @property
    def narrower(self) -> float:
        """Bytes of an element of B against one of A: below 1 where weights alone are stored in fewer bits."""
        return self.weight_itemsize / self.itemsize

    @classmethod
    def of(cls, dims: Dims, dtype: DType) -> Shapes:
        m, n, k = np.broadcast_arrays(*(np.atleast_1d(np.asarray(dims[c], dtype=np.float64)) for c in "mnk"))
        batch = np.broadcast_to(np.asarray(dims.get("batch", 1.0), dtype=np.float64), m.shape)
        weights = np.broadcast_to(np.asarray(dims.get("weights", 1.0), dtype=np.float64), m.shape)
        reuse = np.broadcast_to(np.asarray(dims.get("reuse_bytes", np.nan), dtype=np.float64), m.shape)
        size, of_weights, out = dtype.itemsize, dtype.weight_itemsize, max(dtype.itemsize, 2.0)
        operand_b = k * n * of_weights * batch
        looped = BENCHMARK_ROTATION * operand_b + batch * (m * k * size + m * n * out)
        reuse = np.where(np.isnan(reuse), looped, reuse)
        activation = np.broadcast_to(np.asarray(dims.get("activation_reuse_bytes", 0.0), dtype=np.float64), m.shape)
        share = np.broadcast_to(np.asarray(dims.get("input_share", 1.0), dtype=np.float64), m.shape)
        aligned = _row_alignment(k * size), _row_alignment(n * out)
        return cls(m, n, k, batch, weights, reuse, activation, *aligned, share, size, of_weights, out)

    def take(self, rows: Rows) -> Shapes:
        """The shapes under a mask or at an index."""
        return replace(self, **{f: getattr(self, f)[rows] for f in SHAPE_COLUMNS})

    def single(self) -> Shapes:
        """The same in single precision."""
        with np.errstate(over="ignore"):  # an endless reuse distance stays endless
            return replace(self, **{f: getattr(self, f).astype(np.float32) for f in SHAPE_COLUMNS})


SHAPE_COLUMNS = tuple(f.name for f in fields(Shapes) if not f.name.endswith("itemsize"))


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
            multiply_rate_per_sm=product_flops(gpu, dtype) * v["rate_fraction"] / gpu.num_sms,
            step_bytes=step_bytes(gpu, dtype),
            shared_s_per_byte=v["shared_factor"] / (128.0 * clock),
            dram_bytes_s=v["dram_fraction"] * gpu.bandwidth_bytes_s,
            sm_dram_bytes_s=v["dram_bytes_per_clock_per_sm"] * clock,
            l2_bytes_s=v["l2_bytes_per_clock_per_sm"] * clock * gpu.num_sms,
            sm_l2_bytes_s=v["tile_l2_bytes_per_clock"] * clock,
            l2_bytes=v["l2_fraction"] * gpu.l2_bytes,
            has_tma=gpu.generation.warp_group_units,
            matrix_units=uses_matrix_units(gpu, dtype),
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What a machine makes of shapes before any tile is chosen, each of shape [S] (or a scalar).

    ``rate`` and ``stores`` say what misaligned rows cost: a factor on the matrix units' rate and a slow-down of
    stores. ``sectors`` are L2 sectors touched, against an aligned row's.
    ``operand_bytes`` and ``out_bytes`` reach DRAM; ``miss`` is the share of activations that does.
    """

    shapes: Shapes
    rate: float | Reals
    stores: float | Reals
    sectors: float | Reals
    operand_bytes: Reals
    out_bytes: float | Reals
    miss: float | Reals
    quantize_s: float | Reals

    @classmethod
    def of(cls, s: Shapes, machine: Machine, v: Mapping[str, float]) -> Load:
        """Prepare shapes for ``candidate_time`` on a machine with these coefficients."""
        rate, stores = _alignment(s, machine, v)
        a = s.batch * s.m * s.k * s.itemsize * s.input_share
        b = s.batch * s.n * s.k * s.weight_itemsize
        out = s.batch * s.m * s.n * s.out_itemsize
        footprint = a + b + out
        own = np.maximum(s.activation_reuse_bytes, footprint)
        miss = _miss_rate(own, machine, v)
        distance = np.where(s.weights > 0, np.maximum(s.reuse_bytes, footprint), own)
        operands = a * miss + b * _miss_rate(distance, machine, v)
        quantize = _quantize_time(s, machine, v)
        return cls(s, rate, stores, _sectors(s), operands, out * miss, miss, quantize)

    def take(self, index: Rows) -> Load:
        """The shapes under a mask or at an index."""
        columns = ((f, getattr(self, f)) for f in LOAD_COLUMNS)
        taken = {f: value if np.ndim(value) == 0 else value[index] for f, value in columns}
        return Load(shapes=self.shapes.take(index), **taken)

    def single(self) -> Load:
        """The same in single precision: three times as fast, and enough to tell candidates apart."""
        columns = {f: np.asarray(getattr(self, f), dtype=np.float32) for f in LOAD_COLUMNS}
        return Load(shapes=self.shapes.single(), **columns)


LOAD_COLUMNS = tuple(f.name for f in fields(Load) if f.name != "shapes")


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateTime:
    """Seconds of candidates and what they are made of, each of the broadcast shape of shapes and choices.

    ``total_s`` is the kernel's time. ``work_s`` and ``floor_s`` are one step of k of a full wave: its multiplying and
    copying, and the least that a step takes. ``l2_s`` and ``dram_s`` are the traffic of all waves; ``fixed_s`` is
    launch, fill and drain of each wave, quantization and the reduction of split k.
    """

    total_s: Reals
    tiles: Reals
    waves: Reals
    steps: Reals
    work_s: Reals
    floor_s: Reals
    l2_s: Reals
    dram_s: Reals
    dram_bytes: Reals
    fixed_s: Reals


def candidate_time(load: Load, machine: Machine, c: Choice, v: Mapping[str, float]) -> CandidateTime:
    """Time of candidates, elementwise over broadcast shapes and choices (see the module's docstring)."""
    s, clock = load.shapes, machine.clock_hz
    step = machine.step_bytes * (1.0 + 15.0 * c.gemv)
    tiles = np.ceil(s.m / c.tile_m) * np.ceil(s.n / c.tile_n) * s.batch * c.split_k
    steps = np.ceil(s.k * s.itemsize / (step * c.split_k))
    slots = machine.num_sms * c.max_ctas
    waves = np.ceil(tiles / slots)
    last = np.ceil((tiles - (waves - 1) * slots) / machine.num_sms)
    busy = np.minimum(tiles, machine.num_sms)

    multiply = 2 * c.tile_m * c.tile_n * (step / s.itemsize) / (machine.multiply_rate_per_sm * load.rate)
    operand = (c.tile_m + c.tile_n * s.narrower) * step
    work = smooth_max(multiply, operand * machine.shared_s_per_byte)
    if "dequantize_per_clock" in v:
        work = work + c.tile_n * (step / s.itemsize) / (v["dequantize_per_clock"] * clock)
    floor = (v["step_cycles"] + (v["gemv_step_cycles"] - v["step_cycles"]) * c.gemv) / (clock * load.rate)
    compute = steps * ((waves - 1) * smooth_max(c.max_ctas * work, floor) + smooth_max(last * work, floor))

    rows, columns = np.minimum(c.tile_m, s.m), np.minimum(c.tile_n, s.n)
    drawn = (rows + columns * s.narrower) * (step * steps * load.sectors) * tiles
    l2 = drawn / np.minimum(machine.l2_bytes_s, busy * machine.sm_l2_bytes_s)
    dram = _dram_bytes(load, c, np.minimum(slots, tiles) * c.tile_m * c.tile_n, waves, v)
    dram_time = dram / np.minimum(machine.dram_bytes_s, busy * machine.sm_dram_bytes_s)
    shown = 1 + v["throttle_fraction"] * compute / (compute + v["throttle_time_s"])
    throttled = np.maximum(1.0, shown * load.rate)  # slow multiplies draw less power than the board has
    stored = c.max_ctas * rows * columns * (load.stores * s.out_itemsize / (v["epilogue_bytes_per_clock"] * clock))
    body = smooth_max(throttled * smooth_max(compute, l2, dram_time), waves * stored)
    fixed = v["launch_s"] + waves * (v["wave_cycles"] / clock) + load.quantize_s
    if np.any(c.split_k > 1):
        reduction = v["split_k_s"] + s.batch * s.m * s.n * 4 * c.split_k / machine.l2_bytes_s
        fixed = fixed + reduction * (c.split_k > 1)
    return CandidateTime(
        total_s=fixed + body + stored,
        tiles=tiles,
        waves=waves,
        steps=steps,
        work_s=c.max_ctas * work,
        floor_s=floor,
        l2_s=l2,
        dram_s=dram_time,
        dram_bytes=dram,
        fixed_s=fixed,
    )


def _alignment(s: Shapes, machine: Machine, v: Mapping[str, float]) -> tuple[float | Reals, float | Reals]:
    """What rows off 16-byte boundaries cost: a factor on the matrix units' rate, and a slow-down of stores.

    A library takes one kernel for the least aligned of the operands and the output: k is contiguous in A and in
    weights, n in the output and in the second operand of a ``bmm``. ``cp.async`` copies 4, 8 or 16 bytes (PTX ISA), so
    that rows on odd elements of 16 bits go through registers one element at a time.
    """
    if not machine.matrix_units:
        return 1.0, 1.0
    least = np.minimum(s.k_row, s.n_row)
    off = np.where(least < 4, v["odd_rate"], v["narrow_rate"]) * (WARP_LEVEL_RATE if machine.has_tma else 1.0)
    return np.where(least < 16, off, 1.0).astype(least.dtype), 16.0 / s.n_row


def _row_alignment(row_bytes: Reals) -> Reals:
    """The largest power of two up to 16 bytes that every row of this length starts on (half a byte for 4 bits)."""
    return np.gcd(np.maximum(1, np.rint(row_bytes * 2)).astype(np.int64), 32) / 2.0


def _sectors(s: Shapes) -> Reals:
    """L2 sectors touched per 128-byte row segment, against the aligned four: one more off 32-byte boundaries."""
    aligned: Reals = ((s.k * s.itemsize) % 32 == 0).astype(s.k.dtype)
    return 1.25 - 0.25 * aligned


def _miss_rate(reuse_bytes: Reals, machine: Machine, v: Mapping[str, float]) -> Reals:
    """Share of accesses that DRAM serves when this many bytes pass through L2 between two uses."""
    with np.errstate(over="ignore"):
        kept: Reals = 1 / (1 + (reuse_bytes / machine.l2_bytes) ** v["l2_sharpness"])
    return 1 - kept


def _dram_bytes(load: Load, c: Choice, concurrent_area: Reals, waves: Reals, v: Mapping[str, float]) -> Reals:
    """Bytes to and from DRAM after L2 hits, with panels fetched again once the operands outgrow L2."""
    s = load.shapes
    panel = load.miss * (2 * v["panel_factor"]) * (s.k * s.itemsize / c.split_k)
    fetched: Reals = np.maximum(
        load.operand_bytes, panel * waves * np.sqrt(concurrent_area * s.input_share * s.narrower)
    )
    return fetched + load.out_bytes


def search_s(s: Shapes, machine: Machine, v: Mapping[str, float]) -> Reals | float:
    """What of the quantization finds the scales of its rows: seconds that a product with known scales saves."""
    if "quantize_launch_s" not in v:
        return 0.0
    return _quantize_time(s, machine, v) - v["quantize_launch_s"] - _quantized_move(s, machine, v)


def _quantized_move(s: Shapes, machine: Machine, v: Mapping[str, float]) -> Reals:
    return s.batch * s.m * s.k * (2.0 + s.itemsize) / (v["quantize_fraction"] * machine.dram_bytes_s)


def _quantize_time(s: Shapes, machine: Machine, v: Mapping[str, float]) -> Reals | float:
    """The dynamic activation quantization before an FP8 product: bf16 in, fp8 out."""
    if "quantize_launch_s" not in v:
        return 0.0
    rows = s.batch * s.m
    moving = _quantized_move(s, machine, v)
    reducing = np.ceil(rows / machine.num_sms) * v["quantize_row_cycles"] / machine.clock_hz
    return v["quantize_launch_s"] + smooth_max(moving, reducing)
