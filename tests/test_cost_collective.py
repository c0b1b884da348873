"""Collectives: hand-worked ring times, limits, measured tables, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.bench.measurements import route_rows
from archsearch.bench.validate import predict_frame
from archsearch.cost import CostModel
from archsearch.cost.calibration import Calibration
from archsearch.cost.estimate import KernelCost, Provenance
from archsearch.cost.execution import Execution
from archsearch.cost.kernels.collective import KINDS, link_of, traffic
from archsearch.cost.kernels.collective_time import CollectiveModel
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware.database import load_gpu
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Collective

GIB = 2**30
MEASURED = Path(__file__).resolve().parents[2] / "shared" / "measurements" / "collectives.csv"
RING = {
    **{"base_s": 5e-6, "hop_s": 1e-6, "quick_fraction": 0.25},
    **{"middle_s": 1e-5, "middle_hop_s": 1e-6, "middle_fraction": 0.5},
    **{"bulk_s": 2e-5, "bulk_hop_s": 2e-6, "link_fraction": 0.9, "own_passes": 0.5},
    **{"wide_fraction": 0.6, "host_fraction": 0.25, "host_contention": 2.0},
}
PAIRS = {name: value for name, value in RING.items() if not name.startswith(("middle", "own"))}
CUSTOM = {"base_s": 4e-6, "hop_s": 1e-7, "bulk_s": 8e-6, "link_fraction": 0.8}


def cost_on(gpu: GpuSpec, kind: str, payload: object, size: object) -> KernelCost:
    op = Collective(name="c", kind=kind, payload_bytes=payload, group_size=size)
    return CostModel(gpu).estimate([op]).breakdown[0].cost


def cost(gpu: str, kind: str, payload: object, size: object) -> KernelCost:
    return cost_on(load_gpu(gpu), kind, payload, size)


def one(algorithm: str, values: dict[str, float], **dims: float) -> float:
    """Seconds of one shape over a link of 100 GB/s."""
    full = {"own": 0.0, "steps": 1.0, "link": 100e9, "shared": 0.0, "hosted": 0.0, **dims}
    arrays = {name: np.array([value]) for name, value in full.items()}
    return float(CollectiveModel(algorithm).predict(load_gpu("h100-sxm"), DType.BF16, arrays, values).latency_s[0])


# ---------------------------------------------------------------- the mechanism, by hand


def test_a_ring_takes_the_fastest_of_three_protocols() -> None:
    # four GPUs: 6 steps; LL 5 + 6 = 11 us at 25 GB/s, LL128 16 us at 50, Simple 32 us at 90 and half a pass of B / 4
    for message, expected in (
        (1000.0, 11e-6 + 1500 / 25e9),
        (4e5, 16e-6 + 6e5 / 50e9),
        (1e9, 32e-6 + (1.5e9 + 0.125e9) / 90e9),
    ):
        found = one("ring", RING, sent=1.5 * message, own=message / 4, steps=6.0, gpus=4.0)
        assert found == pytest.approx(expected, rel=1e-12)


def test_pairs_leave_the_quick_protocol_at_16_kib_a_peer() -> None:
    # eight GPUs: 7 steps; LL 12 us at 25 GB/s up to 16 KiB to each of 7 peers, then Simple: 34 us at 90
    for own, expected in ((16384.0, 12e-6 + 7 * 16384 / 25e9), (16385.0, 34e-6 + 7 * 16385 / 90e9)):
        assert one("pairs", PAIRS, sent=7 * own, own=own, steps=7.0, gpus=8.0) == pytest.approx(expected, rel=1e-12)


def test_peers_read_directly_in_one_stage_or_two() -> None:
    # eight GPUs: one stage reads 7 B, two stages 7/4 B, both at 80 GB/s
    for message, expected in ((1024.0, 4.7e-6 + 7 * 1024 / 80e9), (1e6, 8.7e-6 + 1.75e6 / 80e9)):
        found = one("custom", CUSTOM, sent=1.75 * message, own=message / 8, gpus=8.0)
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("gpus", "hosted", "left"), [(2, 0, 1.0), (2, 1, 1.0), (4, 0, 0.6), (8, 0, 0.6), (4, 1, 0.25), (8, 1, 0.0625)]
)
def test_groups_over_a_host_share_its_bridges_or_its_memory(gpus: int, hosted: int, left: float) -> None:
    found = one("ring", RING, sent=1e10, steps=1.0, gpus=float(gpus), shared=1.0, hosted=float(hosted))
    assert found == pytest.approx(22e-6 + 1e10 / (90e9 * left), rel=1e-12)


def test_what_each_gpu_sends_is_what_a_simulated_ring_sends() -> None:
    """Chunks passed round a ring one by one: every GPU's sends counted until each holds what it should."""
    p, message = 5, 1000.0
    for kind, rounds in (("all_gather", 1), ("reduce_scatter", 1), ("all_reduce", 2)):
        sent, steps = np.zeros(p), 0
        for _ in range(rounds):
            held = [{rank} for rank in range(p)]  # chunks a rank holds (gathered, or summed over whoever it came by)
            while any(len(chunks) < p for chunks in held):
                passing = [(rank - steps % (p - 1)) % p for rank in range(p)]
                assert all(passing[rank] in held[rank] for rank in range(p))
                for rank in range(p):
                    held[(rank + 1) % p].add(passing[rank])
                    sent[rank] += message / p
                steps += 1
        counted = traffic(Collective(name="c", kind=kind, payload_bytes=message, group_size=p))
        assert float(counted.sent) == pytest.approx(sent[0])
        assert float(counted.steps) == steps
        assert len(set(sent)) == 1


