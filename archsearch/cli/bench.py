"""``archsearch bench``: from measurements to calibration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.execution_options import ExecutionOptions
from archsearch.cli.groups import grouped
from archsearch.cli.options import AllowStudyCode, Json, Pool, Profiles, Storage
from archsearch.cli.output import note, print_json, print_table, say

if TYPE_CHECKING:
    from archsearch.bench.device_profile import Profiled
    from archsearch.bench.personal import Personal
    from archsearch.verify.compare import Verification

app = typer.Typer(help="Measure this device, calibrate on measurements, verify recommendations.", no_args_is_help=True)

DeviceOption = Annotated[str, typer.Option("--device", help="What torch calls it: cuda, cuda:1, cpu.")]


@app.command("run")
def run(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Results, .csv or .parquet; continued if it exists.")
    ],
    suite: Annotated[str, typer.Option("--suite", help="quick or full.")] = "quick",
    device: DeviceOption = "cuda",
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="The id that rows carry (default: the device's name).")
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option("--dtype", help="Formats (repeat); default: those the device is fastest in.")
    ] = None,
    budget_minutes: Annotated[float | None, typer.Option("--budget-minutes", help="Stop after this long.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Purposes to measure: grid, wave, attention ... (repeat).")
    ] = None,
    json: Json = False,
) -> None:
    """Time kernels and transformer blocks on this device; Ctrl-C keeps what was measured, a second run goes on."""
    from dataclasses import asdict

    from archsearch.errors import InvalidInputError, UnsupportedError

    try:
        from archsearch.bench.micro.run import print_progress, run_suite

        summary = run_suite(
            suite,
            output,
            device=device,
            gpu=gpu,
            dtypes=tuple(dtype) if dtype else None,
            budget_minutes=budget_minutes,
            only=tuple(only or ()),
            progress=print_progress,
        )
    except ImportError as error:
        raise UnsupportedError(f"bench run needs {error.name}: pip install 'archsearch[torch]'") from None
    except ValueError as error:
        raise InvalidInputError(str(error)) from None
    if json:
        print_json({**asdict(summary), "path": str(summary.path)})
    else:
        say(f"{summary.path}: {summary.measured} measured, {summary.resumed} were there, {summary.left} left")
        if summary.throttled:
            say(f"  {summary.throttled} rows while the device was throttled (column throttled says why)")
        for reason, count in sorted(summary.skipped.items()):
            say(f"  skipped {count}: {reason}")
    if summary.interrupted:
        raise typer.Exit(130)


@app.command("verify")
@grouped
def verify(
    source: Annotated[str, typer.Argument(metavar="STUDY|SPACE", help="What recommends the architectures.")],
    top: Annotated[int, typer.Option("--top", help="How many recommendations to build and time.")] = 3,
    device: DeviceOption = "cuda",
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="The profile to predict with (default: this device's).")
    ] = None,
    hardware: Pool = None,
    recalibrate: Annotated[
        Path | None,
        typer.Option(
            "--recalibrate", metavar="FILE", help="Time their kernels too, add them to FILE, calibrate on it."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the rows (.csv, .parquet, .json).")
    ] = None,
    storage: Storage = None,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    execution: ExecutionOptions,
) -> None:
    """Build the top recommendations and the baseline, time them here, and compare with the predictions."""
    from archsearch.verify.on_device import run_verify

    result, calibrated = run_verify(
        source,
        top=top,
        device=device,
        gpu=gpu,
        hardware=hardware,
        execution=execution.execution,
        changes=execution.changes,
        recalibrate=recalibrate,
        storage=storage,
        progress=note,
    )
    if output is not None:
        _write_verification(result, output)
    if json:
        print_json({**result.to_dict(), "recalibrated": calibrated})
        return
    _print_verification(result)
    if calibrated:
        say(f"recalibrated: {calibrated['calibration']}")


def _write_verification(result: Verification, output: Path) -> None:
    import pandas as pd

    from archsearch.tables import write_table
    from archsearch.verify.compare import verification_rows

    write_table(pd.DataFrame(verification_rows(result)), output)
    note(f"wrote {output}")


def _print_verification(result: Verification) -> None:
    def ms(seconds: float | None) -> str:
        return "" if seconds is None else f"{1e3 * seconds:.3f}"

    def error(predicted: float | None, measured: float | None) -> str:
        return f"{100 * (predicted / measured - 1):+.1f}" if predicted and measured else ""

    rows = [
        (
            *(row.name, f"{row.parameters / 1e6:,.1f} M", f"{row.quality:.4g}"),
            *(ms(row.predicted_s), ms(row.measured_s), error(row.predicted_s, row.measured_s)),
            *(ms(row.layer_predicted_s), ms(row.layer_measured_s), error(row.layer_predicted_s, row.layer_measured_s)),
            row.note,
        )
        for row in result.rows
    ]
    columns = ("", "parameters", "quality", "predicted ms", "measured ms", "error %")
    title = f"{result.space} on {result.device}, {result.execution}, predicted for {result.hardware}"
    print_table(title, (*columns, "layer predicted", "layer measured", "error %", "note"), rows, left=("", "note"))
    if result.speedup:
        promised = f"{result.predicted_speedup:.3f} predicted"
        if result.predicted_speedup_low is not None:
            promised += f" (80 % band {result.predicted_speedup_low:.3f}-{result.predicted_speedup_high:.3f})"
        say(f"speed-up of rank 1 over the baseline: {result.speedup:.3f} measured, {promised}")
    if result.kendall_tau is not None:
        told = f"Kendall tau {result.kendall_tau:.2f}; MAPE {result.mape:.1f} %"
        say(f"order of measured times of {result.compared}: {told}")


@app.command("calibrate")
def calibrate(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Results of `bench run`, or a table of one GPU; without one --gpu gets a profile alone.",
        ),
    ] = None,
    source: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="DIR", help="Instead: folders of tables of many GPUs, all fitted together."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="PREFIX", help="With --from: kernel families to fit, e.g. attention/."),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", metavar="GPU", help="The device's profile; a new name writes one of the device here."),
    ] = None,
    accept_inferred: Annotated[
        bool,
        typer.Option("--accept-inferred", help="Use the peaks of --gpu that were inferred and never checked."),
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="What torch calls it: cuda (default), cuda:1, cpu.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where profile and calibration go (default: your data)."),
    ] = None,
    date: Annotated[str | None, typer.Option("--date", help="The date to record (default: today).")] = None,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Fit kernel coefficients to measurements: one device's (FILE), or folders of many GPUs' tables (--from)."""
    import datetime

    from archsearch.errors import InvalidInputError

    if (source and file is not None) or not (source or file or gpu):
        raise InvalidInputError("name a FILE of one device's results, or folders of tables with --from")
    idle = (
        {"--gpu": gpu, "--device": device, "--accept-inferred": accept_inferred or None} if source else {"--only": only}
    )
    if gpu is None and accept_inferred:
        raise InvalidInputError("--accept-inferred is of one GPU's profile: name it with --gpu")
    if given := [name for name, value in idle.items() if value is not None]:
        told = "tables of many GPUs (--from)" if not source else "one device's FILE"
        raise InvalidInputError(f"{', '.join(given)} without effect: it is for {told}")
    day = date or datetime.date.today().isoformat()
    if source:
        _calibrate_all(list(source), only or "", output, day, json)
    else:
        _calibrate_one(file, gpu, accept_inferred, device or "cuda", output, day, json)


