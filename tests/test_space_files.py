"""Space files as users write them: what is wrong is told in the file's own terms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from archsearch.api import recommend
from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.search.space.schema import SpaceRecord
from archsearch.search.space.space import parse_space
from archsearch.yaml_records import problems_of

WRONG = """name: wrong
description: every kind of mistake
family: decoder
fixed:
  vocab_size: many
  qk_norm: 1
  num_kv_heads: 4
dimensions:
  hidden_size: {choices: [512, 1000]}
  num_layers: {choices: [2, 2.5]}
derived:
  num_attention_heads: hiden_size // 64
"""


def test_all_problems_of_a_space_are_told_one_a_line_in_its_own_terms(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    with pytest.raises(InvalidInputError) as told:
        parse_space(path)
    starts = {
        "12: derived.num_attention_heads: unknown field 'hiden_size': did you mean hidden_size",
        "7: fixed.num_kv_heads: unknown decoder field 'num_kv_heads': did you mean num_key_value_heads",
        "5: fixed.vocab_size: must be a whole number, not 'many'",
        "6: fixed.qk_norm: must be true or false, not 1",
        "10: dimensions.num_layers: must be a whole number, not 2.5",
        "1: family decoder lacks intermediate_size; required are num_layers, hidden_size, num_attention_heads, ",
        "9: dimensions.hidden_size: 1000 not a multiple of 64",
    }
    lines = [line.removeprefix(f"{path}:") for line in str(told.value).splitlines()]
    assert len(lines) == len(starts)
    assert [line for line in lines if not line.startswith(tuple(starts))] == []
    assert "the others have defaults (`archsearch models fields decoder` lists all)" in str(told.value)


def test_an_unknown_family_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG.replace("family: decoder", "family: decodr"))
    says = r"wrong\.yaml:3: family: unknown model family 'decodr': did you mean decoder"
    with pytest.raises(ArchSearchError, match=says):
        parse_space(path)


def test_key_value_heads_left_out_are_the_heads(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        "name: small\ndescription: no key/value heads\nfamily: decoder\n"
        "fixed: {vocab_size: 1024, intermediate_size: 64}\n"
        "dimensions: {hidden_size: {choices: [128, 256]}, num_layers: {choices: [2, 3]}}\n"
        "derived: {num_attention_heads: hidden_size // 64}\n"
    )
    space = parse_space(path)
    config = space.build(space.field_values(space.mesh()))
    np.testing.assert_array_equal(config.num_key_value_heads, [[2], [4]])


def test_a_plain_number_is_a_derived_field(tmp_path: Path) -> None:
    """``head_dim: 64`` is an expression as ``"64"`` is; true is no number."""
    path = tmp_path / "small.yaml"
    text = (
        "name: small\ndescription: heads of 64\nfamily: decoder\nfixed: {vocab_size: 1024, intermediate_size: 64}\n"
        "dimensions: {hidden_size: {choices: [128, 256]}, num_layers: {choices: [2, 3]}}\n"
        "derived: {head_dim: 64, num_attention_heads: hidden_size // head_dim}\n"
    )
    path.write_text(text)
    space = parse_space(path)
    config = space.build(space.field_values(space.mesh()))
    np.testing.assert_array_equal(config.head_dim, 64)
    np.testing.assert_array_equal(config.num_attention_heads, [[2], [4]])
    path.write_text(text.replace("head_dim: 64,", "head_dim: true,"))
    with pytest.raises(InvalidInputError, match=r"small\.yaml:6: derived"):
        parse_space(path)


TRAINED = {"hardware": "h100-sxm", "tokens": 1e9, "batch_size": 8}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"training": {**TRAINED, "zero": 3, "gpus": 1}}, "training: zero: 3 divides what several GPUs hold, and gpus"),
        ({"training": {**TRAINED, "zero": True}}, "training.zero: must be no true or false (found True)"),
        ({"training": {**TRAINED, "dtype": "int8"}}, "training: dtype: int8 is no format that models are trained in"),
        ({"training": {**TRAINED, "gpus": True}}, "training.gpus: must be no true or false (found True)"),
        ({"width_multiple": True}, "width_multiple: must be no true or false (found True)"),
        ({"budget": {"parameters": [True, 2]}}, "budget.parameters: must be no true or false"),
        ({"prices": {"l4": True}}, "prices: must be no true or false"),
    ],
)  # fmt: skip
def test_what_no_training_run_and_no_number_is_refused(more: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError) as told:
        SpaceRecord.model_validate({**ROOT, **more})
    assert [line for line in problems_of(told.value, SpaceRecord) if line.startswith(says)]


ROOT = {"name": "a", "description": "b", "family": "decoder", "dimensions": {"num_layers": {"choices": [1, 2]}}}


@pytest.mark.parametrize(
    "more",
    [
        {"training": {**TRAINED, "gpus": 1}},
        {"training": {**TRAINED, "checkpointing": True}},
        {"fixed": {"qk_norm": True}},
        {"baseline": {"qk_norm": True}},
        {"execution": {"compiled": True}},
    ],
)
def test_truth_is_legal_where_it_means_something(more: dict[str, object]) -> None:
    assert SpaceRecord.model_validate({**ROOT, **more})


TRAINS = """name: trains
description: sizes of the training run left out
family: decoder
fixed: {vocab_size: 1024, intermediate_size: 512}
dimensions: {hidden_size: {choices: [128, 256]}, num_layers: {choices: [2, 3]}}
derived: {num_attention_heads: hidden_size // 64}
workload: {phase: train, batch_size: 4, seq_len: 128}
training: {hardware: h100-sxm, tokens: 1.0e+7, batch_size: 64, zero: 3}
objectives: [{metric: quality}, {metric: training_hours}]
"""


def test_sizes_that_training_leaves_out_are_the_familys_own(tmp_path: Path) -> None:
    path = tmp_path / "trains.yaml"
    path.write_text(TRAINS)
    own = recommend(path, "h100-sxm", top=1, progress=False)
    said = recommend(path, "h100-sxm", set={"training.seq_len": 2048}, top=1, progress=False)
    assert own.attrs["training"] == said.attrs["training"]
    assert own.attrs["training"]["seq_len"] == 2048
    assert float(own["training_hours"].iloc[0]) == float(said["training_hours"].iloc[0])
    assert 0 < float(own["training_memory_share"].iloc[0]) < 1
