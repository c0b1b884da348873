"""Families, presets and models from files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.estimate_result import workload_of
from archsearch.models.base import ModelConfig
from archsearch.models.registry.families import FAMILIES, get_family, load_preset, preset_names
from archsearch.models.registry.load import load_model


@pytest.mark.parametrize("name", preset_names())
def test_presets_keep_the_protocol(name: str) -> None:
    config = load_preset(name)
    assert isinstance(config, ModelConfig)
    assert all(requirement.holds for requirement in config.requirements())
    assert get_family(config.family).from_dict(config.to_dict()) == config
    sizes = dict.fromkeys(("seq_len", "height", "width", "frames"))
    ops = config.lower(workload_of(config, {"batch_size": 2, **sizes})[0])
    names = [op.name for op in ops]
    assert len(set(names)) == len(names)
    assert all(name.split(".")[0] for name in names)


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*llama-3-8b"):
        load_model("llama3-8b")
    with pytest.raises(UnknownNameError, match="did you mean dit-xl-2"):
        load_preset("dit-xl2")
    with pytest.raises(UnknownNameError, match="decoder, dit, encoder"):
        get_family("mamba")


def write(folder: Path, text: str) -> str:
    path = folder / "model.yaml"
    path.write_text(text)
    return str(path)


def test_yaml(tmp_path: Path) -> None:
    text = "family: encoder\nnum_layers: 22\nhidden_size: 768\nnum_attention_heads: 12\nintermediate_size: 1152\n"
    assert load_model(write(tmp_path, text)) == load_preset("modernbert-base")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("family: [", "not valid YAML"),
        ("- a\n- b\n", "needs 'family"),
        ("num_layers: 2\n", "needs 'family"),
        ("family: bert\n", "unknown model family 'bert'"),
        ("family: dit\nnum_layers: 2\n", "lacks"),
        ("family: dit\ndepth: 2\n", "no field 'depth'"),
        ("family: dit\n1: 2\n", "no field '1'"),
        (
            "family: dit\nnum_layers: 2\nhidden_size: wide\nnum_attention_heads: 2\nintermediate_size: 8\n",
            "hidden_size must be a whole number, not 'wide'",
        ),
    ],
)
def test_bad_yaml_names_file_and_field(text: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ArchSearchError, match=says) as told:
        load_model(path)
    assert path in str(told.value)
    assert "\n" not in str(told.value)


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    for text in (str(tmp_path / "no.yaml"), "config.json", "meta-llama/Llama-3.1-8B"):
        with pytest.raises(InvalidInputError, match="no such file"):
            load_model(text)
    with pytest.raises(InvalidInputError, match=r"no config\.json"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InvalidInputError, match="not valid JSON"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(InvalidInputError, match="JSON object"):
        load_model(str(tmp_path))


def test_no_framework_is_imported() -> None:
    code = """
import sys
from archsearch.workload import Workload
from archsearch.models.registry.families import load_preset, preset_names
from archsearch.models.huggingface import to_hf
for name in preset_names():
    config = load_preset(name)
    frames = {"frames": 17} if "frames" in config.default_sizes else {}
    config.lower(Workload(seq_len=64, height=512, width=512, **frames))
to_hf(load_preset("gpt2"))
print([m for m in ("torch", "transformers", "diffusers", "pandas") if m in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_families_are_complete() -> None:
    assert {load_preset(name).family for name in preset_names()} == set(FAMILIES)
