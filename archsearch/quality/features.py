"""What proxies see of an architecture, array-valued: sizes of its parts, ratios, FLOPs, compression of its latents.

Attention counts by its own width, num_attention_heads · head_dim, which need not be hidden_size. A mixture of experts
counts the weights that one token passes through. FLOPs are those of one pass over one image or sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from archsearch.arrays import Floats, as_float
from archsearch.errors import InvalidInputError
from archsearch.workload import Workload

if TYPE_CHECKING:
    from archsearch.models.base import ModelConfig
    from archsearch.quality.proxy import QualityProxy

FID_SIDE = 256
"""Pixels along a side at which the laws of FID count tokens: ImageNet's, as in DiT (arXiv 2212.09748)."""
TOKENS_PER_PARAMETER = 20.0
"""Training tokens per parameter where none are given: the compute-optimal ratio of Hoffmann et al. 2022,
section 3 (https://arxiv.org/abs/2203.15556), which the replication (https://arxiv.org/abs/2404.10102) confirms."""
MOST_TOKENS = 1e18
"""Training tokens beyond any: thousands of times what was ever written. Laws are not asked for more."""
_MEASURED = ("tokens",)
"""Features that no architecture has: the training's."""


def features_of(
    config: ModelConfig, names: Iterable[str], workload: Workload, given: Mapping[str, ArrayLike | None] | None = None
) -> dict[str, Floats]:
    """The named features of a config of scalars or arrays.

    ``given`` holds what the config cannot tell, ``tokens`` of training, and may hold features that are known already.
    What neither tells is left out.

    Raises:
        InvalidInputError: the family has no such feature, or tokens that no training has.
    """
    given = given or {}
    known = {name: as_float(value) for name, value in given.items() if value is not None}
    if "tokens" in known and not np.all((known["tokens"] > 0) & (known["tokens"] <= MOST_TOKENS)):
        raise InvalidInputError(f"{{tokens}} must be a number above 0 and at most {MOST_TOKENS:g}", field="tokens")
    features = {name: known[name] for name in _MEASURED if name in known}
    for name in names:
        if name in _MEASURED:
            continue
        if name in known:
            features[name] = known[name]
            continue
        if name not in _FEATURES:
            raise InvalidInputError(f"no feature {name!r}; features: {', '.join((*_FEATURES, *_MEASURED))}")
        try:
            features[name] = _FEATURES[name](config, workload)
        except AttributeError as error:
            raise InvalidInputError(f"a model of family {config.family} has no feature {name!r} ({error})") from None
    return features


def training_features(
    config: ModelConfig, proxy: QualityProxy, workload: Workload, given: Mapping[str, ArrayLike | None]
) -> dict[str, Floats]:
    """The features that a proxy reads, training tokens filled in where none are given.

    Without ``tokens`` an architecture is taken as trained compute-optimally: ``TOKENS_PER_PARAMETER`` for each
    parameter of the size that the proxy counts.

    Raises:
        InvalidInputError: the family lacks a feature.
    """
    try:
        features = features_of(config, proxy.features, workload, given)
    except InvalidInputError as error:
        raise error.about(f"quality proxy {proxy.name!r} speaks for {', '.join(proxy.families)}") from None
    optional = getattr(getattr(proxy, "form", None), "optional", ())
    if "tokens" in proxy.features and "tokens" not in features and "tokens" not in optional:
        size = proxy.size(features) if hasattr(proxy, "size") else features["parameters"]
        features["tokens"] = TOKENS_PER_PARAMETER * size
    return features


def attention_width(config: ModelConfig) -> Floats:
    """num_attention_heads · head_dim, where head_dim was left out hidden_size / num_attention_heads."""
    if _field(config, "head_dim") is None:
        return _size(config, "hidden_size")
    return _size(config, "num_attention_heads") * _size(config, "head_dim")


def attention_parameters(config: ModelConfig) -> Floats:
    """Weights of all layers' query, key, value and output projections."""
    queries = attention_width(config)
    keys = queries * _key_value_heads(config) / _size(config, "num_attention_heads")
    return _size(config, "num_layers") * _size(config, "hidden_size") * 2 * (queries + keys)


