"""What sampling leaves of a space's qualities, and what distillation costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.arrays import FloatArray
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.models.base import ModelConfig, Requirement
from archsearch.quality.sampling import Sampled, asked_sampling
from archsearch.quality.sampling_table import SamplingTable, shipped_table

if TYPE_CHECKING:
    from archsearch.search.space.space import SearchSpace

QUALITIES = ("quality", "quality_low", "quality_high")
HOURS = "distillation_gpu_hours"
UNKNOWN_REASON = "sampling quality unknown"


class SpaceSampler:
    """The samplings of one space's architectures.

    Args:
        direction: of the quality law, ``minimize`` or ``maximize``.

    Raises:
        UnknownNameError: the space names a checkpoint that no table has.
        InvalidInputError: an objective on the cost of distillation, which neither the space nor a source states.
    """

    def __init__(self, space: SearchSpace, direction: str) -> None:
        self.space = space
        self.minimize = direction == "minimize"
        self.record = space.record.sampling
        self.table: SamplingTable = shipped_table().extended(self.record) if self.record.rows else shipped_table()
        if self.record.checkpoint is not None and self.record.checkpoint not in self.table.checkpoints:
            raise UnknownNameError("checkpoint", self.record.checkpoint, self.table.checkpoints, f"({space.origin})")
        self.objectives = {objective.metric for objective in space.objectives}
        self.gpu_hours = self._gpu_hours()
        if HOURS in self.objectives and self.gpu_hours is None:
            raise InvalidInputError(
                f"{space.origin}: objective {HOURS}: no source states what the distillation takes; add "
                "'distillation: {gpu_hours: ..., source: ...}'"
            )

    def _gpu_hours(self) -> float | None:
        if self.space.record.distillation is not None:
            return self.space.record.distillation.gpu_hours
        if self.space.record.pipeline is None:
            return None
        own = self.space.family_class.template.checkpoint
        own = own if self.record.checkpoint is None else self.table.checkpoints[self.record.checkpoint]
        student = own if own.distilled else self.table.student(own)
        return None if student is None or student.training is None else student.training.gpu_hours

    def sampled(self, config: ModelConfig) -> Sampled | None:
        """What is known of the samplings of a config of arrays; None where the space says nothing of sampling."""
        if self.record.alike:
            return None
        if hasattr(config, "sampling"):
            sampled: Sampled = config.sampling(self.table, self.record.checkpoint)
            return sampled
        stated = asked_sampling(self.space.family, self.space.record.quality.model_dump(), table=self.table)
        return None if stated is None else stated.ratio(self.table)

    def columns(self, config: ModelConfig, values: Mapping[str, Any]) -> dict[str, FloatArray]:
        """Qualities with what sampling leaves of them (NaN where unknown), GPU-hours of distillation where known."""
        columns: dict[str, FloatArray] = {}
        sampled = self.sampled(config)
        if sampled is not None:
            factor = sampled.error_factor if self.minimize else 1.0 / sampled.error_factor
            columns |= {name: values[name] * factor for name in QUALITIES}
        if hasattr(config, "distilled") and self.gpu_hours is not None:
            columns[HOURS] = np.asarray(config.distilled, dtype=np.float64) * self.gpu_hours
        return columns

    def rules(self, config: ModelConfig) -> tuple[Requirement, ...]:
        """Where quality is an objective, a sampling of unknown quality is left out, and counted by its reason."""
        sampled = self.sampled(config) if "quality" in self.objectives else None
        if sampled is None:
            return ()
        return (Requirement(reason=UNKNOWN_REASON, holds=np.isfinite(sampled.error_factor)),)
