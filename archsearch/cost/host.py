"""What launching kernels costs the host."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import NonNegativeFloat

from archsearch.cost.execution import Execution
from archsearch.hardware.source import Source
from archsearch.hardware.spec import GpuSpec
from archsearch.yaml_records import Record, parse_record

CONSTANTS_FILE = Path(__file__).with_name("host.yaml")


class LaunchRecord(Record):
    """Microseconds of the host per kernel of eager and of compiled PyTorch."""

    eager: NonNegativeFloat
    compiled: NonNegativeFloat


class HostRecord(Record):
    """What ``host.yaml`` holds."""

    launch_us: LaunchRecord
    gap_us: NonNegativeFloat
    sources: tuple[Source, ...]


@lru_cache(maxsize=1)
def host_record() -> HostRecord:
    """The host's constants."""
    return parse_record(HostRecord, CONSTANTS_FILE)


def launch_s(gpu: GpuSpec, execution: Execution) -> float:
    """Seconds of the host per kernel; a replayed CUDA graph launches all of them at once, and a CPU is its own host.
    Where no kernels are known (``Architecture.kernels``), what launches them is not either (most such devices run a
    compiled graph): nothing is counted but what the execution states."""
    if execution.cuda_graphs or gpu.vendor == "cpu":
        return 0.0
    if execution.launch_us is not None:
        return execution.launch_us * 1e-6
    if not gpu.generation.tiles_known:
        return 0.0
    launch_us = host_record().launch_us
    return (launch_us.compiled if execution.compiled else launch_us.eager) * 1e-6


def gap_s(gpu: GpuSpec, execution: Execution) -> float:
    """Seconds that a GPU waits between two kernels of a stream; a graph's kernels, and those that ``launch_us`` 0 asks
    to be back to back, follow without one."""
    if execution.cuda_graphs or execution.launch_us == 0.0 or gpu.vendor == "cpu" or not gpu.generation.tiles_known:
        return 0.0
    return host_record().gap_us * 1e-6
