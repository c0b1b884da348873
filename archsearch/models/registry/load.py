"""Models from a preset's name, a file, or the local Hugging Face cache."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.models.base import ModelConfig
from archsearch.models.huggingface import from_hf
from archsearch.models.registry.families import family_names, get_family, load_preset, preset_family
from archsearch.models.registry.hub import cached_config, is_hub_id
from archsearch.yaml_records import line_of, read_mapping


def load_model(text: str) -> ModelConfig:
    """A model from a preset's name, an archsearch YAML, a Hugging Face ``config.json`` (or its directory), or a hub id
    whose config lies in the local cache.

    An archsearch YAML holds ``family`` and the family's config fields. Nothing is ever downloaded.

    Args:
        text: the name, the path or the id.

    Returns:
        The model's dimensions.

    Raises:
        UnknownNameError: neither a preset nor a file.
        InvalidInputError: a file that describes no model; the text names file and field.

    >>> load_model("llama-3-8b").num_key_value_heads
    8
    """
    path = Path(text)
    if preset_family(text) is not None:
        return load_preset(text)
    if path.is_dir() or (path.suffix == ".json" and path.is_file()):
        return from_hf(path)
    if path.is_file():
        return _from_yaml(path)
    if path.suffix not in (".json", ".yaml", ".yml") and is_hub_id(text):
        return from_hf(cached_config(text))
    if path.suffix in (".json", ".yaml", ".yml") or "/" in text:
        raise InvalidInputError(f"{text}: no such file; name a preset, or a path (nothing is downloaded)")
    return load_preset(text)


def _from_yaml(path: Path) -> ModelConfig:
    values = read_mapping(path)
    if "family" not in values:
        raise InvalidInputError(f"{path}: needs 'family: ...' ({', '.join(family_names())}) and its config fields")
    name = str(values.pop("family"))
    if name not in family_names():
        raise UnknownNameError("model family", name, family_names()).about(f"{path}:{line_of(path, 'family')}")
    family = get_family(name)
    try:
        config: ModelConfig = family.from_dict(values)
    except InvalidInputError as error:
        lines = zip_longest(str(error).splitlines(), error.fields)
        told = [f"{path}:{line_of(path, *([] if field is None else [field]))}: {line}" for line, field in lines]
        raise InvalidInputError("\n".join(told), field=error.fields) from None
    return config
