"""A progress bar on stderr that appears only when work takes longer than a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress

DELAY_S = 1.0


class Advance(Protocol):
    """Reports finished units of work."""

    def __call__(self, units: int) -> None: ...


@contextmanager
def progress_bar(description: str, total: int, *, enabled: bool = True) -> Iterator[Advance]:
    """A bar over ``total`` units, drawn to stderr once ``DELAY_S`` has passed with work left to do.

    Nothing is drawn where ``enabled`` is False; rich draws plain lines where stderr is no terminal.
    """
    started = time.monotonic()
    done = 0
    bar = None
    task = None

    def advance(units: int) -> None:
        nonlocal done, bar, task
        done += units
        if not enabled:
            return
        if bar is None and done < total and time.monotonic() - started > DELAY_S:
            bar = _make_bar()
            bar.start()
            task = bar.add_task(description, total=total)
        if bar is not None and task is not None:
            bar.update(task, completed=done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _make_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
