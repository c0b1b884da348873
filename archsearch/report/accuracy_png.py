"""The accuracy report as one picture, drawn with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.errors import UnsupportedError
from archsearch.report.accuracy import AccuracyInfo, thinned

if TYPE_CHECKING:
    import pandas as pd

MAX_REGIMES = 6


def draw_png(info: AccuracyInfo, path: Path) -> None:
    """Draw scatter, roofline comparison and up to ``MAX_REGIMES`` regimes into a .png.

    Raises:
        UnsupportedError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        told = "a .png report needs matplotlib: pip install 'archsearch[report]', or ask for .html"
        raise UnsupportedError(told) from None
    regimes = list(info.regimes.items())[:MAX_REGIMES]
    rows = 1 + -(-len(regimes) // 2)
    figure = Figure(figsize=(14, 4.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    _scatter(axes[0], info)
    _roofline(axes[1], info)
    for axis, (name, table) in zip(axes[2:], regimes, strict=False):
        _boxes(axis, name, table)
    for axis in axes[2 + len(regimes) :]:
        axis.set_visible(False)
    of_split = f", split {', '.join(info.splits)}" if info.splits else ""
    figure.suptitle(f"{info.title} ({len(info.rows):,} rows{of_split})")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _scatter(axis: Any, info: AccuracyInfo) -> None:
    for name, part in thinned(info.rows).groupby("group"):
        axis.plot(part["latency_us"], part["predicted_us"], ".", markersize=2, alpha=0.5, label=str(name))
    ends = np.array([info.rows["latency_us"].min(), info.rows["latency_us"].max()])
    axis.plot(ends, ends, "k-", linewidth=0.8)
    for factor in (1.1, 1 / 1.1):
        axis.plot(ends, ends * factor, "k:", linewidth=0.8)
    axis.set(xscale="log", yscale="log", xlabel="measured (µs)", ylabel="predicted (µs)")
    axis.set_title("Predicted against measured, ± 10 % dotted")
    if len(info.summary) <= 13:
        axis.legend(markerscale=4, fontsize=8)


def _roofline(axis: Any, info: AccuracyInfo) -> None:
    places = np.arange(len(info.summary))
    axis.barh(places - 0.2, info.summary["mape"], 0.4, label="archsearch")
    axis.barh(places + 0.2, info.summary["roofline_mape"], 0.4, label="roofline")
    axis.set_yticks(places, info.summary["group"], fontsize=8)
    axis.invert_yaxis()
    axis.set(xlabel="MAPE (%)", title="Error against the roofline's")
    axis.legend()


def _boxes(axis: Any, name: str, table: pd.DataFrame) -> None:
    fields = {"whislo": "q10", "q1": "q25", "med": "q50", "q3": "q75", "whishi": "q90"}
    stats = [{k: row[c] for k, c in fields.items()} for row in table.to_dict(orient="records")]
    axis.bxp(stats, showfliers=False)
    labels = [f"{b}\n({n:,})" for b, n in zip(table["bin"], table["rows"], strict=True)]
    axis.set_xticks(np.arange(1, len(labels) + 1), labels, fontsize=7, rotation=30)
    axis.axhline(0, linewidth=0.8, color="black")
    axis.set(ylabel="error (%)", title=f"Signed error by {name} (rows)")
