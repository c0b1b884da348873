"""The GPU database: hand-entered facts, arithmetic cross-checks of every profile, names, users' own files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.cli.main import run
from archsearch.data import data_path
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware import (
    GpuPool,
    GpuSpec,
    gpu_ids,
    list_gpus,
    load_gpu,
    profiles_dirs,
)

SHIPPED = data_path("hardware_profiles")
FILES = sorted(SHIPPED.glob("*.yaml"))
BY_ID = {path.stem: path for path in FILES}

every_gpu = pytest.mark.parametrize("gpu_id", sorted(BY_ID))


@pytest.fixture(autouse=True)
def _no_user_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARCHSEARCH_PROFILES", raising=False)


def peak_from_clock(gpu: GpuSpec, dtype: DType) -> float:
    """Dense peak in TFLOPS that SMs, rate and clock give."""
    return gpu.num_sms * gpu.flops_per_clock_per_sm[dtype] * gpu.boost_clock_mhz * 1e6 / 1e12


# ---------------------------------------------------------------- every shipped profile


def test_enough_profiles_ship() -> None:
    assert len(FILES) >= 100
    assert sorted(gpu_ids()) == sorted(BY_ID)


@every_gpu
def test_file_name_is_the_id(gpu_id: str) -> None:
    assert load_gpu(gpu_id).id == gpu_id


@every_gpu
def test_peak_follows_from_units_and_clock(gpu_id: str) -> None:
    gpu = load_gpu(gpu_id)
    assert set(gpu.peak_notes) <= set(gpu.peak_tflops)
    for dtype, peak in gpu.peak_tflops.items():
        if dtype not in gpu.peak_notes:
            assert peak_from_clock(gpu, dtype) == pytest.approx(peak, rel=0.03), dtype
        else:
            # a note explains another clock, never a factor of two (sparsity, accumulation)
            assert peak_from_clock(gpu, dtype) == pytest.approx(peak, rel=0.15), dtype


@every_gpu
def test_bandwidth_follows_from_bus_and_data_rate(gpu_id: str) -> None:
    memory = load_gpu(gpu_id).memory
    assert memory.bus_width_bits / 8 * memory.data_rate_gbps == pytest.approx(memory.bandwidth_gb_s, rel=0.01)


@every_gpu
def test_every_figure_has_a_source_with_an_address(gpu_id: str) -> None:
    gpu = load_gpu(gpu_id)
    for path in gpu.figure_paths():
        assert gpu.sources_of(path) or len(gpu.inferred[path]) > 10, path
    assert not any(path.startswith("peak_tflops") for path in gpu.inherited)
    for source in gpu.sources:
        assert source.url.startswith("https://")
        assert len(source.title) > 5
        known = gpu.figure_paths()
        heads = {path.split(".")[0] for path in known}
        for field in source.fields:
            assert field in heads or field in known, f"source names unknown figure {field}"


@every_gpu
def test_clocks_are_plausible(gpu_id: str) -> None:
    gpu = load_gpu(gpu_id)
    assert gpu.base_clock_mhz is None or gpu.base_clock_mhz <= gpu.boost_clock_mhz
    assert 500 < gpu.boost_clock_mhz < 3500


@every_gpu
def test_formats_follow_the_nvidia_generation(gpu_id: str) -> None:
    gpu = load_gpu(gpu_id)
    if gpu.vendor != "nvidia":
        pytest.skip("compute capability is NVIDIA's")
    capability = tuple(int(part) for part in (gpu.compute_capability or "0.0").split("."))
    assert gpu.supports(DType.FP8) == (capability >= (8, 9))
    assert gpu.supports(DType.FP4) == (capability >= (10, 0))
    assert gpu.supports(DType.BF16) == (capability >= (8, 0))
    assert gpu.supports(DType.TF32) == (capability >= (8, 0))
    assert (gpu.tensor_cores_per_sm > 0) == (capability >= (7, 0))
    # CUDA C++ Programming Guide, technical specifications per compute capability
    limits = {
        (6, 0): (64, 2048, 32),
        (6, 1): (96, 2048, 32),
        (7, 0): (96, 2048, 32),
        (7, 5): (64, 1024, 16),
        (8, 0): (164, 2048, 32),
        (8, 6): (100, 1536, 16),
        (8, 7): (164, 1536, 16),
        (8, 9): (100, 1536, 24),
        (9, 0): (228, 2048, 32),
        (10, 0): (228, 2048, 32),
        (10, 3): (228, 2048, 32),
        (11, 0): (228, 1536, 24),
        (12, 0): (100, 1536, 24),
        (12, 1): (100, 1536, 24),
    }
    found = (gpu.shared_memory_per_sm_kib, gpu.max_threads_per_sm, gpu.max_blocks_per_sm)
    assert capability in limits, f"add what NVIDIA's table says of compute capability {gpu.compute_capability}"
    assert found == limits[capability]
    assert gpu.registers_per_sm == 65536


def test_a_compute_capability_belongs_to_one_architecture() -> None:
    architecture: dict[str, str] = {}
    for gpu in list_gpus():
        if gpu.compute_capability is not None:
            assert architecture.setdefault(gpu.compute_capability, gpu.architecture) == gpu.architecture, gpu.id


# ---------------------------------------------------------------- hand-entered facts


@pytest.mark.parametrize(
    ("gpu_id", "num_sms", "memory_gib"),
    [
        ("h100-sxm", 132, 80),
        ("h100-pcie", 114, 80),
        ("h100-nvl", 132, 94),
        ("h200-sxm", 132, 141),
        ("a100-sxm-80gb", 108, 80),
        ("a100-sxm-40gb", 108, 40),
        ("a100-pcie-40gb", 108, 40),
        ("b200-sxm", 148, 180),
        ("gb200", 152, 186),
        ("l40s", 142, 48),
        ("l40", 142, 48),
        ("l4", 58, 24),
        ("a10", 72, 24),
        ("a10g", 80, 24),
        ("a30", 56, 24),
        ("a40", 84, 48),
        ("t4", 40, 16),
        ("v100-sxm-32gb", 80, 32),
        ("p100-pcie-16gb", 56, 16),
        ("p4", 20, 8),
        ("rtx-3090", 82, 24),
        ("rtx-4090", 128, 24),
        ("rtx-5090", 170, 32),
        ("mi300x", 304, 192),
        ("h20", 78, 96),
        ("h800-sxm", 132, 80),
        ("a800-sxm-80gb", 108, 80),
        ("gb300", 152, 279),
        ("h200-nvl", 132, 141),
        ("gh200-144gb", 132, 144),
        ("rtx-3070", 46, 8),
        ("rtx-4070-super", 56, 12),
        ("rtx-4090-laptop", 76, 16),
        ("rtx-5060-ti-16gb", 36, 16),
        ("rtx-5070", 48, 12),
        ("gb10", 48, 128),
        ("jetson-agx-thor", 20, 128),
        ("jetson-agx-orin-64gb", 16, 64),
        ("quadro-rtx-8000", 72, 48),
        ("rtx-5000-ada", 100, 32),
        ("rtx-pro-6000-max-q", 188, 96),
    ],
)
def test_units_and_memory(gpu_id: str, num_sms: int, memory_gib: float) -> None:
    gpu = load_gpu(gpu_id)
    assert gpu.num_sms == num_sms
    assert gpu.memory.size_gib == memory_gib


@pytest.mark.parametrize(
    ("gpu_id", "dtype", "dense_tflops"),
    [
        ("h100-sxm", "bf16", 989),
        ("h100-sxm", "fp8", 1979),
        ("h100-sxm", "fp32", 67),
        ("h100-pcie", "bf16", 756),
        ("h200-sxm", "bf16", 989),
        ("a100-sxm-80gb", "bf16", 312),
        ("a100-sxm-80gb", "tf32", 156),
        ("a100-sxm-80gb", "int8", 624),
        ("b200-sxm", "bf16", 2250),
        ("b200-sxm", "fp4", 9000),
        ("gb200", "bf16", 2500),
        ("b300-sxm", "bf16", 2250),
        ("b300-sxm", "fp4", 13500),
        ("l40s", "bf16", 362),
        ("l40s", "fp8", 733),
        ("l40", "bf16", 181),
        ("l4", "bf16", 121),
        ("a10", "bf16", 125),
        ("a10g", "bf16", 70),
        ("t4", "fp16", 65),
        ("v100-sxm-32gb", "fp16", 125),
        ("p4", "int8", 22),
        ("rtx-4090", "bf16", 165.2),
        ("rtx-3090", "bf16", 71),
        ("rtx-5090", "bf16", 209.5),
        ("mi300x", "bf16", 1307.4),
        ("h20", "bf16", 148),
        ("h20", "int8", 296),
        ("h800-pcie", "bf16", 756),
        ("a800-pcie-80gb", "bf16", 312),
        ("gb300", "fp4", 15000),
        ("rtx-2070", "fp16", 29.9),
        ("titan-rtx", "fp16", 130.5),
        ("rtx-3070", "bf16", 40.6),
        ("rtx-4080-super", "int8", 418),
        ("rtx-5060-ti-8gb", "fp4", 379.5),
        ("rtx-5070", "fp8", 123.5),
        ("rtx-a5500", "fp16", 136.4),
        ("rtx-5000-ada", "fp8", 522.2),
        ("v100s-pcie-32gb", "fp16", 130),
        ("jetson-agx-thor", "fp4", 1035),
        ("jetson-agx-orin-64gb", "int8", 85),
    ],
)
def test_dense_peak(gpu_id: str, dtype: str, dense_tflops: float) -> None:
    assert load_gpu(gpu_id).peak_flops(DType(dtype)) == pytest.approx(dense_tflops * 1e12, rel=0.01)


@pytest.mark.parametrize(
    ("gpu_id", "absent"),
    [
        ("a100-sxm-80gb", ["fp8", "fp4"]),
        ("v100-sxm-32gb", ["bf16", "tf32", "fp8"]),
        ("t4", ["bf16", "tf32", "fp8"]),
        ("p100-pcie-16gb", ["bf16", "tf32"]),
        ("h100-sxm", ["fp4"]),
        ("l40s", ["fp4"]),
    ],
)
def test_a_format_the_silicon_lacks_is_refused_with_the_reason(gpu_id: str, absent: list[str]) -> None:
    gpu = load_gpu(gpu_id)
    for dtype in absent:
        with pytest.raises(UnsupportedError, match=rf"{gpu_id}.*{dtype}.*it has:"):
            gpu.peak_flops(DType(dtype))


# ---------------------------------------------------------------- start-up


def test_reading_profiles_imports_nothing_heavy() -> None:
    code = (
        "import sys; from archsearch.hardware import list_gpus; list_gpus(); "
        "print([m for m in ('torch', 'optuna', 'pandas', 'plotly', 'scipy', 'transformers') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- users' own profiles


def write_profile(directory: Path, stem: str, **changes: Any) -> Path:
    """A copy of the L40S profile with changed fields, under another file name."""
    content = yaml.safe_load((SHIPPED / "l40s.yaml").read_text())
    content.update(changes)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{stem}.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
    return path


def test_a_users_gpu_is_found_by_argument_and_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_profile(tmp_path, "lab", id="lab-gpu", name="Lab GPU", aliases=["Lab One"], num_sms=140)
    with pytest.raises(UnknownNameError):
        load_gpu("lab-gpu")
    assert load_gpu("lab one", profiles=tmp_path).num_sms == 140
    assert "lab-gpu" in gpu_ids(profiles=[tmp_path])
    monkeypatch.setenv("ARCHSEARCH_PROFILES", str(tmp_path))
    assert load_gpu("Lab GPU").num_sms == 140
    assert profiles_dirs() == [tmp_path, SHIPPED]


def test_a_users_profile_hides_the_shipped_one_under_all_its_names(tmp_path: Path) -> None:
    write_profile(tmp_path, "mine", boost_clock_mhz=2500, aliases=["my card"])
    for name in ("l40s", "NVIDIA L40S", "my card"):
        assert load_gpu(name, profiles=tmp_path).boost_clock_mhz == 2500
    assert [gpu.boost_clock_mhz for gpu in list_gpus(tmp_path) if gpu.id == "l40s"] == [2500]
    assert load_gpu("l40s").boost_clock_mhz == 2520


def test_earlier_directories_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, clock in (("argument", 2501), ("first", 2502), ("second", 2503)):
        write_profile(tmp_path / name, "l40s", boost_clock_mhz=clock)
    monkeypatch.setenv("ARCHSEARCH_PROFILES", os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "second")]))
    assert load_gpu("l40s").boost_clock_mhz == 2502
    assert load_gpu("l40s", profiles=str(tmp_path / "argument")).boost_clock_mhz == 2501


def test_an_edited_profile_is_read_again(tmp_path: Path) -> None:
    path = write_profile(tmp_path, "l40s", boost_clock_mhz=2501)
    assert load_gpu("l40s", tmp_path).boost_clock_mhz == 2501
    write_profile(tmp_path, "l40s", boost_clock_mhz=2502)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))
    assert load_gpu("l40s", tmp_path).boost_clock_mhz == 2502


def test_a_missing_directory_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match="nowhere"):
        load_gpu("l40s", profiles=tmp_path / "nowhere")
    monkeypatch.setenv("ARCHSEARCH_PROFILES", str(tmp_path / "gone"))
    with pytest.raises(InvalidInputError, match=r"ARCHSEARCH_PROFILES.*gone"):
        load_gpu("l40s")


def test_a_users_profile_wins_under_every_spelling_of_its_names(tmp_path: Path) -> None:
    write_profile(tmp_path, "mine", id="my-l4", name="Lab L4", aliases=["NVIDIA L4", "L4 24GB"])
    for name in ("NVIDIA L4", "nvidia_l4", "L4 24GB", "l4-24gb", "NVIDIA® L4"):
        assert load_gpu(name, profiles=tmp_path).id == "my-l4", name
    assert load_gpu("NVIDIA L4").id == "l4"


def test_files_of_editors_and_links_that_lead_nowhere(tmp_path: Path) -> None:
    write_profile(tmp_path, "mine", id="lab-gpu", name="Lab GPU", aliases=[])
    (tmp_path / ".#mine.yaml").symlink_to("user@host.123")  # Emacs' lock
    assert load_gpu("lab-gpu", profiles=tmp_path).id == "lab-gpu"
    (tmp_path / "gone.yaml").symlink_to("nowhere.yaml")
    with pytest.raises(InvalidInputError, match=r"gone\.yaml: cannot be read"):
        load_gpu("lab-gpu", profiles=tmp_path)


@pytest.mark.parametrize(
    "text", ["date: 2020-13-45", "? [a]\n: 1", "a: &x [*x]", "num_sms: 1" + "0" * 5000, "a: !!int b"]
)
def test_yaml_that_makes_no_value_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.yaml").write_text(text + "\n")
    with pytest.raises(InvalidInputError, match=r"broken\.yaml"):
        list_gpus(tmp_path)


def test_two_profiles_of_a_directory_may_not_share_a_name(tmp_path: Path) -> None:
    write_profile(tmp_path, "a", id="gpu-a", name="GPU A", aliases=["Shared"])
    write_profile(tmp_path, "b", id="gpu-b", name="GPU B", aliases=["shared"])
    with pytest.raises(InvalidInputError, match=r"b\.yaml.*'shared'.*a\.yaml"):
        load_gpu("gpu-a", profiles=tmp_path)


def edit(tmp_path: Path, old: str, new: str) -> tuple[Path, int]:
    """The L40S file with one piece of text replaced; also the line on which the replacement starts."""
    text = (SHIPPED / "l40s.yaml").read_text()
    assert text.count(old) == 1, old
    path = tmp_path / "broken.yaml"
    path.write_text(text.replace(old, new))
    return path, text[: text.index(old)].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "field", "says"),
    [
        ("num_sms: 142", "num_sms: many", "num_sms", "valid integer"),
        ("num_sms: 142", "num_sms: -3", "num_sms", "greater than or equal to 1"),
        ("num_sms: 142", "num_sm: 142", "num_sm", "did you mean num_sms"),
        ("bus_width_bits: 384", "bus_width_bits: wide", "memory.bus_width_bits", "valid integer"),
        ("bus_width_bits: 384", "bus_with_bits: 384", "memory.bus_with_bits", "did you mean bus_width_bits"),
        ("boost_clock_mhz: 2520", "boost_clock_mhz: .inf", "boost_clock_mhz", "finite number"),
        ("vendor: nvidia", "vendor: nvidea", "vendor", "the architecture ada is nvidia's"),
        ("id: l40s", "id: L40S!", "id", "pattern"),
    ],
)
def test_a_mistake_is_reported_with_file_line_and_field(
    tmp_path: Path, old: str, new: str, field: str, says: str
) -> None:
    path, line = edit(tmp_path, old, new)
    with pytest.raises(InvalidInputError) as caught:
        list_gpus(tmp_path)
    problems = str(caught.value).splitlines()
    assert any(p.startswith(f"{path}:{line}: {field}: ") and says in p for p in problems), problems


def test_an_unknown_dtype_is_reported_at_its_line(tmp_path: Path) -> None:
    path, line = edit(tmp_path, "peak_tflops: {fp32: 91.6", "peak_tflops: {fp23: 91.6")
    with pytest.raises(InvalidInputError) as caught:
        list_gpus(tmp_path)
    assert f"{path}:{line}: peak_tflops.fp23: " in str(caught.value)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    path, _ = edit(tmp_path, "num_sms: 142\n", "")
    with pytest.raises(InvalidInputError) as caught:
        list_gpus(tmp_path)
    assert f"{path}:1: num_sms: required field is missing" in str(caught.value)


def test_a_figure_without_source_is_refused(tmp_path: Path) -> None:
    write_profile(tmp_path, "bare", sources=[{"title": "A note", "url": "https://example.org", "fields": ["num_sms"]}])
    with pytest.raises(InvalidInputError, match=r"bare\.yaml:\d+: tdp_w: no source names it"):
        list_gpus(tmp_path)


def test_dtypes_of_rates_and_peaks_must_agree(tmp_path: Path) -> None:
    write_profile(tmp_path, "half", peak_tflops={"fp32": 91.6}, flops_per_clock_per_sm={"fp32": 256, "bf16": 1024})
    with pytest.raises(InvalidInputError, match=r"same dtypes; differing: bf16"):
        list_gpus(tmp_path)


@pytest.mark.parametrize(
    ("changes", "figure", "says"),
    [
        ({"memory.bandwidth_gb_s": 8640}, "memory.bandwidth_gb_s", "8640 is not 384 bits / 8 x 18 Gbit/s = 864"),
        ({"memory.usable_gib": 49}, "memory.usable_gib", "more than the 48 GiB"),
        ({"peak_tflops.bf16": 724}, "peak_tflops.bf16", "with sparsity is doubled"),
        ({"peak_tflops.bf16": 181}, "peak_tflops.bf16", "fp32_accumulation: half or tensor_rate_cap: 0.5"),
        ({"peak_tflops.bf16": 380}, "peak_tflops.bf16", "the rate is that of ada: state flops_per_clock_per_sm"),
        ({"flops_per_clock_per_sm": {"bf16": 512}}, "flops_per_clock_per_sm.bf16", "512 is 0.5 of the 1024 of ada"),
        ({"tensor_rate_cap": 0.5}, "peak_tflops.fp16", "FLOPs per clock"),
        ({"base_clock_mhz": 2600}, "base_clock_mhz", "above the boost clock of 2520"),
        ({"max_clock_mhz": 2000}, "max_clock_mhz", "below the boost clock"),
        ({"sustained_clock_mhz": 2900}, "sustained_clock_mhz", "above the highest clock"),
        ({"power_limit_w": [350, 100]}, "power_limit_w", "least and the most"),
        ({"inferred": {"peak_tflops.fp4": "guessed"}}, "inferred.peak_tflops.fp4", "no figure of this profile"),
        ({"inherited": {"tdp_w": "ada"}}, "inherited", "set by the loader"),
        ({"sources.0.fields": ["*"]}, "sources.0.fields", "names no figure that stands in this profile"),
        ({"sources.0.fields": ["shared_memory_per_sm_kib"]}, "sources.0.fields", "names no figure that stands"),
        ({"sources.0.url": "http://plain"}, "sources.0.url", "pattern"),
        ({"num_sms": 18176}, "num_sms", "142 SMs of 128 CUDA cores?"),
        ({"boost_clock_mhz": 2.52}, "boost_clock_mhz", "greater than or equal to 100"),
        ({"compute_capability": "9.0"}, "compute_capability", "9.0 is none of ada: 8.9"),
        ({"name": "NVIDIA GeForce Lab"}, "fp32_accumulation", "state half or full"),
        (
            {"memory.data_rate_gbps": 180, "memory.bandwidth_gb_s": 8640},
            "memory.data_rate_gbps",
            "more than GDDR6's 24",
        ),
        ({"memory.usable_gib": 4.4}, "memory.usable_gib", "is it in GiB?"),
        ({"peak_tflops.bf16": 90.5}, "peak_tflops.bf16", "tensor_rate_cap: 0.25"),
        ({"flops_per_clock_per_sm": "nonsense"}, "flops_per_clock_per_sm", "valid dictionary"),
        ({"architecture": "../architectures/ada"}, "architecture", "unknown architecture"),
    ],
)
def test_figures_that_contradict_each_other_are_refused(
    tmp_path: Path, changes: dict[str, Any], figure: str, says: str
) -> None:
    content = yaml.safe_load((SHIPPED / "l40s.yaml").read_text())
    for path, value in changes.items():
        part: Any = content
        *steps, last = path.split(".")
        for step in steps:
            part = part[int(step) if step.isdigit() else step]
        part[last] = value
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(InvalidInputError) as caught:
        list_gpus(tmp_path)
    problems = str(caught.value).splitlines()
    assert any(re.match(rf".*lab\.yaml:\d+: {re.escape(figure)}: ", p) and says in p for p in problems), problems


def test_what_an_architecture_states_is_inherited_and_said_so() -> None:
    l40s, l40 = load_gpu("l40s"), load_gpu("l40")
    assert l40s.inherited["shared_memory_per_sm_kib"] == "ada"
    assert l40s.sources_of("shared_memory_per_sm_kib")[0] in l40s.generation.citations["max_blocks_per_sm"].sources
    assert (l40.tensor_rate_cap, l40.fp32_accumulation) == (0.5, "full")
    assert l40.flops_per_clock_per_sm[DType.BF16] == l40s.flops_per_clock_per_sm[DType.BF16] / 2
    geforce = load_gpu("rtx-4090")
    assert geforce.fp32_accumulation == "half"
    ratio = {d: geforce.flops_per_clock_per_sm[d] / l40s.flops_per_clock_per_sm[d] for d in geforce.peak_tflops}
    half = {DType.FP16, DType.BF16, DType.TF32, DType.FP8}  # NVIDIA's Ada whitepaper, appendix A
    assert ratio == {d: 0.5 if d in half else 1.0 for d in geforce.peak_tflops}


def test_an_unchecked_peak_is_refused_until_it_is_accepted(tmp_path: Path) -> None:
    inferred = {"memory.usable_gib": "read", "peak_tflops.bf16": "as the L40S's"}
    write_profile(tmp_path, "lab", id="lab", name="Lab", aliases=[], unchecked=["bf16"], inferred=inferred)
    gpu = load_gpu("lab", tmp_path)
    with pytest.raises(UnsupportedError, match=r"lab: its peak in bf16 is inferred and unchecked \(as the L40S's\)"):
        gpu.peak_flops(DType.BF16)
    assert gpu.peak_flops(DType.FP8) == 733e12


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("id: x\nname: [oops\nvendor: nvidia\n", 3, "not valid YAML"),
        ("id: x\n\tname: y\n", 2, "not valid YAML"),
        ("id: x\nname: y\nid: z\n", 3, "id: given twice"),
        ("- just\n- a list\n", 1, "found list"),
        ("", 1, "found NoneType"),
    ],
)
def test_broken_yaml_is_reported_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        list_gpus(tmp_path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert says in str(caught.value)


# ---------------------------------------------------------------- pools


def test_a_pool_parses_names_and_counts_and_weights_follow() -> None:
    pool = GpuPool.parse("t4, NVIDIA A10 ,h100-sxm=2")
    assert pool.ids == ("t4", "a10", "h100-sxm")
    assert pool.counts == (None, None, 2)
    assert pool.weights == (0.25, 0.25, 0.5)
    assert [gpu.id for gpu, _ in pool] == list(pool.ids)
    assert len(pool) == 3
    assert GpuPool.of([load_gpu("t4"), load_gpu("l4")]).weights == (0.5, 0.5)


def test_shares_of_a_pool_are_given_apart_from_its_counts() -> None:
    pool = GpuPool.parse("t4=8,a10", weights="NVIDIA A10=3,t4=1")
    assert pool.counts == (8, None)
    assert pool.weights == (0.25, 0.75)
    for weights, says in (
        ("t4=1", "leaves out a10"),
        ("t4=1,a10=1,l4=1", "adds l4"),
        ("t4=1,l4=1", "leaves out a10 and adds l4"),
        ("t4=1,a10", "'a10' needs a number"),
        ("t4=1,a10=0", "positive"),
        ("t4=1,a10=nan", "positive"),
        ("t4=1,a10=inf", "positive"),
        ("t4=1,Tesla T4=1,a10=1", "names t4 twice"),
        ("t4=1,,a10=1", "empty item"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            GpuPool.parse("t4=8,a10", weights=weights)


def test_a_stored_pool_keeps_its_weights() -> None:
    """Studies of before counts hold weights, fractions among them: ``weighted`` reads what ``parse`` refuses."""
    pool = GpuPool.weighted("t4=0.3333333333333333,a10=0.6666666666666666")
    assert pool.weights == (0.3333333333333333, 0.6666666666666666)
    assert GpuPool.weighted(pool.to_text()).members == pool.members
    with pytest.raises(InvalidInputError, match="weights"):
        GpuPool.parse("t4=0.3333333333333333,a10=0.6666666666666666")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("t4,Tesla T4", "t4 is in the pool twice"),
        ("t4=0", "whole number of GPUs"),
        ("t4=-1", "whole number of GPUs"),
        ("t4=nan", "whole number of GPUs"),
        ("t4=1.5", "weights GPU=SHARE"),
        ("t4=lots", "whole number of GPUs"),
        ("t4=", "whole number of GPUs"),
        ("t4,,l4", "empty item"),
        ("", "empty item"),
    ],
)
def test_a_malformed_pool_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        GpuPool.parse(text)


def test_an_unknown_gpu_of_a_pool_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="l4000"):
        GpuPool.parse("t4,l4000")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(min_value=1e-3, max_value=1e6), min_size=1, max_size=8))
def test_weights_sum_to_one_and_keep_their_ratios(weights: list[float]) -> None:
    ids = sorted(BY_ID)[: len(weights)]
    pool = GpuPool.weighted(",".join(f"{gpu_id}={weight!r}" for gpu_id, weight in zip(ids, weights, strict=True)))
    assert GpuPool.weighted(pool.to_text()).weights == pytest.approx(pool.weights, rel=1e-15)
    assert sum(pool.weights) == pytest.approx(1)
    for stored, given_weight in zip(pool.weights, weights, strict=True):
        assert stored / pool.weights[0] == pytest.approx(given_weight / weights[0])


# ---------------------------------------------------------------- shipped data


def test_missing_data_says_where_it_was_sought() -> None:
    with pytest.raises(FileNotFoundError, match="no_such_data"):
        data_path("no_such_data")


def test_specs_can_be_dictionary_keys() -> None:
    assert {load_gpu("t4"): 1}[load_gpu("Tesla T4")] == 1


def test_a_profile_that_cannot_be_read_stops_only_what_asks_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_profile(tmp_path, "good", id="lab-good", name="Lab good", aliases=[])
    bad = write_profile(tmp_path, "bad", id="lab-bad", name="Lab bad", aliases=["H100"], num_sms="many")
    (tmp_path / "torn.yaml").write_text("id: [")
    assert load_gpu("lab-good", tmp_path).id == "lab-good"
    assert load_gpu("l40s", tmp_path).id == "l40s"
    for name in ("lab-bad", "Lab bad", "lab_bad", "bad", "H100"):  # H100 would be the shipped one's
        with pytest.raises(InvalidInputError, match=r"bad\.yaml:\d+: num_sms: .*valid integer"):
            load_gpu(name, tmp_path)
    with pytest.raises(InvalidInputError, match=r"torn\.yaml:\d+: not valid YAML"):
        load_gpu("torn", tmp_path)
    with pytest.raises(InvalidInputError, match=r"bad\.yaml:\d+: num_sms.*\n.*torn\.yaml"):
        load_gpu("lab-other", tmp_path)  # it may be in one that cannot be read
    monkeypatch.setenv("ARCHSEARCH_PROFILES", str(tmp_path))
    assert run(["hardware", "list"]) == 0
    told = capsys.readouterr()
    assert "lab-good" in told.out
    assert "lab-bad" not in told.out
    assert f"left out, since its profile cannot be read: {bad}:" in told.err
