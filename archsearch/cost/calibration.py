"""Fitted coefficients, looked up by GPU, then by architecture, then for any GPU, saying which it was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from archsearch.cost.correction import Correction, read_corrections
from archsearch.cost.estimate import Provenance
from archsearch.cost.kernel_families import VECTOR_UNITS, coefficient_problem, unknown_family
from archsearch.cost.power import is_relieved, same_rates
from archsearch.cost.remember import Remembered
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.database import load_gpu
from archsearch.hardware.folders import profiles_dirs
from archsearch.hardware.parsed import keep_parsed, parsed_mapping
from archsearch.hardware.spec import GpuSpec
from archsearch.progress import detail
from archsearch.yaml_records import Record, line_of, record_of

REMEMBERED_LOOKUPS = 1024
CORRECTIONS = "corrections"
"""Folder beside the calibration files with one JSON file of networks per GPU."""
Bound = Literal["compute", "memory", "latency"]
BOUNDS: tuple[Bound, ...] = ("compute", "memory", "latency")
Scope = Literal["gpu", "architecture", "default"]
"""Whom a file serves: GPUs by id, architectures by name, any GPU."""
MOST_BAND = 20.0
"""The widest band that says anything: a time known to a factor of twenty."""


class Band(Record):
    """Factors on a prediction that hold 80 % of the residuals: measured / predicted lies in [low, high]."""

    low: float = Field(gt=0, le=1)
    high: float = Field(ge=1, le=MOST_BAND)


class Residuals(Record):
    """Errors on rows the fit did not see, and how they were held back."""

    rows: NonNegativeInt
    mape: NonNegativeFloat
    held_back: str


class KernelFit(Record):
    """Coefficients of one kernel family on one GPU or architecture, with bands by what bounds the kernel."""

    coefficients: dict[str, float]
    bands: dict[Bound, Band]
    residuals: Residuals
    rows: NonNegativeInt
    fitted_on: tuple[str, ...]
    correction: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """The GPU whose learned correction applies (``corrections/<id>.json``), where one earned its place."""
    carried: dict[str, float] = Field(default={})
    """MAPE on each measured GPU under coefficients that its rows took no part in (default level)."""


class CalibrationFile(Record):
    """One file of ``hardware_profiles/calibration``: a GPU's, an architecture's or the default's fits.

    ``serves`` holds GPU ids, architecture names, or ``*``. ``published``: coefficients that were read from publications
    (``source``) and fitted on no rows; what they price is ``analytic``.
    """

    level: Scope
    serves: tuple[str, ...] = Field(min_length=1)
    source: str
    date: str
    code_version: str
    published: bool = False
    kernels: dict[str, KernelFit]


# A kernel family that nobody measured borrows the coefficients of its nearest relative, as ``analytic``.
RELATIVES = {
    "gemm/tf32": "gemm/16bit",
    "gemm/int8": "gemm/fp8",
    "gemm/fp4": "gemm/fp8",
    "gemm/fp8-scaled": "gemm/fp8",
    "gemm/int8_weight_only": "gemm/16bit",
    "gemm/int4_weight_only": "gemm/16bit",
    "attention/efficient": "attention/fa2-full",
    "attention/torch-fa2": "attention/fa2-full",
    "attention/torch-cudnn": "attention/fa3-full",
    "memory/groupnorm": "memory/norm",
    "convolution/16bit": "gemm/16bit",
    "convolution/tf32": "gemm/tf32",
    "convolution/fp32": "gemm/fp32-linear",
    # other formats on vector units: the kernels of fp32, of which nothing was measured in these
    **{f"gemm/{units}-{op}": f"gemm/fp32-{op}" for units in VECTOR_UNITS for op in ("linear", "bmm")},
    **{f"convolution/{units}": "gemm/fp32-linear" for units in VECTOR_UNITS},
}


# Where neither a GPU nor its architecture was measured, its nearest architectures (``Architecture.nearest``) are ahead
# the mean of all GPUs; the answer stays ``analytic``. Products on tensor cores take the mean at once: it predicts an
# A40's fp16 layers (Vidur's table, which nothing is fitted on) to 7 %, Ampere's own coefficients to 9 %, Ada's to 17 %.
POOLED = ("gemm/16bit", "gemm/fp8")


class Known(BaseModel):
    """The answer of a look-up."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    fit: KernelFit
    provenance: Provenance
    correction: Correction | None = None


