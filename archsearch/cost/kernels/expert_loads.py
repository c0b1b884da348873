"""How many tokens the experts of one GPU get: what a grouped product has to multiply.

A layer of ``num_experts`` experts sends T tokens to ``num_experts_per_tok`` (k) experts each: T · k copies. Of P GPUs
that share the experts (``expert_parallel``) each holds L = num_experts / P of them, and the busiest sets the pace:

* balanced (``skew`` 0): every GPU gets T · k / P copies, its experts differ by one copy at most, and at least one copy
  lies somewhere; where copies are fewer than experts only as many are active as there are copies.
* a power law of exponent ``skew``: each expert's share follows p(w) ∝ w^-skew between 1 and 0.8 · T (0.01 and 2 where
  there are no more copies than experts), as aiconfigurator draws it (collector/helper.py, ``sample_power_law``). No
  expert gets more than T; what is cut there fills the least loaded ones. The busiest GPU is taken, averaged over
  ``DRAWS`` draws of fixed uniform numbers, the same for every layer.

``whole_tokens`` (0 or 1) is of published tables: rows in which a GPU gets the tokens that have a copy for one of its
experts and runs all k copies of each of them (see ``bench/expert_tables.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from archsearch.arrays import Floats

DRAWS = 16
"""Draws of the experts' shares that a skewed load is averaged over."""
SEED = 2024
MOST_OF_TOKENS = 0.8
"""Greatest weight of an expert, as a share of the tokens, where copies outnumber experts."""
FEW_COPIES = (0.01, 2.0)
"""Least and greatest weight where they do not."""
FILL_STEPS = 20
"""Bisections of the level that cut copies fill up to: a millionth of the tokens."""
SLICE = 16
"""Layers drawn at a time: their experts stay within the CPU's caches."""
REMEMBERED = 64
COLUMNS = ("tokens", "num_experts_per_tok", "num_experts", "expert_parallel", "skew")


@dataclass(frozen=True, slots=True)
class Loads:
    """What the busiest GPU gets, arrays of shape [S]: copies of tokens, experts that get any, and blocks of up to
    ``block_m`` copies of one expert."""

    copies: Floats
    active: Floats
    blocks: Floats


def loads(dims: Mapping[str, Floats], block_m: Floats) -> Loads:
    """The loads of layers: tokens, num_experts_per_tok, num_experts, expert_parallel, skew and whole_tokens, of shape
    [S] each."""
    tokens, per_token, experts, parallel, skew = (dims[name] for name in COLUMNS)
    even = _balanced(tokens * per_token, experts, parallel, block_m)
    skewed = skew > 0
    if skewed.any():
        columns = np.stack([column[skewed] for column in (tokens, per_token, experts, parallel, skew, block_m)])
        distinct, back = np.unique(columns, axis=1, return_inverse=True)
        even[:, skewed] = _skewed(distinct.tobytes())[:, back.reshape(-1)]
    copies, active, blocks = even
    every = np.minimum(tokens * per_token, copies * np.minimum(parallel, per_token))
    whole = dims["whole_tokens"] > 0
    taken = np.where(whole, every, copies)
    spread = np.where(skewed, blocks + (taken - copies) / block_m, _blocks(taken, active, block_m))
    return Loads(taken, active, np.where(whole, spread, blocks))


def _balanced(copies: Floats, experts: Floats, parallel: Floats, block_m: Floats) -> Floats:
    """Copies, active experts and blocks of an even load, [3, S]."""
    share = copies / parallel
    active = np.minimum(experts / parallel, np.ceil(share))
    rows = np.maximum(share, active)
    return np.stack([rows, active, _blocks(rows, active, block_m)])


def _blocks(rows: Floats, active: Floats, block_m: Floats) -> Floats:
    """Blocks of experts whose loads differ by one copy at most."""
    each = np.floor(rows / active)
    fuller = rows - each * active
    blocks: Floats = fuller * np.ceil((each + 1) / block_m) + (active - fuller) * np.ceil(each / block_m)
    return blocks


