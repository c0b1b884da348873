"""Pictures drawn with matplotlib from the same records as Plotly's: files without a browser."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from archsearch.arrays import Floats
from archsearch.errors import UnsupportedError
from archsearch.plotting import theme as look
from archsearch.plotting.bars import WHOLE, Bars, label_lines, limit_colour
from archsearch.plotting.bars import note as bars_note
from archsearch.plotting.breakdown_tree import BreakdownInfo, OpTile, bound_colours
from archsearch.plotting.front import note as front_note
from archsearch.plotting.front_info import FrontInfo, Points
from archsearch.plotting.proxy_ranks import ProxiesInfo
from archsearch.plotting.sensitivity_curves import COLUMNS, SensitivityInfo, panel_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 9.0, 5.0
"""Inches of one panel's picture."""
MOST_OPS = 30
"""Ops of a breakdown with a bar each; the least of a longer one share a bar."""
DOTS = 150
FEW = 40
"""Values of a curve that each have a dot."""


def new_figure(title: str, note: str, theme: str, height: float = HEIGHT) -> Figure:
    """An empty figure with a title and a smaller line below it.

    Raises:
        UnsupportedError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        text = "a .png, .svg or .pdf needs matplotlib: pip install 'archsearch[report]', or ask for .html"
        raise UnsupportedError(text) from None
    paper = look.theme_of(theme)
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor=paper.paper, dpi=DOTS)
    FigureCanvasAgg(figure)
    lines = "\n".join(textwrap.wrap(note, 130))
    heading = f"{title}\n{lines}" if lines else title
    figure.suptitle(plain_text(heading), fontsize=9, color=paper.ink, x=0.01, ha="left")
    return figure


def plain_text(text: str) -> str:
    """A text without matplotlib's mathematics: a dollar is a dollar."""
    return text.replace("$", r"\$")


