"""Collectives: hand-worked ring times, limits, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.cost.estimate import Provenance
from archsearch.cost.kernels.collective import KINDS, collective_cost, link_of
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware.database import load_gpu
from archsearch.ops import Collective

GIB = 2**30


def cost(gpu: str, kind: str, payload: object, size: object) -> object:
    return collective_cost(load_gpu(gpu), Collective(name="c", kind=kind, payload_bytes=payload, group_size=size))


def test_large_all_reduce_on_a100_by_hand() -> None:
    # NVLink 3: 12 links of 20 GB/s payload each way; Simple: 8.4 us + 14 steps of 3.4 us; 14/8 of the tensor is sent.
    found = cost("a100-sxm-80gb", "all_reduce", GIB, 8)
    assert float(found.latency_s) == pytest.approx(8.4e-6 + 14 * 3.4e-6 + 14 / 8 * GIB / 240e9, rel=1e-9)
    assert found.details["protocol"] == "simple"
    assert found.bound == "memory"
    assert found.provenance is Provenance.ANALYTIC
    assert found.low_s < found.latency_s < found.high_s


def test_small_all_reduce_on_h100_takes_the_low_latency_protocol() -> None:
    # LL: 6.6 us + 6 steps of 0.6 us for four GPUs; 1.5 KiB at min(87.7, 370.8 / 4) GB/s.
    found = cost("h100-sxm", "all_reduce", 1024, 4)
    assert float(found.latency_s) == pytest.approx(6.6e-6 + 6 * 0.6e-6 + 1536 / 87.7e9, rel=1e-9)
    assert found.details["protocol"] == "ll"
    assert found.bound == "latency"


def test_all_gather_over_pcie_by_hand_and_says_so() -> None:
    # PCIe 4 x16 carries 24 GB/s of payload, half of it per direction of a ring through the host.
    found = cost("l40s", "all_gather", GIB, 2)
    assert float(found.latency_s) == pytest.approx(8.4e-6 + 5.7e-6 + 0.5 * GIB / 12e9, rel=1e-9)
    assert found.details["link"] == "PCIe 4 x16"
    assert found.details["link_gb_s"] == pytest.approx(12.0)


def test_all_to_all_sends_only_the_share_that_a_gpu_holds() -> None:
    found = cost("a100-sxm-80gb", "all_to_all", GIB, 8)
    assert float(found.latency_s) == pytest.approx(8.4e-6 + 7 * 3.4e-6 + 7 / 8 * GIB / 8 / 240e9, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_one_gpu_costs_nothing_and_arrays_broadcast(kind: str) -> None:
    payload, sizes = np.array([[1e3], [1e6], [1e9]]), np.array([1, 2, 4, 8])
    table = cost("h100-sxm", kind, payload, sizes)
    assert table.latency_s.shape == (3, 4)
    assert table.bound.shape == (3, 4)
    assert (table.latency_s[:, 0] == 0).all()
    assert (table.kernels[:, 0] == 0).all()
    single = [[float(cost("h100-sxm", kind, p, int(s)).latency_s) for s in sizes] for p in payload[:, 0]]
    np.testing.assert_allclose(table.latency_s, single, rtol=1e-12)


@given(
    kind=st.sampled_from(KINDS),
    gpu=st.sampled_from(["h100-sxm", "v100-sxm-32gb", "mi300x", "l4", "a40"]),
    payload=st.floats(1, 1e11),
    factor=st.floats(1, 100),
    size=st.integers(2, 8),
)
def test_more_bytes_never_take_less_and_links_are_never_outrun(
    kind: str, gpu: str, payload: float, factor: float, size: int
) -> None:
    small, large = (float(cost(gpu, kind, p, size).latency_s) for p in (payload, payload * factor))
    assert large >= small * (1 - 1e-12)
    held = payload / size if kind == "all_to_all" else payload
    sent = payload if kind == "send" else held * (size - 1) / size * (2 if kind == "all_reduce" else 1)
    assert small > sent / link_of(load_gpu(gpu), size).bandwidth


def test_all_reduce_is_a_reduce_scatter_and_an_all_gather_less_one_launch() -> None:
    whole = float(cost("h100-sxm", "all_reduce", GIB, 8).latency_s)
    halves = sum(float(cost("h100-sxm", kind, GIB, 8).latency_s) for kind in ("reduce_scatter", "all_gather"))
    assert halves - whole == pytest.approx(8.4e-6, rel=1e-6)


def test_what_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="unknown kind 'gossip'"):
        cost("h100-sxm", "gossip", 1, 2)
    with pytest.raises(InvalidInputError, match="group_size"):
        cost("h100-sxm", "all_reduce", 1, 0)
    bare = load_gpu("l4").model_copy(update={"pcie": None, "interconnect": None})
    with pytest.raises(UnsupportedError, match="neither an interconnect nor PCIe"):
        collective_cost(bare, Collective(name="c", kind="all_reduce", payload_bytes=1.0, group_size=2))


def test_a_bridge_joins_two_and_a_node_eight() -> None:
    pair, four = (cost("h100-pcie", "all_reduce", GIB, n) for n in (2, 4))
    assert pair.details["link"] == "NVLink 4 bridge"
    assert four.details["link"] == "PCIe 5 x16"
    # PCIe 5 x16 carries 48 GB/s, half of it per direction of a ring: 6/4 of the tensor in 6 steps
    assert float(four.latency_s) == pytest.approx(8.4e-6 + 6 * 5.7e-6 + 6 / 4 * GIB / 24e9, rel=1e-9)
    both = cost("h100-pcie", "all_reduce", GIB, np.array([1, 2, 4]))
    np.testing.assert_allclose(both.latency_s, [0.0, float(pair.latency_s), float(four.latency_s)], rtol=1e-12)
    assert list(both.details["link"]) == ["none", "NVLink 4 bridge", "PCIe 5 x16"]
    with pytest.raises(UnsupportedError, match="24 h100-sxm are more than one node joins"):
        cost("h100-sxm", "all_to_all", GIB, 24)


def test_a_send_is_one_step_of_the_whole_payload() -> None:
    found = cost("a100-sxm-80gb", "send", GIB, 2)
    assert float(found.latency_s) == pytest.approx(8.4e-6 + 3.4e-6 + GIB / 240e9, rel=1e-9)
