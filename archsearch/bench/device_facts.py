"""What torch and NVML say of the device that is here: figures of a GPU's profile that need no datasheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

GEFORCE_BRANDS = ("NVML_BRAND_GEFORCE", "NVML_BRAND_GEFORCE_RTX")
"""``nvmlDeviceGetBrand`` of GeForce boards (nvml.h, nvmlBrandType_t)."""


class TorchProperties(Protocol):
    """What is read of ``torch.cuda.get_device_properties``."""

    name: str
    major: int
    minor: int
    multi_processor_count: int
    total_memory: int
    L2_cache_size: int


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device as it describes itself; None where nothing tells.

    ``max_clock_mhz`` is the highest clock of the SMs, ``memory_clock_mhz`` the memory's, of two transfers each;
    ``power_w`` is the default limit, ``power_limit_w`` the least and the most that can be set. ``pcie_lanes`` are those
    that this machine gives. ``geforce``: whether NVML's brand, or else the name, is GeForce.
    """

    name: str
    compute_capability: str
    num_sms: int
    usable_bytes: int
    l2_bytes: int
    max_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    bus_width_bits: int | None = None
    power_w: float | None = None
    power_limit_w: tuple[float, float] | None = None
    pcie_generation: int | None = None
    pcie_lanes: int | None = None
    geforce: bool = False


def device_facts(properties: TorchProperties, nvml: Mapping[str, float]) -> DeviceFacts:
    """The facts of a device from torch's properties and NVML's readings (see ``nvml_readings``).

    Clocks and bus are NVML's, or torch's where it has them and NVML does not (torch counts in kHz).
    """
    told = dict(nvml)
    for name, attribute, scale in _FROM_TORCH:
        value = getattr(properties, attribute, 0)
        if name not in told and value:
            told[name] = value * scale
    limits = ("power_least_w", "power_most_w")
    return DeviceFacts(
        name=properties.name,
        compute_capability=f"{properties.major}.{properties.minor}",
        num_sms=properties.multi_processor_count,
        usable_bytes=properties.total_memory,
        l2_bytes=properties.L2_cache_size,
        max_clock_mhz=told.get("max_clock_mhz"),
        memory_clock_mhz=told.get("memory_clock_mhz"),
        bus_width_bits=_whole(told.get("bus_width_bits")),
        power_w=told.get("power_w"),
        power_limit_w=(told[limits[0]], told[limits[1]]) if all(name in told for name in limits) else None,
        pcie_generation=_whole(told.get("pcie_generation")),
        pcie_lanes=_whole(told.get("pcie_lanes")),
        geforce=bool(told.get("geforce", "geforce" in properties.name.lower())),
    )


_FROM_TORCH = (
    ("max_clock_mhz", "clock_rate", 1e-3),
    ("memory_clock_mhz", "memory_clock_rate", 1e-3),
    ("bus_width_bits", "memory_bus_width", 1.0),
)
"""A fact, the attribute of ``torch.cuda.get_device_properties`` (torch 2.9 and later) and its unit in the fact's."""


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def present_device(device: str) -> DeviceFacts | None:
    """The facts of a torch device; None where torch sees no such GPU."""
    try:
        import torch

        if not device.startswith("cuda") or not torch.cuda.is_available():
            return None
    except ImportError:
        return None
    properties = torch.cuda.get_device_properties(torch.device(device))
    index = torch.device(device).index or 0
    return device_facts(properties, nvml_readings(index, str(getattr(properties, "uuid", ""))))


def nvml_readings(index: int, uuid: str = "") -> dict[str, float]:
    """What NVML tells of a device, found by torch's ``uuid`` or else by number; empty without nvidia-ml-py."""
    try:
        device = _NvmlDevice(index, uuid)
    except Exception:  # no library, no driver or no right to read: the profile says what is missing
        return {}
    readings: dict[str, float] = {}
    for name, read in device.readers().items():
        try:
            readings[name] = float(read())
        except (device.nvml.NVMLError, AttributeError, TypeError, ValueError):
            continue  # nothing of this device, or of a library that is older than the call
    return readings


class _NvmlDevice:
    """NVML's handle of one device. Its numbers are its own where CUDA_VISIBLE_DEVICES hides devices; uuids are not."""

    def __init__(self, index: int, uuid: str) -> None:
        import pynvml

        pynvml.nvmlInit()
        self.nvml: Any = pynvml
        self._handle: Any = self._found(index, uuid)

    def _found(self, index: int, uuid: str) -> object:
        if uuid:
            try:
                return self.nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
            except self.nvml.NVMLError:
                pass
        return self.nvml.nvmlDeviceGetHandleByIndex(index)

    def readers(self) -> dict[str, Callable[[], float]]:
        """NVML's calls by the fact that each tells."""
        nvml, handle = self.nvml, self._handle
        geforce = [getattr(nvml, name) for name in GEFORCE_BRANDS if hasattr(nvml, name)]
        return {
            "max_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "bus_width_bits": lambda: nvml.nvmlDeviceGetMemoryBusWidth(handle),
            "power_w": lambda: nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1e3,
            "power_least_w": lambda: nvml.nvmlDeviceGetPowerManagementLimitConstraints(handle)[0] / 1e3,
            "power_most_w": lambda: nvml.nvmlDeviceGetPowerManagementLimitConstraints(handle)[1] / 1e3,
            "pcie_generation": lambda: nvml.nvmlDeviceGetGpuMaxPcieLinkGeneration(handle),
            "pcie_lanes": lambda: nvml.nvmlDeviceGetMaxPcieLinkWidth(handle),
            "geforce": lambda: nvml.nvmlDeviceGetBrand(handle) in geforce,
        }
