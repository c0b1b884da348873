"""The accuracy report as one HTML page, drawn with Plotly, that needs no network."""

from __future__ import annotations

import html
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
        line = {"color": "black", "width": 1, "dash": "solid" if name == "equal" else "dot"}
        figure.add_scattergl(name=name, x=x, y=y, mode="lines", line=line, hoverinfo="skip")
    figure.update_xaxes(type="log", title="measured (µs)", dtick=1)
    figure.update_yaxes(type="log", title="predicted (µs)", dtick=1)
    return figure.update_layout(template="plotly_white", height=640)


def regime_figure(regime: Regime) -> go.Figure:
    """A box of the signed error for each bin of a regime."""
    import plotly.graph_objects as go

    names = ("lowerfence", "q1", "median", "q3", "upperfence")
    boxes = dict(zip(names, zip(*(b.quantiles for b in regime.bins), strict=True), strict=True))
    figure = go.Figure()
    figure.add_box(x=[b.scores.label for b in regime.bins], marker={"color": colors(1)[0]}, **boxes)
    figure.update_xaxes(type="category", title=regime.title)
    figure.update_yaxes(title="signed error (%)", zerolinecolor="black")
    return figure.update_layout(template="plotly_white", height=320, margin={"t": 20}, showlegend=False)


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
    return figure.update_layout(template="plotly_white", height=560, margin={"t": 20}, barmode="group")


STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}th,td{padding:.15em .8em;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}"""


def page(info: AccuracyInfo) -> str:
    """The report as one HTML document that needs no network: plotly.js is part of it, once."""
    from plotly.offline import get_plotlyjs

    parts = [_list(remarks(info)), "<h2>By group</h2>", _table(GROUP_HEADS, info.groups)]
    parts += ["<h2>Predicted against measured</h2>", _div(points_figure(info), "points")]
    if info.against:
        parts += ["<h2>Against the plain roofline</h2>", _table(ROOFLINE_HEADS, info.against)]
        parts.append(_div(roofline_figure(info), "roofline"))
    for regime in info.regimes:
        parts.append(f"<h2>Error by {regime.title}</h2>")
        if regime.without:
            parts.append(f"<p>{regime.without:,} rows have no {regime.title}.</p>")
        parts += [_table((regime.title, *REGIME_HEADS), regime.bins), _div(regime_figure(regime), regime.column)]
    title = html.escape(info.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>\n'
        f"<script>{get_plotlyjs()}</script></head>\n<body><h1>{title}</h1>\n"
        + "\n".join([*parts, "<h2>What the columns mean</h2>", _list(MEANING)])
        + "\n</body></html>\n"
    )


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _table(heads: Sequence[str], rows: Sequence[Scores | Against | Bin]) -> str:
    top = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    body = ("".join(f"<td>{html.escape(cell)}</td>" for cell in cells(row)) for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody><tr>{'</tr><tr>'.join(body)}</tr></tbody></table>"


def _div(figure: go.Figure, name: str) -> str:
    from plotly.io import to_html

    height = f"{figure.layout.height}px"
    return str(to_html(figure, include_plotlyjs=False, full_html=False, div_id=f"figure-{name}", default_height=height))
