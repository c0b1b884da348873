"""Tables of text: columns as wide as their cells, folded at words where a terminal is narrower.

Laid out here because a list of all GPUs has to come within half a second: rich takes a quarter of a second to import
and lay out its 133 rows, and tabulate folds no cells in a format of one's own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

BETWEEN = 3
"""Characters between two columns' cells; one edge is as wide as the other."""
NARROWEST = 16
"""Characters that a folding column keeps at least."""


def table_lines(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[str] = (),
    caption: str = "",
    width: int | None = None,
) -> list[str]:
    """The lines of a table.

    Args:
        rows: a text per column and row; a text may have several lines.
        left: columns that are aligned left and may fold; the others are aligned right and never fold.
        width: of the terminal, None for a file, where nothing folds. A table whose columns need more is wider.
    """
    cells = [list(columns), *map(list, rows)]
    widths = _widths(cells, [name in left for name in columns], width)
    whole = 2 + sum(widths) + BETWEEN * len(widths) - 1
    head, *body = [_row(row, widths, [name in left for name in columns]) for row in cells]
    above = [*(_wrapped(title, whole) if title else []), ""]
    below = ["", *(_wrapped(caption, whole) if caption else [])]
    rule = " " + "─" * (whole - 2)
    return [line.rstrip() for line in (*above, *head, rule, *(line for row in body for line in row), *below)]


def _row(cells: Sequence[str], widths: Sequence[int], folds: Sequence[bool]) -> list[str]:
    """The lines of one row."""
    folded = [_wrapped(cell, size) for cell, size in zip(cells, widths, strict=True)]
    lines = []
    for level in range(max(map(len, folded))):
        parts = [part[level] if level < len(part) else "" for part in folded]
        placed = [
            part.ljust(size) if left else part.rjust(size)
            for part, size, left in zip(parts, widths, folds, strict=True)
        ]
        lines.append("  " + (" " * BETWEEN).join(placed))
    return lines


def _widths(cells: Sequence[Sequence[str]], folds: Sequence[bool], width: int | None) -> list[int]:
    """Characters of each column: its longest line's, or less of the widest that may fold until the table fits."""
    needed = [
        max(len(line) for cell in column for line in cell.splitlines() or [""]) for column in zip(*cells, strict=True)
    ]
    while width is not None and 2 + sum(needed) + BETWEEN * len(needed) - 1 > width:
        shrinking = [i for i, folding in enumerate(folds) if folding and needed[i] > NARROWEST]
        if not shrinking:
            break
        needed[max(shrinking, key=lambda i: needed[i])] -= 1
    return needed


def _wrapped(text: str, width: int) -> list[str]:
    """A text's lines, those that are longer than ``width`` folded at words."""
    lines = text.splitlines() or [""]
    return [
        part
        for line in lines
        for part in ([line] if len(line) <= width else textwrap.wrap(line, width, break_on_hyphens=False) or [""])
    ]


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, *, less: Sequence[str]
) -> list[int]:
    """Which columns a line of ``width`` characters has room for (None: all), by number: those of ``less`` are left
    out one after the other until the table fits."""
    needed = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    shown = list(range(len(columns)))
    for name in less:
        if width is None or 2 + sum(needed[i] for i in shown) + BETWEEN * len(shown) - 1 <= width:
            break
        shown = [i for i in shown if columns[i] != name]
    return shown
