"""Facts about architectures are data: records with sources beside the GPUs, and a new one in a single file."""

from __future__ import annotations

import ast
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from archsearch.cli.main import run
from archsearch.cost.calibration import Calibration
from archsearch.cost.estimate import Provenance
from archsearch.cost.kernels.tiles import tile_set
from archsearch.cost.legality import compile_reason
from archsearch.cost.routes import fused_attention_reason, torch_attention
from archsearch.data import data_path
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.hardware import find_architecture, list_gpus, load_gpu
from archsearch.hardware.architecture import FACTS, FOLDER, architecture_records, fitted_alike

SHIPPED = data_path("hardware_profiles")
CALIBRATED = {path.stem.removeprefix("architecture-") for path in (SHIPPED / "calibration").glob("architecture-*")}
RECORDS = {record.id: record for record in architecture_records([SHIPPED])}
every_architecture = pytest.mark.parametrize("name", sorted(RECORDS))


# ---------------------------------------------------------------- what ships


def test_every_gpu_has_a_record_and_every_record_a_gpu() -> None:
    gpus = list_gpus()
    assert {gpu.architecture for gpu in gpus} >= set(RECORDS)  # others stand in their GPU's profile
    for gpu in gpus:
        assert gpu.generation.id == gpu.architecture
        assert gpu.generation.vendor == gpu.vendor
        if gpu.compute_capability is not None and gpu.architecture in RECORDS:
            assert gpu.compute_capability in gpu.generation.compute_capabilities


@every_architecture
def test_every_stated_fact_has_a_source(name: str) -> None:
    record = RECORDS[name]
    assert record.stated()
    for fact in record.stated():
        sources = [source for source in record.sources if fact in source.fields]
        assert sources, fact
        assert all(source.url.startswith("https://") and len(source.title) > 10 for source in sources)
    for source in record.sources:
        assert set(source.fields) <= set(record.stated()), "a source of a fact that does not stand here"


@every_architecture
def test_relatives_exist_and_are_measured_where_they_lend_coefficients(name: str) -> None:
    architecture = find_architecture(name)
    assert set(architecture.nearest) <= CALIBRATED - {name}
    assert architecture.nearest or name in CALIBRATED or architecture.vendor != "nvidia"
    if architecture.fitted_as is not None:
        assert architecture.fitted_as in CALIBRATED
        assert name in fitted_alike(architecture.fitted_as)


def test_a_capability_is_of_one_architecture() -> None:
    numbers = [number for record in RECORDS.values() for number in record.compute_capabilities]
    assert len(numbers) == len(set(numbers))


# CUDA's and the libraries' own rules, in their own words
@pytest.mark.parametrize("gpu", list_gpus(), ids=lambda gpu: gpu.id)
def test_records_say_what_the_libraries_check_for(gpu: Any) -> None:
    if gpu.vendor != "nvidia":
        pytest.skip("compute capability is NVIDIA's")
    capability, generation = tuple(int(part) for part in (gpu.compute_capability or "0.0").split(".")), gpu.generation
    assert generation.warp_group_units == (capability[0] in (9, 10, 11))  # wgmma, tcgen05
    assert (generation.flash_max_head_dim is not None) == (capability >= (8, 0))
    assert (DType.BF16 in generation.efficient_attention) == (capability >= (8, 0))
    assert generation.triton == (capability >= (7, 0))
    assert torch_attention(gpu) == ("torch_cudnn" if capability[0] in (9, 10) else "torch_fa2")
    assert generation.serves("fa3") == (capability[0] == 9)
    widest = {row[0]: row[1:] for row in generation.fa2_blocks}
    assert widest[256] == ((128, 64) if capability == (8, 0) else (64, 64))


# ---------------------------------------------------------------- one file


def profile(folder: Path, architecture: object, **changes: object) -> Path:
    """The H200's profile as ``next-gpu``, of another architecture."""
    content = yaml.safe_load((SHIPPED / "h200-sxm.yaml").read_text())
    content |= {"id": "next-gpu", "name": "Next", "aliases": [], "architecture": architecture, **changes}
    path = folder / "next-gpu.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


NEXT = {
    "id": "next",
    "name": "The next architecture",
    "vendor": "nvidia",
    "like": "hopper",
    "flash_max_head_dim": 64,
    "tensor_tiles": [[64, 64, 2], {"m": 512, "n": 512, "resident": 1}],
    "sources": [
        {"title": "Next, a whitepaper", "url": "https://next", "fields": ["flash_max_head_dim", "tensor_tiles"]}
    ],
}


def test_a_new_architecture_is_one_file(tmp_path: Path) -> None:
    profile(tmp_path, NEXT, compute_capability="11.7")
    gpu, hopper = load_gpu("next-gpu", tmp_path), find_architecture("hopper")
    assert gpu.architecture == "next"
    for fact in FACTS:  # what does not stand there is the relative's
        if fact not in ("nearest", "flash_max_head_dim", "tensor_tiles"):
            assert getattr(gpu.generation, fact) == getattr(hopper, fact), fact
    assert gpu.generation.nearest == ("hopper", "ampere")
    assert tile_set(gpu, DType.BF16).tile_m[:, 0].tolist() == [64, 512]
    assert compile_reason(gpu) is None
    assert fused_attention_reason(gpu, DType.BF16, 64, flash=True) is None
    assert "up to 64" in str(fused_attention_reason(gpu, DType.BF16, 128, flash=True))
    known = Calibration.load().lookup(gpu, "attention/fa3-full")
    assert known.provenance is Provenance.ANALYTIC
    assert set(known.fit.fitted_on) & {other.id for other in list_gpus() if other.architecture == "hopper"}


