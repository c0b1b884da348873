"""How a table is laid out in a line's width: all columns, fewer, several tables below each other, or a card a row.

What is never done: a number, an id or a name broken in the middle, or a row that is wider than the line. Only texts of
several words fold, and only between words; a word of more than ``LONG`` characters (a path, a repository, no address)
also after a slash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

GAPS = (3, 2)
"""Characters between two columns' cells, the first that fits; one edge is as wide as the other."""
NARROWEST = 16
"""Characters that a folding column keeps at least."""
LONG = 30
"""Characters of a word from which on it may be folded after its slashes."""

Cells = Sequence[Sequence[str]]
"""A table's texts: rows of equally many, the columns' names first; a text may have several lines."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns of a table that are shown side by side, by number, with the characters of each."""

    shown: tuple[int, ...]
    widths: tuple[int, ...]
    gap: int

    @property
    def whole(self) -> int:
        """Characters of a line with its edges, one of them to spare."""
        return _whole(self.widths, self.gap)


def all_columns(cells: Cells, folds: Sequence[bool], width: int | None) -> Layout | None:
    """Every column, the folding ones narrower where the line of ``width`` (None: any) asks for it; None: no room."""
    return _side_by_side(tuple(range(len(folds))), _Needs.of(cells, folds), width)


def fewer_columns(cells: Cells, folds: Sequence[bool], width: int, less: Sequence[str]) -> Layout | None:
    """Columns without those of ``less``, left out one after the other until there is room; None where there is none."""
    needs = _Needs.of(cells, folds)
    shown = tuple(range(len(folds)))
    for name in less:
        shown = tuple(i for i in shown if cells[0][i] != name)
        found = _side_by_side(shown, needs, width)
        if found is not None:
            return found
    return None


def in_parts(cells: Cells, folds: Sequence[bool], width: int) -> list[Layout] | None:
    """Tables for below each other: the first column in each, the others in turn; None where not one more fits."""
    needs = _Needs.of(cells, folds)
    parts: list[Layout] = []
    first = 1
    while first < len(folds):
        found = None
        for end in range(first + 1, len(folds) + 1):
            wider = _side_by_side((0, *range(first, end)), needs, width)
            if wider is None:
                break
            found = wider
        if found is None:
            return None
        parts.append(found)
        first = found.shown[-1] + 1
    return parts


def folded_lines(text: str, width: int) -> list[str]:
    """A text's lines, those that are longer than ``width`` folded between words; a longer word stays whole."""
    return [part for line in text.splitlines() or [""] for part in _folded(line, width)]


def _folded(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    lead = line[: len(line) - len(line.lstrip())]
    words = [piece for word in line.split() for piece in _pieces(word)]
    lines, current = [], lead
    for word, glued in words:
        between = "" if glued or not current.strip() else " "
        if current.strip() and len(current) + len(between) + len(word) > width:
            lines.append(current)
            current, between = lead, ""
        current += between + word
    return [*lines, current]


def _pieces(word: str) -> list[tuple[str, bool]]:
    """A word in the parts that may stand on lines of their own; True: without a space before it."""
    if len(word) <= LONG or "://" in word:  # an address is there to be copied
        return [(word, False)]
    parts = [part for part in re.split(r"(?<=/)(?!/)", word) if part]
    return [(part, i > 0) for i, part in enumerate(parts)]


@dataclass(frozen=True, slots=True)
class _Needs:
    """Characters that each column takes: its longest line's, and the fewest that it can do with."""

    most: tuple[int, ...]
    least: tuple[int, ...]

    @classmethod
    def of(cls, cells: Cells, folds: Sequence[bool]) -> _Needs:
        columns = list(zip(*cells, strict=True))
        most = tuple(max(len(line) for cell in column for line in cell.splitlines() or [""]) for column in columns)
        least = tuple(
            min(whole, max(NARROWEST, _longest_piece(column))) if folding else whole
            for column, whole, folding in zip(columns, most, folds, strict=True)
        )
        return cls(most, least)


def _longest_piece(column: Sequence[str]) -> int:
    return max((len(part) for cell in column for word in cell.split() for part, _ in _pieces(word)), default=0)


def _side_by_side(shown: tuple[int, ...], needs: _Needs, width: int | None) -> Layout | None:
    """These columns in a line of ``width``: the widest that folds gives first; None where there is no room."""
    most, least = [needs.most[i] for i in shown], [needs.least[i] for i in shown]
    if width is None:
        return Layout(shown, tuple(most), GAPS[0])
    gap = next((gap for gap in GAPS if _whole(least, gap) <= width), None)
    if gap is None:
        return None
    while _whole(most, gap) > width:
        most[max((i for i in range(len(shown)) if most[i] > least[i]), key=lambda i: most[i])] -= 1
    return Layout(shown, tuple(most), gap)


def _whole(widths: Sequence[int], gap: int) -> int:
    return 2 + sum(widths) + gap * (len(widths) - 1) + 2
