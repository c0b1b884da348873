"""Pipelines and their optima as pages: info objects first, then pictures.

The functions take the documents that ``archsearch pipeline estimate`` and ``pipeline optimize`` print with ``--json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from archsearch.hardware import Quotes
from archsearch.pipeline.describe import quality_left
from archsearch.plotting.bars import Bars, figure
from archsearch.plotting.pipeline_bars import lever_bars, memory_bars, stages_info, theory_bars
from archsearch.report.lever_table import LeverRow, lever_table
from archsearch.report.texts import GIB, amount, gibibytes, seconds, settings, share, span
from archsearch.report.web_page import Page, Picture, Section, Table

Document = Mapping[str, Any]


def held_bars(document: Document) -> Bars:
    """GiB that each stage holds, weights and activations, against what a program can use of the GPU."""
    bars = memory_bars(document)
    usable = document["memory_bytes"]["available"] / GIB
    return replace(bars, limits={"usable memory": [usable] * len(bars.labels)})


def pipeline_page(document: Document, levers: tuple[LeverRow, ...] = (), command: str = "") -> Page:
    """One estimate; ``levers`` are what could be pulled on its plan."""
    m = document["memory_bytes"]
    fits = "fits" if document["fits"] else "does NOT fit"
    headline = (
        f"{_asked(document)} takes {seconds(document['latency_s'])} on {_gpus(document)}: 80 % band "
        f"{span(document['latency_low_s'], document['latency_high_s'])}, {document['provenance']}.",
        f"It {fits}: at most {gibibytes(m['peak'])} of {gibibytes(m['available'])} that a program can use.",
        *_fastest_lever(levers, document["latency_s"]),
    )
    legal = sum(not row.reason for row in levers)
    pulled = (
        f"{legal} of {len(levers)} levers are legal on this plan; each is shown alone. `pipeline optimize` combines."
    )
    more = (Section("levers", "Levers", (pulled,), tables=(lever_table(levers, document["latency_s"]),)),)
    sections = (*_stages(document), *(more if levers else ()), _how(document))
    title = f"{document['pipeline']} on {document['hardware']}"
    return Page("pipeline", title, headline, sections, _facts(document), command=command)


def optimum_page(document: Document, levers: tuple[LeverRow, ...] = (), command: str = "") -> Page:
    """The optimiser's answer; ``levers`` are what could be pulled on the plan before."""
    best, base, counts = document["best"], document["baseline"], document["combinations"]
    pulled = ", ".join(best["levers"]) or "no lever"
    headline = (
        f"{_asked(base)} on {_gpus(best)}: {seconds(base['latency_s'])} without levers, "
        f"{seconds(best['latency_s'])} with {pulled}: {document['speedup']:.2f} times as fast.",
        f"80 % band {span(best['latency_low_s'], best['latency_high_s'])} ({best['provenance']}); "
        f"{quality_left(best['retained'])}.",
        f"Exact over {counts['legal']:,} legal combinations of {counts['judged']:,}"
        + (f"; {counts['quality_unknown']:,} left out, quality unknown." if counts["quality_unknown"] else "."),
    )
    tables: tuple[Table, ...] = (_pulled(document),)
    if levers:
        tables += (lever_table(levers, base["latency_s"]),)
    picture = Picture(
        "levers", "Latency as levers are pulled", figure(lever_bars(document)), "Each with those above it."
    )
    section = Section("levers", "Levers", pictures=(picture,), tables=tables)
    title = f"{best['pipeline']} on {best['hardware']}: {document['speedup']:.2f} times as fast"
    return Page("pipeline", title, headline, (section, *_stages(best), _how(best)), _facts(best), command=command)


def _asked(document: Document) -> str:
    r = document["request"]
    frames = f", {r['frames']} frames" if r["frames"] else ""
    return (
        f"{document['pipeline']}, {r['height']}x{r['width']}{frames}, {r['steps']} steps, guidance {r['guidance']}, "
        f"batch {r['batch_size']},"
    )


def _gpus(document: Document) -> str:
    return f"{document['gpus']} {document['hardware']}" if document["gpus"] > 1 else str(document["hardware"])


