"""Whether independent quality proxies agree on the architectures of a front: the range of each one's rank.

Proxies are independent where neither their base law nor their source is the same. A law with the constants of
another's base (E, A, B, alpha, beta of a loss law), or of the same publication, is a variant of it: both say the same
of most of what moves, and counting them as two would show an agreement that is none. Of variants the space's own proxy
speaks, else the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.errors import InvalidInputError
from archsearch.quality import QualityProxy, get_proxy, training_features
from archsearch.quality.ensemble import Agreement, aggregate_ranks
from archsearch.quality.modalities import COMPARED
from archsearch.search.answers.terms import pass_flops
from archsearch.search.evaluate.evaluator import Evaluator

if TYPE_CHECKING:
    import pandas as pd

BASE_CONSTANTS = ("E", "A", "B", "alpha", "beta")


def base_of(proxy: QualityProxy) -> tuple[Any, ...]:
    """What a proxy's law rests on: the constants of its base law where it has them, else its publication's address (its
    own name where there is none)."""
    constants = getattr(getattr(proxy, "record", None), "constants", {})
    if all(name in constants for name in BASE_CONSTANTS):
        return tuple(constants[name] for name in BASE_CONSTANTS)
    members = getattr(proxy, "members", None)
    if members:
        return base_of(members[0])
    return (proxy.url or proxy.name,)


def independent(proxies: Iterable[QualityProxy]) -> list[QualityProxy]:
    """The first proxy of every base, in order."""
    by_base: dict[tuple[Any, ...], QualityProxy] = {}
    for proxy in proxies:
        by_base.setdefault(base_of(proxy), proxy)
    return list(by_base.values())


def front_agreement(evaluator: Evaluator, front: pd.DataFrame) -> Agreement | None:
    """Ranks of the front's rows by quality, 1 the best, under independent proxies that speak for the family.

    The space's own proxy is the first. Proxies that need features which the family's configs lack are left out; None
    where fewer than two remain. Ranks are of architectures: what steps and guidance do to quality is left out.
    """
    space = evaluator.space
    config = evaluator.config({name: front[name].to_numpy() for name in space.dimensions})
    flops = pass_flops(evaluator, config, front["flops"].to_numpy(float))
    given = evaluator.quality_given(front["parameters"].to_numpy(float), flops)
    values: dict[str, Any] = {}
    directions: dict[str, str] = {}
    speaking: list[QualityProxy] = []
    for proxy in (evaluator.proxy, *(get_proxy(name) for name in COMPARED.get(space.family_class.modality, ()))):
        try:
            answer = proxy.predict(training_features(config, proxy, space.workload, given))
        except InvalidInputError:
            continue
        speaking.append(proxy)
        values[proxy.name] = np.broadcast_to(answer.value, (len(front),))
        directions[proxy.name] = proxy.direction
    names = [proxy.name for proxy in independent(speaking)]
    if len(names) < 2:
        return None
    return aggregate_ranks({name: values[name] for name in names}, directions)
