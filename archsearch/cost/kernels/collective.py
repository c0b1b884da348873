"""Time of collectives within one node: rings of point-to-point links, latency per step plus payload over bandwidth.

For p GPUs and a tensor of B bytes a ring takes, as NCCL's tuner counts,

    all_reduce                   2 (p - 1) steps, each GPU sends 2 (p - 1) / p · B
    all_gather, reduce_scatter     (p - 1) steps, each GPU sends   (p - 1) / p · B
    all_to_all                     (p - 1) steps, each GPU sends   (p - 1) / p · B / p of its own B / p share

    time = base + steps · hop + sent / (bandwidth of one direction · payload share)

and the library picks the fastest of its protocols (LL, LL128, Simple), which differ in base, hop and payload share.
Constants and their sources are in ``collective.yaml``. ``payload_bytes`` is the full tensor: what every GPU holds
after an all_gather or before a reduce_scatter. For all_to_all it is the tensor of all GPUs together, so that each
holds B / p and sends (p - 1) / p of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from archsearch.cost.kernels.base import KernelCost, Provenance
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Collective, as_float

CONSTANTS_FILE = Path(__file__).with_name("collective.yaml")
KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")


@dataclass(frozen=True, slots=True)
class Link:
    """What joins the GPUs of a node. ``family`` selects latencies; bandwidths are payload of one direction in B/s."""

    name: str
    family: str
    bandwidth: float
    ll_bandwidth: float


def collective_cost(gpu: GpuSpec, op: Collective) -> KernelCost:
    """Latency of a collective over ``op.group_size`` GPUs of one node; arrays of the op's broadcast shape.

    A group of one GPU costs nothing.

    Raises:
        InvalidInputError: unknown kind, group_size below 1 or negative payload.
        UnsupportedError: the GPU's profile names neither an interconnect nor PCIe.
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
    link = link_of(gpu)
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


def link_of(gpu: GpuSpec) -> Link:
    """The link of a GPU to its peers: its interconnect, or PCIe where the profile has none.

    PCIe through the host's root complex carries both directions of a ring step over one path in the worst case:
    its payload is halved.

    Raises:
        UnsupportedError: the profile names neither, or a link that ``collective.yaml`` does not know.
    """
    constants = _constants()
    if gpu.interconnect is not None:
        name = gpu.interconnect.name.lower()
        known = [key for key in constants["link_efficiency"] if name.startswith(key)]
        if not known:
            choices = ", ".join(constants["link_efficiency"])
            raise UnsupportedError(f"{gpu.id}: no payload efficiency is known for {name!r}; known links: {choices}")
        family = "nvlink" if known[0].startswith("nvlink") else known[0]
        one_way = gpu.interconnect.bandwidth_gb_s * 1e9 / 2
        caps = constants["ll_max_gb_s"]
        ll_cap = caps.get(known[0], caps["default"]) * 1e9
        return Link(gpu.interconnect.name, family, one_way * constants["link_efficiency"][known[0]], ll_cap)
    if gpu.pcie is None:
        raise UnsupportedError(f"{gpu.id}: its profile names neither an interconnect nor PCIe; add one to cost groups")
    per_lane = constants["pcie_gb_s_per_lane"].get(gpu.pcie.generation)
    if per_lane is None:
        raise UnsupportedError(f"{gpu.id}: no payload bandwidth is known for PCIe generation {gpu.pcie.generation}")
    name = f"PCIe {gpu.pcie.generation} x{gpu.pcie.lanes}"
    return Link(name, "pcie", per_lane * gpu.pcie.lanes * 1e9 / 2, constants["ll_max_gb_s"]["default"] * 1e9)


def _fastest(link: Link, kind: str, payload: Any, size: Any) -> tuple[Any, Any, Any]:
    """(latency, transfer time, protocol) of the protocol with the least total, per shape."""
    constants = _constants()
    protocols = constants["latency_us"][link.family]
    rounds = 2.0 if kind == "all_reduce" else 1.0
    steps = rounds * (size - 1)
    share_held = 1.0 / size if kind == "all_to_all" else 1.0
    sent = rounds * (size - 1) / size * payload * share_held
    group = "all_reduce" if kind == "all_reduce" else "other"
    latency = np.stack([(p["base"] + steps * p["hop"]) * 1e-6 for p in protocols.values()])
    payload_bandwidth = {name: link.bandwidth * constants["payload_share"][name][group] for name in protocols}
    payload_bandwidth["ll"] = min(payload_bandwidth["ll"], link.ll_bandwidth)
    transfer = np.stack([sent / payload_bandwidth[name] for name in protocols])
    best = np.argmin(latency + transfer, axis=0)
    names = np.array(list(protocols))

    def pick(table: Any) -> Any:
        return np.take_along_axis(table, best[None], axis=0)[0]

    return pick(latency), pick(transfer), names[best]


def _cost(latency: Any, bound: Any, kernels: Any, details: dict[str, Any]) -> KernelCost:
    low, high = _constants()["band"]
    return KernelCost(
        latency_s=latency,
        low_s=latency * low,
        high_s=latency * high,
        provenance=Provenance.ANALYTIC,
        bound=bound,
        kernels=kernels,
        details=details,
    )


@lru_cache(maxsize=1)
def _constants() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CONSTANTS_FILE.read_text())
    return loaded
