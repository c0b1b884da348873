"""Which kernel family serves a shape on a GPU: the one table that estimating, validating and fitting share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archsearch.cost.gemm import GemmModel
from archsearch.cost.kernel import KernelModel
from archsearch.cost.memory import KINDS, SPECIAL_FUNCTION, MemoryModel, default_tensors, memory_class
from archsearch.cost.tiles import uses_matrix_units
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec

_GEMM = GemmModel()
_GEMM_QUANTIZED = GemmModel(quantized=True)
_MEMORY = {name: MemoryModel(name) for name in KINDS}


@dataclass(frozen=True, slots=True)
class Route:
    """A kernel family (its calibration key and its model) with the shapes that it serves.

    ``dims`` are 1-d float arrays of one length, or 0-d.
    """

    kernel: str
    model: KernelModel
    gpu: GpuSpec
    dtype: DType
    dims: Mapping[str, Any]


def gemm_route(gpu: GpuSpec, dtype: DType, dims: Mapping[str, Any], *, weights: bool) -> Route:
    """Matrix products; ``weights`` tells ``linear`` from ``bmm``.

    Raises:
        UnsupportedError: the GPU has no units for this format.
    """
    if not gpu.supports(dtype):
        raise UnsupportedError(gpu.why_unsupported(dtype))
    full = {**dims, "weights": 1.0 if weights else 0.0}
    if not uses_matrix_units(gpu, dtype):
        return Route(f"gemm/fp32-{'linear' if weights else 'bmm'}", _GEMM, gpu, dtype, full)
    if dtype in (DType.FP16, DType.BF16):
        return Route("gemm/16bit", _GEMM, gpu, dtype, full)
    if dtype is DType.TF32:
        return Route("gemm/tf32", _GEMM, gpu, dtype, full)
    return Route(f"gemm/{dtype.value}", _GEMM_QUANTIZED, gpu, dtype, full)


def memory_route(gpu: GpuSpec, dtype: DType, kind: str, dims: Mapping[str, Any]) -> Route:
    """Bandwidth-bound kernels over [rows, cols] tensors; formats differ by their itemsize alone.

    Where ``dims`` says nothing of reads and writes it is a measured row: the operation's own tensors are filled in
    and the call counts as timed on its own (``alone``), as published tables time it. An operation of a model says
    both and queues behind others.

    Raises:
        UnsupportedError: no known kernel computes this kind.
    """
    structure = memory_class(kind)
    reads, writes = default_tensors(kind)
    full = {"reads": reads, "writes": writes, "alone": 0.0 if "reads" in dims else 1.0, **dims}
    full["special"] = 1.0 if kind in SPECIAL_FUNCTION else 0.0
    return Route(f"memory/{structure}", _MEMORY[structure], gpu, dtype, full)
