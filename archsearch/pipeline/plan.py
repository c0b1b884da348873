"""A plan of a pipeline: what is generated, how, and by what."""

from __future__ import annotations

from dataclasses import dataclass

from archsearch.pipeline.catalog import GenerationPipeline
from archsearch.pipeline.request import Deployment, Request
from archsearch.workload import Workload


@dataclass(frozen=True, slots=True)
class Plan:
    """A ``pipeline``, what is asked of it (``request``), and how its parts lie and run (``deployment``)."""

    pipeline: GenerationPipeline
    request: Request
    deployment: Deployment

    @property
    def transformer_workload(self) -> Workload:
        """One pass of the transformer over the batch."""
        r, dtype = self.request, self.deployment.dtype
        return Workload(batch_size=r.batch_size, height=r.height, width=r.width, frames=r.frames, dtype=dtype)
