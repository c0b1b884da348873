"""Whether quality proxies agree on the architectures of a front: the range of each one's rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.quality.ensemble import Agreement, agreement_of
from archsearch.search.evaluate.evaluator import Evaluator

if TYPE_CHECKING:
    import pandas as pd


def front_agreement(evaluator: Evaluator, front: pd.DataFrame) -> Agreement | None:
    """Ranks of the front's rows by quality, 1 the best, under every proxy that can be compared for the family.

    None where fewer than two proxies speak for it.
    """
    space = evaluator.space
    config = evaluator.config({name: front[name].to_numpy() for name in space.dimensions})
    given = evaluator.quality_given(front["parameters"].to_numpy(float), front["flops"].to_numpy(float))
    found = agreement_of(config, space.family, space.workload, given, (len(front),))
    return found if found is not None and len(found.proxies) > 1 else None


def add_agreement(chosen: pd.DataFrame, rows: Any, agreement: Agreement | None) -> list[str]:
    """Columns ``quality_rank_best`` and ``quality_rank_worst`` for rows [K] of the front; the proxies compared."""
    if agreement is None:
        return []
    picked = np.asarray(rows)
    chosen["quality_rank_best"] = agreement.best[picked]
    chosen["quality_rank_worst"] = agreement.worst[picked]
    return list(agreement.proxies)
