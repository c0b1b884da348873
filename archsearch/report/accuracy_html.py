"""The accuracy report as a page: scores by group, and pictures drawn with Plotly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from archsearch.report.accuracy import (
    GROUP_HEADS,
    MEANING,
    REGIME_HEADS,
    ROOFLINE_HEADS,
    AccuracyInfo,
    Against,
    Bin,
    Regime,
    Scores,
    cells,
    colors,
    diagonals,
    remarks,
)
from archsearch.report.web_page import Page, Picture, Section, Table

if TYPE_CHECKING:
    import plotly.graph_objects as go


def points_figure(info: AccuracyInfo) -> go.Figure:
    """Predicted against measured latency, one trace a group, with ``diagonals``."""
    import plotly.graph_objects as go

    figure = go.Figure()
    hover = "%{hovertext}<br>measured %{x:.4g} µs, predicted %{y:.4g} µs"
    for cloud, color in zip(info.clouds, colors(len(info.clouds)), strict=True):
        marker = {"size": 4, "opacity": 0.6, "color": color}
        text = {"hovertext": cloud.shapes, "hovertemplate": hover}
        xy = {"x": cloud.measured_us, "y": cloud.predicted_us}
        figure.add_scattergl(name=cloud.label, mode="markers", marker=marker, **xy, **text)
    for name, x, y in diagonals(info):
        line = {"color": "#808792", "width": 1, "dash": "solid" if name == "equal" else "dot"}
        figure.add_scattergl(name=name, x=x, y=y, mode="lines", line=line, hoverinfo="skip")
    figure.update_xaxes(type="log", title="measured (µs)", dtick=1)
    figure.update_yaxes(type="log", title="predicted (µs)", dtick=1)
    return figure.update_layout(height=640)


def regime_figure(regime: Regime) -> go.Figure:
    """A box of the signed error for each bin of a regime."""
    import plotly.graph_objects as go

    names = ("lowerfence", "q1", "median", "q3", "upperfence")
    boxes = dict(zip(names, zip(*(b.quantiles for b in regime.bins), strict=True), strict=True))
    figure = go.Figure()
    figure.add_box(x=[b.scores.label for b in regime.bins], marker={"color": colors(1)[0]}, **boxes)
    figure.update_xaxes(type="category", title=regime.title)
    figure.update_yaxes(title="signed error (%)", zerolinecolor="#808792")
    return figure.update_layout(height=320, showlegend=False)


def roofline_figure(info: AccuracyInfo) -> go.Figure:
    """Bars of MAPE (above) and Spearman (below) for each group, prediction beside roofline."""
    from plotly.subplots import make_subplots

    labels, shades = [a.label for a in info.against], colors(2)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    panels = {1: ("mape", "roofline_mape"), 2: ("spearman", "roofline_spearman")}
    for row, names in panels.items():
        for kind, name, color in zip(("prediction", "roofline"), names, shades, strict=True):
            values = [getattr(a, name) for a in info.against]
            figure.add_bar(name=kind, x=labels, y=values, marker={"color": color}, showlegend=row == 1, row=row, col=1)
    figure.update_xaxes(type="category")
    figure.update_yaxes(title="MAPE (%)", row=1)
    figure.update_yaxes(title="Spearman", row=2)
    return figure.update_layout(height=560, barmode="group")


def accuracy_page(info: AccuracyInfo, command: str = "") -> Page:
    """The report: scores by group, points, the plain roofline beside them, errors by regime."""
    sections = [_groups(info), _points(info)]
    if info.against:
        against = _table("against", ROOFLINE_HEADS, info.against)
        picture = Picture("roofline", "Prediction beside the roofline", roofline_figure(info))
        sections.append(Section("roofline", "Against the plain roofline", pictures=(picture,), tables=(against,)))
    sections += [_regime(regime) for regime in info.regimes]
    sections.append(Section("meaning", "What the columns mean", MEANING))
    return Page("accuracy", info.title, tuple(remarks(info)), tuple(sections), command=command)


def _groups(info: AccuracyInfo) -> Section:
    return Section("groups", "By group", tables=(_table("groups", GROUP_HEADS, info.groups),))


def _points(info: AccuracyInfo) -> Section:
    caption = "Solid: prediction equal to measurement; dotted: 10 % above and below."
    picture = Picture("points", "Predicted against measured", points_figure(info), caption)
    return Section("points", "Predicted against measured", pictures=(picture,))


def _regime(regime: Regime) -> Section:
    without = (f"{regime.without:,} rows have no {regime.title}.",) if regime.without else ()
    name = f"by-{regime.column}"
    picture = Picture(name, f"Signed error by {regime.title}", regime_figure(regime))
    table = _table(name, (regime.title, *REGIME_HEADS), regime.bins)
    return Section(name, f"Error by {regime.title}", without, pictures=(picture,), tables=(table,))


def _table(name: str, heads: Sequence[str], rows: Sequence[Scores | Against | Bin]) -> Table:
    return Table(name, tuple(heads), tuple(tuple(cells(row)) for row in rows))
