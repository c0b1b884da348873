"""``archsearch diff``: why two answers differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from archsearch.cli.options import Json, Profiles
from archsearch.cli.output import print_json, print_table, say

Answer = Annotated[
    Path, typer.Argument(help="What `estimate --json` or `pipeline estimate --json` printed, in a file.")
]


def diff(first: Answer, second: Answer, json: Json = False, profiles: Profiles = None) -> None:
    """Compare two answers: the fields of model, workload and execution that differ, and the seconds of each."""
    from archsearch.differences import diff as compared

    difference = compared(_read(first), _read(second))
    if json:
        print_json(difference.to_dict())
        return
    seconds = difference.b_s - difference.a_s
    say(f"{first}: {difference.a_s:.4g} s   {second}: {difference.b_s:.4g} s   difference {seconds:+.4g} s")
    if not difference.shares:
        say("no field differs")
        return
    rows = [(s.field, _cell(s.a), _cell(s.b), f"{s.seconds:+.4g}") for s in difference.shares]
    print_table("", ("field", "first", "second", "seconds"), rows, left=("field", "first", "second"))


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(path: Path) -> dict[str, Any]:
    from archsearch.errors import InvalidInputError
    from archsearch.files import read_json

    document = read_json(path)
    if not isinstance(document, dict):
        raise InvalidInputError(f"{path}: no answer of `estimate --json` or `pipeline estimate --json`")
    return document
