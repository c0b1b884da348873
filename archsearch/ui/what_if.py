"""What a model would cost: a selection in, an answer out. No page, no server: what ``archsearch ui`` shows is this.

The figures are ``archsearch.estimate``'s and the quality is ``archsearch quality``'s; ``Answer.command`` is the call
that prints them.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan

import yaml

from archsearch.api import estimate
from archsearch.errors import ArchSearchError
from archsearch.estimate_result import EstimateResult, OpRow
from archsearch.models.base import ModelConfig
from archsearch.models.registry.families import get_family
from archsearch.models.registry.load import load_model
from archsearch.quality import default_proxy, training_features
from archsearch.ui.knobs import model_knobs
from archsearch.workload import Workload, WorkloadFields

SLOWEST = 8
REMEDIES = 3
MOST_STEPS = 64
"""Steps of a slider, the nearest first, that are tried for a remedy."""
FILE = "my-model.yaml"
Value = int | bool | str | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is asked: a model by name or file with some of its fields changed, on a GPU, under a workload.

    ``execution`` is the name of one (``cost/execution.py``); None takes the default of the workload.
    """

    gpu: str
    model: str
    changes: Mapping[str, Value] = field(default_factory=dict)
    workload: WorkloadFields = field(default_factory=WorkloadFields)
    execution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The quality expected of a model, with its 80 % band; None where its law has no value."""

    metric: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    proxy: str
    source: str
    assumed: bool
    in_range: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a selection costs. ``config`` is the model as changed, ``file`` its YAML where it is not ``model`` itself;
    ``command`` prints the same figures."""

    selection: Selection
    config: ModelConfig
    result: EstimateResult
    quality: Expected | None
    command: str
    file: str | None

    @property
    def slowest(self) -> list[OpRow]:
        """The ops that take longest, longest first."""
        return sorted(self.result.breakdown, key=lambda row: -row["latency_s"])[:SLOWEST]

    @property
    def script(self) -> str:
        """What to paste into a shell: the file, where there is one, and the command."""
        command = folded(self.command)
        return command if self.file is None else f"cat > {FILE} <<'END'\n{self.file}END\n{command}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a selection has no answer, a reason a line. ``remedies`` are single changes of the model that would give it
    one, the smallest first: a field and its value."""

    reasons: tuple[str, ...]
    remedies: tuple[tuple[str, int], ...] = ()


def what_if(selection: Selection) -> Answer | Refusal:
    """Answer a selection; what a user can get wrong is a refusal with the reasons, never an error."""
    try:
        base = load_model(selection.model)
        changed = {n: v for n, v in selection.changes.items() if getattr(base, n, None) != v}
        config = _changed(base, changed)
        if isinstance(config, Refusal):
            return config
        result = estimate(config, selection.gpu, execution=selection.execution, **selection.workload)
        file = _file(config) if changed else None
        return Answer(
            selection=selection,
            config=config,
            result=result,
            quality=expected_quality(config),
            command=command_of(selection, FILE if changed else selection.model),
            file=file,
        )
    except ArchSearchError as error:
        return Refusal((str(error),))


def _changed(base: ModelConfig, changes: Mapping[str, Value]) -> ModelConfig | Refusal:
    """The model with fields changed, or every requirement that it then misses.

    Raises:
        InvalidInputError: a field that the family does not have, or a value of the wrong kind.
    """
    family = get_family(base.family)
    try:
        config: ModelConfig = family.from_dict({**base.to_dict(), **changes})
    except ArchSearchError:
        missed = _missed(family, {**base.to_dict(), **changes})
        if not missed:
            raise
        return Refusal(missed, remedies(base, changes))
    return config


def remedies(base: ModelConfig, changes: Mapping[str, Value]) -> tuple[tuple[str, int], ...]:
    """Single dimensions that, moved along their sliders, make a model of one that is none: of each the nearest value,
    and of those the ``REMEDIES`` that change least, as a ratio."""
    family, values = get_family(base.family), {**base.to_dict(), **changes}
    found: list[tuple[float, str, int]] = []
    for knob in model_knobs(base):
        now = values.get(knob.name)
        if not knob.first or not isinstance(now, int) or now < 1:
            continue
        steps = range(max(knob.low, 1), knob.high + 1, knob.step)
        for value in sorted(steps, key=lambda to, now=now: abs(to - now))[:MOST_STEPS]:  # type: ignore[misc]
            if _is_model(family, {**values, knob.name: value}):
                found.append((abs(math.log(value / now)), knob.name, value))
                break
    return tuple((name, value) for _, name, value in sorted(found)[:REMEDIES])


def _is_model(family: type[ModelConfig], values: Mapping[str, Value]) -> bool:
    try:
        family.from_dict(values)  # type: ignore[attr-defined]  # every family's class has it
    except ArchSearchError:
        return False
    return True


def _missed(family: type[ModelConfig], values: Mapping[str, Value]) -> tuple[str, ...]:
    """The requirements that field values miss; none where they do not even make a config."""
    try:
        config = family(**values)
        return tuple(dict.fromkeys(need.reason for need in config.requirements() if not need.holds))
    except (ArchSearchError, TypeError, ValueError, ZeroDivisionError):
        return ()


def expected_quality(config: ModelConfig) -> Expected | None:
    """The quality that the family's own law expects, at the family's own sizes, as ``archsearch quality MODEL`` says
    it; None where no law speaks for the family."""
    try:
        law = default_proxy(config.family)
        workload = Workload(**config.default_sizes)  # type: ignore[arg-type]  # names of sizes
        answer = law.predict(training_features(config, law, workload, {}))
    except ArchSearchError:
        return None
    value, low, high = (None if isnan(float(v)) else float(v) for v in (answer.value, answer.low, answer.high))
    return Expected(
        metric=law.metric,
        unit=law.unit,
        value=value,
        low=low,
        high=high,
        proxy=law.name,
        source=law.source,
        assumed=law.assumed,
        in_range=bool(answer.in_range),
    )


def command_of(selection: Selection, model: str) -> str:
    """``archsearch estimate`` of a selection, as one types it."""
    words = ["archsearch", "estimate", model, "--hardware", selection.gpu]
    for name, value in selection.workload.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    if selection.execution is not None:
        words += ["--execution", selection.execution]
    return shlex.join(words)


def folded(command: str, width: int = 72) -> str:
    """A command over lines of about ``width``, an option and its value never apart, each line continued as shells
    do."""
    lines = [""]
    for part in re.split(r" (?=--)", command):
        if lines[-1] and len(lines[-1]) + len(part) + 1 > width:
            lines.append("    ")
        lines[-1] += part if not lines[-1].strip() else f" {part}"
    return " \\\n".join(lines)


def _file(config: ModelConfig) -> str:
    """The model as an archsearch YAML; fields that are left to the family's rule are left out."""
    values = {n: list(v) if isinstance(v, tuple) else v for n, v in config.to_dict().items() if v is not None}
    return yaml.safe_dump({"family": config.family, **values}, sort_keys=False)
