"""Where the time of an explained architecture goes, as a treemap of its ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archsearch.plotting.breakdown_tree import WAITS, BreakdownInfo, OpTile, draw_breakdown

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from archsearch.search.answers.explain import GpuExplanation

CAPTION = "The larger, the longer; the colour is what bounds it. Hover for tile, waves and wave efficiency."
HEIGHT = 560
_ROUNDING = 1e-9


def treemap_info(view: GpuExplanation, per: str) -> BreakdownInfo:
    """The ops of an architecture on one GPU, and what it waits for the host; seconds are per ``per``."""
    tiles = [_tile(row, view.latency_s) for row in view.breakdown]
    waits = view.latency_s - sum(tile.seconds for tile in tiles)
    if waits > _ROUNDING * view.latency_s:
        share = waits / view.latency_s
        tiles.append(OpTile(WAITS, WAITS, "wait", 1, waits, share, 0.0, 0.0, "host", None, None, None, view.provenance))
    total = sum(tile.seconds for tile in tiles)
    return BreakdownInfo(f"{per} on {view.gpu}", total, view.low_s, view.high_s, view.provenance, tuple(tiles))


def _tile(row: Mapping[str, Any], total_s: float) -> OpTile:
    same = ("name", "op", "count", "flops", "bytes", "bound", "tile", "waves", "wave_efficiency", "provenance")
    own = {name: row[name] for name in same}
    seconds = float(row["latency_s"])
    return OpTile(group=str(row["name"]).split(".")[0], seconds=seconds, share=seconds / total_s, **own)


def treemap(info: BreakdownInfo) -> go.Figure:
    """The figure, as high as a page gives it."""
    return draw_breakdown(info).update_layout(height=HEIGHT)
