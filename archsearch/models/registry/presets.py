"""Published models as data: ``archsearch/models/presets/FAMILY.yaml`` names each with its source and its dimensions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import ConfigDict, Field, RootModel

from archsearch.errors import InvalidInputError
from archsearch.hardware.parsed import keep_parsed, parsed_mapping
from archsearch.progress import detail
from archsearch.yaml_records import Record, line_of, near_names, record_of

PRESETS_DIR = Path(__file__).parents[1] / "presets"


class Preset(Record):
    """One published model: the address of the config, paper or script that its figures were read from, and beside it
    fields of the family's config by name. Fields that it leaves out have the family's defaults."""

    model_config = ConfigDict(extra="allow")

    source: str = Field(pattern=r"^https?://[^\s/]+/\S+$")

    @property
    def values(self) -> Mapping[str, object]:
        """Fields of the family's config."""
        return self.__pydantic_extra__ or {}


class _Presets(RootModel[dict[str, Preset]]):
    """A file: models by name."""


@lru_cache(maxsize=64)
def read_presets(path: Path) -> Mapping[str, Preset]:
    """The presets of a file by name, in its order.

    Raises:
        InvalidInputError: a preset without a source, or whose source is no address; with file, line and field.
    """
    detail(f"read {path}")
    presets = record_of(_Presets, parsed_mapping(path, "presets"), path).root
    keep_parsed("presets")
    return presets


def check_fields(path: Path, name: str, known: Collection[str]) -> None:
    """Refuse fields of a preset that its family does not have.

    Raises:
        InvalidInputError: every such field with its file and line.
    """
    unknown = [field for field in read_presets(path)[name].values if field not in known]
    if unknown:
        problems = [
            f"{path}:{line_of(path, name, field)}: {name}.{field}: unknown field{near_names(field, known)}"
            for field in unknown
        ]
        raise InvalidInputError("\n".join(problems), field=unknown)
