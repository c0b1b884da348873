"""Matrix products: which tile a library would launch, and the time that ``gemm_time`` gives it.

The candidates of a shape are the tiles of ``tiles.py``, each walking all of k or split into as many parts as fill all,
half or a quarter of the GPU's slots, and a matrix-vector kernel for one row. The fastest is taken, as a library's
heuristic aims to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from archsearch.arrays import Floats, Ints, Mask, Reals, as_float
from archsearch.cost.kernels.gemm_time import (
    CALLED,
    CHOICE_FIELDS,
    COEFFICIENTS,
    DEQUANTIZE,
    QUANTIZE,
    Choice,
    Load,
    Machine,
    Shapes,
    candidate_time,
    search_s,
)
from archsearch.cost.kernels.kernel_cost import Coefficient, Dims, KernelTime
from archsearch.cost.kernels.tiles import TileSet, tile_set
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

SPLIT_FILLS = (1.0, 0.5, 0.25)
"""Split-K factors tried: those that fill this share of the SMs' slots, besides no split."""
MAX_SPLIT = 32
BATCHED_GEMV = 16
"""Most rows of the matrix-vector kernel of few-bit weights, each thread's weights turned once for all of them
(TensorRT-LLM, cpp/tensorrt_llm/kernels/weightOnlyBatchedGemv: one kernel for each number of rows below 16)."""
MIN_SPLIT_BYTES = 512.0
"""Least bytes of k per split: shorter splits cannot fill a pipeline."""


def _call_s(dims: Dims, values: Mapping[str, float]) -> float:
    """The host's time of a product that is timed on its own, 0 for one of a model."""
    return 0.0 if "reuse_bytes" in dims else values.get("call_s", 0.0)


class GemmModel:
    """Matrix products ``linear`` (weights, possibly L2-resident) and ``bmm`` (two activations)."""

    name = "gemm"

    def __init__(self, quantized: bool = False, called: bool = False, weight_only: bool = False) -> None:
        own = CALLED if called else COEFFICIENTS
        more = (QUANTIZE if quantized else ()) + (DEQUANTIZE if weight_only else ())
        self.coefficients: tuple[Coefficient, ...] = own + more

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Dims, values: Mapping[str, float]) -> KernelTime:
        """Time of each product.

        Args:
            dims: m, n, k; optional batch (1), weights (1 where B is a parameter), reuse_bytes: what is touched
                between two uses of the weights (default: a benchmark loop over six weight matrices), and
                activation_reuse_bytes: the same of activations (default: this product's own operands and result).
                With ``quantized`` among them the activations come quantized, and no time for that is in it; its value
                is the multiply rate of the kernels that take them against the library's. With ``static`` their scales
                are known before, and the kernel that quantizes them reduces no rows.
                A product that says nothing of the weights' reuse is a measured row: where tables time calls one by one
                (``call_s``), the host's time is in it. A product of a model queues behind others.
        """
        shapes = Shapes.of(dims, dtype)
        machine = Machine.of(gpu, dtype, values)
        load = Load.of(shapes, machine, values)
        if "quantized" in dims:
            load = replace(load, quantize_s=0.0, rate=load.rate * dims["quantized"])
        time = self.explain(load, machine, choose(gpu, dtype, load, machine, values), values)
        more_s = _call_s(dims, values) - (search_s(shapes, machine, values) if "static" in dims else 0.0)
        return replace(time, latency_s=time.latency_s + more_s) if np.any(more_s) else time

    def freeze(
        self, gpu: GpuSpec, dtype: DType, dims: Dims, values: Mapping[str, float]
    ) -> Callable[[Mapping[str, float]], Floats]:
        """Latency as a function of the coefficients with each shape's tile held: what a derivative needs."""
        shapes, machine = Shapes.of(dims, dtype), Machine.of(gpu, dtype, values)
        choice = choose(gpu, dtype, Load.of(shapes, machine, values), machine, values)

        def latency(v: Mapping[str, float]) -> Floats:
            moved = Machine.of(gpu, dtype, v)
            return as_float(candidate_time(Load.of(shapes, moved, v), moved, choice, v).total_s) + _call_s(dims, v)

        return latency

    def explain(self, load: Load, machine: Machine, choice: Choice, values: Mapping[str, float]) -> KernelTime:
        """Time and details of given candidates, one per shape."""
        parts, s = candidate_time(load, machine, choice, values), load.shapes
        latency = as_float(parts.total_s)
        per_wave = parts.steps * parts.waves
        latency_bound = np.broadcast_to(parts.fixed_s + per_wave * parts.floor_s, latency.shape)
        busiest = np.stack([per_wave * parts.work_s, np.maximum(parts.l2_s, parts.dram_s), latency_bound])
        bound = np.array(["compute", "memory", "latency"])[np.argmax(busiest, axis=0)]
        waves, slots = parts.waves, machine.num_sms * choice.max_ctas
        details = {
            "tile_m": choice.tile_m.astype(np.int64),
            "tile_n": choice.tile_n.astype(np.int64),
            "split_k": choice.split_k.astype(np.int64),
            "dram_bytes": np.broadcast_to(parts.dram_bytes, latency.shape),
            "tiles": parts.tiles.astype(np.int64),
            "waves": waves.astype(np.int64),
            "wave_efficiency": parts.tiles / (waves * slots),
            "tile_efficiency": s.m * s.n / (_up(s.m, choice.tile_m) * _up(s.n, choice.tile_n)),
        }
        return KernelTime(latency_s=latency, bound=bound, details=details)


