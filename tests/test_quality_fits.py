"""Constants that are fits are repeated from the tables that stand beside them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

from archsearch.quality import get_proxy
from archsearch.quality.diffusion import autoencoder_figures, psnr_line
from archsearch.quality.forms import hollow
from archsearch.quality.laws import Law

CHECKOUT = Path(__file__).parents[1]


def gemstones() -> tuple[Any, Any, Any, Any]:
    """Hidden size, layers, loss and layer weights (15 hidden_size^2 a layer: grouped keys, gated feed-forward)."""
    law = get_proxy("shape-aware")
    assert isinstance(law, Law)
    assert law.record.table is not None
    h, layers, loss = np.array(law.record.table.rows, dtype=float).T
    return h, layers, loss, 15 * h**2 * layers


def fit(residual: Any, start: list[float], low: list[float], high: list[float]) -> Any:
    """Least squares from several starts."""
    rng = np.random.default_rng(0)
    starts = [np.clip(np.array(start) * (1 + 0.4 * rng.standard_normal(len(start))), low, high) for _ in range(12)]
    answers = [least_squares(residual, s, bounds=(low, high), xtol=1e-12, ftol=1e-12) for s in starts]
    return min(answers, key=lambda a: a.cost)


def constants(name: str) -> dict[str, float]:
    law = get_proxy(name)
    assert isinstance(law, Law)
    return law.record.constants


def test_shape_terms_are_the_joint_fit() -> None:
    spec = importlib.util.spec_from_file_location("quality_fit", CHECKOUT / "benchmarks" / "quality_fit.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found, errors, residual = script.fit()
    c = constants("shape-aware")
    for name in script.NAMES:
        assert c[name] == pytest.approx(found[name], abs=0.02 * errors[name])
    assert residual == pytest.approx(0.0060, abs=1e-4)
    without, errors, _ = script.fit(use_decoders=False)
    for name in script.NAMES:  # the sources agree within their errors
        assert found[name] == pytest.approx(without[name], abs=1.5 * errors[name])


def test_conditional_width() -> None:
    h, _, loss, weights = gemstones()
    total = weights + 2 * 50304 * h

    def residual(p: Any) -> Any:
        factor = 1 + p[3] * hollow(h / np.sqrt(weights), p[4])
        return (p[0] + np.exp(p[1] - p[2] * np.log(total / 1e8))) * factor - loss

    found = fit(residual, [2, 0, 0.3, 0.1, 0.05], [0.5, -3, 0.05, 0, 0.005], [2.4, 2, 0.8, 1, 0.5])
    c = constants("conditional")
    assert c["width_weight"] == pytest.approx(found.x[3], rel=0.02)
    assert c["width_optimum"] == pytest.approx(found.x[4], rel=0.02)
    assert np.sqrt(2 * found.cost / 15) == pytest.approx(0.0073, abs=2e-4)


def test_aspect_factor() -> None:
    h, layers, loss, weights = gemstones()
    total = weights + 2 * 50304 * h

    def residual(p: Any) -> Any:
        factor = 1 + np.exp(p[3]) * (h / layers) ** p[4]
        return (p[0] + np.exp(p[1] - p[2] * np.log(total / 1e8))) * factor - loss

    found = fit(residual, [1.9, 0, 0.3, -8, 0.9], [0.5, -3, 0.05, -20, 0.1], [2.4, 2, 0.8, 0, 2])
    c = constants("aspect-ratio")
    assert c["epsilon"] == pytest.approx(np.exp(found.x[3]), rel=0.05)
    assert c["gamma"] == pytest.approx(found.x[4], rel=0.02)


def test_ratio_weight_is_what_the_papers_retraining_gives() -> None:
    """(loss of LLaMA-3.2, loss at the optimum, ratio of LLaMA's, optimal ratio) at 1 B and 3 B."""
    weights = []
    for llama, best, ratio, optimum, width in ((2.803, 2.782, 4.8, 1.055, 0.0027), (2.625, 2.619, 3.0, 1.229, 0.0)):
        weights.append((llama / best - 1 - width) / hollow(ratio, optimum))
    assert constants("conditional")["ratio_weight"] == pytest.approx(np.mean(weights), abs=0.001)


def test_line_of_reconstruction() -> None:
    rows = autoencoder_figures().reconstruction.rows
    ratio, psnr = np.log2([3 * r[1] ** 2 / r[2] for r in rows]), np.array([r[3] for r in rows])
    design = np.stack([np.ones_like(ratio), ratio], axis=1)
    solved, *_ = np.linalg.lstsq(design, psnr, rcond=None)
    line = psnr_line()
    np.testing.assert_allclose([line.intercept, line.slope], solved, rtol=1e-9)
    assert line.residual == pytest.approx(np.std(psnr - design @ solved, ddof=2), rel=1e-9)
    assert line.slope < 0