def test_a_new_architecture_costs_a_model_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile(tmp_path, NEXT, compute_capability="11.7")
    asked = ("estimate", "llama-3.2-1b", "--hardware", "next-gpu", "--profiles", str(tmp_path), "--json")
    assert run(asked) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["latency_s"] > 0
    assert answer["provenance"] == "analytic"
    tiles = {row["tile"].split()[0] for row in answer["breakdown"] if row["op"] == "linear"}
    assert tiles <= {"64x64", "512x512"}  # its own, nobody else has the second
    assert "512x512" in tiles


def test_a_folder_may_bring_an_architecture_as_a_file(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "next.yaml").write_text(yaml.safe_dump(NEXT))
    profile(tmp_path, "next")
    assert load_gpu("next-gpu", tmp_path).generation.flash_max_head_dim == 64
    # a copy of a shipped one hides it for the GPUs of that folder, and for those of others consulted after it
    text = (SHIPPED / FOLDER / "hopper.yaml").read_text().replace("flash_max_head_dim: 512", "flash_max_head_dim: 96")
    (tmp_path / FOLDER / "hopper.yaml").write_text(text)
    assert load_gpu("next-gpu", tmp_path).generation.flash_max_head_dim == 64
    assert load_gpu("h100-sxm", tmp_path).generation.flash_max_head_dim == 96
    assert load_gpu("h100-sxm").generation.flash_max_head_dim == 512


def test_an_edited_architecture_is_read_again(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    path = tmp_path / FOLDER / "next.yaml"
    path.write_text(yaml.safe_dump(NEXT))
    profile(tmp_path, "next")
    assert load_gpu("next-gpu", tmp_path).generation.flash_max_head_dim == 64
    path.write_text(yaml.safe_dump(NEXT | {"flash_max_head_dim": 32}))
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert load_gpu("next-gpu", tmp_path).generation.flash_max_head_dim == 32


# ---------------------------------------------------------------- mistakes


def refused(folder: Path, architecture: object) -> str:
    profile(folder, architecture)
    with pytest.raises(InvalidInputError) as caught:
        load_gpu("next-gpu", folder)
    return str(caught.value)


def without(*names: str, **changes: object) -> dict[str, object]:
    return {name: value for name, value in NEXT.items() if name not in names} | changes


@pytest.mark.parametrize(
    ("architecture", "told"),
    [
        ("hoper", "did you mean hopper"),
        (without(like="hoper"), "did you mean hopper"),
        (without("like"), "like: NAME"),
        (without("sources"), "no source names these facts: tensor_tiles, flash_max_head_dim"),
        (without(warp_groups=True), "architecture.warp_groups: unknown field; did you mean warp_group_units"),
        (without(tensor_tiles=[[64, "wide", 2]]), "architecture.tensor_tiles.0.n"),
        (without(tensor_tiles=[]), "architecture.tensor_tiles"),
        (without(torch_attention="fa9"), "architecture.torch_attention"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(tmp_path: Path, architecture: object, told: str) -> None:
    message = refused(tmp_path, architecture)
    assert told in message
    file, line, _ = message.split(":", 2)
    assert file == str(tmp_path / "next-gpu.yaml")
    lines = (tmp_path / "next-gpu.yaml").read_text().splitlines()
    start = next(number for number, text in enumerate(lines, 1) if text.startswith("architecture:"))
    assert start <= int(line) <= start + yaml.safe_dump(NEXT).count("\n") + 2


def test_relatives_that_borrow_from_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    for name, like in (("a", "b"), ("b", "a")):
        record = {"id": name, "name": name, "vendor": "nvidia", "like": like}
        (tmp_path / FOLDER / f"{name}.yaml").write_text(yaml.safe_dump(record))
    with pytest.raises(InvalidInputError, match="a, b, a"):
        find_architecture("a", [tmp_path])


def test_a_file_says_its_own_name(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    shutil.copy(SHIPPED / FOLDER / "ampere.yaml", tmp_path / FOLDER / "other.yaml")
    with pytest.raises(InvalidInputError, match="'ampere' must be the file's name, 'other'"):
        find_architecture("other", [tmp_path])
    with pytest.raises(UnknownNameError):
        find_architecture("another", [tmp_path])


# ---------------------------------------------------------------- the code asks the record


def test_no_module_compares_an_architecture_or_capability_with_a_literal() -> None:
    package = Path(__file__).parents[1] / "archsearch"
    named = ("architecture", "compute_capability")
    guilty = [
        f"{path.relative_to(package)}:{node.lineno}"
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[:2] != ("bench", "micro")  # the machine itself, before it has a profile
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        and any(isinstance(part, ast.Attribute) and part.attr in named for part in ast.walk(node))
        and any(isinstance(part, ast.Constant) and part.value is not None for part in ast.walk(node))
    ]
    assert guilty == []


def test_no_module_names_an_architecture_in_code() -> None:
    package = Path(__file__).parents[1] / "archsearch"
    guilty = [
        f"{path.relative_to(package)}:{node.lineno}: {node.value}"
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in RECORDS
    ]
    assert guilty == []
