"""The what-if page: controls on one side, their answer on the other, brought up to date while one slides."""

from __future__ import annotations

from nicegui import background_tasks, run, ui
from starlette.requests import Request

from archsearch.errors import ArchSearchError
from archsearch.ui.controls import Controls
from archsearch.ui.front_place import Fronts, Place, nearest_space, place_or_reason, spaces_of
from archsearch.ui.panels import Command, Figures, FrontPanel, Ops, Refused, Strip
from archsearch.ui.state import State
from archsearch.ui.style import CSS
from archsearch.ui.what_if import Answer, Refusal, Selection, what_if
from archsearch.ui.words import gib, seconds

TITLE = "archsearch: what if"


class WhatIfPage:
    """One visitor's page. Answers come from threads, one at a time; what was asked meanwhile is asked together."""

    def __init__(self, state: State, fronts: Fronts) -> None:
        self.state, self.fronts = state, fronts
        self._asked = self._done = 0
        self._busy = False
        self._space: str | None = None
        self._offered: tuple[str, ...] | None = None
        self._placed = 0
        self._answer: Answer | None = None
        ui.add_css(CSS)
        self._strip = Strip()
        with ui.element("div").classes("as-page"):
            self._controls = Controls(state, self.ask)
            main = ui.element("main").classes("as-column as-answers").props("aria-live=off")
        with main:
            self._refused = Refused(self._controls.turn)
            self._figures_box = ui.element("div").classes("as-column")
        with self._figures_box:
            self._figures, self._ops = Figures(), Ops()
            self._front = FrontPanel(self._space_chosen)
            self._command = Command(state.address)
        self.ask()

    def ask(self) -> None:
        """The state may have changed: answer it soon."""
        self._asked += 1
        if not self._busy:
            self._busy = True
            background_tasks.create(self._answer_all(), name="what if")

    async def _answer_all(self) -> None:
        try:
            while self._done != self._asked:
                self._done = self._asked
                answer = await run.io_bound(answered, self.state.selection())
                if answer is None:  # the server is stopping
                    return
                self._show(answer)
        finally:
            self._busy = False
        await self._place()

    def _show(self, answer: Answer | Refusal) -> None:
        refused = isinstance(answer, Refusal)
        self._refused.show(answer if isinstance(answer, Refusal) else None)
        self._figures_box.classes(add="as-stale" if refused else "", remove="" if refused else "as-stale")
        if isinstance(answer, Refusal):
            self._answer = None
            self._strip.show(f"not possible: {answer.reasons[0]}")
            return
        self._answer = answer
        r = answer.result
        fits = "fits" if r.fits else "does not fit"
        total, usable = gib(r.memory_bytes["total"]), gib(r.available_memory_bytes)
        self._strip.show(f"{seconds(r.latency_s)} · {total} of {usable} GiB, {fits}")
        self._figures.show(answer)
        self._ops.show(answer)
        self._command.show(answer)

    def _space_chosen(self, space: str) -> None:
        if space != self._space:
            self._space = space
            background_tasks.create(self._place(), name="place on the front")

    async def _place(self) -> None:
        """Where the last answer stands; a front that nobody has asked for yet takes seconds."""
        answer = self._answer
        if answer is None:
            return
        offered = spaces_of(answer.config.family)
        if offered != self._offered:
            self._offered = offered
            self._space = nearest_space(answer.config.family, answer.result.parameters)
            self._front.offer(offered, self._space)
        if self._space is None:
            return
        self._placed += 1
        mine, space, gpu = self._placed, self._space, answer.selection.gpu
        if self.fronts.known(space, gpu) is None:
            self._front.say(f"Enumerating {space} on {gpu} …")
        found = await run.io_bound(place_or_reason, answer.config, self.fronts, space, gpu)
        if found is None or mine != self._placed:
            return
        if isinstance(found, Place):
            self._front.show(found)
        else:
            self._front.say(found)


def answered(selection: Selection) -> Answer | Refusal:
    """An answer whatever happens: what no user can have caused is told as such, and not as a page that stands still."""
    try:
        return what_if(selection)
    except Exception as error:  # shown, with what is needed to report it
        return Refusal((f"this cannot be priced, which is a fault of archsearch: {type(error).__name__}: {error}",))


def heading() -> None:
    """The page's title."""
    with ui.element("header").classes("as-head"):
        with ui.element("h1"):
            ui.label(TITLE)
        with ui.element("p"):
            ui.label("What a transformer costs on a GPU, as you turn its dimensions.")


def build(model: str | None, gpu: str | None, asked: dict[str, str], fronts: Fronts) -> None:
    """The page of one visitor; an address that names nothing gets the reason and a way out."""
    ui.colors(primary="#1f6feb")
    heading()
    try:
        state = State.started(model, gpu, asked)
    except ArchSearchError as error:
        ui.add_css(CSS)
        with ui.element("div").classes("as-page"):
            refused = Refused(lambda name, value: None)
            refused.show(Refusal((str(error),)))
            ui.link("start anew", "/")
        return
    WhatIfPage(state, fronts)


def register(model: str | None, gpu: str | None) -> None:
    """Make the page known to the server; all its visitors share the fronts."""
    fronts = Fronts()

    def page(request: Request) -> None:
        build(model, gpu, dict(request.query_params), fronts)

    ui.page("/", title=TITLE, dark=None)(page)
