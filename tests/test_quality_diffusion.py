"""Latent diffusion: published comparisons and the autoencoder's ceiling."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from archsearch.models.registry.families import load_preset
from archsearch.quality import get_proxy, training_features
from archsearch.quality.diffusion import reconstruction_fid
from archsearch.workload import Workload

LAW = get_proxy("latent-diffusion-fid")


def quality(config: Any, **given: Any) -> Any:
    return LAW.predict(training_features(config, LAW, Workload(**dict(config.default_sizes)), given))


def test_at_f8_it_is_the_fitted_dit_law_and_the_floor() -> None:
    config = load_preset("dit-xl-2")
    base = get_proxy("dit-fid-any-patch").predict({"image_tokens": 256, "parameters": float(config.parameters())})
    assert float(quality(config).value) == pytest.approx(float(base.value) + 0.31, rel=1e-9)


def test_moving_compression_into_the_autoencoder_gives_what_dc_ae_measured() -> None:
    """Equal tokens, f64 and patch 1 instead of f8 and patch 8: FID 67.30 instead of 125.08 (DC-AE, table 1)."""
    features = {"image_tokens": 64.0, "parameters": 1e8, "latent_channels": 4.0}
    patched = LAW.predict({**features, "vae_scale_factor": 8.0}).value - reconstruction_fid(8, 4)
    moved = LAW.predict({**features, "vae_scale_factor": 64.0}).value - reconstruction_fid(64, 4)
    assert float(moved / patched) == pytest.approx(67.30 / 125.08, rel=1e-6)


def test_compression_is_traded_and_not_free() -> None:
    """A patch of 4 instead of 2 costs FID; the same tokens by the autoencoder cost less; the ceiling falls with it."""
    fine, coarse = load_preset("dit-l-2"), load_preset("dit-l-4")
    deep = dataclasses.replace(fine, vae_scale_factor=16, in_channels=16, out_channels=32)
    assert quality(fine).value < quality(deep).value < quality(coarse).value
    psnr = get_proxy("reconstruction-psnr")
    square = Workload(height=256, width=256)
    ceiling = [psnr.predict(training_features(c, psnr, square, {})).value for c in (fine, deep)]
    assert float(ceiling[0]) == pytest.approx(float(ceiling[1]))  # 48 pixel values per latent scalar either way
    tight = dataclasses.replace(fine, vae_scale_factor=32, in_channels=32, out_channels=64)
    assert psnr.predict(training_features(tight, psnr, Workload(height=256, width=256), {})).value < ceiling[0]


def test_floor_is_the_nearest_listed_autoencoder() -> None:
    np.testing.assert_allclose(
        reconstruction_fid(np.array([8, 8, 32, 32, 64, 30]), np.array([4, 16, 32, 64, 128, 60])),
        [0.31, 0.31, 0.34, 0.82, 0.22, 0.82],
    )


IMAGES = ("flux1-dev", "sd3-medium", "pixart-sigma", "sana-1.6b", "dit-xl-2")
VIDEOS = ("wan2.1-14b", "ltx-video-2b", "hunyuan-video", "cogvideox-5b")


@pytest.mark.parametrize("preset", [*IMAGES, *VIDEOS])
def test_every_image_and_video_family_gets_an_answer(preset: str) -> None:
    answer = quality(load_preset(preset))
    assert 0 < answer.low < answer.value < answer.high


def test_band_holds_what_dc_ae_measured_at_another_resolution() -> None:
    """DiT-XL at 512x512: FID 3.04 with f8 and patch 2, 2.84 with f32 and patch 1 (DC-AE, table 3)."""
    fine = load_preset("dit-xl-2")
    deep = dataclasses.replace(fine, vae_scale_factor=32, patch_size=1, in_channels=32, out_channels=64)
    a, b = quality(fine), quality(deep)
    assert 1.3 < float(b.value / a.value) < 1.7  # the law at 256x256
    assert float(b.low) < float(a.value) * 2.84 / 3.04 < float(b.high)
