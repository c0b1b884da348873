"""Bars, stacked or side by side, with 80 % bands and limits: the record, and its figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from archsearch.plotting import theme as look

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of this ``title``, in this ``unit``: one or several per label of ``labels``.

    ``series`` maps what is stacked (or, where not ``stacked``, stands side by side) to one value per label, NaN where
    there is none. ``low`` and ``high`` are 80 % bands: by series where bars stand side by side, under ``whole`` of the
    whole stack; empty where unknown. ``limits`` maps what must not be passed to one value per label. ``notes`` say what
    was left out, and why.
    """

    title: str
    unit: str
    labels: list[str]
    series: dict[str, list[float]]
    low: dict[str, list[float]] = field(default_factory=dict)
    high: dict[str, list[float]] = field(default_factory=dict)
    limits: dict[str, list[float]] = field(default_factory=dict)
    stacked: bool = True
    notes: tuple[str, ...] = ()

    @property
    def totals(self) -> list[float]:
        """The height of each label's stack."""
        return [sum(values[i] for values in self.series.values()) for i in range(len(self.labels))]


WHOLE = "whole"
"""Under which ``low`` and ``high`` of ``Bars`` have the band of whole stacks."""


LONG = 24
"""Letters from which on a label takes several lines."""


def figure(bars: Bars, theme: str = "light") -> go.Figure:
    """The figure of bars."""
    import plotly.graph_objects as go

    drawn = go.Figure()
    labels = ["<br>".join(map(look.plain, label_lines(label))) for label in bars.labels]
    for number, (name, values) in enumerate(bars.series.items()):
        band = error_bar(bars, name, values) if not bars.stacked else None
        drawn.add_bar(
            name=look.plain(name),
            x=labels,
            y=values,
            marker={"color": look.colour(number)},
            error_y=band,
            hovertemplate="%{x}<br>%{y:.4g} " + look.plain(bars.unit) + "<extra>%{fullData.name}</extra>",
        )
    if bars.stacked and WHOLE in bars.low:
        drawn.data[-1].update(error_y=error_bar(bars, WHOLE, bars.totals))
    for number, (name, values) in enumerate(bars.limits.items()):
        marker = {"symbol": "line-ew-open", "size": 44, "line": {"width": 4}, "color": limit_colour(number)}
        drawn.add_scatter(
            name=look.plain(name),
            x=labels,
            y=values,
            mode="markers",
            marker=marker,
            hovertemplate="%{x}<br>%{y:.4g} " + look.plain(bars.unit) + "<extra>%{fullData.name}</extra>",
        )
    drawn.update_layout(barmode="stack" if bars.stacked else "group", yaxis_title=look.plain(bars.unit))
    drawn.update_xaxes(type="category")
    return look.titled(drawn, bars.title, note(bars), theme, bars)


def label_lines(label: str) -> list[str]:
    """A label in the lines that it takes below its bar: a long one is broken at its commas."""
    return label.split(", ") if len(label) > LONG else [label]


def limit_colour(number: int) -> str:
    """The colour of a limit by its number from 0: those that bars take last come first."""
    return look.PALETTE[(4 - number) % len(look.PALETTE)]


def note(bars: Bars) -> str:
    """What stands below the title."""
    return "; ".join([*(["lines are 80 % bands"] if bars.low else []), *bars.notes])


def error_bar(bars: Bars, name: str, values: list[float]) -> dict[str, object] | None:
    """The band of a series as Plotly's error bars; None where it is not known."""
    if name not in bars.low:
        return None
    above = [high - value for high, value in zip(bars.high[name], values, strict=True)]
    below = [value - low for low, value in zip(bars.low[name], values, strict=True)]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1.5}
