"""What every report is made of, as plain values: a page of sections with sentences, pictures, tables and texts to copy.

``render`` puts them into the templates of ``archsearch/report/templates``: one HTML document that needs no network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.plotting.theme import BASELINE, THEMES, template
from archsearch.version import version

if TYPE_CHECKING:
    import jinja2
    import plotly.graph_objects as go

TEMPLATES = Path(__file__).resolve().parent / "templates"
SENTENCE = 60
"""Characters of a cell from which on it is a sentence."""
LONGEST_TITLE = 44
"""Characters of an axis title's line: what a phone's width holds."""
AXIS_WIDTH = 72
"""Pixels of one of several parallel axes at least."""
HEIGHT = 440
"""Pixels of a figure that asks for no height."""
FILTER_FROM = 9
"""Rows from which on a table has a field to filter it."""
_STRANGE = re.compile(r"<(?!/?(?:b|i|br|sup|sub|extra)>)")
SHOWN_ROWS = 500
"""Rows of one table at most: the page stays quick; what is left out is said below it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A Plotly figure under a title and a sentence that says what is seen.

    Of the pictures of one ``group`` (a label each) one is shown at a time, chosen by ``label``. ``pins``: a click on a
    point whose ``customdata`` is a row's number pins that row of the page's ``points``.
    """

    name: str
    title: str
    figure: go.Figure
    caption: str = ""
    group: str = ""
    label: str = ""
    pins: bool = False

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.figure.layout.height or HEIGHT)

    @property
    def least_width(self) -> int:
        """Pixels below which it scrolls sideways; 0 where it takes what there is."""
        axes = (len(trace.dimensions) for trace in self.figure.data if trace.type == "parcoords")
        return max(axes, default=0) * AXIS_WIDTH


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts, [rows, columns]. The first ``left`` columns are texts, the others numbers, aligned right.

    ``pins`` is None, or each row's number among the page's ``points``, which a button of the row pins.
    """

    name: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    left: int = 1
    pins: tuple[int, ...] | None = None

    @property
    def shown(self) -> tuple[tuple[str, ...], ...]:
        """The first ``SHOWN_ROWS`` rows."""
        return self.rows[:SHOWN_ROWS]

    @property
    def prose(self) -> bool:
        """Whether it holds sentences: a phone then shows its cells below each other."""
        return any(len(cell) > SENTENCE for row in self.rows for cell in row)

    @property
    def filtered(self) -> bool:
        """Whether there is a field to filter it."""
        return len(self.rows) >= FILTER_FROM


@dataclass(frozen=True, slots=True)
class Snippet:
    """A text with a button that copies it: a config, a command."""

    name: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """One recommended architecture: a title, its values, sentences on it, texts to copy."""

    title: str
    facts: tuple[tuple[str, str], ...]
    lines: tuple[str, ...] = ()
    snippets: tuple[Snippet, ...] = ()
    pin: int | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page, in the order of its fields. ``compare``: pinned rows stand side by side in it."""

    name: str
    title: str
    lines: tuple[str, ...] = ()
    cards: tuple[Card, ...] = ()
    pictures: tuple[Picture, ...] = ()
    compare: bool = False
    tables: tuple[Table, ...] = ()
    snippets: tuple[Snippet, ...] = ()

    @property
    def groups(self) -> dict[str, list[Picture]]:
        """Pictures by group, those without one alone."""
        grouped: dict[str, list[Picture]] = {}
        for picture in self.pictures:
            grouped.setdefault(picture.group or picture.name, []).append(picture)
        return grouped


@dataclass(frozen=True, slots=True)
class Points:
    """Architectures that can be pinned: a name and the values [rows, columns] of each under ``heads``."""

    heads: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    rows: tuple[tuple[float | str | None, ...], ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Plain values for the page's script."""
        return {"heads": self.heads, "names": self.names, "rows": self.rows}


@dataclass(frozen=True, slots=True)
class Page:
    """A report: its title, what it says in a few sentences, facts by name, and its sections.

    ``kind`` is what it is of (study, space, model, pipeline, fleet, accuracy); ``command`` is what made it.
    """

    kind: str
    title: str
    headline: tuple[str, ...]
    sections: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...] = ()
    points: Points = field(default_factory=Points)
    command: str = ""

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        return [picture for section in self.sections for picture in section.pictures]


def render(page: Page) -> str:
    """The page as one HTML document. Texts are escaped; scripts run only if they are the page's own (by their hash)."""
    from plotly.offline import get_plotlyjs

    style, script, plotly = _part("report.css"), _part("report.js"), get_plotlyjs()
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            version=version(),
            style=style,
            script=script,
            plotly=plotly,
            data=safe_json(_data(page)),
            policy=_policy(script, plotly),
        )
    )


def _data(page: Page) -> dict[str, object]:
    """What the page's script needs: points to pin, figures, and how figures look in light and dark."""
    looks = {name: template(name).to_plotly_json() for name in THEMES}
    figures = {picture.name: _drawn(picture) for picture in page.pictures}
    return {"points": page.points.to_dict(), "figures": figures, "looks": looks, "pinned": BASELINE}


def _drawn(picture: Picture) -> dict[str, object]:
    """A figure for the page's script: the template goes, since the page has its own in light and dark, and so do title
    and size, which are the page's."""
    document: dict[str, Any] = json.loads(str(picture.figure.to_json()))
    layout = document.get("layout", {})
    for name in ("template", "title", "width", "height"):
        layout.pop(name, None)
    for axis in (layout[name] for name in layout if name.startswith(("xaxis", "yaxis"))):
        if isinstance(title := axis.get("title"), dict) and "text" in title:
            title["text"] = "<br>".join(textwrap.wrap(title["text"], LONGEST_TITLE, break_long_words=False))
    return {"data": _tame(document["data"]), "layout": _tame(layout), "pins": picture.pins}


def _tame(value: object) -> object:
    """A figure's texts with only the tags that our own drawing uses; any other ``<`` (a hostile name's) is shown."""
    if isinstance(value, dict):
        return {name: _tame(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_tame(item) for item in value]
    return _STRANGE.sub("&lt;", value) if isinstance(value, str) else value


def safe_json(value: object) -> str:
    """JSON that stands inside a ``<script>`` element, whatever its texts are; NaN and infinity become null."""
    text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    for sign in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value


def _policy(*scripts: str) -> str:
    """The content security policy: nothing is fetched, no script runs but these. Plotly's WebGL traces compile their
    shaders' bindings from text, which is ``unsafe-eval``; no text of a report gets there."""
    digests = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    rules = ("default-src 'none'", f"script-src {allowed} 'unsafe-eval'", "style-src 'unsafe-inline'")
    return "; ".join((*rules, "img-src data: blob:", "worker-src blob:", "base-uri 'none'", "form-action 'none'"))


@cache
def _part(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
