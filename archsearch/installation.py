"""What is installed here, which GPU this machine has and what is known of it, where data lies, and what is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from archsearch.cost.calibration import Calibration
from archsearch.data import data_path, user_cache_dir, user_data_dir
from archsearch.errors import ArchSearchError, masked
from archsearch.hardware import GpuSpec, load_gpu, profiles_dirs
from archsearch.search.studies.places import studies_dir
from archsearch.version import version

USES = {
    "torch": "bench, verify, tracing of your own modules, the sampler gp",
    "flash": "measuring FlashAttention",
    "models": "building transformers' and diffusers' classes",
    "notebooks": "the notebooks",
    "report": "reports as .png",
    "ui": "archsearch ui",
    "dashboard": "archsearch ui STUDY",
    "samplers": "the sampler cmaes",
    "postgres": "studies on PostgreSQL",
    "grpc": "study proxy and --storage grpc://",
    "dask": "--scheduler",
}
"""What each extra is for; those for working on archsearch itself are left out."""
USES_OF_ONE = {"nvidia-ml-py": "bench: the GPU's clocks and power while it measures"}
"""What a package is for that only a part of its extra's jobs needs."""
VARIABLES = (
    *("ARCHSEARCH_HOME", "ARCHSEARCH_PROFILES", "ARCHSEARCH_SPACES", "ARCHSEARCH_PIPELINES", "ARCHSEARCH_STORAGE"),
    *("ARCHSEARCH_ALLOW_CODE", "XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "NO_COLOR"),
)
"""Variables of the environment that change what archsearch does."""
KERNELS = ("gemm/16bit", "gemm/fp8", "attention/fa2-full", "memory/pointwise")
"""Kernel families that tell how well a GPU is known."""
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
SMI_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional part: the versions of its packages (None: not installed), what it is for and how to get it."""

    extra: str
    packages: Mapping[str, str | None]
    used_for: str
    install: str

    @property
    def missing(self) -> list[str]:
        return [name for name, found in self.packages.items() if found is None]


@dataclass(frozen=True, slots=True)
class SeenGpu:
    """A GPU of this machine: what it calls itself, its profile (None: no profile), and by kernel family how its
    latencies are known; ``next_step`` is what would make them better."""

    device: str
    profile: str | None
    known: Mapping[str, str]
    next_step: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where something lies, whether it is there, and how many of it."""

    what: str
    path: str
    exists: bool
    count: int


def examination() -> dict[str, object]:
    """All that ``archsearch doctor`` tells, as plain values."""
    extras = installed_extras()
    gpus = seen_gpus()
    return {
        "archsearch": version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": installed_packages(),
        "extras": [{**asdict(extra), "missing": extra.missing} for extra in extras],
        "gpus": [asdict(gpu) for gpu in gpus],
        "places": [asdict(place) for place in places()],
        "environment": {name: masked(os.environ[name]) for name in VARIABLES if name in os.environ},
        "missing": _missing(extras, gpus),
    }


def installed_packages() -> dict[str, str | None]:
    """Versions of what every user needs; None where it is missing."""
    return {name: _version(name) for name, extra in _requirements() if extra is None}


def installed_extras() -> list[Extra]:
    """The optional parts with the versions of their packages."""
    by_extra: dict[str, dict[str, str | None]] = {}
    for name, extra in _requirements():
        if extra in USES:
            by_extra.setdefault(extra, {})[name] = _version(name)
    return [
        Extra(extra, packages, USES[extra], f"pip install 'archsearch[{extra}]'")
        for extra, packages in by_extra.items()
    ]


def _requirements() -> list[tuple[str, str | None]]:
    """Packages that archsearch names, each with the extra that it belongs to; none where it is not installed as a
    package but lies on the path."""
    try:
        lines = metadata.requires("archsearch") or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        name, extra = _REQUIREMENT.match(line), _EXTRA.search(line)
        if name is not None and ("platform_system" not in line or platform.system() == "Linux"):
            found.append((name[0], None if extra is None else extra[1]))
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def seen_gpus() -> list[SeenGpu]:
    """GPUs of this machine, by ``nvidia-smi`` or, where torch has another device, by torch."""
    return [_seen(name) for name in dict.fromkeys(_smi_names() or _torch_names())]


def _smi_names() -> list[str]:
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    call = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(call, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def _torch_names() -> list[str]:
    if find_spec("torch") is None:
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _seen(device: str) -> SeenGpu:
    try:
        gpu = load_gpu(device)
    except ArchSearchError:
        return SeenGpu(device, None, {}, "archsearch bench calibrate --gpu NAME writes a profile of it")
    known = provenance_of(gpu)
    measured = "calibrated" in known.values()
    step = f"archsearch bench run -o kernels.csv, then archsearch bench calibrate kernels.csv --gpu {gpu.id}"
    return SeenGpu(device, gpu.id, known, None if measured else step)


def provenance_of(gpu: GpuSpec) -> dict[str, str]:
    """How the kernels of a GPU are known, by family: calibrated, transferred or analytic."""
    calibration = Calibration.load()
    known = {}
    for kernel in KERNELS:
        try:
            known[kernel] = calibration.lookup(gpu, kernel).provenance.value
        except ArchSearchError:
            continue
    return known


def places() -> list[Place]:
    """Folders of data and of the user's own, with how many files of their kind each holds."""
    spaces, pipelines = data_path("search_spaces"), data_path("pipelines")
    profiles = [("GPU profiles", folder, "*.yaml") for folder in profiles_dirs()]
    listed = [
        *profiles,
        ("search spaces", spaces, "*.yaml"),
        ("pipelines", pipelines, "*.yaml"),
        ("studies", studies_dir(), "*.journal"),
        ("your data", user_data_dir(), "*"),
        ("caches", user_cache_dir(), "*"),
    ]
    return [Place(what, str(path), path.is_dir(), _count(path, pattern)) for what, path, pattern in listed]


def _count(folder: Path, pattern: str) -> int:
    return sum(1 for _ in folder.glob(pattern)) if folder.is_dir() else 0


def _needed_for(extra: Extra) -> str:
    """What does not work while packages of an extra are missing."""
    single = [USES_OF_ONE.get(name) for name in extra.missing]
    return extra.used_for if None in single else ", ".join(use for use in single if use is not None)


def _missing(extras: list[Extra], gpus: list[SeenGpu]) -> list[dict[str, str]]:
    """What is not here and how to get it."""
    found = [
        {"what": f"{', '.join(extra.missing)} ({_needed_for(extra)})", "get": extra.install}
        for extra in extras
        if extra.missing
    ]
    if not gpus:
        found.append(
            {"what": "a GPU to measure on (predictions need none)", "get": "archsearch bench run on a machine with one"}
        )
    return found + [{"what": f"measurements of {gpu.device}", "get": gpu.next_step} for gpu in gpus if gpu.next_step]
