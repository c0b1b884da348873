"""Profiles that a program writes: what is read off a device, what is inferred of it, and when its peaks may be used."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archsearch.bench import device_profile
from archsearch.bench.device_facts import DeviceFacts, device_facts, nvml_readings
from archsearch.bench.device_profile import profile_of, write_profile
from archsearch.bench.peak_check import HYPOTHESES, ProductFacts, Silicon, TimedProduct, on_device, product_facts
from archsearch.bench.skeleton import nearest_kin, skeleton
from archsearch.cli.main import run
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware import list_gpus, load_gpu
from archsearch.hardware.architecture import architecture_records
from archsearch.hardware.folders import user_profiles
from archsearch.hardware.spec import GpuSpec

L4 = DeviceFacts(
    name="NVIDIA L4",
    compute_capability="8.9",
    num_sms=58,
    usable_bytes=22478 * 2**20,
    l2_bytes=48 * 2**20,
    max_clock_mhz=2040,
    memory_clock_mhz=6251,  # twice over 192 bits: the datasheet's 300 GB/s
    bus_width_bits=192,
    power_w=72,
    power_limit_w=(40, 72),
    pcie_generation=4,
    pcie_lanes=16,
)
H20 = DeviceFacts(
    name="NVIDIA H20-X",
    compute_capability="9.0",
    num_sms=78,
    usable_bytes=97247 * 2**20,
    l2_bytes=60 * 2**20,
    max_clock_mhz=1980,
    memory_clock_mhz=2619,
    bus_width_bits=6144,
    power_w=500,
)
"""NVIDIA's H20: 148 TFLOPS in bf16 and 296 in fp8, 44 in fp32, 4.0 TB/s, 96 GB."""
RTX_5070 = DeviceFacts(
    name="NVIDIA GeForce RTX 5070-X",
    compute_capability="12.0",
    num_sms=48,
    usable_bytes=12227 * 2**20,
    l2_bytes=48 * 2**20,
    max_clock_mhz=3090,
    memory_clock_mhz=14001,
    bus_width_bits=192,
    power_w=250,
    geforce=True,
)
"""NVIDIA's RTX 5070: 61.7 TFLOPS in bf16 with fp32 accumulation at its boost clock of 2512 MHz, 672 GB/s, 12 GB."""


def fake(tflops: dict[str, float], clock_mhz: float | None = None):
    """Products as if timed."""
    return lambda dtype: TimedProduct(tflops[dtype.value], clock_mhz) if dtype.value in tflops else None


def read(tmp_path, facts: DeviceFacts, products=None):
    """The profile of a device as the loader reads it."""
    return write_profile(tmp_path / "new.yaml", skeleton("new", facts, "2026-01-01", products)).spec


def test_a_profile_read_off_a_device_is_that_of_the_datasheet(tmp_path):
    spec, known = read(tmp_path, L4), load_gpu("l4")
    assert spec.memory.bandwidth_gb_s == pytest.approx(known.memory.bandwidth_gb_s, rel=0.01)
    assert spec.memory.size_gib == 24
    assert spec.memory.usable_gib == pytest.approx(22478 / 1024, abs=1e-3)
    assert (spec.max_clock_mhz, spec.power_limit_w) == (2040, (40, 72))
    assert (spec.pcie.generation, spec.pcie.lanes) == (4, 16)
    for field in ("num_sms", "l2_cache_mib", "architecture", "registers_per_sm", "tensor_cores_per_sm", "tdp_w"):
        assert getattr(spec, field) == getattr(known, field)


def test_what_was_read_has_a_source_and_what_was_not_says_how_it_was_inferred(tmp_path):
    spec = read(tmp_path, L4)
    sourced = {path for path in spec.figure_paths() if spec.sources_of(path) and path not in spec.inherited}
    assert {"num_sms", "max_clock_mhz", "tdp_w", "memory.usable_gib", "memory.bandwidth_gb_s"} <= sourced
    assert "2026-01-01" in spec.sources[0].title
    assert {"boost_clock_mhz", "memory.type", "memory.size_gib", "released", "peak_tflops.bf16"} <= set(spec.inferred)
    assert not sourced & set(spec.inferred)
    assert spec.inherited["registers_per_sm"] == "ada"  # left to the architecture, copied from no relative


def test_an_unchecked_peak_is_refused_with_the_command_that_accepts_it(tmp_path):
    spec = read(tmp_path, H20)
    assert set(spec.unchecked) == set(spec.peak_tflops)
    with pytest.raises(UnsupportedError, match="archsearch bench calibrate --gpu new --accept-inferred"):
        spec.peak_flops(DType.BF16)


