"""The root command, and the one place where errors become a line on stderr and an exit status."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from functools import cache
from types import FrameType
from typing import Annotated, NoReturn

import typer

from archsearch.cli.groups import option_name
from archsearch.cli.invocation import remember
from archsearch.cli.options import ALLOW_CODE_VARIABLE, PROFILES_VARIABLE, Profiles
from archsearch.cli.verbs import VERBS
from archsearch.errors import ArchSearchError, InvalidInputError, masked, printable, shortened
from archsearch.progress import Telling, telling

USER_MISTAKE = 2
MOST_PROBLEMS = 30
"""Lines of what is wrong with a file; nobody reads more before mending these."""
INTERRUPTED, TERMINATED = 130, 143
"""What a shell answers for a process that SIGINT or SIGTERM ended."""

COMPLETION_VARIABLE = "_ARCHSEARCH_COMPLETE"
"""Set by a shell that asks for completions."""


LEAST_FOR_PANELS = 72
"""Characters of a terminal's line from which help is drawn in panels; in narrower ones their columns cut the options'
names, and plain lines have room for them."""


def has_room() -> bool:
    """Whether the terminal (COLUMNS, or what it says) has room for panels."""
    return shutil.get_terminal_size().columns >= LEAST_FOR_PANELS


@cache
def application(verb: str | None = None, *, panels: bool = True) -> typer.Typer:
    """The command line with all verbs, or with the one of that name; of an empty name, with verbs that are listed and
    no more. Help is drawn in ``panels``, or as plain lines."""
    app = typer.Typer(
        rich_markup_mode="rich" if panels else None,
        name="archsearch",
        help="Design transformers for the GPU they will run on.",
        no_args_is_help=True,
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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the answer; also behind a verb.")] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Files read, choices made, progress in a pipe; also behind a verb."),
    ] = False,
    profiles: Profiles = None,
) -> None:
    """Design transformers for the GPU they will run on."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 with a line on stderr for each of a user's mistakes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows ? for a box line, not a traceback
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status. ``--profiles`` and ``--allow-code`` hold for this call only."""
    before = {name: os.environ.get(name) for name in (PROFILES_VARIABLE, ALLOW_CODE_VARIABLE)}
    remember(sys.argv[1:] if arguments is None else arguments)
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        words, level = _told(words)
        with telling(level):
            return _run(words)
    except ArchSearchError as error:
        return _fail(str(error))
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


QUIET, VERBOSE = ("-q", "--quiet"), ("-v", "--verbose")


def _told(words: list[str]) -> tuple[list[str], Telling]:
    """The words without those that say how much is told, which may stand anywhere, and how much that is.

    Raises:
        InvalidInputError: nothing but the answer, and all details.
    """
    end = words.index("--") if "--" in words else len(words)
    quiet, verbose = (any(word in flags for word in words[:end]) for flags in (QUIET, VERBOSE))
    if quiet and verbose:
        raise InvalidInputError("--quiet and --verbose: give one of both")
    level = Telling.QUIET if quiet else Telling.VERBOSE if verbose else Telling.USUAL
    return [word for i, word in enumerate(words) if i >= end or word not in (*QUIET, *VERBOSE)], level


def _run(arguments: Sequence[str]) -> int:
    try:
        given = list(arguments)
        app = application(_asked(given), panels=has_room())
        status = app(args=given, prog_name="archsearch", standalone_mode=False)
        sys.stdout.flush()
        if status == INTERRUPTED:  # some versions of typer take the exception and return this
            return _interrupted()
        return int(status) if isinstance(status, int) else 0
    except ArchSearchError as error:
        return _fail(error.spelled(option_name))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except Exception as error:
        status = _usage_error(error)
        if status is None:
            raise
        return status


_ENDING: list[int] = []
"""The signals that asked this process to end."""


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """End as after Ctrl-C where a batch system or a container asks for it; asked again, at once."""
    signal.signal(number, signal.SIG_DFL)
    _ENDING.append(number)
    raise KeyboardInterrupt


def _interrupted() -> int:
    print(f"{'terminated' if _ENDING else 'interrupted'}; what was finished is kept", file=sys.stderr)
    return TERMINATED if _ENDING else INTERRUPTED


def _fail(message: str) -> int:
    lines = [" ".join(line.split()) for line in message.splitlines() if line.strip()]  # a file's problems, one a line
    if len(lines) > MOST_PROBLEMS:
        lines[MOST_PROBLEMS:] = [f"... and {len(lines) - MOST_PROBLEMS} more"]
    print("\n".join(f"archsearch: {shortened(printable(masked(line)))}" for line in lines), file=sys.stderr)
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
