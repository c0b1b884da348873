"""From a folder of measurements to calibration files: per GPU, per architecture, and for any GPU.

Only rows whose ``split`` is ``fit`` are used (tables without the column: a fixed three quarters, by dimension).
Bands come from rows that a fit did not see: for a GPU, a quarter of its shapes held back; for an architecture
and for any GPU, whole GPUs held back.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.bench.fit import Group, fit, log_residuals
from archsearch.bench.measurements import group_of, read_measurements, route_rows
from archsearch.cost.calibration import BOUNDS, Band, CalibrationFile, KernelFit, Residuals
from archsearch.cost.kernel import KernelModel
from archsearch.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

MEASURED_FILES = ("gemm_tensor_core.csv", "gemm_fp32.csv", "attention.csv", "memory_bound_fp32.csv")
HELD_OUT_BY = {"m": ("n", "k"), "head_dim": ("heads_q", "heads_kv", "head_dim"), "cols": ("cols",)}
"""Shapes are held back whole: every row of a weight matrix, of a head layout or of a row length, or none."""
FOLDS = 4
MIN_ROWS = 12
JOINT_ROWS = 1500
BAND = (0.1, 0.9)
SIGNIFICANT_DIGITS = 5

# Architectures whose SMs are close enough to share coefficients: (first is the fitted one)
KIN = {"ada": ("ampere-ga10x",), "blackwell": ("blackwell-ultra",)}


@dataclass(frozen=True, slots=True)
class Family:
    """Everything measured of one kernel family: its model and its rows per GPU."""

    kernel: str
    model: KernelModel
    groups: Mapping[str, Group]


def calibrate(
    directory: str | Path, *, date: str, code_version: str, progress: Callable[[str], None] = lambda _: None
) -> list[CalibrationFile]:
    """Fit every kernel family measured in a directory.

    Raises:
        InvalidInputError: the directory holds none of the known tables.
    """
    families = read_families(directory)
    kernels: dict[tuple[str, str], dict[str, KernelFit]] = defaultdict(dict)
    for family in families:
        for level, name, kernel_fit in _fit_family(family, progress):
            kernels[level, name][family.kernel] = kernel_fit
    source = f"published GPU latencies ({', '.join(f for f in MEASURED_FILES if (Path(directory) / f).is_file())})"
    return [
        CalibrationFile(
            level=level,
            serves=(name, *KIN.get(name, ())) if level == "architecture" else (name,),
            source=source,
            date=date,
            code_version=code_version,
            kernels=dict(sorted(fits.items())),
        )
        for (level, name), fits in sorted(kernels.items())
    ]


def read_families(directory: str | Path) -> list[Family]:
    """The fit rows of a directory's tables, by kernel family and GPU."""
    folder = Path(directory)
    found = [folder / name for name in MEASURED_FILES if (folder / name).is_file()]
    if not found:
        raise InvalidInputError(f"{folder}: holds none of {', '.join(MEASURED_FILES)}")
    parts: dict[str, dict[str, list[Group]]] = defaultdict(lambda: defaultdict(list))
    models: dict[str, KernelModel] = {}
    for file in found:
        frame = fit_rows(read_measurements(file))
        for routed in route_rows(frame):
            models[routed.route.kernel] = routed.route.model
            parts[routed.route.kernel][routed.route.gpu.id].append(group_of(routed, frame))
    return [
        Family(kernel, models[kernel], {gpu: _joined(groups) for gpu, groups in by_gpu.items()})
        for kernel, by_gpu in sorted(parts.items())
    ]


