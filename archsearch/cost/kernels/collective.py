"""Time of collectives within one node: rings of point-to-point links, latency per step plus payload over bandwidth.

For p GPUs and a tensor of B bytes a ring takes, as NCCL's tuner counts,

    all_reduce                   2 (p - 1) steps, each GPU sends 2 (p - 1) / p · B
    all_gather, reduce_scatter     (p - 1) steps, each GPU sends   (p - 1) / p · B
    all_to_all                     (p - 1) steps, each GPU sends   (p - 1) / p · B / p of its own B / p share
    send                                 1 step, one GPU sends B to one other

    time = base + steps · hop + sent / (bandwidth of one direction · payload share)

and the library picks the fastest of its protocols (LL, LL128, Simple), which differ in base, hop and payload share.
Constants and their sources are in ``collective.yaml``. ``payload_bytes`` is the full tensor: what every GPU holds
after an all_gather or before a reduce_scatter. For all_to_all it is the tensor of all GPUs together, so that each
holds B / p and sends (p - 1) / p of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from archsearch.arrays import Count, Floats, Labels, as_float
from archsearch.cost.kernels.kernel_cost import Details, KernelCost, Provenance
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware.source import Source
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Collective
from archsearch.yaml_records import Record, parse_record

CONSTANTS_FILE = Path(__file__).with_name("collective.yaml")
KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send")


class Protocol(Record):
    """Microseconds: launch and completion of one collective (``base``), and one ring step (``hop``)."""

    base: PositiveFloat
    hop: PositiveFloat


class PayloadShare(Record):
    """Share of the ring's bandwidth that a protocol carries."""

    all_reduce: PositiveFloat
    other: PositiveFloat


class CollectiveRecord(Record):
    """What ``collective.yaml`` holds; the file says what each field means."""

    latency_us: dict[str, dict[str, Protocol]]
    payload_share: dict[str, PayloadShare]
    ll_max_gb_s: dict[str, PositiveFloat]
    band: tuple[PositiveFloat, PositiveFloat]
    link_efficiency: dict[str, PositiveFloat]
    pcie_gb_s_per_lane: dict[int, PositiveFloat]
    node_gpus: PositiveInt
    pageable_share: PositiveFloat
    sources: tuple[Source, ...]


@lru_cache(maxsize=1)
def _constants() -> CollectiveRecord:
    return parse_record(CollectiveRecord, CONSTANTS_FILE)


@dataclass(frozen=True, slots=True)
class Link:
    """What joins the GPUs of a node. ``family`` selects latencies; bandwidths are payload of one direction in B/s."""

    name: str
    family: str
    bandwidth: float
    ll_bandwidth: float


def collective_cost(gpu: GpuSpec, op: Collective) -> KernelCost:
    """Latency of a collective over ``op.group_size`` GPUs of one node; arrays of the op's broadcast shape.

    A group of one GPU costs nothing. A group that a bridge does not join meets over PCIe.

    Raises:
        InvalidInputError: unknown kind, group_size below 1 or negative payload.
        UnsupportedError: the GPU's profile names neither an interconnect nor PCIe, or the group is larger than a node.
    """
    if op.kind not in KINDS:
        raise InvalidInputError(f"collective {op.name!r}: unknown kind {op.kind!r}; known: {', '.join(KINDS)}")
    payload, size = np.broadcast_arrays(as_float(op.payload_bytes), as_float(op.group_size))
    if np.any(size < 1) or np.any(payload < 0):
        raise InvalidInputError(f"collective {op.name!r}: needs group_size >= 1 and payload_bytes >= 0")
    alone = size == 1
    if alone.all():
        zero = np.zeros(payload.shape)
        return _cost(zero, np.full(payload.shape, "latency"), 0, {})
    largest = int(size.max())
    if largest > joined_gpus(gpu) and np.any((size > 1) & (size <= joined_gpus(gpu))):
        return _by_size(gpu, op, payload, size)
    link = link_of(gpu, largest)
    latency, transfer, protocol = _fastest(link, op.kind, payload, size)
    total = np.where(alone, 0.0, latency + transfer)
    bound = np.where(transfer > latency, "memory", "latency")
    shape = payload.shape
    details = {
        "link": np.full(shape, link.name),
        "link_gb_s": np.full(shape, link.bandwidth / 1e9),
        "protocol": np.where(alone, "none", protocol),
    }
    return _cost(total, bound, np.where(alone, 0, 1), details)


def _by_size(gpu: GpuSpec, op: Collective, payload: Floats, size: Floats) -> KernelCost:
    """Groups of several sizes that meet over different links, size by size."""
    sizes = [int(n) for n in np.unique(size)]
    costs = [collective_cost(gpu, replace(op, payload_bytes=payload, group_size=n)) for n in sizes]
    where = [size == n for n in sizes]
    nothing: dict[str, str | float] = {"link": "none", "link_gb_s": 0.0, "protocol": "none"}
    details = {
        name: np.select(where, [cost.details.get(name, np.full(size.shape, none)) for cost in costs], none)
        for name, none in nothing.items()
    }
    latency = np.select(where, [cost.latency_s for cost in costs])
    return _cost(
        latency, np.select(where, [cost.bound for cost in costs], "latency"), np.where(size == 1, 0, 1), details
    )


