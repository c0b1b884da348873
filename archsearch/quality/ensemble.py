"""Several proxies at once: a weighted mean where they share a unit, ranks where they do not, and their disagreement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.arrays import Floats, as_float
from archsearch.errors import InvalidInputError
from archsearch.models.base import Modality
from archsearch.quality.laws import Law
from archsearch.quality.modalities import families_of
from archsearch.quality.proxy import Features, Quality, QualityProxy, get_proxy

MEMBERS: dict[str, float] = {"shape-aware": 0.5, "conditional": 0.25, "chinchilla-besiroglu": 0.25}
"""Members of the language ensemble and their weights (assumed): half on the law that ranks best in
docs/quality.md, the rest on the published law of shape and on size alone. All are in nats on one base law."""


@dataclass(frozen=True)
class EnsembleProxy:
    """Weighted mean of proxies of one metric; the interval spans those of all members."""

    name: str = "ensemble"
    metric: str = "loss"
    unit: str = "nats per token"
    direction: str = "minimize"
    description: str = "weighted mean of " + ", ".join(f"{name} ({weight:g})" for name, weight in MEMBERS.items())
    source: str = "the members' sources; weights are assumed"
    url: str = "https://arxiv.org/abs/2404.10102"
    assumed: bool = True

    @property
    def families(self) -> tuple[str, ...]:
        return families_of((Modality.CAUSAL_LANGUAGE,))

    @cached_property
    def members(self) -> tuple[QualityProxy, ...]:
        return tuple(get_proxy(name) for name in MEMBERS)

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for proxy in self.members for name in proxy.features))

    @property
    def valid(self) -> Mapping[str, tuple[float, float]]:
        """The range that all members share."""
        shared: dict[str, tuple[float, float]] = {}
        for proxy in self.members:
            for name, (low, high) in proxy.valid.items():
                before = shared.get(name, (0.0, np.inf))
                shared[name] = (max(low, before[0]), min(high, before[1]))
        return shared

    def size(self, features: Mapping[str, Floats]) -> Floats:
        """Parameters that training tokens are counted against: those of the heaviest member's law."""
        first = self.members[0]
        assert isinstance(first, Law)
        return first.size(features)

    def predict(self, features: Features) -> Quality:
        """Mean over members, the lowest low and the highest high.

        Raises:
            InvalidInputError: a feature that a member needs is missing or not positive.
        """
        answers = [proxy.predict(features) for proxy in self.members]
        weights = np.array(list(MEMBERS.values())) / sum(MEMBERS.values())
        return Quality(
            value=sum((w * a.value for w, a in zip(weights, answers, strict=True)), as_float(0.0)),
            low=reduce(np.minimum, [a.low for a in answers]),
            high=reduce(np.maximum, [a.high for a in answers]),
            in_range=reduce(np.logical_and, [a.in_range for a in answers]),
        )


@dataclass(frozen=True)
class Agreement:
    """Ranks [N] over several proxies, 1 the best: the weighted mean, the best and the worst, and which proxies;
    ``ranks`` are each one's own, [P, N] by ``proxies``."""

    proxies: tuple[str, ...]
    mean: NDArray[np.float64]
    best: NDArray[np.int64]
    worst: NDArray[np.int64]
    ranks: NDArray[np.int64]


def aggregate_ranks(
    values: Mapping[str, ArrayLike], directions: Mapping[str, str], weights: Mapping[str, float] | None = None
) -> Agreement:
    """Weighted mean rank (Borda count) of N architectures over proxies, and the range of their ranks.

    ``values`` are columns [N] by proxy, ``directions`` say ``minimize`` or ``maximize``; ``weights`` are 1 each where
    None. Equal values share the best of their ranks.

    Raises:
        InvalidInputError: no proxy, columns of different length, or weights that are negative or all zero.
    """
    if not values:
        raise InvalidInputError("rank aggregation needs the values of at least one proxy")
    names = tuple(values)
    if len({np.shape(values[name]) for name in names}) > 1:
        raise InvalidInputError("rank aggregation needs columns of equal length")
    share = np.array([1.0 if weights is None else weights.get(name, 0.0) for name in names])
    if np.any(share < 0) or not share.sum() > 0:
        raise InvalidInputError("weights of an ensemble must not be negative, and not all zero")
    ranks = np.stack([_ranks(values[name], directions[name]) for name in names])
    return Agreement(names, share @ ranks / share.sum(), ranks.min(axis=0), ranks.max(axis=0), ranks)


def _ranks(column: ArrayLike, direction: str) -> NDArray[np.int64]:
    value = np.asarray(column, dtype=np.float64)
    signed = value if direction == "minimize" else -value
    order = np.sort(signed)
    return np.asarray(np.searchsorted(order, signed, side="left") + 1)
