"""The command line of this call, as a report repeats it: to be pasted into a shell, without passwords."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextvars import ContextVar

from archsearch.errors import masked

_WORDS: ContextVar[tuple[str, ...]] = ContextVar("words", default=())


def remember(arguments: Sequence[str]) -> None:
    """Note the arguments of this call."""
    _WORDS.set(tuple(arguments))


def command_line() -> str:
    """The call as a line for a shell. A password in an address (``--storage``) is left out: a report is passed on."""
    return without_password(shlex.join(["archsearch", *_WORDS.get()]))


ALLOW_CODE = "--allow-code"
CARRIED = ("--storage", "--profiles", ALLOW_CODE)
"""What of a call holds for the call that follows from it: where its studies lie, whose profiles, leave to run code."""


def next_call(*words: str, carried: Sequence[str] = CARRIED) -> str:
    """A call that follows from this one, as a line for a shell: the words, and what this call said of ``carried``."""
    said, given = _WORDS.get(), []
    for place, word in enumerate(said):
        name, equals, value = word.partition("=")
        if name in carried:
            given += [name] if name == ALLOW_CODE else [name, value if equals else said[place + 1]]
    return without_password(shlex.join(["archsearch", *words, *given]))


def without_password(text: str) -> str:
    """A text whose addresses have no password."""
    return masked(text, "PASSWORD")
