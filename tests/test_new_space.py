"""New spaces run as they are written, and say of every key what it means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from archsearch.api import enumerate_space, recommend
from archsearch.cli.main import run
from archsearch.errors import InvalidInputError
from archsearch.models.registry.families import FAMILIES, get_family, load_preset
from archsearch.quality.modalities import default_name
from archsearch.search.space.new_space import new_space
from archsearch.search.space.schema import SpaceRecord
from archsearch.search.space.space import SearchSpace, space_from_text
from archsearch.yaml_keys import keys_of, sections_of

SEARCHED = [family for family in FAMILIES if default_name(family) is not None]
NOT_THERE = {"builder", "pipeline", "sampling", "distillation"}


@pytest.mark.parametrize("family", SEARCHED)
def test_a_new_space_runs_as_it_is_written(family: str) -> None:
    space = space_from_text(new_space(family), family)
    front = enumerate_space(space, progress=False)
    assert list(front.attrs["hardware"]) == ["h100-sxm"]
    assert front.attrs["valid"] > 1
    assert len(front) >= 1
    assert space.family == family
    assert _baseline_is_a_cell(space)


def _baseline_is_a_cell(space: SearchSpace) -> bool:
    """The model that it lies around is one of its architectures, to the last field."""
    preset = load_preset(str(space.record.baseline))
    cell = {name: int(getattr(preset, name)) for name in space.dimensions}
    assert all(value in space.dimensions[name] for name, value in cell.items())
    return get_family(space.family).from_dict(space.config_dict(cell)) == preset


@pytest.mark.parametrize(("family", "size"), [("decoder", 300e6), ("decoder", 3e9), ("dit", 200e6), ("flux", 3e9)])
def test_a_new_space_of_a_size_has_models_and_a_baseline_of_that_size(family: str, size: float) -> None:
    space = space_from_text(new_space(family, parameters=size), family)
    front = enumerate_space(space, progress=False)
    baseline = space.record.baseline
    assert isinstance(baseline, dict)
    model = get_family(family).from_dict(dict(baseline))
    assert float(model.parameters()) == pytest.approx(size, rel=0.1)
    assert front["parameters"].between(size * 0.75, size * 1.3).all()
    assert all(baseline[name] in space.dimensions[name] for name in space.dimensions)
    assert baseline["hidden_size"] % baseline["num_attention_heads"] == 0


@pytest.mark.parametrize("text", ["3MB", "-1", "0", "nan", "many"])
def test_a_size_that_is_no_count_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spaces", "new", "decoder", f"--parameters={text}"]) == 2
    assert "write a count such as 300M" in capsys.readouterr().err


def test_heads_of_a_new_size_are_grouped_as_usual_and_other_widths_are_legal() -> None:
    """Eleven heads of 64 would be nearest to the size: their only groups are of one or of all queries."""
    space = space_from_text(new_space("decoder", parameters=3e8), "300m")
    own = space.record.baseline
    assert isinstance(own, dict)
    assert 2 <= int(own["num_attention_heads"]) // int(own["num_key_value_heads"]) <= 8
    legal = enumerate_space(space, progress=False)
    assert legal["hidden_size"].nunique() > 1


def test_a_space_is_called_as_its_file_in_letters_that_it_may_have(tmp_path: Path) -> None:
    assert run(["spaces", "new", "decoder", "-o", str(tmp_path / "My 300M.yaml")]) == 0
    assert yaml.safe_load((tmp_path / "My 300M.yaml").read_text())["name"] == "my-300m"
    with pytest.raises(InvalidInputError, match="such as my-300m"):
        new_space("decoder", name="My 300M")


def test_a_size_that_no_shape_has_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="is near that size; name a model"):
        new_space("decoder", parameters=1e5)


def test_what_is_recommended_keeps_the_budget() -> None:
    space = space_from_text(new_space("encoder"), "encoder")
    best = recommend(space, top=2, progress=False)
    low, high = space.record.budget.parameters or (0, 0)
    assert best["parameters"].between(low, high).all()


def uncommented(text: str) -> str:
    """The text with everything taken in that it has as a comment."""
    bare = re.sub(r"(?m)^#(?! \S)", "", text)
    return re.sub(r"(?m)^( +)#(?=[a-z_]+:)", r"\1", bare)


@pytest.mark.parametrize("family", ["decoder", "wan"])
def test_what_stands_there_as_comments_is_legal_too(family: str) -> None:
    text = new_space(family)
    whole = yaml.safe_load(uncommented(text))
    assert set(whole) == {key.name for key in keys_of(SpaceRecord)} - NOT_THERE
    record = SpaceRecord.model_validate(whole)
    assert record.training is not None
    assert record.lifetime is not None
    assert record.budget.latency_ms is not None
    assert set(yaml.safe_load(text)) < set(whole)


def test_every_key_stands_below_what_it_means() -> None:
    lines = " ".join(line.strip("# ") for line in new_space("decoder").splitlines())
    sections = sections_of(SpaceRecord)
    told = [key for key in keys_of(SpaceRecord) if key.name not in NOT_THERE]
    told += [key for name in ("budget", "training", "lifetime") for key in keys_of(sections[name])]
    sizes = ("height", "width", "frames")
    assert [key.name for key in told if key.told not in lines and key.name not in sizes] == []


def test_it_lies_around_the_model_that_is_named(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(
        "family: decoder\nnum_layers: 8\nhidden_size: 1024\nnum_attention_heads: 16\nnum_key_value_heads: 4\n"
        "intermediate_size: 2816\nvocab_size: 32000\nqk_norm: true\n"
    )
    space = space_from_text(new_space("decoder", like=str(own), hardware="t4,l4"), "mine")
    assert space.name == "my-mine"
    assert space.workload.dtype == "fp16"  # the T4 has no bf16
    assert space.record.hardware == ("t4", "l4")
    assert space.record.fixed == {"vocab_size": 32000, "qk_norm": True}
    assert space.record.derived == {
        "num_attention_heads": "hidden_size // 64",
        "num_key_value_heads": "num_attention_heads // 4",
    }
    assert 1024 in space.dimensions["hidden_size"]
    assert isinstance(space.record.baseline, dict)
    assert enumerate_space(space, "l4,h100-sxm", set={"budget": None}, progress=False).attrs["valid"] > 10


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="wan-vae is not searched: no law of quality speaks for autoencoder"):
        new_space("wan-vae")
    with pytest.raises(InvalidInputError, match="bert-base is of family encoder, not dit"):
        new_space("dit", like="bert-base")


def test_a_file_is_not_replaced_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    ask = ["spaces", "new", "dit", "-o", str(path)]
    assert run(ask) == 0
    before = path.read_text()
    assert "\nname: mine\n" in before
    assert run([*ask, "--like", "dit-b-2"]) == 2
    assert "exists: choose another file, or replace it (--overwrite)" in capsys.readouterr().err
    assert path.read_text() == before
    assert run([*ask, "--like", "dit-b-2", "--overwrite"]) == 0
    assert path.read_text() != before


def test_the_schema_is_one_of_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert run(["spaces", "schema", "--json"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == {key.name for key in keys_of(SpaceRecord)}
    assert schema["required"] == ["name", "description", "dimensions"]
    assert schema["additionalProperties"] is False
    training = schema["$defs"]["TrainingRecord"]
    assert training["required"] == ["hardware", "tokens", "batch_size"]
    assert "ZeRO" in training["description"]
