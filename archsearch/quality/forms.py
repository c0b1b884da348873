"""The formulas behind the laws, array-valued: constants and features in, a value out.

Each form names the features it reads. ``size`` is the parameter count that a law's training tokens are counted
against. Shapes broadcast; NaN in, NaN out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Floats

Constants = Mapping[str, float]
Features = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Form:
    """A formula: ``value(constants, features)``, what it reads, and which size it counts.

    ``constants`` are the names of its own; a form that is ``open`` takes an exponent of each feature that a law names
    beside them.
    """

    value: Callable[[Constants, Features], Floats]
    constants: tuple[str, ...]
    features: tuple[str, ...]
    size: Callable[[Constants, Features], Floats]
    optional: tuple[str, ...] = ()
    open: bool = False


def _loss(c: Constants, size: Floats, tokens: Floats) -> Floats:
    """E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, equation 2)."""
    return c["E"] + c["A"] / size ** c["alpha"] + c["B"] / tokens ** c["beta"]


def _chinchilla(c: Constants, x: Features) -> Floats:
    return _loss(c, x["parameters"], x["tokens"])


def _kaplan(c: Constants, x: Features) -> Floats:
    """((N_c/N)^(alpha_N/alpha_D) + D_c/D)^alpha_D (Kaplan et al. 2020, equation 1.5), N without embeddings."""
    ratio = c["alpha_N"] / c["alpha_D"]
    return ((c["N_c"] / x["non_embedding_parameters"]) ** ratio + c["D_c"] / x["tokens"]) ** c["alpha_D"]


def hollow(x: Floats, optimum: float) -> Floats:
    """ln(x/x*) + x*/x - 1: zero at the optimum, positive elsewhere; steep below, logarithmic above.

    The term a0 + a1 ln x + a2/x of the conditional law (arXiv 2510.18245, equation 3) with its minimum, x* = a2/a1,
    taken out.
    """
    return np.log(x / optimum) + optimum / x - 1.0


def _aspect(c: Constants, x: Features) -> Floats:
    """(E + A/N^alpha + B/D^beta)(1 + epsilon R^gamma), R = hidden_size/num_layers (arXiv 2501.18107, section 3)."""
    return _loss(c, x["parameters"], x["tokens"]) * (1.0 + c["epsilon"] * x["aspect_ratio"] ** c["gamma"])


def _conditional(c: Constants, x: Features) -> Floats:
    """Chinchilla's loss times one factor for the width over sqrt(N) and one for MLP over attention weights."""
    ratio = hollow(x["mlp_parameters"] / x["attention_parameters"], c["ratio_optimum"])
    return _loss(c, _total(c, x), x["tokens"]) * width_factor(c, x) * (1.0 + c["ratio_weight"] * ratio)


def effective_parameters(c: Constants, x: Features) -> Floats:
    """Parameters of a well-shaped model that would reach this one's loss.

    Attention and feed-forward weights replace each other only in part: with the share w of attention and
    s = 1 - 1/sigma, sigma the elasticity of substitution, the layers count as

        (w (a/w)^s + (1-w) (f/(1-w))^s)^(1/s),

    which is a + f at f/a = (1-w)/w and less elsewhere. Embeddings count in full.
    """
    w, s = c["attention_share"], c["substitution"]
    a, f = x["attention_parameters"] / w, x["mlp_parameters"] / (1 - w)
    layers = (w * a**s + (1 - w) * f**s) ** (1 / s) if s else a**w * f ** (1 - w)
    return layers + x["embedding_parameters"]


def width_factor(c: Constants, x: Features) -> Floats:
    """1 + k h(u), h ``hollow`` and u hidden_size over the root of layer weights: too thin and deep, or too wide."""
    weights = x["attention_parameters"] + x["mlp_parameters"]
    return 1.0 + c["width_weight"] * hollow(x["hidden_size"] / np.sqrt(weights), c["width_optimum"])


def depth_factor(c: Constants, x: Features) -> Floats:
    """(1 + k ln(L/L*)^2)(1 + m max(0, ln(h/d))^2 + n max(0, ln(d/h))^2): too few or too many layers L, and heads of a
    width d below or above h."""
    depth = np.log(x["num_layers"] / c["depth_optimum"])
    head = np.log(x["head_dim"] / c["head_optimum"])
    heads = c["head_weight"] * np.maximum(-head, 0.0) ** 2 + c["wide_head_weight"] * np.maximum(head, 0.0) ** 2
    return (1.0 + c["depth_weight"] * depth**2) * (1.0 + heads)


