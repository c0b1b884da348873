"""Figures of the shipped profiles against what devices print and what other people's tables say."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from archsearch.dtypes import DType
from archsearch.hardware import GpuSpec, list_gpus, load_gpu

INDEPENDENT = Path(__file__).resolve().parents[2] / "shared" / "gpu_facts" / "independent.csv"
GPUS = [gpu for gpu in list_gpus() if gpu.vendor in ("nvidia", "amd")]
GEFORCE_BOOST = 2100 / 1695
"""How far above its rated boost a board's clock goes: the RTX 3090's highest (NVIDIA/nvidia-docker issue 1547)."""
TOLERANCE = {"memory.bandwidth_gb_s": 0.011, "peak_tflops": 0.011}
"""Shares by which a rounded figure may differ; 0.3 % elsewhere."""


# ---------------------------------------------------------------- usable memory


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.id)
def test_usable_memory_is_what_correction_and_drivers_leave(gpu: GpuSpec) -> None:
    share = gpu.memory.usable_gib / gpu.memory.size_gib
    assert 0.88 < share < 1, "error correction in GDDR6 keeps 1/16, drivers half a GiB; 12 % would be another board"
    assert 0 < gpu.context_mib < 1024
    assert gpu.available_bytes < gpu.memory.usable_gib * 2**30


@pytest.mark.parametrize(
    ("gpu_id", "reported_gib", "where"),
    [
        ("a100-sxm-40gb", 42298834944 / 2**30, "openxla/xla a100_sxm_40.txtpb"),
        ("a100-sxm-80gb", 79.14, "lianqi1008/Control-GIC issue 6"),
        ("h100-sxm", 79.11, "vllm-project/vllm issue 27508"),
        ("h100-nvl", 99861594112 / 2**30, "thamada/nvidia-smi gls/H100NVLx2_deviceQuery.py"),
        ("b200-sxm", 178.35, "pytorch/ao pull request 4002"),
        ("gb200", 197897748480 / 2**30, "openxla/xla gb200.txtpb"),
        ("gh200", 97280 / 1024, "mredenti/PowerCapping"),
        ("l4", 23570219008 / 2**30, "thamada/nvidia-smi gls/L4_deviceQuery.py"),
        ("l40", 44.40, "NVlabs/Eagle issue 68"),
        ("l20", 44.53, "Tencent-Hunyuan/HunyuanCustom issue 36"),
        ("a10", 23609475072 / 2**30, "aalanwyr/face2cuda"),
        ("rtx-3090", 25327697920 / 2**30, "thamada/nvidia-smi gls/RTX3090_deviceQuery.py"),
        ("rtx-4090", 23.52, "Soul-AILab/SoulX-FlashTalk issue 5"),
        ("rtx-5090", 31.37, "Wan-Video/Wan2.1 issue 465"),
        ("rtx-6000-ada", 50865307648 / 2**30, "unslothai/unsloth-zoo pull request 1053"),
        ("p40", 22.38, "mlcommons/training pull request 100"),
        ("mi300x", 196592 / 1024, "thamada/nvidia-smi package/MI300X_deviceQuery.py"),
    ],
)
def test_usable_memory_is_what_the_device_printed(gpu_id: str, reported_gib: float, where: str) -> None:
    gpu = load_gpu(gpu_id)
    assert gpu.memory.usable_gib == pytest.approx(reported_gib, abs=0.006), where
    assert gpu.sources_of("memory.usable_gib"), where


# ---------------------------------------------------------------- what products make of their silicon


@pytest.mark.parametrize("gpu", [gpu for gpu in GPUS if gpu.vendor == "nvidia"], ids=lambda gpu: gpu.id)
def test_geforce_halves_fp32_accumulation_and_nothing_else_does(gpu: GpuSpec) -> None:
    geforce = "GeForce" in gpu.name and gpu.tensor_cores_per_sm > 0
    assert gpu.fp32_accumulation == ("half" if geforce else "full")
    if geforce:  # without sparsity int8 runs at four times fp16, whose products accumulate in fp32
        assert gpu.peak_tflops[DType.INT8] == pytest.approx(4 * gpu.peak_tflops[DType.FP16], rel=0.01)


def test_capped_products_have_half_of_their_siblings_rate() -> None:
    for capped, sibling in (("l40", "l40s"), ("l20", "l40s"), ("a10g", "a10")):
        a, b = load_gpu(capped), load_gpu(sibling)
        assert a.tensor_rate_cap == 0.5
        for dtype in set(b.peak_tflops) - {DType.FP32}:
            assert a.flops_per_clock_per_sm[dtype] == b.flops_per_clock_per_sm[dtype] / 2
        assert a.flops_per_clock_per_sm[DType.FP32] == b.flops_per_clock_per_sm[DType.FP32]


def test_links_reach_as_many_gpus_as_they_are_built_for() -> None:
    domains = {gpu.id: gpu.interconnect.domain_gpus for gpu in GPUS if gpu.interconnect is not None}
    dgx2 = domains.pop("v100-sxm3-32gb")
    sxm = {gpu_id: domain for gpu_id, domain in domains.items() if "sxm" in gpu_id}
    assert (set(sxm.values()), dgx2) == ({8}, 16)
    assert (domains["gb200"], domains["mi300a"], domains["mi300x"]) == (72, 4, 8)
    bridges = [gpu for gpu in GPUS if gpu.interconnect is not None and "bridge" in gpu.interconnect.name]
    assert bridges
    assert all(1 < (domains[gpu.id] or 0) <= 4 for gpu in bridges)


def test_peer_access_as_device_queries_print_it() -> None:
    said = {gpu.id: gpu.pcie.peer_access for gpu in GPUS if gpu.pcie is not None}
    assert not any(said[gpu_id] for gpu_id in ("rtx-3090", "rtx-4090", "rtx-4060-ti-16gb", "rtx-5090"))
    assert said["a40"]
    assert said["rtx-6000-ada"]
    assert said["a2"] is None


# ---------------------------------------------------------------- other people's tables


def _rows() -> list[dict[str, str]]:
    if not INDEPENDENT.exists():
        return []
    with INDEPENDENT.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _ours(gpu: GpuSpec, path: str) -> Iterator[float | str]:
    """What the profile says of a figure by its name there; one or more values, any of which may be meant."""
    memory = gpu.memory
    if path == "max_or_boost_clock_mhz":
        yield gpu.boost_clock_mhz
        yield gpu.max_clock_mhz or gpu.boost_clock_mhz
    elif path in ("memory.reported_gib", "memory.torch_total_gib"):
        yield memory.usable_gib
        yield memory.size_gib
    elif path == "tensor_cores_total":
        yield float(gpu.num_sms * gpu.tensor_cores_per_sm)
    elif path == "pcie" and gpu.pcie is not None:
        yield f"PCIe {gpu.pcie.generation}.0 x{gpu.pcie.lanes}"
    else:
        value: object = gpu.model_dump(mode="json")
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, int | float | str):
            yield value


def _agree(ours: float | str, theirs: str, tolerance: float) -> bool:
    try:
        return abs(float(ours) / float(theirs) - 1) <= tolerance
    except ValueError:
        return str(ours).upper() == theirs.upper()


_DISPUTED_AS = {
    "max_or_boost_clock_mhz": ("boost_clock_mhz", "max_clock_mhz"),
    "memory.reported_gib": ("memory.usable_gib", "memory.size_gib"),
    "memory.torch_total_gib": ("memory.usable_gib",),
    "pcie": ("pcie.lanes", "pcie.generation"),
}


def _is_disputed(gpu: GpuSpec, path: str, theirs: str) -> bool:
    """Whether the profile names the other value, with its reason (a link as the number in it that differs)."""
    for name in _DISPUTED_AS.get(path, (path,)):
        dispute = gpu.disputed.get(name)
        if dispute is None:
            continue
        if path == "pcie" or any(_agree(other, theirs, 0.011) for other in dispute.others):
            return True
    return False


@pytest.mark.skipif(not INDEPENDENT.exists(), reason="needs ../shared/gpu_facts")
@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.id)
def test_other_tables_agree_or_the_profile_says_why_not(gpu: GpuSpec) -> None:
    formats = {dtype.value for dtype in DType}
    unexplained = []
    for row in _rows():
        path, theirs = row["field"], row["value"]
        head, _, leaf = path.partition(".")
        if row["gpu"] != gpu.id or head.startswith("measured") or (head == "peak_tflops" and leaf not in formats):
            continue
        if path == "pcie" and gpu.pcie is None:  # a system on a chip
            continue
        tolerance = TOLERANCE.get(path, TOLERANCE.get(head, 0.003))
        if any(_agree(ours, theirs, tolerance) for ours in _ours(gpu, path)) or _is_disputed(gpu, path, theirs):
            continue
        unexplained.append((path, list(_ours(gpu, path)), theirs, row["source"]))
    assert unexplained == []


@pytest.mark.skipif(not INDEPENDENT.exists(), reason="needs ../shared/gpu_facts")
@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.id)
def test_no_measured_product_exceeds_a_peak_unsaid(gpu: GpuSpec) -> None:
    too_fast = []
    for row in _rows():
        head, _, rest = row["field"].partition(".")
        if row["gpu"] != gpu.id or not head.startswith("measured_gemm"):
            continue
        dtype, measured = rest.split(".")[0], float(row["value"])
        peak = gpu.peak_tflops.get(DType(dtype))
        if peak is None:  # emulated, on vector units: no faster than fp32 twice over
            assert measured < 2 * gpu.peak_tflops[DType.FP32]
            continue
        highest = peak * ((gpu.max_clock_mhz or GEFORCE_BOOST * gpu.boost_clock_mhz) / gpu.boost_clock_mhz)
        if measured > highest and not _is_disputed(gpu, f"peak_tflops.{dtype}", row["value"]):
            too_fast.append((dtype, peak, row["value"], row["source"]))
    assert too_fast == []
