"""``archsearch recommend``: the dimensions to train, and why the neighbours lose."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.completion import complete_preference, complete_source
from archsearch.cli.execution_options import ExecutionOptions
from archsearch.cli.groups import grouped
from archsearch.cli.invocation import next_call
from archsearch.cli.options import AllowStudyCode, Json, PoolOptions, Profiles, SetKeys, Storage, keys_set
from archsearch.cli.output import print_json, say

if TYPE_CHECKING:
    from archsearch.search.evaluate.result import SearchResult
    from archsearch.search.space.space import SearchSpace


ATTRIBUTES = (
    *("space", "set", "family", "pipeline", "hardware", "provenance", "objectives", "prefer", "per", "workload"),
    *("execution", "quality", "gains", "pool"),
    *("dimensions_pay", "one_for_all", "energy_basis", "prices", "unpriced", "training", "lifetime"),
    *("exact", "front", "study"),
)
"""Attributes of a table of recommendations that the JSON answer has."""


class Format(StrEnum):
    """How recommendations are printed."""

    TABLE = "table"
    JSON = "json"
    HF = "hf"
    YAML = "yaml"
    PIPELINE = "pipeline"


@grouped
def recommend(
    source: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|SPACE", help="A stored study, or a space to enumerate.", autocompletion=complete_source
        ),
    ],
    max_latency_ms: Annotated[float | None, typer.Option(help="Latency limit on every GPU, in ms.")] = None,
    max_parameters: Annotated[float | None, typer.Option(help="Parameter limit.")] = None,
    max_memory_gib: Annotated[float | None, typer.Option(help="Memory limit, in GiB.")] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="CONDITION", help="Condition on dimensions and parameters, e.g. 'num_layers <= 24'."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="MODEL", help="At least this model's predicted quality; shown beside.")
    ] = None,
    faster_on: Annotated[
        str | None, typer.Option(metavar="GPU[,GPU...]", help="Faster than the reference on these GPUs.")
    ] = None,
    prefer: Annotated[
        str | None,
        typer.Option(
            "--prefer",
            help="What ranks first: quality, speed, cost or knee (default: what the space says).",
            autocompletion=complete_preference,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", "-k", help="How many to print (default: 5; 1 with --format hf, yaml or pipeline)."),
    ] = None,
    rank: Annotated[int | None, typer.Option("--rank", help="Only the architecture of this rank.")] = None,
    output_format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="table, json, hf (a Hugging Face config.json), yaml (a model for `estimate`) or pipeline (a whole "
            "pipeline for `pipeline`).",
        ),
    ] = Format.TABLE,
    set_keys: SetKeys = None,
    storage: Storage = None,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    pool: PoolOptions,
    execution: ExecutionOptions,
) -> None:
    """Recommend the best architectures of a study or space, with the reasons."""
    from archsearch.api import recommend as recommended
    from archsearch.search.evaluate.result import as_result

    _refuse_two(top, rank, json, output_format)
    whole_file = output_format in (Format.HF, Format.YAML, Format.PIPELINE)
    frame = recommended(
        _source(source, set_keys, execution, storage) if set_keys or execution.flags else source,
        pool.pool,
        max_latency_ms=max_latency_ms,
        max_parameters=max_parameters,
        max_memory_gib=max_memory_gib,
        where=where,
        reference=reference,
        faster_on=[name.strip() for name in faster_on.split(",")] if faster_on else [],
        prefer=prefer,
        top=max(rank or 0, 1 if whole_file else 5) if top is None else top,
        storage=storage,
    )
    result = as_result(frame)
    plain = not any((max_latency_ms, max_parameters, max_memory_gib, where, reference, prefer, execution.flags))
    wanted = result if rank is None else _only(result, rank)
    _answer(
        wanted, Format.JSON if json else output_format, _explained(source, pool.hardware, set_keys) if plain else None
    )


def _refuse_two(top: int | None, rank: int | None, json: bool, output_format: Format) -> None:
    """Refuse two answers to one question.

    Raises:
        InvalidInputError: a number of architectures and the rank of one, or two formats.
    """
    from archsearch.errors import InvalidInputError

    if top is not None and rank is not None:
        raise InvalidInputError("--top and --rank: give one, so many or the one of this rank")
    if json and output_format not in (Format.TABLE, Format.JSON):
        raise InvalidInputError(f"--json and --format {output_format.value} are two documents: give one of both")


def _explained(source: str, hardware: str | None, set_keys: list[str] | None) -> str:
    """The call that tells what each neighbour of a recommendation loses, but for its rank."""
    said = [
        *(("--hardware", hardware) if hardware else ()),
        *(part for key in set_keys or () for part in ("--set", key)),
    ]
    return next_call("explain", f"{source}:{RANK}", *said)


RANK = "RANK"
"""Stands for a rank in a call that is told of each."""


def _answer(result: SearchResult, output_format: Format, explained: str | None) -> None:
    from archsearch.cli import exports
    from archsearch.cli.recommend_table import beside_records, print_recommendations

    if output_format is Format.JSON:
        attributes = result.attributes()
        shown = {name: attributes[name] for name in ATTRIBUTES if name in attributes}
        print_json({**shown, **beside_records(result), "recommendations": _records(result)})
    elif output_format is Format.HF:
        print_json(exports.hf_documents(result), versioned=False)
    elif output_format is Format.YAML:
        print(exports.yaml_text(result), end="")
    elif output_format is Format.PIPELINE:
        print(exports.pipeline_text(result), end="")
    else:
        records = _records(result)
        print_recommendations(result, records)
        if explained is not None:
            told = explained.replace(f":{RANK}", f":{records[0]['rank']}", 1)
            say(f"what each neighbour loses: {told}")


def _records(result: SearchResult) -> list[dict[str, object]]:
    """Rows as plain values, each with the published class that it is, or how the nearest differs."""
    from archsearch.cli.exports import class_fields

    return [record | class_fields(result, row) for row, record in enumerate(result.records(), start=1)]


def _source(source: str, keys: list[str] | None, execution: ExecutionOptions, storage: str | None) -> SearchSpace:
    """A space with keys set otherwise, run as was said.

    Raises:
        InvalidInputError: a study, which keeps its space and how it ran.
    """
    from archsearch.errors import InvalidInputError
    from archsearch.search.answers.candidates import changed_source, resolve_source
    from archsearch.search.space.space import SearchSpace

    resolved = changed_source(source, keys_set(keys), storage) if keys else resolve_source(source, storage)
    if not isinstance(resolved, SearchSpace):
        raise InvalidInputError(
            f"study {source!r} keeps how its architectures ran: leave out {', '.join(execution.flags)}, or name its "
            "space"
        )
    return resolved.with_execution(execution.execution, execution.changes) if execution.flags else resolved


def _only(result: SearchResult, rank: int) -> SearchResult:
    """The row of one rank.

    Raises:
        InvalidInputError: no such rank.
    """
    from archsearch.errors import InvalidInputError

    if not 1 <= rank <= len(result):
        raise InvalidInputError(
            f"there is no rank {rank}: ranks count from 1, and {len(result)} architectures are recommended"
        )
    return result.take([rank - 1])
