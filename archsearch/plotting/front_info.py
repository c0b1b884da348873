"""What a picture of a front shows, as numbers: its points, their bands, and what is equal to a recommendation within
noise.

*Equal within noise.* In speed, two architectures differ no more than their ratio's 80 % band says (errors that both
share cancel, ``cost.ratio``): the region of rank r reaches from r's value divided by that band to r's value times it,
as r compares with the baseline (rank 1 and 2 with each other, where there is none). In quality nobody has measured the
error of a difference; independent laws rank the front differently, and the region holds the qualities of those
front members whose rank lies in the range that the laws give r. Where neither is known, a region has no height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from archsearch.arrays import Floats
from archsearch.errors import InvalidInputError
from archsearch.keywords import checked_call
from archsearch.plotting.axes import Axis, Banded, axis_of, banded, banded_row
from archsearch.plotting.sources import Found, found
from archsearch.search.evaluate.columns import metric_and_gpu
from archsearch.search.evaluate.result import SearchResult

if TYPE_CHECKING:
    from archsearch.plotting.sources import Source, Table
    from archsearch.search.evaluate.pool_models import Hardware

MAX_DRAWN = 3000
"""Points of one kind that are drawn one by one. Of a front with more, as many are drawn, evenly along x; of others a
density is."""
CELLS = 60
"""Cells of a density along each axis."""


@dataclass(frozen=True, slots=True)
class Points:
    """N points of one kind: coordinates ``x`` and ``y``, their 80 % bands from ``x_low`` to ``x_high`` and from
    ``y_low`` to ``y_high`` (NaN where unknown), and what each is, in ``labels``.

    ``total`` is how many there are, N of which are drawn.
    """

    x: list[float]
    y: list[float]
    labels: list[str]
    x_low: list[float]
    x_high: list[float]
    y_low: list[float]
    y_high: list[float]
    total: int

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Density:
    """How many of ``total`` points lie in each cell of a grid: ``counts[j][i]`` between ``x_edges[i]`` and
    ``x_edges[i + 1]``, ``y_edges[j]`` and ``y_edges[j + 1]``."""

    x_edges: list[float]
    y_edges: list[float]
    counts: list[list[int]]
    total: int


@dataclass(frozen=True, slots=True)
class Region:
    """What is equal to the recommendation of a ``rank`` within noise: from ``x_low`` to ``x_high`` and from ``y_low``
    to ``y_high``, where ``members`` of the front lie; ``basis`` says how that is known."""

    rank: int
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    members: int
    basis: str


@dataclass(frozen=True, slots=True)
class FrontInfo:
    """What the picture of this ``title`` shows: ``front``, ``recommended``, ``baseline`` and dominated ``others``, in
    the units of the axes ``x`` and ``y``.

    ``density`` stands for ``others`` where they are many; ``regions`` are what is equal within noise; ``notes`` say
    what was left out or thinned; ``proxy`` names what predicts quality.
    """

    title: str
    x: Axis
    y: Axis
    proxy: str
    front: Points
    others: Points
    density: Density | None
    recommended: Points
    baseline: Points
    regions: tuple[Region, ...]
    notes: tuple[str, ...]

    @property
    def x_title(self) -> str:
        """Title and unit of the horizontal axis."""
        return self.x.label

    @property
    def y_title(self) -> str:
        """Title and unit of the vertical axis."""
        return self.y.label


NO_POINTS = Points([], [], [], [], [], [], [], 0)


@checked_call
def front_info(
    source: Source,
    recommended: Table | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    hardware: Hardware | None = None,
    storage: str | None = None,
    top: int = 5,
    progress: bool = False,
) -> FrontInfo:
    """A search's front as numbers: what ``plot_front`` draws, with the same parameters.

    Args:
        source, recommended, x, y, hardware, storage, top, progress: as ``plot_front`` takes them.

    Returns:
        Points in the units of the axes.

    Raises:
        UnknownNameError, InvalidInputError, ArchSearchError: as ``plot_front`` does.
    """
    search = found(source, recommended, hardware=hardware, storage=storage, top=top, progress=progress)
    return info_of(search, x=x, y=y)


def info_of(search: Found, *, x: str | None = None, y: str | None = None) -> FrontInfo:
    """The front of what a search found, as numbers.

    Raises:
        InvalidInputError: a column that the table lacks, or one objective alone.
    """
    whole, best, quality = search.whole, search.best, search.whole.setting.quality
    horizontal, vertical = _axes(whole, x, y)
    if best is not None:
        for axis in (horizontal, vertical):
            axis_of(best, axis.column)
    drawn, thinned = _thinned(search.front, horizontal)
    front, recommended = _points(drawn, horizontal, vertical, len(search.front)), NO_POINTS
    others, density = _others(search.others, horizontal, vertical)
    baseline, regions = NO_POINTS, tuple[Region, ...]()
    if best is not None:
        recommended = _points(best, horizontal, vertical, len(best))
        baseline = _baseline(best, horizontal, vertical)
        regions = _regions(search, best, horizontal, vertical)
    refused = f"{search.refused:,} that break a limit are left out"
    return FrontInfo(
        title=f"{whole.setting.space} on {', '.join(whole.setting.pool.ids)}",
        x=horizontal,
        y=vertical,
        proxy=f"{quality.proxy}: {quality.source}" + (" (assumed)" if quality.assumed else ""),
        front=front,
        others=others,
        density=density,
        recommended=recommended,
        baseline=baseline,
        regions=regions,
        notes=(*thinned, *([refused] if search.refused else [])),
    )


def _axes(result: SearchResult, x: str | None, y: str | None) -> tuple[Axis, Axis]:
    """The axes that were asked for; else quality (where it is an objective) upright, and the first other objective."""
    objectives = list(result.setting.objectives)
    upright = y or next(name for name in ("quality", "trained_loss", *objectives) if name in objectives and name != x)
    lying = x or next((name for name in objectives if name != upright), None)
    if lying is None:
        raise InvalidInputError(f"a front needs two axes, and {upright} is the one objective; name a column as {{x}}")
    if lying == upright:
        raise InvalidInputError(f"both axes are {lying}; a front needs two")
    return axis_of(result, lying), axis_of(result, upright)


def _thinned(front: SearchResult, axis: Axis) -> tuple[SearchResult, tuple[str, ...]]:
    """At most ``MAX_DRAWN`` rows, evenly along an axis, and a note of that."""
    if len(front) <= MAX_DRAWN:
        return front, ()
    order = np.argsort(front.frame[axis.column].to_numpy(float), kind="stable")
    places = order[np.linspace(0, len(front) - 1, MAX_DRAWN).round().astype(int)]
    return front.take(np.sort(places)), (f"{MAX_DRAWN:,} of the front's {len(front):,} points are drawn",)


def _others(others: SearchResult, x: Axis, y: Axis) -> tuple[Points, Density | None]:
    """Dominated architectures: as points where they are few, else as a density."""
    if len(others) <= MAX_DRAWN:
        return _points(others, x, y, len(others)), None
    lying, upright = banded(others, x).values, banded(others, y).values
    known = np.isfinite(lying) & np.isfinite(upright)
    counts, x_edges, y_edges = np.histogram2d(lying[known], upright[known], bins=CELLS)
    return NO_POINTS, Density(x_edges.tolist(), y_edges.tolist(), counts.T.astype(int).tolist(), int(known.sum()))


def _points(result: SearchResult, x: Axis, y: Axis, total: int) -> Points:
    """The rows of a table, labelled with their dimensions."""
    return _of_bands(banded(result, x), banded(result, y), labels_of(result), total)


def _of_bands(x: Banded, y: Banded, labels: Sequence[str], total: int) -> Points:
    x_low, x_high, y_low, y_high = (column.tolist() for column in (x.low, x.high, y.low, y.high))
    return Points(x.values.tolist(), y.values.tolist(), list(labels), x_low, x_high, y_low, y_high, total)


def labels_of(result: SearchResult) -> list[str]:
    """Each row in words: its rank, where it has one, and its dimensions."""
    names = [name for name in result.setting.dimensions if name in result.frame.columns]
    labels = []
    for row in result.rows():
        shape = ", ".join(f"{name} {row[name]}" for name in names)
        labels.append(f"{row['rank']}. {shape}" if "rank" in row else shape)
    return labels


def _baseline(best: SearchResult, x: Axis, y: Axis) -> Points:
    """The architecture that recommendations are compared with, where there is one."""
    beside = None if best.advice is None else best.advice.baseline
    if beside is None or not {x.column, y.column} <= beside.metrics.keys():
        return NO_POINTS
    return _of_bands(banded_row(beside.metrics, x), banded_row(beside.metrics, y), [beside.name], 1)


def _regions(search: Found, best: SearchResult, x: Axis, y: Axis) -> tuple[Region, ...]:
    if best.advice is None or "rank" not in best.frame:
        return ()
    values = {axis: banded(best, axis).values for axis in (x, y)}
    front = {axis: banded(search.front, axis).values for axis in (x, y)}
    regions = []
    for place, rank in enumerate(best.frame["rank"].tolist()):
        spans, basis = {}, []
        for axis in (x, y):
            spans[axis], known = _span(best, place, axis, float(values[axis][place]), front[axis])
            basis += [known] if known else []
        if all(low == high for low, high in spans.values()):
            continue
        inside = np.logical_and.reduce([(front[a] >= low) & (front[a] <= high) for a, (low, high) in spans.items()])
        (x_low, x_high), (y_low, y_high) = spans[x], spans[y]
        regions.append(Region(int(rank), x_low, x_high, y_low, y_high, int(inside.sum()), "; ".join(basis)))
    return tuple(regions)


def _span(
    best: SearchResult, place: int, axis: Axis, value: float, front: Floats
) -> tuple[tuple[float, float], str | None]:
    """From where to where along an axis a recommendation's equals lie, and how that is known."""
    stem, gpu = metric_and_gpu(axis.column)
    if stem == "quality":
        return _quality_span(best, place, value, front, axis.better)
    if not stem.startswith(("latency", "throughput")) or best.advice is None:
        return (value, value), None
    rank = int(best.frame["rank"].iloc[place])
    gains = [g for g in best.advice.gains if g.rank == rank and (not gpu or g.gpu == gpu)]
    if not gains:
        return (value, value), None
    of_baseline = [gain for gain in gains if not gain.against.startswith("rank ")]
    widest = max(of_baseline or gains, key=lambda gain: gain.high / gain.low)
    factor = float(np.sqrt(widest.high / widest.low))
    known = f"speed within ×/÷ {factor:.3f}, the 80 % band of its ratio to {widest.against} on {widest.gpu}"
    return (value / factor, value * factor), known


def _quality_span(
    best: SearchResult, place: int, value: float, front: Floats, better: int
) -> tuple[tuple[float, float], str | None]:
    """The qualities of the front's members whose rank lies in the range that independent laws give."""
    frame = best.frame
    if "quality_rank_best" not in frame or best.advice is None or not front.size:
        return (value, value), None
    ordered = np.sort(front)[::-1] if better > 0 else np.sort(front)
    ends = [int(frame[name].iloc[place]) for name in ("quality_rank_best", "quality_rank_worst")]
    places = [min(max(end, 1), len(ordered)) - 1 for end in ends]
    reached = [value, *(float(ordered[i]) for i in places)]
    laws = ", ".join(best.advice.compared)
    return (min(reached), max(reached)), f"quality rank {ends[0]} to {ends[1]} of {best.advice.front} by {laws}"
