"""What is told beside an answer, all of it on stderr: a bar for work that takes longer than a second, and details."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from threading import Lock
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress

DELAY_S = 1.0
EVERY_S = 1.0
"""Between two lines of progress where stderr draws no bar and details are asked for."""
SELDOM_S = 15.0
"""Between two lines where they are not: a log shows that something goes on, and is not filled."""


class Telling(IntEnum):
    """How much is told beside an answer: nothing; remarks, and bars where stderr is a terminal; files read too, and
    bars wherever stderr leads."""

    QUIET = 0
    USUAL = 1
    VERBOSE = 2


_DRAWING = Lock()
"""Held by the one bar that is drawn."""
_TELLING: ContextVar[Telling] = ContextVar("telling", default=Telling.USUAL)
_TOLD: ContextVar[set[str]] = ContextVar("told", default=set())  # noqa: B039 - outside of ``telling`` nothing is told


@contextmanager
def telling(level: Telling) -> Iterator[None]:
    """Tell so much inside."""
    token, before = _TELLING.set(level), _TOLD.set(set())
    try:
        yield
    finally:
        _TELLING.reset(token)
        _TOLD.reset(before)


def is_quiet() -> bool:
    """Whether nothing but the answer is told."""
    return _TELLING.get() is Telling.QUIET


def is_verbose() -> bool:
    """Whether details are asked for."""
    return _TELLING.get() is Telling.VERBOSE


def detail(text: str) -> None:
    """A line on stderr where details are asked for: a file that was read, a choice that was made; each told once."""
    told = _TOLD.get()
    if is_verbose() and text not in told:
        told.add(text)
        print(text, file=sys.stderr)


def remark(text: str) -> None:
    """A line on stderr that one should know beside an answer; none where only the answer is told."""
    if not is_quiet():
        print(text, file=sys.stderr)


class Advance(Protocol):
    """Reports finished units of work."""

    def __call__(self, units: int) -> None: ...


@contextmanager
def progress_bar(description: str, total: int, *, enabled: bool = True) -> Iterator[Advance]:
    """A bar over ``total`` units with the time left, drawn to stderr once ``DELAY_S`` has passed with work left to do.

    Where stderr is no terminal, or one that draws nothing (``TERM=dumb``), a line tells it now and then. Nothing is
    told where ``enabled`` is False or nothing but the answer is told, nor inside another bar, which tells how long all
    of it takes.
    """
    if not enabled or is_quiet() or not _DRAWING.acquire(blocking=False):
        yield lambda units: None
        return
    shown = _Shown(description, total)
    try:
        yield shown.advance
    finally:
        shown.stop()
        _DRAWING.release()


class _Shown:
    """Finished units of ``total``: a bar on a terminal, else a line now and then."""

    def __init__(self, description: str, total: int) -> None:
        self.description, self.total, self.done = description, total, 0
        self.started = self.told = time.monotonic()
        self.bar: Progress | None = None
        self.terminal = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self.every = EVERY_S if is_verbose() else SELDOM_S

    def advance(self, units: int) -> None:
        self.done += units
        now = time.monotonic()
        if self.bar is None and (self.done >= self.total or now - self.started <= DELAY_S):
            return
        if not self.terminal:
            if self.done < self.total and now - self.told > self.every:
                self.told = now
                left = (now - self.started) / max(self.done, 1) * (self.total - self.done)
                print(f"{self.description}: {self.done:,} of {self.total:,}, {left:.0f} s left", file=sys.stderr)
            return
        if self.bar is None:
            self.bar = _make_bar()
            self.bar.start()
            self.bar.add_task(self.description, total=self.total)
        self.bar.update(self.bar.task_ids[0], completed=self.done)

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def _make_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