def _depth(c: Constants, x: Features) -> Floats:
    """Chinchilla's loss of the effective parameters, times the factor of depth and of heads."""
    return _loss(c, effective_parameters(c, x), x["tokens"]) * depth_factor(c, x)


def _shape(c: Constants, x: Features) -> Floats:
    """Chinchilla's loss of the effective parameters, times the conditional law's factor of width."""
    return _loss(c, effective_parameters(c, x), x["tokens"]) * width_factor(c, x)


def _power(c: Constants, x: Features) -> Floats:
    """exp(intercept + sum of exponent times ln feature)."""
    return np.exp(c["intercept"] + sum(c[name] * np.log(x[name]) for name in c if name != "intercept"))


def _crossed(c: Constants, x: Features) -> Floats:
    """exp(intercept + a ln t + b ln n + c ln t ln n), t and n tokens per image and parameters over their midpoints."""
    t = np.log(x["image_tokens"] / c["image_tokens_at"])
    n = np.log(x["parameters"] / c["parameters_at"])
    return np.exp(c["intercept"] + c["image_tokens"] * t + c["parameters"] * n + c["crossed"] * t * n)


def _compute(c: Constants, x: Features) -> Floats:
    """scale * C^exponent, C = 6 N D the training's compute; without ``tokens`` the C for which N is the optimal size.

    N = n_scale C^n_exponent at the optimum (arXiv 2410.08184, section 3.2).
    """
    size = x["parameters"]
    optimal = (size / c["n_scale"]) ** (1.0 / c["n_exponent"])
    compute = optimal if "tokens" not in x else 6.0 * size * x["tokens"]
    return c["scale"] * compute ** c["exponent"]


def _total(c: Constants, x: Features) -> Floats:
    return x["attention_parameters"] + x["mlp_parameters"] + x["embedding_parameters"]


_LAYERS = ("attention_parameters", "mlp_parameters", "embedding_parameters")
_LOSS = ("E", "A", "B", "alpha", "beta")
_WIDTH = ("width_weight", "width_optimum")
_DEPTH = ("depth_weight", "depth_optimum", "head_optimum", "head_weight", "wide_head_weight")
FORMS: dict[str, Form] = {
    "chinchilla": Form(_chinchilla, _LOSS, ("parameters", "tokens"), lambda c, x: x["parameters"]),
    "kaplan": Form(
        _kaplan,
        ("N_c", "D_c", "alpha_N", "alpha_D"),
        ("non_embedding_parameters", "tokens"),
        lambda c, x: x["non_embedding_parameters"],
    ),
    "aspect": Form(
        _aspect,
        (*_LOSS, "epsilon", "gamma"),
        ("parameters", "aspect_ratio", "tokens"),
        lambda c, x: x["parameters"],
    ),
    "conditional": Form(
        _conditional,
        (*_LOSS, *_WIDTH, "ratio_weight", "ratio_optimum"),
        (*_LAYERS, "hidden_size", "tokens"),
        _total,
    ),
    "shape": Form(
        _shape,
        (*_LOSS, *_WIDTH, "attention_share", "substitution"),
        (*_LAYERS, "hidden_size", "tokens"),
        effective_parameters,
    ),
    "depth": Form(
        _depth,
        (*_LOSS, *_DEPTH, "attention_share", "substitution"),
        (*_LAYERS, "num_layers", "head_dim", "tokens"),
        effective_parameters,
    ),
    "power": Form(_power, ("intercept",), (), lambda c, x: x["parameters"], open=True),
    "crossed": Form(
        _crossed,
        ("intercept", "image_tokens_at", "parameters_at", "image_tokens", "parameters", "crossed"),
        ("image_tokens", "parameters"),
        lambda c, x: x["parameters"],
    ),
    "compute": Form(
        _compute,
        ("scale", "exponent", "n_scale", "n_exponent"),
        ("parameters",),
        lambda c, x: x["parameters"],
        optional=("tokens",),
    ),
}
