"""``bench verify`` as one call: the device's profile, the timings, and the kernels behind them for a calibration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from archsearch.bench.verify import Verification, verify
from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.database import load_gpu
from archsearch.hardware.spec import GpuSpec


def run_verify(
    source: str,
    *,
    top: int,
    device: str,
    gpu: str | None = None,
    hardware: str | None = None,
    compiled: bool | None = None,
    recalibrate: Path | None = None,
    storage: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Verification, dict[str, Any] | None]:
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
    if top < 1:
        raise InvalidInputError(f"--top must be at least 1, not {top}")
    who = identify(place)
    spec = _profile(gpu or who.gpu)
    result = verify(
        source,
        spec,
        device=place,
        device_name=who.device,
        hardware=hardware,
        top=top,
        compiled=compiled,
        storage=storage,
        progress=progress,
    )
    return result, None


def _profile(name: str) -> GpuSpec:
    try:
        return load_gpu(name)
    except UnknownNameError as error:
        hint = "`archsearch bench calibrate FILE --gpu NEW` writes a profile of a device that the database lacks"
        raise ArchSearchError(f"{error}; {hint}") from None
