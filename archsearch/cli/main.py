"""The root command, and the one place where errors become a line on stderr and an exit status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from archsearch.cli import (
    bench,
    build,
    diff,
    enumerate_space,
    estimate,
    explain,
    hardware,
    models,
    pipeline,
    quality,
    recommend,
    report,
    serve,
    spaces,
    ui,
    validate,
)
from archsearch.cli import study as study_verbs
from archsearch.cli.groups import option_name
from archsearch.cli.invocation import remember
from archsearch.cli.options import ALLOW_CODE_VARIABLE, PROFILES_VARIABLE, Profiles
from archsearch.errors import ArchSearchError

USER_MISTAKE = 2
INTERRUPTED = 130

app = typer.Typer(
    name="archsearch",
    help="Design transformers for the GPU they will run on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(hardware.app, name="hardware")
app.add_typer(models.app, name="models")
app.add_typer(spaces.app, name="spaces")
app.add_typer(study_verbs.app, name="study")
app.add_typer(bench.app, name="bench")
app.add_typer(pipeline.app, name="pipeline")
app.add_typer(serve.app, name="serve")
app.command("estimate")(estimate.estimate)
app.command("enumerate")(enumerate_space.enumerate_space)
app.command("build")(build.build)
app.command("diff")(diff.diff)
app.command("recommend")(recommend.recommend)
app.command("explain")(explain.explain)
app.command("report")(report.report)
app.command("validate")(validate.validate)
app.command("quality")(quality.quality)
app.command("ui")(ui.ui)


def _version(value: bool) -> None:
    if value:
        from archsearch import __version__

        print(f"archsearch {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    profiles: Profiles = None,
) -> None:
    """Design transformers for the GPU they will run on."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 with one line on stderr for a user's mistake."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows ? for a box line, not a traceback
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status. ``--profiles`` and ``--allow-code`` hold for this call only."""
    before = {name: os.environ.get(name) for name in (PROFILES_VARIABLE, ALLOW_CODE_VARIABLE)}
    remember(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(arguments)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        sys.stdout.flush()
        return int(status) if isinstance(status, int) else 0
    except ArchSearchError as error:
        return _fail(error.spelled(option_name))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; what was finished is kept", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except Exception as error:
        status = _usage_error(error)
        if status is None:
            raise
        return status


def _fail(message: str) -> int:
    lines = (" ".join(line.split()) for line in message.splitlines())  # a file's problems come one a line
    print(f"archsearch: {'; '.join(line for line in lines if line)}", file=sys.stderr)
    return USER_MISTAKE


def _usage_error(error: Exception) -> int | None:
    """Typer's own complaints (unknown option, missing argument), whichever click they come from."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return USER_MISTAKE  # making this error has printed the help
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if hasattr(error, "format_message"):
        return _fail(error.format_message())
    return None
