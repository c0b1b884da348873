"""Where laws of quality disagree about a front's order: the rank that one gives against the rank of another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.keywords import checked_call
from archsearch.plotting import theme as look
from archsearch.plotting.front_info import labels_of
from archsearch.plotting.sources import found, ranks_of
from archsearch.quality.rank_agreement import correlation
from archsearch.search.answers.agreement import front_agreement

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from archsearch.plotting.sources import Source
    from archsearch.search.evaluate.pool_models import Hardware


@dataclass(frozen=True, slots=True)
class Pair:
    """Two laws over a front: ``kendall`` is Kendall's tau-b of their orders, NaN where a law tells nothing apart."""

    a: str
    b: str
    kendall: float


@dataclass(frozen=True, slots=True)
class ProxiesInfo:
    """What the picture of this ``title`` shows: ``ranks`` [N] of the front's architectures by quality, 1 the best,
    under each law; ``labels`` [N] name them, ``recommended`` [N] is their recommendation (0: none).

    ``pairs`` say how far every two laws agree.
    """

    title: str
    ranks: dict[str, list[float]]
    labels: list[str]
    recommended: list[int]
    pairs: tuple[Pair, ...]


@checked_call
def proxies_info(
    source: Source,
    *,
    hardware: Hardware | None = None,
    storage: str | None = None,
    top: int = 5,
    progress: bool = False,
) -> ProxiesInfo:
    """The ranks that independent laws of quality give a front's architectures.

    Args:
        source: a study, a space, or the name of either; the first law is its own.
        hardware: the GPUs that a space is searched for.
        storage: where a study is that is named.
        top: how many recommendations are marked.
        progress: show a progress bar on stderr.

    Returns:
        Ranks by law.

    Raises:
        UnknownNameError, ArchSearchError: as ``plot_front`` does.
        InvalidInputError: a table, which cannot be asked for another law's answer.
        UnsupportedError: one law alone speaks for the family.
    """
    search = found(source, hardware=hardware, storage=storage, top=top, progress=progress)
    if search.evaluator is None:
        raise InvalidInputError("laws are compared on a study or a space: a table has the answers of one law alone")
    front = search.front
    agreement = front_agreement(search.evaluator, front.frame)
    if agreement is None:
        law = front.setting.quality.proxy
        raise UnsupportedError(f"one independent law alone speaks for {front.setting.family}: {law}")
    ranks = {name: [float(r) for r in row] for name, row in zip(agreement.proxies, agreement.ranks, strict=True)}
    pairs = [Pair(a, b, correlation(np.array(ranks[a]), np.array(ranks[b]))[0]) for a, b in combinations(ranks, 2)]
    return ProxiesInfo(
        title=f"Order by quality of the front of {front.setting.space}",
        ranks=ranks,
        labels=labels_of(front),
        recommended=ranks_of(front, search.best),
        pairs=tuple(pairs),
    )


@checked_call
def plot_proxies(
    source: Source,
    *,
    hardware: Hardware | None = None,
    storage: str | None = None,
    top: int = 5,
    theme: str = "light",
    progress: bool = False,
) -> go.Figure:
    """Draw where laws of quality disagree about a front's order with Plotly: rank against rank, a panel per pair.

    Args:
        source, hardware, storage, top, progress: as ``proxies_info`` takes them.
        theme: light or dark.

    Returns:
        A figure.

    Raises:
        UnknownNameError, InvalidInputError, UnsupportedError, ArchSearchError: as ``proxies_info`` does; or no such
            theme.
    """
    info = proxies_info(source, hardware=hardware, storage=storage, top=top, progress=progress)
    return draw_proxies(info, theme)


def draw_proxies(info: ProxiesInfo, theme: str = "light") -> go.Figure:
    """The figure of what ``proxies_info`` gave."""
    from plotly.subplots import make_subplots

    titles = [look.plain(f"Kendall's tau {pair.kendall:.2f}") for pair in info.pairs]
    figure = make_subplots(rows=1, cols=len(info.pairs), subplot_titles=titles)
    marked = [rank > 0 for rank in info.recommended]
    for column, pair in enumerate(info.pairs, start=1):
        x, y = info.ranks[pair.a], info.ranks[pair.b]
        last = max(*x, *y)
        line = {"color": look.MUTED, "dash": "dot", "width": 1}
        figure.add_scatter(
            x=[1, last], y=[1, last], mode="lines", line=line, showlegend=False, hoverinfo="skip", row=1, col=column
        )
        figure.add_scatter(
            x=x,
            y=y,
            mode="markers",
            showlegend=False,
            marker={
                "color": [look.RECOMMENDED if mark else look.FRONT for mark in marked],
                "symbol": ["star" if mark else "circle" for mark in marked],
                "size": [12 if mark else 6 for mark in marked],
            },
            hovertext=[look.plain(label).replace(", ", "<br>") for label in info.labels],
            hovertemplate="%{hovertext}<br>rank %{x:g} against %{y:g}<extra></extra>",
            row=1,
            col=column,
        )
        figure.update_xaxes(title=look.plain(f"rank by {pair.a}"), row=1, col=column)
        figure.update_yaxes(title=look.plain(f"rank by {pair.b}"), row=1, col=column)
    return look.titled(figure, info.title, "on the dotted line they agree; starred: recommended", theme, info)
