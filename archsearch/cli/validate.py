"""``archsearch validate``: predicted against measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.invocation import command_line
from archsearch.cli.options import Correction, Json, Profiles
from archsearch.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    import pandas as pd


def validate(
    file: Annotated[Path, typer.Argument(help="A .csv or .parquet of measurements; see docs/cli.md for its columns.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write FILE plus predicted_us, low_us, high_us, provenance, roofline_us."),
    ] = None,
    by: Annotated[
        str, typer.Option("--by", help="Columns that make a group, of FILE or of --output (bound, provenance).")
    ] = "gpu,op,dtype",
    split: Annotated[str | None, typer.Option("--split", help="Only rows of this split (fit, test).")] = None,
    report: Annotated[
        list[Path] | None, typer.Option("--report", help="Draw a report: a .html page or a .png picture. Repeatable.")
    ] = None,
    correction: Correction = True,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Compare predictions with measured latencies (which predictions do not read)."""
    from archsearch.bench.validate import predicted_table, scores_of
    from archsearch.errors import InvalidInputError
    from archsearch.report.accuracy_file import check_report_path, write_accuracy_report
    from archsearch.tables import write_table

    columns = [c.strip() for c in by.split(",") if c.strip()]
    if not columns:
        raise InvalidInputError("--by names no column; write --by gpu,op,dtype, or leave it out")
    for path in report or ():
        check_report_path(path)
    predicted = predicted_table(file, split=split, correction=correction, progress=True)
    answer = scores_of(predicted, columns)
    if output is not None:
        write_table(predicted, output)
    title = f"Accuracy on {file.name}" + ("" if correction else ", without the learned correction")
    for path in report or ():
        write_accuracy_report(predicted, path, title=title, by=columns, command=command_line())
    if json:
        print_json(answer)
    else:
        _print(answer, columns)
    for path in (output, *(report or ())):
        if path is not None:
            note(f"wrote {path}")
    _note_skipped(predicted)


def _print(answer: dict[str, Any], columns: list[str]) -> None:
    groups, overall = answer["groups"], answer["overall"]
    scores = ("rows", "mape", "median_ape", "bias", "spearman", "within_band")
    rows = [[*(g[c] for c in columns), *_scores(g, scores)] for g in groups]
    rows.append(["all", *[""] * (len(columns) - 1), *_scores(overall, scores)])
    heads = ("rows", "MAPE %", "median %", "bias %", "Spearman", "in 80 % band")
    print_table("", [*columns, *heads], rows, left=columns)


def _note_skipped(predicted: pd.DataFrame) -> None:
    if "skipped" not in predicted:
        return
    for reason, count in predicted.loc[predicted["skipped"] != "", "skipped"].value_counts().items():
        note(f"{count} rows not predicted: {reason}")


def _scores(group: dict[str, object], names: tuple[str, ...]) -> list[object]:
    return [
        f"{v:.3f}" if isinstance(v, float) and n in ("spearman", "within_band") else v
        for n in names
        for v in (group[n],)
    ]
