"""``archsearch enumerate``: the exact Pareto front of a search space."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli.completion import complete_space
from archsearch.cli.execution_options import ExecutionOptions
from archsearch.cli.groups import grouped
from archsearch.cli.options import AllowStudyCode, Json, PoolOptions, Profiles, Scheduler, SetKeys
from archsearch.cli.output import changes_line, note, print_json, print_table, say, say_prices

SHOWN = 20


@grouped
def enumerate_space(
    space: Annotated[
        str,
        typer.Argument(help="A space's name (`archsearch spaces list`) or YAML file.", autocompletion=complete_space),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the front to this .parquet, .csv or .json file.")
    ] = None,
    set_keys: SetKeys = None,
    scheduler: Scheduler = None,
    long: Annotated[bool, typer.Option("--long", help="Enumerate it although that takes over an hour.")] = False,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    pool: PoolOptions,
    execution: ExecutionOptions,
) -> None:
    """Evaluate every architecture of a space and keep the exact Pareto front."""
    from archsearch.search.explore.enumeration import LONGEST_S, sweep

    longest_s = math.inf if long else LONGEST_S
    result = sweep(execution.on(space, set_keys), pool.pool, scheduler=scheduler, longest_s=longest_s)
    if output is not None:
        result.write(output)
    if json:
        print_json(result.to_dict())
        return
    say(
        f"{result.space.name} on {', '.join(result.pool.ids)}: {result.architectures:,} architectures, "
        f"{result.legal:,} legal, {result.valid:,} valid, "
        f"in {result.evaluation_s:.2f} s ({result.architectures_per_s:,.0f}/s)"
    )
    if result.space.changes:
        say(f"  set         {changes_line(result.space.changes)}")
    say(f"  execution   {result.space.execution.line()}")
    for reason, count in sorted(result.rejected.items(), key=lambda item: -item[1])[:5]:
        say(f"  {count:,} rejected: {reason}")
    found = result.result(result.front_cells)
    if found.setting.in_usd:
        from archsearch.hardware.prices import IN_A_SPACE

        say_prices(found.setting.economy.quotes, IN_A_SPACE)
    records = found.records()
    if not records:
        note("no architecture of the space is valid")
        return
    names = list(records[0]["config"])
    metrics = list(result.evaluator.objective_columns)
    rows = [[*r["config"].values(), *(_metric(r, name) for name in metrics)] for r in records[:SHOWN]]
    print_table(f"front: {len(records)} architectures", [*names, *metrics], rows)
    if len(records) > SHOWN:
        say(f"... {len(records) - SHOWN} more; write them all with --output FILE or --json")


def _metric(record: dict[str, object], name: str) -> object:
    from archsearch.search.evaluate.columns import metric_and_gpu

    metric, gpu = metric_and_gpu(name)
    value = record.get(name, record.get(metric))
    return value.get(gpu) if isinstance(value, dict) else value
