"""The levers of a file: entries of ``levers.yaml``, checked against the groups and the fields that they set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from archsearch.arrays import Dim
from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.pipeline.lever_group import (
    VALUE,
    AutoencoderRecord,
    Lever,
    LeverGroup,
    Measurement,
    Number,
    Role,
)
from archsearch.pipeline.lever_groups import GROUPS, new_group
from archsearch.pipeline.request import Deployment, Request
from archsearch.yaml_records import Record, parse_records

LEVERS_FILE = Path(__file__).with_name("levers.yaml")
PARTS: Mapping[str, type] = {"execution": Execution, "deployment": Deployment, "request": Request}
"""What a lever may set fields of, by the word that stands before the field's name."""
Scalar = bool | int | float | str | None


class LeverRecord(Record):
    """One entry of a file of levers; the head of ``levers.yaml`` explains the fields."""

    title: str
    group: str
    role: Role | None = None
    training: Literal["none", "distill", "retrain"]
    quality: Literal["exact", "sampling", "unknown"] | tuple[Measurement, ...] = "unknown"
    value: int | float | str | None = None
    set: dict[str, Scalar] = Field(default_factory=dict)
    autoencoder: AutoencoderRecord | None = None
    source: str

    @model_validator(mode="after")
    def _sound(self) -> LeverRecord:
        group = self.lever_group()
        if group.number is not Number.NONE and not group.number.allows(self.value):
            raise ValueError(f"value: levers of group {group.name} need {group.number.text}, not {self.value}")
        if group.by_data != bool(self.set):
            raise ValueError(
                "set: name the fields that it sets, else it changes nothing"
                if group.by_data
                else f"set: what levers of group {group.name} change is lever_groups.py's to say"
            )
        for name, value in self.set.items():
            legal_value(name, self.value if value == VALUE else value)
        return self

    def lever_group(self) -> LeverGroup:
        """The group that it belongs to, made from its role where no record has it.

        Raises:
            ValueError: no such group and no role, or a role of a group that has its own.
        """
        recorded = next((group for group in GROUPS if group.name == self.group), None)
        if recorded is None and self.role is None:
            names = [group.name for group in GROUPS]
            raise ValueError(str(UnknownNameError("group", self.group, names, hint="(a new group states its role)")))
        if recorded is not None and self.role is not None:
            raise ValueError(f"role: group {self.group} has one; leave it out")
        numbers = {int: Number.COUNT, float: Number.SHARE}
        number = numbers.get(type(self.value), Number.NONE) if VALUE in self.set.values() else Number.NONE
        return recorded or new_group(self.group, self.role or Role.EXECUTION, number)

    def lever(self, name: str) -> Lever:
        """The lever of that name."""
        return Lever(
            id=name,
            title=self.title,
            group=self.lever_group(),
            training=self.training,
            source=self.source,
            quality=self.quality,
            value=self.value,
            fields=tuple((n, v if v == VALUE else legal_value(n, v)) for n, v in self.set.items()),
            autoencoder=self.autoencoder,
        )


def legal_value(name: str, value: Scalar) -> object:
    """What a field of a plan holds for a value as YAML has it: ``deployment.dtype`` of ``fp8`` is ``DType.FP8``.

    Raises:
        ValueError: no such field, or a value that it does not take.
    """
    part, _, field = name.partition(".")
    names = [f"{word}.{f.name}" for word, cls in PARTS.items() for f in fields(cls)]
    if name not in names or field == "execution":
        raise ValueError(f"set: {UnknownNameError('field of a plan', name, names)}")
    kind = get_type_hints(PARTS[part])[field]
    try:
        held: Any = TypeAdapter(int if kind == Dim else kind).validate_python(value)
        if part == "execution":
            replace(Execution(), **{field: held})
        elif part == "deployment":
            replace(Deployment(dtype=DType.BF16), **{field: held})
    except (ValidationError, ArchSearchError) as error:
        text = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ValueError(f"set: {name} does not take {value!r}: {text}") from None
    legal: object = held
    return legal


@lru_cache(maxsize=8)
def load_levers(path: Path = LEVERS_FILE) -> Mapping[str, Lever]:
    """The levers of a file by id, those that ship unless another is named.

    Raises:
        InvalidInputError: an entry that is no lever; the text gives file, line and field.
    """
    levers = {name: record.lever(name) for name, record in parse_records(LeverRecord, path).items()}
    groups: dict[str, Lever] = {}
    for lever in levers.values():
        other = groups.setdefault(lever.group.name, lever)
        if other.group != lever.group:
            raise InvalidInputError(
                f"{path}: {lever.id}: {other.id} of the same group has another role or kind of number"
            )
    return MappingProxyType(levers)
