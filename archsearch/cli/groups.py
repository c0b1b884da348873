"""Groups of options: frozen dataclasses whose fields are options, each declared once for every verb that takes them.

A field is written as a parameter of a verb is, ``name: Annotated[TYPE, typer.Option("--name", ...)] = DEFAULT``; a
field without a default is a required option, and a field of a group's type brings that group's options. A verb takes a
group as a keyword-only parameter of that type:

    @grouped
    def estimate(model: Model, json: Json = False, *, sizes: SizeOptions, how: ExecutionOptions) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose parameters of a group's type become the group's options, after the verb's own."""
    signature = inspect.signature(verb, eval_str=True)
    groups: dict[str, Any] = {n: p.annotation for n, p in signature.parameters.items() if is_dataclass(p.annotation)}
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for n, p in signature.parameters.items() if n not in groups]

    @functools.wraps(verb)
    def with_options(**given: Any) -> None:
        made = {name: _made(group, given) for name, group in groups.items()}
        verb(**given, **made)

    expanded = inspect.Signature([*own, *(p for group in groups.values() for p in _parameters(group))])
    with_options.__signature__ = expanded  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in expanded.parameters.values()}
    with_options.__option_groups__ = tuple(groups.values())  # type: ignore[attr-defined]
    del with_options.__wrapped__
    return with_options


def said(group: Any) -> dict[str, Any]:
    """The fields of a group of options that were given: those that are not None."""
    return {f.name: value for f in fields(group) if (value := getattr(group, f.name)) is not None}


def _made(group: Any, given: dict[str, Any]) -> Any:
    """A group from the options given, which are taken out."""
    hints = inspect.get_annotations(group, eval_str=True)
    return group(**{n: _made(hint, given) if is_dataclass(hint) else given.pop(n) for n, hint in hints.items()})


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = inspect.get_annotations(group, eval_str=True)
    found = []
    for f in fields(group):
        if is_dataclass(hints[f.name]):
            found += _parameters(hints[f.name])
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            found.append(inspect.Parameter(f.name, kind, default=_default(f), annotation=hints[f.name]))
    return found


def _default(field: Field[Any]) -> Any:
    return inspect.Parameter.empty if field.default is MISSING else field.default
