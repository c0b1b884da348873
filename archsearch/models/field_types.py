"""What kind of value each field of a config takes: its annotations, read once a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, ClassVar, Protocol, get_type_hints
from weakref import WeakKeyDictionary

import numpy as np

from archsearch.arrays import Dim
from archsearch.workload import MAX_DIMENSION, is_whole, within


class HasFields(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@dataclass(frozen=True, slots=True)
class FieldType:
    """``holds`` says whether a value is one of the kind, ``words`` what the kind is. ``is_size``: a dimension, or a
    list of them, bounded by ``MAX_DIMENSION``."""

    words: str
    holds: Callable[[object], bool]
    is_size: bool = False
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
    (tuple[Dim, ...], FieldType("a list of whole numbers", _each(is_whole), is_size=True)),
    (tuple[bool, ...], FieldType("a list of true or false", _each(_is_flag))),
    (tuple[str, ...], FieldType("a list of names", _each(_is_text))),
)
_READ: WeakKeyDictionary[type[HasFields], Mapping[str, FieldType]] = WeakKeyDictionary()


def field_types(config_class: type[HasFields]) -> Mapping[str, FieldType]:
    """The fields of a config's class whose kind can be checked; others take what they are given."""
    if config_class not in _READ:
        hints = get_type_hints(config_class, localns={"Dim": Dim})  # a class made at run time has no module with it
        declared = {f.name: hints[f.name] for f in fields(config_class)}
        _READ[config_class] = {name: kind for name, hint in declared.items() for known, kind in _TYPES if hint == known}
    return _READ[config_class]
