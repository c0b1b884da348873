"""``archsearch bench``: from measurements to calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli.options import Json, Profiles
from archsearch.cli.output import note, print_json, print_table

app = typer.Typer(help="Measurements and calibration.", no_args_is_help=True)


@app.command("calibrate")
def calibrate(
    source: Annotated[Path, typer.Option("--from", metavar="DIR", help="A folder of measurement tables.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where the calibration files go.")
    ] = None,
    date: Annotated[str | None, typer.Option("--date", help="The date to record (default: today).")] = None,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Fit every kernel family's coefficients to the rows that may be fitted on."""
    import datetime

    from archsearch import __version__
    from archsearch.bench.calibrate import calibrate as run
    from archsearch.bench.calibrate import write_calibration
    from archsearch.data import data_path

    day = date or datetime.date.today().isoformat()
    found = run(source, date=day, code_version=__version__, progress=note)
    paths = write_calibration(found, output or data_path("hardware_profiles") / "calibration")
    rows = [
        (file.level, file.serves[0], kernel, fit.rows, fit.residuals.mape, fit.residuals.held_back)
        for file in found.files
        for kernel, fit in file.kernels.items()
    ]
    columns = ("level", "serves", "kernel", "rows", "held-back MAPE %", "held back")
    if json:
        records = [
            dict(zip(("level", "serves", "kernel", "rows", "mape", "held_back"), row, strict=True)) for row in rows
        ]
        print_json({"files": [str(p) for p in paths], "fits": records})
    else:
        print_table("", columns, rows, left=("level", "serves", "kernel", "held back"))