def choose(gpu: GpuSpec, dtype: DType, load: Load, machine: Machine, values: Mapping[str, float]) -> Choice:
    """The fastest candidate of each shape, within single precision."""
    load = load.single()
    s = load.shapes
    weights = s.weights > 0
    if not weights.all() and weights.any():
        masks = (weights, ~weights)
        return _interleave([(mask, choose(gpu, dtype, load.take(mask), machine, values)) for mask in masks])
    tiles = tile_set(gpu, dtype, bool(weights.all()))
    best, time = _fastest(*whole(tiles, s), load, machine, values)
    can_split = tiles.split_k.any() & (_fill(tiles, s, machine).max(axis=0) >= 2)
    others: list[tuple[Mask, Callable[[Shapes], tuple[Choice, Mask]]]] = [
        (can_split, lambda few: splits(tiles, few, machine)),
        (_few_rows(s), gemv),
    ]
    for mask, grid_of in others:
        if mask.any():
            few = load.take(mask)
            other, other_time = _fastest(*grid_of(few.shapes), few, machine, values)
            wins = other_time < time[mask]
            rows = np.flatnonzero(mask)[wins]
            time[rows] = other_time[wins]
            for field in CHOICE_FIELDS:
                getattr(best, field)[rows] = getattr(other, field)[wins]
    return best


def _fastest(
    grid: Choice, legal: Mask, load: Load, machine: Machine, values: Mapping[str, float]
) -> tuple[Choice, Reals]:
    if legal.all():
        time = _time(load, machine, grid, values)
    else:
        time = np.full(legal.shape, np.inf, dtype=np.float32)
        rows, cols = np.nonzero(legal)
        pairs = Choice(*(_at(getattr(grid, f), rows, cols) for f in CHOICE_FIELDS))
        time[rows, cols] = _time(load.take(cols), machine, pairs, values)
    best = np.argmin(time, axis=0)
    columns = np.arange(best.size)

    def pick(values_2d: Reals) -> Reals:
        return np.array(np.broadcast_to(values_2d, time.shape)[best, columns], dtype=np.float64)

    return Choice(*(pick(getattr(grid, f)) for f in CHOICE_FIELDS)), time[best, columns]


def _at(values: Reals, rows: Ints, cols: Ints) -> Reals:
    """values[rows, cols] of a [T, S] grid, of its [T, 1] column, or of one value for all."""
    if values.ndim < 2:
        return values
    return values[rows, 0] if values.shape[1] == 1 else values[rows, cols]


def _time(load: Load, machine: Machine, grid: Choice, values: Mapping[str, float]) -> Reals:
    with np.errstate(over="ignore"):  # products of years take endless time in single precision
        return candidate_time(load, machine, grid, values).total_s


def _interleave(parts: list[tuple[Mask, Choice]]) -> Choice:
    columns = {field: np.empty(parts[0][0].size) for field in CHOICE_FIELDS}
    for mask, choice in parts:
        for field, column in columns.items():
            column[mask] = getattr(choice, field)
    return Choice(**columns)


def _served(tiles: TileSet, s: Shapes) -> Mask:
    return (s.m >= tiles.m_min) & (s.m <= tiles.m_max) & (s.n >= tiles.n_min) & (s.n <= tiles.n_max)


def _fill(tiles: TileSet, s: Shapes, machine: Machine) -> Reals:
    """How many times over the tiles of each candidate fit into the GPU's slots, [T, S]."""
    count: Reals = np.ceil(s.m / tiles.tile_m) * np.ceil(s.n / tiles.tile_n) * s.batch
    return machine.num_sms * tiles.max_ctas / count


def whole(tiles: TileSet, s: Shapes) -> tuple[Choice, Mask]:
    """Candidates that walk all of k, [T, S]; and which are legal."""
    one = np.ones(1, dtype=np.float32)
    return Choice(tiles.tile_m, tiles.tile_n, tiles.max_ctas, one, 0 * one), _served(tiles, s)


def gemv(s: Shapes) -> tuple[Choice, Mask]:
    """The matrix-vector kernel, [1, S]; legal for one row of 16 bits or more, of few-bit weights for some."""
    tile_n, max_ctas, one = (np.full((1, 1), value, dtype=np.float32) for value in (4, 8, 1))
    tile_m = np.minimum(s.m, BATCHED_GEMV).astype(np.float32)[None, :]
    return Choice(tile_m, tile_n, max_ctas, one, one), (_few_rows(s) & (s.itemsize >= 2))[None, :]


def _few_rows(s: Shapes) -> Mask:
    """Shapes that the matrix-vector kernel takes, [S]."""
    few: Mask = s.m <= (BATCHED_GEMV - 1 if s.narrower < 1 else 1)
    return few


def splits(tiles: TileSet, s: Shapes, machine: Machine) -> tuple[Choice, Mask]:
    """Candidates that split k over several tiles, [T · fills, S]; and which are legal."""
    fill = _fill(tiles, s, machine)
    cap = np.clip(np.floor(s.k * s.itemsize / MIN_SPLIT_BYTES), 1, MAX_SPLIT)
    split_k = np.vstack([np.clip(np.floor(fill * share), 1, cap) for share in SPLIT_FILLS])
    split_k = np.where(np.vstack([np.ones_like(fill), split_k[: -len(fill)]]) == split_k, 1, split_k)  # tried already
    rows = (len(SPLIT_FILLS), 1)
    grid = Choice(
        tile_m=np.tile(tiles.tile_m, rows),
        tile_n=np.tile(tiles.tile_n, rows),
        max_ctas=np.tile(tiles.max_ctas, rows),
        split_k=split_k,
        gemv=np.zeros(1, dtype=np.float32),
    )
    return grid, np.tile(_served(tiles, s) & tiles.split_k, rows) & (split_k > 1)


def _up(value: Reals, multiple: Reals) -> Reals:
    return np.ceil(value / multiple) * multiple
