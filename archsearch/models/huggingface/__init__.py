"""Hugging Face configs: ``config.json`` of transformers and diffusers in and out, without importing either.

Every key of a file is read, known to change no dimension, off, or refused by name: nothing that could change the
computation is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np

from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.files import read_json
from archsearch.models.base import ModelConfig
from archsearch.models.huggingface import classes
from archsearch.models.huggingface.classes.format import (
    ACTIVATION_OF,
    IMMATERIAL,
    NAME_OF_ACTIVATION,
    Document,
    Fields,
    Format,
    Values,
)
from archsearch.models.huggingface.json_kinds import MOST_SHOWN, check_kinds, shown

OURS = "_archsearch"
"""Key of a written ``config.json`` with what the class's own keys do not tell; libraries pass over private keys."""
_FOLDERS = (".", "transformer", "vae", "text_encoder")
"""Where ``from_hf`` looks in a directory: the model's own, or the parts of a diffusers pipeline, the main one first."""


@lru_cache(maxsize=1)
def formats() -> Mapping[str, Format[Any]]:
    """Readable formats by ``model_type`` (transformers) or ``_class_name`` (diffusers): those of the modules that lie
    in ``classes/``."""
    modules = [import_module(f"{__name__}.classes.{module.name}") for module in iter_modules(classes.__path__)]
    return {name: layout for module in modules for name, layout in getattr(module, "FORMATS", {}).items()}


def from_hf(path: Path) -> ModelConfig:
    """Read a ``config.json``, or a directory that holds one (a diffusers pipeline: its transformer's).

    Args:
        path: the file or the directory.

    Returns:
        The model's dimensions.

    Raises:
        InvalidInputError: no such file, not JSON, or sizes missing or impossible; the text names file and field.
        UnsupportedError: fields that the family cannot express, by name.
        UnknownNameError: a model type that no family reads.
    """
    if path.is_dir():
        files = [p for folder in _FOLDERS if (p := path / folder / "config.json").is_file()]
        if not files:
            raise InvalidInputError(f"{path}: the directory has no config.json")
        path = files[0]
    values = read_json(path)
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path}: not a config: a JSON object is needed")
    return from_hf_dict(values, where=str(path))


def from_hf_dict(values: Values, where: str = "config") -> ModelConfig:
    """A model config from the values of a ``config.json``; ``where`` names them in errors (see ``from_hf``)."""
    kind = _kind(values)
    if kind is None:
        raise InvalidInputError(f"{where}: names neither model_type nor _class_name, so it is no Hugging Face config")
    if not isinstance(kind, str):
        raise InvalidInputError(f"{where}: model_type must be a text, not {shown(kind)}")
    if kind not in formats():
        raise UnknownNameError("model_type", str(kind), formats(), hint=f"(in {where})")
    layout = formats()[kind]
    _refuse_unknown(values, layout, where)
    result: Fields = {**layout.constants, **_head_fields(values, layout, where)}
    for ours, key in layout.sizes.items():
        if key != "n_inner" and values.get(key) is None:
            raise InvalidInputError(f"{where}: lacks {key}")
        result[ours] = values.get(key)
    for ours, (key, default) in layout.options.items():
        value = values.get(key)
        result[ours] = default if value is None else value
    _complete(result, where)
    check_kinds(values, result, layout, where)
    layout.complete(result, values, where)
    result |= _untold(values, layout, where)
    try:
        config: ModelConfig = layout.family.from_dict(result)
    except InvalidInputError as error:
        raise error.about(where) from None
    return config


@dataclass(frozen=True, slots=True)
class PublishedClass:
    """The class of transformers or diffusers that an architecture is nearest to. ``difference`` is "" where it is that
    architecture, else what the class would need, as text."""

    name: str
    difference: str


def published_class(config: ModelConfig) -> PublishedClass:
    """The class that builds an architecture, or the nearest one and what keeps it from that.

    Raises:
        InvalidInputError: a grid of architectures instead of one.
    """
    best, obstacles = _nearest(config)
    if best is None:
        return PublishedClass("", f"transformers and diffusers have no class of family {config.family}")
    if obstacles:
        return PublishedClass(best, f"{best} would need {', '.join(obstacles)}")
    document = to_hf(config)
    return PublishedClass(document["architectures"][0] if "architectures" in document else best, "")


def to_hf(config: ModelConfig) -> Document:
    """The ``config.json`` of the transformers or diffusers class that builds this architecture.

    What the class's file does not tell (pixels per latent, text tokens) stands under ``_archsearch`` where it is not
    the class's usual: both libraries pass over it, and ``from_hf`` reads it.

    Args:
        config: one architecture.

    Returns:
        The file's keys and values.

    Raises:
        UnsupportedError: no class is this architecture; the text names the fields in the way.
        InvalidInputError: a grid of architectures instead of one.
    """
    best, obstacles = _nearest(config)
    if best is None:
        raise UnsupportedError(f"family {config.family!r} has no Hugging Face class")
    if obstacles:
        raise UnsupportedError(f"no Hugging Face class has this shape; {best} would need {', '.join(obstacles)}")
    return _written(config, best, formats()[best])


