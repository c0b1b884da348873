"""Collectives within one node: what each GPU sends in how many steps, over which link; and RCCL's tuner.

For p GPUs and a buffer of B bytes

    all_reduce                   2 (p - 1) steps, each GPU sends 2 (p - 1) / p · B
    all_gather, reduce_scatter     (p - 1) steps, each GPU sends   (p - 1) / p · B
    all_to_all                     (p - 1) steps, each GPU sends   (p - 1) / p · B
    send                                 1 step, one GPU sends B to one other

B is the whole buffer of one rank, as nccl-tests count it: ``payload_bytes`` of an op is the full tensor, what every GPU
holds after an all_gather or before a reduce_scatter; for all_to_all the tensor of all GPUs together, of which each
holds B = payload / p.

Times over NVLink and PCIe are ``collective_time``'s. Over Infinity Fabric, which nobody measured, they are what RCCL's
own tuner assumes (``tuned_cost``):

    time = base + steps · hop + sent / (bandwidth of one direction · payload share)

of the fastest of its protocols (LL, LL128, Simple). Constants and their sources are in ``collective.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from archsearch.arrays import Floats, as_float
from archsearch.cost.kernels.kernel_cost import KernelCost, Provenance
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
    ll_max_gb_s: PositiveFloat
    band: tuple[PositiveFloat, PositiveFloat]
    link_efficiency: dict[str, PositiveFloat]
    pcie_gb_s_per_lane: dict[int, PositiveFloat]
    pcie_payload_share: PositiveFloat
    node_gpus: PositiveInt
    pageable_share: PositiveFloat
    sources: tuple[Source, ...]


@lru_cache(maxsize=1)
def _constants() -> CollectiveRecord:
    return parse_record(CollectiveRecord, CONSTANTS_FILE)


@dataclass(frozen=True, slots=True)
class Link:
    """What joins the GPUs of a node. ``rated`` is one direction's speed in B/s, ``bandwidth`` what of it can carry
    payload; ``shared`` says that GPUs meet over their host's PCIe, ``hosted`` that they copy through its memory there.
    """

    name: str
    rated: float
    bandwidth: float
    fabric: str | None = None
    """Its name in ``latency_us``, of a link whose times are a tuner's."""
    shared: bool = False
    hosted: bool = False


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of each collective, arrays of one shape: GPUs, the buffer of one rank, bytes that a GPU sends, steps, and the
    bytes that it has to send whatever the algorithm (a switch that reduces spares the second round)."""

    gpus: Floats
    message: Floats
    sent: Floats
    steps: Floats
    least: Floats


def traffic(op: Collective) -> Traffic:
    """What the GPUs of a collective send.

    Raises:
        InvalidInputError: unknown kind, group_size below 1 or negative payload.
    """
    if op.kind not in KINDS:
        raise InvalidInputError(f"collective {op.name!r}: unknown kind {op.kind!r}; known: {', '.join(KINDS)}")
    payload, size = np.broadcast_arrays(as_float(op.payload_bytes), as_float(op.group_size))
    if np.any(size < 1) or np.any(payload < 0):
        raise InvalidInputError(f"collective {op.name!r}: needs group_size >= 1 and payload_bytes >= 0")
    message = payload / size if op.kind == "all_to_all" else payload
    if op.kind == "send":
        sent = np.where(size > 1, message, 0.0)
        return Traffic(size, message, sent, np.minimum(size - 1, 1.0), sent)
    rounds = 2.0 if op.kind == "all_reduce" else 1.0
    sent = rounds * (size - 1) / size * message
    return Traffic(size, message, sent, rounds * (size - 1), np.minimum(sent, message))


def joined_gpus(gpu: GpuSpec) -> int:
    """How many GPUs the fast link of a profile joins (``Interconnect.domain_gpus``); those of a node by PCIe alone."""
    return _constants().node_gpus if gpu.interconnect is None else gpu.interconnect.domain_gpus


def node_gpus(gpu: GpuSpec) -> int:
    """The most GPUs that a group can have here: those of one node or NVLink domain."""
    return max(joined_gpus(gpu), _constants().node_gpus)


def link_of(gpu: GpuSpec, group_size: int = 2) -> Link:
    """The link of a GPU to its peers in a group: its interconnect, or PCIe where the profile has none or a bridge does
    not reach all of the group.

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
        one_way = gpu.interconnect.bandwidth_gb_s * 1e9 / 2
        fabric = kind if kind in constants.latency_us else None
        return Link(gpu.interconnect.name, one_way, one_way * constants.link_efficiency[kind], fabric)
    if gpu.pcie is None:
        raise UnsupportedError(f"{gpu.id}: its profile names neither an interconnect nor PCIe; add one to cost groups")
    per_lane = constants.pcie_gb_s_per_lane.get(gpu.pcie.generation)
    if per_lane is None:
        raise UnsupportedError(f"{gpu.id}: no payload bandwidth is known for PCIe generation {gpu.pcie.generation}")
    payload = per_lane * gpu.pcie.lanes * 1e9
    rated = payload / constants.pcie_payload_share
    name = f"PCIe {gpu.pcie.generation} x{gpu.pcie.lanes}"
    return Link(name, rated, payload, shared=True, hosted=gpu.pcie.peer_access is False)


def tuned_cost(link: Link, kind: str, sent: Traffic) -> KernelCost:
    """Cost by RCCL's tuner over a link of its own (``fabric``), arrays of the traffic's shape."""
    constants = _constants()
    assert link.fabric is not None
    protocols = constants.latency_us[link.fabric]
    shares = {name: constants.payload_share[name] for name in protocols}
    reduces = kind == "all_reduce"
    bandwidth = {name: link.bandwidth * (s.all_reduce if reduces else s.other) for name, s in shares.items()}
    bandwidth["ll"] = min(bandwidth["ll"], constants.ll_max_gb_s * 1e9)
    latency = np.stack([(p.base + sent.steps * p.hop) * 1e-6 for p in protocols.values()])
    transfer = np.stack([sent.sent / bandwidth[name] for name in protocols])
    best = np.argmin(latency + transfer, axis=0)
    alone = sent.gpus == 1

    def pick(table: Floats) -> Floats:
        chosen: Floats = np.take_along_axis(table, best[None], axis=0)[0]
        return np.where(alone, 0.0, chosen)

    total = pick(latency) + pick(transfer)
    low, high = constants.band
    return KernelCost(
        latency_s=total,
        low_s=total * low,
        high_s=total * high,
        provenance=Provenance.ANALYTIC,
        bound=np.where(pick(transfer) > pick(latency), "memory", "latency"),
        details={"protocol": np.where(alone, "none", np.array(list(protocols))[best])},
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
