"""What of an execution a GPU does not have."""

from __future__ import annotations

from archsearch.cost.execution import Execution
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware.spec import GpuSpec


def compile_reason(gpu: GpuSpec) -> str | None:
    """Why torch.compile has no backend here, None where it has, or where a device of unknown kernels has a compiler of
    its own."""
    if not gpu.generation.tiles_known:
        return None
    if gpu.vendor == "nvidia" and not gpu.generation.triton:
        return f"Triton needs compute capability 7.0, {gpu.id} has {gpu.compute_capability}"
    if gpu.vendor not in ("nvidia", "amd", "cpu"):
        return f"inductor's Triton kernels need an NVIDIA or AMD GPU, not {gpu.vendor}"
    return None


def graphs_reason(gpu: GpuSpec) -> str | None:
    """Why graphs of launches cannot be captured here, None where they can: CUDA's, and HIP's behind the same interface
    (https://rocm.docs.amd.com/projects/HIP/en/latest/how-to/hip_runtime_api/hipgraph.html). A CPU launches nothing, and
    a device of unknown kernels runs the graph that its own compiler makes."""
    captured = gpu.vendor in ("nvidia", "amd", "cpu") or not gpu.generation.tiles_known
    return None if captured else f"CUDA graphs need an NVIDIA or AMD GPU, not {gpu.vendor}"


def check_execution(gpu: GpuSpec, execution: Execution) -> None:
    """Refuse what this GPU cannot run.

    Raises:
        UnsupportedError: compilation or graphs where there are none, or a power limit where no kernels are known.
        InvalidInputError: a clock above the boost clock, or a limit above the board's power.
    """
    for wanted, reason, instead in (
        (execution.compiled, compile_reason(gpu), "eager"),
        (execution.cuda_graphs, graphs_reason(gpu), "no_cuda_graphs"),
    ):
        if wanted and reason:
            raise UnsupportedError(f"{reason}; use {{{instead}}}", field=instead)
    highest = gpu.max_clock_mhz or gpu.boost_clock_mhz
    if isinstance(execution.clock, float) and execution.clock > highest:
        text = f"{{clock}} {execution.clock:g}: {gpu.id} runs at {highest:g} MHz at most"
        raise InvalidInputError(text, field="clock")
    if execution.power_limit_w is not None and not gpu.generation.tiles_known:
        text = f"{{power_limit_w}}: no kernels of {gpu.id} are known, and so not how they slow down at a power limit"
        raise UnsupportedError(text, field="power_limit_w")
    if execution.power_limit_w is not None and execution.power_limit_w > gpu.tdp_w:
        text = f"{{power_limit_w}} {execution.power_limit_w:g}: {gpu.id} has {gpu.tdp_w:g} W at most"
        raise InvalidInputError(text, field="power_limit_w")
