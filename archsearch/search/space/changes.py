"""Keys of a space file set to other values for one run: ``workload.batch_size=8``, ``dimensions.num_layers.choices=[12,
24]``.

A key is the file's, dotted. A name that ``fixed``, ``dimensions`` or ``derived`` gets leaves the other two, ``choices``
leaves ``range`` and ``step`` and the other way round, and null takes a key away, so that its default holds.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy

from pydantic import BaseModel, ValidationError

from archsearch.errors import InvalidInputError
from archsearch.search.space.checks import SECTIONS
from archsearch.search.space.schema import SpaceRecord
from archsearch.yaml_records import load_text, problems_of, record_type

Content = dict[str, object]
_NAMED = {"execution": "name"}
"""Sections that may be a name alone, and the key that the name is of where they are a mapping."""
_EXCLUDE = {"choices": ("range", "step"), "range": ("choices",), "step": ("choices",)}


def parse_changes(texts: Sequence[str]) -> dict[str, object]:
    """Changes as the command line takes them, ``KEY=VALUE`` with a YAML value.

    Raises:
        InvalidInputError: no ``=``, a value that is not YAML, or a key given twice.
    """
    changes: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InvalidInputError(f"{{set}} {text}: expected KEY=VALUE, as in workload.batch_size=8", field="set")
        if key in changes:
            raise InvalidInputError(f"{{set}} {key}: given twice", field="set")
        try:
            changes[key] = _number(load_text(value))
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise InvalidInputError(f"{{set}} {key}: {value!r} is not YAML: {reason}", field="set") from None
    return changes


_POWER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def _number(value: object) -> object:
    """A number such as 1e12, which YAML takes for a text."""
    return float(value) if isinstance(value, str) and _POWER.fullmatch(value) else value


def changed_record(content: Content, changes: Mapping[str, object]) -> tuple[SpaceRecord, Content]:
    """A space file's content with changes, checked; and that content.

    Raises:
        InvalidInputError: a key that no space has (with near ones), or a value that it cannot have.
    """
    changed = deepcopy(content)
    for key, value in changes.items():
        _refuse_unknown(key)
        _put(changed, key, value)
    try:
        return SpaceRecord.model_validate(changed), changed
    except ValidationError as error:
        keys = ", ".join(changes)
        told = (f"{{set}} {keys}: {text.removeprefix(f'{keys}: ')}" for text in problems_of(error, SpaceRecord))
        raise InvalidInputError("\n".join(dict.fromkeys(told)), field="set") from None


def known_keys() -> list[str]:
    """Every dotted key that has a fixed name."""
    return list(_keys(SpaceRecord, ""))


def _keys(model: type[BaseModel], lead: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{lead}{name}"
        inner = record_type(field.annotation)
        if inner is not None and not _is_collection(field.annotation):
            yield from _keys(inner, f"{lead}{name}.")


def _is_collection(annotation: object) -> bool:
    return getattr(annotation, "__origin__", None) in (dict, tuple, list)


def _refuse_unknown(key: str) -> None:
    known = known_keys()
    parts = key.split(".")
    if all(parts) and parts[0] in SpaceRecord.model_fields:
        lead = next((".".join(parts[:n]) for n in range(1, len(parts) + 1) if ".".join(parts[:n]) not in known), None)
        inside = SpaceRecord.model_fields[parts[0]].annotation
        if lead is None or record_type(inside) is None or _is_collection(inside):
            return  # what is inside a mapping of the user's own names, the record tells
    same = [name for name in known if name.rpartition(".")[2] == parts[-1]]
    near = same or difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    listed = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(SpaceRecord.model_fields)}"
    raise InvalidInputError(f"{{set}} {key}: no key of a space file; {listed}", field="set")


def _put(content: Content, key: str, value: object) -> None:
    *lead, last = key.split(".")
    place = content
    for depth, part in enumerate(lead):
        inner = place.get(part)
        if part in _NAMED and isinstance(inner, str):
            inner = {_NAMED[part]: inner}
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            whole = ".".join(lead[: depth + 1])
            text = f"{{set}} {key}: {whole} is {inner!r} in this space, no mapping; set {whole} as a whole"
            raise InvalidInputError(text, field="set")
        place[part] = inner
        place = inner
    if len(lead) == 1 and lead[0] in SECTIONS:
        _leave_others(content, lead[0], last)
    elif len(lead) == 2 and lead[0] == "dimensions":
        _leave_others(content, "dimensions", lead[1])
        for other in _EXCLUDE.get(last, ()):
            place.pop(other, None)
    if value is None and not (lead and lead[0] == "fixed"):
        place.pop(last, None)
    else:
        place[last] = value


def _leave_others(content: Content, section: str, name: str) -> None:
    for other in SECTIONS:
        named = content.get(other)
        if other != section and isinstance(named, dict):
            named.pop(name, None)
