"""Where a model's time goes: a treemap of its ops, each with its tile, waves, wave efficiency and what bounds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsearch.estimate_result import EstimateFields, EstimateResult, OpRow
from archsearch.hardware import GpuSpec
from archsearch.keywords import checked_call
from archsearch.plotting import theme as look
from archsearch.plotting.sources import answered

if TYPE_CHECKING:
    from typing import Unpack

    import plotly.graph_objects as go

    from archsearch.plotting.sources import Model

WAITS = "waiting for launches"
"""The part of the time in which the GPU has nothing to run because the host has not launched it."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class OpTile:
    """One op, or the waiting for launches: its ``name``, its ``group`` (the name's first part), its kind ``op``, and
    ``seconds``, ``flops`` and ``bytes`` of all ``count`` of it; ``share`` is that of the pass's time.

    ``tile``, ``waves`` and ``wave_efficiency`` are None where a kernel has no tiles; ``bound`` is what limits it,
    ``provenance`` how its time is known.
    """

    name: str
    group: str
    op: str
    count: int
    seconds: float
    share: float
    flops: float
    bytes: float
    bound: str
    tile: str | None
    waves: float | None
    wave_efficiency: float | None
    provenance: str


@dataclass(frozen=True, slots=True)
class BreakdownInfo:
    """What the picture of this ``title`` shows: ``tiles`` as they run, whose seconds add up to ``total_s``.

    ``low_s`` and ``high_s`` are the 80 % band of the whole, ``provenance`` how it is known.
    """

    title: str
    total_s: float
    low_s: float
    high_s: float
    provenance: str
    tiles: tuple[OpTile, ...]

    @property
    def groups(self) -> dict[str, float]:
        """Seconds by group, the largest first."""
        seconds: dict[str, float] = {}
        for tile in self.tiles:
            seconds[tile.group] = seconds.get(tile.group, 0.0) + tile.seconds
        return dict(sorted(seconds.items(), key=lambda item: -item[1]))


@checked_call
def breakdown_info(
    model: Model, hardware: str | GpuSpec | None = None, **fields: Unpack[EstimateFields]
) -> BreakdownInfo:
    """A model's time by op, as numbers.

    Args:
        model: what ``estimate`` answered, or a model as it takes one.
        hardware: the GPU, beside a model.
        fields: the workload and the execution, as ``estimate`` takes them, beside a model.

    Returns:
        One tile per op, and one for waiting where the GPU waits.

    Raises:
        InvalidInputError: hardware or fields beside an answer, or a model without hardware.
        UnknownNameError, UnsupportedError: as ``estimate`` does.

    >>> info = breakdown_info("gpt2", "a10", batch_size=8)
    >>> list(info.groups)[0]
    'lm_head'
    """
    result = answered(model, hardware, **fields)
    tiles = [_tile(row, result.latency_s) for row in result.breakdown]
    waits = result.latency_s - sum(tile.seconds for tile in tiles)
    if waits > _ROUNDING * result.latency_s:
        tiles.append(_waiting(waits, result))
    total = sum(tile.seconds for tile in tiles)
    return BreakdownInfo(
        model_title(result), total, result.latency_low_s, result.latency_high_s, result.provenance, tuple(tiles)
    )


def model_title(result: EstimateResult) -> str:
    """The model, its GPU and its workload in words."""
    gpus = f"{result.gpus} × {result.hardware}" if result.gpus > 1 else result.hardware
    return f"{result.model} on {gpus}: {workload_words(result)}"


def workload_words(result: EstimateResult) -> str:
    """Phase, format and sizes of a pass in words."""
    sizes = [f"{name} {value}" for name, value in result.workload.items() if name not in ("phase", "dtype")]
    return ", ".join([str(result.workload["phase"]), str(result.workload["dtype"]), *sizes])


def _tile(row: OpRow, total_s: float) -> OpTile:
    return OpTile(
        name=row["name"],
        group=row["name"].split(".")[0],
        op=row["op"],
        count=row["count"],
        seconds=row["latency_s"],
        share=row["latency_s"] / total_s,
        flops=row["flops"],
        bytes=row["bytes"],
        bound=row["bound"],
        tile=row["tile"],
        waves=row["waves"],
        wave_efficiency=row["wave_efficiency"],
        provenance=row["provenance"],
    )


