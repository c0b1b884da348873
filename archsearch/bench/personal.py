"""One device's own calibration from a results file: checks, a fit from priors, the error before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from archsearch.bench.calibrate import families_of, fit_device, shape_names, split_rows
from archsearch.bench.calibration_files import Calibrated, write_calibration
from archsearch.bench.fit import Group, bounds_hit, log_residuals
from archsearch.bench.measurements import COLLECTIVE_DIMENSIONS, read_timed, route_rows
from archsearch.bench.own_tables import is_results, unserved
from archsearch.bench.roofline import routed_roofline_s
from archsearch.cost.calibration import Calibration, CalibrationFile, KernelFit
from archsearch.cost.correction import Correction
from archsearch.cost.kernels.kernel_cost import KernelModel
from archsearch.data import data_path
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.hardware.database import load_gpu
from archsearch.hardware.spec import GpuSpec

if TYPE_CHECKING:
    import pandas as pd

MIN_ROWS = 12
"""Rows to fit a kernel family on, and a third of it to judge the fit by."""
MIN_SHAPES = 5
"""Weight matrices, head layouts or row lengths that these rows must be of."""
REPEATS_APART = 1.3
"""Times of the same shape that differ by more than this factor contradict each other."""
IMPOSSIBLE = 0.8
"""A row this much faster than the datasheet's roofline was not measured on the GPU that the profile describes."""
MOST_IMPOSSIBLE = 0.02
CORRECTION_ROWS = 500
"""Rows from which a learned correction of matrix products is tried."""


@dataclass(frozen=True, slots=True)
class FamilyFit:
    """One kernel family: rows fitted on and held back, their mean absolute percentage error before and after the fit,
    where the coefficients started from, and those that ended on a bound."""

    kernel: str
    rows: int
    held_back: int
    mape_before: float
    mape_after: float
    prior: str
    at_bounds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Personal:
    """What calibrating on a file found: the written calibration, and what was left out and why."""

    gpu: str
    calibration: Path
    families: tuple[FamilyFit, ...]
    left_out: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {**asdict(self), "calibration": str(self.calibration)}


def calibrate_file(file: str | Path, output: Path, *, gpu: str | None = None, date: str, code_version: str) -> Personal:
    """Fit a GPU's coefficients to the rows of a results file that are marked ``fit``; judge them on the others.

    Args:
        file: what ``bench run`` wrote, or any table of measurements (see ``measurements``) of one GPU.
        output: a folder; the fit goes to ``calibration/<gpu>.yaml`` in it, which ``--profiles`` then finds.
        gpu: the profile that the file's device is, where its name says otherwise.

    Raises:
        InvalidInputError: rows of several GPUs, too few rows, times that contradict each other or the silicon.
        UnknownNameError: no profile has this device's name.
    """
    frame, spec = _one_gpu(read_timed(file), file, gpu)
    served = frame[unserved(frame) == ""] if is_results(frame) else frame
    _possible(served, spec, file)
    _consistent(served, file)
    fits = _fit_families(frame, spec)
    if not fits.kernels:
        raise InvalidInputError(
            f"{file}: too few rows to fit anything: " + "; ".join(f"{k}: {why}" for k, why in fits.left_out.items())
        )
    written = CalibrationFile(
        level="gpu",
        serves=(spec.id,),
        source=f"{Path(file).name}, {_measured_with(frame)}",
        date=date,
        code_version=code_version,
        kernels=dict(sorted(fits.kernels.items())),
    )
    folder = output / "calibration"
    path = write_calibration(Calibrated([written], {spec.id: fits.corrections} if fits.corrections else {}), folder)[0]
    return Personal(spec.id, path, tuple(fits.families), fits.left_out)


def _one_gpu(frame: pd.DataFrame, file: str | Path, gpu: str | None) -> tuple[pd.DataFrame, GpuSpec]:
    names = sorted(frame["gpu"].astype(str).unique())
    if len(names) > 1:
        raise InvalidInputError(f"{file}: holds rows of several GPUs ({', '.join(names)}); calibrate one at a time")
    spec = load_gpu(gpu or names[0])
    try:
        named = load_gpu(names[0])
    except UnknownNameError:  # a device that the database lacks: --gpu says what it is
        named = spec
    if named.id != spec.id:
        raise InvalidInputError(f"{file}: its rows were timed on {names[0]}, which is not {spec.id}")
    if spec.vendor != "cpu" and "method" in frame and (frame["method"] == "wall").any():
        raise InvalidInputError(f"{file}: its rows were timed by a processor's wall clock, not on {spec.id}")
    return frame.assign(gpu=spec.id), spec


def _consistent(frame: pd.DataFrame, file: str | Path) -> None:
    """Refuse a table in which one shape has two times far apart."""
    sizes = [c for c in frame.columns if c in ("op", "dtype", "kernel", "config", "buffers") or _is_dimension(frame, c)]
    spread = frame.groupby(sizes, dropna=False)["latency_us"].agg(["min", "max", "size"])
    apart = spread[spread["max"] > REPEATS_APART * spread["min"]]
    if len(apart):
        first = apart.index[0]
        shape = ", ".join(f"{k}={v}" for k, v in zip(sizes, first, strict=True) if v == v and v != "")
        row = apart.iloc[0]
        raise InvalidInputError(
            f"{file}: {len(apart)} shapes have times that contradict each other, first {shape}: {row['min']:.4g} and "
            f"{row['max']:.4g} us; measure again on an idle device"
        )


