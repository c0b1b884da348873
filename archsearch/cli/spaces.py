"""``archsearch spaces``: search spaces that ship or that the user keeps."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.completion import complete_family, complete_space
from archsearch.cli.invocation import next_call
from archsearch.cli.options import Json, Profiles
from archsearch.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from pydantic import BaseModel

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
        print_json(loaded.record.model_dump(mode="json"), versioned=False)
    else:
        print(loaded.source_text, end="")


@app.command("new")
def new(
    family: Annotated[
        str, typer.Argument(help="A model family; `archsearch models list` shows them.", autocompletion=complete_family)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.yaml", help="Write it there, not to stdout.")
    ] = None,
    like: Annotated[
        str | None, typer.Option("--like", metavar="MODEL", help="The model it lies around (default: a plain preset).")
    ] = None,
    parameters: Annotated[
        str | None,
        typer.Option("--parameters", metavar="300M|1.3B", help="How large its models are; the baseline is as large."),
    ] = None,
    hardware: Annotated[
        str, typer.Option("--hardware", "-g", metavar="GPU,...", help="The GPUs that it names.")
    ] = "h100-sxm",
    name: Annotated[str | None, typer.Option("--name", help="The space's name (default: the file's).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Write a commented space that runs as it is: every key with what it means, its type and its default."""
    from archsearch.errors import InvalidInputError
    from archsearch.files import write_text
    from archsearch.search.space.new_space import new_space, space_name
    from archsearch.search.space.space import space_from_text

    if output is not None and output.exists() and not overwrite:
        raise InvalidInputError(f"{output} exists: choose another file, or replace it (--overwrite)")
    size = None if parameters is None else _count(parameters)
    named = name or (None if output is None else space_name(output.stem))
    text = new_space(family, like=like, parameters=size, hardware=hardware, name=named)
    space = space_from_text(text, str(output or "new space"))
    if output is not None:
        write_text(output, text)
    if json:
        written = {"text": text} if output is None else {"output": str(output)}
        print_json({"name": space.name, "family": family, "cells": space.size, **written})
    elif output is None:
        print(text, end="")
    else:
        around = space.record.baseline if isinstance(space.record.baseline, str) else f"a {family} of that size"
        note(f"wrote {output}: {space.size} combinations around {around}")
        note(f"next: {next_call('enumerate', str(output), carried=('--profiles',))}")


_UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def _count(text: str) -> float:
    """A count as people write it: 300M, 1.3B, 7e9.

    Raises:
        InvalidInputError: anything else, or none.
    """
    from archsearch.errors import InvalidInputError

    unit = _UNITS.get(text[-1:].upper())
    try:
        value = float(text if unit is None else text[:-1]) * (unit or 1.0)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InvalidInputError(f"--parameters {text}: write a count such as 300M, 1.3B or 7e9")
    return value


class File(StrEnum):
    """Files whose keys can be listed."""

    SPACE = "space"
    PIPELINE = "pipeline"
    GPU = "gpu"


@app.command("schema")
def schema(
    of: Annotated[File, typer.Option("--of", help="A space's file, a pipeline's, or a GPU's profile.")] = File.SPACE,
    json: Json = False,
) -> None:
    """List every key of a file: type, default, meaning. --json gives its JSON Schema, for editors."""
    from archsearch.yaml_keys import keys_of, sections_of

    record = _record(of)
    if json:
        document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **record.model_json_schema()}
        print_json(document, versioned=False)
        return
    columns = ("key", "type", "default", "meaning")
    for section, keys in {f"keys of a {of.value} file": record, **sections_of(record)}.items():
        rows = [(k.name, k.kind, "required" if k.required else k.default, k.meaning) for k in keys_of(keys)]
        print_table(section, columns, rows, left=columns)


def _record(of: File) -> type[BaseModel]:
    if of is File.PIPELINE:
        from archsearch.pipeline.pipeline_record import PipelineRecord

        return PipelineRecord
    if of is File.GPU:
        from archsearch.hardware.spec import GpuSpec

        return GpuSpec
    from archsearch.search.space.schema import SpaceRecord

    return SpaceRecord
