"""Stacked bars: what they show as plain values, and their drawing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class Bars:
    """Stacked bars: ``series`` maps what is stacked to one value per label. ``limit`` is a line over all of them;
    ``low`` and ``high`` are the 80 % band of each label's sum, where there is one."""

    title: str
    unit: str
    labels: list[str]
    series: dict[str, list[float]]
    limit: tuple[str, float] | None = None
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


def figure(bars: Bars) -> go.Figure:
    """Draw stacked bars, lying, so that labels have room on a narrow screen."""
    import plotly.graph_objects as go

    drawn = go.Figure()
    for name, values in bars.series.items():
        hover = f"%{{y}}, {name}: %{{x:.4g}} {bars.unit}<extra></extra>"
        drawn.add_bar(name=name, y=bars.labels, x=values, orientation="h", hovertemplate=hover)
    if bars.low:
        _add_band(drawn, bars)
    if bars.limit is not None:
        name, value = bars.limit
        line = {"dash": "dash", "width": 2, "color": "#d67f19"}
        drawn.add_vline(x=value, line=line, name=name, showlegend=True)
    height = 130 + 42 * len(bars.labels)
    drawn.update_layout(
        barmode="stack", title=bars.title, height=height, showlegend=len(bars.series) > 1 or bars.limit is not None
    )
    drawn.update_xaxes(title=bars.unit, rangemode="tozero")
    return drawn.update_yaxes(type="category", autorange="reversed")


def _add_band(drawn: go.Figure, bars: Bars) -> None:
    """Each label's 80 % band as an error bar at the end of its stack."""
    ends = [sum(values) for values in zip(*bars.series.values(), strict=True)]
    drawn.add_scatter(
        name="80 % band",
        x=ends,
        y=bars.labels,
        mode="markers",
        marker={"size": 6, "color": "#646677"},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - end for high, end in zip(bars.high, ends, strict=True)],
            "arrayminus": [end - low for low, end in zip(bars.low, ends, strict=True)],
            "color": "#646677",
        },
        hoverinfo="skip",
    )
