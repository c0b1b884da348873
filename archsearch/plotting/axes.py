"""Columns of a search's table as axes: what they are called, in which unit, and how far their 80 % band reaches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Floats
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.models.registry.families import get_family
from archsearch.search.answers.terms import Term, run_of, term_in
from archsearch.search.evaluate.columns import Row, metric_and_gpu, per_gpu_column
from archsearch.search.evaluate.result import SearchResult

GIB = 2.0**30


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: the table's ``column`` that it shows, its ``title``, and the ``unit`` that its values are in.

    Values are those of the column divided by ``scale``. ``better`` is +1 where more is better, -1 where less is, and 0
    where the column is no objective.
    """

    column: str
    title: str
    unit: str
    scale: float
    better: int

    @property
    def label(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True, slots=True)
class Banded:
    """Values along an axis, [N], with the ends of their 80 % bands; NaN where the band is not known."""

    values: Floats
    low: Floats
    high: Floats


def axis_of(result: SearchResult, column: str) -> Axis:
    """A column of a table as an axis.

    Raises:
        InvalidInputError: the table has no such column, or it holds no numbers.
    """
    frame = result.frame
    if column not in frame.columns:
        raise InvalidInputError(f"no column {column!r}; columns: {', '.join(map(str, frame.columns))}")
    if frame[column].dtype.kind not in "iufb":
        raise InvalidInputError(f"column {column!r} holds no numbers, so it is no axis")
    sign = result.setting.objectives.get(column, 0.0)
    term = _term(result, column, sign)
    unit, scale = _unit(term, frame[column].to_numpy(float))
    return Axis(column, term.label, unit, scale, -int(sign))


def _term(result: SearchResult, column: str, sign: float) -> Term:
    setting = result.setting
    if column in setting.dimensions:
        return Term(column, sign, column, "")
    term = term_in(column, sign, setting.quality.metric, _run(result), setting.throughput_unit)
    if column == "quality" and setting.quality.unit:
        return Term(column, sign, term.label, setting.quality.unit, relative=False)
    return term


def _run(result: SearchResult) -> str:
    """What a latency is of."""
    if result.advice is not None:
        return result.advice.run
    setting = result.setting
    try:
        family = get_family(setting.family)
    except UnknownNameError:  # a user's module
        return "run"
    return run_of(family, setting.workload.workload(), pipeline=setting.pipeline is not None)


def _unit(term: Term, values: Floats) -> tuple[str, float]:
    """The unit that people read, and how much of the column's it is."""
    finite = np.abs(values[np.isfinite(values)])
    most = float(finite.max()) if finite.size else 0.0
    if term.unit == "s":
        return ("s", 1.0) if most >= 1.0 else ("ms", 1e-3)
    if term.unit == "GiB":
        return "GiB", GIB
    if term.unit == "x":
        return "× baseline", 1.0
    if term.column == "parameters":
        return ("billions", 1e9) if most >= 1e9 else ("millions", 1e6)
    if term.column == "flops":
        return "TFLOPs", 1e12
    return term.unit, 1.0


def banded(result: SearchResult, axis: Axis) -> Banded:
    """The values of a table along an axis, in its unit."""
    row = {str(name): result.frame[name].to_numpy() for name in result.frame.columns}
    return banded_row(row, axis)


def banded_row(row: Row, axis: Axis) -> Banded:
    """The values of columns [N] (or of one architecture's metrics) along an axis, in its unit.

    The band of a latency and of a quality stands in the table; that of a GPU's throughput is its latency's.
    """
    values = np.atleast_1d(np.asarray(row[axis.column], dtype=float)) / axis.scale
    unknown = np.full(values.shape, np.nan)
    stem, gpu = metric_and_gpu(axis.column)
    if stem == "quality":
        ends = _ends(row, "quality_low", "quality_high")
        return Banded(values, *(unknown if end is None else end / axis.scale for end in ends))
    seconds = _column(row, per_gpu_column("latency_s", gpu))
    low, high = _ends(row, per_gpu_column("latency_low_s", gpu), per_gpu_column("latency_high_s", gpu))
    if not gpu or seconds is None or low is None or high is None:
        return Banded(values, unknown, unknown)
    if stem == "latency_s":
        return Banded(values, low / axis.scale, high / axis.scale)
    if stem == "throughput":
        return Banded(values, values * seconds / high, values * seconds / low)
    return Banded(values, unknown, unknown)


def _ends(row: Row, low: str, high: str) -> tuple[Floats | None, Floats | None]:
    return _column(row, low), _column(row, high)


def _column(row: Row, name: str) -> Floats | None:
    return np.atleast_1d(np.asarray(row[name], dtype=float)) if name in row else None
