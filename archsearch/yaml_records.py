"""YAML files read into pydantic records; a mistake is reported with file, line and dotted field."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from archsearch.errors import InvalidInputError

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Record(BaseModel):
    """What a file describes: frozen, and an unknown field, an infinity or a NaN in it is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds.

    Raises:
        InvalidInputError: the file cannot be read, is not YAML, repeats a key or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: cannot be read: {error}") from None
    try:
        loader = _LOADER(text)
        node = loader.get_single_node()
        _refuse_repeated_keys(node, path)
        content = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise InvalidInputError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path}:1: expected 'field: value' lines, found {type(content).__name__}")
    return cast("dict[str, Any]", content)


def parse_record(model: type[AnyRecord], path: Path) -> AnyRecord:
    """The record that a YAML file describes.

    Raises:
        InvalidInputError: every problem of the file, one a line: ``file:line: field: what is wrong``.
    """
    content = read_mapping(path)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=_LOADER)
        lines = [_problem(item, root, path, model) for item in error.errors()]
        raise InvalidInputError("\n".join(dict.fromkeys(lines))) from None


def line_of(path: Path, *location: str | int) -> int:
    """The line (from 1) where a field of a YAML file stands, or the deepest part of its place that the file has."""
    return _line(yaml.compose(path.read_text(encoding="utf-8"), Loader=_LOADER), location)


def parse_records(model: type[AnyRecord], path: Path) -> dict[str, AnyRecord]:
    """The records of a YAML file that names them, in its order: ``name: {field: value}``.

    Raises:
        InvalidInputError: every problem of the file, one a line: ``file:line: name.field: what is wrong``.
    """
    named: Any = {str(name): (model, ...) for name in read_mapping(path)}
    return dict(parse_record(create_model("Records", __base__=Record, **named), path))


def _problem(item: Any, root: Any, path: Path, model: type[BaseModel]) -> str:
    """One pydantic error as ``file:line: field: message``."""
    # pydantic marks an illegal mapping key with a trailing "[key]"
    location = tuple(part for part in item["loc"] if part != "[key]")
    field = ".".join(str(part) for part in location)
    where = f"{path}:{_line(root, location)}"
    if item["type"] == "extra_forbidden":
        return f"{where}: {field}: unknown field{_near_field(model, location)}"
    if item["type"] == "missing":
        return f"{where}: {field}: required field is missing"
    message = item["msg"].removeprefix("Value error, ")
    given = item.get("input")
    shown = f" (found {given!r})" if isinstance(given, str | int | float) else ""
    return f"{where}: {field + ': ' if field else ''}{message}{shown}"


def _near_field(model: type[BaseModel], location: tuple[Any, ...]) -> str:
    """``; did you mean ...?`` from the fields of the record in which the unknown name stands."""
    record: Any = model
    for part in location[:-1]:
        if isinstance(part, int) or part not in record.model_fields:
            continue  # a list's index or a mapping's key: the record is its items'
        record = _record_type(record.model_fields[part].annotation) or record
    known = list(record.model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(known)}"


def _record_type(annotation: Any) -> Any:
    """The record class inside an annotation such as ``Memory``, ``Pcie | None`` or ``dict[str, Source]``, if any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in getattr(annotation, "__args__", ()) if (found := _record_type(arg))), None)


def _line(node: Any, location: tuple[Any, ...]) -> int:
    """The line (from 1) of the deepest part of a dotted location that the file has."""
    line = int(node.start_mark.line) + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if match is None:
                return line
            line, node = int(match[0].start_mark.line) + 1, match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = int(node.start_mark.line) + 1
        else:
            return line
    return line


def _refuse_repeated_keys(node: Any, path: Path) -> None:
    """A key given twice would silently lose its first value."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, path)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = int(key.start_mark.line) + 1
        if key.value in seen:
            raise InvalidInputError(f"{path}:{line}: {key.value}: given twice (first on line {seen[key.value]})")
        seen[key.value] = line
        _refuse_repeated_keys(value, path)
