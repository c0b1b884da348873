"""From a folder of measurements to calibration files: per GPU, per architecture, and for any GPU.

Only rows whose ``split`` is ``fit`` are used (tables without the column: a fixed three quarters, by dimension). Rows
timed in bursts (``bench run``) do not show what a board's power limit costs long runs: they count for their GPU, whose
power limit stays as its architecture has it, and for all GPUs together (and so for what no other row can tell: what
misaligned rows cost), but not for an architecture of which another GPU was measured in long runs.
Bands come from rows that a fit did not see: for a GPU, a quarter of its shapes held back; for an architecture
and for any GPU, whole GPUs held back.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archsearch.arrays import Ints, Mask
from archsearch.bench.calibration_files import Calibrated
from archsearch.bench.correction_fit import FOLDS as FOLDS_LEARNED
from archsearch.bench.correction_fit import folds_of, train
from archsearch.bench.fit import Group, fit
from archsearch.bench.libraries import of_other_passes
from archsearch.bench.measurements import group_of, read_timed, route_rows
from archsearch.bench.own_tables import is_results, rotated_and_warm
from archsearch.bench.roofline_families import PREFIX, roofline_fits
from archsearch.bench.unseen import MIN_ROWS, Unseen, kernel_fit, pool, rounded, thinned, unseen_rows
from archsearch.cost.calibration import (
    CalibrationFile,
    KernelFit,
    Scope,
)
from archsearch.cost.correction import MEASURED_MULTIPLE, Correction, corrected, gemm_features
from archsearch.cost.kernels.kernel_cost import KernelModel
from archsearch.cost.kernels.tiles import uses_matrix_units
from archsearch.errors import InvalidInputError
from archsearch.hardware.architecture import fitted_alike
from archsearch.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

MEASURED_FILES = (
    "gemm_tensor_core.csv",
    "gemm_more.csv",
    "gemm_fp32.csv",
    "attention.csv",
    "decode_attention.csv",
    "memory_bound_fp32.csv",
    "linear_attention.csv",
    "collectives.csv",
    "experts.csv",
)
HELD_OUT_BY = {
    "m": ("n", "k"),
    "head_dim": ("heads_q", "heads_kv", "head_dim"),
    "cols": ("cols",),
    "channels": ("channels", "batch"),
    "num_v_heads": ("num_k_heads", "head_k_dim", "num_v_heads", "head_v_dim"),
    "own": ("own", "gpus"),
    "num_experts": ("num_experts", "hidden_size", "moe_intermediate_size"),
}
"""Shapes are held back whole: every row of a weight matrix, of a head layout, of a row length, of a mixture, or of a
collective's buffer and group, or none."""
UNSAID = {"batch": 1.0, "weights": 1.0, "input_share": 1.0, "reuse_bytes": np.nan, "kv_share": 1.0, "cache_write": 1.0}
"""What a kernel model takes a dimension to be where a table does not have it (0 for the others)."""
FOLDS = 4
EARNED = 0.03
"""A learned correction stays where it lowers the error on unseen shapes by at least this share."""
REPEAT_LOG = 0.05
"""Mean distance of two published measurements of one 16-bit product (2 to 8 %): what a sibling GPU's band adds."""
SIBLING = "shapes of the one GPU measured, and 5 % between measurements of a sibling"


@dataclass(frozen=True, slots=True)
class OwnFit:
    """One device's fit, its learned correction where that earns its place, and residuals on unseen shapes."""

    fit: KernelFit
    correction: Correction | None
    unseen: Unseen


@dataclass(frozen=True, slots=True)
class Level:
    """A fit of one kernel family and whom it serves: a GPU, an architecture, or any GPU (``default``, "*")."""

    level: Scope
    name: str
    fit: KernelFit
    correction: Correction | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """Everything measured of one kernel family: its model and its rows per GPU."""

    kernel: str
    model: KernelModel
    groups: Mapping[str, Group]


