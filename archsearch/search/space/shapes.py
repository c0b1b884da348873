"""The dimensions around a model that a new space searches: widths, depth and heads, in steps that stay legal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from archsearch.errors import InvalidInputError
from archsearch.models.base import ModelConfig
from archsearch.search.space.checks import WIDTH_FIELDS

STEPS = 5
"""Values of each dimension."""
WIDEST_MULTIPLE = 64
_SPREAD = 8
"""A step is about an eighth of the model's own value."""
_HEADS = "attention_heads"


@dataclass(slots=True)
class Shapes:
    """Sections of a space around a model. ``dimensions`` are {field: (low, high, step)}, ``constraints`` expressions
    with the reason for each."""

    fixed: dict[str, object] = field(default_factory=dict)
    dimensions: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    derived: dict[str, str] = field(default_factory=dict)
    constraints: dict[str, str] = field(default_factory=dict)
    width_multiple: int = WIDEST_MULTIPLE


def shapes_around(config: ModelConfig, required: list[str], differing: list[str]) -> Shapes:
    """Dimensions around a model, whose own values are among them.

    Args:
        required: fields that have no default.
        differing: fields whose value is not the default.

    Raises:
        InvalidInputError: a family without width and depth.
    """
    values = {name: value for name, value in config.to_dict().items() if name in (*required, *differing)}
    width, depth = values.get("hidden_size"), values.get("num_layers")
    if not isinstance(width, int) or not isinstance(depth, int):
        text = f"family {config.family} has no hidden_size and num_layers to vary: write its space by hand"
        raise InvalidInputError(text, field="family")
    shapes = Shapes(width_multiple=_multiple(values))
    heads = {n: v for n, v in values.items() if n.endswith(_HEADS) and isinstance(v, int) and width % v == 0}
    head_widths = [width // value for value in heads.values()]
    shapes.dimensions["hidden_size"] = _around(width, math.lcm(shapes.width_multiple, *head_widths))
    for name, value in heads.items():
        shapes.derived[name] = f"hidden_size // {width // value}"
        reason = f"whole heads of {width // value}, the width of the model's own"
        shapes.constraints.setdefault(f"hidden_size % {width // value} == 0", reason)
    _feed_forward(shapes, values, width)
    shapes.dimensions["num_layers"] = _around(depth, 1)
    lowest, highest = width // (2 * depth), -(-2 * width // depth)
    shapes.constraints[f"{lowest} * num_layers <= hidden_size and hidden_size <= {highest} * num_layers"] = (
        "laws of quality hardly see shape: stay within a factor of two of the model's width per layer"
    )
    _follow(shapes, values, width, depth)
    taken = {*shapes.dimensions, *shapes.derived}
    shapes.fixed = {name: value for name, value in values.items() if name not in taken}
    return shapes


def _multiple(values: Mapping[str, object]) -> int:
    """The largest power of two up to ``WIDEST_MULTIPLE`` that divides the model's own widths."""
    widths = [value for name in WIDTH_FIELDS if isinstance(value := values.get(name), int)]
    return math.gcd(WIDEST_MULTIPLE, *widths)


def _around(value: int, unit: int) -> tuple[int, int, int]:
    """(low, high, step) of ``STEPS`` values around one, fewer where it is small; steps are multiples of ``unit``."""
    step = max(1, round(value / _SPREAD / unit)) * unit
    below = min(STEPS // 2, (value - 1) // step)
    return value - below * step, value + (STEPS // 2) * step, step


def _feed_forward(shapes: Shapes, values: Mapping[str, object], width: int) -> None:
    inner = values.get("intermediate_size")
    if not isinstance(inner, int):
        return
    shapes.dimensions["intermediate_size"] = _around(inner, shapes.width_multiple)
    low, high = inner // width, -(-inner // width)
    if low == high:
        low, high = max(1, low - 1), high + 1
    shapes.constraints[f"{low} * hidden_size <= intermediate_size and intermediate_size <= {high} * hidden_size"] = (
        "a feed-forward about as wide, against the model's width, as the model's own"
    )


def _follow(shapes: Shapes, values: Mapping[str, object], width: int, depth: int) -> None:
    """Key/value heads follow the heads, further stacks of layers the first, in the model's own proportion; where more
    numbers of heads are multiples of its key/value heads than of its queries to each, their number stays."""
    heads, groups = values.get("num_attention_heads"), values.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(groups, int) and heads % groups == 0 and groups != heads:
        share = heads // groups
        low, high, step = shapes.dimensions["hidden_size"]
        counts = [own * heads // width for own in range(low, high + 1, step)]
        if sum(n % groups == 0 for n in counts) > sum(n % share == 0 for n in counts):
            shapes.constraints[f"num_attention_heads % {groups} == 0"] = f"whole groups of queries to {groups} keys"
        else:
            shapes.derived["num_key_value_heads"] = f"num_attention_heads // {share}"
            shapes.constraints[f"num_attention_heads % {share} == 0"] = f"whole groups of {share} queries to a key"
    for name, value in values.items():
        if name.endswith("_layers") and name != "num_layers" and isinstance(value, int) and value % depth == 0 < value:
            shapes.derived[name] = f"{value // depth} * num_layers"
