"""What the records of files say of their keys: each has a meaning, types and defaults are the record's."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, PositiveInt

from archsearch.hardware.spec import GpuSpec
from archsearch.pipeline.pipeline_record import PipelineRecord
from archsearch.search.space.schema import SpaceRecord
from archsearch.yaml_keys import keys_of, sections_of

FILES = {"space": SpaceRecord, "pipeline": PipelineRecord, "GPU profile": GpuSpec}


@pytest.mark.parametrize("record", FILES.values(), ids=FILES)
def test_every_key_of_every_section_has_a_meaning(record: type[BaseModel]) -> None:
    sections = {"": record, **sections_of(record)}
    without = [
        f"{lead}.{key.name}" for lead, section in sections.items() for key in keys_of(section) if not key.meaning
    ]
    assert without == []
    assert len(sections) >= 4


class Inner(BaseModel):
    size: PositiveInt = Field(description="how large")


class Toy(BaseModel):
    count: PositiveInt = Field(default=3, description="how many")
    share: Annotated[float, Field(ge=0, le=1)] = Field(description="how much")
    kind: Literal["a", "b", "c"] | None = Field(default=None, description="which")
    pair: tuple[int, float] = Field(default=(1, 2.5), description="two")
    names: tuple[str, ...] = Field(default=(), description="who")
    inner: Inner = Field(default=Inner(size=2), description="inside")
    many: dict[str, Inner] = Field(default={}, description="several")
    items: tuple[Inner, ...] = Field(default=(Inner(size=1),), description="a list")


def test_types_and_defaults_are_in_words() -> None:
    told = {key.name: (key.kind, key.required, key.default) for key in keys_of(Toy)}
    assert told == {
        "count": ("whole number above 0", False, "3"),
        "share": ("number from 0 up to 1", True, None),
        "kind": ("a, b or c", False, "none"),
        "pair": ("[whole number, number]", False, "[1, 2.5]"),
        "names": ("list of text", False, "[]"),
        "inner": ("section", False, None),
        "many": ("mapping of names to section", False, "none"),
        "items": ("list of section", False, "[{size: 1}]"),
    }
    assert sections_of(Toy) == {"inner": Inner, "many.NAME": Inner, "items[]": Inner}
    assert keys_of(Toy)[1].told == "how much (number from 0 up to 1; required)"
