"""``archsearch build``: a runnable torch script of one architecture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from archsearch.cli.completion import complete_design
from archsearch.cli.groups import grouped
from archsearch.cli.options import AllowStudyCode, Json, Pool, Profiles, Storage, WorkloadOptions
from archsearch.cli.output import note, print_json
from archsearch.files import write_text

if TYPE_CHECKING:
    from archsearch.models.base import ModelConfig
    from archsearch.workload import Workload


@grouped
def build(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|STUDY:RANK|SPACE:RANK",
            help="A preset, a config.json, an archsearch YAML, or a recommendation of a stored study or a space.",
            autocompletion=complete_design,
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write it (default: stdout).")] = None,
    hardware: Pool = None,
    storage: Storage = None,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    workload: WorkloadOptions,
) -> None:
    """Write a small torch script that builds an architecture's module and calls it.

    The module is the published class that is this architecture, else plain torch. A recommendation keeps the workload
    that it was chosen for; of a pipeline it is the transformer, in one call.
    """
    from archsearch.models.huggingface.script import build_script

    source, _, rank = model.rpartition(":")
    if source and rank.isascii() and rank.isdigit():
        workload.refuse(f"{model}: a recommendation keeps its workload")
        chosen = _ranked(source, int(rank), hardware, storage)
    else:
        chosen = _named(model, hardware, workload)
    script = build_script(chosen.config, chosen.workload, f"{model}, built by archsearch.{chosen.about}")
    if output is not None:
        write_text(output, script)
        note(f"wrote {output}")
    if json:
        print_json(_document(model, chosen, script))
    elif output is None:
        print(script, end="")


class _Chosen(NamedTuple):
    """An architecture, the workload that its script calls it on, and a sentence on where it is from."""

    config: ModelConfig
    workload: Workload
    about: str = ""


def _document(model: str, chosen: _Chosen, script: str) -> dict[str, object]:
    from archsearch.models.huggingface import published_class
    from archsearch.models.huggingface.script import script_module

    published = published_class(chosen.config)
    return {
        "model": model,
        "config": script_module(chosen.config, chosen.workload).config,
        "parameters": int(chosen.config.parameters()),
        "hf_class": None if published.difference else published.name,
        "hf_difference": published.difference or None,
        "script": script,
    }


def _named(model: str, hardware: str | None, workload: WorkloadOptions) -> _Chosen:
    """A model by name or file, on the workload that was asked for.

    Raises:
        UnknownNameError: no such model.
        InvalidInputError: a pool, which has no effect, or code that builds its module already.
    """
    from archsearch.errors import InvalidInputError
    from archsearch.estimate_result import workload_of
    from archsearch.models.registry.load import load_model
    from archsearch.models.tracing import is_builder

    if hardware is not None:
        raise InvalidInputError(f"--hardware has no effect on {model}: it is where a space is searched for")
    if is_builder(model):
        raise InvalidInputError(f"{model} is code that builds its module already: import it and call it")
    config = load_model(model)
    return _Chosen(config, workload_of(config, workload.fields)[0])


def _ranked(source: str, rank: int, hardware: str | None, storage: str | None) -> _Chosen:
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
        return _Chosen(export.config, export.workload)
    sampling = ", ".join(f"{name} {value}" for name, value in export.sampling.items())
    about = f" The transformer of pipeline {export.whole.template.name}, sampled\nwith {sampling}."
    return _Chosen(export.config, export.workload, about)
