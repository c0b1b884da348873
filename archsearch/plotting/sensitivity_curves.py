"""Latency along each dimension of a model, fine enough that the steps of waves and tiles are seen.

Every dimension is asked as one array of values around the model's own, all else unchanged but what has to change along
(``search.answers.moves.along``). A curve names the op whose time changes most along it, with that op's waves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from archsearch.arrays import Floats, as_float
from archsearch.cost.estimate import Estimate, OpCost
from archsearch.cost.execution import Execution
from archsearch.cost.model import CostModel
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.estimate_result import EstimateFields, EstimateResult, workload_of
from archsearch.hardware import GpuSpec, load_gpu
from archsearch.keywords import checked_call
from archsearch.models.base import ModelConfig
from archsearch.models.registry.families import get_family
from archsearch.plotting import theme as look
from archsearch.plotting.breakdown_tree import model_title
from archsearch.plotting.sources import answered
from archsearch.search.answers.moves import DEFAULT_STEPS, Changes, along, grid_of
from archsearch.workload import Workload, WorkloadFields

if TYPE_CHECKING:
    from typing import Unpack

    import plotly.graph_objects as go

    from archsearch.plotting.sources import Model

SPAN = 0.5
"""How far below and above its own value a dimension is varied, relative to it."""
LEAST_REACH = 4
"""Steps that a dimension is varied by at least."""
MOST_VALUES = 512
"""Values of a dimension: widths go by 8 where that gives no more, else by 16, 32 ..."""
FINEST = 8
COLUMNS = 2


@dataclass(frozen=True, slots=True)
class Curve:
    """Latency along a ``dimension``: its ``values``, ascending, and milliseconds ``ms`` with their band from ``low`` to
    ``high``, [N] each. ``here`` is the model's own value, ``carried`` what changes along, or is held.

    ``op`` is the op whose time changes most along the curve, ``waves`` [N] its waves (empty where it has none).
    """

    dimension: str
    values: list[int]
    ms: list[float]
    low: list[float]
    high: list[float]
    here: int
    carried: tuple[str, ...]
    op: str
    waves: list[float]

    @property
    def steps(self) -> list[int]:
        """Values at which the op's waves are more or fewer than at the value before."""
        return [b for b, x, y in zip(self.values[1:], self.waves, self.waves[1:], strict=False) if x != y]


@dataclass(frozen=True, slots=True)
class SensitivityInfo:
    """What the picture of this ``title`` shows: ``curves``, one per dimension; ``ms`` is the model's own latency."""

    title: str
    ms: float
    curves: tuple[Curve, ...]


@checked_call
def sensitivity_info(
    model: Model,
    hardware: str | GpuSpec | None = None,
    *,
    dimensions: Sequence[str] = (),
    span: float = SPAN,
    **fields: Unpack[EstimateFields],
) -> SensitivityInfo:
    """Latency along each dimension of a model, as numbers.

    Args:
        model: what ``estimate`` answered, or a model as it takes one.
        hardware: the GPU, beside a model.
        dimensions: fields of the model's config to vary (default: its widths, layers and heads).
        span: how far, relative to the model's own value: 0.5 is from half to one and a half of it.
        fields: the workload and the execution, as ``estimate`` takes them, beside a model.

    Returns:
        One curve per dimension of which several values make a model.

    Raises:
        UnknownNameError: a dimension that the model does not have.
        InvalidInputError: a span that is no share between 0 and 1, or as ``breakdown_info``.
        UnsupportedError: a traced module, which has no dimensions, or as ``estimate`` does.

    >>> (curve,) = sensitivity_info("llama-3-8b", "h100-sxm", dimensions=["intermediate_size"]).curves
    >>> curve.here, curve.op, len(curve.steps) > 0
    (14336, 'mlp.gate_proj+up_proj', True)
    """
    if not 0.0 < span < 1.0:
        raise InvalidInputError(f"span must lie between 0 and 1, not {span:g}")
    result = answered(model, hardware, **fields)
    config = _config(result)
    gpu = hardware if isinstance(hardware, GpuSpec) else load_gpu(result.hardware)
    workload, _ = workload_of(
        config,
        cast("WorkloadFields", {n: v for n, v in result.workload.items() if n != "checkpointing"}),
        checkpointing=bool(result.workload.get("checkpointing", False)),
    )
    execution = Execution(**result.execution)
    for name in dimensions:
        if name not in result.config:
            raise UnknownNameError("dimension", name, result.config)
    curves = []
    for name in dimensions or DEFAULT_STEPS:
        changes = along(config, name, _values(config, name, span))
        if len(changes) > 1:
            curves.append(_curve(config, name, changes, CostModel(gpu), workload, execution))
    return SensitivityInfo(model_title(result), result.latency_s * 1e3, tuple(curves))


def _config(result: EstimateResult) -> ModelConfig:
    """The config of an answer.

    Raises:
        UnsupportedError: a traced module's, which has no dimensions.
    """
    try:
        family = get_family(result.family)
    except UnknownNameError:
        raise UnsupportedError(f"{result.model} is a traced module: it has no dimensions to vary") from None
    config: ModelConfig = family.from_dict(result.config)
    return config


