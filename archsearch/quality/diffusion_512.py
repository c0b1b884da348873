"""FID of latent diffusion from 512 x 512 pixels up, where compression costs less than at 256.

``latent-diffusion-fid`` counts the tokens of a 256 x 256 image, and expects f64 to have about twice the FID of f32. At
512 it has 0.96 to 1.46 times as much. ``latent-diffusion-fid-512`` is

    FID = FID_DiT(256, N) * (f p / 16)^c * (p / 2)^b + rFID(f, c)

with FID_DiT the law ``dit-fid-any-patch`` at DiT's patch 2 on f8, f pixels per latent along a side and p latents per
token. c is what downsampling costs wherever it happens, the mean of four published pairs of one transformer on two
latents; b is what it costs more in the patch than in the autoencoder, as in ``latent-diffusion-fid``. Figures and
sources: ``compression_512`` and ``placement`` of ``autoencoders.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from archsearch.arrays import Floats
from archsearch.quality.diffusion import autoencoder_figures, patch_exponent, reconstruction_fid
from archsearch.quality.features import FID_SIDE
from archsearch.quality.modalities import DENOISING, families_of
from archsearch.quality.proxy import Features, Quality, get_proxy, positive_feature

_T_80_3 = 1.638
"""Student's t at 0.9 with 3 degrees of freedom: 80 % interval of the mean of four pairs."""
_TOKENS, _DOWNSAMPLING, _PATCH = 256.0, 16.0, 2.0


@dataclass(frozen=True, slots=True)
class Compression:
    """Exponents of downsampling and of the patch, and the standard deviation of the first over the pairs."""

    downsampling: float
    patch: float
    spread: float


@lru_cache(maxsize=1)
def compression() -> Compression:
    """The exponents that the published pairs give."""
    patch = patch_exponent()
    found = exponents(patch)
    return Compression(float(np.mean(found)), patch, float(np.std(found, ddof=1)))


def exponents(patch: float) -> Floats:
    """The exponent of downsampling that each published pair gives [4], that of the patch being known."""
    table = autoencoder_figures().compression_512
    cost = np.log(table.column("coarse_fid") / table.column("fine_fid"))
    patches = np.log(table.column("coarse_patch") / table.column("fine_patch"))
    down = np.log(table.column("coarse_f") / table.column("fine_f")) + patches
    return np.asarray((cost - patch * patches) / down, float)


@dataclass(frozen=True, slots=True)
class LatentDiffusionFid512:
    """FID of a latent diffusion transformer at 512 x 512 and more; the formula stands at the top of this module."""

    name: str = "latent-diffusion-fid-512"
    metric: str = "fid"
    unit: str = "FID-50K, ImageNet 512x512, of DiT's training at 256x256"
    direction: str = "minimize"
    features: tuple[str, ...] = ("image_tokens", "parameters", "vae_scale_factor", "latent_channels")
    description: str = "FID from size, and what patch and autoencoder compress, from 512 pixels up"
    source: str = "DiT (Peebles and Xie 2022), table 4; DC-AE (Chen et al. 2024), tables 1 and 3, and its README"
    url: str = "https://arxiv.org/abs/2410.10733"
    assumed: bool = True

    @property
    def families(self) -> tuple[str, ...]:
        return families_of(DENOISING)

    @property
    def valid(self) -> Mapping[str, tuple[float, float]]:
        return {"image_tokens": (16.0, 256.0), "parameters": (3.3e7, 1.6e9), "vae_scale_factor": (8.0, 64.0)}

    def predict(self, features: Features) -> Quality:
        """FID with its 80 % interval.

        Raises:
            InvalidInputError: a needed feature is missing or not positive.
        """
        tokens, size, f, channels = (positive_feature(self.name, features, name) for name in self.features)
        base = get_proxy("dit-fid-any-patch").predict({"image_tokens": _TOKENS, "parameters": size})
        known = compression()
        down = FID_SIDE / np.sqrt(tokens) / _DOWNSAMPLING
        patch = FID_SIDE / (np.sqrt(tokens) * f) / _PATCH
        value = base.value * down**known.downsampling * patch**known.patch
        floor = reconstruction_fid(f, channels)
        x = {"image_tokens": tokens, "parameters": size, "vae_scale_factor": f}
        outside = np.zeros(np.broadcast_shapes(tokens.shape, size.shape, f.shape))
        for name, (low, high) in self.valid.items():
            outside = outside + np.log10(np.maximum(np.maximum(low / x[name], x[name] / high), 1.0))
        away = _T_80_3 * known.spread * np.log(down)
        half = np.hypot(np.log(base.high / base.value), away) * (1.0 + outside)
        return Quality(
            value=value + floor,
            low=value / np.exp(half) + floor,
            high=value * np.exp(half) + floor,
            in_range=outside == 0,
        )
