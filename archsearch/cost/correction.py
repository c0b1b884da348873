"""A small learned correction of the matrix-product mechanism, per GPU and number format.

The mechanism takes the fastest candidate tile; a library's heuristic often takes another, and real tiles differ in
ways that a dozen coefficients do not say. What is left over is regular in the shape, in the tile, and in how full the
last wave is. Four networks of two hidden layers of 24 units learn log(measured / mechanism) from these; their mean is
the correction. It is held on a short leash:

* inputs are clipped to the range seen in training, so that beyond it the correction stays what it is at the edge;
* the factor is clipped to the range that 99 % of the training residuals need (``limit``);
* between the widths of ``correction_leash`` the factor is interpolated, and it falls slowly as n or k grow: that a
  wider product is faster is the mechanism's to say;
* a corrected time is never below the datasheet's rate (nor its bytes: ``archsearch.cost.floor``).

``archsearch.bench.correction_fit`` trains it; it is kept only where it lowers the error on shapes that it did not
see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.arrays import Floats
from archsearch.cost.correction_leash import Recall, leashed
from archsearch.cost.kernels.kernel_cost import Dims, KernelTime
from archsearch.cost.kernels.tiles import uses_matrix_units
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError
from archsearch.files import read_json
from archsearch.hardware.spec import GpuSpec
from archsearch.yaml_records import line_of

FILL_TILES = ((64, 64), (64, 128), (64, 256), (128, 64), (128, 128), (128, 256), (256, 64), (256, 128), (256, 256))
"""Tiles whose number per SM the networks see."""
LAST_WAVE_TILES = ((64, 64), (128, 128), (128, 256), (256, 128))
"""Tiles whose idle share of the last wave they see."""
FEATURES = (
    *("m", "n", "k", "batch", "latency", "tile_m", "tile_n", "split_k", "waves", "wave_efficiency", "tile_efficiency"),
    *("flops_utilization", "bandwidth_utilization", "compute_bound", "memory_bound"),
    *(f"fill_{a}x{b}" for a, b in FILL_TILES),
    *(f"last_wave_{a}x{b}" for a, b in LAST_WAVE_TILES),
)
MEASURED_MULTIPLE = 32.0
"""Every n and k of the measured products on tensor cores is a multiple of this."""
LOWEST_UTILIZATION = 2.0**-12
MOST_LOG_FACTOR = 1.5
"""Beyond it (4.5 times) it is the mechanism that is wrong, and no correction's to mend."""
DESCRIBED = ("gpu", "source", "date", "code_version")
"""What a file says beside its networks."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Networks and the leash they are held on. F features, R networks, H hidden units.

    ``low, high, mean, scale`` are of shape [F]; ``w1`` [R, F, H], ``b1`` [R, H], ``w2`` [R, H, H], ``b2`` [R, H],
    ``w3`` [R, H], ``b3`` [R]; ``limit`` bounds |log factor|.
    """

    low: Floats
    high: Floats
    mean: Floats
    scale: Floats
    w1: Floats
    b1: Floats
    w2: Floats
    b2: Floats
    w3: Floats
    b3: Floats
    limit: float

    def log_factor(self, features: Floats) -> Floats:
        """log(corrected / mechanism) of features of shape [S, F], shape [S]."""
        return np.asarray(np.clip(self.members(features).mean(axis=0), -self.limit, self.limit))

    def members(self, features: Floats) -> Floats:
        """The networks' answers one by one, unclipped, shape [R, S].

        Products in double precision, rounded to single: however BLAS orders its sums, a shape gets the same answer
        alone and among a million.
        """
        inputs = np.clip(features, self.low, self.high).astype(np.float64)
        inputs -= self.mean
        inputs /= self.scale
        return np.stack([self._network(r, inputs) for r in range(len(self.w1))])

    def _network(self, r: int, inputs: Floats) -> Floats:
        hidden = inputs
        for weights, bias in ((self.w1[r], self.b1[r]), (self.w2[r], self.b2[r])):
            hidden = np.tanh((hidden @ weights + bias).astype(np.float32)).astype(np.float64)
        return np.asarray(hidden @ self.w3[r] + self.b3[r])

    def to_json(self) -> dict[str, object]:
        """Plain lists, four significant digits."""
        values = {name: _rounded(value) for name, value in asdict(self).items()}
        return {"features": list(FEATURES), **values}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Correction:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: it was written for other features, its arrays do not fit each other, hold what is no finite
                number, or let the factor run beyond ``MOST_LOG_FACTOR``.
        """
        if not isinstance(raw, Mapping) or tuple(raw.get("features", ())) != FEATURES:
            raise ValueError("written for other features; run `archsearch bench calibrate` again")
        names = [f for f in cls.__slots__ if f != "limit"]
        if unknown := sorted(set(raw) - {"features", "limit", *names}):
            raise ValueError(f"unknown fields {', '.join(unknown)}")
        arrays = {name: np.asarray(raw[name], dtype=np.float64) for name in names}
        found = cls(**arrays, limit=float(raw["limit"]))
        found.check()
        return found

    def check(self) -> None:
        """Refuse what is no correction.

        Raises:
            ValueError: see ``from_json``.
        """
        networks, hidden = self.b1.shape if self.b1.ndim == 2 else (0, 0)
        row, layer = (len(FEATURES),), (networks, hidden)
        shapes = {"low": row, "high": row, "mean": row, "scale": row, "w1": (networks, *row, hidden), "b1": layer}
        shapes |= {"w2": (*layer, hidden), "b2": layer, "w3": layer, "b3": (networks,)}
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or not array.size:
                raise ValueError(f"{name} has the shape {array.shape}, not {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds what is no finite number")
        if not (self.scale > 0).all() or not (self.low <= self.high).all():
            raise ValueError("scale must be above 0, and low not above high")
        if not 0 <= self.limit <= MOST_LOG_FACTOR:
            raise ValueError(f"limit must be 0 to {MOST_LOG_FACTOR:g}, not {self.limit:g}")


def gemm_features(gpu: GpuSpec, dtype: DType, dims: Dims, time: KernelTime) -> Floats:
    """What the networks see of matrix products and of the mechanism's answer: shape [S, F], mostly log2."""
    size = time.latency_s.shape
    m, n, k = (np.broadcast_to(np.asarray(dims[c], dtype=np.float64), size) for c in "mnk")
    batch = np.broadcast_to(np.asarray(dims.get("batch", 1.0), dtype=np.float64), size)
    latency, details = time.latency_s, time.details
    moved = batch * ((m * k + 2 * m * n) * dtype.itemsize + n * k * dtype.weight_itemsize)
    columns = [
        *(_log2(x) for x in (m, n, k, batch, latency, details["tile_m"], details["tile_n"])),
        *(_log2(details[c]) for c in ("split_k", "waves", "wave_efficiency", "tile_efficiency")),
        _log2(np.maximum(2 * m * n * k * batch / (gpu.peak_flops(dtype) * latency), LOWEST_UTILIZATION)),
        _log2(np.maximum(moved / (gpu.bandwidth_bytes_s * latency), LOWEST_UTILIZATION)),
        (time.bound == "compute").astype(np.float64),
        (time.bound == "memory").astype(np.float64),
    ]
    per_sm = {t: np.ceil(m / t[0]) * np.ceil(n / t[1]) * batch / gpu.num_sms for t in FILL_TILES}
    columns += [np.clip(_log2(per_sm[tile]), -2, 3) for tile in FILL_TILES]
    columns += [_log2(np.ceil(per_sm[t]) / per_sm[t]) * (per_sm[t] > 0.3) for t in LAST_WAVE_TILES]
    return np.stack(columns).T


