"""What a name is a name of: a stored study, a search space, a model, a pipeline, a fleet that was sized."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.files import read_json


class Kind(StrEnum):
    """What can be reported on by its name."""

    STUDY = "study"
    SPACE = "space"
    MODEL = "model"
    PIPELINE = "pipeline"
    FLEET = "fleet"


FLEET_KEYS = {"fleet", "response_s", "service_level"}
"""Keys of what ``serve --json`` prints, which no config has."""


def kinds_of(source: str, storage: str | None = None) -> tuple[Kind, ...]:
    """What a name or a file is, the first the one that is meant where nobody says: a study before a space, as
    ``recommend`` reads it, a model before the pipeline around it.

    Raises:
        InvalidInputError: a file that is not there or no mapping.
        UnknownNameError: a name of nothing.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        return (_kind_of_file(path),)
    search, _, rank = source.rpartition(":")
    if search and rank.isascii() and rank.isdigit():
        raise InvalidInputError(
            f"{source} is one architecture of a search: `archsearch report {search}` reports on the search, "
            f"`archsearch explain {source}` on this one"
        )
    if path.suffix == ".json" and path.is_file() and _is_fleet(read_json(path)):
        return (Kind.FLEET,)
    if path.suffix == ".json" or path.is_dir() or ":" in source:
        return (Kind.MODEL,)
    return _kinds_of_name(source, storage)


def _is_fleet(document: object) -> bool:
    return isinstance(document, dict) and set(document) >= FLEET_KEYS


def _kind_of_file(path: Path) -> Kind:
    """By the keys that only one kind of file has."""
    from archsearch.yaml_records import read_mapping

    if not path.is_file():
        raise InvalidInputError(f"{path}: no such file; name a space's, a model's or a pipeline's YAML")
    values = read_mapping(path)
    if "transformer" in values:
        return Kind.PIPELINE
    return Kind.SPACE if "dimensions" in values else Kind.MODEL


def _kinds_of_name(name: str, storage: str | None) -> tuple[Kind, ...]:
    from archsearch.models.registry.families import preset_family, preset_names
    from archsearch.models.registry.hub import is_hub_id
    from archsearch.pipeline.catalog import list_pipelines
    from archsearch.search.space.space import list_spaces
    from archsearch.search.studies.storage import study_names

    studies, spaces, pipelines = study_names(storage), list_spaces(), list_pipelines()
    named = {
        Kind.STUDY: name in studies,
        Kind.SPACE: name in spaces,
        Kind.MODEL: preset_family(name) is not None,
        Kind.PIPELINE: name in pipelines,
    }
    if storage is None and named[Kind.SPACE]:
        named = {Kind.SPACE: True, **named}
    kinds = tuple(kind for kind, known in named.items() if known)
    if kinds:
        return kinds
    if is_hub_id(name):
        return (Kind.MODEL,)
    known = [*studies, *spaces, *preset_names(), *pipelines]
    lists = "(`archsearch study list`, `spaces list`, `models list` and `pipeline list` show all)"
    raise UnknownNameError("study, space, model or pipeline", name, known, hint=lists)


def chosen_kind(source: str, kind: Kind | None, storage: str | None = None) -> tuple[Kind, tuple[Kind, ...]]:
    """The kind that is meant, and what else has that name.

    Raises:
        InvalidInputError, UnknownNameError: as ``kinds_of`` does, or a kind that the name is not of.
    """
    kinds = kinds_of(source, storage)
    if kind is None:
        return kinds[0], kinds[1:]
    if kind not in kinds:
        text = f"{{kind}} {kind.value}: {source!r} is a {' and a '.join(kinds)}; leave the option out"
        raise InvalidInputError(text, field="kind")
    return kind, ()
