"""The steps around a model that belongs to no space: each size one step down and up, and pairs of such steps.

A step changes one dimension and *carries* along what would otherwise make no model, or another kind of one: heads with
hidden_size (their width stays), heads with head_dim (their total width stays), key/value heads with heads. Of each
dimension and direction the nearest legal value counts. A width that is off its step's multiple moves to the multiples
around it.

Steps of dimensions in ``OTHER_MEANING`` make models whose quality means something else: they are shown, and never
called better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from archsearch.arrays import Dim
from archsearch.models.base import ModelConfig

Size = int | tuple[int, ...]
"""A dimension, or the stages of one."""
Changes = dict[str, Size]

DEFAULT_STEPS: Mapping[str, int] = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "moe_intermediate_size": 64,
    "num_layers": 1,
    "num_single_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "base_dim": 32,
    "layers_per_block": 1,
    "encoder_layers_per_block": 1,
    "decoder_layers_per_block": 1,
    "block_out_channels": 32,
    "decoder_block_out_channels": 32,
}
OTHER_MEANING: Mapping[str, str] = {
    "vocab_size": "another vocabulary: losses per token do not compare",
    "patch_size": "another number of tokens an image: a different model of the same size",
}
_ALIGNED = ("hidden_size", "intermediate_size", "moe_intermediate_size", "head_dim", "vocab_size")
_REACH = 4
"""Steps away at which a legal value is still looked for."""
_VOCABULARY_STEP = 64


@dataclass(frozen=True, slots=True)
class Move:
    """A step: the dimension that it is about, and all fields that change. ``dimension`` of a pair names both."""

    dimension: str
    changes: Changes
    single: bool = True


def legal_moves(config: ModelConfig, steps: Mapping[str, int]) -> list[Move]:
    """The nearest legal step down and up of every dimension, and every legal pair of such steps."""
    sizes = {name: step for name, step in steps.items() if name not in OTHER_MEANING}
    wanted = [
        (name, side, changes) for name, step in sizes.items() for side, changes in _candidates(config, name, step)
    ]
    kept = requirements_hold(config, [changes for _, _, changes in wanted])
    first: dict[tuple[str, int], Changes] = {}
    for (name, side, changes), legal in zip(wanted, kept, strict=True):
        if legal:
            first.setdefault((name, side), changes)
    singles = [Move(name, changes) for (name, _), changes in first.items()]
    pairs = [
        Move(f"{a.dimension}, {b.dimension}", {**a.changes, **b.changes}, single=False)
        for a, b in combinations(singles, 2)
        if a.changes.keys().isdisjoint(b.changes)
    ]
    legal = requirements_hold(config, [pair.changes for pair in pairs])
    return singles + [pair for pair, holds in zip(pairs, legal, strict=True) if holds]


def other_meanings(config: ModelConfig) -> list[Move]:
    """Steps of dimensions that change what quality means: half and twice the patch, a padded vocabulary."""
    names = _names(config)
    moves = []
    if "patch_size" in names:
        patch = _size(config, "patch_size")
        for size in {max(patch // 2, 1), patch * 2} - {patch}:
            moves.append(Move("patch_size", {"patch_size": size, **_packed(config, size / patch)}))
    if "vocab_size" in names:
        here = _size(config, "vocab_size")
        moves += [Move("vocab_size", {"vocab_size": v}) for v in _around(here, _VOCABULARY_STEP, aligned=True, reach=1)]
    kept = requirements_hold(config, [move.changes for move in moves])
    return [move for move, legal in zip(moves, kept, strict=True) if legal]


def along(config: ModelConfig, name: str, values: Sequence[int]) -> list[Changes]:
    """The models of one dimension's values that are real, in order: what changes with it is the same all along.

    Of what it may carry along (heads with hidden_size, or their width), that counts which leaves most values; the most
    alike model where several leave as many. A field that the config lacks, or that is no number, has none.
    """
    here = getattr(config, name, None) if name in _names(config) else None
    if not isinstance(here, int | np.integer) or isinstance(here, bool):
        return []
    wanted = [{name: value, **carried} for value in values for carried in _carried(config, name, value)]
    kinds: dict[frozenset[str], list[Changes]] = {}
    for changes, legal in zip(wanted, requirements_hold(config, wanted), strict=True):
        same = kinds.setdefault(frozenset(changes), [])
        if legal and all(changes[name] != before[name] for before in same):
            same.append(changes)
    return max(kinds.values(), key=len, default=[])


def grid_of(config: ModelConfig, changes: list[Changes]) -> ModelConfig:
    """One array-valued config of the models [N] that changes lead to."""
    names = dict.fromkeys(name for change in changes for name in change)
    columns = {name: _column([_value(config, name, change) for change in changes]) for name in names}
    return replace(config, **columns) if columns else config


def requirements_hold(config: ModelConfig, changes: list[Changes]) -> NDArray[np.bool_]:
    """[N] whether changes describe real models."""
    legal = np.ones(len(changes), dtype=bool)
    if changes:
        with np.errstate(all="ignore"):
            for requirement in grid_of(config, changes).requirements():
                legal &= np.asarray(requirement.holds, dtype=bool)
    return legal


def _value(config: ModelConfig, name: str, change: Changes) -> Size:
    """A field of a changed model; a head_dim that was left out follows from hidden_size and heads (0: it cannot)."""
    value: Size | None = change.get(name, getattr(config, name))
    if value is None:
        hidden, heads = (int(change.get(n, getattr(config, n))) for n in ("hidden_size", "num_attention_heads"))
        return hidden // heads if hidden % heads == 0 else 0
    return value


def _column(values: Sequence[Size]) -> Dim | tuple[Dim, ...]:
    """Values [N] of a field as an array; of a field that holds a list, a tuple of arrays."""
    lists = [value for value in values if isinstance(value, tuple)]
    if lists:
        stages = list(zip(*lists, strict=True))
        return tuple(np.array(stage) if len(set(stage)) > 1 else stage[0] for stage in stages)
    return np.array(values)


def _size(config: ModelConfig, name: str) -> int:
    return int(getattr(config, name))


def _names(config: ModelConfig) -> set[str]:
    return {f.name for f in fields(config)}


def _candidates(config: ModelConfig, name: str, step: int) -> Iterator[tuple[int, Changes]]:
    """(side, changes) of a dimension, the nearest values first, each with what it may carry along."""
    value = getattr(config, name, None) if name in _names(config) else None
    if name == "head_dim" and value is None and "head_dim" in _names(config):
        return  # it follows from the heads
    if isinstance(value, tuple) and all(isinstance(v, int | np.integer) for v in value):
        for scaled in _stages(name, value, step):
            yield (1 if sum(scaled) > sum(value) else -1), {name: scaled}
        return
    if value is None or isinstance(value, bool | str | float | tuple):
        return
    for moved in _around(int(value), step, aligned=name in _ALIGNED, reach=_REACH):
        side = 1 if moved > int(value) else -1
        for carried in _carried(config, name, moved):
            yield side, {name: moved, **carried}


def _around(here: int, step: int, *, aligned: bool, reach: int) -> list[int]:
    """Values below and above, the nearest first: multiples of the step where widths are aligned."""
    off = here % step if aligned else 0
    low, high = here - (off or step), here - off + step
    values = [value for i in range(reach) for value in (low - i * step, high + i * step)]
    return [value for value in values if value > 0]


def _stages(name: str, value: tuple[int, ...], step: int) -> list[tuple[int, ...]]:
    """All stages of an autoencoder narrower and wider by the same share (channels), or a layer shorter and longer."""
    if not name.endswith("block_out_channels"):
        return [(value[0], *(max(v + d, 1) for v in value[1:])) for d in (-1, 1)]
    first = value[0]
    return [tuple(v * (first + d) // first for v in value) for d in (-step, step) if first + d > 0]


def _carried(config: ModelConfig, name: str, moved: int) -> list[Changes]:
    """What may change along with a dimension, the most alike model first."""
    names = _names(config)
    heads = getattr(config, "num_attention_heads", None)
    if heads is None or "num_attention_heads" not in names:
        return [{}]
    heads, hidden = int(heads), _size(config, "hidden_size")
    groups = _size(config, "num_key_value_heads") if "num_key_value_heads" in names else None
    width = int(getattr(config, "head_dim", None) or max(hidden // heads, 1))
    choices: list[Changes] = []
    if name == "hidden_size":
        choices += _with_heads(config, moved, width, heads, groups)
        if getattr(config, "head_dim", 0) is None:
            choices.append({"head_dim": width})
    elif name == "num_attention_heads":
        if groups == heads:
            choices.append({"num_key_value_heads": moved})
    elif name == "head_dim" and heads * width % moved == 0:
        rescaled: Changes = {"num_attention_heads": heads * width // moved}
        if groups is not None and groups * width % moved == 0:
            rescaled["num_key_value_heads"] = groups * width // moved
        choices.append(rescaled)
    return [*choices, {}]


def _with_heads(config: ModelConfig, hidden: int, width: int, heads: int, groups: int | None) -> list[Changes]:
    """Heads of the same width for another hidden_size, cross-attention's and key/value heads in proportion."""
    if hidden % width:
        return []
    heads_moved = hidden // width
    carried: Changes = {"num_attention_heads": heads_moved}
    cross = getattr(config, "num_cross_attention_heads", None)
    if cross is not None:
        divisors = [n for n in range(1, min(hidden, 4 * int(cross)) + 1) if hidden % n == 0]
        wanted = np.log(int(cross) * hidden / _size(config, "hidden_size"))
        carried["num_cross_attention_heads"] = min(divisors, key=lambda n: abs(np.log(n) - wanted))
    if groups is None:
        return [carried]
    shared: Changes = {"num_key_value_heads": groups * heads_moved // heads}
    return [{**carried, **shared}, carried]


def _packed(config: ModelConfig, ratio: float) -> Changes:
    """Channels that patches pack: some families' latents enter as patch_size² of them."""
    if not getattr(config, "packs_latents", False):
        return {}
    area = ratio * ratio
    return {name: max(int(_size(config, name) * area), 1) for name in ("in_channels", "out_channels")}
