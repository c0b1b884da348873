"""``archsearch validate``: predicted against measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli.options import Json, Profiles
from archsearch.cli.output import note, print_json, print_table


def validate(
    file: Annotated[Path, typer.Argument(help="A .csv or .parquet of measurements; see docs/cli.md for its columns.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write FILE plus predicted_us, low_us, high_us, provenance.")
    ] = None,
    by: Annotated[str, typer.Option("--by", help="Columns that make a group.")] = "gpu,op,dtype",
    split: Annotated[str | None, typer.Option("--split", help="Only rows of this split (fit, test).")] = None,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Compare predictions with measured latencies (which predictions do not read)."""
    from archsearch.bench.validate import validate_csv

    columns = [c.strip() for c in by.split(",") if c.strip()]
    answer = validate_csv(file, output=output, by=columns, split=split)
    if json:
        print_json(answer)
        return
    scores = ("rows", "mape", "median_ape", "bias", "spearman", "within_band")
    rows = [[*(g[c] for c in columns), *_scores(g, scores)] for g in answer["groups"]]
    rows.append(["all", *[""] * (len(columns) - 1), *_scores(answer["overall"], scores)])
    heads = ("rows", "MAPE %", "median %", "bias %", "Spearman", "in 80 % band")
    print_table("", [*columns, *heads], rows, left=columns)
    if output is not None:
        note(f"wrote {output}")


def _scores(group: dict[str, object], names: tuple[str, ...]) -> list[object]:
    return [
        f"{v:.3f}" if isinstance(v, float) and n in ("spearman", "within_band") else v
        for n in names
        for v in (group[n],)
    ]
