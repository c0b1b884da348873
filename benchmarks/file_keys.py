"""The keys of archsearch's files as tables of a page: each with type, default and meaning, section by section.

python benchmarks/file_keys.py space|pipeline|gpu
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from archsearch.hardware.spec import GpuSpec
from archsearch.pipeline.pipeline_record import PipelineRecord
from archsearch.search.space.schema import SpaceRecord
from archsearch.yaml_keys import Key, keys_of, sections_of

FILES: dict[str, type[BaseModel]] = {"space": SpaceRecord, "pipeline": PipelineRecord, "gpu": GpuSpec}


def page_lines(record: type[BaseModel]) -> Iterator[str]:
    """The page's lines: the file's own keys, then each section's under a heading of its dotted key."""
    yield from table(record)
    for section, inner in sections_of(record).items():
        yield ""
        yield f"## `{section}`"
        yield ""
        yield from table(inner)


def table(record: type[BaseModel]) -> Iterator[str]:
    """A table of a record's keys."""
    yield "| key | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for key in keys_of(record):
        yield f"| `{key.name}` | {cell(key.kind)} | {default(key)} | {cell(key.meaning)} |"


def default(key: Key) -> str:
    """A key's default: in code where it is a value that a file may hold."""
    if key.required:
        return "**required**"
    if key.default is None or key.default == "none":
        return ""
    return f"`{cell(key.default)}`"


def cell(text: str) -> str:
    """A text that stands in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", choices=FILES)
    print("\n".join(page_lines(FILES[parser.parse_args(arguments).file])))


if __name__ == "__main__":
    main()
