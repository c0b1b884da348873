"""A profile of a GPU that the database lacks, from what torch and NVML say of the device."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.architecture import architecture_records
from archsearch.hardware.database import list_gpus, load_gpu
from archsearch.hardware.spec import GpuSpec

DOUBLE_DATA_RATE = 2.0
"""Transfers per clock that NVML's memory clock counts for HBM and GDDR alike (nvidia-smi's ``clocks.max.memory``)."""


class Facts(Protocol):
    """What ``torch.cuda.get_device_properties`` says of a device."""

    name: str
    major: int
    minor: int
    multi_processor_count: int
    total_memory: int
    L2_cache_size: int


def known_profile(file: Path, gpu: str | None, device: str, folder: Path) -> tuple[str | None, Path | None]:
    """The id to calibrate for, and the profile that had to be written for it (None where one exists).

    Raises:
        UnsupportedError: ``gpu`` is new and no GPU is here to read a profile off.
        InvalidInputError: the device's generation is unknown, so that its rates are.
    """
    if gpu is None:
        return None, None
    try:
        return load_gpu(gpu).id, None
    except UnknownNameError as unknown:
        profile = _device_profile(gpu, device, str(unknown))
    path = folder / f"{gpu}.yaml"
    _write(path, profile)
    return gpu, path


def _device_profile(gpu: str, device: str, unknown: str) -> dict[str, object]:
    try:
        import torch

        present = torch.cuda.is_available() and device.startswith("cuda")
    except ImportError:
        present = False
    if not present:
        raise UnsupportedError(f"{unknown}; a profile of a new GPU is read off the device, and torch sees none here")
    facts = torch.cuda.get_device_properties(torch.device(device))
    return skeleton(gpu, facts, _nvml_facts(torch.device(device).index or 0), datetime.date.today().isoformat())


def skeleton(gpu: str, facts: Facts, nvml: Mapping[str, float], date: str) -> dict[str, object]:
    """A complete profile (``GpuSpec``'s fields) of a device.

    Rates per clock, registers, shared memory and alignment are those of the architecture; counts, sizes and clocks are
    the device's.

    Args:
        nvml: sm_clock_mhz, memory_clock_mhz, bus_width_bits and power_w, as far as NVML tells.
        date: when it was read (ISO).

    Raises:
        InvalidInputError: a generation that the database has no GPU of, or NVML that tells no clocks.
    """
    kin = _kin(facts)
    missing = [name for name in ("sm_clock_mhz", "memory_clock_mhz", "bus_width_bits") if name not in nvml]
    if missing:
        raise InvalidInputError(f"NVML does not tell {', '.join(missing)} (pip install nvidia-ml-py); write {gpu}.yaml")
    clock, per_sm = nvml["sm_clock_mhz"], kin.flops_per_clock_per_sm
    peaks = {d.value: round(rate * facts.multi_processor_count * clock / 1e6, 1) for d, rate in per_sm.items()}
    taken = kin.model_dump(mode="json", include={*_FROM_KIN})
    return {
        "id": gpu,
        "name": facts.name,
        "vendor": "nvidia",
        "aliases": [facts.name],
        "compute_capability": f"{facts.major}.{facts.minor}",
        "form_factor": "unknown",
        "num_sms": facts.multi_processor_count,
        "boost_clock_mhz": clock,
        "peak_tflops": peaks,
        "memory": _memory(kin, facts, nvml),
        "l2_cache_mib": round(facts.L2_cache_size / 2**20, 1),
        "tdp_w": nvml.get("power_w", kin.tdp_w),
        **taken,
        "sources": [
            {
                "title": f"torch.cuda.get_device_properties and NVML on the device, {date}",
                "url": "https://docs.nvidia.com/deploy/nvml-api/index.html",
                "fields": [*_READ],
            },
            {"title": f"as {kin.name}, of the same architecture", "url": kin.sources[0].url, "fields": [*_FROM_KIN]},
        ],
        "notes": f"Read off the device, rates per clock and memory type as {kin.id}; check against the datasheet.",
    }


def _memory(kin: GpuSpec, facts: Facts, nvml: Mapping[str, float]) -> dict[str, object]:
    data_rate_gbps = nvml["memory_clock_mhz"] * DOUBLE_DATA_RATE / 1e3
    bandwidth = nvml["memory_clock_mhz"] * 1e6 * DOUBLE_DATA_RATE * nvml["bus_width_bits"] / 8 / 1e9
    return {
        "type": kin.memory.type,
        "size_gib": round(facts.total_memory / 2**30, 1),
        "bus_width_bits": int(nvml["bus_width_bits"]),
        "data_rate_gbps": data_rate_gbps,
        "bandwidth_gb_s": round(bandwidth, 1),
    }


_FROM_KIN = (
    *("architecture", "released", "tensor_cores_per_sm", "flops_per_clock_per_sm", "shared_memory_per_sm_kib"),
    *("registers_per_sm", "max_threads_per_sm", "max_blocks_per_sm"),
)
_READ = (*("compute_capability", "num_sms", "boost_clock_mhz", "peak_tflops", "memory", "l2_cache_mib", "tdp_w"),)


def _kin(facts: Facts) -> GpuSpec:
    """The GPU of the device's architecture, and of its market (GeForce or not), that is nearest in size."""
    generations = {number: record.id for record in architecture_records() for number in record.compute_capabilities}
    architecture = generations.get(f"{facts.major}.{facts.minor}")
    kin = [spec for spec in list_gpus() if spec.architecture == architecture]
    consumer = "geforce" in facts.name.lower()
    kin.sort(key=lambda s: (("geforce" in s.name.lower()) != consumer, abs(s.num_sms - facts.multi_processor_count)))
    if not kin:
        capabilities = ", ".join(sorted(generations, key=lambda number: [int(part) for part in number.split(".")]))
        raise InvalidInputError(
            f"{facts.name}: compute capability {facts.major}.{facts.minor} is of no generation known ({capabilities}); "
            "write its profile by hand (docs/hardware.md)"
        )
    return kin[0]


def _nvml_facts(index: int) -> dict[str, float]:
    """What NVML tells of a device; empty without nvidia-ml-py."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except Exception:
        return {}
    readers: dict[str, Callable[[], float]] = {
        "sm_clock_mhz": lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
        "memory_clock_mhz": lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_MEM),
        "bus_width_bits": lambda: pynvml.nvmlDeviceGetMemoryBusWidth(handle),
        "power_w": lambda: pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1e3,
    }
    facts = {}
    for name, read in readers.items():
        try:
            facts[name] = float(read())
        except pynvml.NVMLError:
            continue
    return facts


def _write(path: Path, profile: Mapping[str, object]) -> None:
    import yaml

    GpuSpec.model_validate(profile)
    path.write_text(yaml.safe_dump(profile, sort_keys=False, width=120), encoding="utf-8")
