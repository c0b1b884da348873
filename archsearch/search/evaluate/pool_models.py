"""Which GPUs a search covers, and what prices op lists on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from archsearch.cost.model import CostModel, Prices
from archsearch.cost.remember import PriceCache
from archsearch.errors import InvalidInputError
from archsearch.hardware import GpuPool, GpuSpec

if TYPE_CHECKING:
    from archsearch.search.space.space import SearchSpace

Hardware = str | Sequence[str] | GpuPool | GpuSpec


LatencyModel = Prices
"""What prices an op list on one GPU: ``archsearch.cost.CostModel``, or a stand-in."""


def resolve_pool(hardware: Hardware | None, space: SearchSpace | None = None) -> GpuPool:
    """A pool from names (``"t4,a10"``, ``["t4", "a10=2"]``; numbers are counts of GPUs), from records, or the space's
    own default.

    Raises:
        UnknownNameError: a name is no known GPU.
        InvalidInputError: no GPU was named and the space has no default.
    """
    if hardware is None or (isinstance(hardware, str | Sequence) and not hardware):
        if space is None or not space.record.hardware:
            raise InvalidInputError(
                "name the GPUs: {hardware} t4,a10 (see `archsearch hardware list`)", field="hardware"
            )
        hardware = space.record.hardware
    if isinstance(hardware, GpuPool):
        return hardware
    if isinstance(hardware, GpuSpec):
        return GpuPool.of([hardware])
    if isinstance(hardware, str):
        return GpuPool.parse(hardware)
    return GpuPool.parse(",".join(hardware))


def cost_models(pool: GpuPool) -> dict[str, LatencyModel]:
    """The calibrated cost model of each GPU, each distinct shape priced once."""
    return {gpu.id: CostModel(gpu, cache=PriceCache()) for gpu in pool.gpus}
