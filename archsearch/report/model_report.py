"""One model as a page: its numbers on each GPU, where the time goes, what its dimensions cost, better shapes nearby."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsearch.plotting.bars import figure
from archsearch.report.curves import sensitivity_pictures
from archsearch.report.search_tables import breakdown_table, dimension_table, neighbour_table, verdicts_in_words
from archsearch.report.texts import amount, count, gibibytes, seconds, settings, share, span
from archsearch.report.treemap import CAPTION, treemap
from archsearch.report.web_page import Page, Picture, Section, Snippet, Table

if TYPE_CHECKING:
    from archsearch.estimate_result import EstimateResult
    from archsearch.search.answers.explain import Explanation

PARTS = ("weights", "activations", "kv_cache", "optimizer")


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A model's estimates, one a GPU, and their explanation; None with ``no_explanation`` saying why."""

    estimates: tuple[EstimateResult, ...]
    explanation: Explanation | None
    no_explanation: str = ""


def model_page(answer: ModelAnswer, snippets: Sequence[Snippet] = (), command: str = "") -> Page:
    """The page of a model; ``snippets`` are texts to copy: its config, the commands that repeat it."""
    first = answer.estimates[0]
    gpus = ", ".join(e.hardware for e in answer.estimates)
    sections = [_numbers(answer.estimates, snippets), _time(answer.estimates), _memory(answer.estimates)]
    told = answer.explanation
    if told is None:
        sections.append(Section("dimensions", "What each dimension costs", (answer.no_explanation,)))
    else:
        sections += [_dimensions(told, answer.estimates), _neighbours(told)]
    sections.append(_provenance(answer))
    headline = tuple(map(_sentence, answer.estimates))
    return Page("model", f"{first.model} on {gpus}", headline, tuple(sections), _facts(first), command=command)


def _sentence(e: EstimateResult) -> str:
    fits = "it fits" if e.fits else "it does NOT fit"
    return (
        f"{seconds(e.latency_s)} on {f'{e.gpus} ' if e.gpus > 1 else ''}{e.hardware}: 80 % band "
        f"{span(e.latency_low_s, e.latency_high_s)}, {e.provenance}; {amount(e.throughput)} {e.throughput_unit} at "
        f"{e.mfu:.1%} MFU; {fits}, {gibibytes(e.memory_bytes['total'])} of {gibibytes(e.available_memory_bytes)}."
    )


def _facts(e: EstimateResult) -> tuple[tuple[str, str], ...]:
    active = () if e.active_parameters == e.parameters else (("active parameters", count(e.active_parameters)),)
    sizes = tuple((name.replace("_", " "), amount(value)) for name, value in e.workload.items())
    return (
        ("family", e.family),
        ("parameters", count(e.parameters)),
        *active,
        ("FLOPs", f"{e.flops / 1e12:.4g} T"),
        *sizes,
    )


def _numbers(estimates: Sequence[EstimateResult], snippets: Sequence[Snippet]) -> Section:
    from archsearch.plotting.gpu_bars import latency_info

    heads = (
        "GPU",
        "known",
        "fits",
        "latency",
        "80 % band",
        "kernels",
        "GPU time",
        "waits",
        "host",
        "per second",
        "MFU",
    )
    rows = tuple(
        (
            e.hardware,
            e.provenance,
            "yes" if e.fits else "no",
            seconds(e.latency_s),
            span(e.latency_low_s, e.latency_high_s),
            amount(e.kernels),
            *map(seconds, (e.gpu_s, e.waits_s, e.host_s)),
            f"{amount(e.throughput)} {e.throughput_unit}",
            share(e.mfu),
        )
        for e in estimates
    )
    table = Table("numbers", heads, rows, left=3)
    caption = "Lines are 80 % bands."
    several = (Picture("latency", "Latency on each GPU", figure(latency_info(estimates)), caption),)
    pictures = several if len(estimates) > 1 else ()
    return Section("numbers", "Numbers", pictures=pictures, tables=(table,), snippets=tuple(snippets))


def _time(estimates: Sequence[EstimateResult]) -> Section:
    from archsearch.plotting.breakdown_tree import breakdown_info

    pictures = tuple(
        Picture(
            f"time-{number}",
            "Where the time goes",
            treemap(breakdown_info(e)),
            CAPTION,
            "time",
            e.hardware,
        )
        for number, e in enumerate(estimates)
    )
    tables = tuple(
        breakdown_table(f"ops-{number}", e.hardware, e.breakdown, e.latency_s) for number, e in enumerate(estimates)
    )
    return Section("time", "Where the time goes", pictures=pictures, tables=tables)


def _memory(estimates: Sequence[EstimateResult]) -> Section:
    from archsearch.plotting.gpu_bars import memory_info

    rows = tuple(
        (
            e.hardware,
            *(gibibytes(e.memory_bytes[part]) for part in (*PARTS, "total")),
            gibibytes(e.available_memory_bytes),
            "yes" if e.fits else "no",
        )
        for e in estimates
    )
    heads = ("GPU", *(part.replace("_", " ") for part in PARTS), "total", "usable", "fits")
    picture = Picture(
        "memory", "Memory", figure(memory_info(estimates)), "The mark: what a program can use of the GPU."
    )
    return Section("memory", "Memory", pictures=(picture,), tables=(Table("memory", heads, rows),))


def _dimensions(told: Explanation, estimates: Sequence[EstimateResult]) -> Section:
    lines = tuple(
        f"{view.gpu}: per cent of latency for one per cent of a dimension: "
        + ", ".join(f"{name} {value:.2f}" for name, value in view.sensitivities.items())
        for view in told.per_gpu
        if view.sensitivities
    )
    pictures, refused = sensitivity_pictures(estimates)
    tables = (dimension_table(told.per_gpu),)
    return Section("dimensions", "What each dimension costs", (*lines, *refused), pictures=pictures, tables=tables)


def _neighbours(told: Explanation) -> Section:
    quality = told.quality
    law = () if quality is None else (f"Quality by {quality['proxy']}: {quality['source']}.",)
    return Section("neighbours", "Shapes nearby", (verdicts_in_words(told), *law), tables=(neighbour_table(told),))


def _provenance(answer: ModelAnswer) -> Section:
    first = answer.estimates[0]
    rows = [(f"latency on {e.hardware}", e.roofline or e.provenance) for e in answer.estimates]
    rows += [
        ("memory", "counted: weights, and what lives at once beside them"),
        ("execution", settings(dict(first.execution))),
        ("workload", ", ".join(f"{name} {amount(value)}" for name, value in first.workload.items())),
        *((("assumed", ", ".join(first.assumed)),) if first.assumed else ()),
        *(("op without a rule", f"aten::{u['op']}: {u['share']:.2%} of bytes") for u in first.unknown_ops),
    ]
    if answer.explanation is not None and answer.explanation.quality is not None:
        rows.append(("quality", answer.explanation.quality["source"]))
    table = Table("provenance", ("number", "how it is known"), tuple(rows), left=2)
    return Section("provenance", "How the numbers are known", tables=(table,))
