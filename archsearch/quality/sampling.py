"""What sampling leaves of a generator's quality: one function of steps, guidance and what the checkpoint is.

    quality = law(architecture) * ratio(checkpoint, steps, guidance)

The ratio is a metric measured at that sampling over the same metric at the checkpoint's reference sampling (of a
student: its teacher's), from ``sampling.yaml``. Between measured steps of one checkpoint, metric and guidance it is
interpolated in the logarithm of the steps and said to be ``interpolated``; beyond them, or at a guidance that nobody
measured, it is ``unknown``: NaN, with the reason, never a guess. A ratio r of a score (of which more is better) counts
as a factor 1/r on an error; where the metric is not the law's own, that is a transfer, and the answer names the metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.arrays import Dim, Flags, Labels
from archsearch.errors import InvalidInputError
from archsearch.quality.proxy import Quality
from archsearch.quality.sampling_table import GUIDANCE, Checkpoint, Curve, SamplingTable, Source, shipped_table

MEASURED, INTERPOLATED, UNKNOWN = "measured", "interpolated", "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What is known of samplings. Arrays of one shape, that of steps and guidance:

    ``ratio`` to the reference sampling and the measured ``value`` itself, NaN where unknown; ``known``: measured,
    interpolated or unknown; ``metric`` and ``checkpoint`` by name (empty where unknown); ``minimize``: whether less of
    the metric is better. ``sources`` are those of all figures used, ``reason`` says why some are unknown.
    """

    ratio: NDArray[np.float64]
    value: NDArray[np.float64]
    known: NDArray[np.str_]
    metric: NDArray[np.str_]
    minimize: NDArray[np.bool_]
    checkpoint: NDArray[np.str_]
    sources: tuple[Source, ...] = ()
    reason: str | None = None

    @property
    def error_factor(self) -> NDArray[np.float64]:
        """The factor on an error: the ratio, of scores its inverse; NaN where unknown."""
        return np.where(self.minimize, self.ratio, 1.0 / self.ratio)

    def where(self, mask: Flags, other: Sampled) -> Sampled:
        """This where ``mask`` holds, ``other`` elsewhere."""
        names = ("ratio", "value", "known", "metric", "minimize", "checkpoint")
        chosen = {n: np.where(mask, getattr(self, n), getattr(other, n)) for n in names}
        used = np.broadcast_to(mask, chosen["ratio"].shape)
        parts = [part for part, there in ((self, used.any()), (other, (~used).any())) if there]
        reasons = list(dict.fromkeys(part.reason for part in parts if part.reason))
        sources = tuple(dict.fromkeys(source for part in parts for source in part.sources))
        return Sampled(**chosen, sources=sources, reason="; ".join(reasons) or None)

    @property
    def one(self) -> OneSampled:
        """What is known of one sampling (arrays of one element)."""
        at = {name: getattr(self, name).reshape(-1)[0] for name in ("checkpoint", "metric", "ratio", "value")}
        return OneSampled(
            known=str(self.known.reshape(-1)[0]),
            checkpoint=str(at["checkpoint"]),
            metric=str(at["metric"]),
            direction="minimize" if bool(self.minimize.reshape(-1)[0]) else "maximize",
            ratio=float(at["ratio"]),
            value=float(at["value"]),
            sources=tuple(str(source) for source in self.sources),
        )

    def document(self) -> dict[str, object]:
        """The plain values of one sampling (arrays of one element)."""
        one = self.one
        if one.known == UNKNOWN:
            return {"known": one.known, "ratio": None, "reason": self.reason}
        return {**asdict(one), "sources": list(one.sources)}


@dataclass(frozen=True, slots=True, kw_only=True)
class OneSampled:
    """What is known of one sampling: a measured (or interpolated) metric and its ratio to the reference sampling's."""

    known: str
    checkpoint: str
    metric: str
    direction: str
    ratio: float
    value: float
    sources: tuple[str, ...]


def sampling_ratio(
    checkpoint: Checkpoint,
    steps: Dim,
    guidance: str | Labels,
    table: SamplingTable | None = None,
    metric: str | None = None,
) -> Sampled:
    """What sampling a checkpoint with so many steps and this guidance leaves, relative to its reference sampling.

    Args:
        checkpoint: what is sampled.
        steps: inference steps, a number or an array.
        guidance: ``none``, ``cfg`` or ``distilled``, one or an array that broadcasts with ``steps``.
        table: the measured figures, else those of ``sampling.yaml``.
        metric: the only metric to look at; else, where two are measured, the one that stands first in the table counts.

    Returns:
        Arrays of the broadcast shape.
    """
    table = table or shipped_table()
    count, mode = np.broadcast_arrays(np.asarray(steps, dtype=np.float64), np.asarray(guidance, dtype=np.str_))
    shape = count.shape
    ratio, printed = np.full(shape, np.nan), np.full(shape, np.nan)
    known = np.full(shape, UNKNOWN, dtype="<U12")
    named, minimize = np.full(shape, "", dtype="<U24"), np.ones(shape, dtype=bool)
    sources: list[Source] = []
    curves = tuple(c for c in table.curves.get(checkpoint.name, ()) if metric in (None, c.metric))
    for curve in curves:
        low, high = curve.steps[0], curve.steps[-1]
        here = (known == UNKNOWN) & (mode == curve.guidance) & (count >= low) & (count <= high)
        if not here.any():
            continue
        at, measured = np.log(np.where(here, count, low)), np.log(curve.steps)
        ratio = np.where(here, np.interp(at, measured, curve.ratios), ratio)
        printed = np.where(here, np.interp(at, measured, curve.values), printed)
        known = np.where(here, np.where(np.isin(count, curve.steps), MEASURED, INTERPOLATED), known)
        named = np.where(here, curve.metric, named)
        minimize = np.where(here, curve.direction == "minimize", minimize)
        sources += curve.sources
    there = known != UNKNOWN
    return Sampled(
        ratio=ratio,
        value=printed,
        known=known,
        metric=named,
        minimize=minimize,
        checkpoint=np.where(there, checkpoint.name, ""),
        sources=tuple(dict.fromkeys(sources)),
        reason=None if there.all() else _reason(checkpoint, curves),
    )