class Calibration:
    """Calibration files of one or several folders; a later file's kernels hide an earlier one's."""

    def __init__(
        self, files: Iterable[CalibrationFile], corrections: Sequence[Path] = (), paths: Sequence[Path] = ()
    ) -> None:
        """``paths`` are where the files were read, as far as they were, to tell whose coefficients apply."""
        self._paths: dict[tuple[str, str, str], Path] = {}
        self._corrections = tuple(corrections)
        self._fits: dict[tuple[str, str], dict[str, KernelFit]] = defaultdict(dict)
        self._published: frozenset[tuple[str, str, str]] = frozenset()
        for file, path in zip_longest(files, paths):
            for served in file.serves:
                self._paths |= {(file.level, served, kernel): path for kernel in file.kernels if path is not None}
                self._fits[file.level, served].update(file.kernels)
                read = {(file.level, served, kernel) for kernel in file.kernels}
                self._published = self._published | read if file.published else self._published - read
        self._answers = Remembered(self._look_up, REMEMBERED_LOOKUPS)

    @classmethod
    def load(cls, directory: Path | None = None) -> Calibration:
        """Read a folder's YAML files; by default the shipped ones, and over them those in ``calibration`` of the user's
        profile folders (see ``hardware.database``). Cached until a file changes.

        Raises:
            InvalidInputError: a file is malformed.
        """
        if directory is not None:
            return _load(((directory, _changed(directory)),))
        *user, shipped = (folder / "calibration" for folder in profiles_dirs())
        folders = [shipped, *(folder for folder in reversed(user) if folder.is_dir())]
        return _load(tuple((folder, _changed(folder)) for folder in folders))

    def lookup(self, gpu: GpuSpec, kernel: str) -> Known:
        """Coefficients of a kernel family on a GPU, from the most specific file that has them; those of another
        GPU of the architecture without its power limit where this one has none (see ``cost/power.py``).

        Raises:
            UnsupportedError: no file knows this kernel family.
        """
        return self._answers(gpu, kernel)

    def _look_up(self, gpu: GpuSpec, kernel: str) -> Known:
        own = (("gpu", gpu.id), ("architecture", gpu.architecture))
        for (level, key), provenance in zip(own, (Provenance.CALIBRATED, Provenance.TRANSFERRED), strict=True):
            if fit := self._fit(level, key, kernel):
                if (level, key, kernel) in self._published:
                    return self._told(Known(fit=fit, provenance=Provenance.ANALYTIC), kernel, gpu, (level, key, kernel))
                known = Known(fit=fit, provenance=provenance, correction=self._correction(fit, kernel))
                known = _relieved(known, kernel, gpu) if provenance is Provenance.TRANSFERRED else known
                return self._told(known, kernel, gpu, (level, key, kernel))
        nearest = () if kernel in POOLED else gpu.generation.nearest
        places = (*own, *(("architecture", near) for near in nearest), ("default", "*"))
        kin = [kernel, *([RELATIVES[kernel]] if kernel in RELATIVES else [])]
        # a relative measured near comes before the kernel itself measured farther off
        found = (((level, key, name), self._fit(level, key, name)) for level, key in places for name in kin)
        place, borrowed = next(((place, fit) for place, fit in found if fit), (("", "", ""), None))
        if borrowed:  # a generation's correction says nothing of another's library: only coefficients go that far
            known = _relieved(Known(fit=borrowed, provenance=Provenance.ANALYTIC), kernel, gpu)
            return self._told(known, kernel, gpu, place)
        if kernel in RELATIVES:
            return Known(fit=self.lookup(gpu, RELATIVES[kernel]).fit, provenance=Provenance.ANALYTIC)
        raise UnsupportedError(f"no calibration knows the kernel family {kernel!r} (needed for {gpu.id})")

    def _told(self, known: Known, kernel: str, gpu: GpuSpec, place: tuple[str, str, str]) -> Known:
        """The answer; where details are asked for, told: from which level and file, and whether with a correction."""
        level, key, _ = place
        whose = "all GPUs" if (level, key) == ("default", "*") else f"{level} {key}"
        file = f" in {self._paths[place]}" if place in self._paths else ""
        learned = "with" if known.correction is not None else "without"
        way = f"({known.provenance.value}), {learned} a learned correction"
        detail(f"{kernel} on {gpu.id}: coefficients of {whose}{file} {way}")
        return known

    def _fit(self, level: str, key: str, kernel: str) -> KernelFit | None:
        return self._fits.get((level, key), {}).get(kernel)

    def _correction(self, fit: KernelFit, kernel: str) -> Correction | None:
        if fit.correction is None:
            return None
        found = (read_corrections(folder / f"{fit.correction}.json").get(kernel) for folder in self._corrections)
        return next((correction for correction in found if correction is not None), None)


