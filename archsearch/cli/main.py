"""The root command, and the one place where errors become a line on stderr and an exit status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated

import typer

from archsearch.cli.groups import option_name
from archsearch.cli.invocation import remember
from archsearch.cli.options import ALLOW_CODE_VARIABLE, PROFILES_VARIABLE, Profiles
from archsearch.cli.verbs import VERBS
from archsearch.errors import ArchSearchError

USER_MISTAKE = 2
INTERRUPTED = 130

COMPLETION_VARIABLE = "_ARCHSEARCH_COMPLETE"
"""Set by a shell that asks for completions."""


@cache
def application(verb: str | None = None) -> typer.Typer:
    """The command line with all verbs, or with the one of that name; of an empty name, with verbs that are listed and
    no more."""
    app = typer.Typer(
        name="archsearch",
        help="Design transformers for the GPU they will run on.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for known in VERBS:
        if verb == "":
            known.list_in(app)
        elif verb in (None, known.name):
            known.attach(app)
    return app


def _asked(arguments: Sequence[str]) -> str | None:
    """What ``application`` needs for these arguments: a verb that comes first is the only one, and the root's help
    lists them."""
    if COMPLETION_VARIABLE in os.environ:
        return None
    if not arguments or arguments[0] in ("-h", "--help"):
        return ""
    return next((known.name for known in VERBS if known.name == arguments[0]), None)


def __getattr__(name: str) -> typer.Typer:
    """``app`` is the whole command line, made when it is first asked for."""
    if name == "app":
        return application()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version(value: bool) -> None:
    if value:
        from archsearch import __version__

        print(f"archsearch {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    profiles: Profiles = None,
) -> None:
    """Design transformers for the GPU they will run on."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 with a line on stderr for each of a user's mistakes."""
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
        given = sys.argv[1:] if arguments is None else list(arguments)
        status = application(_asked(given))(args=given, standalone_mode=False)
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
    print("\n".join(f"archsearch: {line}" for line in lines if line), file=sys.stderr)
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
