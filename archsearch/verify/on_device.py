"""``bench verify`` as one call: the device's profile, the timings, and the kernels behind them for a calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.bench.measurements import read_timed
from archsearch.cost.execution import Execution
from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.database import load_gpu
from archsearch.hardware.spec import GpuSpec
from archsearch.ranges import require_range
from archsearch.verify.compare import Verification, verify

if TYPE_CHECKING:
    import torch


def run_verify(
    source: str,
    *,
    top: int,
    device: str,
    gpu: str | None = None,
    hardware: str | None = None,
    execution: Execution | str | None = None,
    changes: Mapping[str, object] | None = None,
    recalibrate: Path | None = None,
    storage: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Verification, dict[str, object] | None]:
    """Verify on a device named as torch names it; ``recalibrate`` is a results file to extend and to calibrate on.

    Raises:
        UnsupportedError: torch or the libraries of the modules are missing.
        InvalidInputError: no such device.
        UnknownNameError: no profile has this device's name.
    """
    try:
        from archsearch.bench.micro.device import identify
        from archsearch.bench.micro.run import torch_device

        place = torch_device(device)
    except ImportError as error:
        raise UnsupportedError(f"bench verify needs {error.name}: pip install 'archsearch[torch,models]'") from None
    except ValueError as error:
        raise InvalidInputError(str(error)) from None
    if recalibrate is not None and recalibrate.exists():
        read_timed(recalibrate)  # refuses a file that could not be calibrated on, before anything is timed
    require_range("top", top, 1, whole=True)
    who = identify(place)
    spec = _profile(gpu or who.gpu)
    result = verify(
        source,
        spec,
        device=place,
        device_name=who.device,
        hardware=hardware,
        top=top,
        execution=execution,
        changes=changes,
        storage=storage,
        progress=progress,
    )
    if recalibrate is None:
        return result, None
    return result, _recalibrated(result, spec, place, recalibrate, progress)


def _recalibrated(
    result: Verification, spec: GpuSpec, place: torch.device, file: Path, progress: Callable[[str], None]
) -> dict[str, object]:
    """Time the kernels of the verified architectures, add them to a results file, and calibrate on it.

    Whole models teach nothing here: coefficients are fitted to kernels alone, those of these very shapes among them.
    """
    import datetime

    from archsearch.bench.micro.run import run_cases
    from archsearch.bench.personal import calibrate_file
    from archsearch.hardware.folders import user_profiles
    from archsearch.models.registry.families import get_family
    from archsearch.search.evaluate.frames import workload_from
    from archsearch.verify.kernels_of_models import kernel_cases
    from archsearch.version import version

    configs = [get_family(result.family).from_dict(row.config) for row in result.rows]
    cases = kernel_cases(configs, workload_from(result.workload), spec)
    progress(f"timing {len(cases)} kernels of these architectures")
    try:
        summary = run_cases(cases, file, place, gpu=spec.id)
    except ValueError as error:
        raise InvalidInputError(str(error)) from None
    folder = user_profiles()
    folder.mkdir(parents=True, exist_ok=True)
    day = datetime.date.today().isoformat()
    calibrated = calibrate_file(summary.path, folder, gpu=spec.id, date=day, code_version=version())
    return {**calibrated.to_dict(), "kernels_measured": summary.measured}


def _profile(name: str) -> GpuSpec:
    try:
        return load_gpu(name)
    except UnknownNameError as error:
        hint = "`archsearch bench calibrate FILE --gpu NEW` writes a profile of a device that the database lacks"
        raise ArchSearchError(f"{error}; {hint}") from None