def _relieved(known: Known, kernel: str, gpu: GpuSpec) -> Known:
    """A transferred answer without what does not hold on this GPU: the measured one's power limit where this one has
    none, and its correction where the products differ in what they cap."""
    values, measured = known.fit.coefficients, known.fit.fitted_on
    if len(measured) != 1:
        return known
    try:
        source = load_gpu(measured[0])
    except UnknownNameError:  # a calibration of the user's own, on a GPU without a profile
        return known
    if "throttle_fraction" in values and is_relieved(kernel, gpu, source):
        fit = known.fit.model_copy(update={"coefficients": {**values, "throttle_fraction": 0.0}})
        return known.model_copy(update={"fit": fit, "correction": None})
    return known if same_rates(kernel, gpu, source) else known.model_copy(update={"correction": None})


def read_calibration(path: Path) -> CalibrationFile:
    """Read one file.

    Raises:
        InvalidInputError: it is not YAML, does not fit the schema, names a kernel family or a coefficient that no
            kernel model has, or a value beyond what the model allows; every problem with file, line and field.
    """
    detail(f"read {path}")
    file = record_of(CalibrationFile, parsed_mapping(path, "calibrations"), path)
    problems: list[tuple[tuple[str, ...], str]] = []
    for kernel, fit in file.kernels.items():
        if unknown := unknown_family(kernel):
            problems.append((("kernels", kernel), unknown))
            continue
        for name, value in fit.coefficients.items():
            if problem := coefficient_problem(kernel, name, value):
                problems.append((("kernels", kernel, "coefficients", name), f"{problem} (found {value:g})"))
    if problems:
        lines = (f"{path}:{line_of(path, *place)}: {'.'.join(place)}: {text}" for place, text in problems)
        raise InvalidInputError("\n".join(lines))
    return file


def _changed(folder: Path) -> int:
    """When a folder's files last changed, in nanoseconds."""
    return max((file.stat().st_mtime_ns for file in folder.glob("*.yaml")), default=0)


@lru_cache(maxsize=8)
def _load(folders: tuple[tuple[Path, int], ...]) -> Calibration:
    """Folders in order, with the times that they last changed (the cache's second key)."""
    paths = [file for folder, _ in folders for file in sorted(folder.glob("*.yaml"))]
    files = [read_calibration(file) for file in paths]
    keep_parsed("calibrations")
    return Calibration(files, [folder / CORRECTIONS for folder, _ in reversed(folders)], paths)
