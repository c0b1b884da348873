"""Traces of a user's modules as texts, and the family that answers from them: no code runs, torch is not needed.

A text is JSON of plain values, so that reading one can run nothing either. One says what the traces are of, the others
are a cell each: the function's own parameters, and its trace or its refusal. Equal operations of a trace stand once,
with how often they run, as costing takes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError
from archsearch.models.tracing.grid import Cell, Outcome, Sizes, TracedGrid, counted, made_family, sizes_of, traces_of
from archsearch.models.tracing.traced import Trace, Unknown
from archsearch.ops import Attention, Collective, Convolution, FusedGroup, MatMul, MemoryOp, Op, OpList
from archsearch.workload import Workload

_OPS = {kind.__name__: kind for kind in (Attention, Collective, Convolution, FusedGroup, MatMul, MemoryOp)}
_PLAIN = (int, float, str, bool, type(None))


@dataclass(frozen=True)
class StoredTraces:
    """What a builder's function gave: its parameters (with defaults, where they have some), and traces by cell."""

    builder: str
    sizes: Sizes
    required: tuple[str, ...]
    optional: Cell
    cells: Mapping[Cell, Outcome]

    def family(self, builder: str, workload: Workload, leave: Callable[[], None]) -> type[TracedGrid] | None:
        """The family of these traces, or None where they are of another function or of other sizes.

        ``leave`` is called before a cell that is not among them is traced: it raises where code must not run.
        """
        if (builder, sizes_of(workload)) != (self.builder, self.sizes):
            return None
        return made_family(builder, workload, self.required, self.optional, stored=self.cells, leave=leave)


def trace_texts(family: type[TracedGrid]) -> list[str]:
    """The traces that this process made of a family, those that it has from a store left out; [] where there is none.

    A function with a default that is no plain value has none either: its cells cannot be told in a text.
    """
    made = {cell: trace for cell, trace in traces_of(family).items() if cell not in family.stored}
    required = [f.name for f in fields(family) if f.default is MISSING]
    optional = [(f.name, f.default) for f in fields(family) if f.default is not MISSING]
    values = [value for _, value in optional] + [value for cell in made for _, value in cell]
    if not made or not all(isinstance(value, _PLAIN) for value in values):
        return []
    head = {"builder": family.builder, "sizes": sizes_of(family.workload), "required": required, "optional": optional}
    return [json.dumps(head), *(json.dumps([cell, _document(outcome)]) for cell, outcome in made.items())]


def read_traces(texts: Iterable[Iterable[str]]) -> StoredTraces | None:
    """Traces from the texts of one or several writers of one study; None where there are none.

    Raises:
        InvalidInputError: they are no traces, or an operation is one that this version does not have.
    """
    traces: StoredTraces | None = None
    try:
        for lines in texts:
            first, *rest = map(json.loads, lines)
            cells = {tuple((name, value) for name, value in cell): _read(trace) for cell, trace in rest}
            optional = tuple((name, value) for name, value in first["optional"])
            head = (first["builder"], tuple(first["sizes"]), tuple(first["required"]), optional)
            traces = StoredTraces(*head, {**(traces.cells if traces else {}), **cells})
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"stored traces are not readable by this version: {error!r}") from None
    return traces


def _document(trace: Outcome) -> dict[str, object] | str:
    if isinstance(trace, str):
        return trace
    ops = [{**_op(each.op), "count": each.times} for each in counted(trace.ops)]
    unknown = [asdict(item) for item in trace.unknown]
    return {
        "ops": ops,
        "parameters": trace.parameters,
        "weight_bytes": trace.weight_bytes,
        "peak_bytes": trace.peak_bytes,
        "unknown": unknown,
        "remarks": list(trace.remarks),
    }


def _read(document: dict[str, Any] | str) -> Outcome:
    if isinstance(document, str):
        return document
    ops = OpList(tuple(_made(op) for op in document["ops"]))
    unknown = tuple(Unknown(**item) for item in document["unknown"])
    remarks = tuple(document.get("remarks", ()))  # traces of earlier versions have none
    return Trace(**{**document, "ops": ops, "unknown": unknown, "remarks": remarks})


def _op(op: Op) -> dict[str, object]:
    return {"op": type(op).__name__, **{f.name: _plain(getattr(op, f.name)) for f in fields(op)}}


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.item()
    if isinstance(value, DType):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _op(value) if isinstance(value, MemoryOp) else value


def _made(document: Mapping[str, Any]) -> Op:
    values: dict[str, Any] = {n: _value(n, value) for n, value in document.items() if n not in ("op", "count")}
    op: Op = _OPS[document["op"]](**values)
    return replace(op, count=int(document["count"]))


def _value(name: str, value: object) -> object:
    if name == "dtype":
        return DType(str(value))
    if isinstance(value, list):
        return tuple(_made(item) if isinstance(item, dict) else item for item in value)
    return value
