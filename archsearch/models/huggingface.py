"""Hugging Face configs: ``config.json`` of transformers and diffusers in and out, without importing either.

Every key of a file is read, known to change no dimension, off, or refused by name: nothing that could change the
computation is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.models.base import ModelConfig
from archsearch.models.dit import DiTConfig
from archsearch.models.huggingface_formats import ACTIVATION_OF, FORMATS, IMMATERIAL, NAME_OF_ACTIVATION, Format


def from_hf(path: Path) -> ModelConfig:
    """Read a ``config.json``, or a directory that holds one (a diffusers pipeline: its transformer's).

    Raises:
        InvalidInputError: no such file, not JSON, or sizes missing or impossible; the text names file and field.
        UnsupportedError: a field that the family cannot express.
        UnknownNameError: a model type that no family reads.
    """
    if path.is_dir():
        found = [p for p in (path / "config.json", path / "transformer" / "config.json") if p.is_file()]
        if not found:
            raise InvalidInputError(f"{path}: the directory has no config.json")
        path = found[0]
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path}: not a config: a JSON object is needed")
    return from_hf_dict(values, where=str(path))


def from_hf_dict(values: Mapping[str, Any], where: str = "config") -> ModelConfig:
    """A model config from the values of a ``config.json``; ``where`` names them in errors (see ``from_hf``)."""
    kind = values.get("_class_name") or values.get("model_type")
    if kind == "Transformer2DModel" and values.get("norm_type") == "ada_norm_zero":  # DiT before diffusers 0.28
        kind = "DiTTransformer2DModel"
    if kind is None:
        raise InvalidInputError(f"{where}: names neither model_type nor _class_name, so it is no Hugging Face config")
    if kind not in FORMATS:
        raise UnknownNameError("model_type", str(kind), FORMATS, hint=f"(in {where})")
    layout = FORMATS[kind]
    _refuse_unknown(values, layout, where)
    result: dict[str, Any] = {**layout.constants, **_head_fields(values, layout, where)}
    for ours, key in layout.sizes.items():
        if key != "n_inner" and values.get(key) is None:
            raise InvalidInputError(f"{where}: lacks {key}")
        result[ours] = values.get(key)
    for ours, (key, default) in layout.options.items():
        value = values.get(key)
        result[ours] = default if value is None else value
    _complete(str(kind), result, values, where)
    try:
        config: ModelConfig = layout.family.from_dict(result)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from None
    return config


def to_hf(config: ModelConfig) -> dict[str, Any]:
    """The ``config.json`` of the transformers or diffusers class that builds this architecture.

    diffusers' DiT keeps the timestep's and the label's embedders in every layer, so an ``original`` DiT comes out with
    the same function and more parameters (see ``DiTConfig.layout``).

    Raises:
        UnsupportedError: no class has this combination; the text names the fields in the way.
        InvalidInputError: a grid of architectures instead of one.
    """
    if any(np.ndim(getattr(config, f.name)) for f in fields(config)):  # type: ignore[arg-type]
        raise InvalidInputError("one architecture at a time: the config's fields are arrays")
    chosen = [(name, f) for name, f in FORMATS.items() if isinstance(config, f.family)]
    if not chosen:
        raise UnsupportedError(f"family {config.family!r} has no Hugging Face class")
    obstacles = {name: _obstacles(config, name, layout) for name, layout in chosen}
    best = min(obstacles, key=lambda name: len(obstacles[name]))
    if obstacles[best]:
        raise UnsupportedError(f"no Hugging Face class has this shape; {best} would need {', '.join(obstacles[best])}")
    return _written(config, best, FORMATS[best])


def _refuse_unknown(values: Mapping[str, Any], layout: Format, where: str) -> None:
    read = {*layout.sizes.values(), *(key for key, _ in layout.options.values()), *layout.examined}
    for key, value in values.items():
        if key in layout.legal:
            if value not in layout.legal[key]:
                legal = " or ".join(json.dumps(v) for v in layout.legal[key])
                raise UnsupportedError(f"{where}: {key}={json.dumps(value)} is not supported, only {legal}")
        elif value and key not in read | IMMATERIAL:
            raise UnsupportedError(
                f"{where}: {key}={json.dumps(value)[:60]} is not supported; remove it if it changes no dimension"
            )


def _head_fields(values: Mapping[str, Any], layout: Format, where: str) -> Mapping[str, Any]:
    names = values.get("architectures") or [None]
    name = names[0] if isinstance(names, list) else names
    if name not in layout.heads:
        known = ", ".join(str(k) for k in layout.heads if k)
        raise UnsupportedError(f"{where}: architectures={json.dumps(names)} is not supported, only {known}")
    return layout.heads[name]


def _complete(kind: str, result: dict[str, Any], values: Mapping[str, Any], where: str) -> None:
    """What one key alone does not say."""
    if "activation" in result:
        if result["activation"] not in ACTIVATION_OF:
            known = ", ".join(ACTIVATION_OF)
            raise UnsupportedError(f"{where}: activation {result['activation']!r} is not supported, only {known}")
        result["activation"] = ACTIVATION_OF[result["activation"]]
    if result.get("num_key_value_heads", 1) is None:
        result["num_key_value_heads"] = result["num_attention_heads"]
    if kind == "gpt2" and result["intermediate_size"] is None:
        result["intermediate_size"] = 4 * result["hidden_size"]
    elif kind == "opt" and values.get("word_embed_proj_dim") not in (None, result["hidden_size"]):
        raise UnsupportedError(f"{where}: word_embed_proj_dim other than hidden_size is not supported")
    elif kind == "qwen3" and any(t != "full_attention" for t in values.get("layer_types") or ()):
        raise UnsupportedError(f"{where}: layer_types other than full_attention are not supported")
    elif kind == "modernbert":
        _complete_modernbert(result, values, where)
    elif kind == "DiTTransformer2DModel":
        result["hidden_size"] = result["num_attention_heads"] * result["head_dim"]
        result["intermediate_size"] = 4 * result["hidden_size"]
        result["out_channels"] = result["out_channels"] or result["in_channels"]


def _complete_modernbert(result: dict[str, Any], values: Mapping[str, Any], where: str) -> None:
    for key in ("attention_bias", "norm_bias", "classifier_bias"):
        if bool(values.get(key, False)) != result["bias"]:
            raise UnsupportedError(f"{where}: {key} that differs from mlp_bias is not supported")
    head_activation = NAME_OF_ACTIVATION[result["activation"]]
    if result.get("mlm_head") and values.get("classifier_activation", "gelu") != head_activation:
        raise UnsupportedError(f"{where}: classifier_activation that differs from hidden_activation is not supported")
    types = values.get("layer_types")
    if not types:
        return
    period = next((i for i, kind in enumerate(types) if i and kind == "full_attention"), len(types))
    if all(kind == "full_attention" for kind in types):
        result["local_attention"] = 0
        period = 1
    expected = ["sliding_attention" if i % period else "full_attention" for i in range(result["num_layers"])]
    if types != expected:
        raise UnsupportedError(
            f"{where}: layer_types must be global in the first of every n layers and local in others"
        )
    result["global_attn_every_n_layers"] = period


def _obstacles(config: Any, name: str, layout: Format) -> list[str]:
    """Why a format cannot express a config, as ``field=value`` that it would need."""
    skipped = ("layout", "vae_scale_factor")
    needs = {k: v for k, v in layout.constants.items() if k not in skipped}
    wrong = [f"{k}={v}" for k, v in needs.items() if getattr(config, k) != v]
    heads = [fields for head, fields in layout.heads.items() if head or len(layout.heads) == 1]
    if not any(all(getattr(config, k) == v for k, v in fields.items()) for fields in heads):
        wrong += [f"{k}={v}" for k, v in heads[0].items() if getattr(config, k) != v]
    square = int(config.head_width) * int(config.num_attention_heads) == int(config.hidden_size)
    if name in ("gpt2", "opt"):
        if config.num_key_value_heads != config.num_attention_heads:
            wrong.append("num_key_value_heads=num_attention_heads")
        if not square:
            wrong.append("num_attention_heads times head_dim = hidden_size")
    if name == "opt" and config.attention_bias != config.mlp_bias:
        wrong.append("attention_bias=mlp_bias")
    if name == "bert" and not config.type_vocab_size:
        wrong.append("type_vocab_size of 1 or more")
    if name == "DiTTransformer2DModel" and config.intermediate_size != 4 * config.hidden_size:
        wrong.append("intermediate_size=4 * hidden_size")
    return wrong


def _written(config: Any, name: str, layout: Format) -> dict[str, Any]:
    values = config.to_dict()
    values["head_dim"] = int(config.head_width)
    if "activation" in values:
        values["activation"] = NAME_OF_ACTIVATION[values["activation"]]
    document: dict[str, Any] = {"_class_name" if layout.family is DiTConfig else "model_type": name}
    classes = [head for head, own in layout.heads.items() if head and all(values[k] == v for k, v in own.items())]
    if classes:
        document["architectures"] = classes[:1]
    document |= {key: values[ours] for ours, key in layout.sizes.items()}
    document |= {key: values[ours] for ours, (key, _) in layout.options.items()}
    if name == "opt":
        document["word_embed_proj_dim"] = values["hidden_size"]
    if name == "modernbert":
        document["classifier_activation"] = values["activation"]
        document |= dict.fromkeys(("attention_bias", "norm_bias", "classifier_bias"), values["bias"])
        period = 1 if values["local_attention"] == 0 else values["global_attn_every_n_layers"]
        document["layer_types"] = [
            "sliding_attention" if i % period else "full_attention" for i in range(values["num_layers"])
        ]
        document["local_attention"] = values["local_attention"] or 128
    return document
