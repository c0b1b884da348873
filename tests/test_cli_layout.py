"""Tables of all verbs in lines of 60 and 80 characters: nothing broken in the middle, no line too wide."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from archsearch.cli import output
from archsearch.cli.main import run
from archsearch.cli.table import Drawn, drawn_table

NARROW = (60, 80)

CALLS = [
    "estimate llama-3.1-8b -g h100-sxm",
    "hardware list --architecture hopper",
    "hardware show t4",
    "hardware compare h100-sxm l4 rtx-5090",
    "models list",
    "spaces list",
    "enumerate modernbert-base-budget -g h100-sxm",
    "recommend modernbert-base-budget -g t4,h100-sxm",
    "pipeline estimate flux-dev -g l40s",
    "pipeline optimize sana-0.6b -g l40s",
    "pipeline fits flux-dev -g t4,l4,h100-sxm",
    "pipeline compare sana-0.6b pixart-sigma -g h100-sxm",
    "pipeline levers",
    "pipeline list",
    "serve fleet flux-schnell -g h100-sxm,l40s --rate 2 --p95-s 12 --max-batch 1",
]
"""Calls that print tables, with numbers and names that are long enough to be in each other's way."""


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """The arguments of every table that is printed."""
    seen: list[tuple[Any, Any]] = []

    def recorded(*given: Any, **named: Any) -> Drawn:
        seen.append((given, named))
        return drawn_table(*given, **named)

    monkeypatch.setattr(output, "drawn_table", recorded)
    return seen


def words(lines: list[str]) -> set[str]:
    """Words of a table with a digit, or joined of several, which a fold would break."""
    return {word for line in lines for word in line.split() if re.search(r"\d|[._+]\w", word)}


@pytest.mark.parametrize("call", CALLS)
def test_no_table_is_wider_than_the_line_or_breaks_a_word(call, tables, capsys):
    assert run(call.split()) == 0
    assert tables
    capsys.readouterr()
    for given, named in tables:
        wide = words(drawn_table(*given, **named | {"width": None}).lines)
        for width in NARROW:
            lines, missing = drawn_table(*given, **named | {"width": width})
            assert [line for line in lines if len(line) > width and len(line.split()) > 1] == []
            shown = words(lines)
            assert {word for word in shown - wide if "/" not in word} == set()  # a repository may fold at its slash
            if not missing:
                assert {word for word in wide - shown if "/" not in word} == set()


def test_every_number_of_the_answer_that_the_table_shows_is_whole_at_eighty(capsys, monkeypatch):
    """Latencies of each GPU's best, as the JSON answer has them, rounded as people read them."""
    assert run(["recommend", "modernbert-base-budget", "-g", "t4,h100-sxm,l4,a10", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(["recommend", "modernbert-base-budget", "-g", "t4,h100-sxm,l4,a10"]) == 0
    shown = capsys.readouterr().out.split()
    for record in answer["recommendations"]:
        for seconds in record["latency_s"].values():
            assert f"{seconds * 1e3:.4g}" in shown
        assert f"{record['throughput']['h100-sxm']:,.0f}" in shown


def rows() -> list[list[str]]:
    return [["first", "0.00178", "128x256", "a text of many words"], ["second", "12.5", "64x64", "another"]]


COLUMNS = ("op", "ms", "tile", "why")


def test_columns_are_left_out_in_order_and_named():
    lines, missing = drawn_table("", COLUMNS, rows(), left=("op", "why"), less=("why", "tile"), width=29)
    assert (lines[1].split(), missing) == (["op", "ms", "tile"], ["why"])
    lines, missing = drawn_table("", COLUMNS, rows(), left=("op", "why"), less=("why", "tile"), width=22)
    assert (lines[1].split(), missing) == (["op", "ms"], ["tile", "why"])


def test_what_is_left_out_is_said(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(["estimate", "bert-base", "-g", "t4", "--dtype", "fp16"]) == 0
    said = capsys.readouterr().err
    assert "not shown for want of room: kind, count, tile, waves, wave eff. (a wider terminal" in said


def test_what_has_no_room_becomes_a_block_a_row():
    lines, _ = drawn_table("", COLUMNS, rows(), left=("op", "why"), width=30)
    assert lines[1:5] == ["first", "  ms 0.00178   tile 128x256", "  why a text of many words", ""]
    assert lines[5:7] == ["second", "  ms 12.5   tile 64x64"]


def test_a_block_whose_first_column_is_a_number_names_it():
    lines, _ = drawn_table("", ("hidden_size", "layers"), [["768", "12"], ["1024", "6"]], width=18)
    assert lines[1:3] == ["hidden_size 768", "  layers 12"]


def test_things_side_by_side_without_room_stand_in_a_second_table():
    columns = ("rank", "1", "2", "3")
    lines, _ = drawn_table("", columns, [["ms", "10.25", "11.25", "12.25"]], left=("rank",), beside=True, width=24)
    heads = [line.split() for line in lines if line.strip().startswith("rank")]
    assert heads == [["rank", "1", "2"], ["rank", "3"]]
    assert [line.split() for line in lines if line.strip().startswith("ms")] == [
        ["ms", "10.25", "11.25"],
        ["ms", "12.25"],
    ]


def test_addresses_stay_whole_and_long_repositories_fold_at_a_slash():
    address = "https://example.com/a/very/long/address/that/nobody/can/type"
    lines, _ = drawn_table("", ("a", "source"), [["x", address]], left=("a", "source"), width=40)
    assert any(address in line for line in lines)
    repository = "organisation-of-many/repository-with-a-name"
    lines, _ = drawn_table("", ("a", "source"), [["x", repository]], left=("a", "source"), width=40)
    assert any(line.endswith("organisation-of-many/") for line in lines)
