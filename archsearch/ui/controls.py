"""The left side of the page: which GPU and model, and a slider with a box for every number that can be turned."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from archsearch.ui.knobs import Knob, formats, phases_of, switches
from archsearch.ui.state import State, executions, gpu_choices, preset_choices
from archsearch.ui.what_if import Value

Changed = Callable[[], None]


class Controls:
    """Controls over a state; ``changed`` is called whenever it may have become another."""

    def __init__(self, state: State, changed: Changed) -> None:
        self.state, self._changed = state, changed
        self._boxes: dict[str, ui.number] = {}
        with ui.element("section").classes("as-column").props('aria-label="What is asked"'):
            with ui.element("div").classes("as-card"):
                self._models()
            self._knobs = ui.element("div").classes("as-column")
        self._show_knobs()

    def _models(self) -> None:
        state, families = self.state, preset_choices()
        _heading("GPU and model")
        _choice("GPU", gpu_choices(), state.gpu, self._gpu)
        own = [state.own] if state.own else []
        known = sorted(set(families.values()))
        self._family = _choice("family", known, state.base.family, self._family_chosen)
        self._model = _choice("model to start from", [*own, *self._of_family()], state.model, self._model_chosen)

    def _of_family(self) -> list[str]:
        return [name for name, family in preset_choices().items() if family == self.state.base.family]

    def _gpu(self, gpu: str) -> None:
        self.state.gpu = gpu
        self._changed()

    def _family_chosen(self, family: str) -> None:
        if family != self.state.base.family:
            self._model_chosen(next(name for name, of in preset_choices().items() if of == family))

    def _model_chosen(self, model: str) -> None:
        if model == self.state.model:
            return
        self.state.start_from(model)
        self._family.set_value(self.state.base.family)
        own = [self.state.own] if self.state.own else []
        self._model.set_options([*own, *self._of_family()], value=model)
        self._show_knobs()
        self._changed()

    def _show_knobs(self) -> None:
        """The numbers of the chosen model, in place of the last one's."""
        state = self.state
        self._knobs.clear()
        self._boxes = {}
        first = [knob for knob in state.shape() if knob.first]
        rest = [knob for knob in state.shape() if not knob.first]
        with self._knobs:
            with ui.element("div").classes("as-card"):
                with ui.row().classes("items-center justify-between no-wrap w-full"):
                    _heading("Dimensions")
                    ui.button("reset", on_click=self._reset).props("flat dense no-caps size=sm")
                for knob in first or rest:
                    self._knob(knob, state.changes)
                if first and (rest or switches(state.base)):
                    with ui.expansion("more dimensions").props("dense dense-toggle header-class=q-px-none"):
                        for knob in rest:
                            self._knob(knob, state.changes)
                        for name, on in switches(state.base).items():
                            self._switch(name, on)
            with ui.element("div").classes("as-card"):
                _heading("Workload")
                with ui.element("div").classes("as-pair"):
                    _choice("format", formats(), state.dtype, lambda value: self._word("dtype", value))
                    _choice("phase", phases_of(state.base), state.phase, lambda value: self._word("phase", value))
                _choice("execution", executions(), state.execution, lambda value: self._word("execution", value))
                for knob in state.work():
                    self._knob(knob, state.sizes)

    def _reset(self) -> None:
        self.state.start_from(self.state.model)
        self._show_knobs()
        self._changed()

    def _word(self, name: str, value: str) -> None:
        setattr(self.state, name, value)
        self._changed()

    def _knob(self, knob: Knob, into: dict[str, Value]) -> None:
        """A slider and a box of one number. Where the model's own rule gives it, a box alone that may stay empty."""
        value = into.get(knob.name, knob.value)
        number = float(value) if isinstance(value, int | float) else None
        with ui.element("div").classes("as-knob"):
            ui.label(knob.label).classes("as-name")
            box = ui.number(value=number, min=0, step=knob.step, format="%d")
            box.props(f'dense outlined aria-label="{knob.label}" data-knob={knob.name}')
            if knob.value is None:
                box.classes("as-alone").props('placeholder="own rule"')
            else:
                slider = ui.slider(min=knob.low, max=knob.high, step=knob.step, value=number)
                slider.props(f'dense aria-label="{knob.label}, slider" data-slider={knob.name}')
                slider.bind_value(box)
                slider.move(target_index=1)
            if into is self.state.changes:
                self._boxes[knob.name] = box
            box.on_value_change(lambda event: self._number(into, knob.name, event.value))

    def turn(self, name: str, value: int) -> None:
        """Give a dimension of the model a value, as if it were typed."""
        self._boxes[name].set_value(value)

    def _number(self, into: dict[str, Value], name: str, value: float | None) -> None:
        into[name] = int(value) if value is not None and value == int(value) else value
        self._changed()

    def _switch(self, name: str, on: bool) -> None:
        def turned(value: bool) -> None:
            self.state.changes[name] = value
            self._changed()

        chosen = bool(self.state.changes.get(name, on))
        ui.switch(name.replace("_", " "), value=chosen, on_change=lambda event: turned(event.value)).props("dense")


def _heading(text: str) -> None:
    with ui.element("h2"):
        ui.label(text)


def _choice(label: str, options: list[str], value: str, chosen: Callable[[str], None]) -> ui.select:
    select = ui.select(options, label=label, value=value, with_input=len(options) > 12)
    key = label.split()[0].lower()
    select.props(f'dense outlined options-dense aria-label="{label}" data-choice={key}').classes("w-full q-mb-sm")
    select.on_value_change(lambda event: chosen(event.value) if event.value is not None else None)
    return select
