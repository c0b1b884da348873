"""The keys of what ``--json`` prints, verb by verb: type, unit and meaning (``answer_keys.yaml``).

A key's type is ``text``, ``whole number``, ``number``, ``true or false`` or ``anything``; ``list of T``; ``names to
T``, an object whose keys are names (of GPUs, of fields); or a record of the file by its name. ``T or U`` is either,
``T?`` is ``T or null`` (of a list's items, where T is in a list), and a key with ``?`` is left out where it does not
apply. A record that is ``from`` a class has the keys, types and texts of its fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import BaseModel

from archsearch.errors import InvalidInputError
from archsearch.version import JSON_SCHEMA
from archsearch.yaml_keys import keys_of, type_words
from archsearch.yaml_records import read_mapping

FILE = Path(__file__).with_name("answer_keys.yaml")
SCHEMA_KEY = "schema"
PLAIN: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "whole number": (int,),
    "number": (int, float),
    "true or false": (bool,),
    "anything": (object,),
}
"""Types of values that are neither lists nor objects; JSON writes a number without a fraction as either."""
ANY = "*"
"""The key of a record that stands for all that it does not name."""
LIST, NAMES, EITHER, NULL = "list of ", "names to ", " or ", "?"


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """A key of an object; ``always`` is False where it is left out if it does not apply. ``words`` is the type as a
    page tells it, where another file checks it."""

    name: str
    kind: str
    unit: str
    meaning: str
    always: bool = True
    words: str = ""


Keys = tuple[AnswerKey, ...]


@dataclass(frozen=True, slots=True)
class VerbAnswer:
    """What a verb prints: the type of the document, and in words what it is. An object states its version."""

    verb: str
    kind: str
    about: str
    versioned: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """The documents of all verbs, and the records that they are made of by name; ``files`` are formats of their own."""

    verbs: Mapping[str, VerbAnswer]
    records: Mapping[str, Keys]
    about: Mapping[str, str]

    def faults(self, verb: str, document: object) -> list[str]:
        """Where a verb's document is not as described: each place with what is wrong; empty where it is."""
        answer = self.verbs[verb]
        if answer.versioned and isinstance(document, dict):
            told = dict(document)
            version = told.pop(SCHEMA_KEY, None)
            wrong = [] if version == JSON_SCHEMA else [f"{SCHEMA_KEY}: {version!r}, not {JSON_SCHEMA}"]
            return [*wrong, *self._faults(answer.kind, told, "")]
        return list(self._faults(answer.kind, document, ""))

    def _faults(self, kind: str, value: object, at: str) -> Iterator[str]:
        choices = alternatives(kind)
        found = {one: list(self._of_one(one, value, at)) for one in choices}
        if not all(found.values()):
            return
        alike = [
            one for one in choices if one not in PLAIN and one != "null" and one.startswith(LIST) == _is_list(value)
        ]
        inside = isinstance(value, dict | list) and alike
        yield from found[alike[0] if inside else choices[0]] if inside or len(choices) == 1 else [_no(value, kind, at)]

    def _of_one(self, kind: str, value: object, at: str) -> Iterator[str]:
        if kind == "null":
            if value is not None:
                yield f"{at}: {json.dumps(value)[:40]} is not null"
        elif kind in PLAIN:
            truth = isinstance(value, bool) and bool not in PLAIN[kind] and object not in PLAIN[kind]
            if truth or not isinstance(value, PLAIN[kind]):
                yield _no(value, kind, at)
        elif kind.startswith(LIST):
            yield from self._of_list(kind.removeprefix(LIST), value, at)
        elif kind.startswith(NAMES):
            yield from self._of_names(kind.removeprefix(NAMES), value, at)
        else:
            yield from self._of_record(kind, value, at)

    def _of_list(self, kind: str, value: object, at: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield _no(value, "list", at)
            return
        for item in value:
            yield from self._faults(kind, item, f"{at}[]")

    def _of_names(self, kind: str, value: object, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield _no(value, "object", at)
            return
        for name, item in value.items():
            yield from self._faults(kind, item, f"{at}.{name}")

    def _of_record(self, name: str, value: object, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield _no(value, name, at)
            return
        keys = {key.name: key for key in self.records[name]}
        other = keys.pop(ANY, None)
        for extra in value:
            if extra not in keys and other is None:
                yield f"{at}.{extra}: not described"
            elif extra not in keys and other is not None:
                yield from self._faults(other.kind, value[extra], f"{at}.{extra}")
        for key in keys.values():
            if key.name in value:
                yield from self._faults(key.kind, value[key.name], f"{at}.{key.name}")
            elif key.always:
                yield f"{at}.{key.name}: missing"


def _no(value: object, kind: str, at: str) -> str:
    return f"{at}: {json.dumps(value)[:40]} is no {kind}"


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def alternatives(kind: str) -> list[str]:
    """The types that a key's type allows, ``null`` among them."""
    found: list[str] = []
    for part in kind.replace(TRUTH, _TOKEN).split(EITHER):
        bare = part if part.startswith((LIST, NAMES)) else part.removesuffix(NULL)
        found += [bare.replace(_TOKEN, TRUTH), *(["null"] if bare != part else [])]
    return found


TRUTH, _TOKEN = "true or false", "true/false"
"""A type that has the word for alternatives in its name, and how it is spelled while they are told apart."""


@cache
def answers() -> Answers:
    """What ``answer_keys.yaml`` describes."""
    return read_answers(FILE)


def read_answers(path: Path) -> Answers:
    """What a file describes.

    Raises:
        InvalidInputError: a key without its type, unit and meaning, or a type that is not there.
    """
    content = cast("Mapping[str, Any]", read_mapping(path))
    records = {name: _record(name, section) for name, section in content["records"].items()}
    about = {name: section.get("about", "") for name, section in content["records"].items()}
    verbs: dict[str, VerbAnswer] = {}
    for verb, section in content["verbs"].items():
        if "is" not in section:
            records[verb] = _record(verb, section)
        kind = str(section.get("is", verb))
        verbs[verb] = VerbAnswer(verb, kind, str(section["about"]), bool(section.get("versioned", True)))
    found = Answers(verbs, records, about)
    _refuse_unknown(found)
    return found


def _record(name: str, section: Mapping[str, Any]) -> Keys:
    return _class_keys(section) if "from" in section else _keys(name, section["keys"])


def _keys(at: str, lines: Mapping[str, str]) -> Keys:
    """Keys of lines ``NAME: TYPE | UNIT | MEANING``."""
    found: list[AnswerKey] = []
    for name, line in lines.items():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 3 or not parts[2]:
            raise InvalidInputError(f"{at}.{name}: expected TYPE | UNIT | MEANING, not {line!r}")
        found.append(AnswerKey(name.removesuffix(NULL), parts[0], parts[1], parts[2], not name.endswith(NULL)))
    return tuple(found)


def _class_keys(section: Mapping[str, Any]) -> Keys:
    """The keys of a class's fields: of a pydantic record with their descriptions, of a ``TypedDict`` with its texts."""
    module, _, name = str(section["from"]).rpartition(".")
    found, units = getattr(import_module(module), name), section.get("units", {})
    optional = set(section.get("optional", ()))
    if is_typeddict(found):
        hints = get_type_hints(found, include_extras=True)
        told = [(n, *get_args(h)[:2]) if get_origin(h) is Annotated else (n, h, "") for n, h in hints.items()]
        keys = [AnswerKey(n, _kind(t), units.get(n, ""), text, n not in optional) for n, t, text in told]
    else:
        record = cast("type[BaseModel]", found)
        keys = [AnswerKey(k.name, "anything", units.get(k.name, ""), k.meaning, words=k.kind) for k in keys_of(record)]
    return (*keys, *_keys(name, section.get("keys") or {}))


def _kind(annotation: object) -> str:
    parts = [one for one in get_args(annotation) if one is not type(None)] or [annotation]
    words = EITHER.join(map(type_words, parts))
    return f"{words}{NULL}" if type(None) in get_args(annotation) else words


def _refuse_unknown(found: Answers) -> None:
    """Refuse types that nothing describes."""
    kinds = {answer.kind: verb for verb, answer in found.verbs.items()}
    kinds |= {key.kind: f"{name}.{key.name}" for name, keys in found.records.items() for key in keys}
    for kind, at in kinds.items():
        for one in leaves(kind):
            if one not in PLAIN and one not in found.records and one != "null":
                raise InvalidInputError(f"{at}: no type {one!r}")


def leaves(kind: str) -> list[str]:
    """The types that a type is made of."""
    found: list[str] = []
    for one in alternatives(kind):
        inner = one.removeprefix(LIST if one.startswith(LIST) else NAMES)
        found += [one] if inner == one else leaves(inner)
    return found
