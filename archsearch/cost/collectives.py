"""Collectives within one node: which kernel family serves each, and what it costs.

Layouts, training and pipelines come here through ``CostModel``, measured tables through ``collective_routes``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from archsearch.arrays import Floats, Ints, Mask
from archsearch.cost.combine import fastest, joined, reshaped
from archsearch.cost.estimate import KernelCost
from archsearch.cost.execution import AttentionChoice, Execution
from archsearch.cost.kernels.collective import Link, Traffic, joined_gpus, link_of, traffic, tuned_cost
from archsearch.cost.kernels.collective_time import ALGORITHMS, CollectiveModel
from archsearch.cost.routes import Route
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Collective

_MODELS = {name: CollectiveModel(name) for name in ALGORITHMS}
CUSTOM = "custom"
"""What tables call vLLM's all_reduce; any other name is the vendor's library."""
CUSTOM_BYTES = 8 * 2**20
"""Buffers from this size on go to the library (vLLM, distributed/device_communicators/custom_all_reduce.py:
``inp_size < max_size`` of 8192 KiB), as do groups of more than two that NVLink does not join (``fully_connected``)."""
Price = Callable[[Route], KernelCost]


def collective_cost(gpu: GpuSpec, op: Collective, price: Price, *, custom: bool = False) -> KernelCost:
    """Cost of a collective, arrays of the op's broadcast shape; a group of one GPU costs nothing.

    Args:
        price: the cost of routed shapes [S] (``CostModel.route_cost``).
        custom: whether a serving engine's own all_reduce serves what it is faster at (``served_custom``).

    Raises:
        InvalidInputError: unknown kind, group_size below 1 or negative payload.
        UnsupportedError: the GPU's profile names neither an interconnect nor PCIe, or the group is larger than a node.
    """
    whole = traffic(op)
    shape, flat = whole.gpus.shape, _rows(whole, slice(None))
    alone = flat.gpus == 1
    links = np.full(alone.shape, "none", dtype=object)
    parts = []
    for index, link in _links(gpu, flat.gpus):
        links[index] = link.name
        part = _rows(flat, index)
        if link.fabric is not None:
            parts.append((index, tuned_cost(link, op.kind, part)))
        else:
            parts.append((index, _fastest(gpu, op.kind, part, link, price, custom)))
    cost = joined(parts, alone.size)
    links[alone] = "none"
    details = {**cost.details, "link": links.astype(str)}
    return reshaped(replace(cost, kernels=np.where(alone, 0, 1).reshape(shape), details=details), shape)


def served_custom(execution: Execution) -> bool:
    """Whether a run has a serving engine's all_reduce: kernels of any library (``fastest``), under CUDA graphs, as that
    one is measured."""
    return execution.cuda_graphs and AttentionChoice(execution.attention) is AttentionChoice.FASTEST


def collective_routes(
    gpu: GpuSpec, dtype: DType, kind: str, message: Floats, gpus: Floats, kernels: ArrayLike | None = None
) -> list[tuple[Ints, Route]]:
    """Measured collectives by the kernel family that serves each row: (row indices, route) pairs.

    Args:
        message: the whole buffer of one rank, in bytes [S].
        gpus: sizes of the groups [S].
        kernels: ``custom`` for vLLM's all_reduce, any other name for the vendor's library [S].

    Raises:
        UnsupportedError: a link that nobody measured (Infinity Fabric), or see ``collective_cost``.
    """
    payload = message * gpus if kind == "all_to_all" else message
    whole = traffic(Collective(name="row", kind=kind, payload_bytes=payload, group_size=gpus.astype(np.int64)))
    custom = np.broadcast_to(np.asarray("" if kernels is None else kernels) == CUSTOM, message.shape)
    routes = []
    for index, link in _links(gpu, gpus):
        if link.fabric is not None:
            raise UnsupportedError(f"no measured collective over {link.name} is known, which joins {gpu.id}")
        for rows, route in _routes(gpu, dtype, kind, _rows(whole, index), link, custom[index]):
            routes.append((index[rows], route))
    return routes


def _fastest(gpu: GpuSpec, kind: str, sent: Traffic, link: Link, price: Price, custom: bool) -> KernelCost:
    """Rows that meet over one link: by the vendor's library, and by vLLM's all_reduce where that is faster."""
    found = []
    for named in (False, True)[: 1 + custom]:
        mask = np.full(sent.gpus.shape, named)
        parts = [(index, price(route)) for index, route in _routes(gpu, DType.BF16, kind, sent, link, mask)]
        found.append(joined(parts, sent.gpus.size))
    return fastest(found)


def _links(gpu: GpuSpec, gpus: Floats) -> list[tuple[Ints, Link]]:
    """Rows by what joins their group: the interconnect, or PCIe beyond its reach; lone GPUs among the first."""
    near = gpus <= joined_gpus(gpu)
    parts = [(np.flatnonzero(rows), int(gpus[rows].max())) for rows in (near, ~near) if rows.any()]
    return [(index, link_of(gpu, max(2, largest))) for index, largest in parts]


def _rows(sent: Traffic, index: Ints | slice) -> Traffic:
    columns = (np.ravel(getattr(sent, name))[index] for name in ("gpus", "message", "sent", "steps", "least"))
    return Traffic(*columns)


def _routes(gpu: GpuSpec, dtype: DType, kind: str, sent: Traffic, link: Link, custom: Mask) -> list[tuple[Ints, Route]]:
    """Rows that meet over one link, by kernel family."""
    meshed = (sent.gpus == 2) | (not link.shared)
    direct = custom & meshed & (sent.message < CUSTOM_BYTES) & (kind == "all_reduce")
    library = "pairs" if kind == "all_to_all" else "ring"
    routes = []
    for rows, algorithm in ((direct, "custom"), (~direct, library)):
        if rows.any():
            index = np.flatnonzero(rows)
            route = Route(
                f"collective/{algorithm}", _MODELS[algorithm], gpu, dtype, _dims(kind, _rows(sent, index), link)
            )
            routes.append((index, route))
    return routes


def _dims(kind: str, sent: Traffic, link: Link) -> dict[str, Floats]:
    own = np.zeros_like(sent.message) if kind == "send" else sent.message / sent.gpus
    whole = np.full_like(sent.message, link.bandwidth)
    return {
        "sent": sent.sent,
        "own": own,
        "steps": sent.steps,
        "gpus": sent.gpus,
        "least": sent.least,
        "link": whole,
        "rated": np.full_like(whole, link.rated),
        "shared": np.full_like(whole, float(link.shared)),
        "hosted": np.full_like(whole, float(link.hosted)),
    }
