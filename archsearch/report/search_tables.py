"""Tables of a search's report: what each dimension costs, why the neighbours lose, how every number is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archsearch.report.texts import amount, settings, share
from archsearch.report.web_page import Table

if TYPE_CHECKING:
    from archsearch.search.answers.explain import Explanation, GpuExplanation
    from archsearch.search.evaluate.advice import Gain
    from archsearch.search.evaluate.result import SearchResult
    from archsearch.search.evaluate.setting import Setting

GIVE_PRICE = "no price known: give one under prices in the space, or --price {gpu}=USD"


def gain_table(gains: Sequence[Gain]) -> Table:
    """How many times as fast each recommendation is as what it is compared with."""
    rows = tuple(
        (
            f"rank {gain.rank}",
            gain.against,
            gain.gpu,
            f"{gain.speedup:.3f}",
            f"{gain.low:.3f} to {gain.high:.3f}",
            share(gain.regret) if gain.regret > 0 else "none",
            "yes" if gain.low <= 1 <= gain.high else "no",
        )
        for gain in sorted(gains, key=lambda gain: gain.rank)
    )
    heads = ("of", "over", "GPU", "speed-up", "80 % band", "regret at its lower end", "equal within noise")
    return Table("gains", heads, rows, "How much faster, with the band of the ratio", left=3)


def neighbour_table(explanation: Explanation) -> Table:
    """Every step from an architecture: how it compares, and why it loses. Single steps first."""
    order = {"better": 0, "trade": 1, "equal": 2, "not comparable": 3, "worse": 4, "over budget": 5, "illegal": 6}
    ranked = sorted(
        explanation.neighbours, key=lambda row: (not row["single"], order.get(_verdict(row).split(" on ")[0], 9))
    )
    rows = tuple((str(row["label"]), _verdict(row), _why(row)) for row in ranked)
    caption = "Single steps of one dimension first, then pairs"
    return Table("neighbours", ("step", "verdict", "what it changes, and why"), rows, caption, left=3)


def _verdict(row: Mapping[str, Any]) -> str:
    """One word; the GPUs with it where they differ."""
    verdicts: Mapping[str, str] = row["verdict"]
    words = list(dict.fromkeys(verdicts.values()))
    if len(words) == 1:
        return words[0]
    return ", ".join(f"{word} on {' '.join(g for g, w in verdicts.items() if w == word)}" for word in words)


def _why(row: Mapping[str, Any]) -> str:
    """What a step changes, without the verdict that stands beside it."""
    why, word = str(row["why"]), _verdict(row)
    return why.removeprefix(f"{word}: ").removesuffix(f": {word}").removesuffix(f" ({word})")


def verdicts_in_words(explanation: Explanation) -> str:
    """How the single steps compare, counted."""
    singles = [_verdict(row) for row in explanation.neighbours if row["single"]]
    counts = {word: singles.count(word) for word in dict.fromkeys(singles)}
    told = ", ".join(f"{number} {word}" for word, number in sorted(counts.items(), key=lambda item: -item[1]))
    return f"Of {len(singles)} single steps: {told}." if singles else "No dimension has another value to step to."


def dimension_table(views: Sequence[GpuExplanation]) -> Table:
    """What a single step of each dimension changes: sizes once, latency on every GPU."""
    steps: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for view in views:
        for row in view.dimensions:
            key = (str(row["dimension"]), amount(row["from"]), amount(row["to"]))
            steps.setdefault(key, {})[view.gpu] = row
    rows = []
    for (name, before, after), by_gpu in steps.items():
        first = next(iter(by_gpu.values()))
        quality = first["quality_change"]
        latencies = [f"{by_gpu[view.gpu]['latency_change']:+.1%}" if view.gpu in by_gpu else "" for view in views]
        sizes = [f"{first[f'{what}_change']:+.1%}" for what in ("parameters", "flops", "memory")]
        rows.append((name, f"{before} → {after}", *latencies, *sizes, "" if quality is None else f"{quality:+.3g}"))
    on = (f"latency, {view.gpu}" for view in views)
    heads = ("dimension", "step", *on, "parameters", "FLOPs", "memory", "quality")
    return Table("dimensions", heads, tuple(rows), "What a step of each dimension changes", left=2)


def op_table(name: str, view: GpuExplanation) -> Table:
    """Every op of a breakdown, the longest first, with what limits it."""
    return breakdown_table(name, view.gpu, view.breakdown, view.latency_s)


def breakdown_table(name: str, gpu: str, breakdown: Sequence[Mapping[str, Any]], latency_s: float) -> Table:
    """Rows of a breakdown, the longest first, with tile, waves and what limits them."""
    rows = tuple(
        (
            str(row["name"]),
            str(row["op"]),
            str(row["bound"]),
            str(row["tile"] or ""),
            amount(row["count"]),
            f"{row['latency_s'] * 1e3:.4g}",
            f"{row['latency_s'] / latency_s:.1%}",
            "" if row["waves"] is None else f"{row['waves']:.4g}",
            "" if row["wave_efficiency"] is None else f"{row['wave_efficiency']:.0%}",
            str(row["provenance"]),
        )
        for row in sorted(breakdown, key=lambda row: -float(row["latency_s"]))
    )
    heads = ("op", "kind", "bound", "tile", "count", "ms", "share", "waves", "wave efficiency", "known")
    return Table(name, heads, rows, f"Ops on {gpu}, the longest first", left=4)


def provenance_table(result: SearchResult) -> Table:
    """How each number of a search is known, and under which workload and execution it holds."""
    setting, advice = result.setting, result.advice
    quality = setting.quality
    assumed = "assumed: borrowed from another setting, ranks sizes; " if quality.assumed else ""
    known = {} if advice is None else advice.provenance
    rows = [(f"latency on {gpu}", word) for gpu, word in known.items()]
    rows += [
        ("quality", f"{quality.proxy}: {assumed}{quality.source} {quality.url}".strip()),
        ("memory", "counted: weights, and the activations that live at once"),
        ("energy", setting.economy.energy_basis),
        *_prices(setting),
        ("workload", settings(setting.workload.model_dump(mode="json", exclude_none=True))),
        ("execution", setting.execution.line()),
        ("objectives", _objectives(setting)),
    ]
    if advice is not None:
        how = "exact: every architecture of the space was judged" if advice.exact else "of the architectures sampled"
        rows.append(("front", f"{advice.front:,} architectures; {how}"))
        rows.append(("order", f"prefers {advice.prefer}"))
    return Table("provenance", ("number", "how it is known"), tuple(rows), left=2)


def _objectives(setting: Setting) -> str:
    words = {name: "less" if sign > 0 else "more" for name, sign in setting.objectives.items()}
    return ", ".join(f"{name} ({word} is better)" for name, word in words.items())


def _prices(setting: Setting) -> list[tuple[str, str]]:
    return [("GPU-hour", line) for line in setting.economy.quotes.lines(GIVE_PRICE)] if setting.in_usd else []


def rejected_table(rejected: Mapping[str, int], architectures: int) -> Table:
    """What rules and budgets of a space leave out."""
    ordered = sorted(rejected.items(), key=lambda item: -item[1])
    rows = tuple((reason, f"{number:,}", share(number / architectures)) for reason, number in ordered)
    caption = "What the rules and budgets leave out (an architecture may break several)"
    return Table("rejected", ("rule or budget", "architectures", "of all"), rows, caption)
