"""A report read back: its figures, its tables' cells, its data, as a browser would find them in the document."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any


@dataclass
class Read(HTMLParser):
    """``tags`` are all start tags with their attributes, ``tables`` each table's rows of cells, ``data`` the JSON."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._cell = self._script = False
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell, self._text = True, []
        self._script = tag == "script" and dict(attrs).get("id") == "data"

    def handle_data(self, data: str) -> None:
        if self._cell:
            self._text.append(data)
        if self._script:
            self.data = json.loads(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell:
            self.tables[-1][-1].append("".join(self._text).strip())
            self._cell = False
        self._script = False


def read(text: str) -> Read:
    """A document parsed."""
    page = Read()
    page.feed(text)
    page.close()
    return page
