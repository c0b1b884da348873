"""Where a fact comes from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from archsearch.yaml_records import Record

Vendor = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
"""Who makes a device, in lower case. The kernel models decide on ``nvidia``, ``amd`` and ``cpu`` (a host); any other
name is as good as the next."""


class Source(Record):
    """Where facts come from: a document, its address and the dotted paths of the fields that it tells."""

    title: str = Field(min_length=6, description="the document")
    url: str = Field(pattern=r"^https://\S+$", description="its address")
    fields: tuple[str, ...] = Field(min_length=1, description="dotted paths of the figures that it prints")