# ---------------------------------------------------------------- on a GPU


def test_large_all_reduce_on_h100_by_hand() -> None:
    # NVLink 4: 18 links of 20.6 GB/s payload each way; 14 steps; 14/8 of the tensor is sent, 1/8 is a GPU's own
    v = Calibration.load().lookup(load_gpu("h100-sxm"), "collective/ring").fit.coefficients
    found = cost("h100-sxm", "all_reduce", GIB, 8)
    moved = (14 / 8 + v["own_passes"] / 8) * GIB / (370.8e9 * v["link_fraction"])
    assert float(found.latency_s) == pytest.approx(v["bulk_s"] + 14 * v["bulk_hop_s"] + moved, rel=1e-9)
    assert found.bound == "memory"
    assert found.provenance is Provenance.CALIBRATED
    assert found.low_s < found.latency_s < found.high_s


def test_all_to_all_sends_only_the_share_that_a_gpu_holds() -> None:
    # the tensor of all eight: each holds 1/8 and sends 7/8 of that
    v = Calibration.load().lookup(load_gpu("a100-sxm-80gb"), "collective/pairs").fit.coefficients
    found = cost("a100-sxm-80gb", "all_to_all", 8 * GIB, 8)
    expected = v["bulk_s"] + 7 * v["bulk_hop_s"] + 7 / 8 * GIB / (240e9 * v["link_fraction"])
    assert float(found.latency_s) == pytest.approx(expected, rel=1e-9)


def test_a_send_is_one_step_of_the_whole_payload() -> None:
    v = Calibration.load().lookup(load_gpu("a100-sxm-80gb"), "collective/ring").fit.coefficients
    found = cost("a100-sxm-80gb", "send", GIB, 2)
    expected = v["bulk_s"] + v["bulk_hop_s"] + GIB / (240e9 * v["link_fraction"])
    assert float(found.latency_s) == pytest.approx(expected, rel=1e-9)


