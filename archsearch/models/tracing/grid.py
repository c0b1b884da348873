"""Architectures of a user's builder, many at a time: each is traced, and the traces are laid side by side as arrays.

``family_of("module:function", workload)`` makes a family whose fields are the function's own parameters (those that are
no workload sizes). A config with arrays stands for the grid that they broadcast to. Every combination is built on the
meta device and traced once; equal operations of one trace are counted together, then operations of one kind of all
traces become one operation with arrays, with count 0 where an architecture has no such operation. From there on costing
is array-valued like any family's. Tracing takes some ten milliseconds a module, so that such spaces hold thousands of
architectures, not millions.

A combination that the function refuses is no legal architecture; the reason is told in ``requirements``.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass, replace
from threading import Lock
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from archsearch.arrays import Floats, as_float
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models import footprint
from archsearch.models.base import ConfigMixin, MemoryUse, Modality, Requirement
from archsearch.models.tracing.builder import SIZES, find_function, load_traced
from archsearch.models.tracing.traced import Trace, TracedModel
from archsearch.models.training import training_step
from archsearch.ops import MemoryOp, Op, OpList
from archsearch.workload import Phase, Workload

FLAGS = ("name", "kernels")
"""Numeric or textual fields that are no dimensions."""

Cell = tuple[tuple[str, object], ...]
"""A function's own parameters: name and value of each, in the family's order."""
Sizes = tuple[object, ...]
"""What of a workload a trace depends on, as plain values (``sizes_of``)."""
Outcome = Trace | str
"""The trace of a cell, or why the function refuses it."""


class _Key(NamedTuple):
    builder: str
    sizes: Sizes
    cell: Cell


_TRACES: dict[_Key, Outcome] = {}
_LOCK = Lock()


def _no_leave_needed() -> None:
    """Whoever made the family from its function may call the function."""


def family_of(builder: str, workload: Workload) -> type[TracedGrid]:
    """A family of the modules that a function builds, traced under a workload.

    Raises:
        InvalidInputError: no such function, or one without dimensions of its own.
        UnsupportedError: torch is not installed, or the phase is neither forward nor train.
    """
    if workload.phase not in (Phase.FORWARD, Phase.TRAIN):
        raise UnsupportedError(f"{builder}: traced modules have no {workload.phase.value} phase; use forward or train")
    parameters = inspect.signature(find_function(builder)).parameters.values()
    dimensions = [p for p in parameters if p.name not in (*SIZES, "dtype")]
    if not dimensions:
        raise InvalidInputError(
            f"{builder}: the function takes no dimensions: parameters called {', '.join((*SIZES, 'dtype'))} are the "
            "workload's; give a dimension another name"
        )
    required = [p.name for p in dimensions if p.default is p.empty]
    return made_family(
        builder, workload, required, [(p.name, p.default) for p in dimensions if p.default is not p.empty]
    )


def made_family(
    builder: str,
    workload: Workload,
    required: Iterable[str],
    optional: Iterable[tuple[str, object]],
    *,
    stored: Mapping[Cell, Outcome] = MappingProxyType({}),
    leave: Callable[[], None] = _no_leave_needed,
) -> type[TracedGrid]:
    """The family of a function with these parameters; ``optional`` come with their defaults.

    ``stored`` are traces that need no tracing (``stored.py``); ``leave`` is called before any other is made.
    """
    parameters: list[tuple[str, str] | tuple[str, str, Any]] = [(name, "Dim") for name in required]
    parameters += [(name, "Dim", default) for name, default in optional]
    given = {"builder": builder, "workload": workload, "stored": stored, "leave": staticmethod(leave)}
    return make_dataclass("Traced", parameters, bases=(TracedGrid,), namespace=given, frozen=True, kw_only=True)


def sizes_of(workload: Workload) -> Sizes:
    """What of a workload a trace depends on, as plain values."""
    w = workload
    return (w.batch_size, w.seq_len, w.height, w.width, w.frames, w.dtype.value)


def traces_of(family: type[TracedGrid]) -> dict[Cell, Outcome]:
    """What was traced of a family in this process, or why its function refused, by the function's own parameters."""
    sizes = sizes_of(family.workload)
    return {
        key.cell: outcome for key, outcome in _TRACES.items() if (key.builder, key.sizes) == (family.builder, sizes)
    }


