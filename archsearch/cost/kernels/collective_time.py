"""Time of collectives within one node as they are measured: protocols over one link, latency plus bytes over bandwidth.

For p GPUs whose buffer has B bytes (the whole buffer of one rank, as nccl-tests count it)

    all_reduce                   2 (p - 1) steps, each GPU sends 2 (p - 1) / p · B
    all_gather, reduce_scatter     (p - 1) steps, each GPU sends   (p - 1) / p · B
    all_to_all                     (p - 1) steps, a send to every peer, (p - 1) / p · B together
    send                           one step, B

    quick = base_s + steps · hop_s + sent / (quick_fraction · link)
    middle = middle_s + steps · middle_hop_s + sent / (middle_fraction · link)
    bulk  = bulk_s + steps · bulk_hop_s + (sent + own_passes · B / p) / (link_fraction · link)
    time  = min(quick, middle, bulk)

``link`` is the payload bandwidth of one direction. Quick is NCCL's protocol LL (a flag with every four bytes, so that
nothing waits for a fence), middle LL128, bulk Simple; the library's tuner takes the fastest. A ring's own share of the
buffer (B / p) goes through the same copy loop on its way to the output. Sends between pairs (all_to_all) know no LL128,
and LL for at most 16 KiB to a peer (``NCCL_P2P_LL_THRESHOLD``). Where GPUs meet over PCIe a group of more than
two crosses the host's bridges, over which its ring gets ``wide_fraction`` of the bandwidth; without access to each
other's memory they copy through the host's, ``host_fraction`` of it for four GPUs and less by every further one
(``host_contention``, a power of the group's size).

vLLM's ``custom`` all_reduce reads its peers' buffers directly: in one stage (each GPU reads all of the p - 1 others) or
in two (a reduce-scatter and an all-gather without a ring's steps):

    time = min(base_s + (p - 1) · B / (link_fraction · link), bulk_s + sent / (link_fraction · link))

Sources of the counts: NCCL, src/graph/tuning.cc; vLLM, csrc/custom_all_reduce.cuh.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archsearch.arrays import Floats
from archsearch.cost.kernels.kernel_cost import Coefficient, Dims, KernelTime
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

ALGORITHMS = ("ring", "pairs", "custom")
DIMENSIONS = ("sent", "own", "steps", "gpus", "link", "shared", "hosted")
QUICK_PAIR_BYTES = 16384.0
Pair = tuple[Floats, Floats]
"""Latency and transfer, in seconds, of each shape."""
_BASE = Coefficient("base_s", "s", 1e-6, 5e-5, 6e-6, "launch and completion of the quick protocol")
_LINK = Coefficient("link_fraction", "1", 0.2, 1.25, 0.9, "payload that the link carries against its rated payload")
_QUICK = (
    _BASE,
    Coefficient("hop_s", "s", 5e-8, 1e-5, 9e-7, "one step of the quick protocol"),
    Coefficient("quick_fraction", "1", 0.01, 1.0, 0.25, "bandwidth of the quick protocol, which sends flags with data"),
)
_MIDDLE = (
    Coefficient("middle_s", "s", 1e-6, 8e-5, 1e-5, "launch and completion of the middle protocol"),
    Coefficient("middle_hop_s", "s", 5e-8, 2e-5, 1e-6, "one step of the middle protocol"),
    Coefficient("middle_fraction", "1", 0.05, 1.0, 0.5, "bandwidth of the middle protocol"),
)
_BULK = (
    Coefficient("bulk_s", "s", 2e-6, 1e-4, 2e-5, "launch, completion and fill of the bulk protocol's pipeline"),
    Coefficient("bulk_hop_s", "s", 2e-8, 2e-5, 8e-7, "one step of the bulk protocol"),
    _LINK,
)
_SHARED = (
    Coefficient("wide_fraction", "1", 0.1, 1.0, 0.7, "bandwidth left to rings across a host's bridges"),
    Coefficient("host_fraction", "1", 0.02, 1.0, 0.3, "bandwidth left to four GPUs that copy through host memory"),
    Coefficient("host_contention", "1", 0.1, 3.0, 1.0, "power of the group's size by which host memory is fought for"),
)
_OWN = Coefficient("own_passes", "1", 0.02, 3.0, 0.5, "passes of a GPU's own share of the buffer")
_CUSTOM = (
    _BASE,
    Coefficient("hop_s", "s", 1e-9, 1e-5, 1e-7, "signals to and from one more peer"),
    Coefficient("bulk_s", "s", 2e-6, 1e-4, 8e-6, "launch and both stages' signals"),
    _LINK,
)
COEFFICIENTS = {
    "ring": (*_QUICK, *_MIDDLE, *_BULK, _OWN, *_SHARED),
    "pairs": (*_QUICK, *_BULK, *_SHARED),
    "custom": _CUSTOM,
}


class CollectiveModel:
    """One algorithm: ``ring`` (all_reduce, all_gather, reduce_scatter, send), ``pairs`` (all_to_all) or ``custom``."""

    def __init__(self, algorithm: str) -> None:
        self.name = f"collective/{algorithm}"
        self.coefficients: tuple[Coefficient, ...] = COEFFICIENTS[algorithm]
        self._algorithm = algorithm

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Dims, values: Mapping[str, float]) -> KernelTime:
        """Time of every shape; 0 for a group of one GPU.

        Args:
            dims: ``sent`` and ``own`` (bytes), ``steps``, ``gpus``, ``link`` (B/s of payload, one direction), and
                0 or 1 in ``shared`` (PCIe) and ``hosted`` (PCIe through host memory).
        """
        sent, own, steps, gpus, link, shared, hosted = np.broadcast_arrays(
            *(np.asarray(dims[name], dtype=np.float64) for name in DIMENSIONS)
        )
        bandwidth = link * _share_left(gpus, shared, hosted, values)
        if self._algorithm == "custom":
            latency, transfer = _direct(sent, own, gpus, bandwidth, values)
        elif self._algorithm == "pairs":
            latency, transfer = _between_pairs(sent, own, steps, bandwidth, values)
        else:
            latency, transfer = _around_ring(sent, own, steps, bandwidth, values)
        alone = gpus <= 1
        bound = np.where((transfer > latency) & ~alone, "memory", "latency")
        total: Floats = np.where(alone, 0.0, latency + transfer)
        return KernelTime(latency_s=total, bound=bound, details={"link_gb_s": link / 1e9})


def _protocol(
    sent: Floats, steps: Floats, bandwidth: Floats, values: Mapping[str, float], base: str, hop: str, fraction: str
) -> Pair:
    return values[base] + steps * values[hop], sent / (bandwidth * values[fraction])


def _fastest(*protocols: Pair) -> Pair:
    latency, transfer = (np.stack(parts) for parts in zip(*protocols, strict=True))
    best = np.argmin(latency + transfer, axis=0)[None]
    return np.take_along_axis(latency, best, 0)[0], np.take_along_axis(transfer, best, 0)[0]


def _around_ring(sent: Floats, own: Floats, steps: Floats, bandwidth: Floats, values: Mapping[str, float]) -> Pair:
    passed = sent + values["own_passes"] * own
    return _fastest(
        _protocol(sent, steps, bandwidth, values, "base_s", "hop_s", "quick_fraction"),
        _protocol(sent, steps, bandwidth, values, "middle_s", "middle_hop_s", "middle_fraction"),
        _protocol(passed, steps, bandwidth, values, "bulk_s", "bulk_hop_s", "link_fraction"),
    )


def _between_pairs(sent: Floats, own: Floats, steps: Floats, bandwidth: Floats, values: Mapping[str, float]) -> Pair:
    quick = _protocol(sent, steps, bandwidth, values, "base_s", "hop_s", "quick_fraction")
    bulk = _protocol(sent, steps, bandwidth, values, "bulk_s", "bulk_hop_s", "link_fraction")
    small = own <= QUICK_PAIR_BYTES
    fastest = _fastest(quick, bulk)
    return np.where(small, fastest[0], bulk[0]), np.where(small, fastest[1], bulk[1])


def _direct(sent: Floats, own: Floats, gpus: Floats, bandwidth: Floats, values: Mapping[str, float]) -> Pair:
    """vLLM's all_reduce by the faster of its one stage and its two."""
    reached = bandwidth * values["link_fraction"]
    signals = values["hop_s"] * (gpus - 1)
    whole, halves = own * gpus * (gpus - 1) / reached, sent / reached
    return _fastest((values["base_s"] + signals, whole), (values["bulk_s"] + signals, halves))


def _share_left(gpus: Floats, shared: Floats, hosted: Floats, values: Mapping[str, float]) -> Floats:
    """Share of the link's bandwidth that a group of more than two has where it meets over PCIe."""
    if "wide_fraction" not in values:
        return np.ones_like(gpus)
    through_host = values["host_fraction"] * (np.maximum(gpus, 4.0) / 4.0) ** -values["host_contention"]
    left = np.where(hosted > 0, through_host, values["wide_fraction"])
    share: Floats = np.where((shared > 0) & (gpus > 2), left, 1.0)
    return share
