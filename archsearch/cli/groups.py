"""Groups of options: frozen dataclasses whose fields are options, each declared once for every verb that takes them.

A field is written as a parameter of a verb is, ``name: Annotated[TYPE, typer.Option("--name", ...)] = DEFAULT``; a
field without a default is a required option, and a field of a group's type brings that group's options. A field of a
``TypedDict`` of the library, ``Annotated[ExecutionFields, "PANEL"]``, brings an option for each of its keys, with the
key's type and text, and holds those that were given: a key that the library adds is an option of every verb. A verb
takes a group as a keyword-only parameter of that type:

    @grouped
    def estimate(model: Model, json: Json = False, *, workload: WorkloadOptions) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, TypeGuard, TypeVar, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

import typer
from typer.models import OptionInfo

SPELLINGS = {
    "batch_size": ("--batch-size", "-b"),
    "compiled": ("--compiled/--eager",),
    "function": ("--trainer",),
    "levers": ("--lever",),
    "prices": ("--price",),
    "seq_len": ("--seq-len", "-s"),
    "slicing": ("--vae-slicing",),
    "tiling": ("--vae-tiling/--no-vae-tiling",),
    "tiers": ("--tier",),
}
"""Options of the library's words where they are not the word with hyphens."""

Verb = TypeVar("Verb", bound=Callable[..., None])


def option(
    *names: str,
    text: str,
    panel: str,
    metavar: str | None = None,
    completed: Callable[[str], list[str]] | None = None,
) -> OptionInfo:
    """An option of a group; ``panel`` is where ``--help`` shows it, ``completed`` what a shell offers."""
    made = typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel, autocompletion=completed)
    return cast("OptionInfo", made)


def option_name(field: str, value: object = None) -> str:
    """A field of the library as the command line's option: ``launch_us`` is ``--launch-us``. Of a pair the one that
    stands for the ``value``: ``compiled`` False is ``--eager``."""
    on, _, off = SPELLINGS.get(field, (f"--{field.replace('_', '-')}",))[0].partition("/")
    return (off or f"--no-{on.removeprefix('--')}") if value is False else on


def grouped(verb: Verb) -> Verb:
    """A verb whose parameters of a group's type become the group's options, after the verb's own."""
    signature = inspect.signature(verb, eval_str=True)
    groups = {n: p.annotation for n, p in signature.parameters.items() if _is_group(p.annotation)}
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for n, p in signature.parameters.items() if n not in groups]

    @functools.wraps(verb)
    def with_options(**given: object) -> None:
        made = {name: _made(group, given) for name, group in groups.items()}
        verb(**given, **made)

    expanded = inspect.Signature([*own, *(p for group in groups.values() for p in _parameters(group))])
    with_options.__annotations__ = {p.name: p.annotation for p in expanded.parameters.values()}
    vars(with_options).update(__signature__=expanded, __option_groups__=tuple(groups.values()))
    del with_options.__wrapped__
    return with_options  # type: ignore[return-value]  # its signature is made here


def options_of(group: type) -> list[str]:
    """Names of the parameters that a group of options brings to a verb."""
    return [p.name for p in _parameters(group)]


def said(group: object) -> dict[str, Any]:
    """The options of a group that were given: fields that are not None, and what a ``TypedDict`` of it holds."""
    given: dict[str, Any] = {}
    for name, hint in _hints(type(group)).items():
        value = getattr(group, name)
        if is_typeddict(_bare(hint)):
            given |= value
        elif value is not None:
            given[name] = value
    return given


def _made(group: type, given: dict[str, object]) -> object:
    """A group from the options given, which are taken out."""
    values: dict[str, object] = {}
    for name, hint in _hints(group).items():
        if _is_group(hint):
            values[name] = _made(hint, given)
        elif is_typeddict(_bare(hint)):
            taken = {key: given.pop(key) for key in _bare(hint).__annotations__}
            values[name] = {key: value for key, value in taken.items() if value is not None}
        else:
            values[name] = given.pop(name)
    return group(**values)


def _parameters(group: type) -> Iterator[inspect.Parameter]:
    hints = _hints(group)
    for f in fields(group):
        hint = hints[f.name]
        if _is_group(hint):
            yield from _parameters(hint)
        elif is_typeddict(_bare(hint)):
            yield from _declared(_bare(hint), panel=get_args(hint)[1])
        else:
            yield inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=_default(f), annotation=hint)


def _declared(record: type, panel: str) -> Iterator[inspect.Parameter]:
    """An option for each key of a ``TypedDict``; None where it is not given."""
    for name, hint in get_type_hints(record, include_extras=True).items():
        of, text = get_args(hint)
        read = _option_type(of)
        annotation = Annotated[read | None, option(*_flags(name, read), text=text, panel=panel)]  # type: ignore[valid-type]  # read at run time
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flags(name: str, read: type) -> tuple[str, ...]:
    plain = option_name(name)
    return SPELLINGS.get(name, (f"{plain}/--no-{plain.removeprefix('--')}" if read is bool else plain,))


def _option_type(hint: object) -> type:  # a type expression, as typing has no type for it
    """What the command line reads for a type: of ``float | None`` a float, of ``str | float`` a text."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(of for of in get_args(hint) if of is not type(None))
    return cast("type", hint)


def _is_group(hint: object) -> TypeGuard[type]:
    return isinstance(hint, type) and is_dataclass(hint)


def _hints(group: type) -> dict[str, object]:
    return inspect.get_annotations(group, eval_str=True)


def _bare(hint: object) -> type:  # a type expression, as typing has no type for it
    return cast("type", get_args(hint)[0] if get_origin(hint) is Annotated else hint)


def _default(field: Field[object]) -> object:
    return inspect.Parameter.empty if field.default is MISSING else field.default