def test_a_capped_product_is_found_by_its_products(tmp_path):
    measured = {"bf16": 139, "fp16": 140, "fp8": 279, "int8": 275, "tf32": 70, "fp32": 34}
    spec = read(tmp_path, H20, fake(measured, 1905))
    assert spec.tensor_rate_cap == 0.25
    assert spec.peak_flops(DType.BF16) == pytest.approx(148e12, rel=0.09)
    assert spec.peak_flops(DType.FP8) == pytest.approx(296e12, rel=0.09)
    assert spec.peak_flops(DType.FP32) == pytest.approx(78 * 256 * 1980e6, rel=0.09)  # NVIDIA rates it at the highest
    assert spec.unchecked == ()
    assert "139 TFLOP/s" in spec.inferred["tensor_rate_cap"]
    assert "2026-01-01" in spec.inferred["peak_tflops.fp8"]


def test_a_geforce_takes_half_accumulation_from_its_kin_and_its_products_confirm_it(tmp_path):
    measured = {"bf16": 60, "fp16": 61, "fp8": 120, "int8": 170, "tf32": 30, "fp32": 25}
    spec = read(tmp_path, RTX_5070, fake(measured, 2700))
    assert (spec.fp32_accumulation, spec.tensor_rate_cap) == ("half", 1)
    assert 0.95 < spec.peak_tflops[DType.BF16] / 61.7 < 1.05
    assert spec.unchecked == ((DType.FP4,) if DType.FP4 in spec.peak_tflops else ())
    assert spec.memory.bandwidth_gb_s == pytest.approx(672, rel=0.01)
    assert spec.memory.size_gib == 12


def test_kin_is_the_most_alike_and_not_whoever_shares_a_word():
    blackwell = [spec for spec in list_gpus() if spec.architecture == "blackwell-rtx"]
    assert nearest_kin(RTX_5070, blackwell)[0].fp32_accumulation == "half"
    board = load_gpu("rtx-pro-6000-workstation")
    alike = replace(
        *(RTX_5070,),
        **{"num_sms": board.num_sms, "usable_bytes": (95 * 2**30), "bus_width_bits": 512, "power_w": 600},
        geforce=True,
    )
    assert nearest_kin(alike, blackwell)[0].fp32_accumulation == "full"


def test_products_off_the_scale_confirm_nothing(tmp_path):
    spec = read(tmp_path, H20, fake({"bf16": 20.0, "fp32": 300.0}))
    assert DType.BF16 in spec.unchecked  # under half of the least that is known of
    assert DType.FP32 in spec.unchecked


def test_every_compute_capability_known_makes_a_profile_that_loads(tmp_path):
    numbers = [number for record in architecture_records() for number in record.compute_capabilities]
    assert len(numbers) >= 9
    for number in numbers:
        spec = read(tmp_path, replace(L4, compute_capability=number))
        assert spec.compute_capability == number
        assert spec.num_sms == 58


def test_an_architecture_of_ones_own_is_enough_for_a_new_compute_capability(tmp_path, monkeypatch):
    future = replace(L4, compute_capability="13.7")
    with pytest.raises(
        InvalidInputError, match=r"13\.7 is of no architecture known \(.*9\.0.*\).*compute_capabilities"
    ):
        skeleton("new", future, "2026-01-01")
    (tmp_path / "architectures").mkdir()
    (tmp_path / "architectures" / "rubin.yaml").write_text(
        'id: rubin\nname: NVIDIA Rubin\nvendor: nvidia\nlike: blackwell\ncompute_capabilities: ["13.7"]\n'
        "sources: [{title: a datasheet, url: 'https://example.org/', fields: [compute_capabilities]}]\n"
    )
    monkeypatch.setenv("ARCHSEARCH_PROFILES", str(tmp_path))
    spec = read(tmp_path, future)
    assert (spec.architecture, spec.inherited["registers_per_sm"]) == ("rubin", "blackwell")
    assert spec.tensor_rate_cap == 1


def test_a_device_that_tells_no_clock_is_refused():
    with pytest.raises(InvalidInputError, match="tells max_clock_mhz, memory_clock_mhz"):
        skeleton("new", replace(L4, max_clock_mhz=None, memory_clock_mhz=None), "2026-01-01")


RATES = {DType.FP32: 256.0, DType.TF32: 512.0, DType.FP16: 1024.0, DType.BF16: 1024.0, DType.INT8: 2048.0}


