"""Search spaces as open meshes: each free dimension is one axis, and nothing is ever listed out.

A mesh of shape (n_0, ..., n_d) stands for every combination of the dimensions' values. Field i is an array of
shape (1, .., n_i, .., 1); derived fields hold only the axes that their expressions read. A family's config
built from such arrays describes the whole mesh at once. Cells are numbered in C order (last axis fastest).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray

from archsearch.arrays import Column
from archsearch.cost.asked_execution import chosen_execution, with_changes
from archsearch.cost.execution import Execution
from archsearch.data import data_path
from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.files import read_text
from archsearch.models.base import ModelConfig, Requirement
from archsearch.search.space.changes import changed_record
from archsearch.search.space.checks import (
    PARAMETERS,
    WIDTH_FIELDS,
    SpaceProblem,
    cell_problems,
    expression_problems,
    field_problems,
    refuse,
    size_problems,
    width_problems,
)
from archsearch.search.space.expressions import Expression, as_dimension, bounded
from archsearch.search.space.schema import SpaceRecord
from archsearch.search.space.sections import Objective, execution_from
from archsearch.search.space.user_code import code_allowed, require_leave
from archsearch.workload import MAX_DIMENSION, Workload
from archsearch.yaml_records import load_text, parse_record

if TYPE_CHECKING:
    from archsearch.models.tracing.stored import StoredTraces

SPACES_VARIABLE = "ARCHSEARCH_SPACES"
CHUNK_CELLS = 2**18

Cells = NDArray[np.int64]


@dataclass(frozen=True)
class SearchSpace:
    """A checked space file. ``origin`` is where it was read from, ``source_text`` what it says.

    ``traces`` are of its builder's modules, as a study keeps them: what they tell needs no leave to run code.
    ``changes`` are the keys of the file that were set to other values (``with_changes``), as they were given.
    """

    record: SpaceRecord
    origin: str
    source_text: str
    traces: StoredTraces | None = field(default=None, repr=False, compare=False)
    changes: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def description(self) -> str:
        return self.record.description

    @property
    def family(self) -> str:
        """The model family; ``traced`` where a builder's modules are searched."""
        return self.record.family or "traced"

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return self.record.objectives

    @cached_property
    def workload(self) -> Workload:
        return self.record.workload.workload()

    @property
    def format_in_file(self) -> str:
        """The workload's format by the name that the file has for it, which may be a vendor's own (nvfp4)."""
        content = load_text(self.source_text)
        stated = content.get("workload") if isinstance(content, dict) else None
        named = stated.get("dtype") if isinstance(stated, dict) else None
        return self.workload.dtype.value if named is None else str(named)

    @cached_property
    def execution(self) -> Execution:
        """How its models run."""
        return execution_from(self.record.execution, self.workload).resolved(self.workload)

    def with_keys(self, changes: Mapping[str, object]) -> SearchSpace:
        """The space with keys of its file set to other values, ``{"workload.batch_size": 8}`` (see
        ``search.space.changes``). Its text changes with it: what a study stores is the space as it ran.

        Raises:
            InvalidInputError: a key that no space has, or values that describe no space.
        """
        if not changes:
            return self
        record, content = changed_record(cast("dict[str, object]", load_text(self.source_text)), changes)
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        changed = replace(self, record=record, source_text=text, changes={**self.changes, **changes})
        try:
            changed.validate()
        except ArchSearchError as error:
            raise InvalidInputError(f"with {{set}} {', '.join(changes)}: {error}", field="set") from None
        return changed

    def with_execution(
        self, execution: Execution | str | None = None, changes: Mapping[str, object] | None = None
    ) -> SearchSpace:
        """The space run otherwise: as an execution (or the name or file of one) says in place of its own, with fields
        changed. Its text changes with it: what a study stores is the space as it ran.

        Raises:
            UnknownNameError: no such name or field.
            InvalidInputError: a value that no run can have.
        """
        base = execution_from(self.record.execution, self.workload)
        base = base if execution is None else chosen_execution(self.workload, execution)
        stated = with_changes(base, changes or {}).to_dict()
        source = cast("dict[str, object]", load_text(self.source_text))
        text = yaml.safe_dump({**source, "execution": stated}, sort_keys=False)
        return replace(self, record=self.record.model_copy(update={"execution": stated}), source_text=text)

    @cached_property
    def dimensions(self) -> dict[str, Column]:
        """Values of each free dimension, ascending, in the order of the axes."""
        return {name: np.asarray(dimension.values) for name, dimension in self.record.dimensions.items()}

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(values) for values in self.dimensions.values())

    @property
    def size(self) -> int:
        """Cells of the mesh: combinations of values, legal or not."""
        return math.prod(self.shape)

    @cached_property
    def family_class(self) -> type[Any]:
        family: type[Any]
        if self.record.builder is not None:
            return self._traced_family(self.record.builder)
        from archsearch.models.registry.families import get_family

        if self.record.pipeline is not None:
            from archsearch.pipeline.codesign import pipeline_family

            return pipeline_family(self.record.pipeline, self.family)
        family = get_family(self.family)
        return family

    def _traced_family(self, builder: str) -> type[Any]:
        from archsearch.models.tracing.grid import family_of

        def leave() -> None:
            require_leave(f"space {self.name} builds its models by {builder!r}")

        stored = self.traces.family(builder, self.workload, leave) if self.traces else None
        if stored is not None:
            return stored
        leave()
        return family_of(builder, self.workload)

    @cached_property
    def config_fields(self) -> tuple[str, ...]:
        assert is_dataclass(self.family_class)
        return tuple(field.name for field in fields(self.family_class))

    @cached_property
    def derived(self) -> dict[str, Expression]:
        """Derived fields' expressions, each after those that it reads.

        Raises:
            InvalidInputError: expressions read each other in a circle.
        """
        waiting = {name: Expression.parse(text) for name, text in self.record.derived.items()}
        ordered: dict[str, Expression] = {}
        while waiting:
            ready = [name for name, expression in waiting.items() if not expression.names & waiting.keys()]
            if not ready:
                raise InvalidInputError(f"{self.origin}: derived: {', '.join(waiting)} depend on each other")
            ordered |= {name: waiting.pop(name) for name in ready}
        return ordered

    @cached_property
    def constraints(self) -> tuple[Expression, ...]:
        return tuple(Expression.parse(text) for text in self.record.constraints)

    def mesh(self, window: tuple[slice, ...] | None = None) -> dict[str, Column]:
        """Open-mesh arrays of the dimensions over a window of the mesh (all of it by default)."""
        window = window or tuple(slice(None) for _ in self.shape)
        rank = len(self.shape)
        return {
            name: values[cut].reshape([-1 if axis == i else 1 for axis in range(rank)])
            for i, ((name, values), cut) in enumerate(zip(self.dimensions.items(), window, strict=True))
        }

    def chunks(self, max_cells: int = CHUNK_CELLS) -> Iterator[tuple[slice, ...]]:
        """Windows that tile the mesh in order, each of at most ``max_cells`` cells.

        Leading axes are cut first: an op is costed again in every chunk that cuts an axis it does not depend
        on, so a space should list the dimensions that touch most ops first.
        """
        extent = list(self.shape)
        for axis in range(len(extent)):
            rest = math.prod(extent[axis + 1 :])
            extent[axis] = max(1, min(extent[axis], max_cells // rest))
            if math.prod(extent) <= max_cells:
                break
        cuts = [
            [slice(start, min(start + step, n)) for start in range(0, n, step)]
            for n, step in zip(self.shape, extent, strict=True)
        ]
        yield from product(*cuts)

    def window_cells(self, window: tuple[slice, ...], local: Cells) -> Cells:
        """Numbers in the whole mesh of cells numbered within a window."""
        extent = [cut.stop - cut.start for cut in window]
        coordinates = np.unravel_index(local, extent)
        shifted = [c + cut.start for c, cut in zip(coordinates, window, strict=True)]
        return np.asarray(np.ravel_multi_index(shifted, self.shape), dtype=np.int64)

    def decode(self, cells: Cells) -> dict[str, Column]:
        """Dimension values [N] of cell numbers [N]."""
        coordinates = np.unravel_index(np.asarray(cells), self.shape)
        return {n: v[c] for (n, v), c in zip(self.dimensions.items(), coordinates, strict=True)}

    def encode(self, values: Mapping[str, ArrayLike]) -> Cells:
        """Cell numbers of dimension values (each must be one of the dimension's values)."""
        coordinates = [np.searchsorted(choices, values[name]) for name, choices in self.dimensions.items()]
        return np.asarray(np.ravel_multi_index(coordinates, self.shape), dtype=np.int64)

    def field_values(self, dimensions: Mapping[str, ArrayLike]) -> dict[str, Any]:
        """Every name of the space (fixed, free, derived) with its value or array."""
        values: dict[str, Any] = {**self.record.fixed, **dimensions}
        for name, expression in self.derived.items():
            value = expression.evaluate(values)
            values[name] = as_dimension(bounded(value) if name in self.config_fields else value)
        return values

    def build(self, values: Mapping[str, object]) -> ModelConfig:
        """The family's config, array-valued where ``values`` are, without judging its legality."""
        chosen = {name: value for name, value in values.items() if name in self.config_fields}
        try:
            config: ModelConfig = self.family_class(**chosen)
        except TypeError as error:
            raise InvalidInputError(f"{self.origin}: {self.family} config: {error}") from None
        return config

    def rules(self, values: Mapping[str, object], config: ModelConfig) -> tuple[Requirement, ...]:
        """What makes a cell a legal architecture: the family's requirements and the space's own constraints."""
        sized = any(PARAMETERS in rule.names for rule in self.constraints)
        named = {PARAMETERS: config.parameters(), **values} if sized else values
        rules = [
            Requirement(reason=f"constraint: {rule.text}", holds=rule.evaluate(named)) for rule in self.constraints
        ]
        multiple = self.record.width_multiple
        for name in self.derived:
            if name in self.config_fields:
                rules.append(Requirement(reason=f"{name} must be positive", holds=np.asarray(values[name]) > 0))
                if np.max(np.asarray(values[name]), initial=0) >= MAX_DIMENSION:
                    holds = np.asarray(values[name]) < MAX_DIMENSION
                    rules.append(Requirement(reason=f"{name} must be below {MAX_DIMENSION}", holds=holds))
            if name in WIDTH_FIELDS and self.record.builder is None:
                off = np.asarray(values[name]) % multiple
                rules.append(Requirement(reason=f"{name} must be a multiple of {multiple}", holds=off == 0))
        return (*config.requirements(), *rules)

    def config_dict(self, dimensions: Mapping[str, ArrayLike]) -> dict[str, object]:
        """The complete config of one architecture as plain values: what the family's ``from_dict`` takes."""
        values = self.field_values(dimensions)
        return {name: _plain(values[name]) for name in self.config_fields if name in values}

    def validate(self, text: str | None = None) -> None:
        """Check what the file's schema alone cannot see: field names, kinds of values, expressions, widths. Problems
        have their lines where the file's ``text`` is given.

        Raises:
            UnknownNameError: an expression or field name that does not exist, with near matches.
            InvalidInputError: a required field that is missing, a value of another kind, a width off its multiple,
                several problems (one a line), or values that build no config.
        """
        problems = [*cell_problems(self.record), *expression_problems(self.record)]
        if not problems:
            self.derived.keys()  # asking for them refuses a circle
        if self.record.builder is not None and not code_allowed():
            return refuse(problems, self.origin, text)  # the function's parameters are checked once it may be imported
        try:
            family = self.family_class
        except UnknownNameError as error:
            at = "family" if error.kind == "model family" else "pipeline"
            return refuse([*problems, SpaceProblem((at,), error)], self.origin, text)
        problems += field_problems(self.record, self.family, family)
        if self.record.builder is None:
            problems += [*width_problems(self.record), *size_problems(self.record, family)]
        refuse(problems, self.origin, text)
        if self.record.builder is None:
            self.build(self.field_values(self.decode(np.zeros(1, dtype=np.int64))))
        return None


def parse_space(path: Path) -> SearchSpace:
    """A space from a YAML file.

    Raises:
        InvalidInputError: the file is malformed; the text gives file, line and field.
        UnknownNameError: it names a family, field or proxy that does not exist.
    """
    record = parse_record(SpaceRecord, path)
    text = read_text(path)
    space = SearchSpace(record, str(path), text)
    space.validate(text)
    return space


def space_from_text(
    text: str, origin: str, traces: StoredTraces | None = None, changes: Mapping[str, object] | None = None
) -> SearchSpace:
    """A space from YAML text that was checked before (as studies store it); ``changes`` were made in the text.

    Raises:
        InvalidInputError: the text is no longer a legal space.
    """
    try:
        record = SpaceRecord.model_validate(load_text(text))
    except ValueError as error:
        raise InvalidInputError(f"{origin}: stored space is not readable by this version: {error}") from None
    space = SearchSpace(record, origin, text, traces, changes or {})
    space.validate()
    return space


def space_files() -> dict[str, Path]:
    """Spaces by name: the user's directories in ``ARCHSEARCH_SPACES`` first, then what ships."""
    given = [Path(item) for item in os.environ.get(SPACES_VARIABLE, "").split(os.pathsep) if item]
    for directory in given:
        if not directory.is_dir():
            raise InvalidInputError(f"{SPACES_VARIABLE}: {directory} is not a directory of search spaces (*.yaml)")
    paths: dict[str, Path] = {}
    for directory in (*given, data_path("search_spaces")):
        for path in sorted(directory.glob("*.yaml")):
            paths.setdefault(path.stem, path)
    return paths


def list_spaces() -> list[str]:
    """The spaces that ship.

    Returns:
        Their names, in order.
    """
    return sorted(space_files())


def load_space(name_or_path: str | Path | SearchSpace) -> SearchSpace:
    """A space by name, or from a YAML file.

    Raises:
        UnknownNameError: no such space; the text lists near names.
        InvalidInputError: the file is malformed; the text gives file, line and field.
    """
    if isinstance(name_or_path, SearchSpace):
        return name_or_path
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")) or os.sep in text:
        return parse_space(Path(text))
    paths = space_files()
    if text not in paths:
        raise UnknownNameError("search space", text, paths, hint="(or give the path of a YAML file)")
    return parse_space(paths[text])


def _plain(value: object) -> object:
    """A NumPy scalar or one-element array as a Python number."""
    return np.asarray(value).item() if isinstance(value, np.ndarray | np.generic) else value
