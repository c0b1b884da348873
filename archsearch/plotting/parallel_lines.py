"""Architectures as lines over parallel axes: their dimensions, then what they are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archsearch.errors import InvalidInputError
from archsearch.keywords import checked_call
from archsearch.plotting import theme as look
from archsearch.plotting.axes import Axis, axis_of, banded
from archsearch.plotting.sources import Found, found, ranks_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from archsearch.plotting.sources import Source
    from archsearch.search.evaluate.pool_models import Hardware

MAX_LINES = 2000
"""Lines that are drawn: of more, the front first, then the others evenly over the table."""


@dataclass(frozen=True, slots=True)
class ParallelInfo:
    """What the picture of this ``title`` shows: ``columns`` has the values [N] of each of ``axes`` in its unit,
    ``on_front`` [N] which lines are of the front, ``rank`` [N] their recommendation (0: none).

    ``notes`` say what was left out.
    """

    title: str
    axes: tuple[Axis, ...]
    columns: tuple[list[float], ...]
    on_front: list[bool]
    rank: list[int]
    notes: tuple[str, ...]


@checked_call
def parallel_info(
    source: Source,
    *,
    columns: Sequence[str] = (),
    hardware: Hardware | None = None,
    storage: str | None = None,
    top: int = 5,
    progress: bool = False,
) -> ParallelInfo:
    """A search's architectures over parallel axes, as numbers.

    Args:
        source: a study, a space, the name of either, or a table that a search gave.
        columns: the axes (default: the dimensions that differ, then the objectives and the parameters).
        hardware: the GPUs that a space is searched for.
        storage: where a study is that is named.
        top: how many recommendations of a study or a space are marked.
        progress: show a progress bar on stderr.

    Returns:
        One column of values per axis.

    Raises:
        UnknownNameError, InvalidInputError, ArchSearchError: as ``plot_front`` does.
    """
    search = found(source, hardware=hardware, storage=storage, top=top, progress=progress)
    setting = search.whole.setting
    kept = _kept(search)
    shown = search.whole.take(kept)
    names = list(columns) or [
        *(name for name in setting.dimensions if name in shown.frame and shown.frame[name].nunique() > 1),
        *dict.fromkeys([*setting.objectives, "parameters"]),
    ]
    if len(names) < 2 or not len(shown):
        raise InvalidInputError("parallel axes need architectures, and two columns that differ")
    axes = tuple(axis_of(shown, name) for name in names)
    total = len(search.whole)
    notes = [f"{len(kept):,} of {total:,} architectures are drawn"] if len(kept) < total else []
    notes += [f"{search.refused:,} that break a limit are left out"] if search.refused else []
    return ParallelInfo(
        title=f"{setting.space} on {', '.join(setting.pool.ids)}",
        axes=axes,
        columns=tuple([float(value) for value in banded(shown, axis).values] for axis in axes),
        on_front=[bool(flag) for flag in search.on_front[kept]],
        rank=ranks_of(shown, search.best),
        notes=tuple(notes),
    )


def _kept(search: Found) -> NDArray[np.int64]:
    """Rows to draw, in order."""
    front, others = np.flatnonzero(search.on_front), np.flatnonzero(~search.on_front)
    chosen = [_evenly(front, MAX_LINES), _evenly(others, max(MAX_LINES - len(front), 0))]
    return np.sort(np.concatenate(chosen))


def _evenly(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if len(rows) <= count:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, count).round().astype(int)])


@checked_call
def plot_parallel(
    source: Source,
    *,
    columns: Sequence[str] = (),
    hardware: Hardware | None = None,
    storage: str | None = None,
    top: int = 5,
    theme: str = "light",
    progress: bool = False,
) -> go.Figure:
    """Draw a search's architectures over parallel axes with Plotly; dragging along an axis filters.

    Args:
        source, columns, hardware, storage, top, progress: as ``parallel_info`` takes them.
        theme: light or dark.

    Returns:
        A figure.

    Raises:
        UnknownNameError, InvalidInputError, ArchSearchError: as ``parallel_info`` does; or no such theme.
    """
    info = parallel_info(source, columns=columns, hardware=hardware, storage=storage, top=top, progress=progress)
    return draw_parallel(info, theme)


def kinds_of(info: ParallelInfo) -> list[int]:
    """[N] what each line is: 2 recommended, 1 of the front, 0 beaten by it."""
    return [2 if rank else 1 if front else 0 for rank, front in zip(info.rank, info.on_front, strict=True)]


def legend_note(info: ParallelInfo) -> str:
    """What colours mean, and what was left out."""
    return "; ".join(["orange: recommended, blue: the front, grey: beaten by it", *info.notes])


def draw_parallel(info: ParallelInfo, theme: str = "light") -> go.Figure:
    """The figure of what ``parallel_info`` gave."""
    import plotly.graph_objects as go

    kinds = kinds_of(info)
    order = np.argsort(kinds, kind="stable")  # what stands out is drawn last
    scale = [[0, look.MUTED], [0.5, look.FRONT], [1, look.RECOMMENDED]]
    figure = go.Figure()
    figure.add_parcoords(
        line={"color": [kinds[i] for i in order], "colorscale": scale, "cmin": 0, "cmax": 2},
        dimensions=[
            {"label": look.plain(axis.label), "values": [values[i] for i in order]}
            for axis, values in zip(info.axes, info.columns, strict=True)
        ],
        labelangle=-15,
        unselected={"line": {"opacity": 0.05}},
    )
    figure = look.titled(figure, info.title, legend_note(info), theme, info)
    return figure.update_layout(margin={"t": 160, "l": 80, "r": 60})
