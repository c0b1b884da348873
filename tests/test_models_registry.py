"""Families, presets and models from files."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.estimate_result import workload_of
from archsearch.models.base import ModelConfig
from archsearch.models.family_fields import family_fields, shipped_meanings
from archsearch.models.field_types import missing_fields
from archsearch.models.registry.families import FAMILIES, get_family, load_preset, preset_names, presets_of
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
        ("- a\n- b\n", "expected 'field: value' lines, found list"),
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
    assert all(line.startswith(f"{path}:") for line in str(told.value).splitlines())


def test_every_problem_of_a_model_file_has_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "family: decoder\nnum_layers: 2\nhidden_sice: 64\nvocab_size: many\nqk_norm: 1\n")
    with pytest.raises(InvalidInputError) as told:
        load_model(path)
    lines = str(told.value).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"{path}:3: decoder config has no field 'hidden_sice'; did you mean hidden_size")
    assert lines[1] == f"{path}:4: decoder config: vocab_size must be a whole number, not 'many'"
    assert lines[2] == f"{path}:5: decoder config: qk_norm must be true or false, not 1"
    assert "lacks hidden_size, num_attention_heads, intermediate_size; required are num_layers," in lines[3]


@pytest.mark.parametrize(
    ("family", "given", "field", "value"),
    [
        ("decoder", {"intermediate_size": 96, "vocab_size": 128}, "num_key_value_heads", 4),
        ("dit", {}, "intermediate_size", 256),
        ("clip-text", {}, "intermediate_size", 256),
    ],
)
def test_a_field_left_out_follows_another(family: str, given: dict[str, int], field: str, value: int) -> None:
    config_class = get_family(family)
    sizes = {"num_layers": 2, "hidden_size": 64, "num_attention_heads": 4, **given}
    config = config_class.from_dict(sizes)
    assert getattr(config, field) == value
    assert config == config_class.from_dict({**sizes, field: None}) == config_class.from_dict({**sizes, field: value})
    assert config.to_dict()[field] == value
    widths = np.array([64, 128])
    grid = config_class(**{**sizes, "hidden_size": widths, "num_attention_heads": widths // 16})
    np.testing.assert_array_equal(getattr(grid, field), [value, 2 * value])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_has_a_meaning_and_what_is_required_is(family: str) -> None:
    config_class = get_family(family)
    found = family_fields(family, config_class)
    assert [f.name for f in found] == [f.name for f in fields(config_class)]
    assert all(f.meaning for f in found), [f.name for f in found if not f.meaning]
    (name, *_) = presets_of(family)
    preset = load_preset(name).to_dict()
    for field in found:
        rest = {n: v for n, v in preset.items() if n != field.name}
        problems = [p for p in missing_fields(family, config_class, rest) if field.name in p.told.split(";")[0]]
        assert bool(problems) is field.required
        if not field.required and field.default not in ("null", None) and "size" not in str(field.default):
            read = yaml.safe_load(str(field.default))
            default = getattr(config_class(**rest), field.name)
            if field.name != "num_key_value_heads":
                assert default == (tuple(read) if isinstance(read, list) else read), field.name


def test_meanings_name_what_a_config_takes() -> None:
    """Where a meaning lists values, each is taken, and the config's own refusal lists the same."""
    checked = 0
    for family in FAMILIES:
        config_class, (name, *_) = get_family(family), presets_of(family)
        for field in family_fields(family, config_class):
            if field.type != "name":
                continue
            preset = {**load_preset(name).to_dict(), field.name: "none such"}
            with pytest.raises(InvalidInputError, match=field.name) as told:
                config_class.from_dict(preset)
            words = re.findall(r"[a-z_]{2,}", str(told.value).partition("must be ")[2])
            legal = [word for word in words if word not in ("one", "of", "or")]
            assert legal
            assert all(re.search(rf"\b{word}\b", field.meaning) for word in legal), (family, field.name, legal)
            checked += 1
    assert checked >= 10


def test_no_meaning_is_of_a_field_that_is_not_there() -> None:
    meanings = shipped_meanings()
    names = {family: {f.name for f in fields(get_family(family))} for family in FAMILIES}
    assert set(meanings.common) <= set().union(*names.values())
    assert {f: set(own) - names[f] for f, own in meanings.families.items() if set(own) - names[f]} == {}


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
