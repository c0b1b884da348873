"""Which proxies speak for which kinds of models: a family's modality decides, no list of families does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from archsearch.models.base import Modality
from archsearch.models.registry.families import family_names, get_family

DEFAULT_PROXIES: Mapping[Modality, str] = {
    Modality.CAUSAL_LANGUAGE: "shape-aware",
    Modality.MASKED_LANGUAGE: "chinchilla-encoder",
    Modality.TEXT_ENCODER: "chinchilla-encoder",
    Modality.CLASS_IMAGE: "dit-fid",
    Modality.IMAGE: "latent-diffusion-fid",
    Modality.VIDEO: "latent-diffusion-fid",
}
"""The proxy where none is named. Autoencoders have none: they are not searched."""
COMPARED: Mapping[Modality, tuple[str, ...]] = {
    Modality.CAUSAL_LANGUAGE: ("shape-aware", "conditional", "aspect-ratio", "chinchilla-besiroglu", "kaplan"),
    Modality.MASKED_LANGUAGE: ("chinchilla-encoder", "shape-aware-encoder"),
    **dict.fromkeys(
        (Modality.CLASS_IMAGE, Modality.IMAGE, Modality.VIDEO),
        ("latent-diffusion-fid", "dit-fid-any-patch", "dit-loss"),
    ),
}
"""Proxies whose ranks are compared where a study's architectures are recommended."""
DENOISING = tuple(modality for modality in Modality if modality.denoises)
LANGUAGE = (Modality.CAUSAL_LANGUAGE, Modality.MASKED_LANGUAGE)
_LISTED_FIRST = ("dit", "pixart", "sd3", "flux", "sana")
"""Lists name these image families in this order; all others stand in the registry's."""


def families_of(names: Iterable[str]) -> tuple[str, ...]:
    """The families that names mean: each a family, or a modality that stands for all families of it, registered ones
    too."""
    wanted = set(names)
    modalities = wanted & set(Modality)
    order = sorted(family_names(), key=_place)
    return tuple(f for f in order if f in wanted or (modalities and get_family(f).modality in modalities))


def _place(family: str) -> tuple[int, int]:
    """Sorts language families first, then those that are listed first, then the rest in the registry's order."""
    first = family_names().index(_LISTED_FIRST[0])
    if family in _LISTED_FIRST:
        return first, _LISTED_FIRST.index(family)
    return family_names().index(family), 0


def default_name(family: str) -> str | None:
    """The name of the proxy that a family's modality decides; None where there is none."""
    return DEFAULT_PROXIES.get(get_family(family).modality) if family in family_names() else None


def default_families(proxy: str) -> list[str]:
    """The families whose default a proxy is."""
    return list(families_of(modality for modality, name in DEFAULT_PROXIES.items() if name == proxy))


def is_language(family: str) -> bool:
    """Whether a family's models are trained as language models.

    Raises:
        UnknownNameError: no such family.
    """
    return get_family(family).modality in LANGUAGE
