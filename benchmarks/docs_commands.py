"""Commands of the documentation: run in this process, or held against the real command line without running."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docs_pages import ROOT, DocsError

COLUMNS = "100"
_OWN = ("ARCHSEARCH_PROFILES", "ARCHSEARCH_STORAGE", "ARCHSEARCH_SPACES", "ARCHSEARCH_PIPELINES", "XDG_DATA_HOME")
_PLACEHOLDER = re.compile(r"[\[\]|{}<>$~]|\.\.\.|^\W*[A-Z]+(?![a-z0-9-])")
"""Words that stand for a value in a synopsis: FILE.csv, GPU, N, a|b; not H100 or Qwen."""


class Skipped(Exception):
    """A command that needs what is not here."""


@contextlib.contextmanager
def sandbox(folder: Path) -> Iterator[None]:
    """An empty folder as the working directory and data directory; nothing of the user's own counts."""
    kept, where = dict(os.environ), Path.cwd()
    for name in (*_OWN, "ARCHSEARCH_ALLOW_CODE"):
        os.environ.pop(name, None)
    os.environ |= {"ARCHSEARCH_HOME": str(folder / ".archsearch"), "COLUMNS": COLUMNS, "NO_COLOR": "1"}
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(where)
        os.environ.clear()
        os.environ.update(kept)


def output(command: str, *, status: int = 0) -> list[str]:
    """What a command prints on stdout (of one that is to fail: on stderr), without trailing blanks.

    ``> FILE`` at its end keeps the output instead.

    Raises:
        DocsError: it exits with another status, or is not a command that is run.
        Skipped: it names a file beside the checkout that is not there.
    """
    words = shlex.split(command)
    target = words[-1] if len(words) > 2 and words[-2] == ">" else None
    if target:
        words, command = words[:-2], command.rsplit(" >", 1)[0]
    if words[0] == "archsearch":
        printed = _archsearch(words[1:], command, status)
    elif len(words) > 1 and words[0] == "python" and words[1].startswith("benchmarks/"):
        printed = script(command)
    else:
        raise DocsError(f"$ {command}: only `archsearch ...` and `python benchmarks/...` are run")
    if target:
        Path(target).write_text(printed, encoding="utf-8")
        return []
    lines = [line.rstrip() for line in printed.strip("\n").split("\n")]
    return lines if lines != [""] else []


def _archsearch(arguments: list[str], command: str, wanted: int) -> str:
    from archsearch.cli.main import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(arguments)
    if status != wanted:
        raise DocsError(f"$ {command}: exits with {status}: {err.getvalue().strip()[-500:]}")
    return err.getvalue() if wanted else out.getvalue()


@cache
def script(command: str) -> str:
    """What ``main(arguments)`` of a script of this folder prints; scripts stay imported and keep what they computed.

    Raises:
        DocsError: no such script, or it exits.
        Skipped: an argument ``../...`` names nothing.
    """
    _, path, *arguments = shlex.split(command)
    for word in arguments:
        if word.startswith("../") and not (ROOT / word).exists():
            raise Skipped(word)
    if not (ROOT / path).is_file():
        raise DocsError(f"$ {command}: no file {path}")
    out, where = io.StringIO(), Path.cwd()
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stdout(out):
            importlib.import_module(Path(path).stem).main(arguments)
    except SystemExit as leave:
        if leave.code:
            raise DocsError(f"$ {command}: exits with {leave.code}") from None
    finally:
        os.chdir(where)
    return out.getvalue()


@cache
def _root() -> Any:
    import typer

    from archsearch.cli.main import app

    return typer.main.get_command(app)


@cache
def all_options() -> frozenset[str]:
    """Every option of every verb."""
    found, left = {"--help", "-h"}, [_root()]
    while left:
        command = left.pop()
        left += getattr(command, "commands", {}).values()
        found |= {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return frozenset(found)


def check(command: str, *, whole: bool = True) -> None:
    """Parse ``archsearch ...`` by the real command line, without running it.

    Of a synopsis (``[--steps N]``, ``list|show``), and where not ``whole``, verbs and options must exist; else the
    arguments must be complete, and of the right types too.

    Raises:
        DocsError: they are not.
    """
    bare = re.sub(r"\s+#.*$", "", command.strip())
    for part in re.split(r"\s*(?:&&|\|\||;)\s*", bare):
        words = _words(re.split(r"\s>{1,2}\s", part)[0])
        if words and words[0] == "archsearch":
            literal = whole and not any(_PLACEHOLDER.search(word) for word in _raw(part))
            kept = dict(os.environ)
            try:
                _parse(_root(), words[1:], "archsearch", literal)
            except Exception as error:
                if not hasattr(error, "format_message"):
                    raise
                raise DocsError(f"{part}: {error.format_message()}") from None
            finally:
                os.environ.clear()
                os.environ.update(kept)


def _raw(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _words(text: str) -> list[str]:
    """Words of a synopsis as if everything in brackets were given, and the first of alternative values."""
    found = []
    for word in _raw(re.sub(r"[\[\]]", " ", re.sub(r"(?<=\w)\[[^]]*\]", "", text))):
        if word in ("|", "..."):
            continue
        found += word.split("|") if word.startswith("--") and "|-" in word else [word]
    return found


def _parse(command: Any, words: list[str], name: str, literal: bool) -> None:
    from archsearch.errors import ArchSearchError

    context = command.context_class(command, info_name=name)
    options, rest, _ = command.make_parser(context).parse_args(list(words))
    verbs = getattr(command, "commands", None)
    if verbs is None:
        if literal:
            with contextlib.suppress(ArchSearchError):  # a callback's: the folder of --profiles, say
                command.make_context(name, list(words))
        return
    for verb in rest[0].split("|") if rest else []:
        if verb.isupper():
            continue
        if verb not in verbs:
            raise DocsError(f"{name} {verb}: no such verb; there are {', '.join(verbs)}")
        _parse(verbs[verb], rest[1:], f"{name} {verb}", literal)
    if literal and not rest and "--help" not in words and not options:
        raise DocsError(f"{name}: needs a verb: {', '.join(verbs)}")


def check_python(command: str) -> None:
    """A script or module that ``python ...`` names exists.

    Raises:
        DocsError: it does not.
    """
    words = _raw(command)
    if len(words) > 2 and words[1] == "-m" and words[2].startswith("archsearch"):
        if importlib.util.find_spec(words[2]) is None:
            raise DocsError(f"{command}: no module {words[2]}")
    elif len(words) > 1 and words[1].startswith("benchmarks/") and not (ROOT / words[1]).is_file():
        raise DocsError(f"{command}: no file {words[1]}")


if str(ROOT / "benchmarks") not in sys.path:
    sys.path.insert(0, str(ROOT / "benchmarks"))
