"""What a reader can pin on a search's report: the recommended architectures, the baseline, the front, some it beats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from archsearch.plotting.axes import Axis, axis_of
from archsearch.plotting.front_info import MAX_DRAWN
from archsearch.report.web_page import Points, Table
from archsearch.search.evaluate.columns import per_gpu_column
from archsearch.search.evaluate.plain import plain

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from archsearch.plotting.sources import Found
    from archsearch.search.evaluate.result import SearchResult

PINNABLE = 3000
"""Architectures whose values a page carries at most; the front comes first, what it beats last."""
ANYWHERE = ("parameters", "flops", "memory_bytes", "quality")
PER_GPU = ("latency_s", "throughput")
TRACES = {"recommended": "best", "baseline": "baseline", "Pareto front": "front", "beaten by the front": "others"}
"""The traces of ``plot_front`` whose points can be pinned."""
Cell = float | str | None


@dataclass(frozen=True, slots=True)
class Pinned:
    """``points`` to pin, and by kind (``best``, ``baseline``, ``front``, ``others``) the row of each architecture in
    the order of its table."""

    points: Points
    rows: Mapping[str, Sequence[int]]

    def mark(self, figure: go.Figure) -> None:
        """Note on the points of ``plot_front``'s figure which row each is."""
        for trace in figure.data:
            rows = self.rows.get(TRACES.get(trace.name or "", ""), ())
            if len(rows) == len(trace.x or ()):
                trace.customdata = list(rows)

    def table(self) -> Table:
        """The recommended architectures, the baseline and the front."""
        shown = list(dict.fromkeys(row for kind in ("best", "baseline", "front") for row in self.rows[kind]))
        heads = ("architecture", *self.points.heads)
        cells = tuple((self.points.names[row], *map(_cell, self.points.rows[row])) for row in shown)
        return Table("front", heads, cells, "The front, the recommended first", pins=tuple(shown))


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:,.4g}"
    return "unknown" if value is None else value


def thinned(search: Found) -> Found:
    """The search with no more architectures on its front than are drawn one by one, evenly spread over its order."""
    places = np.flatnonzero(search.on_front)
    if len(places) <= MAX_DRAWN:
        return search
    kept = places[np.linspace(0, len(places) - 1, MAX_DRAWN).round().astype(int)]
    rows = np.sort(np.concatenate([kept, np.flatnonzero(~search.on_front)]))
    return replace(search, whole=search.whole.take(rows), on_front=search.on_front[rows])


def pinned(search: Found) -> Pinned:
    """What can be pinned of a search (``thinned``)."""
    axes = _axes(search)
    book = _Book(axes, _names(search.whole))
    best = search.best
    rows: dict[str, list[int]] = {"best": [], "baseline": [], "front": [], "others": []}
    if best is not None:
        rows["best"] = [book.add(f"rank {row['rank']}", row) for row in best.rows()]
        beside = None if best.advice is None else best.advice.baseline
        if beside is not None:
            rows["baseline"] = [book.add(beside.name, {**beside.metrics, **beside.config})]
    rows["front"] = [book.add(f"front {i}", row) for i, row in enumerate(search.front.rows(), start=1)]
    others = search.others
    if len(book) + len(others) <= PINNABLE and len(others) <= MAX_DRAWN:
        rows["others"] = [book.add(f"beaten {i}", row) for i, row in enumerate(others.rows(), start=1)]
    return Pinned(book.points(), rows)


def _names(result: SearchResult) -> list[str]:
    return [name for name in result.setting.dimensions if name in result.frame.columns]


def _axes(search: Found) -> list[Axis]:
    """The columns that are compared: dimensions, what is the same everywhere, objectives, speed on every GPU."""
    whole, ids = search.whole, search.whole.setting.pool.ids
    columns = [*_names(whole), *ANYWHERE, *whole.setting.objectives]
    columns += [per_gpu_column(metric, gpu) for gpu in ids for metric in PER_GPU]
    known = set(map(str, whole.frame.columns))
    numbers = [c for c in dict.fromkeys(columns) if c in known and whole.frame[c].dtype.kind in "iufb"]
    return [axis_of(whole, column) for column in numbers]


class _Book:
    """Rows by number; an architecture that comes again keeps its first."""

    def __init__(self, axes: Sequence[Axis], dimensions: Iterable[str]) -> None:
        self._axes, self._dimensions = axes, list(dimensions)
        self._names: list[str] = []
        self._rows: list[tuple[Cell, ...]] = []
        self._known: dict[tuple[object, ...], int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, name: str, row: Mapping[str, object]) -> int:
        """The number of an architecture's row."""
        key = tuple(plain(row.get(dimension)) for dimension in self._dimensions)
        if key in self._known and None not in key:
            return self._known[key]
        self._known[key] = number = len(self._rows)
        self._names.append(name)
        self._rows.append(tuple(_scaled(plain(row.get(axis.column)), axis) for axis in self._axes))
        return number

    def points(self) -> Points:
        """All rows."""
        return Points(tuple(axis.label for axis in self._axes), tuple(self._names), tuple(self._rows))


def _scaled(value: object, axis: Axis) -> Cell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) / axis.scale if np.isfinite(value) else None
    return None if value is None else str(value)
