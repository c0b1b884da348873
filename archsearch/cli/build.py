"""``archsearch build``: a runnable torch script of one architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from archsearch.cli.groups import grouped
from archsearch.cli.options import AllowStudyCode, Json, Pool, Profiles, Storage, WorkloadOptions
from archsearch.cli.output import note, print_json


@grouped
def build(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|STUDY:RANK|SPACE:RANK",
            help="A preset, a config.json, an archsearch YAML, or a recommendation of a stored study or a space.",
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write it (default: stdout).")] = None,
    hardware: Pool = None,
    storage: Storage = None,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    work: WorkloadOptions,
) -> None:
    """Write a small torch script that builds an architecture's module and calls it.

    The module is the published class that is this architecture, else plain torch. A recommendation keeps the workload
    that it was chosen for; of a pipeline it is the transformer, in one call.
    """
    from archsearch.api import workload_of
    from archsearch.errors import InvalidInputError
    from archsearch.models.huggingface import published_class
    from archsearch.models.huggingface.script import build_script, script_module
    from archsearch.models.registry.load import load_model
    from archsearch.models.tracing import is_builder

    source, _, rank = model.rpartition(":")
    if source and rank.isascii() and rank.isdigit():
        work.refuse(f"{model}: a recommendation keeps its workload")
        config, workload, about = _ranked(source, int(rank), hardware, storage)
    else:
        if hardware is not None:
            raise InvalidInputError(f"--hardware has no effect on {model}: it is where a space is searched for")
        if is_builder(model):
            raise InvalidInputError(f"{model} is code that builds its module already: import it and call it")
        about = ""
        config = load_model(model)
        workload = workload_of(config, **work.workload)[0]
    text = build_script(config, workload, f"{model}, built by archsearch.{about}")
    if output is not None:
        output.write_text(text, encoding="utf-8")
        note(f"wrote {output}")
    if json:
        published = published_class(config)
        print_json(
            {
                "model": model,
                "config": script_module(config, workload).config,
                "parameters": int(config.parameters()),
                "hf_class": None if published.difference else published.name,
                "hf_difference": published.difference or None,
                "script": text,
            }
        )
    elif output is None:
        print(text, end="")


def _ranked(source: str, rank: int, hardware: str | None, storage: str | None) -> tuple[Any, Any, str]:
    """The architecture of a rank of a stored study or a space, the workload of one call of it, and how a pipeline
    samples it.

    Raises:
        InvalidInputError: no such rank.
        UnsupportedError: a module of the user's own.
    """
    from archsearch.errors import InvalidInputError
    from archsearch.search.answers.export import export_of
    from archsearch.search.answers.recommend import recommend

    frame = recommend(source, hardware, top=max(rank, 1), storage=storage)
    if not 1 <= rank <= len(frame):
        raise InvalidInputError(f"{source} has {len(frame)} recommended architectures; there is no rank {rank}")
    export = export_of(frame, rank)
    if export.whole is None:
        return export.config, export.workload, ""
    told = ", ".join(f"{name} {value}" for name, value in export.sampling.items())
    about = f" The transformer of pipeline {export.whole.template.name}, sampled\nwith {told}."
    return export.config, export.workload, about
