"""Quality of latent diffusion: FID from tokens and size, and the autoencoder's ceiling.

``latent-diffusion-fid`` is

    FID = FID_DiT(T, N) * (f/8)^(-b) + rFID(f, c)

with FID_DiT the law ``dit-fid-any-patch`` of tokens T of a 256 x 256 image and parameters N, f pixels per latent along
a side, c its channels. Fewer tokens cost FID through T, wherever they come from; b says how much less they cost when
the autoencoder compresses instead of the patch; rFID is the autoencoder's own error, below which no generator comes.
``autoencoders.yaml`` has figures and sources; what sampling does is ``sampling.py``'s. ``reconstruction-psnr`` is the
ceiling alone, in dB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from archsearch.errors import InvalidInputError
from archsearch.quality.modalities import DENOISING, families_of
from archsearch.quality.proxy import Quality, get_proxy
from archsearch.yaml_records import read_mapping

_T_80_18 = 1.330
"""Student's t at 0.9 with 18 degrees of freedom: 80 % interval of a line through twenty points."""


@lru_cache(maxsize=1)
def autoencoder_figures() -> Mapping[str, Any]:
    """``autoencoders.yaml``."""
    return read_mapping(Path(__file__).with_name("autoencoders.yaml"))


def _column(table: Mapping[str, Any], name: str) -> Any:
    index = table["columns"].index(name)
    return np.array([row[index] for row in table["rows"]], dtype=np.float64)


@lru_cache(maxsize=1)
def _psnr_line() -> tuple[float, float, float]:
    """Intercept and slope of PSNR over log2 of pixels per latent scalar, and the residual standard error, in dB."""
    table = autoencoder_figures()["reconstruction"]
    ratio = 3 * _column(table, "vae_scale_factor") ** 2 / _column(table, "latent_channels")
    x, y = np.log2(ratio), _column(table, "psnr")
    slope, intercept = np.polyfit(x, y, 1)
    residual = y - intercept - slope * x
    return float(intercept), float(slope), float(math.sqrt(np.sum(residual**2) / (len(x) - 2)))


def reconstruction_fid(vae_scale_factor: Any, latent_channels: Any) -> Any:
    """rFID of the listed autoencoder that is nearest in pixels per latent, then in channels (both on a log scale)."""
    table = autoencoder_figures()["reconstruction_fid"]
    f, c = np.broadcast_arrays(np.asarray(vae_scale_factor, float), np.asarray(latent_channels, float))
    far = np.abs(np.log2(f[..., None] / _column(table, "vae_scale_factor"))) * 16
    far = far + np.abs(np.log2(c[..., None] / _column(table, "latent_channels")))
    return _column(table, "rfid")[np.argmin(far, axis=-1)]


@dataclass(frozen=True, slots=True)
class LatentDiffusionFid:
    """FID of a latent diffusion transformer; the formula stands at the top of this module."""

    name: str = "latent-diffusion-fid"
    metric: str = "fid"
    unit: str = "FID-50K, ImageNet 256x256, 400 K training steps"
    direction: str = "minimize"
    features: tuple[str, ...] = ("image_tokens", "parameters", "vae_scale_factor", "latent_channels")
    description: str = "FID from tokens and size, and what the autoencoder compresses"
    source: str = (
        "DiT (Peebles and Xie 2022), table 4; DC-AE (Chen et al. 2024), tables 1 and 2; SANA (Xie et al. 2024), table 1"
    )
    url: str = "https://arxiv.org/abs/2212.09748"
    assumed: bool = True

    @property
    def families(self) -> tuple[str, ...]:
        return families_of(DENOISING)

    @property
    def valid(self) -> Mapping[str, tuple[float, float]]:
        return {"image_tokens": (16.0, 256.0), "parameters": (3.3e7, 6.8e8), "vae_scale_factor": (8.0, 64.0)}

    def predict(self, features: Mapping[str, Any]) -> Quality:
        """FID with its 80 % interval.

        Raises:
            InvalidInputError: a needed feature is missing or not positive.
        """
        law = get_proxy("dit-fid-any-patch")
        base = law.predict({name: features[name] for name in ("image_tokens", "parameters") if name in features})
        f, c = _positive(self, features, "vae_scale_factor"), _positive(self, features, "latent_channels")
        moved = autoencoder_figures()["placement"]
        doublings = math.log2(moved["compressed"]["vae_scale_factor"] / moved["patched"]["vae_scale_factor"])
        b = math.log2(moved["patched"]["fid"] / moved["compressed"]["fid"]) / doublings
        factor = (f / 8.0) ** -b
        floor = reconstruction_fid(f, c)
        low, high = self.valid["vae_scale_factor"]
        inside = (f >= low) & (f <= high)
        # outside the listed compressions the band widens by the factor that compression itself would have made
        outside = b * np.log(np.maximum(np.maximum(low / f, f / high), 1.0))
        half = np.hypot(np.log(base.high / base.value), autoencoder_figures()["transfer"]["log"]) + outside
        return Quality(
            value=base.value * factor + floor,
            low=base.value * factor / np.exp(half) + floor,
            high=base.value * factor * np.exp(half) + floor,
            in_range=base.in_range & inside,
        )


@dataclass(frozen=True, slots=True)
class ReconstructionPsnr:
    """The ceiling that the autoencoder sets: PSNR in dB from pixels per latent scalar, 3 f^2 / c."""

    name: str = "reconstruction-psnr"
    metric: str = "psnr"
    unit: str = "dB, ImageNet 256x256"
    direction: str = "maximize"
    features: tuple[str, ...] = ("compression",)
    description: str = "what the autoencoder alone can reconstruct, a line through twenty published autoencoders"
    source: str = "Qwen-Image-VAE-2.0 technical report, table 2"
    url: str = "https://arxiv.org/abs/2605.13565"
    assumed: bool = False

    @property
    def families(self) -> tuple[str, ...]:
        return families_of(DENOISING)

    @property
    def valid(self) -> Mapping[str, tuple[float, float]]:
        return {"compression": (6.0, 96.0)}

    def predict(self, features: Mapping[str, Any]) -> Quality:
        """PSNR with its 80 % interval, wider by the share of decades outside the table.

        Raises:
            InvalidInputError: ``compression`` is missing or not positive.
        """
        ratio = _positive(self, features, "compression")
        intercept, slope, residual = _psnr_line()
        low, high = self.valid["compression"]
        outside = np.maximum(np.log10(low / ratio), 0) + np.maximum(np.log10(ratio / high), 0)
        value = intercept + slope * np.log2(ratio)
        half = residual * _T_80_18 * (1 + outside)
        return Quality(value=value, low=value - half, high=value + half, in_range=outside == 0)


def _positive(proxy: Any, features: Mapping[str, Any], name: str) -> Any:
    if features.get(name) is None:
        raise InvalidInputError(f"quality proxy {proxy.name!r} needs {name!r}; it was not given")
    value = np.asarray(features[name], dtype=np.float64)
    if not np.all(value > 0):
        raise InvalidInputError(f"quality proxy {proxy.name!r}: {name} must be positive")
    return value
