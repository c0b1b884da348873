"""A study or a space as a page: what was asked, what wins and by how much, and why the neighbours lose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archsearch.ranges import require_range
from archsearch.report.drawing import drawn_sections
from archsearch.report.pinned import Pinned, pinned, thinned
from archsearch.report.search_pictures import (
    curve_pictures,
    front_pictures,
    gpu_pictures,
    parallel_picture,
    proxy_picture,
)
from archsearch.report.search_tables import (
    dimension_table,
    gain_table,
    neighbour_table,
    op_table,
    provenance_table,
    rejected_table,
    verdicts_in_words,
)
from archsearch.report.texts import amount, count, gibibytes, seconds, span
from archsearch.report.treemap import CAPTION, treemap, treemap_info
from archsearch.report.web_page import Card, Page, Picture, Section, Snippet, Table

if TYPE_CHECKING:
    import optuna

    from archsearch.plotting.sources import Found
    from archsearch.search.answers.explain import Explanation, GpuExplanation
    from archsearch.search.evaluate.pool_models import Hardware
    from archsearch.search.evaluate.result import SearchResult
    from archsearch.search.space.space import SearchSpace

Files = Callable[["SearchResult", int], Sequence[Snippet]]
"""Texts to copy for the architecture of a row, counted from 1: its config, the command that repeats it."""


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """What a report of a search shows: what was found, rank 1 explained, and how it is called.

    ``kind`` is study or space; ``rejected`` says what rules and budgets leave out of ``architectures``, where all were
    judged.
    """

    kind: str
    name: str
    search: Found
    explanation: Explanation
    rejected: Mapping[str, int] = field(default_factory=dict)
    architectures: int = 0


def search_answer(
    source: optuna.Study | SearchSpace,
    hardware: Hardware | None = None,
    *,
    storage: str | None = None,
    top: int = 5,
    progress: bool = False,
) -> SearchAnswer:
    """What a report of a study or a space shows.

    Raises:
        InvalidInputError: hardware beside a study, which has its own, or ``top`` that is no whole number from 1.
        ArchSearchError: nothing is feasible; the text names the binding limit and the nearest architecture.
    """
    require_range("top", top, 1, whole=True)
    from archsearch.plotting.sources import found
    from archsearch.search.answers.ranked import explain_row
    from archsearch.search.explore.enumeration import with_own_fronts
    from archsearch.search.space.space import SearchSpace

    search = found(source, hardware=hardware, storage=storage, top=top, progress=progress)
    best, pricer = search.best, search.evaluator
    assert best is not None  # they were asked for, of what prices
    assert pricer is not None
    told = explain_row(
        with_own_fronts(pricer, progress=progress), best.rows()[0], best.setting.objectives, best.config(1)
    )
    counts = best.counts
    is_space = isinstance(source, SearchSpace)
    return SearchAnswer(
        kind="space" if is_space else "study",
        name=source.name if isinstance(source, SearchSpace) else source.study_name,
        search=thinned(search),
        explanation=told,
        rejected={} if counts is None else counts.rejected,
        architectures=0 if counts is None else counts.architectures,
    )


def search_page(answer: SearchAnswer, files: Files, command: str = "", *, progress: bool = False) -> Page:
    """The page of a study or space; ``files`` gives the texts to copy of a recommended row."""
    best = _best(answer)
    pins = pinned(answer.search)
    makers: tuple[Callable[[], Section], ...] = (
        lambda: _recommended(answer, pins, files),
        lambda: _front(answer, pins),
        lambda: _parallel(answer),
        lambda: _gpus(answer),
        lambda: _time(answer.explanation),
        lambda: _dimensions(answer),
        lambda: _laws(answer),
        lambda: _neighbours(answer.explanation),
        lambda: _provenance(answer),
    )
    sections = drawn_sections(makers, progress)
    title = f"{answer.name} on {', '.join(best.setting.pool.ids)}"
    return Page(answer.kind, title, _headline(answer), sections, _facts(answer), pins.points, command)


def _best(answer: SearchAnswer) -> SearchResult:
    best = answer.search.best
    assert best is not None
    return best


def _headline(answer: SearchAnswer) -> tuple[str, ...]:
    """What wins and by how much, what was asked, and how sure the order is."""
    from archsearch.search.answers.gains import unlike_size

    best = _best(answer)
    setting, advice = best.setting, best.advice
    assert advice is not None
    row = best.rows()[0]
    gpu = setting.pool.ids[0]
    quality = "unknown" if row["quality"] != row["quality"] else f"{row['quality']:.4g}"
    first = (
        f"Rank 1 is {_shape(best, row)}: {count(row['parameters'])} parameters, predicted {setting.quality.metric} "
        f"{quality}, {seconds(row[f'latency_s:{gpu}'])} per {advice.run} on {gpu}."
    )
    over = [gain for gain in advice.gains if gain.rank == 1 and not gain.against.startswith("rank ")]
    won = [
        f"{gain.speedup:.2f} times as fast as {gain.against} on {gain.gpu} (80 % band {gain.low:.2f} to {gain.high:.2f}"
        + (": equal within noise)" if gain.low <= 1 <= gain.high else ")")
        for gain in over
    ]
    asked = (
        f"Asked: {', '.join(answer.explanation.objectives)}, of {setting.family} architectures; the pool is "
        f"{', '.join(setting.pool.ids)}."
    )
    unlike = "" if advice.baseline is None else unlike_size(row["parameters"], advice.baseline.metrics["parameters"])
    speed = (
        f"It is {'; '.join(won)}{f', {unlike}: a difference of size, not of shape' if unlike else ''}." if won else ""
    )
    told = (first, _runner_up(best), speed, asked) if unlike else (first, speed, _runner_up(best), asked)
    return tuple(line for line in told if line)


def _shape(best: SearchResult, row: Mapping[str, Any]) -> str:
    names = [name for name in best.setting.dimensions if name in row]
    return ", ".join(f"{name} {amount(row[name])}" for name in names)


def _runner_up(best: SearchResult) -> str:
    """Whether rank 1 is faster than rank 2 beyond the band."""
    assert best.advice is not None
    second = [gain for gain in best.advice.gains if gain.rank == 1 and gain.against == "rank 2"]
    if not second:
        return ""
    told = "; ".join(f"{g.speedup:.3f} times on {g.gpu} ({g.low:.3f} to {g.high:.3f})" for g in second)
    level = all(g.low <= 1 <= g.high for g in second)
    return f"Against rank 2 its speed is {told}{': equal within noise' if level else ''}."


def _facts(answer: SearchAnswer) -> tuple[tuple[str, str], ...]:
    best = _best(answer)
    setting, advice = best.setting, best.advice
    assert advice is not None
    facts = [("space", setting.space), ("front", f"{advice.front:,} architectures"), ("prefers", advice.prefer)]
    facts.append(("answer", "exact" if advice.exact else "of the architectures sampled"))
    if answer.architectures:
        facts.append(("judged", f"{answer.architectures:,} architectures"))
    workload = setting.workload.model_dump(mode="json", exclude_none=True)
    return (*facts, *((name.replace("_", " "), amount(value)) for name, value in workload.items()))


def _recommended(answer: SearchAnswer, pins: Pinned, files: Files) -> Section:
    best = _best(answer)
    assert best.advice is not None
    cards = tuple(
        Card(
            title=f"Rank {row['rank']}",
            facts=_card_facts(best, row),
            lines=(str(row["why"]),),
            snippets=tuple(files(best, place)),
            pin=pins.rows["best"][place - 1],
        )
        for place, row in enumerate(best.rows(), start=1)
    )
    tables = (gain_table(best.advice.gains),) if best.advice.gains else ()
    return Section("recommended", "Recommended", cards=cards, tables=(*tables, *_own_choices(best)))


def _card_facts(best: SearchResult, row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    setting = best.setting
    facts = [(name, amount(row[name])) for name in setting.dimensions if name in row]
    facts += [("parameters", count(row["parameters"])), ("memory", gibibytes(row["memory_bytes"]))]
    if row["quality"] == row["quality"]:
        band = f" ({row['quality_low']:.4g} to {row['quality_high']:.4g})"
        facts.append((f"predicted {setting.quality.metric}", f"{row['quality']:.4g}{band}"))
    for gpu in setting.pool.ids:
        band = span(row[f"latency_low_s:{gpu}"], row[f"latency_high_s:{gpu}"])
        facts.append((gpu, f"{seconds(row[f'latency_s:{gpu}'])} ({band})"))
    return tuple(facts)


def _own_choices(best: SearchResult) -> tuple[Table, ...]:
    """What each GPU of a pool alone would choose."""
    pool = None if best.advice is None else best.advice.pool
    if pool is None:
        return ()
    rows = tuple(
        (
            choice.gpu,
            ", ".join(f"{name} {amount(value)}" for name, value in choice.config.items()),
            seconds(choice.latency_s),
            f"{choice.regret:.1%}" if choice.regret else "none: it is rank 1",
        )
        for choice in pool.own_choices
    )
    heads = ("GPU", "its own choice, at no lower quality", "latency", "faster there than rank 1 by")
    return (Table("own", heads, rows, "What each GPU alone would choose", left=2),)


def _front(answer: SearchAnswer, pins: Pinned) -> Section:
    pictures, told = front_pictures(answer.search, pins)
    return Section("front", "Front", told, pictures=pictures, compare=True, tables=(pins.table(),))


def _parallel(answer: SearchAnswer) -> Section:
    pictures, told = parallel_picture(answer.search)
    return Section("parallel", "Parallel axes", told, pictures=pictures)


def _gpus(answer: SearchAnswer) -> Section:
    return Section("gpus", "GPUs and memory", pictures=gpu_pictures(_best(answer)))


def _laws(answer: SearchAnswer) -> Section:
    pictures, told = proxy_picture(answer.search)
    return Section("laws", "Where quality laws disagree", told, pictures=pictures)


def _time(explanation: Explanation) -> Section:
    """Where the time of rank 1 goes, by GPU."""
    tables = tuple(op_table(f"ops-{number}", view) for number, view in enumerate(explanation.per_gpu))
    told = tuple(
        f"{view.gpu}: {seconds(view.latency_s)} per {explanation.per} (80 % band {span(view.low_s, view.high_s)}, "
        f"{view.provenance}): {_shares(view)}."
        for view in explanation.per_gpu
    )
    pictures = tuple(
        Picture(f"time-{number}", "Rank 1 on", treemap(treemap_info(view, explanation.per)), CAPTION, "time", view.gpu)
        for number, view in enumerate(explanation.per_gpu)
    )
    return Section("time", "Where the time goes", told, pictures=pictures, tables=tables)


def _shares(view: GpuExplanation) -> str:
    """The groups of its time, those of half a per cent and more."""
    return ", ".join(f"{group['share']:.0%} {group['group']}" for group in view.groups if group["share"] >= 0.005)


def _dimensions(answer: SearchAnswer) -> Section:
    explanation = answer.explanation
    each = tuple(
        f"{view.gpu}: per cent of latency for one per cent of a dimension: "
        + ", ".join(f"{name} {value:.2f}" for name, value in view.sensitivities.items())
        for view in explanation.per_gpu
        if view.sensitivities
    )
    pictures, told = curve_pictures(_best(answer))
    table = dimension_table(explanation.per_gpu)
    return Section("dimensions", "What each dimension costs", (*each, *told), pictures=pictures, tables=(table,))


def _neighbours(explanation: Explanation) -> Section:
    lines = (f"Around rank 1, in the space's own values. {verdicts_in_words(explanation)}",)
    return Section("neighbours", "Why the neighbours lose", lines, tables=(neighbour_table(explanation),))


def _provenance(answer: SearchAnswer) -> Section:
    tables = [provenance_table(_best(answer))]
    if answer.rejected and answer.architectures:
        tables.append(rejected_table(answer.rejected, answer.architectures))
    return Section("provenance", "How the numbers are known", tables=tuple(tables))
