"""What optuna-dashboard is to show beside a study: notes in Markdown of the study and its best trials.

A note says what was searched or what a trial is; texts that are not ours (names of spaces, GPUs, fields) are escaped,
since the dashboard renders Markdown with HTML in it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archsearch.search.evaluate.columns import Row, per_gpu_column
from archsearch.search.evaluate.result import SearchResult
from archsearch.search.studies.study_contents import summarize_study
from archsearch.ui.words import counted, flops, gib, rate, seconds

if TYPE_CHECKING:
    import optuna

SIGNED = "*Written by `archsearch ui` and renewed by it; delete this line to keep the note as it is.*"
"""The last line of our notes: one without it is the user's own, and is left alone."""
NOTED = 100
"""Trials of the front that get a note, beside those that are recommended."""


def escaped(text: object) -> str:
    """A text that Markdown and HTML leave as it is."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~^])", r"\\\1", html.escape(str(text), quote=False))


def ranks_of(trials: SearchResult, recommended: SearchResult | None) -> dict[int, int]:
    """Trials that are a recommended architecture: row of the recommendation by trial number."""
    if recommended is None:
        return {}
    names = [name for name in trials.setting.dimensions if name in trials.frame and name in recommended.frame]
    key = {tuple(row[name] for name in names): place for place, row in enumerate(recommended.rows())}
    found: dict[int, int] = {}
    for row in trials.rows():
        place = key.get(tuple(row[name] for name in names))
        if place is not None and place not in found.values():
            found[int(row["trial"])] = place
    return found


def trial_notes(trials: SearchResult, recommended: SearchResult | None) -> dict[int, str]:
    """Notes by trial number: of the recommended, and of up to ``NOTED`` others of the front."""
    ranks = ranks_of(trials, recommended)
    why = [str(row["why"]) for row in recommended.rows()] if recommended is not None else []
    found: dict[int, str] = {}
    others = 0
    for row in trials.rows():
        place = ranks.get(int(row["trial"]))
        if place is None:
            others += bool(row["on_front"])
            if not row["on_front"] or others > NOTED:
                continue
        told = [] if place is None else [f"Recommended, rank {place + 1}:", "", *_reasons(why[place])]
        found[int(row["trial"])] = trial_note(row, trials, told)
    return found


def _reasons(why: str) -> list[str]:
    """The reasons of a recommendation, one an item."""
    return [f"- {escaped(reason)}" for reason in why.split("; ")]


def trial_note(row: Row, trials: SearchResult, recommended: Sequence[str] = ()) -> str:
    """One architecture: dimensions, latency with its band on each GPU, memory, parameters, quality."""
    setting = trials.setting
    dimensions = ", ".join(f"{escaped(n)} {row[n]:g}" for n in setting.dimensions if n in row)
    quality = setting.quality
    band = f" ({row['quality_low']:.4g} to {row['quality_high']:.4g})" if "quality_low" in row else ""
    lines = [
        f"**{dimensions}**",
        "",
        *recommended,
        "",
        "| GPU | latency | 80 % band | per second |",
        "|---|---|---|---|",
    ]
    lines += [_gpu_line(row, gpu) for gpu in setting.pool.ids]
    lines += [
        "",
        *_facts(row),
        f"- expected {escaped(quality.metric)} {row['quality']:.4g}{band}, by {escaped(quality.proxy)}",
    ]
    if row.get("front_of"):
        lines.append(f"- on the front of: {escaped(str(row['front_of']).replace(',', ', '))}")
    if not row.get("feasible", True):
        lines.append(f"- misses a budget by {float(row['violation']):.1%}")
    return _joined(lines)


def _gpu_line(row: Row, gpu: str) -> str:
    latency, low, high = (row.get(per_gpu_column(f"latency{end}_s", gpu)) for end in ("", "_low", "_high"))
    speed = row.get(per_gpu_column("throughput", gpu))
    band = "" if low is None or high is None else f"{seconds(float(low))} to {seconds(float(high))}"
    told = "" if latency is None else seconds(float(latency))
    return f"| {escaped(gpu)} | {told} | {band} | {'' if speed is None else rate(float(speed))} |"


def _facts(row: Row) -> list[str]:
    return [
        f"- {counted(float(row['parameters']))} parameters, {flops(float(row['flops']))}",
        f"- {gib(float(row['memory_bytes']))} GiB of memory",
    ]


def study_note(study: optuna.Study, recommended: SearchResult | None, trial_of: Mapping[int, int]) -> str:
    """A study: what was searched, how, what was found, and how to ask for more. ``trial_of`` are the trials by row of
    the recommendation."""
    told: dict[str, Any] = summarize_study(study)
    hardware, objectives = (escaped(", ".join(told[key])) for key in ("hardware", "objectives"))
    lines = [
        f"**{escaped(told['space'])}** on {hardware}: {objectives}",
        "",
        f"- strategy {escaped(told['strategy'])}, seed {told['seed']}, quality by {escaped(told['proxy'])}",
        f"- {told['trials']:,} trials, {told['feasible']:,} feasible, {told['front']:,} on the front",
    ]
    if "architectures" in told:
        lines.append(f"- every one of {told['architectures']:,} combinations was priced; {told['valid']:,} are valid")
    if recommended is not None and len(recommended):
        lines += ["", "| rank | trial | why |", "|---|---|---|"]
        for place, row in enumerate(recommended.rows()):
            number = trial_of.get(place)
            link = "" if number is None else f"[{number}](/dashboard/studies/{study._study_id}/trials?numbers={number})"
            lines.append(f"| {place + 1} | {link} | {escaped(row['why'])} |")
    name = study.study_name
    if "`" not in name:
        lines += ["", f"`archsearch recommend {name}` and `archsearch explain {name}:1` say more."]
    return _joined(lines)


def _joined(lines: Sequence[str]) -> str:
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip())
    return f"{text}\n\n{SIGNED}\n"
