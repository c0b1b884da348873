"""What kind of value a key of a ``config.json`` holds: checked before anything is computed from it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args, get_origin

from archsearch.errors import InvalidInputError
from archsearch.models.base import ConfigMixin
from archsearch.models.field_types import field_types
from archsearch.models.huggingface.classes.format import Fields, Format, Values
from archsearch.workload import MAX_DIMENSION
from archsearch.yaml_keys import type_words

MOST_LAYERS = 100_000
"""Layers (and entries of a list) of a config: a hundred times the deepest that were ever trained, DeepNet's 1,000
(https://arxiv.org/abs/2203.00555). Some classes list the kind of each."""
MOST_SHOWN = 60
"""Characters of a refused value that its error repeats."""


def check_kinds(values: Values, result: Fields, layout: Format[ConfigMixin], where: str) -> None:
    """Refuse values of another kind than their key's, before they are computed with.

    Args:
        values: what the file holds.
        result: the family's fields as they were read of it.
        layout: which key is which field, and of what kind the others are.
        where: the file, for errors.

    Raises:
        InvalidInputError: every such key, with what it must hold.
    """
    kinds = field_types(layout.family)
    wrong = []
    for field, key in _keys(layout).items():
        value = result.get(field)
        value = tuple(value) if isinstance(value, list) else value
        told = kinds[field].problem(value) if field in kinds and value is not None else ""
        if not told and "layers" in field and _too_many(value):
            told = f"at most {MOST_LAYERS:,}"
        if told:
            wrong.append(f"{key} must be {told}, not {shown(value)}")
    for key, hint in layout.examined.items():
        value = values.get(key)
        if value is not None and not _holds(hint, value):
            wrong.append(f"{key} must be {_words(hint)}, not {shown(value)}")
    if wrong:
        raise InvalidInputError("\n".join(f"{where}: {line}" for line in dict.fromkeys(wrong)))


def shown(value: object) -> str:
    """A refused value as its error repeats it: JSON, cut where it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _keys(layout: Format[Any]) -> Mapping[str, str]:
    return {**layout.sizes, **{field: key for field, (key, _) in layout.options.items()}}


def _too_many(value: object) -> bool:
    sizes = value if isinstance(value, tuple) else (value,)
    return len(sizes) > MOST_LAYERS or any(isinstance(size, int) and size > MOST_LAYERS for size in sizes)


def _holds(hint: object, value: object) -> bool:
    """Whether a JSON value is of a kind: a type, a union of such, or a tuple of one (a list in JSON)."""
    if isinstance(hint, UnionType):
        return any(_holds(one, value) for one in get_args(hint))
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return isinstance(value, list) and len(value) <= MOST_LAYERS and all(_holds(inner, item) for item in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict)
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and abs(value) <= MAX_DIMENSION and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and abs(value) <= MAX_DIMENSION
    return isinstance(value, str)


def _words(hint: object) -> str:
    words = type_words(hint)
    if words.startswith(("true", "text")):
        return words
    article = "a " if words.startswith(("list", "mapping")) else ""
    return f"{article}{words}{'s' if words.startswith('list') else ''}" if article else f"a {words} to {MAX_DIMENSION}"