def fit_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that may be fitted on, renumbered."""
    if "split" in frame:
        kept = frame[frame["split"] == "fit"]
    else:
        kept = frame[
            [not is_test(op, rows, cols) for op, rows, cols in zip(frame.op, frame.rows, frame.cols, strict=True)]
        ]
    return kept.reset_index(drop=True)


def is_test(op: str, rows: int, cols: int) -> bool:
    """Whether a bandwidth-bound row is held back where a table has no split: one row length in four."""
    return zlib.crc32(f"{op},{cols}".encode()) % FOLDS == 0


def write_calibration(files: Iterable[CalibrationFile], directory: Path) -> list[Path]:
    """Write one YAML file per GPU, architecture and default; returns their paths."""
    import yaml

    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for file in files:
        name = {"gpu": "{}", "architecture": "architecture-{}", "default": "default"}[file.level].format(file.serves[0])
        path = directory / f"{name}.yaml"
        path.write_text(yaml.safe_dump(file.model_dump(mode="json"), sort_keys=False, width=120))
        paths.append(path)
    return paths


def _fit_family(family: Family, progress: Callable[[str], None]) -> Iterable[tuple[str, str, KernelFit]]:
    groups = {gpu: g for gpu, g in family.groups.items() if len(g) >= MIN_ROWS}
    if not groups:
        return
    progress(f"{family.kernel}: {sum(map(len, groups.values()))} rows of {', '.join(groups)}")
    thin = {gpu: _thinned(g) for gpu, g in groups.items()}
    default = fit(family.model, list(thin.values()))
    left_out = {gpu: _left_out(family.model, gpu, thin, default) for gpu in groups}
    pooled = _pool(list(left_out.values()))
    yield "default", "*", _kernel_fit(default, pooled, groups, "whole GPUs")

    by_architecture: dict[str, list[str]] = defaultdict(list)
    for gpu, group in groups.items():
        by_architecture[group.gpu.architecture].append(gpu)
    for architecture, members in by_architecture.items():
        shared = default
        if len(members) >= 1:
            shared = fit(family.model, [thin[gpu] for gpu in members], prior=default)
        transferred = _pool([left_out[gpu] for gpu in members]) if len(members) > 1 else pooled
        yield (
            "architecture",
            architecture,
            _kernel_fit(shared, transferred, {gpu: groups[gpu] for gpu in members}, "whole GPUs"),
        )
        for gpu in members:
            own = fit(family.model, [groups[gpu]], prior=shared)
            unseen = _cross_validated(family.model, groups[gpu], default)
            yield "gpu", gpu, _kernel_fit(own, unseen, {gpu: groups[gpu]}, "a quarter of the shapes, four times")


@dataclass(frozen=True, slots=True)
class Unseen:
    """Residuals log(measured / predicted) of rows a fit did not see, and what bounded each row."""

    residuals: Any
    bound: Any


def _left_out(model: KernelModel, gpu: str, groups: Mapping[str, Group], default: Mapping[str, float]) -> Unseen:
    """Residuals on one GPU under coefficients fitted on its kin, or on all others where it has none."""
    target = groups[gpu]
    kin = [g for other, g in groups.items() if other != gpu and g.gpu.architecture == target.gpu.architecture]
    others = kin or [g for other, g in groups.items() if other != gpu]
    values = fit(model, others, prior=default) if others else dict(default)
    return _unseen(model, target, values)


def _cross_validated(model: KernelModel, group: Group, prior: Mapping[str, float]) -> Unseen:
    """Residuals of every row under a fit on the other three quarters of the shapes."""
    fold = _folds(group)
    parts = [
        _unseen(model, group.take(fold == f), fit(model, [group.take(fold != f)], prior=prior))
        for f in range(FOLDS)
        if 0 < (fold == f).sum() < len(group)
    ]
    return _pool(parts)


def _unseen(model: KernelModel, group: Group, values: Mapping[str, float]) -> Unseen:
    bound = model.predict(group.gpu, group.dtype, group.dims, values).bound
    return Unseen(-log_residuals(model, group, values), bound)


def _pool(parts: Sequence[Unseen]) -> Unseen:
    return Unseen(np.concatenate([p.residuals for p in parts]), np.concatenate([p.bound for p in parts]))


def _kernel_fit(values: Mapping[str, float], unseen: Unseen, groups: Mapping[str, Group], held_back: str) -> KernelFit:
    bands = {}
    for bound in BOUNDS:
        rows = unseen.residuals[unseen.bound == bound]
        rows = rows if rows.size >= 5 * MIN_ROWS else unseen.residuals
        low, high = np.exp(np.quantile(rows, BAND))
        bands[bound] = Band(low=_rounded(min(low, 1.0)), high=_rounded(max(high, 1.0)))
    return KernelFit(
        coefficients={name: _rounded(value) for name, value in values.items()},
        bands=bands,
        residuals=Residuals(
            rows=int(unseen.residuals.size),
            mape=_rounded(float(np.mean(np.abs(np.expm1(-unseen.residuals))) * 100)),
            held_back=held_back,
        ),
        rows=sum(map(len, groups.values())),
        fitted_on=tuple(groups),
    )


def _folds(group: Group) -> Any:
    key = next(key for key in HELD_OUT_BY if key in group.dims)
    columns = [np.broadcast_to(group.dims[c], len(group)) for c in HELD_OUT_BY[key]]
    texts = (",".join(f"{v:.0f}" for v in row) for row in zip(*columns, strict=True))
    return np.array([zlib.crc32(t.encode()) % FOLDS for t in texts])


def _thinned(group: Group) -> Group:
    if len(group) <= JOINT_ROWS:
        return group
    return group.take(np.sort(np.random.default_rng(0).permutation(len(group))[:JOINT_ROWS]))


def _joined(groups: Sequence[Group]) -> Group:
    first = groups[0]
    if len(groups) == 1:
        return first
    dims = {name: np.concatenate([np.broadcast_to(g.dims[name], len(g)) for g in groups]) for name in first.dims}
    return Group(first.gpu, first.dtype, dims, np.concatenate([g.latency_s for g in groups]))


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