def test_infinity_fabric_costs_what_its_tuner_assumes() -> None:
    # MI300X: 448 GB/s one way, 0.75 of it payload. Simple: 17 + 14 · 3.6 us; LL: 12 + 14 · 0.8 us at 84 GB/s
    large, small = (cost("mi300x", "all_reduce", size, 8) for size in (GIB, 1024))
    assert float(large.latency_s) == pytest.approx(17e-6 + 14 * 3.6e-6 + 14 / 8 * GIB / 336e9, rel=1e-9)
    assert float(small.latency_s) == pytest.approx(12e-6 + 14 * 0.8e-6 + 1792 / 84e9, rel=1e-9)
    assert (str(large.details["protocol"]), str(small.details["protocol"])) == ("simple", "ll")
    assert large.provenance is Provenance.ANALYTIC


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gpu", ["h100-sxm", "h100-pcie", "l40s", "mi250x"])
def test_one_gpu_costs_nothing_and_arrays_broadcast(gpu: str, kind: str) -> None:
    payload, sizes = np.array([[1e3], [1e6], [1e9]]), np.array([1, 2, 4, 8])
    table = cost(gpu, kind, payload, sizes)
    assert table.latency_s.shape == (3, 4)
    assert table.bound.shape == (3, 4)
    assert (table.latency_s[:, 0] == 0).all()
    assert (np.broadcast_to(table.kernels, (3, 4))[:, 0] == 0).all()
    single = [[float(cost(gpu, kind, p, int(s)).latency_s) for s in sizes] for p in payload[:, 0]]
    np.testing.assert_allclose(table.latency_s, single, rtol=1e-12)


@given(
    kind=st.sampled_from(KINDS),
    gpu=st.sampled_from(
        ["h100-sxm", "b200-sxm", "v100-sxm-32gb", "mi300x", "l4", "l40s", "rtx-pro-6000-server", "a40"]
    ),
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
    share = (
        1.0 if kind in ("send", "all_reduce") else (size - 1) / size
    )  # a switch that reduces spares the second round
    assert small > held * share / link_of(load_gpu(gpu), size).rated


@pytest.mark.parametrize("gpu", ["h100-sxm", "l40s", "rtx-pro-6000-server"])
@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "reduce_scatter"])
def test_a_longer_ring_of_the_same_buffers_never_takes_less(gpu: str, kind: str) -> None:
    sizes, message = np.array([2, 3, 4, 6, 8]), np.array([[256.0], [1e5], [1e7], [1e9]])
    assert (np.diff(cost(gpu, kind, message, sizes).latency_s, axis=1) >= 0).all()


def test_serving_engines_reduce_small_buffers_themselves() -> None:
    """One token of 8192 channels over eight H100s: 5 us by vLLM's kernel (its table), 16 by NCCL; never slower."""
    served = Execution(attention="fastest", cuda_graphs=True, launch_us=0.0)
    payload = np.array([16384.0, 2.0**22, 2.0**23, 2.0**27])
    op = Collective(name="c", kind="all_reduce", payload_bytes=payload, group_size=8)
    for gpu in ("h100-sxm", "l40s", "mi300x"):
        model = CostModel(load_gpu(gpu))
        own, library = (model.estimate([op], run).breakdown[0].cost.latency_s for run in (served, Execution()))
        assert (own <= library).all()
        assert (own[2:] == library[2:]).all()
        if gpu == "h100-sxm":
            assert own[0] == pytest.approx(5.3e-6, rel=0.1)
            assert library[0] == pytest.approx(19e-6, rel=0.2)
            assert own[1] < library[1]
        else:
            assert (own == library).all()
    gather = Collective(name="g", kind="all_gather", payload_bytes=payload, group_size=8)
    model = CostModel(load_gpu("h100-sxm"))
    same = [model.estimate([gather], run).breakdown[0].cost.latency_s for run in (served, Execution())]
    np.testing.assert_array_equal(*same)


def test_what_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="unknown kind 'gossip'"):
        cost("h100-sxm", "gossip", 1, 2)
    with pytest.raises(InvalidInputError, match="group_size"):
        cost("h100-sxm", "all_reduce", 1, 0)
    bare = load_gpu("l4").model_copy(update={"pcie": None, "interconnect": None})
    with pytest.raises(UnsupportedError, match="neither an interconnect nor PCIe"):
        cost_on(bare, "all_reduce", 1.0, 2)
    assert float(cost_on(bare, "all_reduce", 1.0, 1).latency_s) == 0