def _log2(values: ArrayLike) -> NDArray[np.float32]:
    return np.log2(np.asarray(values, dtype=np.float32))


def corrected(
    gpu: GpuSpec,
    dtype: DType,
    dims: Dims,
    predict: Callable[[Dims], KernelTime],
    correction: Correction,
    at_its_clock: Callable[[KernelTime], Floats] = lambda time: time.latency_s,
    lattices: Recall | None = None,
) -> KernelTime:
    """The mechanism's time (``predict`` of ``dims``) with the learned factor, never below the datasheet's rate.

    ``at_its_clock`` is the mechanism's time as the board's clock has it: what the factor multiplies, and what it is
    held by, while it is learned from the time at the clock of the mechanism. ``lattices`` remembers what was learned
    (``correction_leash.leashed``).

    ``details`` names the factor. Widths on tensor cores were measured in multiples of 32; others take the factor of the
    next multiple, so that what misalignment costs is the mechanism's to say. Scales were found in every call; products
    with ``static`` ones take the factor of the same with those.
    """
    time = predict(dims)

    def learned(shapes: Dims) -> tuple[Floats, Floats]:
        answer = predict(shapes)
        return correction.log_factor(gemm_features(gpu, dtype, shapes, answer)), np.log(at_its_clock(answer))

    measured = {name: value for name, value in dims.items() if name != "static"}
    widths = _rounded_up(measured) if uses_matrix_units(gpu, dtype) else measured
    factor = np.exp(leashed(widths, time.latency_s.shape, learned, lattices))
    work = 2 * np.asarray(dims["m"], dtype=np.float64) * dims["n"] * dims["k"] * dims.get("batch", 1.0)
    floor = work / gpu.peak_flops(dtype)
    latency = np.maximum(time.latency_s * factor, np.minimum(floor, time.latency_s))
    held = latency / time.latency_s
    details = {**time.details, "correction": held}
    return KernelTime(latency_s=at_its_clock(time) * held, bound=time.bound, details=details)


def _rounded_up(dims: Dims) -> Dims:
    return {**dims, **{c: np.ceil(dims[c] / MEASURED_MULTIPLE) * MEASURED_MULTIPLE for c in "nk"}}


@lru_cache(maxsize=64)
def read_corrections(path: Path) -> dict[str, Correction]:
    """The corrections of one GPU by kernel family; none where the file does not exist.

    Raises:
        InvalidInputError: the file is malformed, names a kernel family without products, or holds what is no
            correction (``Correction.from_json``); with file, line and field.
    """
    if not path.is_file():
        return {}
    raw = read_json(path)
    raw = raw if isinstance(raw, dict) else {}
    kernels = raw.get("kernels")
    if not isinstance(kernels, dict):
        raise InvalidInputError(f"{path}:1: not a correction file: it has no mapping kernels")
    if unknown := sorted(set(raw) - {"kernels", *DESCRIBED}):
        raise InvalidInputError(f"{path}:{line_of(path, unknown[0])}: {unknown[0]}: unknown field")
    return {kernel: _read_correction(path, kernel, value) for kernel, value in kernels.items()}


def _read_correction(path: Path, kernel: str, raw: Mapping[str, Any]) -> Correction:
    """One kernel family's; see ``read_corrections``."""
    try:
        if not kernel.startswith("gemm/"):
            raise ValueError("corrections are of matrix products, gemm/...")
        return Correction.from_json(raw)
    except (ValueError, KeyError, TypeError) as error:
        said = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        where = f"{path}:{line_of(path, 'kernels', kernel)}: kernels.{kernel}"
        raise InvalidInputError(f"{where}: not a correction: {said}") from None


def _rounded(value: float | list[Any] | Floats) -> float | list[Any]:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    items = value.tolist() if isinstance(value, np.ndarray) else value
    return [_rounded(item) for item in items]