def _fastest_lever(levers: tuple[LeverRow, ...], latency_s: float) -> tuple[str, ...]:
    timed = {row.lever: row.latency_s for row in levers if row.latency_s is not None and row.quickens}
    best = min(timed, key=lambda lever: timed[lever], default=None)
    if best is None or timed[best] >= latency_s:
        return ()
    return (f"The lever that gains most alone, without training: {best}, {seconds(timed[best])}.",)


def _facts(document: Document) -> tuple[tuple[str, str], ...]:
    usd = document["usd_per_output"]
    return (
        ("latency", seconds(document["latency_s"])),
        ("80 % band", span(document["latency_low_s"], document["latency_high_s"])),
        ("per output", seconds(document["latency_per_output_s"])),
        ("throughput", f"{document['throughput_per_s']:.4g} /s"),
        ("peak memory", gibibytes(document["memory_bytes"]["peak"])),
        ("energy per output", f"{document['energy_j_per_output']:.4g} J at TDP"),
        ("price per output", "no price known" if usd is None else f"{usd:.3g} USD"),
    )


def _stages(document: Document) -> tuple[Section, ...]:
    """Where the time and the memory go."""
    time = Picture(
        "stages",
        "Time by stage",
        figure(stages_info(document)),
        "What runs in each stage; the line is the 80 % band of the stage.",
    )
    theory = Picture("theory", "Theory and estimate", figure(theory_bars(document)))
    memory = Picture("memory", "Memory by stage", figure(held_bars(document)), "The mark: what a program can use.")
    return (
        Section("stages", "Stages", pictures=(time, theory), tables=(_stage_table(document), _gap_table(document))),
        Section("memory", "Memory", pictures=(memory,), tables=(_memory_table(document),)),
    )


def _stage_table(document: Document) -> Table:
    heads = ("stage", "calls", "time", "share", "80 % band", "a call", "GPU", "host", "PCIe", "roofline", "memory")
    rows = tuple(
        (
            s["name"],
            amount(s["calls"]),
            seconds(s["latency_s"]),
            share(s["share"]),
            span(s["latency_low_s"], s["latency_high_s"]),
            seconds(s["latency_per_call_s"]),
            *(seconds(s[name]) for name in ("gpu_s", "host_s", "transfer_s", "roofline_s")),
            gibibytes(s["memory_bytes"]),
        )
        for s in document["stages"]
    )
    return Table("stages", heads, rows, "Stages")


def _gap_table(document: Document) -> Table:
    rows = tuple((g["what"], g["closed_by"], seconds(g["seconds"])) for g in document["theory"]["gap"])
    return Table("gap", ("what", "what would close it", "time"), rows, "Between roofline and estimate", left=2)


def _memory_table(document: Document) -> Table:
    m = document["memory_bytes"]
    rows = [(f"weights of {name}", gibibytes(value)) for name, value in m["weights"].items()]
    rows += [("peak", gibibytes(m["peak"])), ("usable", gibibytes(m["available"]))]
    return Table("memory", ("what", "memory"), tuple(rows), "What holds memory")


def _pulled(document: Document) -> Table:
    heads = ("lever", "what it does", "quality left", "training", "source", "time", "speed-up", "memory", "GPUs")
    rows = tuple(
        (
            *(str(r[name]) for name in ("lever", "title", "quality_text", "training", "source")),
            seconds(r["latency_s"]),
            f"{r['speedup']:.2f}",
            gibibytes(r["memory_bytes"]),
            amount(r["gpus"]),
        )
        for r in document["levers"]
    )
    return Table("pulled", heads, rows, "Levers of the best combination, each with those above it", left=5)


def _how(document: Document) -> Section:
    """How it runs, how the numbers are known, what the hours cost."""
    rows = [
        ("latency", document["provenance"]),
        ("execution", settings(document["execution"])),
        ("run", settings(document["run"])),
        *(("GPU-hour", line) for line in Quotes.from_dict(document).lines("give --price {gpu}=USD")),
        ("energy", "TDP times busy time: an upper bound"),
        *((("roofline", document["roofline"]),) if document["roofline"] else ()),
        *(("not costed", name) for name in document["not_costed"]),
    ]
    table = Table("provenance", ("number", "how it is known"), tuple(rows), left=2)
    return Section("provenance", "How the numbers are known", tables=(table,))
