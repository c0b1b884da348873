"""Parallel axes drawn with matplotlib, from the same record as Plotly's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from archsearch.plotting import theme as look
from archsearch.plotting.parallel_lines import ParallelInfo, kinds_of, legend_note
from archsearch.plotting.static import new_figure, plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTHS = (0.5, 1.0, 2.0)
"""Widths of lines: beaten, of the front, recommended."""


def static_parallel(info: ParallelInfo, theme: str = "light") -> Figure:
    """Architectures as lines over parallel axes, each axis from its least value to its largest."""
    from matplotlib.collections import LineCollection

    figure, paper = new_figure(info.title, legend_note(info), theme), look.theme_of(theme)
    axis = figure.subplots()
    values = np.asarray(info.columns, dtype=float)  # [axes, N]
    low, high = np.nanmin(values, axis=1), np.nanmax(values, axis=1)
    span = np.where(high > low, high - low, 1.0)
    heights = np.where((high > low)[:, None], (values - low[:, None]) / span[:, None], 0.5)
    kinds, places = np.asarray(kinds_of(info)), range(len(info.axes))
    colours = (look.MUTED, look.FRONT, look.RECOMMENDED)
    for kind, (colour, width) in enumerate(zip(colours, WIDTHS, strict=True)):
        lines = [np.column_stack([places, heights[:, row]]) for row in np.flatnonzero(kinds == kind)]
        axis.add_collection(LineCollection(lines, colors=colour, linewidths=width, alpha=1.0 if kind else 0.4))
    for place in places:
        axis.plot([place, place], [0, 1], color=paper.ink, linewidth=0.8)
        for height, value in ((-0.05, low[place]), (1.03, high[place])):
            axis.text(place, height, f"{value:.4g}", ha="center", fontsize=7, color=paper.ink)
    labels = [plain_text(shown.label) for shown in info.axes]
    axis.set_xticks(places, labels, rotation=20, ha="right", fontsize=8, color=paper.ink)
    axis.set(xlim=(-0.3, len(places) - 0.7), ylim=(-0.1, 1.1), yticks=[], facecolor=paper.paper)
    for spine in axis.spines.values():
        spine.set_visible(False)
    return figure
