"""The sections of a page made one after the other, with a bar on stderr where that takes longer than a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archsearch.report.web_page import Section


def drawn_sections(makers: Sequence[Callable[[], Section]], progress: bool) -> tuple[Section, ...]:
    """What each maker gives, in order."""
    from archsearch.progress import progress_bar

    sections = []
    with progress_bar("drawing the report", len(makers), enabled=progress) as advance:
        for make in makers:
            sections.append(make())
            advance(1)
    return tuple(sections)
