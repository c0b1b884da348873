"""Which coefficients a kernel family has, by its name in calibration files: those of the model that serves it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from archsearch.cost.kernels.attention import AttentionModel
from archsearch.cost.kernels.attention_tiles import VARIANTS
from archsearch.cost.kernels.bandwidth import KINDS, MemoryModel
from archsearch.cost.kernels.collective_time import ALGORITHMS, CollectiveModel
from archsearch.cost.kernels.decode import VARIANTS as DECODERS
from archsearch.cost.kernels.decode import DecodeModel
from archsearch.cost.kernels.delta_net import KERNELS as DELTA_NETS
from archsearch.cost.kernels.delta_net import DeltaNetModel
from archsearch.cost.kernels.experts import ExpertsModel
from archsearch.cost.kernels.gemm import GemmModel
from archsearch.cost.kernels.kernel_cost import Coefficient, KernelModel
from archsearch.cost.kernels.roofline_time import KINDS as ROOFLINES
from archsearch.cost.kernels.roofline_time import RooflineModel
from archsearch.yaml_records import near_names

VECTOR_UNITS = tuple(f"vector-{name}" for name in ("fp16", "bf16", "tf32", "int8"))
"""Families of products in other formats than fp32 on vector units."""
BESIDE: Mapping[str, Coefficient] = {
    "throttle_fraction": Coefficient("throttle_fraction", "1", 0.0, 1.5, 0.0, "0 where a board is free of its limit"),
}
"""Wider bounds of coefficients than those of a fit, which keeps off values that it cannot leave again."""


def _models() -> Iterator[tuple[str, KernelModel]]:
    """Every kernel family and its model."""
    plain, called, quantized = GemmModel(), GemmModel(called=True), GemmModel(quantized=True)
    for name in ("gemm/16bit", "gemm/tf32", "gemm/fp8-scaled", "convolution/16bit", "convolution/tf32"):
        yield name, plain
    for name in ("fp32", *VECTOR_UNITS):
        yield f"gemm/{name}-linear", called
        yield f"gemm/{name}-bmm", called
        yield f"convolution/{name}", called
    for name in ("fp8", "fp4", "int8"):
        yield f"gemm/{name}", quantized
    for name in ("int8_weight_only", "int4_weight_only"):
        yield f"gemm/{name}", GemmModel(weight_only=True)
    for name in ("fp8", "fp4"):
        yield f"convolution/{name}", quantized
    for variant in VARIANTS:
        yield f"attention/{variant}", AttentionModel(variant)
    for variant in DECODERS:
        yield f"decode/{variant}", DecodeModel(variant)
    yield "experts/16bit", ExpertsModel()
    for kind in KINDS:
        yield f"memory/{kind}", MemoryModel(kind)
    for served in DELTA_NETS:
        yield f"delta/{served}", DeltaNetModel(served)
    for algorithm in ALGORITHMS:
        yield f"collective/{algorithm}", CollectiveModel(algorithm)
    for kind in ROOFLINES:
        yield f"roofline/{kind}", RooflineModel(kind)


FAMILIES: Mapping[str, tuple[Coefficient, ...]] = {name: model.coefficients for name, model in _models()}
"""Coefficients by kernel family."""


def unknown_family(kernel: str) -> str | None:
    """Why a name is no kernel family, with the nearest that are; None where it is one."""
    return None if kernel in FAMILIES else f"unknown kernel family{near_names(kernel, FAMILIES)}"


def coefficient_problem(kernel: str, name: str, value: float) -> str | None:
    """What is wrong with a coefficient of a known family: a name that its model has not, or a value that physics
    excludes. None where nothing is.
    """
    known = {c.name: c for c in FAMILIES[kernel]}
    if name not in known:
        return f"unknown coefficient of {kernel}{near_names(name, known)}"
    allowed = BESIDE.get(name, known[name])
    if allowed.low <= value <= known[name].high:
        return None
    unit = "" if allowed.unit == "1" else f" {allowed.unit}"
    return f"must be {allowed.low:g} to {known[name].high:g}{unit} ({known[name].meaning})"
