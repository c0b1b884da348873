"""Tables of text: columns as wide as their cells; where a terminal is narrower, laid out as ``layout`` finds room.

Drawn here because a list of all GPUs has to come within half a second: rich takes a quarter of a second to import
and lay out its 133 rows, and tabulate folds no cells in a format of one's own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from archsearch.cli.layout import Layout, all_columns, fewer_columns, folded_lines, in_parts


class Drawn(NamedTuple):
    """A table's lines, and the columns that they have no room for."""

    lines: list[str]
    missing: list[str]


def drawn_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[str] = (),
    whole: Collection[str] = (),
    less: Sequence[str] = (),
    beside: bool = False,
    caption: str = "",
    width: int | None = None,
) -> Drawn:
    """A table of text.

    Args:
        rows: a text per column and row; a text may have several lines.
        left: columns that are aligned left and may fold; the others are aligned right and never fold.
        whole: columns of ``left`` that never fold.
        less: columns that may be left out where there is no room, the least important first.
        beside: the columns are things laid side by side, not properties: what has no room stands in a table below.
        width: of the terminal, None for a file, where nothing folds. A row is never wider, but for a word that is.
    """
    cells = [list(columns), *map(list, rows)]
    lefts = [name in left for name in columns]
    folds = [name in left and name not in whole for name in columns]
    told = [title] if title else []
    found = all_columns(cells, folds, width)
    if found is not None or width is None:
        return Drawn([*_above(told, found), *_drawn(cells, lefts, found), *_below(caption, found)], [])
    if beside and (parts := in_parts(cells, folds, width)):
        bodies = [line for part in parts for line in ("", *_drawn(cells, lefts, part))]
        return Drawn([*_wrapped(told, width), *bodies, *_below(caption, parts[0])], [])
    found = fewer_columns(cells, folds, width, less)
    if found is None:
        cards = _cards(cells, width, named=not lefts[0])
        return Drawn([*_wrapped(told, width), "", *cards, *_wrapped([caption] if caption else [], width)], [])
    missing = [columns[i].strip() for i in range(len(columns)) if i not in found.shown]
    return Drawn([*_above(told, found), *_drawn(cells, lefts, found), *_below(caption, found)], missing)


def _above(told: list[str], found: Layout | None) -> list[str]:
    return [*(_wrapped(told, found.whole) if found else told), ""]


def _below(caption: str, found: Layout | None) -> list[str]:
    return ["", *(_wrapped([caption], found.whole) if caption and found else [])]


def _wrapped(texts: list[str], width: int) -> list[str]:
    return [line for text in texts for line in folded_lines(text, width)]


def _drawn(cells: Sequence[Sequence[str]], lefts: Sequence[bool], found: Layout | None) -> list[str]:
    """Head, rule and rows of the columns that a layout shows."""
    assert found is not None  # without a width there is room for all
    head, *body = [_row([row[i] for i in found.shown], found, lefts) for row in cells]
    rule = " " + "─" * (found.whole - 2)
    return [line.rstrip() for line in (*head, rule, *(line for row in body for line in row))]


def _row(cells: Sequence[str], found: Layout, lefts: Sequence[bool]) -> list[str]:
    """The lines of one row."""
    folded = [folded_lines(cell, size) for cell, size in zip(cells, found.widths, strict=True)]
    lines = []
    for level in range(max(map(len, folded))):
        parts = [part[level] if level < len(part) else "" for part in folded]
        placed = [
            part.ljust(size) if lefts[column] else part.rjust(size)
            for part, size, column in zip(parts, found.widths, found.shown, strict=True)
        ]
        lines.append("  " + (" " * found.gap).join(placed))
    return lines


def _cards(cells: Sequence[Sequence[str]], width: int, *, named: bool) -> list[str]:
    """A block per row: its first cell (``named``: with its column's name), below it each other with its column's."""
    names, *rows = cells
    label = f"{names[0]} " if named else ""
    lines: list[str] = []
    for row in rows:
        lines += _wrapped([label + " ".join(row[0].split())], width)
        pairs = [
            f"{name.strip()} {' '.join(cell.split())}"
            for name, cell in zip(names[1:], row[1:], strict=True)
            if cell.strip()
        ]
        lines += [*_flowed(pairs, width), ""]
    return lines


def _flowed(pairs: Sequence[str], width: int) -> list[str]:
    """Names with their values, as many as there is room for in a line; one that is longer than a line folds."""
    lines = [""]
    for pair in pairs:
        if lines[-1] and len(lines[-1]) + 3 + len(pair) <= width:
            lines[-1] += f"   {pair}"
        else:
            lines += [f"    {line}" if i else f"  {line}" for i, line in enumerate(folded_lines(pair, width - 4))]
    return lines[1:]