def _is_dimension(frame: pd.DataFrame, name: str) -> bool:
    from archsearch.bench.micro.results import DIMENSIONS

    return name in (*DIMENSIONS, "window", *COLLECTIVE_DIMENSIONS)


def _possible(frame: pd.DataFrame, spec: GpuSpec, file: str | Path) -> None:
    """Refuse times that the profile's silicon cannot reach; rows that lie in a cache answer to FLOPs alone."""
    beyond, rows = 0, 0
    for routed in route_rows(frame.reset_index(drop=True)):
        measured = frame["latency_us"].to_numpy(dtype=np.float64)[routed.index] * 1e-6
        d = routed.route.dims
        if "k" in d:
            work = 2 * d["m"] * d["n"] * d["k"] * d.get("batch", 1.0)
            floor = work / spec.peak_flops(routed.route.dtype)
        else:
            floor = routed_roofline_s(routed) * (0.0 if "rows" in d else 1.0)
        beyond += int(np.sum(measured < IMPOSSIBLE * floor))
        rows += len(measured)
    if beyond > MOST_IMPOSSIBLE * rows:
        raise InvalidInputError(
            f"{file}: {beyond} of {rows} rows are faster than {spec.id} can compute; was this another device? "
            "Name its profile with {gpu}",
            field="gpu",
        )


@dataclass(frozen=True, slots=True)
class _Fits:
    """What a file gives: fits and learned corrections by kernel family, how good each is, and why others have none."""

    kernels: dict[str, KernelFit]
    families: list[FamilyFit]
    left_out: dict[str, str]
    corrections: dict[str, Correction]


def _fit_families(frame: pd.DataFrame, spec: GpuSpec) -> _Fits:
    """Fit every kernel family that has rows enough, from the shipped coefficients; a fit that is worse is left out."""
    shipped = Calibration.load(data_path("hardware_profiles") / "calibration")  # never from an earlier fit of one's own
    fitting, judging = (_by_kernel(rows) for rows in split_rows(frame))
    fits: dict[str, KernelFit] = {}
    families: list[FamilyFit] = []
    corrections: dict[str, Correction] = {}
    left_out = _not_kernels(frame)
    for kernel, (model, group) in fitting.items():
        unseen = judging.get(kernel)
        shapes = len(set(shape_names(group)))
        if len(group) < MIN_ROWS or shapes < MIN_SHAPES or unseen is None or len(unseen.group) < MIN_ROWS // 3:
            held_back = len(unseen.group) if unseen else 0
            left_out[kernel] = f"{len(group)} rows of {shapes} shapes to fit and {held_back} held back"
            continue
        before = shipped.lookup(spec, kernel)
        prior = dict(before.fit.coefficients)
        own = fit_device(kernel, model, group, prior, prior, correct=len(group) >= CORRECTION_ROWS)
        mape_before, mape_after = (_mape(model, unseen.group, values) for values in (prior, own.fit.coefficients))
        if mape_after > mape_before:
            left_out[kernel] = (
                f"a fit would be worse on the rows held back ({mape_after:.0f} % against {mape_before:.0f} %)"
            )
            continue
        family = FamilyFit(
            kernel=kernel,
            rows=len(group),
            held_back=len(unseen.group),
            mape_before=mape_before,
            mape_after=mape_after,
            prior=f"{before.provenance.value} ({', '.join(before.fit.fitted_on)})",
            at_bounds=tuple(bounds_hit(model.coefficients, own.fit.coefficients)),
        )
        families.append(family)
        fits[kernel] = own.fit
        if own.correction is not None:
            corrections[kernel] = own.correction
    return _Fits(fits, families, left_out, corrections)


def _not_kernels(frame: pd.DataFrame) -> dict[str, str]:
    """Rows of a results file that no kernel model serves, by op and kernel."""
    if not is_results(frame):
        return {}
    kernel = frame["kernel"].astype(object).fillna("").astype(str) if "kernel" in frame else ""
    labelled = frame.assign(_why=unserved(frame), _name=frame["op"].astype(str) + " " + kernel)
    rows = labelled[labelled["_why"] != ""].groupby("_name", sort=True)["_why"]
    return {str(name).strip(): f"{len(whys)} rows, {whys.iloc[0]}" for name, whys in rows}


class _Measured(NamedTuple):
    """One GPU's rows of a kernel family."""

    model: KernelModel
    group: Group


def _by_kernel(frame: pd.DataFrame) -> dict[str, _Measured]:
    """One GPU's rows by kernel family."""
    return {f.kernel: _Measured(f.model, next(iter(f.groups.values()))) for f in families_of([frame])}


def _mape(model: KernelModel, group: Group, values: Mapping[str, float]) -> float:
    complete = {c.name: values.get(c.name, c.start) for c in model.coefficients}
    return float(np.mean(np.abs(np.expm1(log_residuals(model, group, complete)))) * 100)


def _measured_with(frame: pd.DataFrame) -> str:
    """Device, driver, library and date of the rows, as far as the table says."""

    def values(name: str) -> Sequence[str]:
        return sorted({str(v) for v in frame[name].dropna().unique()}) if name in frame else []

    parts = [f"{name} {', '.join(values(name))}" for name in ("device", "driver", "torch", "date") if values(name)]
    return "; ".join(parts) or "no device named"
