"""Where a fact comes from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from archsearch.yaml_records import Record

Vendor = Literal["nvidia", "amd", "intel", "cpu"]


class Source(Record):
    """Where facts come from: a document, its address and the dotted paths of the fields that it tells."""

    title: str = Field(min_length=6)
    url: str = Field(pattern=r"^https://\S+$")
    fields: tuple[str, ...] = Field(min_length=1)