def calibrate(
    sources: Sequence[str | Path],
    *,
    date: str,
    code_version: str,
    only: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> Calibrated:
    """Fit every kernel family measured in some folders: published tables, and what ``bench run`` wrote.

    ``only`` is what the families' names start with, where not all are to be fitted anew.

    Raises:
        InvalidInputError: a folder holds no table, or no family has such a name.
    """
    tables = [table for source in sources for table in tables_of(source)]
    frames = [fitted_rows(read_timed(table)) for table in tables]
    measured = families_of(frames)
    families = [family for family in measured if family.kernel.startswith(only)]
    rooflines = roofline_fits(frames, progress) if PREFIX.startswith(only) or only.startswith(PREFIX) else {}
    if not families and not rooflines:
        names = ", ".join([*(f.kernel for f in measured), PREFIX])
        raise InvalidInputError(f"no kernel family starts with {only!r}: {names}")
    kernels: dict[tuple[Scope, str], dict[str, KernelFit]] = defaultdict(dict)
    if rooflines:
        kernels["default", "*"].update({name: fit for name, fit in rooflines.items() if name.startswith(only)})
    corrections: dict[str, dict[str, Correction]] = defaultdict(dict)
    for family in families:
        for fitted in _fit_family(family, progress):
            kernels[fitted.level, fitted.name][family.kernel] = fitted.fit
            if fitted.correction is not None:
                corrections[fitted.name][family.kernel] = fitted.correction
    source = f"GPU latencies ({', '.join(table.name for table in tables)})"
    files = [
        CalibrationFile(
            level=level,
            serves=(name, *fitted_alike(name)) if level == "architecture" else (name,),
            source=source,
            date=date,
            code_version=code_version,
            kernels=dict(sorted(fits.items())),
        )
        for (level, name), fits in sorted(kernels.items())
    ]
    return Calibrated(files, dict(corrections))


def tables_of(source: str | Path) -> list[Path]:
    """The tables of a folder that may be fitted on: ``MEASURED_FILES``, and results of ``bench run``.

    Raises:
        InvalidInputError: there is none.
    """
    folder = Path(source)
    tables = [folder / name for name in MEASURED_FILES if (folder / name).is_file()]
    others = (file for file in sorted(folder.glob("*.csv")) if file.name not in MEASURED_FILES)
    tables += [file for file in others if is_results(read_table(file))]
    if not tables:
        raise InvalidInputError(f"{folder}: holds none of {', '.join(MEASURED_FILES)} and no result of `bench run`")
    return tables


def families_of(frames: Iterable[pd.DataFrame]) -> list[Family]:
    """The rows of tables by kernel family and GPU, those of ``bench run`` rotated and warm."""
    parts: dict[str, dict[str, list[Group]]] = defaultdict(lambda: defaultdict(list))
    models: dict[str, KernelModel] = {}
    for frame in frames:
        rows = rotated_and_warm(frame) if is_results(frame) else frame
        for routed in route_rows(rows):
            models[routed.route.kernel] = routed.route.model
            parts[routed.route.kernel][routed.route.gpu.id].append(group_of(routed, rows))
    return [
        Family(kernel, models[kernel], {gpu: joined(groups) for gpu, groups in by_gpu.items()})
        for kernel, by_gpu in sorted(parts.items())
    ]


def split_rows(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that may be fitted on, and the others, each renumbered.

    Raises:
        InvalidInputError: a table without the column split whose rows are not those of bandwidth-bound kernels.
    """
    if "split" in frame:
        fit = (frame["split"] == "fit").to_numpy()
    else:
        if "rows" not in frame or "cols" not in frame:
            raise InvalidInputError("the table lacks the column split, which says what may be fitted on: fit or test")
        rows = zip(frame.op, frame.rows, frame.cols, strict=True)
        fit = np.array([not is_test(op, rows_, cols) for op, rows_, cols in rows])
    return frame[fit].reset_index(drop=True), frame[~fit].reset_index(drop=True)


def fitted_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that fits take: of its split, and of the library whose passes they hold (``libraries``)."""
    rows = split_rows(frame)[0]
    return rows[~of_other_passes(rows)].reset_index(drop=True)


def is_test(op: str, rows: int, cols: int) -> bool:
    """Whether a bandwidth-bound row is held back where a table has no split: one row length in four."""
    return zlib.crc32(f"{op},{cols}".encode()) % FOLDS == 0


def _fit_family(family: Family, progress: Callable[[str], None]) -> Iterable[Level]:
    """The fits of a kernel family: for any GPU, for every GPU measured, for every architecture."""
    groups = {gpu: g for gpu, g in family.groups.items() if len(g) >= MIN_ROWS and len(set(_folds(g))) > 1}
    if not groups:
        return
    progress(f"{family.kernel}: {sum(map(len, groups.values()))} rows of {', '.join(groups)}")
    thin = {gpu: thinned(g) for gpu, g in groups.items()}
    default = fit(family.model, list(thin.values()))
    left_out = {gpu: _left_out(family.model, gpu, thin, default) for gpu in groups}
    pooled = pool(list(left_out.values()))
    several = len(groups) > 1
    carried = {gpu: rounded(unseen.mape()) for gpu, unseen in left_out.items()} if several else {}
    held_back = "whole GPUs" if several else "nothing: one GPU measured"
    yield Level("default", "*", kernel_fit(default, pooled, groups, held_back, carried=carried))

    by_architecture: dict[str, list[str]] = defaultdict(list)
    for gpu, group in groups.items():
        by_architecture[group.gpu.architecture].append(gpu)
    for architecture, measured in by_architecture.items():
        members = [gpu for gpu in measured if not groups[gpu].bursts] or measured
        shared = fit(family.model, [thin[gpu] for gpu in members], prior=default)
        own_fits = {
            gpu: fit_device(family.kernel, family.model, family.groups[gpu], shared, default) for gpu in measured
        }
        for gpu, own in own_fits.items():
            yield Level("gpu", gpu, own.fit, own.correction)
        among = {gpu: groups[gpu] for gpu in members}
        if len(members) == 1:
            only = own_fits[members[0]]
            residuals = Unseen(only.unseen.residuals * _widening(only.unseen), only.unseen.bound)
            shared_fit = kernel_fit(only.fit.coefficients, residuals, among, SIBLING, only.fit.correction)
        else:
            transferred = pool([left_out[gpu] for gpu in members])
            shared_fit = kernel_fit(shared, transferred, among, "whole GPUs")
        yield Level("architecture", architecture, shared_fit)


def fit_device(
    kernel: str,
    model: KernelModel,
    group: Group,
    prior: Mapping[str, float],
    unseen_prior: Mapping[str, float],
    *,
    correct: bool = True,
) -> OwnFit:
    """One device's fit of a kernel family from ``prior``.

    ``unseen_prior`` is where the fits start whose held-back shapes give the band; ``correct`` also tries a learned
    correction of matrix products.
    """
    gpu = group.gpu.id
    own = fit(model, [group], prior=prior)
    if kernel.startswith("gemm/") and correct:
        measured = group.take(_on_measured_widths(group))
        correction, unseen = _learn(model, measured, own)
        if unseen.mape() < unseen_rows(model, measured, own).mape() * (1 - EARNED):
            held_back = f"one of {FOLDS_LEARNED} parts of the shapes at a time, by the learned correction"
            return OwnFit(kernel_fit(own, unseen, {gpu: group}, held_back, gpu), correction, unseen)
    unseen = _cross_validated(model, group, unseen_prior)
    return OwnFit(kernel_fit(own, unseen, {gpu: group}, "a quarter of the shapes, four times"), None, unseen)


def _on_measured_widths(group: Group) -> Mask:
    """Rows whose widths are multiples of what corrections are learned on; others answer to the mechanism alone."""
    if not uses_matrix_units(group.gpu, group.dtype):
        return np.ones(len(group), dtype=bool)
    multiple = [np.broadcast_to(group.dims[c], len(group)) % MEASURED_MULTIPLE == 0 for c in "nk"]
    rows: Mask = multiple[0] & multiple[1]
    return rows


def _widening(unseen: Unseen) -> float:
    """How much wider residuals get when ``REPEAT_LOG`` of independent spread is added."""
    spread = float(np.mean(np.abs(unseen.residuals)))
    return float(np.sqrt(1 + (REPEAT_LOG / spread) ** 2))


def _learn(model: KernelModel, group: Group, values: Mapping[str, float]) -> tuple[Correction, Unseen]:
    """A learned correction of one GPU's mechanism, and residuals on the shapes that each network left out, under that
    network as it would be used: on its leash."""
    time = model.predict(group.gpu, group.dtype, group.dims, values)
    features = gemm_features(group.gpu, group.dtype, group.dims, time)
    fold = folds_of(shape_names(group))
    correction, alone = train(features, np.log(group.latency_s / time.latency_s), fold)
    parts = []
    for part, network in enumerate(alone):
        rows = group.take(fold == part)
        if len(rows):
            found = corrected(
                rows.gpu, rows.dtype, rows.dims, lambda d: model.predict(group.gpu, group.dtype, d, values), network
            )
            parts.append(Unseen(np.log(rows.latency_s / found.latency_s), found.bound))
    return correction, pool(parts)


def _left_out(model: KernelModel, gpu: str, groups: Mapping[str, Group], default: Mapping[str, float]) -> Unseen:
    """Residuals on one GPU under coefficients fitted on its kin, or on all others where it has none."""
    target = groups[gpu]
    kin = [g for other, g in groups.items() if other != gpu and g.gpu.architecture == target.gpu.architecture]
    others = kin or [g for other, g in groups.items() if other != gpu]
    values = fit(model, others, prior=default) if others else dict(default)
    return unseen_rows(model, target, values)


def _cross_validated(model: KernelModel, group: Group, prior: Mapping[str, float]) -> Unseen:
    """Residuals of every row under a fit on the other three quarters of the shapes."""
    fold = _folds(group)
    parts = [
        unseen_rows(model, group.take(fold == f), fit(model, [group.take(fold != f)], prior=prior))
        for f in range(FOLDS)
        if 0 < (fold == f).sum() < len(group)
    ]
    return pool(parts)


def _folds(group: Group) -> Ints:
    return np.array([zlib.crc32(name.encode()) % FOLDS for name in shape_names(group)])


def shape_names(group: Group) -> list[str]:
    """The shape that each row belongs to: rows of one name are held back together."""
    key = next(key for key in HELD_OUT_BY if key in group.dims)
    columns = [np.broadcast_to(group.dims[c], len(group)) for c in HELD_OUT_BY[key]]
    return [",".join(f"{v:.0f}" for v in row) for row in zip(*columns, strict=True)]


def joined(groups: Sequence[Group]) -> Group:
    """Groups of one GPU as one; what a table does not say takes the model's default (``UNSAID``)."""
    first = groups[0]
    if len(groups) == 1:
        return first
    if len({g.dtype.itemsize for g in groups}) > 1:
        groups = [replace(g, dims={**g.dims, "itemsize": np.asarray(g.dtype.itemsize)}) for g in groups]
    names = dict.fromkeys(name for g in groups for name in g.dims)
    dims = {
        name: np.concatenate([np.broadcast_to(g.dims.get(name, UNSAID.get(name, 0.0)), len(g)) for g in groups])
        for name in names
    }
    bursts = all(g.bursts for g in groups)
    return Group(first.gpu, first.dtype, dims, np.concatenate([g.latency_s for g in groups]), bursts)
