"""What a page has been told so far: a selection that is being made, and what can be turned on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlencode

from archsearch.cost.asked_execution import EXECUTION_NAMES
from archsearch.hardware import gpu_ids, load_gpu
from archsearch.models.base import ModelConfig
from archsearch.models.registry.families import load_preset
from archsearch.models.registry.load import load_model
from archsearch.ui.knobs import (
    Knob,
    families_with_presets,
    first_format,
    formats,
    model_knobs,
    phases_of,
    workload_knobs,
)
from archsearch.ui.what_if import Selection, Value
from archsearch.workload import WorkloadFields

START_GPU, START_MODEL = "h100-sxm", "llama-3.2-1b"
START_BATCH = 8
"""Of ``START_MODEL``: so many sequences keep that GPU busy, so that its dimensions are what counts."""
DEFAULT_EXECUTION = "default"
"""What a page calls the execution that is the workload's default."""


@dataclass(slots=True)
class State:
    """A selection in the making. ``own`` is the user's model beside the presets, "" where there is none."""

    gpu: str
    model: str
    own: str = ""
    changes: dict[str, Value] = field(default_factory=dict)
    sizes: dict[str, Value] = field(default_factory=dict)
    dtype: str = "bf16"
    phase: str = "forward"
    execution: str = DEFAULT_EXECUTION
    base: ModelConfig = field(init=False)

    def __post_init__(self) -> None:
        self.dtype = first_format(load_gpu(self.gpu))
        self.start_from(self.model)

    @classmethod
    def started(cls, model: str | None = None, gpu: str | None = None, asked: Mapping[str, str] | None = None) -> State:
        """A page's first state: what the server was started with, and what the address asks for over it.

        An address names GPUs and presets, and numbers by the field's name; it opens no files.

        Raises:
            ArchSearchError: the server's own model or GPU does not exist, or what the address names.
        """
        named = dict(asked or {})
        chosen = named.get("model") or model or START_MODEL
        if chosen != (model or START_MODEL) and chosen not in preset_choices():
            load_preset(chosen)  # or refuse it: an address opens no files
        state = cls(gpu=load_gpu(named.get("gpu") or gpu or START_GPU).id, model=chosen, own=own_model(model))
        if chosen == START_MODEL:
            state.sizes["batch_size"] = START_BATCH
        state.take(named)
        return state

    def take(self, named: Mapping[str, str]) -> None:
        """Numbers and words from an address; those that are none of this model's are left alone."""
        for knob in self.shape():
            if named.get(knob.name, "").isdigit():
                self.changes[knob.name] = int(named[knob.name])
        for knob in self.work():
            if named.get(knob.name, "").isdigit():
                self.sizes[knob.name] = int(named[knob.name])
        self.dtype = _one_of(formats(), named.get("dtype"), self.dtype)
        self.phase = _one_of(phases_of(self.base), named.get("phase"), self.phase)
        self.execution = _one_of(executions(), named.get("execution"), self.execution)

    def start_from(self, model: str) -> None:
        """Take a model with its own dimensions; what was turned on the last one is forgotten, but not its batch.

        Raises:
            ArchSearchError: there is no such model.
        """
        self.base = load_model(model)
        self.model = model
        self.changes = {}
        self.sizes = {name: value for name, value in self.sizes.items() if name == "batch_size"}
        if self.phase not in phases_of(self.base):
            self.phase = phases_of(self.base)[0]

    def shape(self) -> list[Knob]:
        """What can be turned on the model."""
        return model_knobs(self.base)

    def work(self) -> list[Knob]:
        """What can be turned on its workload."""
        return workload_knobs(self.base)

    def selection(self) -> Selection:
        """What the page asks."""
        sizes = {knob.name: self.sizes.get(knob.name, knob.value) for knob in self.work()}
        workload = {"dtype": self.dtype, "phase": self.phase, **sizes}
        return Selection(
            gpu=self.gpu,
            model=self.model,
            changes=dict(self.changes),
            workload=cast("WorkloadFields", workload),  # what is wrong in it is refused
            execution=None if self.execution == DEFAULT_EXECUTION else self.execution,
        )

    def address(self) -> str:
        """The query of an address that leads back here."""
        told: dict[str, object] = {"gpu": self.gpu, "model": self.model, "dtype": self.dtype, "phase": self.phase}
        told |= {"execution": self.execution, **self.sizes, **self.changes}
        return urlencode({name: value for name, value in told.items() if value is not None})


def own_model(model: str | None) -> str:
    """A model that is no preset: the user's file; "" for none."""
    return "" if model is None or model in preset_choices() else model


def preset_choices() -> dict[str, str]:
    """The family of each preset by its name."""
    return {name: family for family, names in families_with_presets().items() for name in names}


def executions() -> list[str]:
    """What a page offers of how a model runs."""
    return [DEFAULT_EXECUTION, *EXECUTION_NAMES]


def _one_of(known: list[str], asked: str | None, otherwise: str) -> str:
    return asked if asked in known else otherwise


def gpu_choices() -> list[str]:
    """The GPUs, by id."""
    return sorted(gpu_ids())


def check_start(model: str | None, gpu: str | None) -> None:
    """Refuse what no page could start from, before a server runs.

    Raises:
        ArchSearchError: no such model or GPU.
    """
    if gpu is not None:
        load_gpu(gpu)
    if model is not None:
        load_model(model)
