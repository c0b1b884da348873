"""Which of the known GPUs are asked for, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from archsearch.dtypes import DType
from archsearch.errors import UnknownNameError
from archsearch.hardware.figures import main_format
from archsearch.hardware.formats import speaks
from archsearch.hardware.spec import GpuSpec
from archsearch.ranges import require_range

ORDERS = ("id", "year", "memory", "bandwidth", "tflops", "power", "price")
"""By what GPUs are sorted: the id from a to z, figures from the largest."""


@dataclass(frozen=True, slots=True)
class Selected:
    """GPUs that are left; ``emptied_by`` is the filter that removed the last of them, None where some are left."""

    gpus: tuple[GpuSpec, ...]
    emptied_by: str | None = None


def selected(
    gpus: Sequence[GpuSpec],
    *,
    supports: Sequence[str] = (),
    min_memory_gib: float | None = None,
    architecture: str | None = None,
    vendor: str | None = None,
) -> Selected:
    """The GPUs that pass every filter, in their order.

    Args:
        supports: formats that the silicon multiplies natively, all of them.
        min_memory_gib: usable memory at least, GiB.
        architecture: an architecture's name.
        vendor: a vendor's name.

    Raises:
        UnknownNameError: a format, an architecture or a vendor that no known GPU has.
        InvalidInputError: a memory that is not positive.
    """
    left = list(gpus)
    for words, passes in _filters(gpus, supports, min_memory_gib, architecture, vendor):
        passing = [gpu for gpu in left if passes(gpu)]
        if not passing:
            more = "" if len(left) == len(gpus) else f" of the {len(left)} that the filters before leave"
            return Selected((), f"no GPU{more} {words}")
        left = passing
    return Selected(tuple(left))


Filter = tuple[str, Callable[[GpuSpec], bool]]


def _filters(
    gpus: Sequence[GpuSpec],
    supports: Sequence[str],
    min_memory_gib: float | None,
    architecture: str | None,
    vendor: str | None,
) -> list[Filter]:
    """Each filter in words and as a test."""
    filters: list[Filter] = []
    if vendor is not None:
        maker = _known("vendor", vendor, {gpu.vendor for gpu in gpus})
        filters.append((f"is of {maker}", lambda gpu: gpu.vendor == maker))
    if architecture is not None:
        silicon = _known("architecture", architecture, {gpu.architecture for gpu in gpus})
        filters.append((f"is of architecture {silicon}", lambda gpu: gpu.architecture == silicon))
    for name in supports:
        filters.append((f"multiplies {DType.parse(name).value}", partial(_multiplies, name)))
    if min_memory_gib is not None:
        require_range("min_memory_gib", min_memory_gib, 0, above=True, unit="GiB")
        least = min_memory_gib
        filters.append((f"has {least:g} GiB of usable memory", lambda gpu: gpu.memory.usable_gib >= least))
    return filters


def _multiplies(name: str, gpu: GpuSpec) -> bool:
    return gpu.supports(DType.parse(name)) and speaks(gpu, name)


def _known(kind: str, name: str, names: set[str]) -> str:
    """A name as it is known, whatever its case.

    Raises:
        UnknownNameError: it is none of these.
    """
    found = name.strip().lower()
    if found not in names:
        raise UnknownNameError(kind, name, names, field=kind)
    return found


def in_order(
    gpus: Sequence[GpuSpec], sort: str, prices: Mapping[str, float], dtype: DType | None = None
) -> list[GpuSpec]:
    """GPUs sorted (``ORDERS``); equal ones by id, those without the figure last.

    Args:
        sort: ``memory`` is what is usable, ``tflops`` the dense peak in ``dtype`` (None: in the first of bf16, fp16
            and fp32 that a GPU has), ``power`` the rated one, ``price`` USD per GPU-hour.
        prices: USD per GPU-hour by id.

    Raises:
        UnknownNameError: no such order.
    """
    if sort not in ORDERS:
        raise UnknownNameError("order", sort, ORDERS, field="sort")
    figures: dict[str, Callable[[GpuSpec], float | None]] = {
        "id": lambda gpu: 0.0,
        "year": lambda gpu: gpu.released,
        "memory": lambda gpu: gpu.memory.usable_gib,
        "bandwidth": lambda gpu: gpu.memory.bandwidth_gb_s,
        "tflops": lambda gpu: gpu.peak_tflops.get(dtype or main_format([gpu])),
        "power": lambda gpu: gpu.tdp_w,
        "price": lambda gpu: prices.get(gpu.id),
    }

    def key(gpu: GpuSpec) -> tuple[bool, float, str]:
        figure = figures[sort](gpu)
        return figure is None, -(figure or 0.0), gpu.id

    return sorted(gpus, key=key)
