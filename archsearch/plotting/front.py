"""A front as a picture: one objective against another, with bands, the recommended architectures and the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from archsearch.keywords import checked_call
from archsearch.plotting import theme as look
from archsearch.plotting.front_info import FrontInfo, Points, Region, front_info

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from archsearch.plotting.sources import Source, Table
    from archsearch.search.evaluate.pool_models import Hardware


@checked_call
def plot_front(
    source: Source,
    recommended: Table | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    hardware: Hardware | None = None,
    storage: str | None = None,
    top: int = 5,
    theme: str = "light",
    progress: bool = False,
) -> go.Figure:
    """Draw the front of a search with Plotly: its objectives against each other, bands, what is recommended and why.

    Hovering over a point shows its dimensions and bands; shaded is what is equal to a recommendation within noise.

    Args:
        source: a study, a space, the name of either, or what ``enumerate_space`` or ``recommend`` gave.
        recommended: what ``recommend`` gave, to stand out (default: of a study or space, its ``top``).
        x, y: columns of the axes (default: quality upright, and the first other objective of the search).
        hardware: the GPUs that a space is searched for.
        storage: where a study is that is named (as ``run_study`` takes it).
        top: how many recommendations are marked where none are given; 0 for none.
        theme: light or dark.
        progress: show a progress bar on stderr.

    Returns:
        A figure.

    Raises:
        UnknownNameError: neither a study nor a space has that name, or no such theme.
        InvalidInputError: a table that is no answer of a search, a column that it lacks, or tables of different spaces.
        ArchSearchError: nothing is feasible; the text says why.
    """
    info = front_info(source, recommended, x=x, y=y, hardware=hardware, storage=storage, top=top, progress=progress)
    return draw_front(info, theme)


def draw_front(info: FrontInfo, theme: str = "light") -> go.Figure:
    """The figure of what ``front_info`` gave."""
    import plotly.graph_objects as go

    figure = go.Figure()
    if info.density is not None:
        _density(figure, info)
    if info.others.total and info.density is None:
        _scatter(figure, "beaten by the front", info.others, {"size": 4, "opacity": 0.35, "color": look.MUTED})
    _regions(figure, info)
    _scatter(figure, "Pareto front", info.front, {"size": 6, "opacity": 0.8, "color": look.FRONT})
    if len(info.recommended):
        marker = {"size": 13, "symbol": "star", "color": look.RECOMMENDED}
        _scatter(figure, "recommended", info.recommended, marker, bands=True)
        ranks = [label.partition(".")[0] for label in info.recommended.labels]
        figure.data[-1].update(mode="markers+text", text=ranks, textposition="top center")
    if len(info.baseline):
        marker = {"size": 11, "symbol": "x", "color": look.BASELINE}
        _scatter(figure, "baseline", info.baseline, marker, bands=True)
    figure.update_layout(xaxis_title=look.plain(info.x_title), yaxis_title=look.plain(info.y_title))
    return look.titled(figure, info.title, note(info), theme, info)


def note(info: FrontInfo) -> str:
    """What stands below the title: the law of quality, what bars and shades are, what was left out."""
    parts = [f"quality by {info.proxy}"] if "quality" in (info.x.column, info.y.column) else []
    parts += ["bars are 80 % bands"] if len(info.recommended) else []
    parts += ["shaded: equal within noise"] if info.regions else []
    return "; ".join((*parts, *info.notes))


def _scatter(figure: go.Figure, name: str, points: Points, marker: dict[str, object], *, bands: bool = False) -> None:
    errors = {}
    if bands:
        errors = {
            "error_x": _band(points.x, points.x_low, points.x_high),
            "error_y": _band(points.y, points.y_low, points.y_high),
        }
    figure.add_scatter(
        name=name,
        mode="markers",
        x=points.x,
        y=points.y,
        marker=marker,
        hovertext=[_hover(points, i) for i in range(len(points))],
        hovertemplate="%{hovertext}<extra>" + name + "</extra>",
        **errors,
    )


def _hover(points: Points, i: int) -> str:
    lines = [look.plain(points.labels[i]).replace(", ", "<br>")]
    ends = ((points.x, points.x_low, points.x_high), (points.y, points.y_low, points.y_high))
    for values, low, high in ends:
        band = f" ({low[i]:.4g} to {high[i]:.4g})" if np.isfinite(low[i]) else ""
        lines.append(f"{values[i]:.4g}{band}")
    return "<br>".join(lines)


def _band(values: list[float], low: list[float], high: list[float]) -> dict[str, object]:
    """Error bars: how far the 80 % band reaches above and below each point; none where it is not known."""
    ends = np.stack([np.asarray(high) - values, values - np.asarray(low)])
    known = np.nan_to_num(ends, nan=0.0)
    bars = {"type": "data", "symmetric": False, "array": known[0].tolist(), "arrayminus": known[1].tolist()}
    return {**bars, "thickness": 1, "visible": bool(np.isfinite(ends).any())}


def _regions(figure: go.Figure, info: FrontInfo) -> None:
    """Shades, all under one name in the legend; those without height or width are lines."""
    for number, region in enumerate(info.regions):
        x = [region.x_low, region.x_high, region.x_high, region.x_low, region.x_low]
        y = [region.y_low, region.y_low, region.y_high, region.y_high, region.y_low]
        figure.add_scatter(
            name="equal within noise",
            legendgroup="noise",
            showlegend=number == 0,
            x=x,
            y=y,
            mode="lines",
            fill="toself",
            opacity=0.3,
            line={"color": look.RECOMMENDED, "width": 4},
            hoveron="fills+points",
            text=look.plain(
                f"as good as rank {region.rank} within noise: {region.members} of the front; {region.basis}"
            ),
            hoverinfo="text",
        )


def region_text(region: Region) -> str:
    """A region in words."""
    return f"as good as rank {region.rank} within noise: {region.members} of the front; {region.basis}"


def _density(figure: go.Figure, info: FrontInfo) -> None:
    assert info.density is not None
    x, y = (np.asarray(edges) for edges in (info.density.x_edges, info.density.y_edges))
    counts = np.asarray(info.density.counts, dtype=float)
    figure.add_heatmap(
        name="beaten by the front",
        x=((x[1:] + x[:-1]) / 2).tolist(),
        y=((y[1:] + y[:-1]) / 2).tolist(),
        z=np.where(counts > 0, counts, np.nan).tolist(),
        colorscale=look.SCALE,
        opacity=0.6,
        colorbar={"title": {"text": "architectures"}, "thickness": 10},
        hovertemplate="%{z} architectures<br>around %{x:.4g}, %{y:.4g}<extra>beaten by the front</extra>",
    )
