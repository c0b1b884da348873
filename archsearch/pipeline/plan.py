"""A plan of a pipeline, and a lever that changes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archsearch.ops import OpList
from archsearch.pipeline.catalog import GenerationPipeline
from archsearch.pipeline.pricing import lowered
from archsearch.pipeline.request import Request, Run
from archsearch.workload import Workload


@dataclass(frozen=True, slots=True)
class Plan:
    """A pipeline, what is asked of it and how it runs."""

    pipeline: GenerationPipeline
    request: Request
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """One lever of ``levers.yaml``. ``value`` is its number (steps, GPUs, batch, share), where it has one; ``quality``
    what it leaves of the quality: ``exact``, ``sampling``, ``unknown`` or measured rows (``lever_effects``)."""

    id: str
    title: str
    group: str
    training: str
    source: str
    quality: str | tuple[tuple[Any, ...], ...] = "unknown"
    value: Any = None

    @property
    def sampling(self) -> bool:
        """Whether it changes what is sampled: steps or guidance."""
        return self.quality == "sampling"


def transformer_ops(plan: Plan) -> OpList:
    """Operations of one pass of the plan's transformer, before its run's rewrites."""
    r = plan.request
    dtype = plan.run.dtype
    w = Workload(batch_size=r.batch_size, height=r.height, width=r.width, frames=r.frames, dtype=dtype)
    return lowered(plan.pipeline.transformer, w)