def _reason(checkpoint: Checkpoint, curves: tuple[Curve, ...]) -> str:
    if not curves:
        return f"no measured figure of {checkpoint.name}{',' if ',' in checkpoint.name else ''} is known"
    parts = [f"{c.metric} with guidance {c.guidance} at {', '.join(map(str, c.steps))} steps" for c in curves]
    return f"{checkpoint.name} is measured by {'; '.join(parts)}; nothing is known beyond"


def unmeasured(checkpoint: Checkpoint, *, method: str = "unnamed") -> Checkpoint:
    """A step-distilled student of a checkpoint that nobody measured."""
    return Checkpoint(
        name=f"{checkpoint.name}, steps distilled",
        kind="step-distilled",
        method=method,
        teacher=checkpoint.name,
        family=checkpoint.family,
        guidance=tuple(dict.fromkeys((*checkpoint.guidance, "distilled"))),
    )


def distilled_guidance(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its guidance distilled into one pass, which nobody measured."""
    return Checkpoint(
        name=f"{checkpoint.name}, guidance distilled",
        kind="step-distilled" if checkpoint.distilled else "guidance-distilled",
        method=checkpoint.method,
        teacher=checkpoint.name,
        family=checkpoint.family,
        guidance=("distilled",),
        steps=checkpoint.steps,
    )


def checkpoint_of(family: str, model: str | None = None, table: SamplingTable | None = None) -> Checkpoint:
    """The checkpoint that a preset is; any other model of a family counts as its first one that is no student."""
    table = table or shipped_table()
    for found in table.checkpoints.values():
        if model is not None and model in found.models:
            return found
    for found in table.checkpoints.values():
        if found.family == family and not found.distilled:
            return found
    return Checkpoint(name=family, family=family)


def check_sampling(checkpoint: Checkpoint, steps: Dim, guidance: str) -> None:
    """Refuse a sampling that a checkpoint is not made for.

    Raises:
        InvalidInputError: the guidance or the number of steps, with those that it runs.
    """
    if guidance not in checkpoint.guidance:
        built = "" if checkpoint.kind == "base" else f" ({checkpoint.kind})"
        raise InvalidInputError(
            f"guidance {guidance!r}: {checkpoint.name}{built} runs with guidance {' or '.join(checkpoint.guidance)}"
        )
    low, high = checkpoint.steps
    count = np.asarray(steps)
    if np.any((count < low) | (count > high)):
        wrong = int(count[(count < low) | (count > high)].flat[0]) if count.ndim else int(count)
        span = f"{low}" if low == high else f"{low} to {high}"
        raise InvalidInputError(f"{wrong} steps: {checkpoint.name} ({checkpoint.kind}) is made for {span} steps")


@dataclass(frozen=True, slots=True)
class Sampling:
    """A sampling that was asked for: of which checkpoint, with how many steps and which guidance."""

    checkpoint: Checkpoint
    steps: int
    guidance: str

    def ratio(self, table: SamplingTable | None = None) -> Sampled:
        """What it leaves."""
        return sampling_ratio(self.checkpoint, self.steps, self.guidance, table)

    def document(self) -> dict[str, object]:
        """The plain values of what was asked for."""
        c = self.checkpoint
        return {
            "of": c.name, "kind": c.kind, "method": c.method, "steps": self.steps, "guidance": self.guidance,
        }  # fmt: skip


def asked_sampling(
    family: str, given: Mapping[str, Any], model: str | None = None, table: SamplingTable | None = None
) -> Sampling | None:
    """The sampling that ``num_inference_steps``, ``guidance`` and ``distilled`` ask for; None where none is given.

    What is left out is the checkpoint's own. ``distilled`` takes the checkpoint's first student.

    Raises:
        InvalidInputError: an unknown guidance, a sampling that the checkpoint is not made for, or a family that does
            not sample.
    """
    steps, guidance, distilled = (given.get(n) for n in ("num_inference_steps", "guidance", "distilled"))
    if steps is None and guidance is None and not distilled:
        return None
    table = table or shipped_table()
    if guidance is not None and guidance not in GUIDANCE:
        raise InvalidInputError(f"guidance {guidance!r} is none of {', '.join(GUIDANCE)}")
    if not any(found.family == family for found in table.checkpoints.values()):
        raise InvalidInputError(f"steps, guidance and distillation belong to image and video models, not to {family}")
    checkpoint = checkpoint_of(family, model, table)
    if distilled and not checkpoint.distilled:
        checkpoint = table.student(checkpoint) or unmeasured(checkpoint)
    default = checkpoint.sampling
    if steps is None:
        if default is None:
            raise InvalidInputError(f"{checkpoint.name}: give the number of steps; no student is known to take it from")
        steps = default.steps
    chosen = guidance or (default.guidance if default else checkpoint.one_pass)
    check_sampling(checkpoint, steps, chosen)
    return Sampling(checkpoint, int(steps), chosen)


def sampled_quality(quality: Quality, direction: str, sampled: Sampled) -> Quality:
    """A law's answer with what sampling leaves of it: NaN where that is unknown."""
    factor = sampled.error_factor if direction == "minimize" else 1.0 / sampled.error_factor
    return Quality(
        value=quality.value * factor,
        low=quality.low * factor,
        high=quality.high * factor,
        in_range=quality.in_range & np.isfinite(factor),
    )
