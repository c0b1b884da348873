"""Which kernel serves a gated delta net: the one table that estimating, validating and fitting share."""

from __future__ import annotations

import numpy as np

from archsearch.arrays import Count
from archsearch.cost.kernels.delta_net import KERNELS, DeltaNetModel, Kernel
from archsearch.cost.kernels.kernel_cost import Dims
from archsearch.cost.routes import Route, flatten, modelled
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.linear_attention import GatedDeltaNet

DTYPES = (DType.BF16, DType.FP16)
_MODELS = {kernel: DeltaNetModel(kernel) for kernel in KERNELS}
_SERVED: dict[tuple[str, bool], Kernel] = {
    ("convolution", False): "convolution",
    ("convolution", True): "convolution-update",
    ("channels-first", False): "channels-first",
    ("channels-first", True): "channels-first-update",
    ("rule", False): "chunk",
    ("rule", True): "recurrent",
}


def delta_route(gpu: GpuSpec, dtype: DType, kernel: str, *, generation: bool, dims: Dims) -> Route:
    """The kernel of a gated delta net's ``convolution`` or ``rule`` (or of a convolution over [channels, tokens],
    ``channels-first``), on [S] dimensions (``DeltaNetModel.predict``).

    Raises:
        UnsupportedError: a format that the kernels do not take, or a GPU for which Triton, in which they are written,
            generates no code.
    """
    if dtype not in DTYPES:
        raise UnsupportedError(f"the kernels of gated delta nets compute in bf16 and fp16, not {dtype.value}")
    if not gpu.supports(dtype):
        raise UnsupportedError(gpu.why_unsupported(dtype))
    if gpu.generation.tiles_known and not gpu.generation.triton:
        text = f"the kernels of gated delta nets are written in Triton, which has no code for {gpu.id}"
        raise UnsupportedError(f"{text} ({gpu.generation.name})")
    served = _SERVED[kernel, generation]
    full = {**dims, "generation": np.asarray(float(generation))}
    return modelled(Route(f"delta/{served}", _MODELS[served], gpu, dtype, full))


def delta_net_route(gpu: GpuSpec, op: GatedDeltaNet) -> tuple[Route, tuple[int, ...]]:
    """The kernel of an operation, and its dimensions' broadcast shape.

    Raises:
        UnsupportedError: see ``delta_route``.
    """
    dims: dict[str, Count] = {"batch": op.batch, "seq": op.seq}
    if op.kernel == "convolution":
        dims |= {"channels": op.channels, "conv_kernel": op.conv_kernel}
    else:
        names = ("num_k_heads", "head_k_dim", "num_v_heads", "head_v_dim", "state_itemsize")
        dims |= {name: getattr(op, name) for name in names}
        dims["sector_share"] = 1.0
    flat, shape = flatten(dims)
    return delta_route(gpu, op.dtype, op.kernel, generation=op.generation, dims=flat), shape