def test_a_bridge_joins_two_and_a_node_eight() -> None:
    pair, four = (cost("h100-pcie", "all_reduce", GIB, n) for n in (2, 4))
    assert str(pair.details["link"]) == "NVLink 4 bridge"
    assert str(four.details["link"]) == "PCIe 5 x16"
    both = cost("h100-pcie", "all_reduce", GIB, np.array([1, 2, 4]))
    np.testing.assert_allclose(both.latency_s, [0.0, float(pair.latency_s), float(four.latency_s)], rtol=1e-12)
    assert list(both.details["link"]) == ["none", "NVLink 4 bridge", "PCIe 5 x16"]
    with pytest.raises(UnsupportedError, match="24 h100-sxm are more than one node joins"):
        cost("h100-sxm", "all_to_all", GIB, 24)


def test_without_peer_access_groups_meet_in_host_memory() -> None:
    gpu = load_gpu("l40s")
    assert gpu.pcie is not None
    peers = gpu.model_copy(update={"pcie": gpu.pcie.model_copy(update={"peer_access": True})})
    for size, slower in ((2, 1.0), (4, 2.0), (8, 4.0)):
        hosted, direct = (float(cost_on(g, "all_gather", GIB, size).latency_s) for g in (gpu, peers))
        assert hosted >= slower * direct * (1 - 1e-12)


# ---------------------------------------------------------------- measured tables


def test_a_table_is_taken_as_it_is() -> None:
    rows = {"gpu": "h100-sxm", "dtype": "fp16", "kernel": "nccl", "gpus": 8, "message_bytes": 2**20}
    frame = pd.DataFrame([{**rows, "op": op} for op in KINDS if op != "send"])
    found = predict_frame(frame)
    assert (found["provenance"] == "calibrated").all()
    for op, predicted in zip(frame["op"], found["predicted_us"], strict=True):
        payload = 2**20 * (8 if op == "all_to_all" else 1)  # nccl-tests count one rank's buffer
        assert predicted == pytest.approx(1e6 * float(cost("h100-sxm", op, payload, 8).latency_s), rel=1e-12)
    ring = 7 / 8 * 2**20 / 450e9 * 1e6
    assert found.set_index("op").loc["all_gather", "roofline_us"] == pytest.approx(ring)


def test_custom_all_reduce_serves_small_buffers_of_joined_gpus() -> None:
    def families(gpu: str, gpus: int, message: int, op: str = "all_reduce", kernel: str = "custom") -> str:
        row = {"gpu": gpu, "op": op, "dtype": "bf16", "kernel": kernel, "gpus": gpus, "message_bytes": message}
        (routed,) = route_rows(pd.DataFrame([row]))
        return routed.route.kernel

    assert families("h100-sxm", 8, 2**23 - 2) == "collective/custom"
    assert families("h100-sxm", 8, 2**23) == "collective/ring"
    assert families("rtx-pro-6000-server", 2, 4096) == "collective/custom"
    assert families("rtx-pro-6000-server", 4, 4096) == "collective/ring"
    assert families("h100-sxm", 8, 4096, "all_to_all", "nccl") == "collective/pairs"


def test_a_fabric_that_nobody_measured_is_no_family() -> None:
    row = {"gpu": "mi300x", "op": "all_reduce", "dtype": "bf16", "gpus": 8, "message_bytes": 1024}
    with pytest.raises(UnsupportedError, match="no measured collective"):
        list(route_rows(pd.DataFrame([row])))


@pytest.fixture(scope="module")
def unseen() -> pd.DataFrame:
    """Rows that no fit saw, with their predictions and errors."""
    if not MEASURED.is_file():
        pytest.skip("the measurements are not part of the project")
    frame = pd.read_csv(MEASURED)
    frame = predict_frame(frame[frame["split"] == "test"])
    return frame.assign(error=(frame["predicted_us"] / frame["latency_us"] - 1).abs() * 100)


def test_errors_on_rows_that_no_fit_saw(unseen: pd.DataFrame) -> None:
    large = unseen["message_bytes"] > 65536
    assert unseen[large]["error"].mean() < 12
    assert unseen[~large]["error"].mean() < 20
    assert unseen[large].groupby("gpu")["error"].mean().max() < 16
    inside = unseen["latency_us"].between(unseen["low_us"], unseen["high_us"])
    assert 0.75 < inside.mean() < 0.95