@given(
    truth=st.sampled_from(HYPOTHESES),
    guess=st.sampled_from(HYPOTHESES),
    efficiency=st.floats(0.55, 1.0),
    boost=st.floats(1500, 2500),
    above=st.floats(0, 1),
)
def test_product_facts_are_found_whatever_was_guessed(truth, guess, efficiency, boost, above):
    """A made-up device of known facts, whose products reach more than half of its rates, at any clock it may take."""
    silicon = Silicon(64, RATES, boost, 1.25 * boost)
    clock = boost * (1 + 0.25 * above)
    share = {
        d: truth.tensor_rate_cap * (0.5 if truth.fp32_accumulation == "half" and d != "int8" else 1) for d in RATES
    }
    products = {
        d: TimedProduct(efficiency * 64 * rate * (1 if d == "fp32" else share[d]) * clock / 1e6, clock)
        for d, rate in RATES.items()
    }
    assert product_facts(silicon, products, guess) == truth


def test_a_board_at_its_power_limit_is_not_taken_for_a_capped_one():
    """An L4 of full rates that runs at 1000 of 2040 MHz, seen by NVML or not told."""
    silicon = Silicon(58, RATES, 2040, 2040)
    slow = TimedProduct(0.8 * 58 * 1024 * 1000 / 1e6, 1000)
    assert product_facts(silicon, {DType.BF16: slow}, ProductFacts()) == ProductFacts()
    assert product_facts(silicon, {DType.BF16: replace(slow, clock_mhz=210)}, ProductFacts()) != ProductFacts()


def test_a_product_on_a_real_device_takes_the_time_that_it_takes():
    found = on_device("cpu", size=512, budget_s=0.05)(DType.FP32)
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - begin)
    assert found.clock_mhz is None
    assert found.tflops == pytest.approx(2 * 512**3 / min(times) / 1e12, rel=0.8)


def test_a_format_without_a_kernel_is_not_timed(monkeypatch):
    monkeypatch.delattr(torch, "_scaled_mm", raising=False)
    assert on_device("cpu", size=64)(DType.FP8) is None


ACCEPTED = ("unchecked: [bf16, fp16]\n", "unchecked:\n  - bf16\n  - fp16\n", "unchecked:\n- bf16\n- fp16\n")


@pytest.mark.parametrize("lines", ACCEPTED)
@pytest.mark.parametrize("last", [True, False])
def test_accepting_takes_one_entry_out_and_leaves_every_other_line(tmp_path, monkeypatch, lines, last):
    shipped = (device_profile.profiles_dirs()[-1] / "l4.yaml").read_text().replace("id: l4", "id: lab")
    rest = shipped.replace("NVIDIA L4", "Lab 4") + ("" if shipped.endswith("\n") else "\n")
    more = "# a remark\nnotes: mine\n" if "notes:" not in rest else "# a remark\n"
    path = tmp_path / "lab.yaml"
    path.write_text(rest + lines + ("" if last else more))
    monkeypatch.setenv("ARCHSEARCH_PROFILES", str(tmp_path))
    with pytest.raises(UnsupportedError, match="unchecked"):
        load_gpu("lab").peak_flops(DType.BF16)
    assert run(["bench", "calibrate", "--gpu", "lab", "--accept-inferred"]) == 0
    assert path.read_text() == rest + ("" if last else more)
    assert load_gpu("lab").peak_flops(DType.BF16) == load_gpu("l4").peak_flops(DType.BF16)
    assert run(["bench", "calibrate", "--gpu", "lab", "--accept-inferred"]) == 2  # nothing is left to accept


@pytest.fixture
def here(monkeypatch):
    """An H20 that torch sees, without products that say what it can do."""
    monkeypatch.setattr(device_profile, "present_device", lambda device: H20)
    monkeypatch.setattr(device_profile, "on_device", lambda device: fake({}))


