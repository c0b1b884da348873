"""Which kernel family serves a shape on a GPU: the one table that estimating, validating and fitting share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archsearch.cost.gemm import GemmModel
from archsearch.cost.kernel import KernelModel
from archsearch.cost.tiles import uses_matrix_units
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec

_GEMM = GemmModel()
_GEMM_QUANTIZED = GemmModel(quantized=True)


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