class TracedGrid(ConfigMixin):
    """Base of the families that ``made_family`` makes, with what it says of them."""

    family: ClassVar[str] = "traced"
    modality: ClassVar[Modality] = Modality.TRACED
    throughput_unit: ClassVar[str] = "runs/s"
    builder: ClassVar[str]
    workload: ClassVar[Workload]
    stored: ClassVar[Mapping[Cell, Outcome]]
    leave: ClassVar[Callable[[], None]]

    def parameters(self) -> Floats:
        return self._collect(lambda trace: trace.parameters, 1.0)

    def requirements(self) -> tuple[Requirement, ...]:
        """One: that the function builds a module; the reason holds its first refusal."""
        shape, traces = self._traces()
        holds = np.array([isinstance(t, Trace) for t in traces], dtype=bool).reshape(shape)
        first = next((t for t in traces if isinstance(t, str)), "")
        return (Requirement(reason=f"{self.builder} must build a module ({first})", holds=holds),)

    def tokens(self, workload: Workload) -> Floats:
        """Samples: one run works on ``batch_size`` of them."""
        return as_float(workload.batch_size)

    def lower(self, workload: Workload) -> OpList:
        shape, traces = self._traces()
        forward = side_by_side([t.ops if isinstance(t, Trace) else OpList() for t in traces], shape)
        if workload.phase is Phase.TRAIN:
            return training_step(forward, self.parameters(), workload)
        return forward

    def memory(self, workload: Workload) -> MemoryUse:
        """Weights in their own formats, and the peak of live tensors; training keeps every kernel's result."""
        weights = self._collect(lambda trace: trace.weight_bytes, 0.0)
        if workload.phase is not Phase.TRAIN:
            return MemoryUse(weights=weights, activations=self._collect(lambda trace: trace.peak_bytes, 0.0))
        return MemoryUse(
            weights=weights,
            activations=self._collect(lambda trace: float(trace.ops.memory_bytes()) / 2, 0.0),
            optimizer=footprint.training_state_bytes(self.parameters(), workload),
            gradients=footprint.gradient_bytes(self.parameters(), workload),
        )

    def _collect(self, read: Callable[[Trace], float], otherwise: float) -> Floats:
        shape, traces = self._traces()
        return as_float([read(t) if isinstance(t, Trace) else otherwise for t in traces]).reshape(shape)

    def _traces(self) -> tuple[tuple[int, ...], list[Outcome]]:
        names = [f.name for f in fields(self)]
        arrays = np.broadcast_arrays(*(np.asarray(getattr(self, name)) for name in names))
        rows = zip(*(array.ravel().tolist() for array in arrays), strict=True)
        return arrays[0].shape, [self._trace(dict(zip(names, row, strict=True))) for row in rows]

    def _trace(self, dimensions: Mapping[str, object]) -> Outcome:
        cell = tuple(dimensions.items())
        if cell in self.stored:
            return self.stored[cell]
        type(self).leave()
        w, key = self.workload, _Key(self.builder, sizes_of(self.workload), cell)
        with _LOCK:  # one module at a time: tracing sets torch's modes
            if key not in _TRACES:
                try:
                    model = load_traced(self.builder, dimensions)
                    _TRACES[key] = model.trace(replace(w, phase=Phase.FORWARD, **_filled(model, w)))
                except InvalidInputError as error:
                    _TRACES[key] = str(error)
            return _TRACES[key]


def _filled(model: TracedModel, workload: Workload) -> dict[str, Any]:
    """Sizes that the function asks for and the workload leaves open."""
    return {n: v for n, v in model.default_sizes.items() if getattr(workload, n) is None}


@dataclass(slots=True)
class _Row:
    """Operations of one kind: each cell's own (None where it has none)."""

    ops: list[Op | None]
    counts: list[float]


class Counted(NamedTuple):
    """An operation that runs so many ``times``; ``key`` is its kind and its place among the list's of that kind."""

    key: Hashable
    op: Op
    times: float


def side_by_side(lists: list[OpList], shape: tuple[int, ...]) -> OpList:
    """Op lists of cells [N] as one with arrays of ``shape``: equal kinds share an operation."""
    rows: dict[Hashable, _Row] = {}
    for cell, ops in enumerate(lists):
        for key, op, count in counted(ops):
            row = rows.setdefault(key, _Row([None] * len(lists), [0.0] * len(lists)))
            row.ops[cell], row.counts[cell] = op, count
    return OpList(tuple(_stacked(row, shape) for row in rows.values()))


def counted(ops: OpList) -> Iterator[Counted]:
    """Distinct operations with how often they run."""
    alike: dict[tuple[Hashable, Hashable], list[Op]] = {}
    for op in ops:
        alike.setdefault((_kind(op), _numbers(op)), []).append(op)
    place: Counter[Hashable] = Counter()
    for (kind, _), same in alike.items():
        yield Counted((kind, place[kind]), same[0], sum(float(np.asarray(op.count)) for op in same))
        place[kind] += 1


def _is_number(name: str, value: object) -> bool:
    number = isinstance(value, int | float | np.ndarray | np.generic) and not isinstance(value, bool)
    return number and name not in FLAGS


def _kind(op: Op) -> Hashable:
    """All that is no dimension, with the structure of what is."""
    parts: list[Hashable] = [type(op).__name__]
    for f in fields(op):
        value = getattr(op, f.name)
        if f.name in ("name", "count"):
            continue
        if isinstance(value, tuple):
            parts.append(tuple(_kind(v) if isinstance(v, MemoryOp) else "n" for v in value))
        else:
            parts.append("n" if _is_number(f.name, value) else value)
    return tuple(parts)


def _numbers(op: Op) -> Hashable:
    """All dimensions of an operation."""
    numbers: list[Hashable] = []
    for f in fields(op):
        value = getattr(op, f.name)
        if f.name == "count":
            continue
        if isinstance(value, tuple):
            numbers += [_numbers(v) if isinstance(v, MemoryOp) else float(np.asarray(v)) for v in value]
        elif _is_number(f.name, value):
            numbers.append(float(np.asarray(value)))
    return tuple(numbers)


def _stacked(row: _Row, shape: tuple[int, ...]) -> Op:
    first = next(op for op in row.ops if op is not None)
    op = _merge([first if op is None else op for op in row.ops], shape)
    return replace(op, count=np.asarray(row.counts).astype(np.int64).reshape(shape))


def _merge(ops: Sequence[Op], shape: tuple[int, ...]) -> Op:
    """One op of many: every dimension an array of ``shape``."""
    first = ops[0]
    changes: dict[str, Any] = {}
    for f in fields(first):
        values = [getattr(op, f.name) for op in ops]
        if f.name == "count":
            continue
        if isinstance(values[0], tuple):
            columns = list(zip(*values, strict=True))
            changes[f.name] = tuple(
                _merge(list(c), shape) if isinstance(c[0], MemoryOp) else np.asarray(c).reshape(shape) for c in columns
            )
        elif _is_number(f.name, values[0]):
            changes[f.name] = np.asarray(values).reshape(shape)
    return replace(first, **changes)
