"""Calls of public functions with arguments that they do not take: told in our own errors, with the names that exist."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import ParamSpec, TypeVar

from archsearch.errors import InvalidInputError, UnknownNameError

P = ParamSpec("P")
R = TypeVar("R")


def checked_call(function: Callable[P, R]) -> Callable[P, R]:
    """The same function; a call that does not fit it raises an ``ArchSearchError`` in place of a ``TypeError``.

    Raises:
        UnknownNameError: a keyword that it does not take; the text has the nearest.
        InvalidInputError: an argument that is missing, given twice, or one too many.
    """
    parameters = signature(function).parameters.items()
    names = [name for name, p in parameters if p.kind is not Parameter.VAR_KEYWORD and name != "self"]
    called = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*arguments, **keywords)
        except TypeError as error:
            entered = error.__traceback__ is not None and error.__traceback__.tb_next is not None
            if entered:  # a fault inside, not of the call
                raise
            unknown = [name for name in keywords if name not in names]
            if unknown:
                raise UnknownNameError(f"argument of {called}", unknown[0], names) from None
            raise InvalidInputError(f"{error}; it takes {', '.join(names)}") from None

    return call