def _nearest(config: ModelConfig) -> tuple[str | None, list[str]]:
    """The format with fewest obstacles, and those; None where the family has no format."""
    if any(_is_grid(getattr(config, f.name)) for f in fields(config)):
        raise InvalidInputError("one architecture at a time: the config's fields are arrays")
    obstacles = {n: _obstacles(config, layout) for n, layout in formats().items() if isinstance(config, layout.family)}
    best = min(obstacles, key=lambda name: len(obstacles[name]), default=None)
    return (best, obstacles[best]) if best is not None else (None, [])


def _is_grid(value: object) -> bool:
    """Whether a field (or an entry of one that lists several sizes) is an array."""
    sizes = value if isinstance(value, tuple) else (value,)
    return any(isinstance(size, np.ndarray) and size.ndim for size in sizes)


def _untold(values: Values, layout: Format[Any], where: str) -> Fields:
    """Fields that the class's own keys do not tell, from ``_archsearch``.

    Raises:
        InvalidInputError: it holds something else.
    """
    ours = values.get(OURS) or {}
    config = ours.get("config", {}) if isinstance(ours, dict) else None
    if not isinstance(config, dict) or not set(config) <= set(layout.unwritten):
        raise InvalidInputError(
            f"{where}: {OURS}.config may hold {', '.join(layout.unwritten) or 'nothing'}, not {shown(config)}"
        )
    return config


def _kind(values: Values) -> str | None:
    kind = values.get("_class_name") or values.get("model_type")
    if kind == "Transformer2DModel" and values.get("norm_type") == "ada_norm_zero":  # DiT before diffusers 0.28
        return "DiTTransformer2DModel"
    return kind


def _refuse_unknown(values: Values, layout: Format[Any], where: str) -> None:
    """Refuse what the family cannot express, all of it at once."""
    read = {*layout.sizes.values(), *(key for key, _ in layout.options.values()), *layout.examined}
    expected = read | IMMATERIAL | {*layout.immaterial, *layout.written, OURS}
    wrong = []
    for key, value in values.items():
        if key in layout.legal:
            if value not in layout.legal[key]:
                legal = " or ".join(json.dumps(v) for v in layout.legal[key])
                wrong.append(f"{key}={shown(value)} is not supported, only {legal}")
        elif value and key not in expected:
            wrong.append(f"{key}={shown(value)} is not supported; remove it if it changes no dimension")
    if wrong:
        raise UnsupportedError(f"{where}: {'; '.join(wrong)}")


def _head_fields(values: Values, layout: Format[Any], where: str) -> Mapping[str, object]:
    names = values.get("architectures") or [None]
    name = names[0] if isinstance(names, list) else names
    if not isinstance(name, str | None) or name not in layout.heads:
        heads = ", ".join(str(k) for k in layout.heads if k)
        raise UnsupportedError(f"{where}: architectures={shown(names)} is not supported, only {heads}")
    return layout.heads[name]


def _complete(result: Fields, where: str) -> None:
    """What one key alone does not say, in all transformers configs alike."""
    if "activation" in result:
        activation = result["activation"]
        if not isinstance(activation, str) or activation not in ACTIVATION_OF:
            names = ", ".join(ACTIVATION_OF)
            raise UnsupportedError(
                f"{where}: activation {repr(activation)[:MOST_SHOWN]} is not supported, only {names}"
            )
        result["activation"] = ACTIVATION_OF[result["activation"]]
    if result.get("num_key_value_heads", 1) is None:
        result["num_key_value_heads"] = result["num_attention_heads"]


def _obstacles(config: ModelConfig, layout: Format[Any]) -> list[str]:
    """Why a format cannot express a config, as ``field=value`` that it would need."""
    needs = {k: v for k, v in layout.constants.items() if k not in layout.unwritten}
    wrong = [f"{k}={v}" for k, v in needs.items() if getattr(config, k) != v]
    heads = [implied for head, implied in layout.heads.items() if head or len(layout.heads) == 1]
    if not any(_has(config, implied) for implied in heads):
        wrong += [f"{k}={v}" for k, v in heads[0].items() if getattr(config, k) != v]
    return wrong + layout.obstacles(config)


def _has(config: ModelConfig, fields: Mapping[str, object]) -> bool:
    """Whether a config's fields are these."""
    return all(getattr(config, name) == value for name, value in fields.items())


def _written(config: ModelConfig, name: str, layout: Format[Any]) -> Document:
    values = config.to_dict()
    if hasattr(config, "head_width"):
        values["head_dim"] = int(config.head_width)
    if values.get("activation") in NAME_OF_ACTIVATION:
        values["activation"] = NAME_OF_ACTIVATION[values["activation"]]
    document: Document = {"_class_name" if layout.library == "diffusers" else "model_type": name}
    classes = [head for head, implied in layout.heads.items() if head and _has(config, implied)]
    if classes:
        document["architectures"] = classes[:1]
    document |= {key: values[ours] for ours, key in layout.sizes.items()}
    document |= {key: values[ours] for ours, (key, _) in layout.options.items()}
    document |= layout.written
    layout.finish(config, document)
    untold = {name: values[name] for name in layout.unwritten if values[name] != layout.constants[name]}
    return document | ({OURS: {"config": untold}} if untold else {})
