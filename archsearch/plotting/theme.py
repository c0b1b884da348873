"""How pictures look: one palette, a light and a dark template for Plotly, the same for matplotlib.

The colours were searched for: each stands out from both papers (contrast of 3:1 and more, as WCAG 2.1 asks of
graphics), and any two differ for eyes without red, green or blue cones (ΔE of 20 and more in CIELAB under the
simulation of Machado, Oliveira and Fernandes 2009). So a figure changes its theme by its template alone.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archsearch.errors import UnknownNameError

if TYPE_CHECKING:
    import plotly.graph_objects as go

PALETTE = ("#2267dd", "#d67f19", "#00a664", "#c465c0", "#945600", "#646677")
"""Blue, orange, green, purple, brown, slate: series take them in this order."""
FRONT, RECOMMENDED, BASELINE, SECOND, _, MUTED = PALETTE
"""What is always shown in the same colour; ``MUTED`` is what stands behind."""
SCALE = "Cividis"
"""Of continuous values: readable without colour vision (Nuñez, Anderton and Renslow 2018)."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours that change with the paper: ``ink`` is text and axes, ``grid`` the lines behind."""

    name: str
    paper: str
    ink: str
    grid: str


THEMES = {
    "light": Theme("light", "#ffffff", "#1c1f24", "#d9dce1"),
    "dark": Theme("dark", "#15181d", "#e8eaed", "#3a3f47"),
}


def theme_of(name: str) -> Theme:
    """A theme by its name.

    Raises:
        UnknownNameError: neither light nor dark.
    """
    if name not in THEMES:
        raise UnknownNameError("theme", name, THEMES)
    return THEMES[name]


def colour(index: int) -> str:
    """The colour of a series by its number from 0; they repeat."""
    return PALETTE[index % len(PALETTE)]


def template(name: str = "light") -> go.layout.Template:
    """A theme as a template of Plotly: ``figure.update_layout(template=template("dark"))``.

    Args:
        name: light or dark.

    Returns:
        A template.

    Raises:
        UnknownNameError: another name.
    """
    import plotly.graph_objects as go

    theme = theme_of(name)
    axis = {"gridcolor": theme.grid, "linecolor": theme.grid, "zerolinecolor": theme.grid, "automargin": True}
    return go.layout.Template(
        layout={
            "colorway": PALETTE,
            "font": {"family": "system-ui, sans-serif", "color": theme.ink, "size": 13},
            "paper_bgcolor": theme.paper,
            "plot_bgcolor": theme.paper,
            "hoverlabel": {"align": "left"},
            "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "xanchor": "left", "x": 0},
            "margin": {"l": 60, "r": 20, "t": 70, "b": 50},
            "xaxis": axis,
            "yaxis": axis,
        }
    )


def plain(text: str) -> str:
    """A text as Plotly shows it to the letter: what looks like a tag is none."""
    return html.escape(text, quote=False)


def titled(figure: go.Figure, title: str, note: str, theme: str, info: object) -> go.Figure:
    """A figure with its title, a smaller line below it, and a theme; it remembers the record that it shows."""
    text = f"{plain(title)}<br><sup>{plain(note)}</sup>" if note else plain(title)
    figure.update_layout(title={"text": text, "x": 0, "xref": "paper"}, template=template(theme), height=460)
    figure._archsearch_shown = (info, theme)
    return figure


def shown(figure: go.Figure) -> tuple[Any, str]:
    """The record that a figure was drawn from and its theme; no record of another's figure."""
    info, theme = getattr(figure, "_archsearch_shown", (None, "light"))
    return info, str(theme)
