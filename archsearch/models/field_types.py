"""What kind of value each field of a config takes (its annotations, read once a class), and what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, ClassVar, Protocol, cast, get_type_hints
from weakref import WeakKeyDictionary

import numpy as np

from archsearch.arrays import Dim
from archsearch.workload import MAX_DIMENSION, is_whole, within
from archsearch.yaml_records import near_names

_FOLLOWS, _TIMES = "follows", "times"


class HasFields(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@dataclass(frozen=True, slots=True)
class FieldType:
    """``holds`` says whether a value is one of the kind, ``words`` what the kind is. ``is_size``: a dimension, or a
    list of them (``several``), bounded by ``MAX_DIMENSION``."""

    words: str
    holds: Callable[[object], bool]
    is_size: bool = False
    several: bool = False
    optional: bool = False

    def problem(self, value: object) -> str:
        """What a value must be, "" where it is that. Lower bounds are the config's requirements."""
        if value is None and self.optional:
            return ""
        if not self.holds(value):
            return self.words
        if self.is_size and not all(
            within(v, -MAX_DIMENSION) for v in (value if isinstance(value, tuple) else (value,))
        ):
            return f"at most {MAX_DIMENSION} in size"
        return ""


def _is_flag(value: object) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_one_whole(value: object) -> bool:
    return is_whole(value) and np.asarray(value).ndim == 0


def _each(holds: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple) and all(map(holds, value))


_TYPES: tuple[tuple[object, FieldType], ...] = (
    (bool, FieldType("true or false", _is_flag)),
    (str, FieldType("a name", _is_text)),
    (int, FieldType("a whole number", _is_one_whole, is_size=True)),
    (Dim, FieldType("a whole number", is_whole, is_size=True)),
    (Dim | None, FieldType("a whole number", is_whole, is_size=True, optional=True)),
    (tuple[Dim, ...], FieldType("a list of whole numbers", _each(is_whole), is_size=True, several=True)),
    (tuple[bool, ...], FieldType("a list of true or false", _each(_is_flag))),
    (tuple[str, ...], FieldType("a list of names", _each(_is_text))),
)
_READ: WeakKeyDictionary[type[HasFields], Mapping[str, FieldType]] = WeakKeyDictionary()


def field_types(config_class: type[HasFields]) -> Mapping[str, FieldType]:
    """The fields of a config's class whose kind can be checked; others take what they are given."""
    if config_class not in _READ:
        hints = get_type_hints(config_class, localns={"Dim": Dim})  # a class made at run time has no module with it
        kinds = {f.name: _kind(f, hints[f.name]) for f in fields(config_class)}
        _READ[config_class] = {name: kind for name, kind in kinds.items() if kind is not None}
    return _READ[config_class]


def _kind(declared: Field[Any], hint: object) -> FieldType | None:
    kind = next((kind for known, kind in _TYPES if hint == known), None)
    return replace(kind, optional=True) if kind is not None and _FOLLOWS in declared.metadata else kind


def following(name: str, times: int = 1) -> Dim:
    """The default of a config's field: another field's value, ``times`` as large (see ``fill_in``)."""
    return cast("Dim", field(default=None, metadata={_FOLLOWS: name, _TIMES: times}))


def fill_in(config: HasFields) -> None:
    """Give fields of a new config that were left out, or are None, the values of those that they follow."""
    for declared in fields(config):
        if _FOLLOWS in declared.metadata and getattr(config, declared.name) is None:
            value = getattr(config, declared.metadata[_FOLLOWS]) * declared.metadata[_TIMES]
            object.__setattr__(config, declared.name, value)


def default_words(declared: Field[Any]) -> str | None:
    """A field's default as a file writes it, or the field that it follows; None where it has none."""
    if _FOLLOWS in declared.metadata:
        times = declared.metadata[_TIMES]
        return f"{times} * {declared.metadata[_FOLLOWS]}" if times != 1 else str(declared.metadata[_FOLLOWS])
    if declared.default is MISSING:
        return None
    return _written(declared.default)


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


TRACED = "traced"
"""The family of modules that a user's function builds."""


def required_fields(config_class: type[HasFields]) -> list[str]:
    """The fields of a config that have no default."""
    return [f.name for f in fields(config_class) if default_words(f) is None]


def all_fields_of(family: str) -> str:
    """Where a user reads which fields a family has; a traced module's are the parameters of the user's own function."""
    if family == TRACED:
        return "the parameters of the function that builds it are its fields"
    return f"`archsearch models fields {family}` lists all"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field of a family's config: ``is_value`` where it is the value, which ``told`` then begins
    with the field; else the family is what ``told`` speaks of (`has no field ...`, `lacks ...`)."""

    field: str
    told: str
    is_value: bool = False


def unknown_field(family: str, config_class: type[HasFields], name: str) -> FieldProblem:
    """A name that is no field of the family."""
    near = near_names(name, [f.name for f in fields(config_class)])
    return FieldProblem(name, f"has no field {name!r}{near} ({all_fields_of(family)})")


def missing_fields(family: str, config_class: type[HasFields], given: Mapping[str, object]) -> list[FieldProblem]:
    """A problem where required fields are not among those given, which names them all."""
    required = required_fields(config_class)
    missing = [name for name in required if name not in given]
    if not missing:
        return []
    others = "; the others have defaults" if len(fields(config_class)) > len(required) else ""
    told = f"lacks {', '.join(missing)}; required are {', '.join(required)}{others} ({all_fields_of(family)})"
    return [FieldProblem(missing[0], told)]


def field_problems(family: str, config_class: type[HasFields], values: Mapping[str, object]) -> list[FieldProblem]:
    """All that is wrong with values for a family's config, before the config is made: unknown names, values of another
    kind, and what is missing."""
    kinds, names = field_types(config_class), {f.name for f in fields(config_class)}
    found = [unknown_field(family, config_class, name) for name in values if name not in names]
    for name, value in values.items():
        if name in kinds and (problem := kinds[name].problem(value)):
            found.append(FieldProblem(name, f"{name} must be {problem}, not {value!r}", is_value=True))
    return found + missing_fields(family, config_class, values)
