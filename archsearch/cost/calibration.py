"""Fitted coefficients, looked up by GPU, then by architecture, then for any GPU, saying which it was."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from archsearch.cost.correction import Correction, read_corrections
from archsearch.cost.estimate import Provenance
from archsearch.cost.power import is_relieved
from archsearch.data import data_path
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.database import load_gpu
from archsearch.hardware.spec import GpuSpec

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

CORRECTIONS = "corrections"
"""Folder beside the calibration files with one JSON file of networks per GPU."""
BOUNDS = ("compute", "memory", "latency")


class Band(BaseModel):
    """Factors on a prediction that hold 80 % of the residuals: measured / predicted lies in [low, high]."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    low: float
    high: float


class Residuals(BaseModel):
    """Errors on rows the fit did not see, and how they were held back."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    rows: int
    mape: float
    held_back: str


class KernelFit(BaseModel):
    """Coefficients of one kernel family on one GPU or architecture, with bands by what bounds the kernel."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    coefficients: dict[str, float]
    bands: dict[str, Band]
    residuals: Residuals
    rows: int
    fitted_on: tuple[str, ...]
    correction: str | None = None
    """The GPU whose learned correction applies (``corrections/<id>.json``), where one earned its place."""
    carried: dict[str, float] = {}
    """MAPE on each measured GPU under coefficients that its rows took no part in (default level)."""


class CalibrationFile(BaseModel):
    """One file of ``hardware_profiles/calibration``: a GPU's, an architecture's or the default's fits.

    ``serves`` holds GPU ids, architecture names, or ``*``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    level: str
    serves: tuple[str, ...]
    source: str
    date: str
    code_version: str
    kernels: dict[str, KernelFit]


# A kernel family that nobody measured borrows the coefficients of its nearest relative, as ``analytic``.
RELATIVES = {
    "gemm/tf32": "gemm/16bit",
    "gemm/int8": "gemm/fp8",
    "gemm/fp4": "gemm/fp8",
    "attention/efficient": "attention/fa2-full",
    "memory/groupnorm": "memory/norm",
    "convolution/16bit": "gemm/16bit",
    "convolution/tf32": "gemm/tf32",
    "convolution/fp32": "gemm/fp32-linear",
}


# Where neither a GPU nor its architecture was measured, the generations whose SMs and libraries are nearest, in order,
# before the mean of all GPUs. The answer stays ``analytic``.
NEAREST = {
    "ampere": ("ada",),
    "ampere-ga10x": ("ada", "ampere"),
    "ada": ("ampere",),
    "hopper": ("ampere",),
    "blackwell": ("hopper", "ampere"),
    "blackwell-ultra": ("blackwell", "hopper", "ampere"),
    "blackwell-rtx": ("ada", "ampere"),
    "pascal-gp100": ("volta",),
    "pascal": ("pascal-gp100", "volta"),
}
# Products on tensor cores take the mean of all GPUs instead: it predicts an A40's fp16 layers (Vidur's table, which
# nothing is fitted on) to 7 %, Ampere's own coefficients to 9 %, Ada's to 17 %.
POOLED = ("gemm/16bit", "gemm/fp8")


class Known(BaseModel):
    """The answer of a look-up."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    fit: KernelFit
    provenance: Provenance
    correction: Correction | None = None


class Calibration:
    """All calibration files of a directory."""

    def __init__(self, files: Mapping[str, CalibrationFile], corrections: Path | None = None) -> None:
        self._corrections = corrections
        self._by_level: dict[str, dict[str, CalibrationFile]] = {"gpu": {}, "architecture": {}, "default": {}}
        for file in files.values():
            for served in file.serves:
                self._by_level[file.level][served] = file

    @classmethod
    def load(cls, directory: Path | None = None) -> Calibration:
        """Read a directory's YAML files (the shipped ones by default; cached).

        Raises:
            InvalidInputError: a file is malformed.
        """
        return _load(directory or data_path("hardware_profiles") / "calibration")

    def lookup(self, gpu: GpuSpec, kernel: str) -> Known:
        """Coefficients of a kernel family on a GPU, from the most specific file that has them (see ``NEAREST``); those
        of another GPU of the architecture without its power limit where this one has none (see ``cost/power.py``).

        Raises:
            UnsupportedError: no file knows this kernel family.
        """
        return self._known(gpu, kernel)

    @lru_cache(maxsize=1024)  # noqa: B019 - one Calibration lives as long as the process
    def _known(self, gpu: GpuSpec, kernel: str) -> Known:
        nearest = () if kernel in POOLED else NEAREST.get(gpu.architecture, ())
        steps = (
            ("gpu", gpu.id, Provenance.CALIBRATED),
            ("architecture", gpu.architecture, Provenance.TRANSFERRED),
            *(("architecture", near, Provenance.ANALYTIC) for near in nearest),
            ("default", "*", Provenance.ANALYTIC),
        )
        for level, key, provenance in steps:
            file = self._by_level[level].get(key)
            if file and kernel in file.kernels:
                fit = file.kernels[kernel]
                # a generation's correction says nothing of another's library: only coefficients go that far
                learned = None if provenance is Provenance.ANALYTIC else self._correction(fit, kernel)
                known = Known(fit=fit, provenance=provenance, correction=learned)
                return _relieved(known, kernel, gpu) if provenance is Provenance.TRANSFERRED else known
        if kernel in RELATIVES:
            relative = self._known(gpu, RELATIVES[kernel])
            return Known(fit=relative.fit, provenance=Provenance.ANALYTIC)
        raise UnsupportedError(f"no calibration knows the kernel family {kernel!r} (needed for {gpu.id})")

    def _correction(self, fit: KernelFit, kernel: str) -> Correction | None:
        if fit.correction is None or self._corrections is None:
            return None
        return read_corrections(self._corrections / f"{fit.correction}.json").get(kernel)


def _relieved(known: Known, kernel: str, gpu: GpuSpec) -> Known:
    """A transferred answer without the measured GPU's power limit, where this one does not have it."""
    values, measured = known.fit.coefficients, known.fit.fitted_on
    if "throttle_fraction" not in values or len(measured) != 1:
        return known
    try:
        source = load_gpu(measured[0])
    except UnknownNameError:  # a calibration of the user's own, on a GPU without a profile
        return known
    if not is_relieved(kernel, gpu, source):
        return known
    fit = known.fit.model_copy(update={"coefficients": {**values, "throttle_fraction": 0.0}})
    return known.model_copy(update={"fit": fit, "correction": None})


def read_calibration(path: Path) -> CalibrationFile:
    """Read one file.

    Raises:
        InvalidInputError: it is not YAML or does not fit the schema.
    """
    try:
        raw: Any = yaml.load(path.read_text(), Loader=Loader)
        return CalibrationFile.model_validate(raw)
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{path}: not valid YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(f"{path}: field {where}: {first['msg']}") from None


@lru_cache(maxsize=8)
def _load(directory: Path) -> Calibration:
    files = {p.stem: read_calibration(p) for p in sorted(directory.glob("*.yaml"))}
    return Calibration(files, directory / CORRECTIONS)
