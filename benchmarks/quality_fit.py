"""Fit the constants of the law ``shape-aware`` to three sources at once.

    python benchmarks/quality_fit.py

Sources: the twenty decoders of Gemstones (the law's own table in laws.yaml; residuals count 0.01 nats), our decoders
(benchmarks/results/quality_decoders_gpu.csv; 0.031 nats, the standard error of a mean over two seeds that differ by
0.044 in the square mean), and what arXiv 2510.18245 gives for attention's share and substitution: optimal ratios of MLP
to attention of 1.055 (to 297 M) and 1.229 (1 B) make a share of 0.4675 +- 0.03, and its retraining of LLaMA-3.2-1B at
the optimal ratio makes a substitution of 0.37 +- 0.2. Each data set keeps its own E, A and alpha; shape terms are
shared.
tests/test_quality_fits.py repeats the fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from archsearch.quality.forms import effective_parameters, width_factor
from archsearch.quality.laws import published_laws

HERE = Path(__file__).resolve().parent
TABLE = HERE / "results" / "quality_decoders_gpu.csv"
SHARE, SUBSTITUTION = (0.4675, 0.03), (0.37, 0.2)
GEMSTONES_NATS, DECODERS_NATS = 0.01, 0.031
NAMES = ("attention_share", "substitution", "width_weight", "width_optimum")


def gemstones() -> tuple[dict[str, Any], Any]:
    """Features of the law and losses [20]: grouped keys of half the heads, gated feed-forward of 4 hidden_size."""
    law: Any = published_laws()["shape-aware"]
    h, layers, loss = np.array(law.record.table.rows, dtype=float).T
    features = {
        "attention_parameters": 3 * h**2 * layers,
        "mlp_parameters": 12 * h**2 * layers,
        "embedding_parameters": 2 * 50304 * h,
        "hidden_size": h,
    }
    return features, loss


def decoders() -> tuple[dict[str, Any], Any]:
    """Features of the law and mean losses [N] of our decoders."""
    shape = ["num_layers", "hidden_size", "num_attention_heads", "head_dim", "intermediate_size"]
    rows = pd.read_csv(TABLE).groupby(shape, as_index=False)["loss"].mean()
    h, layers = rows["hidden_size"].to_numpy(float), rows["num_layers"].to_numpy(float)
    features = {
        "attention_parameters": 4 * layers * h * (rows["num_attention_heads"] * rows["head_dim"]).to_numpy(float),
        "mlp_parameters": 2 * layers * h * rows["intermediate_size"].to_numpy(float),
        "embedding_parameters": 2 * 256 * h,
        "hidden_size": h,
    }
    return features, rows["loss"].to_numpy(float)


def fit(use_decoders: bool = True) -> tuple[dict[str, float], dict[str, float], float]:
    """Constants, their standard errors, and the root mean square residual on Gemstones in nats."""
    first, loss_first = gemstones()
    second, loss_second = decoders()

    def constants(p: Any) -> dict[str, float]:
        return dict(zip(NAMES, (*p[6:9], np.exp(p[9])), strict=True))

    def residual(p: Any) -> Any:
        c = constants(p)
        big = p[0] + np.exp(p[1] - p[2] * np.log(effective_parameters(c, first) / 1e8))
        small = p[3] + np.exp(p[4] - p[5] * np.log(effective_parameters(c, second) / 1e6))
        big, small = big * width_factor(c, first) - loss_first, small * width_factor(c, second) - loss_second
        known = [(p[6] - SHARE[0]) / SHARE[1], (p[7] - SUBSTITUTION[0]) / SUBSTITUTION[1]]
        return np.concatenate([big / GEMSTONES_NATS, small / DECODERS_NATS * use_decoders, known])

    low = np.array([0.5, -3, 0.05, 0, -5, 0.05, 0.05, -2, 0, -8])
    high = np.array([2.5, 2, 0.8, 1.05, 1, 1.5, 0.95, 0.99, 3, 0])
    start = np.array([2, 0, 0.3, 0.9, -1, 0.4, 0.45, 0.3, 0.13, -3.2])
    rng = np.random.default_rng(0)
    starts = [np.clip(start * (1 + 0.3 * rng.standard_normal(len(start))), low + 1e-6, high - 1e-6) for _ in range(8)]
    best = min((least_squares(residual, s, bounds=(low, high)) for s in starts), key=lambda answer: answer.cost)
    errors = np.sqrt(np.diag(np.linalg.pinv(best.jac.T @ best.jac))[6:])
    found = constants(best.x)
    errors[3] *= found["width_optimum"]
    big = residual(best.x)[: len(loss_first)] * GEMSTONES_NATS
    return found, dict(zip(NAMES, map(float, errors), strict=True)), float(np.sqrt(np.mean(big**2)))


def main() -> None:
    for use in (True, False):
        found, errors, residual = fit(use)
        print("with our decoders:" if use else "without them:")
        for name in NAMES:
            print(f"  {name}: {found[name]:.4g} +- {errors[name]:.2g}")
        print(f"  residual on Gemstones: {residual:.4f} nats")


if __name__ == "__main__":
    main()
