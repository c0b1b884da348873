"""Training the learned correction: small networks on what the mechanism leaves over."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from archsearch.arrays import Ints
from archsearch.cost.correction import Correction
from archsearch.cost.kernels.kernel_cost import Array

HIDDEN = 24
FOLDS = 10
"""Networks trained; each leaves out one tenth of the weight shapes, on which it is judged."""
KEPT = 4
"""Networks that make up the correction: all ten lower the error by 0.1 points and cost a quarter of the speed."""
WEIGHT_DECAY = 2.5
"""L2 penalty, against one row's loss."""
OUTLIER_LOG = 0.01
"""Residual in log units beyond which the loss grows linearly."""
ITERATIONS = 600
TARGET_SCALE = 10.0
"""Residuals are a few per cent; times ten they are of order one, as the networks' initial weights expect."""
LIMIT_QUANTILE = 0.99


class Layer(NamedTuple):
    """A network's layer: ``weights`` [inputs, outputs] and ``bias`` [outputs]; tanh follows but after the last."""

    weights: Array
    bias: Array


def train(features: Array, residual: Array, fold: Ints) -> tuple[Correction, list[Correction]]:
    """Networks for log(measured / mechanism): some of them together, and each alone.

    Args:
        features: shape [S, F], see ``correction.FEATURES``.
        residual: log(measured / mechanism), shape [S].
        fold: which of ``FOLDS`` parts each row belongs to, shape [S].

    Returns:
        The correction, and by part of the rows that of the network alone which left them out.
    """
    features = np.asarray(features, dtype=np.float64, order="C")
    low, high = features.min(axis=0), features.max(axis=0)
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    inputs = (features - mean) / scale
    limit = float(np.quantile(np.abs(residual), LIMIT_QUANTILE))
    with ProcessPoolExecutor(min(FOLDS, os.cpu_count() or 1)) as pool:
        kept = [fold != part for part in range(FOLDS)]
        members = list(pool.map(_fit_network, (inputs[k] for k in kept), (residual[k] for k in kept), range(FOLDS)))

    def of(networks: list[list[Layer]]) -> Correction:
        (w1, b1), (w2, b2), (w3, b3) = (
            tuple(np.stack([network[layer][part] for network in networks]) for part in (0, 1)) for layer in range(3)
        )
        w3, b3 = w3[:, :, 0] / TARGET_SCALE, b3[:, 0] / TARGET_SCALE
        return Correction(low, high, mean, scale, w1, b1, w2, b2, w3, b3, limit)

    return of(members[:KEPT]), [of([network]) for network in members]


def _fit_network(inputs: Array, residual: Array, seed: int) -> list[Layer]:
    """One network: pseudo-Huber loss and weight decay, minimised by L-BFGS from a seeded start.

    One BLAS thread: sums are then added in one order, whatever the number of cores, and the result is the same.
    """
    sizes = (inputs.shape[1], HIDDEN, HIDDEN, 1)
    rng = np.random.default_rng(seed)
    start = [Layer(rng.normal(0, 1 / np.sqrt(a), (a, b)), np.zeros(b)) for a, b in pairwise(sizes)]
    target = residual * TARGET_SCALE
    with threadpool_limits(1):
        result = minimize(
            lambda theta: _loss(_unpack(theta, sizes), inputs, target),
            _pack(start),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ITERATIONS, "maxcor": 20},
        )
    return _unpack(result.x, sizes)


def _loss(layers: list[Layer], inputs: Array, target: Array) -> tuple[float, Array]:
    """Loss and its gradient over all weights."""
    activations = _forward(layers, inputs)
    width, rows = OUTLIER_LOG * TARGET_SCALE, len(target)
    error = (activations[-1][:, 0] - target) / width
    root = np.sqrt(1 + error * error)
    loss = width * float(np.mean(root - 1))
    slope = (error / root / rows)[:, None]
    gradients = []
    for i in range(len(layers) - 1, -1, -1):
        weights = layers[i].weights
        loss += 0.5 * WEIGHT_DECAY * float(np.sum(weights * weights)) / rows
        gradients.append(Layer(activations[i].T @ slope + WEIGHT_DECAY * weights / rows, slope.sum(axis=0)))
        if i:
            slope = (slope @ weights.T) * (1 - activations[i] ** 2)
    return loss, _pack(gradients[::-1])


def _forward(layers: list[Layer], inputs: Array) -> list[Array]:
    """Inputs, hidden layers and output."""
    out = [inputs]
    for i, (weights, bias) in enumerate(layers):
        value = out[-1] @ weights + bias
        out.append(np.tanh(value) if i < len(layers) - 1 else value)
    return out


def _pack(layers: list[Layer]) -> Array:
    return np.concatenate([np.concatenate([layer.weights.ravel(), layer.bias]) for layer in layers])


def _unpack(theta: Array, sizes: tuple[int, ...]) -> list[Layer]:
    layers, start = [], 0
    for a, b in pairwise(sizes):
        end = start + a * b
        layers.append(Layer(theta[start:end].reshape(a, b), theta[end : end + b]))
        start = end + b
    return layers


def folds_of(names: Iterable[str]) -> Ints:
    """A fixed fold for each row from the names of shapes."""
    return np.array([zlib.crc32(name.encode()) % FOLDS for name in names])