def _waiting(seconds: float, result: EstimateResult) -> OpTile:
    """The time in which the GPU has nothing to run."""
    share = seconds / result.latency_s
    return OpTile(WAITS, WAITS, "wait", 1, seconds, share, 0.0, 0.0, "host", None, None, None, result.provenance)


@checked_call
def plot_breakdown(
    model: Model, hardware: str | GpuSpec | None = None, *, theme: str = "light", **fields: Unpack[EstimateFields]
) -> go.Figure:
    """Draw where a model's time goes with Plotly: a treemap of its ops, coloured by what bounds them.

    Hovering over an op shows its tile, waves, wave efficiency, FLOPs and bytes.

    Args:
        model: what ``estimate`` answered, or a model as it takes one.
        hardware: the GPU, beside a model.
        theme: light or dark.
        fields: the workload and the execution, as ``estimate`` takes them, beside a model.

    Returns:
        A figure.

    Raises:
        InvalidInputError: hardware or fields beside an answer, or a model without hardware.
        UnknownNameError, UnsupportedError: as ``estimate`` does; or no such theme.
    """
    return draw_breakdown(breakdown_info(model, hardware, **fields), theme)


def draw_breakdown(info: BreakdownInfo, theme: str = "light") -> go.Figure:
    """The figure of what ``breakdown_info`` gave."""
    import plotly.graph_objects as go

    bounds = bound_colours(info)
    groups = info.groups
    root = look.plain(f"{info.total_s * 1e3:.4g} ms")
    ids = ["all", *(f"group {name}" for name in groups), *(f"op {i}" for i in range(len(info.tiles)))]
    parents = ["", *("all" for _ in groups), *(f"group {tile.group}" for tile in info.tiles)]
    labels = [root, *map(look.plain, groups), *(look.plain(tile.name) for tile in info.tiles)]
    seconds = [info.total_s, *groups.values(), *(tile.seconds for tile in info.tiles)]
    whole = [f"{value * 1e3:.4g} ms, {value / info.total_s:.1%}" for value in (info.total_s, *groups.values())]
    clear = "rgba(0,0,0,0)"
    figure = go.Figure()
    figure.add_treemap(
        ids=ids,
        parents=parents,
        labels=labels,
        values=[value * 1e3 for value in seconds],
        branchvalues="total",
        marker={"colors": [clear] * (1 + len(groups)) + [bounds[tile.bound] for tile in info.tiles]},
        hovertext=[*whole, *(look.plain(hover_of(tile)).replace("\n", "<br>") for tile in info.tiles)],
        hovertemplate="<b>%{label}</b><br>%{hovertext}<extra></extra>",
        texttemplate="%{label}<br>%{value:.3g} ms",
        sort=True,
    )
    for bound, shade in bounds.items():  # a treemap has no legend of its own
        marker = {"color": shade, "symbol": "square", "size": 11}
        figure.add_scatter(name=look.plain(bound), x=[None], y=[None], mode="markers", marker=marker, showlegend=True)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    band = f"80 % band {info.low_s * 1e3:.4g} to {info.high_s * 1e3:.4g} ms ({info.provenance})"
    figure = look.titled(
        figure, info.title, f"{info.total_s * 1e3:.4g} ms; {band}; colour: what bounds it", theme, info
    )
    return figure.update_layout(legend={"y": -0.02})


def bound_colours(info: BreakdownInfo) -> dict[str, str]:
    """A colour for each thing that bounds an op, in the order of their time."""
    seconds: dict[str, float] = {}
    for tile in info.tiles:
        seconds[tile.bound] = seconds.get(tile.bound, 0.0) + tile.seconds
    return {bound: look.colour(i) for i, bound in enumerate(sorted(seconds, key=lambda name: -seconds[name]))}


def hover_of(tile: OpTile) -> str:
    """An op in lines of text."""
    lines = [f"{tile.op} × {tile.count}, {tile.seconds * 1e3:.4g} ms, {tile.share:.1%}", f"bound by {tile.bound}"]
    if tile.tile is not None:
        lines.append(f"tile {tile.tile}")
    if tile.waves is not None:
        efficiency = "" if tile.wave_efficiency is None else f", wave efficiency {tile.wave_efficiency:.0%}"
        lines.append(f"waves {tile.waves:g}{efficiency}")
    lines += [f"{tile.flops / 1e9:.4g} GFLOPs, {tile.bytes / 2**20:.4g} MiB"] if tile.op != "wait" else []
    return "\n".join([*lines, tile.provenance])
