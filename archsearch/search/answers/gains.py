"""What recommendations gain in speed: over the baseline, and rank 1 over the runner-up, with the band of the ratio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from archsearch.arrays import Floats, as_float
from archsearch.cost.ratio import Ratio, ratio_of
from archsearch.search.evaluate.advice import Beside, Gain
from archsearch.search.evaluate.columns import Columns
from archsearch.search.evaluate.evaluation import Evaluation
from archsearch.search.evaluate.evaluator import Evaluator

if TYPE_CHECKING:
    import pandas as pd


def gains(evaluator: Evaluator, chosen: pd.DataFrame, baseline: Beside | None) -> tuple[Gain, ...]:
    """Each rank against the baseline on each GPU, where there is one; rank 1 against rank 2, where there are two.

    ``chosen`` are the recommendations, best first.
    """
    cells = {name: chosen[name].to_numpy() for name in evaluator.space.dimensions}
    config = evaluator.baseline_config()
    found: list[Gain] = []
    if baseline is not None and config is not None:
        found += _gains(evaluator.evaluate(cells), evaluator.evaluate_config(config), baseline.name)
    if len(chosen) > 1:
        found += _gains(_at(evaluator, cells, 0), _at(evaluator, cells, 1), "rank 2")
    return tuple(found)


LIKE_SIZE = 1.5
"""Up to this ratio of parameters two architectures are of one size, and the speed of one over the other says something
of their shapes."""


def unlike_size(parameters: float, baseline: float) -> str:
    """That a baseline is of another size, in words; nothing where it is of the same."""
    ratio = baseline / parameters
    if 1 / LIKE_SIZE <= ratio <= LIKE_SIZE:
        return ""
    share = f"{ratio:.1f} times as many" if ratio > 1 else f"{ratio:.1%} of the"
    return f"with {share} parameters"


def _at(evaluator: Evaluator, cells: Columns, row: int) -> Evaluation:
    """One of the recommendations priced alone."""
    return evaluator.evaluate({name: values[row : row + 1] for name, values in cells.items()})


def _gains(ranked: Evaluation, other: Evaluation, against: str) -> Iterator[Gain]:
    """Architectures ranked from 1 on, [N], against one other."""
    count = ranked.shape[0]
    units = as_float(ranked.values["tokens"]) / as_float(other.values["tokens"])
    for gpu, estimate in ranked.estimates.items():
        ratio = ratio_of(other.estimates[gpu], estimate)
        ends = [np.broadcast_to(values, count) for values in _scaled(ratio, units)]
        for row in range(count):
            speedup, low, high = (float(values[row]) for values in ends)
            yield Gain(row + 1, against, gpu, speedup, low, high)


def _scaled(ratio: Ratio, units: Floats) -> tuple[Floats, Floats, Floats]:
    """A ratio of seconds as one of throughputs, of runs that make so many times as many units; its band."""
    return ratio.value * units, ratio.low * units, ratio.high * units
