"""What is being measured: the device, its driver and libraries, and the state that its clocks are in."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from archsearch.bench.micro.cases import Device

if TYPE_CHECKING:
    import torch

THROTTLE_BITS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
}
"""Reasons of ``nvmlDeviceGetCurrentClocksEventReasons`` that slow a busy GPU (nvml.h)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Columns that every row carries. ``gpu`` is the device's name, or the id that the caller gave."""

    gpu: str
    device: str
    driver: str
    torch: str
    triton: str
    cuda: str

    def columns(self) -> dict[str, str]:
        return asdict(self)


def identify(device: torch.device, gpu: str | None = None) -> Identity:
    """Who this device is. ``gpu`` overrides the id that rows carry."""
    import torch

    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        runtime = torch.version.cuda or f"hip {torch.version.hip}"
        return Identity(gpu or name, name, _driver(), torch.__version__, _triton(), runtime)
    return Identity(gpu or "cpu", processor(), platform.release(), torch.__version__, _triton(), "")


def processor() -> str:
    """The CPU's model name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def probe(device: torch.device, dtypes: tuple[str, ...] | None = None) -> Device:
    """What the suite's shapes depend on.

    Raises:
        ValueError: a format that is unknown, or that this device has no units for.
    """
    import torch

    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        free, _ = torch.cuda.mem_get_info(device)
        capability = (facts.major, facts.minor)
        offered = ["bf16" if capability >= (8, 0) else "fp16", "fp16", "tf32", "fp32"]
        if capability >= (8, 9) and hasattr(torch, "_scaled_mm"):
            offered.insert(1, "fp8_e4m3")
        if capability < (8, 0):
            offered.remove("tf32")
        num_sms, compilers = facts.multi_processor_count, _triton() != ""
    else:
        offered, free, num_sms, compilers = ["fp32", "bf16"], _host_memory(), os.cpu_count() or 1, False
    able = list(dict.fromkeys(offered))
    chosen = tuple(dtypes or (able[:3] if device.type == "cuda" else able[:1]))
    missing = [d for d in chosen if d not in able]
    if missing:
        raise ValueError(f"this device has no {', '.join(missing)}; it has: {', '.join(able)}")
    flash_attn = device.type == "cuda" and find_spec("flash_attn") is not None
    return Device(num_sms, int(free), chosen, device.type, compilers, flash_attn)


def free_bytes(device: torch.device) -> float:
    """Memory that tensors can still take, what torch keeps for reuse included."""
    import torch

    if device.type != "cuda":
        return float(_host_memory())
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return float(torch.cuda.mem_get_info(device)[0] + idle)


def release(device: torch.device) -> None:
    """Give back what dead tensors hold."""
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def cache_bytes(device: torch.device) -> float:
    """Bytes that the last-level cache holds between two calls (a generous guess where torch does not tell)."""
    import torch

    if device.type == "cuda":
        return float(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 64 << 20))
    return 32e6


def _host_memory() -> int:
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES"))


def _triton() -> str:
    try:
        import triton
    except ImportError:
        return ""
    return str(triton.__version__)


def _driver() -> str:
    return _smi("driver_version") or "unknown"


def _smi(fields: str) -> str:
    """One line of nvidia-smi about the first GPU, or nothing where it cannot tell."""
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


@dataclass(frozen=True, slots=True)
class State:
    """Clock, temperature and what slows a GPU at one moment; None where nothing tells."""

    sm_clock_mhz: float | None = None
    temperature_c: float | None = None
    throttled: str = ""


class Monitor:
    """Reads a GPU's state by NVML (nvidia-ml-py) if that is installed; a CPU's is unknown."""

    def __init__(self, device: torch.device) -> None:
        self._handle: Any = None
        self._nvml: Any = None
        if device.type != "cuda":
            return
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(device.index or 0)
            self._nvml = pynvml
        except Exception:  # no library or no right to read: rows then say nothing of clocks
            self._nvml = None

    def state(self) -> State:
        """The state now, microseconds after the work."""
        if self._nvml is None:
            return State()
        nvml, handle = self._nvml, self._handle
        try:
            clock = float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
            heat = float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
            reasons = int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        except nvml.NVMLError:
            return State()
        return State(clock, heat, "; ".join(text for bit, text in THROTTLE_BITS.items() if reasons & bit))
