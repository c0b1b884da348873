"""The Pareto front as a picture: expected quality against speed, with the recommended points and the baseline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from archsearch.errors import InvalidInputError
from archsearch.search.evaluate.advice import Beside
from archsearch.search.evaluate.columns import metric_and_gpu
from archsearch.search.evaluate.result import SearchResult, as_result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    Table = SearchResult | pd.DataFrame


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one kind: coordinates, the text of each and the 80 % band of y, all of length N."""

    x: list[float]
    y: list[float]
    labels: list[str]
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FrontInfo:
    """What the picture shows. ``x_title`` and ``y_title`` name metric and unit, ``proxy`` what predicts quality."""

    title: str
    x_title: str
    y_title: str
    proxy: str
    front: Points
    recommended: Points
    baseline: Points


def front_info(front: Table, recommended: Table | None = None, *, x: str | None = None) -> FrontInfo:
    """The front of ``enumerate_space`` (or ``study_frame(front_only=True)``) as points.

    Args:
        recommended: the answer of ``recommend`` on the same space and pool; adds ranked points and the baseline.
        x: the column of speed. By default throughput, on a pool that of the GPU that gains least.

    Raises:
        InvalidInputError: the tables lack the columns, or belong to different spaces.
    """
    whole, best = as_result(front), None if recommended is None else as_result(recommended)
    setting = whole.setting
    column = x or setting.pool.column("throughput")
    for result in (whole, best):
        if result is not None and column not in result.frame.columns:
            raise InvalidInputError(f"no column {column!r}; columns: {', '.join(map(str, result.frame.columns))}")
    if best is not None and best.setting.space != setting.space:
        raise InvalidInputError(f"front of {setting.space!r}, recommendations of {best.setting.space!r}")
    quality = setting.quality
    baseline = None if best is None or best.advice is None else best.advice.baseline
    return FrontInfo(
        title=f"{setting.space} on {', '.join(setting.pool.ids)}",
        x_title=_axis_title(column),
        y_title=f"expected {quality.metric}" + (f" ({quality.unit})" if quality.unit else ""),
        proxy=f"{quality.proxy}: {quality.source}" + (" (assumed)" if quality.assumed else ""),
        front=_points(whole, column),
        recommended=Points([], [], []) if best is None else _points(best, column),
        baseline=Points([], [], []) if baseline is None else _point(baseline, column),
    )


def plot_front(front: Table, recommended: Table | None = None, *, x: str | None = None) -> go.Figure:
    """Draw a front with Plotly; hovering over a point shows its dimensions.

    Args:
        front: what ``enumerate_space`` gave.
        recommended: what ``recommend`` gave, to stand out.
        x: the column on the horizontal axis (default: the first objective beside quality).

    Returns:
        A figure.

    Raises:
        InvalidInputError: a table that is no answer of a search, or a column that it lacks.
    """
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
            error_y=_band(info.recommended),
            **_xy(info.recommended),
        )
    if info.baseline.x:
        figure.add_scatter(
            name="baseline",
            mode="markers",
            marker={"size": 10, "symbol": "x"},
            error_y=_band(info.baseline),
            **_xy(info.baseline),
        )
    figure.update_layout(
        title=f"{info.title}<br><sup>quality: {info.proxy}; bars are its 80 % band</sup>",
        xaxis_title=info.x_title,
        yaxis_title=info.y_title,
        template="plotly_white",
        height=440,
    )
    return figure


def _band(points: Points) -> dict[str, object]:
    """Error bars: how far the 80 % band reaches above and below each point."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - y for high, y in zip(points.high, points.y, strict=True)],
        "arrayminus": [y - low for low, y in zip(points.low, points.y, strict=True)],
        "thickness": 1,
    }


def _xy(points: Points) -> dict[str, object]:
    hover = "%{hovertext}<br>%{x:.4g}, %{y:.4g}<extra></extra>"
    return {"x": points.x, "y": points.y, "hovertext": points.labels, "hovertemplate": hover}


def _point(beside: Beside, column: str) -> Points:
    """One architecture, labelled with its name."""
    x, y, low, high = (beside.metrics[name] for name in (column, "quality", "quality_low", "quality_high"))
    return Points([x], [y], [beside.name], [low], [high])


def _points(result: SearchResult, column: str) -> Points:
    """The rows of a table, labelled with their dimensions."""
    frame = result.frame
    names = [name for name in result.setting.dimensions if name in frame.columns]
    labels = []
    for row in result.rows():
        shape = ", ".join(f"{name} {row[name]}" for name in names)
        labels.append(f"{row['rank']}. {shape}" if "rank" in row else shape)
    columns = (column, "quality", "quality_low", "quality_high")
    x, y, low, high = (frame[name].astype(float).tolist() for name in columns)
    return Points(x, y, labels, low, high)


def _axis_title(column: str) -> str:
    stem, gpu = metric_and_gpu(column)
    words = {
        "throughput_worst": "throughput of the GPU that gains least (× baseline)",
        "throughput_weighted": "throughput of the pool (× baseline)",
        "throughput": f"throughput on {gpu} (per second)",
        "latency_s": f"latency on {gpu} (s)",
    }
    return words.get(stem, stem)
