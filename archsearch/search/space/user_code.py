"""Leave to run code that a space or study names: nothing of it runs unless the user says so.

``allow_code=True`` gives it for one call; ``ARCHSEARCH_ALLOW_CODE=1`` for a whole environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from archsearch.errors import UnsupportedError

P = ParamSpec("P")
R = TypeVar("R")

ALLOW_CODE_VARIABLE = "ARCHSEARCH_ALLOW_CODE"


def code_allowed() -> bool:
    """Whether code may run."""
    return os.environ.get(ALLOW_CODE_VARIABLE, "") not in ("", "0")


@contextmanager
def allowing_code(allowed: bool) -> Iterator[None]:
    """Give leave inside, where ``allowed``; what the environment gives stays."""
    before = os.environ.get(ALLOW_CODE_VARIABLE)
    if allowed:
        os.environ[ALLOW_CODE_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(ALLOW_CODE_VARIABLE, None)
        else:
            os.environ[ALLOW_CODE_VARIABLE] = before


def with_leave(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function's own ``allow_code`` keyword give leave while it runs."""

    @wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        with allowing_code(bool(options.get("allow_code", False))):
            return function(*arguments, **options)

    return run


def require_leave(what: str) -> None:
    """Refuse to run code without leave.

    Raises:
        UnsupportedError: none was given.
    """
    if not code_allowed():
        raise UnsupportedError(f"{what}: to run that code, add {{allow_code}}", field="allow_code")
