"""Latent diffusion at 512 pixels and more: exponents by hand, and published ratios that the exponent did not see."""

from __future__ import annotations

import math

import numpy as np
import pytest

from archsearch.quality import get_proxy
from archsearch.quality.diffusion import reconstruction_fid
from archsearch.quality.diffusion_512 import compression, exponents

LAW = get_proxy("latent-diffusion-fid-512")
OLD = get_proxy("latent-diffusion-fid")


def fid(law: object, size: float, f: int, patch: int) -> float:
    """Without the autoencoder's own error."""
    tokens = (256 / (f * patch)) ** 2
    features = {"image_tokens": tokens, "parameters": size, "vae_scale_factor": f, "latent_channels": 4.0}
    return float(law.predict(features).value - reconstruction_fid(f, 4))  # type: ignore[attr-defined]


def test_exponents_by_hand() -> None:
    # moving three doublings from the patch into the autoencoder: FID 125.08 to 67.30 (DC-AE, table 1)
    patch = math.log(125.08 / 67.30) / math.log(8)
    found = [
        math.log(67.30 / 46.12) / math.log(2),
        math.log(13.96 / 9.83) / math.log(2),
        math.log(7.78 / 8.13) / math.log(2),
        (math.log(2.84 / 3.04) + patch * math.log(2)) / math.log(2),  # f8 patch 2 to f32 patch 1
    ]
    np.testing.assert_allclose(exponents(patch), found, rtol=1e-12)
    known = compression()
    assert known.downsampling == pytest.approx(np.mean(found), rel=1e-12)
    assert known.patch == pytest.approx(patch, rel=1e-12)
    assert fid(LAW, 5e8, 64, 1) / fid(LAW, 5e8, 32, 1) == pytest.approx(2**known.downsampling, rel=1e-9)
    assert fid(LAW, 5e8, 8, 8) / fid(LAW, 5e8, 64, 1) == pytest.approx(125.08 / 67.30, rel=1e-9)


@pytest.mark.parametrize(
    ("pair", "size", "fine", "coarse", "measured"),
    [
        (1, 500.87e6, (32, 1), (64, 1), 13.96 / 9.83),
        (2, 1580.4e6, (32, 1), (64, 1), 7.78 / 8.13),
        (3, 674.89e6, (8, 2), (32, 1), 2.84 / 3.04),
    ],
)
def test_a_pair_left_out_is_closer_than_the_law_at_256(
    pair: int, size: float, fine: tuple[int, int], coarse: tuple[int, int], measured: float
) -> None:
    patch = compression().patch
    others = float(np.mean(np.delete(exponents(patch), pair)))
    down = math.log(coarse[0] * coarse[1] / (fine[0] * fine[1]))
    predicted = math.exp(others * down + patch * math.log(coarse[1] / fine[1]))
    old = fid(OLD, size, *coarse) / fid(OLD, size, *fine)
    assert abs(math.log(predicted / measured)) < 0.85 * abs(math.log(old / measured))


def test_all_published_pairs_lie_in_the_band() -> None:
    for size, fine, coarse, measured in (
        (44.79e6, (32, 1), (64, 1), 67.30 / 46.12),
        (500.87e6, (32, 1), (64, 1), 13.96 / 9.83),
        (1580.4e6, (32, 1), (64, 1), 7.78 / 8.13),
    ):
        at = {"image_tokens": 16.0, "parameters": size, "vae_scale_factor": coarse[0], "latent_channels": 128.0}
        answer = LAW.predict(at)
        floor = reconstruction_fid(64, 128)
        expected = fid(LAW, size, *fine) * measured + floor
        assert float(answer.low) < expected < float(answer.high)


def test_more_parameters_help_and_more_compression_costs() -> None:
    sizes = [fid(LAW, n, 32, 1) for n in (1e8, 3e8, 1e9)]
    assert sizes == sorted(sizes, reverse=True)
    compressed = [fid(LAW, 5e8, f, 1) for f in (8, 16, 32, 64)]
    assert compressed == sorted(compressed)
