"""The fields of a family's config as a user reads them: type, default, meaning (``fields.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

from archsearch.models.field_types import HasFields, default_words, field_types
from archsearch.yaml_records import Record, parse_record

MEANINGS = Path(__file__).with_name("fields.yaml")


class FieldMeanings(Record):
    """A file of meanings by field: of all families that have the field, and of one family, which stand before them."""

    common: dict[str, str]
    families: dict[str, dict[str, str]]

    def of(self, family: str, name: str) -> str | None:
        """The meaning of a family's field."""
        return self.families.get(family, {}).get(name, self.common.get(name))


@dataclass(frozen=True, slots=True)
class FamilyField:
    """A field of a family's config. ``type`` and ``default`` are words (`whole number`, `4 * hidden_size`); a required
    field has no default."""

    name: str
    type: str
    required: bool
    default: str | None
    meaning: str

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


@lru_cache(maxsize=1)
def shipped_meanings() -> FieldMeanings:
    """What archsearch says of its own families' fields."""
    return parse_record(FieldMeanings, MEANINGS)


def family_fields(family: str, config_class: type[HasFields]) -> tuple[FamilyField, ...]:
    """The fields of a family's config in their order.

    A family outside of archsearch says what its own fields mean in their metadata,
    ``field(metadata={"meaning": ...})``; names that archsearch's families share it need not explain.
    """
    kinds: Mapping[str, object] = {name: kind.words for name, kind in field_types(config_class).items()}
    shipped = shipped_meanings()
    found = []
    for declared in fields(config_class):
        words = str(kinds.get(declared.name, declared.type)).removeprefix("a ")
        meaning = declared.metadata.get("meaning") or shipped.of(family, declared.name) or ""
        default = default_words(declared)
        found.append(FamilyField(declared.name, words, default is None, default, str(meaning)))
    return tuple(found)
