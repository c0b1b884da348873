"""Families and presets by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.models.assembly import Assembled
from archsearch.models.base import ModelConfig
from archsearch.models.registry.presets import PRESETS_DIR, Preset, check_fields, read_presets
from archsearch.yaml_records import line_of

FAMILIES = {
    "decoder": "archsearch.models.language.decoder.config:DecoderConfig",
    "encoder": "archsearch.models.language.encoder:EncoderConfig",
    "t5": "archsearch.models.language.t5:T5Config",
    "clip-text": "archsearch.models.language.clip:CLIPTextConfig",
    "dit": "archsearch.models.diffusion.dit:DiTConfig",
    "pixart": "archsearch.models.diffusion.pixart:PixArtConfig",
    "sana": "archsearch.models.diffusion.sana:SanaConfig",
    "sd3": "archsearch.models.diffusion.sd3:SD3Config",
    "flux": "archsearch.models.diffusion.flux:FluxConfig",
    "cogvideox": "archsearch.models.diffusion.cogvideox:CogVideoXConfig",
    "wan": "archsearch.models.diffusion.wan:WanConfig",
    "ltx": "archsearch.models.diffusion.ltx:LTXConfig",
    "hunyuan-video": "archsearch.models.diffusion.hunyuan_video:HunyuanVideoConfig",
    "autoencoder-kl": "archsearch.models.autoencoders.kl:AutoencoderKLConfig",
    "autoencoder-dc": "archsearch.models.autoencoders.dc:AutoencoderDCConfig",
    "wan-vae": "archsearch.models.autoencoders.wan_vae:WanVAEConfig",
    "cogvideox-vae": "archsearch.models.autoencoders.cogvideox_vae:CogVideoXVAEConfig",
    "hunyuan-video-vae": "archsearch.models.autoencoders.hunyuan_video_vae:HunyuanVideoVAEConfig",
    "ltx-video-vae": "archsearch.models.autoencoders.ltx_vae:LTXVAEConfig",
}
"""Family → module and class of its config. Its presets are ``archsearch/models/presets/FAMILY.yaml``."""
_REGISTERED: dict[str, tuple[type[Assembled], Path | None]] = {}
"""Families of others: the config's class, and the file of their presets."""


def family_names() -> list[str]:
    """Names of all families: archsearch's own, then those registered."""
    return [*FAMILIES, *_REGISTERED]


def register_family(config_class: type[Assembled], presets: Path | None = None) -> None:
    """Make a family known by its ``family`` for models, spaces and the command line of this process.

    Args:
        config_class: a frozen dataclass on one of the classes of ``archsearch/models/modality.py``. What a field means
            stands in its metadata, ``field(metadata={"meaning": "..."})``, where no family of archsearch has it.
        presets: a YAML file of its published models, as in ``archsearch/models/presets``.

    Raises:
        InvalidInputError: the name is taken by another class.
    """
    name = config_class.family
    if name in FAMILIES or _REGISTERED.get(name, (config_class,))[0] is not config_class:
        raise InvalidInputError(f"model family {name!r} exists already; choose another name", field="config_class")
    _REGISTERED[name] = (config_class, presets)


def unregister_family(name: str) -> None:
    """Forget a registered family."""
    _REGISTERED.pop(name, None)


@lru_cache(maxsize=len(FAMILIES))
def _own_family(name: str) -> type[Assembled]:
    module, _, attribute = FAMILIES[name].partition(":")
    config_class: type[Assembled] = getattr(import_module(module), attribute)
    return config_class


def get_family(name: str) -> type[Assembled]:
    """The config class of a family: its fields are the dimensions, and ``from_dict`` reads them by name.

    Args:
        name: the family (``archsearch models list`` shows it beside each preset).

    Returns:
        A frozen dataclass; dimensions may be NumPy integer arrays.

    Raises:
        UnknownNameError: no such family.
    """
    if name in FAMILIES:
        return _own_family(name)
    if name in _REGISTERED:
        return _REGISTERED[name][0]
    raise UnknownNameError("model family", name, family_names())


def _presets_file(family: str) -> Path | None:
    return _REGISTERED[family][1] if family in _REGISTERED else PRESETS_DIR / f"{family}.yaml"


def presets_of(family: str) -> Mapping[str, Preset]:
    """The presets of a family by name."""
    path = _presets_file(family)
    return {} if path is None else read_presets(path)


def preset_names() -> list[str]:
    """The presets.

    Returns:
        Their names, family by family.
    """
    return [name for family in family_names() for name in presets_of(family)]


def preset_family(name: str) -> str | None:
    """The family of a preset; None where there is no such preset. Reads no more files than it takes to find it."""
    return next((family for family in family_names() if name in presets_of(family)), None)


def load_preset(name: str) -> ModelConfig:
    """A preset by name.

    Raises:
        UnknownNameError: no such preset; the text lists near names.
        InvalidInputError: its file is not in order; the text names file, line and field.
    """
    family = preset_family(name)
    path = None if family is None else _presets_file(family)
    if family is None or path is None:
        raise UnknownNameError("model", name, preset_names(), hint="(`archsearch models list` shows all)")
    config_class = get_family(family)
    check_fields(path, name, {f.name for f in fields(config_class)})
    try:
        config: ModelConfig = config_class.from_dict(presets_of(family)[name].values)
    except InvalidInputError as error:
        line = line_of(path, name, *error.fields[:1])
        raise error.about(f"{path}:{line}: {name}") from None
    return config
