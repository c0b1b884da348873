"""What the verbs print: JSON for programs, tables for people."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from archsearch.cli.groups import option_name
from archsearch.cli.table import drawn_table
from archsearch.errors import ArchSearchError, masked, printable, shortened
from archsearch.progress import is_quiet
from archsearch.version import JSON_SCHEMA

if TYPE_CHECKING:
    from archsearch.hardware import GpuSpec, Quotes

LEAST_WIDTH = 40

SCHEMA_KEY = "schema"
"""The key of every answer that is a JSON object and says which version its keys are of."""


GIVE_PRICE = "give --price {gpu}=USD"
"""How a verb is told a price that nobody knows."""


class Terminal(Protocol):
    """Where lines go, which may be a terminal."""

    def isatty(self) -> bool: ...


def print_json(document: object, *, versioned: bool = True) -> None:
    """One JSON document on stdout; NaN and infinity become null.

    An object says first which version its keys are of (``schema``); not where it is a file of another's format, which
    has no such key (``versioned=False``). A list stays a list.
    """
    told = {SCHEMA_KEY: JSON_SCHEMA, **document} if versioned and isinstance(document, dict) else document
    json.dump(finite(told), sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def finite(value: object) -> object:
    """The value in plain JSON types, without NaN or infinity."""
    if hasattr(value, "item") and not isinstance(value, (list, tuple, dict)):
        value = value.item()
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return worded(value)


def worded(value: object) -> str:
    """A value as a text; an error names the options that it is about."""
    return value.spelled(option_name) if isinstance(value, ArchSearchError) else printable(str(value))


def note_assumed(assumed: Sequence[str], gpus: Sequence[GpuSpec]) -> None:
    """A line on stderr with what was assumed (``name=value``), and why where it is not the usual format."""
    from archsearch.dtypes import DType

    without = [gpu.id for gpu in gpus if not gpu.supports(DType.BF16)]
    other = (f"dtype={DType.FP16.value}", f"dtype={DType.FP32.value}")
    why = f" (no {DType.BF16.value} on {', '.join(without)})" if without else ""
    if assumed:
        note(f"assumed {', '.join(item + why if item in other else item for item in assumed)}")


def note(text: str) -> None:
    """A line for people on stderr, folded at words where that is a terminal; none where only the answer is told."""
    if not is_quiet():
        print(folded(shortened(printable(masked(text))), sys.stderr), file=sys.stderr)


def say(text: str) -> None:
    """A line for people on stdout, folded at words where that is a terminal."""
    print(folded(printable(text), sys.stdout))


def folded(text: str, stream: Terminal) -> str:
    """The text for a terminal of its width (COLUMNS, or what it says), lines folded at words; unchanged for a file.

    What follows the first two spaces after a label stays below it.
    """
    if not stream.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, LEAST_WIDTH)
    return "\n".join(line for long in text.split("\n") for line in _folded(long, width))


def _folded(line: str, width: int) -> list[str]:
    lead = len(line) - len(line.lstrip())
    label = re.match(r"\s*\S[^.:]{0,16}?\s{2,}", line)
    below = " " * (label.end() if label else lead + 2)
    whole = {"break_long_words": False, "break_on_hyphens": False}
    room = width - len(below)
    parted = re.sub(r"\S+", lambda word: _AT_COMMAS.sub(f",{_CUT}", word[0]) if len(word[0]) > room else word[0], line)
    lines = textwrap.wrap(parted.replace(_CUT, f"{_CUT} "), width, subsequent_indent=below, **whole)  # type: ignore[arg-type]
    return [told.replace(f"{_CUT} ", "").replace(_CUT, "") for told in lines] or [""]


_AT_COMMAS, _CUT = re.compile(r",(?=\S)"), "\0"
"""A list without spaces that has no room in a line is folded behind its commas; a sign that no text has marks where."""


def changes_line(changes: Mapping[str, object]) -> str:
    """What was set in a space's file, as ``--set`` takes it."""
    return ", ".join(f"{key}={json.dumps(value, default=str)}" for key, value in changes.items())


def say_prices(quotes: Quotes, give: str) -> None:
    """A line per GPU: what its hour costs and who says so, or that nobody knows; ``give`` is how to tell."""
    for line in quotes.lines(give):
        say(f"  GPU-hour    {line}")


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    left: Sequence[str] = (),
    whole: Sequence[str] = (),
    less: Sequence[str] = (),
    beside: bool = False,
    caption: str = "",
) -> None:
    """A table on stdout; columns in ``left`` (but for ``whole``) are aligned left and may fold on a terminal, the
    others never.

    Where a terminal has no room, columns of ``less`` are left out and named, the first of it first; without ``less``,
    or where that is not enough, a row becomes a block of lines. With ``beside`` the columns are things laid side by
    side, and those that have no room stand in a second table.
    """
    cells = [[text(cell) for cell in row] for row in rows]
    width = terminal_width()
    drawn = drawn_table(
        title, columns, cells, left=left, whole=whole, less=less, beside=beside, caption=caption, width=width
    )
    print("\n".join(drawn.lines))
    if drawn.missing:
        sys.stdout.flush()
        note(f"not shown for want of room: {', '.join(drawn.missing)} (a wider terminal or --json has them)")


def terminal_width() -> int | None:
    """Characters of a line of the terminal (COLUMNS, or what it says); None where stdout is a file or a pipe."""
    return max(shutil.get_terminal_size().columns, LEAST_WIDTH) if sys.stdout.isatty() else None


def text(value: object) -> str:
    """A cell: numbers short, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return worded(value)


def milliseconds(seconds: float) -> str:
    """A latency as people read it."""
    return f"{seconds * 1e3:.3f}" if seconds < 1e-3 else f"{seconds * 1e3:.4g}"


def gibibytes(count: float) -> str:
    """Bytes as GiB."""
    return f"{count / 2**30:.4g}"


def millions(count: float) -> str:
    """A parameter count."""
    return f"{count / 1e9:.4g} B" if count >= 1e9 else f"{count / 1e6:.4g} M"


def rate(per_second: float) -> str:
    """A throughput."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"