def mlp_parameters(config: ModelConfig) -> Floats:
    """Weights of all layers' feed-forwards that a token passes through: three matrices with a gate, two without."""
    width = _size(config, "intermediate_size")
    if getattr(config, "is_moe", False):
        width = _size(config, "expert_width") * _size(config, "num_experts_per_tok")
        width = width + _size(config, "shared_expert_intermediate_size")
    matrices = 3.0 if _field(config, "gated_mlp") else 2.0
    return _size(config, "num_layers") * _size(config, "hidden_size") * width * matrices


def non_embedding_parameters(config: ModelConfig) -> Floats:
    """Weights of attention and feed-forward (norms and biases, some 0.1 %, left out, as in Kaplan et al. 2020)."""
    return attention_parameters(config) + mlp_parameters(config)


def embedding_parameters(config: ModelConfig) -> Floats:
    """Token embedding and, untied, the output matrix; learned positions."""
    rows = _size(config, "vocab_size") * (2.0 if _field(config, "has_output_matrix") else 1.0)
    if _field(config, "positions") == "learned":
        rows = rows + _size(config, "max_position_embeddings")
    return rows * _size(config, "hidden_size")


def _size(config: ModelConfig, name: str) -> Floats:
    """A field that families of language or of latents have.

    Raises:
        AttributeError: this family has none.
    """
    return as_float(getattr(config, name))


def _field(config: ModelConfig, name: str) -> object:
    """A field of another kind; raises as ``_size``."""
    value: object = getattr(config, name)
    return value


def _key_value_heads(config: ModelConfig) -> Floats:
    return _size(config, "num_key_value_heads" if hasattr(config, "num_key_value_heads") else "num_attention_heads")


def _flops(config: ModelConfig, workload: Workload) -> Floats:
    return as_float(config.lower(workload).flops()) / as_float(workload.batch_size)


def _image_tokens(config: ModelConfig) -> Floats:
    """Tokens of one image of 256 x 256 pixels (of a video: of one latent frame)."""
    return as_float((FID_SIDE / (_size(config, "vae_scale_factor") * _size(config, "patch_size"))) ** 2)


def _latent_channels(config: ModelConfig) -> Floats:
    """Channels of the autoencoder's latent, where a config counts those of a packed patch too."""
    channels = _size(config, "in_channels")
    return channels / _size(config, "patch_size") ** 2 if _field(config, "packs_latents") else channels


_FEATURES: dict[str, Callable[[ModelConfig, Workload], Floats]] = {
    "parameters": lambda c, w: as_float(c.parameters()),
    "non_embedding_parameters": lambda c, w: non_embedding_parameters(c),
    "embedding_parameters": lambda c, w: embedding_parameters(c),
    "attention_parameters": lambda c, w: attention_parameters(c),
    "mlp_parameters": lambda c, w: mlp_parameters(c),
    "attention_width": lambda c, w: attention_width(c),
    "head_dim": lambda c, w: attention_width(c) / _size(c, "num_attention_heads"),
    "mlp_to_attention": lambda c, w: mlp_parameters(c) / attention_parameters(c),
    "width_ratio": lambda c, w: _size(c, "hidden_size") / np.sqrt(non_embedding_parameters(c)),
    "aspect_ratio": lambda c, w: _size(c, "hidden_size") / _size(c, "num_layers"),
    "num_layers": lambda c, w: _size(c, "num_layers"),
    "hidden_size": lambda c, w: _size(c, "hidden_size"),
    "queries_per_kv": lambda c, w: _size(c, "num_attention_heads") / _key_value_heads(c),
    "flops": _flops,
    "image_tokens": lambda c, w: _image_tokens(c),
    "vae_scale_factor": lambda c, w: _size(c, "vae_scale_factor"),
    "latent_channels": lambda c, w: _latent_channels(c),
    "compression": lambda c, w: 3 * _size(c, "vae_scale_factor") ** 2 / _latent_channels(c),
}


def list_features() -> list[str]:
    """Names of all features that a proxy can read."""
    return [*_FEATURES, *_MEASURED]