def _values(config: ModelConfig, name: str, span: float) -> list[int]:
    """Values around a dimension's own, itself among them: widths by eights or coarser, all else by ones."""
    here = getattr(config, name, None)
    if not isinstance(here, int | np.integer) or isinstance(here, bool):
        return []
    here, step = int(here), 1
    if DEFAULT_STEPS.get(name, 1) > 1:
        step = FINEST
        while 2 * span * here / step > MOST_VALUES:
            step *= 2
    reach = max(int(span * here / step), LEAST_REACH)
    return [value for value in range(here - reach * step, here + reach * step + 1, step) if value > 0]


def _curve(
    config: ModelConfig,
    name: str,
    changes: list[Changes],
    cost: CostModel,
    workload: Workload,
    execution: Execution,
) -> Curve:
    """One dimension, its values asked at once."""
    estimate = cost.price(grid_of(config, changes), workload, execution)
    values = [int(cast("int", change[name])) for change in changes]

    def ms(seconds: Floats) -> list[float]:
        return [float(value) for value in np.broadcast_to(as_float(seconds) * 1e3, (len(values),))]

    op, waves = _moving_op(estimate, len(values))
    return Curve(
        dimension=name,
        values=values,
        ms=ms(estimate.latency_s),
        low=ms(estimate.low_s),
        high=ms(estimate.high_s),
        here=int(getattr(config, name)),
        carried=tuple(_along(changes, field) for field in changes[0] if field != name),
        op=op,
        waves=waves,
    )


def _along(changes: list[Changes], field: str) -> str:
    """A field that changes along, or the value at which it is held."""
    values = {change[field] for change in changes}
    return field if len(values) > 1 else f"{field} {values.pop()}"


def _moving_op(estimate: Estimate, count: int) -> tuple[str, list[float]]:
    """The op with waves whose time changes most, and its waves [N]."""

    def moved(item: OpCost) -> float:
        return float(np.ptp(np.broadcast_to(as_float(item.cost.latency_s) * as_float(item.count), (count,))))

    tiled = [item for item in estimate.breakdown if "tile_m" in item.cost.details and "waves" in item.cost.details]
    if not tiled or moved(most := max(tiled, key=moved)) == 0.0:
        return "", []
    return most.name, [float(waves) for waves in np.broadcast_to(as_float(most.cost.details["waves"]), (count,))]


@checked_call
def plot_sensitivity(
    model: Model,
    hardware: str | GpuSpec | None = None,
    *,
    dimensions: Sequence[str] = (),
    span: float = SPAN,
    theme: str = "light",
    **fields: Unpack[EstimateFields],
) -> go.Figure:
    """Draw the latency along each dimension of a model with Plotly; waves and tiles show as steps.

    Args:
        model, hardware, dimensions, span, fields: as ``sensitivity_info`` takes them.
        theme: light or dark.

    Returns:
        A figure, one panel per dimension.

    Raises:
        UnknownNameError, InvalidInputError, UnsupportedError: as ``sensitivity_info`` does; or no such theme.
    """
    return draw_sensitivity(sensitivity_info(model, hardware, dimensions=dimensions, span=span, **fields), theme)


def draw_sensitivity(info: SensitivityInfo, theme: str = "light") -> go.Figure:
    """The figure of what ``sensitivity_info`` gave."""
    from plotly.subplots import make_subplots

    rows = max(-(-len(info.curves) // COLUMNS), 1)
    titles = [look.plain(panel_title(curve)) for curve in info.curves]
    figure = make_subplots(rows=rows, cols=COLUMNS, subplot_titles=titles, vertical_spacing=0.3 / rows)
    for place, curve in enumerate(info.curves):
        where = {"row": place // COLUMNS + 1, "col": place % COLUMNS + 1}
        band = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
        figure.add_scatter(x=curve.values, y=curve.low, **band, **where)
        shade = "rgba(34,103,221,0.15)"
        figure.add_scatter(x=curve.values, y=curve.high, fill="tonexty", fillcolor=shade, **band, **where)
        figure.add_scatter(
            x=curve.values,
            y=curve.ms,
            mode="lines+markers",
            marker={"size": 3},
            line={"color": look.FRONT, "width": 1.5},
            showlegend=False,
            hovertext=hovers(curve),
            hovertemplate="%{hovertext}<extra></extra>",
            **where,
        )
        own = curve.ms[curve.values.index(curve.here)] if curve.here in curve.values else info.ms
        marker = {"symbol": "star", "size": 11, "color": look.RECOMMENDED}
        hover = f"this model: {curve.here}, {own:.4g} ms<extra></extra>"
        figure.add_scatter(
            x=[curve.here], y=[own], mode="markers", marker=marker, showlegend=False, hovertemplate=hover, **where
        )
        figure.update_yaxes(title="ms" if place % COLUMNS == 0 else None, **where)
    note = "latency along each dimension, its 80 % band shaded; starred: the model itself"
    return look.titled(figure, info.title, note, theme, info).update_layout(height=140 + 260 * rows)


def panel_title(curve: Curve) -> str:
    """The dimension, with what changes along."""
    return curve.dimension + (f" (with {', '.join(curve.carried)})" if curve.carried else "")


def hovers(curve: Curve) -> list[str]:
    """Each point of a curve in words."""
    waves = [f"<br>{look.plain(curve.op)}: {count:g} waves" for count in curve.waves] or [""] * len(curve.values)
    points = zip(curve.values, curve.ms, waves, strict=True)
    return [f"{curve.dimension} {value}: {ms:.4g} ms{each}" for value, ms, each in points]
