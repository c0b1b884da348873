"""The right side of the page: figures with their bands, the slowest ops, the place on a front, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from nicegui import ui

from archsearch.ui.front_place import Front, Place
from archsearch.ui.what_if import Answer, Refusal
from archsearch.ui.words import (
    counted,
    flops,
    gib,
    latency_notes,
    memory_notes,
    quality_notes,
    quality_value,
    rate,
    seconds,
)

COLUMNS = ("op", "kind", "count", "time", "share", "bound", "tile", "waves", "wave eff.")
FRONT_HEIGHT = 320
GREY, BLUE, ORANGE = "#8b949e", "#4c8dff", "#e8590c"
"""Readable on both a white and a black ground."""


class Figure:
    """One figure with what is said below it, and a bar where ``bar``."""

    def __init__(self, name: str, key: str, *, bar: bool = False) -> None:
        with ui.element("div").classes("as-card as-figure").props(f"data-figure={key}"):
            with ui.element("h2"):
                ui.label(name)
            self._value = ui.label("…").classes("as-value")
            self._bar = ui.element("div").classes("as-bar") if bar else None
            self._notes = ui.element("div")

    def show(self, value: str, notes: Sequence[str], *, bad: str = "") -> None:
        """The value and a line for each note; the one that is ``bad`` stands out."""
        self._value.set_text(value)
        self._notes.clear()
        with self._notes:
            for note in notes:
                ui.label(note).classes("as-note as-bad" if note == bad else "as-note")

    def spans(self, *spans: tuple[str, float, float], over: bool = False) -> None:
        """Parts of the bar: a class, and from where to where (0 to 1)."""
        assert self._bar is not None
        self._bar.clear()
        self._bar.classes(add="as-over" if over else "", remove="" if over else "as-over")
        with self._bar:
            for kind, start, end in spans:
                low, high = max(0.0, min(start, 1.0)), max(0.0, min(end, 1.0))
                ui.element("div").classes(kind).style(f"left:{low:.2%};width:{max(high - low, 0.004):.2%}")


class Strip:
    """Latency and memory in one line, which stays in sight on a narrow screen."""

    def __init__(self) -> None:
        with ui.element("div").classes("as-strip").props('aria-hidden="true"'):
            self._told = ui.label("…")

    def show(self, text: str) -> None:
        self._told.set_text(text)


class Figures:
    """What an answer says, in six cards."""

    def __init__(self) -> None:
        with ui.element("div").classes("as-figures"):
            self._latency = Figure("Latency", "latency", bar=True)
            self._memory = Figure("Memory", "memory", bar=True)
            self._quality = Figure("Quality (proxy)", "quality", bar=True)
            self._parameters = Figure("Parameters", "parameters")
            self._flops = Figure("FLOPs", "flops")
            self._throughput = Figure("Throughput", "throughput")

    def show(self, answer: Answer) -> None:
        r, quality = answer.result, answer.quality
        self._latency.show(seconds(r.latency_s), latency_notes(answer))
        top = 1.25 * r.latency_high_s
        at = r.latency_s / top
        self._latency.spans(("as-span", r.latency_low_s / top, r.latency_high_s / top), ("as-mark", at, at))
        total, usable = r.memory_bytes["total"], r.available_memory_bytes
        notes = memory_notes(answer)
        self._memory.show(f"{gib(total)} GiB", notes, bad="" if r.fits else notes[1])
        self._memory.spans(("as-fill", 0.0, total / usable), over=not r.fits)
        self._quality.show(quality_value(quality), quality_notes(quality))
        if quality is None or quality.value is None or quality.low is None or quality.high is None:
            self._quality.spans()
        else:
            wide = quality.high - quality.low  # the band is the middle third of the bar
            at = (quality.value - quality.low) / (3 * wide) + 1 / 3 if wide > 0 else 0.5
            self._quality.spans(("as-span", 1 / 3, 2 / 3), ("as-mark", at, at))
        active = "" if r.active_parameters == r.parameters else f"{counted(r.active_parameters)} active a token"
        self._parameters.show(counted(r.parameters), [note for note in (f"{r.parameters:,}", active) if note])
        self._flops.show(flops(r.flops), [f"{r.mfu:.1%} of the GPU's peak used (MFU)", f"{r.hfu:.1%} HFU"])
        self._throughput.show(rate(r.throughput), [r.throughput_unit, f"{r.kernels:,} kernels"])


class Ops:
    """The slowest ops, as rows of text: what a model calls itself stays text."""

    def __init__(self) -> None:
        with ui.element("div").classes("as-card"):
            with ui.element("h2"):
                ui.label("Where the time goes")
            with ui.element("div").classes("as-scroll").props('tabindex=0 role=region aria-label="slowest operations"'):
                self._table = ui.element("table")

    def show(self, answer: Answer) -> None:
        self._table.clear()
        with self._table:
            with ui.element("thead"), ui.element("tr"):
                for column in COLUMNS:
                    with ui.element("th").props("scope=col"):
                        ui.label(column)
            with ui.element("tbody"):
                for row in answer.slowest:
                    efficiency, waves = row["wave_efficiency"], row["waves"]
                    cells = (
                        *(row["name"], row["op"], f"{row['count']:,}", seconds(row["latency_s"])),
                        *(f"{row['latency_s'] / answer.result.latency_s:.1%}", row["bound"], row["tile"] or ""),
                        *("" if waves is None else f"{waves:g}", "" if efficiency is None else f"{efficiency:.0%}"),
                    )
                    with ui.element("tr"):
                        for cell in cells:
                            with ui.element("td"):
                                ui.label(cell)


class Command:
    """The command that gives the same figures, with a button that copies it, and one for the page's address."""

    def __init__(self, address: Callable[[], str]) -> None:
        self._script, self._address = "", address
        with ui.element("div").classes("as-card"):
            with ui.row().classes("items-center justify-between no-wrap w-full"):
                with ui.element("h2"):
                    ui.label("The same on the command line")
                with ui.row().style("gap: 4px"):
                    ui.button("link", icon="link", on_click=self._link).props("flat dense no-caps size=sm")
                    ui.button("copy", icon="content_copy", on_click=self._copy).props("flat dense no-caps size=sm")
            with ui.element("pre").classes("as-command").props('tabindex=0 aria-label="command" data-command'):
                self._text = ui.label("")

    def show(self, answer: Answer) -> None:
        self._script = answer.script
        self._text.set_text(answer.script)

    def _link(self) -> None:
        """Copy the address that leads back to this selection."""
        query = json.dumps(f"?{self._address()}")
        ui.run_javascript(f"navigator.clipboard.writeText(location.origin + '/' + {query})")
        ui.notify("link copied", timeout=1200)

    def _copy(self) -> None:
        ui.clipboard.write(self._script)
        ui.notify("copied", timeout=1200)


