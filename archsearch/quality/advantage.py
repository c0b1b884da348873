"""Quality against a baseline, with the band of the difference.

Absolute losses depend on corpus and tokenizer more than on shape: no band of a law that knows only shape holds them.
The difference between two architectures of one recipe is what a search decides by, and its error is another: it grows
with how far the two lie apart in depth and size, and vanishes for equal ones but for the noise of training.
``advantages.yaml`` has formula, coefficients and source; ``python benchmarks/quality.py --only bands`` says how often
the band holds on tables that neither law nor band saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import NonNegativeFloat

from archsearch.arrays import Flags, Floats, as_float
from archsearch.errors import InvalidInputError
from archsearch.quality.laws import Law
from archsearch.quality.proxy import Features, QualityProxy, positive_feature
from archsearch.yaml_records import Record, parse_records

EIGHTY = 1.2815515655446004
"""Standard deviations to each side of the middle that hold 80 % of a normal distribution."""


class AdvantageRecord(Record):
    """One entry of ``advantages.yaml``: coefficients of the relative difference's standard deviation."""

    laws: tuple[str, ...]
    depth: NonNegativeFloat
    size: NonNegativeFloat
    noise: NonNegativeFloat
    source: str

    def spread(self, depth: Floats, size: Floats, noise: float) -> Floats:
        """Standard deviation of ln(loss/loss') for ratios of layers and of size."""
        return as_float(np.sqrt(2 * noise**2 + (self.depth * np.log(depth)) ** 2 + (self.size * np.log(size)) ** 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantage:
    """Quality less the baseline's, in the law's unit, with its 80 % band; negative is a lower loss.

    ``equal`` says that the band holds zero: the two cannot be told apart. Arrays broadcast like the features.
    """

    value: Floats
    low: Floats
    high: Floats
    equal: Flags


@lru_cache(maxsize=1)
def advantage_records() -> dict[str, AdvantageRecord]:
    """The entries of ``advantages.yaml`` by the law that they speak of."""
    records = parse_records(AdvantageRecord, Path(__file__).with_name("advantages.yaml"))
    return {law: record for record in records.values() for law in record.laws}


def advantage(proxy: QualityProxy, features: Features, baseline: Features, noise: float | None = None) -> Advantage:
    """Quality of architectures against a baseline of the same recipe.

    Args:
        proxy: a law whose differences were checked (``advantages.yaml`` names them).
        features: what the law reads, numbers or arrays that broadcast.
        baseline: the same of the baseline.
        noise: relative standard deviation of one training's loss; 0 for the expected losses, by default what two
            trainings of one architecture differ by.

    Raises:
        InvalidInputError: a law whose differences were not checked, a negative noise, or a feature that is missing or
            not positive.
    """
    record = advantage_records().get(proxy.name)
    if record is None or not isinstance(proxy, Law):
        known = ", ".join(advantage_records())
        raise InvalidInputError(f"no band of differences for quality proxy {proxy.name!r}: it is known of {known}")
    if noise is not None and not 0 <= noise < np.inf:
        raise InvalidInputError(f"the noise of a difference must be 0 or more, not {noise:g}")
    ours, theirs = proxy.predict(features).value, proxy.predict(baseline).value
    (layers, size), (base_layers, base_size) = _place(proxy, features), _place(proxy, baseline)
    noise = record.noise if noise is None else noise
    half = EIGHTY * record.spread(layers / base_layers, size / base_size, noise)
    middle = np.log(ours / theirs)
    return Advantage(
        value=ours - theirs,
        low=as_float(theirs * np.expm1(middle - half)),
        high=as_float(theirs * np.expm1(middle + half)),
        equal=np.abs(middle) <= half,
    )


def _place(law: Law, features: Features) -> tuple[Floats, Floats]:
    """Layers and the size that the law counts."""
    x = {name: positive_feature(law.name, features, name) for name in law.features}
    return x["num_layers"], law.size(x)
