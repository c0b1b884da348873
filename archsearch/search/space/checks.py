"""What the schema of a space file cannot see: names, kinds of values and widths against the family's config."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.models.base import ModelConfig
from archsearch.models.field_types import HasFields, all_fields_of, field_types, missing_fields
from archsearch.models.modality import sizes_read
from archsearch.search.space.expressions import Expression
from archsearch.search.space.schema import SpaceRecord
from archsearch.workload import SIZES
from archsearch.yaml_records import Location, line_of_text

WIDTH_FIELDS = ("hidden_size", "intermediate_size", "head_dim", "vocab_size")
MOST_CELLS = 2**62
"""Combinations of a space: cells are numbered by 64-bit integers."""
SECTIONS = ("fixed", "dimensions", "derived")
"""The sections that name fields of the family's config."""
PARAMETERS = "parameters"
"""What conditions may read beside the space's names: the parameters of the whole model."""


@dataclass(frozen=True, slots=True)
class SpaceProblem:
    """What is wrong in a space, and the keys that lead to it in the file."""

    at: Location
    error: ArchSearchError


def refuse(problems: list[SpaceProblem], origin: str, text: str | None) -> None:
    """Refuse a space with problems: the one as it is, several one a line, each behind its place; with its line where
    the file's ``text`` is given.

    Raises:
        UnknownNameError, InvalidInputError: there are any.
    """
    told = [problem.error.about(_place(problem.at, origin, text)) for problem in problems]
    if len(told) == 1:
        raise told[0]
    if told:
        raise InvalidInputError("\n".join(map(str, told)), field=[name for error in told for name in error.fields])


def _place(at: Location, origin: str, text: str | None) -> str:
    where = origin if text is None else f"{origin}:{line_of_text(text, *at)}"
    return f"{where}: {'.'.join(map(str, at))}" if at else where


def condition_names(record: SpaceRecord) -> list[str]:
    """Names that a condition of a space may read."""
    return [*(name for section in SECTIONS for name in getattr(record, section)), PARAMETERS]


def expression_problems(record: SpaceRecord) -> Iterator[SpaceProblem]:
    """Names in expressions that are none of the space's."""
    of_conditions = condition_names(record)
    texts: dict[Location, str] = {("derived", name): text for name, text in record.derived.items()}
    texts |= {("constraints", i): text for i, text in enumerate(record.constraints)}
    for at, text in texts.items():
        try:
            Expression.parse(text).require_known(of_conditions if at[0] == "constraints" else of_conditions[:-1])
        except UnknownNameError as error:
            yield SpaceProblem(at, error)


def field_problems(record: SpaceRecord, family: str, config_class: type[HasFields]) -> Iterator[SpaceProblem]:
    """Names that are no fields of the family and that no expression reads, values of another kind than their field,
    and required fields that the space does not give."""
    expressions = [Expression.parse(text) for text in (*record.derived.values(), *record.constraints)]
    read = frozenset[str]().union(*(expression.names for expression in expressions))
    known = [f.name for f in fields(config_class)]
    given = {name: section for section in SECTIONS for name in getattr(record, section)}
    for name, section in given.items():
        if name not in known and name not in read:
            yield SpaceProblem((section, name), _unknown_field(record, family, name, known))
    yield from _kind_problems(record, config_class)
    for missing in missing_fields(family, config_class, given):
        text = f"family {family} {missing.told}; give each under fixed, dimensions or derived"
        yield SpaceProblem((), InvalidInputError(text, field=missing.field))


def _unknown_field(record: SpaceRecord, family: str, name: str, known: list[str]) -> ArchSearchError:
    """A name that is no field of the family and no parameter of the builder."""
    if record.builder is None:
        hint = f"(a helper that is no field must be read by an expression; {all_fields_of(family)})"
        return UnknownNameError(f"{family} field", name, known, hint)
    if name in OF_THE_WORKLOAD:
        text = f"{record.builder} takes {name} from the workload: set workload.{name}, or call the parameter otherwise"
        return InvalidInputError(text)
    hint = "(a helper that is no parameter must be read by an expression)"
    return UnknownNameError(f"parameter of {record.builder}", name, known, hint)


OF_THE_WORKLOAD = (*SIZES, "dtype")
"""Parameters that a builder takes from the workload."""


def _kind_problems(record: SpaceRecord, config_class: type[HasFields]) -> Iterator[SpaceProblem]:
    """Fixed values and choices of dimensions that are of another kind than the family's field."""
    kinds = field_types(config_class)
    values: dict[Location, Mapping[str, tuple[object, ...]]] = {
        ("fixed",): {name: (value,) for name, value in record.fixed.items()},
        ("dimensions",): {name: dimension.values for name, dimension in record.dimensions.items()},
    }
    for section, named in values.items():
        for name, several in named.items():
            bad = [(v, told) for v in several if name in kinds and (told := kinds[name].problem(v))]
            if bad:
                value, told = bad[0]
                yield SpaceProblem((*section, name), InvalidInputError(f"must be {told}, not {value!r}"))


def size_problems(record: SpaceRecord, config_class: type[ModelConfig]) -> Iterator[SpaceProblem]:
    """Sizes of the workload that nothing of the family reads; what a pipeline's parts read is the pipeline's to say."""
    read = sizes_read(config_class) if record.pipeline is None else frozenset()
    listed = ", ".join(name for name in SIZES if name in read)
    for name in SIZES:
        if read and name not in {*read, "batch_size"} and getattr(record.workload, name) is not None:
            text = f"has no effect on family {record.family}, which has {listed}: leave it out"
            yield SpaceProblem(("workload", name), InvalidInputError(text))


def cell_problems(record: SpaceRecord) -> Iterator[SpaceProblem]:
    """More combinations than cells can be numbered."""
    size = math.prod(len(dimension.values) for dimension in record.dimensions.values())
    if size > MOST_CELLS:
        text = f"over {MOST_CELLS:.2g} combinations of values; use fewer dimensions, or larger steps"
        yield SpaceProblem(("dimensions",), InvalidInputError(text))


def width_problems(record: SpaceRecord) -> Iterator[SpaceProblem]:
    """Widths off the multiple that the space asks for."""
    multiple = record.width_multiple
    for name in WIDTH_FIELDS:
        section = "dimensions" if name in record.dimensions else "fixed"
        given = record.dimensions[name].values if section == "dimensions" else record.fixed.get(name)
        numbers = [v for v in np.ravel(np.asarray(given)).tolist() if isinstance(v, int | float)]
        off = [int(v) for v in numbers if v % multiple]
        if off:
            listed = ", ".join(map(str, off[:5])) + (" ..." if len(off) > 5 else "")
            text = f"{listed} not a multiple of {multiple}; use multiples of {multiple} or set 'width_multiple'"
            yield SpaceProblem((section, name), InvalidInputError(text))
