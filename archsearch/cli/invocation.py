"""The command line of this call, as a report repeats it: to be pasted into a shell, without passwords."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextvars import ContextVar

_PASSWORD = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]*@")
_WORDS: ContextVar[tuple[str, ...]] = ContextVar("words", default=())


def remember(arguments: Sequence[str]) -> None:
    """Note the arguments of this call."""
    _WORDS.set(tuple(arguments))


def command_line() -> str:
    """The call as a line for a shell. A password in an address (``--storage``) is left out: a report is passed on."""
    return without_password(shlex.join(["archsearch", *_WORDS.get()]))


def without_password(text: str) -> str:
    """A text whose addresses have no password."""
    return _PASSWORD.sub(r"\1:PASSWORD@", text)
