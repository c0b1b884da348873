"""The Pareto front as a picture: expected quality against speed, with the recommended points and the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archsearch.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one kind: coordinates and the text of each, all of length N."""

    x: list[float]
    y: list[float]
    labels: list[str]


@dataclass(frozen=True, slots=True)
class FrontInfo:
    """What the picture shows. ``x_title`` and ``y_title`` name metric and unit."""

    title: str
    x_title: str
    y_title: str
    front: Points
    recommended: Points
    baseline: Points


def front_info(front: pd.DataFrame, recommended: pd.DataFrame | None = None, *, x: str | None = None) -> FrontInfo:
    """The front of ``enumerate_space`` (or ``study_frame(front_only=True)``) as points.

    Args:
        recommended: the answer of ``recommend`` on the same space and pool; adds ranked points and the baseline.
        x: the column of speed. By default throughput, on a pool that of the GPU that gains least.

    Raises:
        InvalidInputError: the tables lack the columns, or belong to different spaces.
    """
    gpus = front.attrs["hardware"]
    column = x or (f"throughput:{gpus[0]}" if len(gpus) == 1 else "throughput_worst")
    for table in (front, recommended):
        if table is not None and column not in table.columns:
            raise InvalidInputError(f"no column {column!r}; columns: {', '.join(map(str, table.columns))}")
    if recommended is not None and recommended.attrs["space"] != front.attrs["space"]:
        raise InvalidInputError(f"front of {front.attrs['space']!r}, recommendations of {recommended.attrs['space']!r}")
    quality = front.attrs["quality"]
    baseline = None if recommended is None else recommended.attrs.get("baseline")
    return FrontInfo(
        title=f"{front.attrs['space']} on {', '.join(gpus)}",
        x_title=_axis_title(column),
        y_title=f"expected {quality['metric']}" + (f" ({quality['unit']})" if quality.get("unit") else ""),
        front=_points(front, column),
        recommended=Points([], [], []) if recommended is None else _points(recommended, column),
        baseline=Points([baseline[column]], [baseline["quality"]], [baseline["name"]])
        if baseline
        else Points([], [], []),
    )


def plot_front(front: pd.DataFrame, recommended: pd.DataFrame | None = None, *, x: str | None = None) -> go.Figure:
    """Draw ``front_info`` with Plotly; hovering over a point shows its dimensions."""
    import plotly.graph_objects as go

    info = front_info(front, recommended, x=x)
    figure = go.Figure()
    figure.add_scatter(name="Pareto front", mode="markers", marker={"size": 5, "opacity": 0.6}, **_xy(info.front))
    if info.recommended.x:
        ranks = [label.partition(".")[0] for label in info.recommended.labels]
        figure.add_scatter(
            name="recommended",
            mode="markers+text",
            marker={"size": 11, "symbol": "star"},
            text=ranks,
            textposition="top center",
            **_xy(info.recommended),
        )
    if info.baseline.x:
        figure.add_scatter(name="baseline", mode="markers", marker={"size": 10, "symbol": "x"}, **_xy(info.baseline))
    figure.update_layout(
        title=info.title, xaxis_title=info.x_title, yaxis_title=info.y_title, template="plotly_white", height=440
    )
    return figure


def _xy(points: Points) -> dict[str, Any]:
    hover = "%{hovertext}<br>%{x:.4g}, %{y:.4g}<extra></extra>"
    return {"x": points.x, "y": points.y, "hovertext": points.labels, "hovertemplate": hover}


def _points(frame: pd.DataFrame, column: str) -> Points:
    names = [name for name in frame.attrs["dimensions"] if name in frame.columns]
    labels = []
    for row in frame.to_dict(orient="records"):
        shape = ", ".join(f"{name} {row[name]}" for name in names)
        labels.append(f"{row['rank']}. {shape}" if "rank" in row else shape)
    return Points(frame[column].astype(float).tolist(), frame["quality"].astype(float).tolist(), labels)


def _axis_title(column: str) -> str:
    stem, _, gpu = column.partition(":")
    words = {
        "throughput_worst": "throughput of the GPU that gains least (× baseline)",
        "throughput_weighted": "throughput of the pool (× baseline)",
        "throughput": f"throughput on {gpu} (per second)",
        "latency_s": f"latency on {gpu} (s)",
    }
    return words.get(stem, stem)