def _dress(axis: Axes, theme: str) -> None:
    """The colours of a theme on axes and legend."""
    paper = look.theme_of(theme)
    axis.set_facecolor(paper.paper)
    axis.grid(visible=True, color=paper.grid, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(colors=paper.ink, labelsize=8)
    for spine in axis.spines.values():
        spine.set_color(paper.grid)
    for text in (axis.xaxis.label, axis.yaxis.label, axis.title):
        text.set_color(paper.ink)
        text.set_fontsize(9)
    handles, labels = axis.get_legend_handles_labels()
    if handles and axis.figure is not None:
        columns = max(1, min(len(labels), 110 // (6 + max(map(len, labels)))))
        look_of = {"fontsize": 8, "facecolor": paper.paper, "edgecolor": paper.paper, "labelcolor": paper.ink}
        axis.figure.legend(handles, labels, loc="outside lower left", ncols=columns, **look_of)


def static_front(info: FrontInfo, theme: str = "light") -> Figure:
    """A front: points, bands, regions, or a density of many."""
    figure = new_figure(info.title, front_note(info), theme)
    axis = figure.subplots()
    if info.density is not None:
        counts = np.ma.masked_equal(np.asarray(info.density.counts), 0)
        mesh = axis.pcolormesh(info.density.x_edges, info.density.y_edges, counts, cmap="cividis", alpha=0.7)
        figure.colorbar(mesh, ax=axis, label="architectures beaten by the front")
    elif len(info.others):
        axis.plot(info.others.x, info.others.y, ".", color=look.MUTED, alpha=0.4, label="beaten by the front")
    for number, region in enumerate(info.regions):
        across = [region.x_low, region.x_high, region.x_high, region.x_low]
        upright = [region.y_low, region.y_low, region.y_high, region.y_high]
        label = "equal within noise" if number == 0 else None
        axis.fill(across, upright, color=look.RECOMMENDED, alpha=0.25, linewidth=5, label=label)  # flat ones are lines
    axis.plot(info.front.x, info.front.y, "o", markersize=4, color=look.FRONT, label="Pareto front")
    _marked(axis, info.recommended, "*", 11, look.RECOMMENDED, "recommended")
    _marked(axis, info.baseline, "X", 8, look.BASELINE, "baseline")
    ink = look.theme_of(theme).ink
    for x, y, label in zip(info.recommended.x, info.recommended.y, info.recommended.labels, strict=True):
        axis.annotate(label.partition(".")[0], (x, y), (4, 5), textcoords="offset points", fontsize=8, color=ink)
    axis.set(xlabel=plain_text(info.x_title), ylabel=plain_text(info.y_title))
    _dress(axis, theme)
    return figure


def _marked(axis: Axes, points: Points, marker: str, size: int, color: str, label: str) -> None:
    """Points with error bars, where their bands are known."""
    if not len(points):
        return

    axis.errorbar(
        points.x,
        points.y,
        xerr=_ends(points.x, points.x_low, points.x_high),
        yerr=_ends(points.y, points.y_low, points.y_high),
        fmt=marker,
        markersize=size,
        color=color,
        elinewidth=0.8,
        capsize=2,
        label=label,
    )


def _ends(values: list[float], low: list[float], high: list[float]) -> Floats:
    """[2, N] how far bands reach below and above; 0 where they are not known."""
    ends = np.stack([np.asarray(values) - low, np.asarray(high) - values])
    return np.maximum(np.nan_to_num(ends, nan=0.0), 0.0)


def static_bars(info: Bars, theme: str = "light") -> Figure:
    """Bars, stacked or side by side, with bands and limits."""
    figure = new_figure(info.title, bars_note(info), theme)
    axis = figure.subplots()
    ink = look.theme_of(theme).ink
    places = np.arange(len(info.labels))
    width = 0.7 if info.stacked else 0.8 / max(len(info.series), 1)
    bottom = np.zeros(len(places))
    for number, (name, values) in enumerate(info.series.items()):
        at = places if info.stacked else places - 0.4 + width * (number + 0.5)
        error = None if info.stacked else _reach(info, name, values)
        base = bottom if info.stacked else None
        axis.bar(at, values, width, bottom=base, color=look.colour(number), label=plain_text(name))
        if error is not None:
            axis.errorbar(at, values, yerr=error, fmt="none", ecolor=ink, capsize=2)
        bottom = bottom + np.nan_to_num(np.asarray(values)) if info.stacked else bottom
    whole = _reach(info, WHOLE, info.totals) if info.stacked else None
    if whole is not None:
        axis.errorbar(places, info.totals, yerr=whole, fmt="none", ecolor=ink, capsize=3)
    for number, (name, values) in enumerate(info.limits.items()):
        color = limit_colour(number)
        axis.hlines(values, places - 0.45, places + 0.45, color=color, linewidth=3, label=plain_text(name), zorder=3)
    axis.set_xticks(places, [plain_text("\n".join(label_lines(label))) for label in info.labels])
    axis.set_ylabel(plain_text(info.unit))
    _dress(axis, theme)
    return figure


def _reach(info: Bars, name: str, values: list[float]) -> Floats | None:
    return _ends(values, info.low[name], info.high[name]) if name in info.low else None


def static_breakdown(info: BreakdownInfo, theme: str = "light") -> Figure:
    """A breakdown as bars of its ops, the longest first, with tile and waves beside each."""
    ordered = sorted(info.tiles, key=lambda tile: -tile.seconds)
    shown, rest = ordered[:MOST_OPS], ordered[MOST_OPS:]
    band = f"{info.total_s * 1e3:.4g} ms, 80 % band {info.low_s * 1e3:.4g} to {info.high_s * 1e3:.4g} ms"
    others = f"; {len(rest)} ops of {sum(t.seconds for t in rest) * 1e3:.3g} ms in all are not drawn" if rest else ""
    figure = new_figure(info.title, f"{band} ({info.provenance}){others}", theme, 1.4 + 0.27 * max(len(shown), 6))
    axis = figure.subplots()
    met: set[str] = set()
    colours, ink = bound_colours(info), look.theme_of(theme).ink
    for place, tile in enumerate(shown):
        label = None if tile.bound in met else f"bound by {tile.bound}"
        met.add(tile.bound)
        axis.barh(place, tile.seconds * 1e3, color=colours[tile.bound], label=label)
        end = (tile.seconds * 1e3, place)
        axis.annotate(_beside(tile), end, (4, -3), textcoords="offset points", fontsize=7, color=ink)
    axis.set_yticks(range(len(shown)), [plain_text(tile.name) for tile in shown])
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.set_xlim(0, max((tile.seconds for tile in shown), default=1.0) * 1.45e3)
    axis.set_xlabel("ms")
    _dress(axis, theme)
    return figure


def _beside(tile: OpTile) -> str:
    waves = f", {tile.waves:g} waves" if tile.tile is not None and tile.waves is not None else ""
    efficiency = f" {tile.wave_efficiency:.0%} full" if waves and tile.wave_efficiency is not None else ""
    kernel = f"; {tile.tile}{waves}{efficiency}" if tile.tile is not None else ""
    return f"{tile.share:.1%}{kernel}"


def static_sensitivity(info: SensitivityInfo, theme: str = "light") -> Figure:
    """Latency along each dimension, a panel each."""
    rows = max(-(-len(info.curves) // COLUMNS), 1)
    note = "latency along each dimension, its 80 % band shaded; starred: the model itself"
    figure = new_figure(info.title, note, theme, 0.8 + 2.6 * rows)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis, curve in zip(panels, info.curves, strict=False):
        axis.fill_between(curve.values, curve.low, curve.high, color=look.FRONT, alpha=0.15, linewidth=0)
        dots = "." if len(curve.values) <= FEW else ""
        axis.plot(curve.values, curve.ms, color=look.FRONT, linewidth=1, marker=dots)
        own = curve.ms[curve.values.index(curve.here)] if curve.here in curve.values else info.ms
        axis.plot([curve.here], [own], "*", markersize=11, color=look.RECOMMENDED)
        axis.set(xlabel=panel_title(curve), ylabel="ms")
    for axis in panels:
        _dress(axis, theme)
    for axis in panels[len(info.curves) :]:
        axis.set_visible(False)
    return figure


def static_proxies(info: ProxiesInfo, theme: str = "light") -> Figure:
    """Rank against rank, a panel per pair of laws."""
    figure = new_figure(info.title, "on the dotted line they agree; starred: recommended", theme)
    starred = np.asarray(info.recommended) > 0
    for axis, pair in zip(figure.subplots(1, len(info.pairs), squeeze=False)[0], info.pairs, strict=True):
        x, y = np.asarray(info.ranks[pair.a]), np.asarray(info.ranks[pair.b])
        last = max(x.max(), y.max())
        axis.plot([1, last], [1, last], ":", color=look.MUTED)
        axis.plot(x[~starred], y[~starred], "o", markersize=4, color=look.FRONT)
        axis.plot(x[starred], y[starred], "*", markersize=11, color=look.RECOMMENDED)
        axis.set(xlabel=f"rank by {pair.a}", ylabel=f"rank by {pair.b}", title=f"Kendall's tau {pair.kendall:.2f}")
        _dress(axis, theme)
    return figure
