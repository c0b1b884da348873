"""YAML into mappings and strict records; a mistake is reported with file, line and dotted field.

Everything of archsearch that reads YAML reads it here: ``parse_record`` and ``parse_records`` (records of a file),
``record_of`` (of a part of one), ``read_mapping`` (a mapping as it stands), ``load_text`` (a text at hand).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, create_model, field_validator

from archsearch.errors import InvalidInputError
from archsearch.files import read_text
from archsearch.progress import detail

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_VALUES = 200_000
"""Values of a YAML text, each anchored part counted as often as an alias repeats it. No real file is larger; some
lines of nested aliases are 10^12."""
MOST_DEPTH = 64
"""Lists and mappings inside each other; real files have six."""
Location = tuple[int | str, ...]
"""The keys and indices that lead to a part of a file."""


class Record(BaseModel):
    """What a file describes: frozen, and an unknown field, an infinity or a NaN in it is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """YAML's true is no 1: pydantic would take it for one."""
        if _has_truth(value) and info.field_name is not None:
            annotation = cls.model_fields[info.field_name].annotation
            if not _takes_truth(annotation):
                raise ValueError("must be no true or false")
        return value


def _has_truth(value: object) -> bool:
    """Whether a value, or what is in a list or mapping of values, is true or false."""
    if isinstance(value, bool):
        return True
    if isinstance(value, dict):
        return any(isinstance(item, bool) for item in value.values())
    return isinstance(value, list | tuple) and any(map(_has_truth, value))


def _takes_truth(annotation: object) -> bool:
    """Whether a truth value is legal somewhere in an annotation, or its records say what is legal in them."""
    if annotation in (bool, object, Any):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(_takes_truth(inner) for inner in get_args(annotation))


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def read_mapping(path: Path) -> dict[str, object]:
    """The mapping a YAML file holds.

    Raises:
        InvalidInputError: the file cannot be read, is not YAML, repeats a key or holds no mapping.
    """
    text = read_text(path)
    try:
        loader = _LOADER(text)
        node = loader.get_single_node()
        _refuse_expanding(node)
        _refuse_repeated_keys(node, path)
        content = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise InvalidInputError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        # of the latter: a date without such a day, a key that is a list, an anchor inside itself, a number without end
        raise InvalidInputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path}:1: expected 'field: value' lines, found {type(content).__name__}")
    return cast("dict[str, Any]", content)


def load_text(text: str) -> object:
    """Whatever a YAML text holds (what a study stored, a file that may be JSON too); its reader says what is legal.

    Raises:
        ValueError: it is not YAML, in the parser's words.
    """
    try:
        loader = _LOADER(text)
        node = loader.get_single_node()
        _refuse_expanding(node)
        return cast("object", loader.construct_document(node)) if node is not None else None
    except (yaml.YAMLError, RecursionError, OverflowError, TypeError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def parse_record(model: type[AnyRecord], path: Path) -> AnyRecord:
    """The record that a YAML file describes.

    Raises:
        InvalidInputError: every problem of the file, one a line: ``file:line: field: what is wrong``.
    """
    detail(f"read {path}")
    return record_of(model, read_mapping(path), path)


def record_of(model: type[AnyRecord], content: Mapping[str, object], path: Path, at: Location = ()) -> AnyRecord:
    """The record that a mapping of a YAML file describes; ``at`` leads to the mapping in the file.

    Raises:
        InvalidInputError: every problem of the mapping, one a line: ``file:line: field: what is wrong``.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        root = yaml.compose(read_text(path), Loader=_LOADER)
        lines = [_problem(item, at, root, path, model) for item in error.errors()]
        raise InvalidInputError("\n".join(dict.fromkeys(lines))) from None


def parse_records(model: type[AnyRecord], path: Path) -> dict[str, AnyRecord]:
    """The records of a YAML file that names them, in its order: ``name: {field: value}``.

    Raises:
        InvalidInputError: every problem of the file, one a line: ``file:line: name.field: what is wrong``.
    """
    detail(f"read {path}")
    content = read_mapping(path)
    named: Any = {str(name): (model, ...) for name in content}
    return dict(record_of(create_model("Records", __base__=Record, **named), content, path))


def line_of(path: Path, *location: str | int) -> int:
    """The line (from 1) where a field of a YAML file stands, or the deepest part of its place that the file has."""
    return line_of_text(read_text(path), *location)


def line_of_text(text: str, *location: str | int) -> int:
    """As ``line_of``, of a YAML text."""
    return _line(yaml.compose(text, Loader=_LOADER), location)


def without_key(path: Path, key: str) -> str:
    """The text of a YAML file less one key of its mapping and that key's value; every other line stays as it is.

    Raises:
        InvalidInputError: the file cannot be read, or holds no mapping with that key.
    """
    text = read_text(path)
    root = yaml.compose(text, Loader=_LOADER)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    found = next(((name, value) for name, value in pairs if name.value == key), None)
    if found is None:
        raise InvalidInputError(f"{path}: has no {key}")
    lines = text.splitlines(keepends=True)
    del lines[found[0].start_mark.line : _last_line(found[1]) + 1]
    return "".join(lines)


def _last_line(node: yaml.Node) -> int:
    """The line (from 0) on which a value ends; a block's own mark lies where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    mark = node.end_mark
    return int(mark.line) - (1 if mark.column == 0 and mark.line > node.start_mark.line else 0)


class _Mistake(TypedDict):
    """What is read of one of pydantic's ``errors()``."""

    type: str
    loc: tuple[int | str, ...]
    msg: str
    input: object


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """What is wrong with a record that no file holds: ``field: message`` of each problem."""
    return [_told(item, (), model) for item in error.errors()]


def _problem(item: _Mistake, at: Location, root: yaml.Node | None, path: Path, model: type[BaseModel]) -> str:
    """One pydantic error as ``file:line: field: message``."""
    return f"{path}:{_line(root, (*at, *_location(item)))}: {_told(item, at, model)}"


def _location(item: _Mistake) -> Location:
    # pydantic marks an illegal mapping key with a trailing "[key]"
    return tuple(part for part in item["loc"] if part != "[key]")


def _told(item: _Mistake, at: Location, model: type[BaseModel]) -> str:
    location = _location(item)
    field = ".".join(str(part) for part in (*at, *location))
    if item["type"] == "extra_forbidden":
        return f"{field}: unknown field{_near_field(model, location)}"
    if item["type"] == "missing":
        return f"{field}: required field is missing"
    message = item["msg"].removeprefix("Value error, ")
    given = item.get("input")
    shown = f" (found {given!r})" if isinstance(given, str | int | float) else ""
    return f"{field + ': ' if field else ''}{message}{shown}"


def _near_field(model: type[BaseModel], location: Location) -> str:
    """``; did you mean ...?`` from the fields of the record in which the unknown name stands."""
    record = model
    for part in location[:-1]:
        if isinstance(part, int) or part not in record.model_fields:
            continue  # a list's index or a mapping's key: the record is its items'
        record = record_type(record.model_fields[part].annotation) or record
    return near_names(str(location[-1]), list(record.model_fields))


def near_names(name: str, names: Collection[str]) -> str:
    """``; did you mean ...?`` of a name that is none of these, or all of them where none is near."""
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(names)}"


