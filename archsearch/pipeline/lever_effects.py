"""What levers leave of a pipeline's quality, in the terms of ``quality.sampling``: metric, ratio, how known, source.

Steps and guidance are one effect together, that of the sampling of the finished plan, from the one function that every
verb asks. Other levers have figures that a source measured on the plan's checkpoint, or change no number (``exact``),
or are ``unknown``. ``retained`` is the share of the plan's own quality that is left: the product of 1 / error factors;
NaN where a part is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, prod

import numpy as np

from archsearch.pipeline.lever_group import EXACT, UNKNOWN, Lever, Measurement
from archsearch.pipeline.levers import build
from archsearch.pipeline.plan import Plan
from archsearch.quality.sampling import MEASURED, Sampled, sampling_ratio

STATED = "stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One lever's effect. ``ratio`` is of ``metric`` with the lever to without (of sampling: to the reference
    sampling); ``retained`` the share of quality that is left, NaN where unknown."""

    known: str
    retained: float
    metric: str | None = None
    direction: str | None = None
    ratio: float = nan
    checkpoint: str | None = None
    source: str | None = None
    reason: str | None = None

    def document(self) -> dict[str, object]:
        """Plain values but ``retained``, None where nothing is known."""
        return {
            "known": self.known,
            "metric": self.metric,
            "direction": self.direction,
            "ratio": None if np.isnan(self.ratio) else self.ratio,
            "checkpoint": self.checkpoint,
            "source": self.source,
            "reason": self.reason,
        }

    @property
    def text(self) -> str:
        """The share and how it is known, in words."""
        return UNKNOWN if np.isnan(self.retained) else f"{self.retained:.1%} {self.known}"


def plan_sampling(plan: Plan) -> Sampled:
    """What the plan's steps and guidance leave, relative to its checkpoint's reference sampling."""
    return sampling_ratio(plan.pipeline.checkpoint, plan.request.steps, plan.request.guidance.value)


def lever_effect(plan: Plan, lever: Lever, stated: Mapping[str, float] | None = None) -> Effect:
    """What one lever, pulled alone, does to the quality of a plan.

    Args:
        stated: shares that the user states, by lever.
    """
    stated = stated or {}
    if lever.id in stated:
        return Effect(known=STATED, retained=stated[lever.id])
    if lever.sampling:
        return _sampling_effect(plan, build(plan, [lever]))
    if lever.quality == EXACT:
        return Effect(known=EXACT, retained=1.0, ratio=1.0)
    if isinstance(lever.quality, tuple):
        for measured in lever.quality:
            if measured.checkpoint == plan.pipeline.checkpoint.name:
                return _measured_effect(measured)
    return Effect(
        known=UNKNOWN, retained=nan, reason=f"no source measured {lever.id} on {plan.pipeline.checkpoint.name}"
    )


def _measured_effect(measured: Measurement) -> Effect:
    ratio = measured.value / measured.reference
    return Effect(
        known=MEASURED,
        retained=1.0 / ratio if measured.direction == "minimize" else ratio,
        metric=measured.metric,
        direction=measured.direction,
        ratio=ratio,
        checkpoint=measured.checkpoint,
        source=measured.source,
    )


def _sampling_effect(plan: Plan, final: Plan) -> Effect:
    before, after = plan_sampling(plan), plan_sampling(final)
    if not np.all(np.isfinite(after.ratio)):
        return Effect(known=UNKNOWN, retained=nan, reason=after.reason)
    one = after.one
    return Effect(
        known=one.known,
        retained=float(np.max(before.error_factor / after.error_factor)),
        metric=one.metric,
        direction=one.direction,
        ratio=one.ratio,
        checkpoint=one.checkpoint,
        source=one.sources[0],
        reason=before.reason,
    )


def retained(plan: Plan, chosen: Sequence[Lever], stated: Mapping[str, float] | None = None) -> float:
    """The share of a plan's quality that a combination leaves; NaN where a part of it is unknown.

    Levers of steps and guidance count once, as the sampling that they lead to; a share that the user states replaces
    its lever's part.
    """
    stated = stated or {}
    alone = [lever for lever in chosen if not lever.sampling or lever.id in stated]
    shares = [lever_effect(plan, lever, stated).retained for lever in alone]
    if sampling := [lever for lever in chosen if lever.sampling and lever.id not in stated]:
        shares.append(_sampling_effect(plan, build(plan, sampling)).retained)
    return prod(shares)
