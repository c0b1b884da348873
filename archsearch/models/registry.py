"""Families and presets by name, and models from files."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.models.base import ModelConfig
from archsearch.models.hub import cached_config, is_hub_id

FAMILIES = {
    "decoder": ("archsearch.models.decoder", "DecoderConfig"),
    "encoder": ("archsearch.models.encoder", "EncoderConfig"),
    "t5": ("archsearch.models.t5", "T5Config"),
    "clip-text": ("archsearch.models.clip", "CLIPTextConfig"),
    "dit": ("archsearch.models.dit", "DiTConfig"),
    "pixart": ("archsearch.models.pixart", "PixArtConfig"),
    "sana": ("archsearch.models.sana", "SanaConfig"),
    "sd3": ("archsearch.models.sd3", "SD3Config"),
    "flux": ("archsearch.models.flux", "FluxConfig"),
    "cogvideox": ("archsearch.models.cogvideox", "CogVideoXConfig"),
    "wan": ("archsearch.models.wan", "WanConfig"),
    "ltx": ("archsearch.models.ltx", "LTXConfig"),
    "hunyuan-video": ("archsearch.models.hunyuan_video", "HunyuanVideoConfig"),
    "autoencoder-kl": ("archsearch.models.autoencoder_kl", "AutoencoderKLConfig"),
    "autoencoder-dc": ("archsearch.models.autoencoder_dc", "AutoencoderDCConfig"),
    "wan-vae": ("archsearch.models.wan_vae", "WanVAEConfig"),
    "ltx-video-vae": ("archsearch.models.ltx_vae", "LTXVAEConfig"),
}
"""Family name → module and config class; the module also holds ``PRESETS``."""


def get_family(name: str) -> type[Any]:
    """The config class of a family.

    Raises:
        UnknownNameError: no such family.
    """
    if name not in FAMILIES:
        raise UnknownNameError("model family", name, FAMILIES)
    module, attribute = FAMILIES[name]
    found: type[Any] = getattr(import_module(module), attribute)
    return found


@lru_cache(maxsize=1)
def _presets() -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        name: (family, values)
        for family, (module, _) in FAMILIES.items()
        for name, values in import_module(module).PRESETS.items()
    }


def preset_names() -> list[str]:
    """Names of all presets, family by family."""
    return list(_presets())


def load_preset(name: str) -> ModelConfig:
    """A preset by name.

    Raises:
        UnknownNameError: no such preset; the text lists near names.
    """
    presets = _presets()
    if name not in presets:
        raise UnknownNameError("model", name, presets, hint="(`archsearch models list` shows all)")
    family, values = presets[name]
    config: ModelConfig = get_family(family).from_dict(values)
    return config


def load_model(text: str) -> ModelConfig:
    """A model from a preset's name, an archsearch YAML, a Hugging Face ``config.json`` (or its directory), or a hub id
    whose config lies in the local cache.

    An archsearch YAML holds ``family`` and the family's config fields. Nothing is ever downloaded.

    Raises:
        UnknownNameError: neither a preset nor a file.
        InvalidInputError: a file that describes no model; the text names file and field.
    """
    path = Path(text)
    if text in _presets():
        return load_preset(text)
    if path.is_dir() or (path.suffix == ".json" and path.is_file()):
        from archsearch.models.huggingface import from_hf

        return from_hf(path)
    if path.is_file():
        return _from_yaml(path)
    if path.suffix not in (".json", ".yaml", ".yml") and is_hub_id(text):
        from archsearch.models.huggingface import from_hf

        return from_hf(cached_config(text))
    if path.suffix in (".json", ".yaml", ".yml") or "/" in text:
        raise InvalidInputError(f"{text}: no such file; name a preset, or a path (nothing is downloaded)")
    return load_preset(text)


def _from_yaml(path: Path) -> ModelConfig:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        told = " ".join(str(error).split())
        raise InvalidInputError(f"{path}: not valid YAML: {told}") from None
    if not isinstance(values, dict) or "family" not in values:
        raise InvalidInputError(f"{path}: needs 'family: ...' ({', '.join(FAMILIES)}) and its config fields")
    name = str(values.pop("family"))
    if name not in FAMILIES:
        raise UnknownNameError("model family", name, FAMILIES, hint=f"(in {path})")
    try:
        config: ModelConfig = get_family(name).from_dict(values)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    return config
