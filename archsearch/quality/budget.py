"""Tokens and sizes: over-training, the compute-optimal size of a budget, and the size that serving makes best.

Costs are 6 N D FLOPs to train and 2 N per served token (Kaplan et al. 2020, section 2.1). With N parameters on D tokens
at one loss, training alone is cheapest at the law's optimum; every served token costs 2 N more, so that smaller models
on more tokens win ("Beyond Chinchilla-Optimal", Sardana et al. 2024, arXiv 2401.00448, equation 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from archsearch.errors import InvalidInputError
from archsearch.quality.features import TOKENS_PER_PARAMETER

_GRID = 4001
_DECADES = 3.0


def overtraining(size: Any, tokens: Any) -> Any:
    """Training tokens per parameter over the compute-optimal ratio of 20 (Hoffmann et al. 2022)."""
    return np.asarray(tokens, float) / np.asarray(size, float) / TOKENS_PER_PARAMETER


def compute_optimum(constants: Mapping[str, float], flops: Any) -> tuple[Any, Any]:
    """Parameters and tokens of least loss for 6 N D = ``flops`` (Hoffmann et al. 2022, equation 4).

    N = G (C/6)^(beta/(alpha+beta)) with G = (alpha A / (beta B))^(1/(alpha+beta)), D = C/(6 N).
    """
    alpha, beta = constants["alpha"], constants["beta"]
    scale = (alpha * constants["A"] / (beta * constants["B"])) ** (1.0 / (alpha + beta))
    size = scale * (np.asarray(flops, float) / 6.0) ** (beta / (alpha + beta))
    return size, np.asarray(flops, float) / 6.0 / size


def inference_optimum(law: Any, size: float, tokens: float, inference_tokens: float) -> dict[str, float]:
    """The size and training tokens that reach the same loss at least FLOPs over training and serving.

    Returns ``parameters``, ``tokens``, ``flops``, ``inference_tokens`` and ``saved``, the share of FLOPs saved against
    the given model. Sizes are those that the law counts.

    Raises:
        InvalidInputError: the law has no term of tokens to trade.
    """
    record = getattr(law, "record", None)
    c = record.constants if record is not None else {}
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
    return {
        "parameters": float(sizes[best]),
        "tokens": float(needed[best]),
        "flops": float(flops[best]),
        "inference_tokens": float(inference_tokens),
        "saved": float(1.0 - flops[best] / given),
    }