def test_a_new_gpu_is_written_once_its_peaks_refused_and_then_accepted(here, capsys):
    assert run(["bench", "calibrate", "--gpu", "h20-x", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["profile"] == str(user_profiles() / "h20-x.yaml")
    assert "bf16" in said["unchecked"]
    estimate = ["estimate", "bert-base", "--hardware", "h20-x"]
    assert run(estimate) == 2
    command = capsys.readouterr().err.split("`")[1].split()[1:]
    assert run(command) == 0
    assert run(estimate) == 0
    assert load_gpu("NVIDIA H20-X").id == "h20-x"
    assert run(["bench", "calibrate", "--gpu", "h20-x"]) == 2  # nothing to do


def test_accepting_at_once_leaves_nothing_unchecked(here, capsys, tmp_path):
    assert run(["bench", "calibrate", "--gpu", "h20-x", "--accept-inferred", "-o", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unchecked"] == []
    assert load_gpu("h20-x", profiles=tmp_path).peak_flops(DType.BF16) > 0


def test_a_name_that_is_no_id_and_a_second_profile_of_a_device_are_refused(here, tmp_path):
    with pytest.raises(InvalidInputError, match="lower case"):
        profile_of("H20 of mine", "cuda", tmp_path)
    user_profiles().mkdir(parents=True)
    profile_of("h20-x", "cuda", user_profiles())
    with pytest.raises(InvalidInputError, match="is the profile of this device"):
        profile_of("h20-y", "cuda", user_profiles())


@pytest.mark.parametrize(
    "arguments",
    [["--accept-inferred"], ["--gpu", "l4"], ["--gpu", "l4", "--accept-inferred"], ["--gpu", "h900"], []],
)
def test_a_call_that_would_do_nothing_is_refused(arguments, capsys):
    assert run(["bench", "calibrate", *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


class Nvml(SimpleNamespace):
    """A driver of two devices, the second an L4; what it does not tell raises NVMLError."""

    class NVMLError(Exception):
        pass

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_BRAND_GEFORCE = 1, 2, 5
    by_number = False

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if self.by_number or uuid != "GPU-feed":
            raise self.NVMLError
        return "l4"

    def nvmlDeviceGetHandleByIndex(self, index):
        return ("other", "l4")[index]

    def nvmlDeviceGetMaxClockInfo(self, handle, clock):
        return {"l4": {1: 2040, 2: 6251}, "other": {1: 1, 2: 1}}[handle][clock]

    def nvmlDeviceGetMemoryBusWidth(self, handle):
        return 192

    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle):
        return 72000

    def nvmlDeviceGetPowerManagementLimitConstraints(self, handle):
        raise self.NVMLError

    def nvmlDeviceGetBrand(self, handle):
        return 14


@pytest.mark.parametrize(("index", "uuid"), [(0, "feed"), (1, ""), (1, "dead")])
def test_nvml_is_asked_of_the_device_that_torch_means(monkeypatch, index, uuid):
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    told = nvml_readings(index, uuid)
    assert told == {"max_clock_mhz": 2040, "memory_clock_mhz": 6251, "bus_width_bits": 192, "power_w": 72, "geforce": 0}


def test_torch_tells_clocks_where_nvml_does_not():
    properties = SimpleNamespace(
        **{"name": "NVIDIA Thor", "major": 11, "minor": 0, "multi_processor_count": 20, "total_memory": 1 << 36},
        **{"L2_cache_size": 1 << 25, "clock_rate": 1575000, "memory_clock_rate": 4266000, "memory_bus_width": 256},
    )
    facts = device_facts(properties, {"max_clock_mhz": 1600.0})
    assert (facts.max_clock_mhz, facts.memory_clock_mhz, facts.bus_width_bits) == (1600, 4266, 256)
    assert (facts.compute_capability, facts.power_limit_w, facts.geforce) == ("11.0", None, False)


def as_device(spec: GpuSpec) -> DeviceFacts:
    """What a shipped GPU would tell of itself."""
    return DeviceFacts(
        name=spec.name,
        compute_capability=spec.compute_capability,
        num_sms=spec.num_sms,
        usable_bytes=int(spec.memory.usable_gib * 2**30),
        l2_bytes=int(spec.l2_cache_mib * 2**20),
        max_clock_mhz=spec.max_clock_mhz,
        memory_clock_mhz=spec.memory.data_rate_gbps * 500,
        bus_width_bits=spec.memory.bus_width_bits,
        power_w=spec.tdp_w,
        geforce="geforce" in spec.name.lower(),
    )


TOLD = [spec for spec in list_gpus() if spec.vendor == "nvidia" and spec.max_clock_mhz and spec.compute_capability]


@pytest.mark.parametrize("left_out", TOLD, ids=lambda spec: spec.id)
def test_a_shipped_gpu_left_out_is_found_again(left_out, tmp_path, monkeypatch):
    """Its published peaks, from what it tells, from products that reach 70 % of them, and from all other profiles."""
    monkeypatch.setattr(
        "archsearch.bench.skeleton.list_gpus", lambda: [spec for spec in list_gpus() if spec.id != left_out.id]
    )
    products = {d.value: 0.7 * peak for d, peak in left_out.peak_tflops.items() if d is not DType.FP4}
    spec = read(tmp_path, as_device(left_out), fake(products, left_out.boost_clock_mhz))
    assert spec.fp32_accumulation == left_out.fp32_accumulation
    assert spec.tensor_rate_cap == left_out.tensor_rate_cap
    for dtype, peak in spec.peak_tflops.items():
        if dtype in left_out.peak_tflops:
            assert peak == pytest.approx(left_out.peak_tflops[dtype], rel=0.25), dtype
    assert spec.memory.size_gib == pytest.approx(left_out.memory.size_gib, rel=0.05)
