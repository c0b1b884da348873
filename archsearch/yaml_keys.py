"""The keys of a file as its records describe them: type, default, whether required, meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_PLAIN: Mapping[object, str] = {str: "text", bool: "true or false", int: "whole number", float: "number"}
_BOUNDS = {"gt": "above", "ge": "from", "lt": "below", "le": "up to"}


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a record. ``kind`` is its type in words, ``default`` are words, None where the key is required or
    a section whose keys have their own; ``record`` is the section that it holds, ``several`` whether as a list or a
    mapping of such."""

    name: str
    kind: str
    required: bool
    default: str | None
    meaning: str
    record: type[BaseModel] | None
    several: bool

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        plain = {"name": self.name, "type": self.kind, "required": self.required, "default": self.default}
        return {**plain, "meaning": self.meaning}

    @property
    def told(self) -> str:
        """What the key is, its type and its default, in one line."""
        default = "required" if self.required else f"default {self.default}" if self.default is not None else ""
        return f"{self.meaning} ({'; '.join(part for part in (self.kind, default) if part)})"


def keys_of(model: type[BaseModel]) -> tuple[Key, ...]:
    """The keys of a record in their order."""
    return tuple(_key(name, field) for name, field in model.model_fields.items())


def _key(name: str, field: FieldInfo) -> Key:
    record, several = _record(field.annotation)
    required = field.is_required()
    default = (
        None
        if required or (record is not None and not several)
        else _value(field.get_default(call_default_factory=True))
    )
    words = type_words(field.annotation) + bounds_words(field.metadata)
    return Key(name, words, required, default, field.description or "", record, several)


def sections_of(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The records inside a record by dotted key, in the order of a file; ``NAME`` stands for a name of the user's, and
    ``[]`` for the items of a list."""
    found: dict[str, type[BaseModel]] = {}
    for key in keys_of(model):
        if key.record is None:
            continue
        lead = key.name + ((".NAME" if key.kind.startswith("mapping") else "[]") if key.several else "")
        found[lead] = key.record
        found |= {f"{lead}.{inner}": record for inner, record in sections_of(key.record).items()}
    return found


def bounds_words(metadata: list[object]) -> str:
    """Bounds of a number, `` above 0``; empty where there are none."""
    bounds = [(word, getattr(one, name)) for one in metadata for name, word in _BOUNDS.items() if hasattr(one, name)]
    return "".join(f" {word} {bound:g}" for word, bound in bounds if isinstance(bound, int | float))


def type_words(annotation: object) -> str:
    """A type in words: ``list of whole numbers above 0``, ``auto, fast or slow``."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(inner[0]) + bounds_words(list(inner[1:]))
    if origin is Literal:
        return _alternatives([_value(one) for one in inner])
    if origin in (Union, UnionType):
        return _alternatives(list(dict.fromkeys(type_words(one) for one in inner if one is not NoneType)))
    if origin is dict:
        return f"mapping of names to {type_words(inner[1])}"
    if origin in (tuple, list):
        if len(inner) == 1 or inner[-1] is Ellipsis:
            return f"list of {type_words(inner[0])}"
        return f"[{', '.join(map(type_words, inner))}]"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _alternatives([str(one.value) for one in annotation])
    return "value"


def _alternatives(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _record(annotation: object) -> tuple[type[BaseModel] | None, bool]:
    """The record in an annotation, and whether it is that of many."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    many = get_origin(annotation) in (dict, tuple, list)
    for inner in get_args(annotation):
        record, several = _record(inner)
        if record is not None:
            return record, many or several
    return None, False


def _value(value: object) -> str:
    """A default as a file writes it."""
    if isinstance(value, BaseModel):
        given = value.model_dump(mode="json", exclude_unset=True)
        return f"{{{', '.join(f'{name}: {_value(one)}' for name, one in given.items())}}}"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None or value == {} else str(value)
