"""The accuracy report as one picture, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.errors import UnsupportedError
from archsearch.report.accuracy import (
    GROUP_HEADS,
    AccuracyInfo,
    Against,
    Regime,
    Scores,
    cells,
    colors,
    diagonals,
    remarks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_GROUPS = 24
"""Groups named in the picture; the page names all."""


def draw_png(info: AccuracyInfo, path: Path) -> None:
    """Draw points, roofline comparison, regimes and the table of groups into a .png.

    Raises:
        UnsupportedError: matplotlib is not installed.
        OSError: the path cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        text = "a .png report needs matplotlib: pip install 'archsearch[report]', or ask for .html"
        raise UnsupportedError(text) from None
    named = _largest(info.groups)
    against = [a for a in info.against if a.label in {group.label for group in named}]
    pairs = [info.regimes[i : i + 2] for i in range(0, len(info.regimes), 2)]
    boxes = [0.9 + 0.26 * max(len(regime.bins) for regime in pair) for pair in pairs]
    heights = [max(6.0, 1 + 0.28 * len(named)), *boxes, 0.6 + 0.24 * len(named)]
    figure = Figure(figsize=(18, sum(heights) + 1.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("\n".join([info.title, *_lines(info, len(named))]), fontsize=10)
    top, *middle, bottom = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    left, centre, right = top.subplots(1, 3, width_ratios=[2, 1, 1])
    _points(left, info, {group.label for group in named})
    _bars(centre, against, ("mape", "roofline_mape"), "MAPE (%)")
    _bars(right, against, ("spearman", "roofline_spearman"), "Spearman")
    right.tick_params(labelleft=False)
    for part, pair in zip(middle, pairs, strict=True):
        axes = part.subplots(1, 2)
        for axis, regime in zip(axes, pair, strict=False):
            _boxes(axis, regime)
        axes[1].set_visible(len(pair) == 2)
    _table(bottom.subplots(), named)
    figure.savefig(path, dpi=100, format="png", metadata={"Software": None})


def _largest(groups: Sequence[Scores]) -> list[Scores]:
    """The ``MAX_GROUPS`` groups with most rows, in their order, and the last: all rows."""
    *single, last = groups
    kept = sorted(range(len(single)), key=lambda i: -single[i].rows)[:MAX_GROUPS]
    return [*(single[i] for i in sorted(kept)), last]


def _lines(info: AccuracyInfo, named: int) -> list[str]:
    rest = len(info.groups) - named
    return [
        *remarks(info),
        *([f"Named are the {MAX_GROUPS} groups with most rows; {rest} more count in all rows."] if rest else []),
    ]


def _points(axis: Axes, info: AccuracyInfo, named: set[str]) -> None:
    style: dict[str, Any] = {"linestyle": "", "marker": ".", "markersize": 3 if info.rows > 1000 else 7, "alpha": 0.5}
    for cloud, color in zip(info.clouds, colors(len(info.clouds)), strict=True):
        label = cloud.label if cloud.label in named else None
        axis.plot(cloud.measured_us, cloud.predicted_us, color=color, label=label, **style)
    for name, x, y in diagonals(info):
        axis.plot(x, y, "k-" if name == "equal" else "k:", linewidth=0.8)
    axis.set(xscale="log", yscale="log", xlabel="measured (µs)", ylabel="predicted (µs)")
    axis.set_title("Predicted against measured, ± 10 % dotted")
    axis.legend(markerscale=12 / style["markersize"], fontsize=7, loc="upper left")


def _bars(axis: Axes, against: Sequence[Against], names: tuple[str, str], title: str) -> None:
    places = np.arange(len(against))
    for shift, name, label, color in zip((-0.2, 0.2), names, ("prediction", "roofline"), colors(2), strict=True):
        values = [getattr(a, name) for a in against]
        axis.barh(places + shift, [np.nan if v is None else v for v in values], 0.4, label=label, color=color)
    axis.set_yticks(places, [a.label for a in against], fontsize=7)
    axis.set_ylim(len(against) - 0.5, -0.5)
    axis.set_title(f"{title}, same rows")
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)


def _boxes(axis: Axes, regime: Regime) -> None:
    low, first, middle, third, high = (np.array(q) for q in zip(*(b.quantiles for b in regime.bins), strict=True))
    places = np.arange(len(regime.bins))
    axis.hlines(places, low, high, color="black", linewidth=0.8)
    axis.barh(places, third - first, 0.6, left=first, color=colors(1)[0], alpha=0.6)
    axis.vlines(middle, places - 0.3, places + 0.3, color="black")
    labels = []
    for label, rows, mape, median, bias in (cells(b) for b in regime.bins):
        labels.append(f"{label}: {rows} rows, MAPE {mape}, median {median}, bias {bias} %")
    axis.set_yticks(places, labels, fontsize=7)
    axis.set_ylim(len(places) - 0.5, -0.5)
    axis.axvline(0, linewidth=0.8, color="black")
    without = f" ({regime.without:,} rows have none)" if regime.without else ""
    axis.set(xlabel="signed error (%)", title=f"Error by {regime.title}{without}")


def _table(axis: Axes, groups: Sequence[Scores]) -> None:
    axis.axis("off")
    table = axis.table([cells(g) for g in groups], colLabels=GROUP_HEADS, loc="center", cellLoc="right")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    table.auto_set_column_width(list(range(len(GROUP_HEADS))))
