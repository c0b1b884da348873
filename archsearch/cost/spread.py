"""How far whole runs scatter around the sum of their kernels, by kind of run.

A kernel's band holds what its table showed: one library, one host, one clock. Whole runs differ in all three and in
their framework, and all kernels of a run share the difference, so that it does not average out. ``whole_runs.yaml`` has
its width by kind of run, from published runs, and says from which.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import Field

from archsearch.workload import Phase, Workload
from archsearch.yaml_records import Record, parse_record

SPREADS_FILE = Path(__file__).with_name("whole_runs.yaml")


class SpreadRecord(Record):
    """The spread of one kind of run.

    ``log_spread`` is half of the width of the 80 % band of ln(measured / predicted) beside the kernels' own band. A
    run is of the first kind whose ``phases`` or ``modalities`` name its own; a kind without either takes what is left.
    """

    kind: str
    log_spread: float = Field(ge=0.0, le=1.0)
    phases: tuple[Phase, ...] = ()
    modalities: tuple[str, ...] = ()
    rows: int = Field(default=0, ge=0)
    """Published runs that it was read from; 0 where it is assumed."""

    def holds(self, modality: str | None, phase: Phase) -> bool:
        """Whether a run of this phase, of a model of this modality, is of the kind."""
        return phase in self.phases or modality in self.modalities or not (self.phases or self.modalities)


class SpreadsRecord(Record):
    """What ``whole_runs.yaml`` holds."""

    spreads: tuple[SpreadRecord, ...]


@lru_cache(maxsize=1)
def spread_records() -> tuple[SpreadRecord, ...]:
    """The kinds of run, in the order in which they are asked."""
    return parse_record(SpreadsRecord, SPREADS_FILE).spreads


def spread_record(config: object, workload: Workload) -> SpreadRecord:
    """The kind of run that a model's workload is."""
    modality = getattr(config, "modality", None)
    return next(record for record in spread_records() if record.holds(modality, workload.phase))


def whole_run_spread(config: object, workload: Workload) -> float:
    """Half of the width of the 80 % band of ln(measured / predicted) that a whole run has beside its kernels'."""
    return spread_record(config, workload).log_spread