def joined_gpus(gpu: GpuSpec) -> int:
    """How many GPUs the fast link of a profile joins (``Interconnect.domain_gpus``); those of a node by PCIe alone."""
    return _constants().node_gpus if gpu.interconnect is None else gpu.interconnect.domain_gpus


def node_gpus(gpu: GpuSpec) -> int:
    """The most GPUs that a group can have here: those of one node or NVLink domain."""
    return max(joined_gpus(gpu), _constants().node_gpus)


def link_of(gpu: GpuSpec, group_size: int = 2) -> Link:
    """The link of a GPU to its peers in a group: its interconnect, or PCIe where the profile has none or a bridge does
    not reach all of the group.

    PCIe through the host's root complex carries both directions of a ring step over one path in the worst case:
    its payload is halved.

    Raises:
        UnsupportedError: the profile names neither, a link that ``collective.yaml`` does not know, or a group larger
            than a node.
    """
    if group_size > node_gpus(gpu):
        raise UnsupportedError(f"{group_size} {gpu.id} are more than one node joins ({node_gpus(gpu)}): take fewer")
    constants = _constants()
    if gpu.interconnect is not None and group_size <= joined_gpus(gpu):
        name = gpu.interconnect.name.lower()
        kind = next((key for key in constants.link_efficiency if name.startswith(key)), None)
        if kind is None:
            choices = ", ".join(constants.link_efficiency)
            raise UnsupportedError(f"{gpu.id}: no payload efficiency is known for {name!r}; known links: {choices}")
        family = "nvlink" if kind.startswith("nvlink") else kind
        one_way = gpu.interconnect.bandwidth_gb_s * 1e9 / 2
        caps = constants.ll_max_gb_s
        ll_cap = caps.get(kind, caps["default"]) * 1e9
        return Link(gpu.interconnect.name, family, one_way * constants.link_efficiency[kind], ll_cap)
    if gpu.pcie is None:
        raise UnsupportedError(f"{gpu.id}: its profile names neither an interconnect nor PCIe; add one to cost groups")
    per_lane = constants.pcie_gb_s_per_lane.get(gpu.pcie.generation)
    if per_lane is None:
        raise UnsupportedError(f"{gpu.id}: no payload bandwidth is known for PCIe generation {gpu.pcie.generation}")
    name = f"PCIe {gpu.pcie.generation} x{gpu.pcie.lanes}"
    return Link(name, "pcie", per_lane * gpu.pcie.lanes * 1e9 / 2, constants.ll_max_gb_s["default"] * 1e9)


def _fastest(link: Link, kind: str, payload: Floats, size: Floats) -> tuple[Floats, Floats, Labels]:
    """(latency, transfer time, protocol) of the protocol with the least total, per shape."""
    constants = _constants()
    protocols = constants.latency_us[link.family]
    rounds = 2.0 if kind == "all_reduce" else 1.0
    steps = rounds * (size - 1) if kind != "send" else np.ones_like(size)
    share_held = 1.0 / size if kind == "all_to_all" else 1.0
    sent = rounds * (size - 1) / size * payload * share_held if kind != "send" else payload
    latency = np.stack([(p.base + steps * p.hop) * 1e-6 for p in protocols.values()])
    shares = {name: constants.payload_share[name] for name in protocols}
    payload_bandwidth = {
        name: link.bandwidth * (share.all_reduce if kind == "all_reduce" else share.other)
        for name, share in shares.items()
    }
    payload_bandwidth["ll"] = min(payload_bandwidth["ll"], link.ll_bandwidth)
    transfer = np.stack([sent / payload_bandwidth[name] for name in protocols])
    best = np.argmin(latency + transfer, axis=0)
    names = np.array(list(protocols))

    def pick(table: Floats) -> Floats:
        chosen: Floats = np.take_along_axis(table, best[None], axis=0)[0]
        return chosen

    return pick(latency), pick(transfer), names[best]


def _cost(latency: Floats, bound: Labels, kernels: Count, details: Details) -> KernelCost:
    low, high = _constants().band
    return KernelCost(
        latency_s=latency,
        low_s=latency * low,
        high_s=latency * high,
        provenance=Provenance.ANALYTIC,
        bound=bound,
        kernels=kernels,
        details=details,
    )


def copy_bandwidth_bytes_s(gpu: GpuSpec, *, pinned: bool = False, given_gb_s: float | None = None) -> float:
    """Bytes per second of host-to-device copies.

    Raises:
        UnsupportedError: the profile names no PCIe link and no bandwidth was given.
    """
    if given_gb_s is not None:
        return given_gb_s * 1e9
    per_lane = _constants().pcie_gb_s_per_lane
    if gpu.pcie is None or gpu.pcie.generation not in per_lane:
        text = f"{gpu.id}: its profile names no PCIe link of a known generation; give {{pcie_gb_s}}"
        raise UnsupportedError(text, field="pcie_gb_s")
    share = 1.0 if pinned else _constants().pageable_share
    return per_lane[gpu.pcie.generation] * gpu.pcie.lanes * 1e9 * share