def record_type(annotation: object) -> type[BaseModel] | None:
    """The record class inside an annotation such as ``Memory``, ``Pcie | None`` or ``dict[str, Source]``, if any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (record_type(argument) for argument in getattr(annotation, "__args__", ()))
    return next((record for record in inner if record), None)


def _line(node: yaml.Node | None, location: Location) -> int:
    """The line (from 1) of the deepest part of a dotted location that the file has."""
    line = _line_of(node)
    for part in location:
        if isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if match is None:
                return line
            line, node = _line_of(match[0]), match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = _line_of(node)
        else:
            return line
    return line


def _line_of(node: yaml.Node | None) -> int:
    return 1 if node is None else int(node.start_mark.line) + 1


def _refuse_expanding(root: yaml.Node | None) -> None:
    """Aliases that expand to more than ``MOST_VALUES``, or into themselves, would never end; nor is anything read that
    is nested deeper than ``MOST_DEPTH``.

    Counts each node once, its children before itself: in time linear in the text, whatever it expands to.

    Raises:
        ValueError: it does.
    """
    sizes: dict[int, int | None] = {}  # None while a node's children are counted
    depths: dict[int, int] = {}
    stack = [root] if root is not None else []
    while stack:
        node = stack[-1]
        children = _children(node)
        if id(node) not in sizes:
            sizes[id(node)] = None
            stack += [child for child in children if id(child) not in sizes]
            if any(sizes.get(id(child), 0) is None for child in children):
                raise ValueError(f"line {_line_of(node)}: an alias inside of what it stands for")
            continue
        stack.pop()
        if sizes[id(node)] is None:
            size = 1 + sum(sizes[id(child)] or 0 for child in children)
            if size > MOST_VALUES:
                raise ValueError(
                    f"line {_line_of(node)}: over {MOST_VALUES:,} values, each as often as an alias repeats it"
                )
            sizes[id(node)] = size
            depths[id(node)] = 1 + max((depths[id(child)] for child in children), default=0)
            if depths[id(node)] > MOST_DEPTH:
                raise ValueError(f"line {_line_of(node)}: nested deeper than {MOST_DEPTH}")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refuse_repeated_keys(node: yaml.Node | None, path: Path) -> None:
    """A key given twice would silently lose its first value."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, path)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = _line_of(key)
        if key.value in seen:
            raise InvalidInputError(f"{path}:{line}: {key.value}: given twice (first on line {seen[key.value]})")
        seen[key.value] = line
        _refuse_repeated_keys(value, path)
