"""``archsearch spaces``: search spaces that ship or that the user keeps."""

from __future__ import annotations

from typing import Annotated

import typer

from archsearch.cli.completion import complete_space
from archsearch.cli.options import Json
from archsearch.cli.output import print_json, print_table

app = typer.Typer(help="Search spaces.", no_args_is_help=True)


@app.command("list")
def list_all(json: Json = False) -> None:
    """List the search spaces."""
    from archsearch.search.space.space import list_spaces, load_space

    spaces = [load_space(name) for name in list_spaces()]
    rows = [{"name": s.name, "family": s.family, "cells": s.size, "description": s.description} for s in spaces]
    if json:
        print_json(rows)
    else:
        table = [(r["name"], r["family"], f"{r['cells']:,}", r["description"]) for r in rows]
        columns = ("space", "family", "cells", "description")
        print_table("", columns, table, left=("space", "family", "description"))


@app.command("show")
def show(
    space: Annotated[str, typer.Argument(help="A space's name or YAML file.", autocompletion=complete_space)],
    json: Json = False,
) -> None:
    """Show a search space."""
    from archsearch.search.space.space import load_space

    loaded = load_space(space)
    if json:
        print_json(loaded.record.model_dump(mode="json"))
    else:
        print(loaded.source_text, end="")
