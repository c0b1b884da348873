"""Where a fact comes from."""

from __future__ import annotations

from typing import Literal

from archsearch.yaml_records import Record

Vendor = Literal["nvidia", "amd", "intel", "cpu"]


class Source(Record):
    """Where facts come from. ``fields`` are dotted field paths of the profile; ``*`` matches any part."""

    title: str
    url: str
    fields: tuple[str, ...]
