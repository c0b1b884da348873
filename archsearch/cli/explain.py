"""``archsearch explain``: where time goes, what each dimension costs, the nearest better shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.completion import complete_design
from archsearch.cli.execution_options import ExecutionOptions
from archsearch.cli.groups import grouped
from archsearch.cli.options import (
    AllowCode,
    Checkpointing,
    Json,
    Pool,
    Profiles,
    SetKeys,
    Storage,
    WorkloadOptions,
    keys_set,
)
from archsearch.cli.output import note_assumed, print_json, say

if TYPE_CHECKING:
    from archsearch.search.answers.explain import Explanation


@grouped
def explain(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|STUDY:RANK",
            help="A model, or a study's (or space's) rank-th architecture.",
            autocompletion=complete_design,
        ),
    ],
    hardware: Pool = None,
    checkpointing: Checkpointing = False,
    set_keys: SetKeys = None,
    storage: Storage = None,
    allow_code: AllowCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    workload: WorkloadOptions,
    execution: ExecutionOptions,
) -> None:
    """Explain an architecture on a GPU. A study's architecture is explained in the study's terms and workload."""
    source, _, rank = model.rpartition(":")
    if source and rank.isascii() and rank.isdigit():
        from archsearch.search.answers.candidates import changed_source
        from archsearch.search.answers.ranked import explain_ranked

        more = ["--checkpointing"] if checkpointing else []
        workload.refuse(f"{model}: a study's architecture keeps its workload and execution", *more, *execution.flags)
        chosen = changed_source(source, keys_set(set_keys), storage) if set_keys else source
        explanation: Explanation = explain_ranked(chosen, int(rank), hardware, storage=storage)
    elif set_keys:
        from archsearch.errors import InvalidInputError

        raise InvalidInputError(
            f"--set changes a space, and {model} is a model: name SPACE:RANK, or use its own options"
        )
    else:
        _refuse_search(model, storage)
        from archsearch.api import explain as explained
        from archsearch.search.evaluate.pool_models import resolve_pool

        pool = resolve_pool(hardware)
        explanation = explained(
            model,
            pool,
            checkpointing=checkpointing,
            execution=execution.execution,
            allow_code=allow_code,
            **workload.fields,
            **execution.changes,
        )
        execution.note_idle()
        if not json:
            note_assumed(explanation.assumed, pool.gpus)
    if json:
        print_json(explanation.to_dict())
    else:
        say("\n".join(explanation.lines()))


def _refuse_search(model: str, storage: str | None) -> None:
    """Refuse a study or a space where one of its architectures is to be named.

    Raises:
        InvalidInputError: how to name the first.
    """
    from archsearch.errors import ArchSearchError, InvalidInputError
    from archsearch.report.named import Kind, kinds_of

    try:
        kinds = kinds_of(model, storage)
    except ArchSearchError:
        return  # no name at all, or a file that is not in order: told where it is read
    if Kind.MODEL not in kinds and kinds[0] in (Kind.STUDY, Kind.SPACE):
        raise InvalidInputError(
            f"{model} is a {kinds[0].value}, which holds many architectures: name one, {model}:1, as `archsearch "
            f"recommend {model}` ranks them"
        )