class Refused:
    """Why there is no answer; what is shown below is then the last one's. ``take`` is called with a remedy that is
    chosen: a field and its value."""

    def __init__(self, take: Callable[[str, int], None]) -> None:
        self._take = take
        self._box = ui.element("div").classes("as-refusal").props("role=alert data-refusal")
        self._box.set_visibility(False)

    def show(self, refusal: Refusal | None) -> None:
        self._box.clear()
        self._box.set_visibility(refusal is not None)
        if refusal is None:
            return
        with self._box:
            with ui.element("h2"):
                ui.label("Not possible")
            for reason in refusal.reasons:
                ui.label(reason)
            if refusal.remedies:
                with ui.row().classes("items-center q-mt-sm").style("gap: 8px"):
                    ui.label("The nearest that are:")
                    for name, value in refusal.remedies:
                        self._remedy(name, value)

    def _remedy(self, name: str, value: int) -> None:
        button = ui.button(f"{name.replace('_', ' ')} {value}", on_click=lambda: self._take(name, value))
        button.props(f"outline dense no-caps size=sm data-remedy={name}").classes("q-px-sm")


class FrontPanel:
    """The architecture beside the front of a space; ``chosen`` is called with the space that is to be shown."""

    def __init__(self, chosen: Callable[[str], None]) -> None:
        self._told: object = None
        with ui.element("div").classes("as-card").props("data-front"):
            with ui.element("h2"):
                ui.label("Place on a front")
            self._space = ui.select([], label="space").props('dense outlined options-dense aria-label="space"')
            self._space.on_value_change(lambda event: chosen(event.value) if event.value else None)
            self._verdict = ui.label("").classes("q-mt-sm").props("data-verdict")
            self._notes = ui.element("div")
            self._room = ui.element("div").style(f"height:{FRONT_HEIGHT}px")  # kept free, so that nothing below moves
            with self._room:
                self._plot = ui.plotly(_drawn(None, None)).classes("w-full").style("height:100%")

    def offer(self, spaces: Sequence[str], space: str | None) -> None:
        """The spaces of the family, and the one that is shown."""
        self._space.set_options(list(spaces), value=space)
        self._space.set_visibility(bool(spaces))
        self._room.set_visibility(bool(spaces))
        if space is None:
            self.say("No shipped space searches this family: `archsearch spaces list` shows what there is.")

    def say(self, text: str) -> None:
        """A sentence in place of a picture."""
        self._verdict.set_text(text)
        self._notes.clear()
        self._plot.set_visibility(False)

    def show(self, place: Place) -> None:
        front = place.front
        self._verdict.set_text(place.verdict)
        self._notes.clear()
        with self._notes:
            if place.outside:
                ui.label(f"This model is outside the space: {'; '.join(place.outside)}").classes("as-muted")
            ui.label(f"All priced as the space says: {front.run}, on {front.gpu}").classes("as-muted")
        self._plot.set_visibility(True)
        self._plot.update_figure(_drawn(front, place.point))


def _drawn(front: Front | None, point: tuple[float, float] | None) -> dict[str, object]:
    """A front and a point as a figure of Plotly's, speed to the right."""
    axis = {"gridcolor": "rgba(139,148,158,.25)", "zeroline": False, "automargin": True}
    titles = ("", "") if front is None else front.titles
    data: list[dict[str, object]] = []
    if front is not None and point is not None:
        hover = {"hovertemplate": "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>"}
        data = [
            {
                **{"type": "scatter", "mode": "markers", "name": f"front of {front.space}"},
                **{"x": front.points[:, 1].tolist(), "y": front.points[:, 0].tolist(), "text": list(front.labels)},
                **{"marker": {"color": BLUE, "size": 8}, **hover},
            },
            {
                **{"type": "scatter", "mode": "markers", "name": "this model", "x": [point[1]], "y": [point[0]]},
                **{"marker": {"color": ORANGE, "size": 14, "symbol": "diamond"}, "text": ["this model"], **hover},
            },
        ]
    layout = {
        **{"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font": {"color": GREY, "size": 12}},
        **{"margin": {"l": 48, "r": 12, "t": 8, "b": 40}, "legend": {"orientation": "h", "y": 1.12}},
        **{"xaxis": {**axis, "title": {"text": titles[1]}}, "yaxis": {**axis, "title": {"text": titles[0]}}},
    }
    return {"data": data, "layout": layout, "config": {"displayModeBar": False, "responsive": True}}
