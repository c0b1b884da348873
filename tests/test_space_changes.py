"""Keys of a space set to other values for one run: as if the file said so, and kept with what comes of it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from archsearch.api import enumerate_space, recommend, resume_study, run_study
from archsearch.cli.main import run
from archsearch.errors import InvalidInputError
from archsearch.search.space.changes import known_keys, parse_changes
from archsearch.search.space.space import SearchSpace, parse_space
from archsearch.search.studies.storage import load_study, study_names
from archsearch.search.studies.study import study_space, summarize_study

SMALL = """name: small
description: a few decoders
family: decoder
fixed: {vocab_size: 1024}
dimensions:
  hidden_size: {choices: [128, 256]}
  num_layers: {range: [2, 4]}
  intermediate_size: {choices: [512, 1024]}
derived: {num_attention_heads: hidden_size // 64}
workload: {batch_size: 4, seq_len: 128, dtype: fp16}
execution: torch-compiled
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def written(small: Path, old: str, new: str) -> Path:
    assert old in SMALL
    path = small.with_name("written.yaml")
    path.write_text(SMALL.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"workload.batch_size": 16}, "batch_size: 4", "batch_size: 16"),
        ({"workload.dtype": "bf16", "workload.seq_len": 64}, "seq_len: 128, dtype: fp16", "seq_len: 64"),
        ({"dimensions.num_layers.choices": [2, 8]}, "range: [2, 4]", "choices: [2, 8]"),
        ({"dimensions.hidden_size.range": [128, 192], "dimensions.hidden_size.step": 64},
         "choices: [128, 256]", "range: [128, 192], step: 64"),
        ({"fixed.intermediate_size": 768},
         "  intermediate_size: {choices: [512, 1024]}\n", "  qk_norm: {choices: [0]}\n"),
        ({"execution.attention": "eager"}, "torch-compiled", "{name: torch-compiled, attention: eager}"),
        ({"budget.parameters": [0.4e6, 1.5e6]}, "workload:", "budget: {parameters: [4.0e+5, 1.5e+6]}\nworkload:"),
        ({"workload.batch_size": None}, "batch_size: 4, ", ""),
    ],
)  # fmt: skip
def test_it_is_as_if_the_file_said_so(small: Path, changes: dict[str, object], old: str, new: str) -> None:
    changed = parse_space(small).with_keys(changes)
    if "qk_norm" in new:
        text = SMALL.replace(old, "").replace("vocab_size: 1024", "vocab_size: 1024, intermediate_size: 768")
        path = small.with_name("written.yaml")
        path.write_text(text)
    else:
        path = written(small, old, new)
    assert changed.record == parse_space(path).record
    assert changed.changes == changes
    columns = ["hidden_size", "num_layers", "latency_s:h100-sxm", "quality", "parameters"]
    a, b = (enumerate_space(space, "h100-sxm")[columns] for space in (changed, path))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_values_are_yaml() -> None:
    said = ["workload.batch_size=8", "dimensions.num_layers.choices=[12, 24]", "fixed.qk_norm=true", "baseline="]
    assert parse_changes(said) == {
        "workload.batch_size": 8, "dimensions.num_layers.choices": [12, 24], "fixed.qk_norm": True, "baseline": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("batch_size=8", "no key of a space file; did you mean workload.batch_size, training.batch_size"),
        ("workload.batchsize=8", "no key of a space file; did you mean workload.batch_size"),
        ("budget.parameters=3e8", "budget.parameters: write [min, max], for example"),
        ("zzz=8", "no key of a space file; known: name, description, family"),
        ("workload.batch_size=many", "--set workload.batch_size: Input should be a valid integer"),
        ("workload.dtype=fp17", "unknown dtype 'fp17'"),
        ("dimensions.num_layers.stride=2", "dimensions.num_layers.stride: unknown field; did you mean step"),
        ("dimensions.depth.choices=[2]", "dimensions.depth: unknown decoder field 'depth'"),
        ("fixed.hidden_size=100", "fixed.hidden_size: 100 not a multiple of 64"),
        ("name.x=1", "name is 'small' in this space, no mapping; set name as a whole"),
        ("workload.batch_size", "expected KEY=VALUE"),
        ("workload.batch_size=[", "is not YAML"),
    ],
)
def test_what_no_space_has_is_refused(small: Path, capsys: pytest.CaptureFixture[str], said: str, told: str) -> None:
    assert run(["enumerate", str(small), "-g", "h100-sxm", "--set", said]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "--set" in error


def test_a_key_is_set_once() -> None:
    with pytest.raises(InvalidInputError, match="given twice"):
        parse_changes(["workload.batch_size=8", "workload.batch_size=9"])


def test_every_known_key_is_one_of_a_space(small: Path) -> None:
    keys = known_keys()
    assert {"workload.seq_len", "training.zero", "pool.objectives", "budget.latency_ms", "hardware"} <= set(keys)
    space = parse_space(small)
    for key in ("quality.proxy", "budget.memory_gib", "training", "lifetime", "baseline"):
        assert space.with_keys({key: None}).record == space.record


def test_studies_keep_what_was_set_and_are_told_apart(small: Path, tmp_path: Path) -> None:
    storage = str(tmp_path / "store.journal")
    options = {"storage": storage, "progress": False}
    plain = run_study(small, "h100-sxm", **options)
    more = run_study(small, "h100-sxm", set={"workload.batch_size": 16}, **options)
    sampled = run_study(small, "h100-sxm", set={"workload.batch_size": 2}, strategy="random", trials=3, **options)
    names = [study.study_name for study in (plain, more, sampled)]
    assert names == ["small-h100-sxm", "small-h100-sxm-batch_size=16", "small-h100-sxm-batch_size=2"]
    assert [summarize_study(study)["set"] for study in (plain, more)] == [{}, {"workload.batch_size": 16}]
    resumed = resume_study(names[2], trials=2, **options)
    assert study_space(resumed, storage).changes == {"workload.batch_size": 2}
    assert study_space(resumed, storage).workload.batch_size == 2
    best = recommend(names[1], storage=storage, top=1)
    assert best.attrs["set"] == {"workload.batch_size": 16}
    told = recommend(small, "h100-sxm", set={"workload.batch_size": 16}, top=1, progress=False)
    assert told.attrs["set"] == best.attrs["set"]
    assert float(told["latency_s:h100-sxm"].iloc[0]) == float(best["latency_s:h100-sxm"].iloc[0])
    with pytest.raises(InvalidInputError, match="keeps its space as it ran: leave out set, or name the space"):
        recommend(names[1], set={"workload.batch_size": 8}, storage=storage)


def test_nothing_set_is_the_space_itself(small: Path) -> None:
    space: SearchSpace = parse_space(small)
    assert space.with_keys({}) is space


def test_a_baseline_that_cannot_be_priced_is_named_and_leaves_no_study(small: Path, tmp_path: Path) -> None:
    storage, changes = str(tmp_path / "studies.db"), {"baseline": "gpt2-medium", "workload.seq_len": 2048}
    with pytest.raises(InvalidInputError, match=r"baseline gpt2-medium: seq_len 2048 exceeds .* name another baseline"):
        run_study(small, "a10", storage=storage, name="orphan", set=changes, progress=False)
    assert study_names(storage) == []
    kept = run_study(small, "a10", storage=storage, name="orphan", progress=False)
    before = len(kept.trials)
    with pytest.raises(InvalidInputError, match="baseline gpt2-medium"):
        run_study(small, "a10", storage=storage, name="orphan", overwrite=True, set=changes, progress=False)
    assert before > 0
    assert len(load_study("orphan", storage).trials) == before


def test_an_enumeration_without_anything_valid_fails_with_counts_and_leaves_no_study(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = str(tmp_path / "studies.db")
    call = ["study", "run", str(small), "-g", "a10", "--name", "none", "--storage", storage]
    assert run([*call, "--set", "budget.parameters=[1, 2]"]) == 2
    out, error = capsys.readouterr()
    assert "no architecture of small is valid on a10: of 12, " in error
    assert "budget: parameters at most 2 (12)" in error
    assert "next:" not in out + error
    assert study_names(storage) == []
