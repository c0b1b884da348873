"""A model of another size in a family's own proportions: what a new space of a size that no preset has lies around."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from archsearch.errors import InvalidInputError
from archsearch.models.base import ModelConfig

NEAR = 0.1
"""A preset whose parameters are off by less than this share is taken as it is."""
_WIDTHS = 64
"""Feed-forwards are multiples of this."""
_DEPTHS = 2.0
"""Depths that are tried lie within this factor of the proportions' own."""
_SHAPE = 0.2
"""What a depth, or a number of queries to a key, off these proportions counts against parameters off the size."""


def scaled(config: ModelConfig, parameters: float) -> ModelConfig:
    """A model's proportions at about so many parameters: heads as wide, the feed-forward as wide against the model, as
    many queries to a key; width and depth grow together, as N of parameters do by (N' / N)^(1/3).

    Of the widths that are whole heads and the depths near these proportions, the one that is nearest to size and shape;
    what the vocabulary takes, which does not scale, is met by this as well.

    Raises:
        InvalidInputError: a family without width and depth, or no shape of its proportions is near that size.
    """
    values = {name: value for name, value in config.to_dict().items() if isinstance(value, int)}
    if not {"hidden_size", "num_layers", "num_attention_heads"} <= set(values):
        text = f"family {config.family} has no hidden_size, num_layers and num_attention_heads to scale: give {{like}}"
        raise InvalidInputError(text, field=("parameters", "like"))
    found = [(_off(one, parameters) + _SHAPE * off, one) for off, one in _shapes(config, parameters)]
    if not found:
        text = (
            f"{{parameters}} {parameters:.3g}: no {config.family} in the proportions of a model of "
            f"{float(config.parameters()):.3g} parameters is near that size; name a model nearer to it, {{like}} MODEL"
        )
        raise InvalidInputError(text, field=("parameters", "like"))
    return min(found, key=lambda one: one[0])[1]


def _off(config: ModelConfig, parameters: float) -> float:
    return abs(math.log(float(config.parameters()) / parameters))


def _shapes(config: ModelConfig, parameters: float) -> Iterator[tuple[float, ModelConfig]]:
    """Legal models of a size in a model's proportions, with how far their depth and groups are from these."""
    width, heads, depth = (int(getattr(config, n)) for n in ("hidden_size", "num_attention_heads", "num_layers"))
    queries = max(1, heads // int(getattr(config, "num_key_value_heads", heads) or heads))
    for count in range(1, 4 * heads + 1):
        wanted = count * (width // heads) * depth / width
        keys = min((k for k in range(1, count + 1) if count % k == 0), key=lambda k: abs(math.log(count / k / queries)))
        for layers in range(max(1, round(wanted / _DEPTHS)), round(wanted * _DEPTHS) + 1):
            one = _like(config, count * (width // heads), count, layers, keys)
            if one is not None and _off(one, parameters) <= NEAR:
                yield abs(math.log(layers / wanted)) + abs(math.log(count / keys / queries)), one


def _like(config: ModelConfig, width: int, heads: int, layers: int, groups: int) -> ModelConfig | None:
    """A model with these sizes and the rest in proportion; None where they make none."""
    own = {name: value for name, value in config.to_dict().items() if isinstance(value, int)}
    values: dict[str, object] = {"hidden_size": width, "num_attention_heads": heads, "num_layers": layers}
    if own.get("intermediate_size"):
        inner = own["intermediate_size"] * width / own["hidden_size"]
        values["intermediate_size"] = max(1, round(inner / _WIDTHS)) * _WIDTHS
    if "num_key_value_heads" in own:
        values["num_key_value_heads"] = groups
    for name, value in own.items():
        if name.endswith("_layers") and "every" not in name and name != "num_layers" and value:
            values[name] = max(1, round(value * layers / own["num_layers"]))
    made: ModelConfig = replace(config, **values)
    return made if all(bool(np.all(rule.holds)) for rule in made.requirements()) else None
