"""Families and presets by name."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

from archsearch.errors import UnknownNameError
from archsearch.models.base import ModelConfig

FAMILIES = {
    "decoder": ("archsearch.models.language.decoder.config", "DecoderConfig"),
    "encoder": ("archsearch.models.language.encoder", "EncoderConfig"),
    "t5": ("archsearch.models.language.t5", "T5Config"),
    "clip-text": ("archsearch.models.language.clip", "CLIPTextConfig"),
    "dit": ("archsearch.models.diffusion.dit", "DiTConfig"),
    "pixart": ("archsearch.models.diffusion.pixart", "PixArtConfig"),
    "sana": ("archsearch.models.diffusion.sana", "SanaConfig"),
    "sd3": ("archsearch.models.diffusion.sd3", "SD3Config"),
    "flux": ("archsearch.models.diffusion.flux", "FluxConfig"),
    "cogvideox": ("archsearch.models.diffusion.cogvideox", "CogVideoXConfig"),
    "wan": ("archsearch.models.diffusion.wan", "WanConfig"),
    "ltx": ("archsearch.models.diffusion.ltx", "LTXConfig"),
    "hunyuan-video": ("archsearch.models.diffusion.hunyuan_video", "HunyuanVideoConfig"),
    "autoencoder-kl": ("archsearch.models.autoencoders.kl", "AutoencoderKLConfig"),
    "autoencoder-dc": ("archsearch.models.autoencoders.dc", "AutoencoderDCConfig"),
    "wan-vae": ("archsearch.models.autoencoders.wan_vae", "WanVAEConfig"),
    "ltx-video-vae": ("archsearch.models.autoencoders.ltx_vae", "LTXVAEConfig"),
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