@cache
def _uniform() -> Floats:
    """Uniform numbers of every draw, [experts, DRAWS]: those of the first experts do not change with their number."""
    return np.random.default_rng(SEED).random((4096, DRAWS))


@lru_cache(maxsize=REMEMBERED)
def _skewed(columns: bytes) -> Floats:
    """Copies, active experts and blocks of the busiest GPU, [3, S], of the six columns of distinct layers."""
    table = np.frombuffer(columns).reshape(6, -1)
    return np.concatenate([_drawn(table[:, i : i + SLICE]) for i in range(0, table.shape[1], SLICE)], axis=1)


def _drawn(table: Floats) -> Floats:
    """The same of a slice; arrays inside are [S, DRAWS, experts]."""
    tokens, per_token, experts, parallel, skew, block_m = (row[:, None, None] for row in table)
    numbers = _uniform()[: int(experts.max())].T[None]
    expert = np.arange(numbers.shape[2])[None, None]
    load = _shares(tokens * per_token, tokens, experts, skew, numbers) * (expert < experts)
    load = _filled(np.minimum(np.rint(load), tokens), tokens, tokens * per_token, expert < experts)
    held = experts / parallel
    first = _busiest(load, held[:, 0], parallel[:, 0])
    own = np.where((expert >= first) & (expert < first + held), load, 0.0)
    whole = np.floor(own)
    part = own - whole
    blocks = (1 - part) * np.ceil(whole / block_m) + part * np.ceil((whole + 1) / block_m)
    found = np.stack([own.sum(-1), np.minimum(own, 1.0).sum(-1), blocks.sum(-1)])
    most: Floats = np.maximum(found, 1.0).mean(-1)
    return most


def _shares(copies: Floats, tokens: Floats, experts: Floats, skew: Floats, numbers: Floats) -> Floats:
    """Copies of every expert before any is cut: weights by the power law's inverse distribution, scaled to the sum."""
    many = copies > experts
    least = np.where(many, 1.0, FEW_COPIES[0])
    most = np.where(many, np.maximum(MOST_OF_TOKENS * tokens, 1.0), FEW_COPIES[1])
    power = 1.0 - np.where(skew == 1.0, 1.0 + 1e-6, skew)
    weights = ((most**power - least**power) * numbers + least**power) ** (1.0 / power)
    held = np.arange(numbers.shape[2]) < experts
    scaled: Floats = weights * copies / np.sum(weights * held, axis=-1, keepdims=True)
    return scaled


def _filled(load: Floats, tokens: Floats, copies: Floats, held: Floats) -> Floats:
    """Loads that add up to all copies: the least loaded are raised to one level."""
    low, high = np.zeros_like(load[..., :1]), np.broadcast_to(tokens, load[..., :1].shape)
    for _ in range(FILL_STEPS):
        level = (low + high) / 2
        short = np.sum(np.maximum(load, level) * held, axis=-1, keepdims=True) < copies
        low, high = np.where(short, level, low), np.where(short, high, level)
    raised: Floats = np.maximum(load, low) * held
    return raised


def _busiest(load: Floats, held: Floats, parallel: Floats) -> Floats:
    """The first expert of the GPU with the greatest load, [S, DRAWS, 1]."""
    before = np.concatenate([np.zeros_like(load[..., :1]), np.cumsum(load, axis=-1)], axis=-1)
    gpu = np.arange(int(parallel.max()))[None]
    last = load.shape[2]
    start, end = (np.minimum((gpu + i) * held, last).astype(np.int64)[:, None] for i in (0, 1))
    shape = (*load.shape[:2], gpu.size)
    sums = np.take_along_axis(before, np.broadcast_to(end, shape), -1)
    sums = sums - np.take_along_axis(before, np.broadcast_to(start, shape), -1)
    sums = np.where(gpu[None] < parallel[:, None], sums, -1.0)
    best: Floats = np.argmax(sums, axis=-1)[..., None] * held[..., None]
    return best