def _calibrate_one(
    file: Path | None, gpu: str | None, accept: bool, device: str, output: Path | None, day: str, json: bool
) -> None:
    from archsearch import __version__
    from archsearch.bench.personal import calibrate_file
    from archsearch.hardware.folders import user_profiles

    folder = output or user_profiles()
    folder.mkdir(parents=True, exist_ok=True)
    profile = None if gpu is None else _profile(gpu, device, folder, accept, alone=file is None)
    written = None if profile is None or profile.written is None else str(profile.written)
    if file is None:
        unchecked = [] if profile is None else [dtype.value for dtype in profile.spec.unchecked]
        if json:
            print_json(
                {"gpu": None if profile is None else profile.spec.id, "profile": written, "unchecked": unchecked}
            )
        return
    found = calibrate_file(
        file, folder, gpu=None if profile is None else profile.spec.id, date=day, code_version=__version__
    )
    if json:
        print_json({**found.to_dict(), "profile": written})
        return
    _print_personal(found, output)


def _profile(gpu: str, device: str, folder: Path, accept: bool, *, alone: bool) -> Profiled:
    """The profile to calibrate for, written off this device or accepted where that is asked; ``alone``: it is all that
    is asked."""
    from archsearch.bench.device_profile import profile_of
    from archsearch.cli.options import use_profiles
    from archsearch.errors import InvalidInputError

    profile = profile_of(gpu, device, folder, accept_inferred=accept)
    if profile.written is None:
        if alone:
            raise InvalidInputError(f"{profile.spec.id} has a profile: name a FILE to calibrate it on")
        return profile
    use_profiles(profile.written.parent)
    if accept:
        note(f"wrote {profile.written}: its inferred peaks are used from now on")
        return profile
    note(f"wrote {profile.written}: read off this device; check what stands under inferred against a datasheet")
    if profile.spec.unchecked:
        formats = ", ".join(dtype.value for dtype in profile.spec.unchecked)
        note(f"  not confirmed by a product here, and refused: peaks of {formats} (--accept-inferred takes them)")
    return profile


def _print_personal(found: Personal, output: Path | None) -> None:
    rows = [
        (f.kernel, f.rows, f.held_back, f.mape_before, f.mape_after, f.prior, ", ".join(f.at_bounds))
        for f in found.families
    ]
    columns = ("kernel", "rows fitted", "held back", "MAPE % before", "MAPE % after", "started from", "at a bound")
    print_table(
        f"{found.gpu}: errors on the rows held back", columns, rows, left=("kernel", "started from", "at a bound")
    )
    for kernel, why in found.left_out.items():
        say(f"  left out {kernel}: {why}")
    say(f"wrote {found.calibration}; used from now on" + ("" if output is None else f" with --profiles {output}"))


def _calibrate_all(sources: list[Path], only: str, output: Path | None, day: str, json: bool) -> None:
    from archsearch import __version__
    from archsearch.bench.calibrate import calibrate as run
    from archsearch.bench.calibration_files import write_calibration
    from archsearch.data import data_path

    found = run(sources, date=day, code_version=__version__, only=only, progress=note)
    paths = write_calibration(found, output or data_path("hardware_profiles") / "calibration", only=only)
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
