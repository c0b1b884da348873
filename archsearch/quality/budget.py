"""Tokens and sizes: over-training, the compute-optimal size of a budget, and the size that serving makes best.

Costs are 6 N D FLOPs to train and 2 N per served token (Kaplan et al. 2020, section 2.1). With N parameters on D tokens
at one loss, training alone is cheapest at the law's optimum; every served token costs 2 N more, so that smaller models
on more tokens win ("Beyond Chinchilla-Optimal", Sardana et al. 2024, arXiv 2401.00448, equation 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from archsearch.arrays import Floats, as_float
from archsearch.errors import InvalidInputError
from archsearch.quality.features import TOKENS_PER_PARAMETER
from archsearch.quality.laws import Law
from archsearch.quality.proxy import QualityProxy

_GRID = 4001
_DECADES = 3.0


def overtraining(size: ArrayLike, tokens: ArrayLike) -> Floats:
    """Training tokens per parameter over the compute-optimal ratio of 20 (Hoffmann et al. 2022)."""
    return as_float(tokens) / as_float(size) / TOKENS_PER_PARAMETER


@dataclass(frozen=True, slots=True)
class ComputeOptimum:
    """Parameters and training tokens, arrays of the shape of the budgets."""

    parameters: Floats
    tokens: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceOptimum:
    """A size and training tokens with their FLOPs over training and serving; ``saved`` is the share of FLOPs that they
    save against the given model."""

    parameters: float
    tokens: float
    flops: float
    inference_tokens: float
    saved: float

    def document(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


def compute_optimum(constants: Mapping[str, float], flops: ArrayLike) -> ComputeOptimum:
    """Parameters and tokens of least loss for 6 N D = ``flops`` (Hoffmann et al. 2022, equation 4).

    N = G (C/6)^(beta/(alpha+beta)) with G = (alpha A / (beta B))^(1/(alpha+beta)), D = C/(6 N).
    """
    alpha, beta = constants["alpha"], constants["beta"]
    scale = (alpha * constants["A"] / (beta * constants["B"])) ** (1.0 / (alpha + beta))
    size = scale * (as_float(flops) / 6.0) ** (beta / (alpha + beta))
    return ComputeOptimum(size, as_float(flops) / 6.0 / size)


def inference_optimum(law: QualityProxy, size: float, tokens: float, inference_tokens: float) -> InferenceOptimum:
    """The size and training tokens that reach the same loss at least FLOPs over training and serving.

    Sizes are those that the law counts.

    Raises:
        InvalidInputError: the law has no term of tokens to trade.
    """
    c = law.record.constants if isinstance(law, Law) else {}
    if not {"A", "B", "alpha", "beta"} <= set(c):
        raise InvalidInputError(
            f"quality proxy {law.name!r} has no law of size and tokens; use chinchilla or shape-aware"
        )
    reducible = c["A"] / size ** c["alpha"] + c["B"] / tokens ** c["beta"]
    smallest = (c["A"] / reducible) ** (1.0 / c["alpha"])  # with unlimited tokens
    sizes = smallest * (1.0 + np.logspace(-_DECADES, _DECADES, _GRID))
    needed = (c["B"] / (reducible - c["A"] / sizes ** c["alpha"])) ** (1.0 / c["beta"])
    flops = sizes * (6.0 * needed + 2.0 * inference_tokens)
    best = int(np.argmin(flops))
    given = size * (6.0 * tokens + 2.0 * inference_tokens)
    return InferenceOptimum(
        parameters=float(sizes[best]),
        tokens=float(needed[best]),
        flops=float(flops[best]),
        inference_tokens=float(inference_tokens),
        saved=float(1.0 - flops[best] / given),
    )
