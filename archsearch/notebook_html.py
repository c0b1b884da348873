"""Answers as a notebook shows them: a heading, facts, and a table, in plain HTML that takes the notebook's colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

MOST_ROWS = 12
"""Rows of a table that are shown; a line says how many more there are."""


def facts_html(title: str, facts: Iterable[tuple[str, object]]) -> str:
    """A heading and lines of ``name: value`` (of the value alone, where the name is empty), all shown to the letter."""
    lines = "".join(f"<div>{escape(name)}{': ' if name else ''}{escape(str(value))}</div>" for name, value in facts)
    return f"<div><strong>{escape(title)}</strong>{lines}</div>"


def table_html(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; of more than ``MOST_ROWS`` the first, and how many more there are."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row) + "</tr>" for row in rows[:MOST_ROWS])
    more = f"<div>and {len(rows) - MOST_ROWS} more</div>" if len(rows) > MOST_ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def milliseconds(seconds: float) -> str:
    """Seconds as people read them: in ms below one second."""
    return f"{seconds:.4g} s" if seconds >= 1 else f"{seconds * 1e3:.4g} ms"


def gibibytes(size: float) -> str:
    """Bytes in GiB."""
    return f"{size / 2**30:.4g} GiB"
