"""Every lever on a plan: legal or why not, what it makes of the latency alone, what it leaves of the quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsearch.errors import ArchSearchError, UnsupportedError
from archsearch.report.texts import gibibytes, seconds
from archsearch.report.web_page import Table

if TYPE_CHECKING:
    from archsearch.pipeline.component_calls import Pricer
    from archsearch.pipeline.lever_group import Lever
    from archsearch.pipeline.plan import Plan


@dataclass(frozen=True, slots=True)
class LeverRow:
    """One lever on a plan. ``reason`` is why it is not legal, empty where it is; then ``latency_s`` of a generation
    with it alone (per output, times the plan's batch), its peak of memory, and what it leaves of the quality, in words.
    ``quickens``: it needs no training and shortens a generation, not only what each output of a larger batch takes."""

    lever: str
    title: str
    training: str
    reason: str = ""
    latency_s: float | None = None
    memory_bytes: float | None = None
    quality: str = ""
    quickens: bool = False


def lever_rows(plan: Plan, pricer: Pricer) -> tuple[LeverRow, ...]:
    """Every shipped lever, pulled alone on a plan: the legal ones first, the fastest of them first."""
    from archsearch.pipeline.levers import levers

    rows = [_row(plan, pricer, lever) for lever in levers().values()]
    return tuple(sorted(rows, key=lambda row: (bool(row.reason), row.latency_s or 0.0)))


def _row(plan: Plan, pricer: Pricer, lever: Lever) -> LeverRow:
    from archsearch.pipeline.generation_cost import estimate_pipeline
    from archsearch.pipeline.lever_effects import lever_effect
    from archsearch.pipeline.lever_group import Role
    from archsearch.pipeline.levers import build, refusals

    row = LeverRow(lever.id, lever.title, lever.training)
    if refused := refusals(plan, [lever], pricer.gpu):
        texts = (str(UnsupportedError(refusal.text, field=list(refusal.fields))) for refusal in refused)
        return LeverRow(row.lever, row.title, row.training, "; ".join(texts))
    pulled = build(plan, [lever])
    try:
        found = estimate_pipeline(pulled.pipeline, pricer.gpu, pulled.request, pulled.deployment, pricer=pricer)
    except ArchSearchError as error:
        return LeverRow(row.lever, row.title, row.training, str(error))
    per_output = float(found.latency_s) / float(pulled.request.batch_size) * float(plan.request.batch_size)
    effect = lever_effect(plan, lever)
    quickens = lever.training == "none" and lever.group.role is not Role.REQUEST
    memory = float(found.peak_memory_bytes)
    return LeverRow(row.lever, row.title, row.training, "", per_output, memory, effect.text, quickens)


def lever_table(rows: tuple[LeverRow, ...], latency_s: float) -> Table:
    """The levers beside a plan that takes ``latency_s``."""
    cells = tuple(
        (
            row.lever,
            row.title,
            "no" if row.reason else "yes",
            row.reason or row.quality,
            row.training,
            "" if row.latency_s is None else seconds(row.latency_s),
            "" if row.latency_s is None else f"{latency_s / row.latency_s:.2f}",
            "" if row.memory_bytes is None else gibibytes(row.memory_bytes),
        )
        for row in rows
    )
    heads = ("lever", "what it does", "legal", "why not, or the quality left", "training")
    numbers = ("time, alone", "speed-up", "peak memory")
    return Table("levers", heads + numbers, cells, "Every lever, pulled alone on this plan", left=5)
