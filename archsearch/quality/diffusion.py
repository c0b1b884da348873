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

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from archsearch.arrays import FloatArray, Floats, as_float
from archsearch.quality.modalities import DENOISING, families_of
from archsearch.quality.proxy import Features, Quality, get_proxy, positive_feature
from archsearch.yaml_records import Record, parse_record

_T_80_18 = 1.330
"""Student's t at 0.9 with 18 degrees of freedom: 80 % interval of a line through twenty points."""


class FiguresRecord(Record):
    """A published table: ``rows`` in the order of ``columns``."""

    title: str | None = None
    url: str | None = None
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]

    def column(self, name: str) -> Floats:
        """A column of numbers [rows]."""
        index = self.columns.index(name)
        return as_float([float(row[index]) for row in self.rows])


class LatentFid(Record):
    """The FID that one way to compress to the same number of tokens has."""

    vae_scale_factor: PositiveInt
    patch_size: PositiveInt
    fid: PositiveFloat


class PlacementRecord(Record):
    """The same tokens by large patches, and by an autoencoder that compresses more."""

    title: str
    url: str
    patched: LatentFid
    compressed: LatentFid


class TransferRecord(Record):
    """Half-width of ln FID beyond the law's own setting."""

    log: PositiveFloat
    source: str


class AutoencoderFigures(Record):
    """``autoencoders.yaml``."""

    reconstruction: FiguresRecord
    reconstruction_fid: FiguresRecord
    placement: PlacementRecord
    transfer: TransferRecord
    compression_512: FiguresRecord


@lru_cache(maxsize=1)
def autoencoder_figures() -> AutoencoderFigures:
    """``autoencoders.yaml``."""
    return parse_record(AutoencoderFigures, Path(__file__).with_name("autoencoders.yaml"))


@dataclass(frozen=True, slots=True)
class PsnrLine:
    """PSNR over log2 of pixels per latent scalar, and the residual standard error, in dB."""

    intercept: float
    slope: float
    residual: float


@lru_cache(maxsize=1)
def psnr_line() -> PsnrLine:
    """The least-squares line through the listed autoencoders."""
    table = autoencoder_figures().reconstruction
    ratio = 3 * table.column("vae_scale_factor") ** 2 / table.column("latent_channels")
    x, y = np.log2(ratio), table.column("psnr")
    slope, intercept = np.polyfit(x, y, 1)
    residual = y - intercept - slope * x
    return PsnrLine(float(intercept), float(slope), float(math.sqrt(np.sum(residual**2) / (len(x) - 2))))


def reconstruction_fid(vae_scale_factor: FloatArray, latent_channels: FloatArray) -> Floats:
    """rFID of the listed autoencoder that is nearest in pixels per latent, then in channels (both on a log scale)."""
    table = autoencoder_figures().reconstruction_fid
    f, c = np.broadcast_arrays(as_float(vae_scale_factor), as_float(latent_channels))
    far = np.abs(np.log2(f[..., None] / table.column("vae_scale_factor"))) * 16
    far = far + np.abs(np.log2(c[..., None] / table.column("latent_channels")))
    return as_float(table.column("rfid")[np.argmin(far, axis=-1)])


def patch_exponent() -> float:
    """How FID grows with compression in the patch instead of in the autoencoder, of the published pair."""
    patched, compressed = autoencoder_figures().placement.patched, autoencoder_figures().placement.compressed
    doublings = math.log2(compressed.vae_scale_factor / patched.vae_scale_factor)
    return math.log2(patched.fid / compressed.fid) / doublings


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

    def predict(self, features: Features) -> Quality:
        """FID with its 80 % interval.

        Raises:
            InvalidInputError: a needed feature is missing or not positive.
        """
        law = get_proxy("dit-fid-any-patch")
        base = law.predict({"image_tokens": features.get("image_tokens"), "parameters": features.get("parameters")})
        f, c = (positive_feature(self.name, features, name) for name in ("vae_scale_factor", "latent_channels"))
        b = patch_exponent()
        factor = (f / 8.0) ** -b
        floor = reconstruction_fid(f, c)
        low, high = self.valid["vae_scale_factor"]
        inside = (f >= low) & (f <= high)
        # outside the listed compressions the band widens by the factor that compression itself would have made
        outside = b * np.log(np.maximum(np.maximum(low / f, f / high), 1.0))
        half = np.hypot(np.log(base.high / base.value), autoencoder_figures().transfer.log) + outside
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

    def predict(self, features: Features) -> Quality:
        """PSNR with its 80 % interval, wider by the share of decades outside the table.

        Raises:
            InvalidInputError: ``compression`` is missing or not positive.
        """
        ratio = positive_feature(self.name, features, "compression")
        line = psnr_line()
        low, high = self.valid["compression"]
        outside = np.maximum(np.log10(low / ratio), 0) + np.maximum(np.log10(ratio / high), 0)
        value = line.intercept + line.slope * np.log2(ratio)
        half = line.residual * _T_80_18 * (1 + outside)
        return Quality(value=value, low=value - half, high=value + half, in_range=outside == 0)
