"""What `--json` prints, described key by key; `test_witnesses.py` holds every call of every verb against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from verbs import asker
from witness_files import DITS, SPACE

from archsearch.cli.answer_keys import Answers, answers, leaves, read_answers
from archsearch.errors import InvalidInputError
from archsearch.files import write_text


@pytest.fixture
def toy(tmp_path: Path) -> Answers:
    """Keys of two verbs, as a file describes them."""
    return described(
        tmp_path,
        """
records:
  item: {about: an item, keys: {n: whole number | | a count, "note?": text? | | a remark}}
verbs:
  show:
    about: one
    keys:
      x: number | s | a time
      open: true or false | | a switch
      items: list of item | | several
      by: names to number? | | by name
      either: text or list of text | | one or several
  list: {about: several, is: list of item}
  file: {about: a file, is: names to anything, versioned: false}
""",
    )


def described(folder: Path, text: str) -> Answers:
    return read_answers(write_text(folder / "keys.yaml", text))


GOOD: dict[str, Any] = {
    "schema": 1,
    "x": 2,
    "open": False,
    "items": [{"n": 1}, {"n": 2, "note": None}],
    "by": {"a": 1.5, "b": None},
    "either": ["a"],
}


def test_a_document_as_described_has_no_faults(toy):
    assert toy.faults("show", GOOD) == []
    assert toy.faults("show", GOOD | {"either": "a", "x": 0.5}) == []
    assert toy.faults("list", [{"n": 1}]) == []
    assert toy.faults("file", {"schema": "of the file's own"}) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"schema": 2}, "schema: 2, not 1"),
        ({"x": "2"}, '.x: "2" is no number'),
        ({"x": True}, ".x: true is no number"),
        ({"x": None}, ".x: null is no number"),
        ({"open": 1}, ".open: 1 is no true or false"),
        ({"items": [{"n": 1.0}]}, ".items[].n: 1.0 is no whole number"),
        ({"items": [{}]}, ".items[].n: missing"),
        ({"items": {"n": 1}}, '.items: {"n": 1} is no list'),
        ({"by": {"a": "1"}}, '.by.a: "1" is no number?'),
        ({"either": [1]}, ".either[]: 1 is no text"),
        ({"either": 1}, ".either: 1 is no text or list of text"),
        ({"more": 1}, ".more: not described"),
    ],
)
def test_what_differs_is_told_with_its_place(toy, change, fault):
    assert toy.faults("show", GOOD | change) == [fault]


def test_a_missing_key_is_told(toy):
    assert toy.faults("show", {k: v for k, v in GOOD.items() if k != "by"}) == [".by: missing"]


@pytest.mark.parametrize(
    ("line", "told"),
    [("x: number | s", "show.x: expected TYPE"), ("x: numbr | s | a time", "no type 'numbr'")],
)
def test_a_line_that_says_nothing_is_refused(line, told, tmp_path):
    with pytest.raises(InvalidInputError, match=told):
        described(tmp_path, f"records: {{}}\nverbs:\n  show:\n    about: one\n    keys:\n      {line}\n")


def test_every_record_is_read_by_some_key():
    found = answers()
    used = {leaf for keys in found.records.values() for key in keys for leaf in leaves(key.kind)}
    used |= {leaf for answer in found.verbs.values() for leaf in leaves(answer.kind)}
    assert [name for name in found.records if name not in used] == []


def shapes(value: Any) -> Any:
    """A document with types in place of values."""
    if isinstance(value, dict):
        return {name: shapes(item) for name, item in value.items()}
    return [shapes(item) for item in value] if isinstance(value, list) else type(value).__name__


@pytest.mark.parametrize("content", [SPACE, DITS], ids=["tiny", "dits"])
def test_a_space_an_enumerated_and_a_sampled_study_print_values_of_one_type(content, capsys, tmp_path):
    ask, path = asker(capsys), str(tmp_path / "space.yaml")
    write_text(Path(path), yaml.safe_dump(content))
    ask("study", "run", path, "--name", "whole")
    ask("study", "run", path, "--name", "drawn", "--strategy", "random", "--trials", "30")
    enumerated = [shapes(row) for row in ask("enumerate", path)["front"]]
    for source in ("whole", "drawn", path):
        for row in ask("recommend", source, "--top", "3")["recommendations"]:
            assert {name: shapes(row[name]) for name in enumerated[0]} == enumerated[0], source
