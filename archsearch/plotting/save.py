"""A picture as a file, or a record as a figure: the one table of which record is drawn by what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.files import replacing
from archsearch.keywords import checked_call
from archsearch.plotting import static
from archsearch.plotting import theme as look
from archsearch.plotting.bars import Bars
from archsearch.plotting.bars import figure as draw_bars
from archsearch.plotting.breakdown_tree import BreakdownInfo, draw_breakdown
from archsearch.plotting.front import draw_front
from archsearch.plotting.front_info import FrontInfo
from archsearch.plotting.parallel_lines import ParallelInfo, draw_parallel
from archsearch.plotting.proxy_ranks import ProxiesInfo, draw_proxies
from archsearch.plotting.sensitivity_curves import SensitivityInfo, draw_sensitivity
from archsearch.plotting.static_parallel import static_parallel

if TYPE_CHECKING:
    import plotly.graph_objects as go

Info = FrontInfo | Bars | BreakdownInfo | SensitivityInfo | ProxiesInfo | ParallelInfo
"""What a picture shows, as numbers."""
_Drawing = Callable[..., Any]
_DRAWN: dict[type[Any], tuple[_Drawing, _Drawing]] = {
    FrontInfo: (draw_front, static.static_front),
    Bars: (draw_bars, static.static_bars),
    BreakdownInfo: (draw_breakdown, static.static_breakdown),
    SensitivityInfo: (draw_sensitivity, static.static_sensitivity),
    ProxiesInfo: (draw_proxies, static.static_proxies),
    ParallelInfo: (draw_parallel, static_parallel),
}
"""By record: what draws it with Plotly, and with matplotlib."""
STATIC = (".png", ".svg", ".pdf")


@checked_call
def draw(info: Info, theme: str = "light") -> go.Figure:
    """The figure of a record: what ``plot_front`` draws of what ``front_info`` gives, and so for all.

    Args:
        info: a record.
        theme: light or dark.

    Returns:
        A figure.

    Raises:
        InvalidInputError: something else than a record of this package.
        UnknownNameError: no such theme.
    """
    return _of(info)[0](info, theme)


@checked_call
def save(picture: Info | go.Figure, path: str | Path, *, theme: str = "light") -> Path:
    """Write a picture to a file: ``.png``, ``.svg`` or ``.pdf`` with matplotlib, ``.html`` with Plotly in it.

    A record (``front_info(...)``) and a figure as this package drew it need no browser. A figure that was changed since
    is written by Plotly, by way of kaleido and a Chrome.

    Args:
        picture: a record of this package, or a figure of Plotly.
        path: where to; its suffix says what.
        theme: light or dark, of a record; a figure has its own.

    Returns:
        The path.

    Raises:
        InvalidInputError: another suffix, something that is no picture, or a path that cannot be written.
        UnsupportedError: what is needed is not installed.
        UnknownNameError: no such theme.
    """
    if not isinstance(path, str | Path):
        raise InvalidInputError(f"a {type(path).__name__} is no path: save(picture, path) takes the picture first")
    target = Path(path)
    if target.suffix not in (*STATIC, ".html"):
        raise InvalidInputError(f"{path}: a picture is written as {', '.join(STATIC)} or .html")
    with replacing(target) as draft:
        if hasattr(picture, "to_plotly_json"):
            _save_figure(picture, draft, target.name)
        elif target.suffix == ".html":
            draw(picture, theme).write_html(draft)
        else:
            _save_static(picture, draft, theme)
    return target


def _of(info: Info) -> tuple[_Drawing, _Drawing]:
    if type(info) not in _DRAWN:
        names = ", ".join(kind.__name__ for kind in _DRAWN)
        raise InvalidInputError(f"{type(info).__name__} is no picture; draw and save take {names}")
    return _DRAWN[type(info)]


def _save_static(info: Info, target: Path, theme: str) -> None:
    drawing = _of(info)[1]
    metadata = {"Date": None} if target.suffix == ".svg" else {"CreationDate": None} if target.suffix == ".pdf" else {}
    drawing(info, theme).savefig(target, metadata=metadata)


def _save_figure(figure: go.Figure, target: Path, name: str) -> None:
    """A figure of Plotly by its own means.

    Raises:
        UnsupportedError: kaleido or its browser is missing.
    """
    if target.suffix == ".html":
        figure.write_html(target)
        return
    info, theme = look.shown(figure)
    if info is not None and draw(info, theme).to_json() == figure.to_json():
        _save_static(info, target, theme)
        return
    try:
        figure.write_image(target)
    except OSError:
        raise
    except Exception as error:  # kaleido's and choreographer's own kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnsupportedError(
            f"{name}: this figure is not as archsearch drew it, and Plotly cannot write it here ({reason}); "
            "save the record that it was drawn from (front_info, parallel_info, ...), or write .html"
        ) from None
