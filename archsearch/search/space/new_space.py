"""A commented space for a family, which runs as it is written: what each key means stands above it, and what else a
space may say stands there as comments."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import yaml
from pydantic import BaseModel

from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError
from archsearch.hardware import GpuPool
from archsearch.models.base import ModelConfig
from archsearch.models.family_fields import family_fields
from archsearch.models.field_types import required_fields
from archsearch.models.registry.families import get_family, load_preset, preset_family, presets_of
from archsearch.models.registry.load import load_model
from archsearch.quality.modalities import default_name
from archsearch.ranges import require_range
from archsearch.search.space.schema import SpaceRecord
from archsearch.search.space.shapes import Shapes, shapes_around
from archsearch.search.space.sized import NEAR, scaled
from archsearch.yaml_keys import keys_of

WIDTH = 110
"""Characters of a line."""
DEFAULT_HARDWARE = "h100-sxm"
_FORMATS = (DType.BF16, DType.FP16, DType.FP32)
_TEXT_BATCH = 8
_BUDGET = 0.15
_ALIKE = 3.0
"""The budget's parameters are the model's own, more or less by this share."""
_TOKENS_PER_PARAMETER = 20
"""Compute-optimal training (Hoffmann et al. 2022)."""


def new_space(
    family: str,
    *,
    like: str | None = None,
    parameters: float | None = None,
    hardware: str | None = None,
    name: str | None = None,
) -> str:
    """The text of a space of a family around one of its models.

    Args:
        family: a model family that a law of quality speaks for.
        like: the model that the space lies around: a preset or a file (default: the preset that is nearest to the
            family's defaults; with ``parameters`` nearest to them in size).
        parameters: how large its models are: the space lies around a model of that size in the proportions of
            ``like``, which is then the baseline too.
        hardware: the GPUs that the space names.
        name: the space's name (default: ``my-`` and the model's).

    Raises:
        UnknownNameError: no such family, model or GPU.
        InvalidInputError: a family that is not searched or that has no presets, a model of another family, or a name
            that no space may have.
    """
    config_class = get_family(family)
    if name is not None and name != space_name(name):
        text = f"{{name}} {name!r}: lower case, digits and . _ -, such as {space_name(name)}"
        raise InvalidInputError(text, field="name")
    proxy = default_name(family)
    if proxy is None:
        text = f"family {family} is not searched: no law of quality speaks for {config_class.modality.value} models"
        raise InvalidInputError(text, field="family")
    if parameters is not None:
        require_range("parameters", parameters, 0, above=True)
    like = like or (_nearest(family) if parameters is None else _nearest_in_size(family, parameters))
    config = load_model(like)
    if config.family != family:
        text = f"{{like}} {like} is of family {config.family}, not {family}"
        raise InvalidInputError(text, field="like")
    pool = GpuPool.parse(hardware or DEFAULT_HARDWARE)
    if parameters is not None and abs(math.log(float(config.parameters()) / parameters)) > NEAR:
        config, like = scaled(config, parameters), f"{family} of {_count(parameters)}"
    return _text(_Chosen(config, like, proxy, pool, name or f"my-{space_name(like)}"))


def _nearest_in_size(family: str, parameters: float) -> str:
    """The preset whose proportions are taken for a size: of those up to ``_ALIKE`` times as large or small (else all),
    the one that says least beside the family's defaults, of equals the nearest in size. None with experts, unless all
    have them: their number does not follow from a size."""
    configs = {name: load_preset(name) for name in presets_of(family)}
    dense = {name: one for name, one in configs.items() if not getattr(one, "num_experts", 0)} or configs
    off = {name: abs(math.log(float(one.parameters()) / parameters)) for name, one in dense.items()}
    alike = [name for name in dense if off[name] <= math.log(_ALIKE)] or list(dense)
    return min(alike, key=lambda name: (len(_differing(dense[name])), off[name])) if alike else _nearest(family)


def _count(parameters: float) -> str:
    """A count of parameters as a name has it: 300M, 1.3B."""
    return f"{parameters / 1e9:.3g}B" if parameters >= 1e9 else f"{parameters / 1e6:.3g}M"


def _nearest(family: str) -> str:
    """The preset that says least beside the family's defaults; of equals the smallest.

    Raises:
        InvalidInputError: the family has none.
    """
    names = list(presets_of(family))
    if not names:
        raise InvalidInputError(f"family {family} has no presets: name a model of it, {{like}} FILE", field="like")
    configs = {name: load_preset(name) for name in names}
    return min(names, key=lambda name: (len(_differing(configs[name])), float(configs[name].parameters())))


def _differing(config: ModelConfig) -> list[str]:
    """Fields of a model that have a default and another value."""
    required = required_fields(type(config))
    default = type(config)(**{name: getattr(config, name) for name in required})
    names = [f.name for f in fields(config) if f.name not in required]
    return [name for name in names if getattr(config, name) != getattr(default, name)]


def space_name(text: str) -> str:
    """A name that a space may have, after a file's, a model's or another text."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower().rpartition("/")[2].removesuffix(".yaml")).strip("-._") or "space"


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What a space is written from."""

    config: ModelConfig
    like: str
    proxy: str
    pool: GpuPool
    name: str

    @property
    def sizes(self) -> dict[str, int]:
        """The workload's sizes."""
        return dict(self.config.default_sizes)

    @property
    def batch_size(self) -> int:
        return _TEXT_BATCH if "seq_len" in self.sizes else 1

    @property
    def dtype(self) -> DType:
        """The first format that all GPUs have."""
        return next((d for d in _FORMATS if all(gpu.supports(d) for gpu in self.pool.gpus)), DType.FP32)


def _text(chosen: _Chosen) -> str:
    config, parameters = chosen.config, float(chosen.config.parameters())
    shapes = shapes_around(config, required_fields(type(config)), _differing(config))
    top = _Section(SpaceRecord)
    blocks = [
        _head(chosen),
        top.key("name", chosen.name),
        top.key("description", f"{config.family} models around {space_name(chosen.like)}."),
        top.key("family", config.family),
        *_shape_blocks(top, chosen, shapes),
        top.key("width_multiple", shapes.width_multiple),
        _budget(top, parameters),
        _workload(top, chosen),
        top.key("execution", "torch-compiled"),
        top.section("quality", {"proxy": chosen.proxy}, {"tokens": _number(_TOKENS_PER_PARAMETER * parameters)}),
        top.key("objectives", [{"metric": "quality"}, {"metric": "throughput"}], more=_metrics()),
        top.key("prefer", "knee"),
        top.key("pool", {"objectives": ["worst", "weighted"]}, live=False),
        top.key("hardware", list(chosen.pool.ids)),
        _baseline(top, chosen),
        _training(top, chosen, parameters),
        top.section("lifetime", {"inferences": _number(1e9)}, {}, live=False),
        top.key("prices", {chosen.pool.ids[0]: 2.5}, live=False),
        top.key("references", ["where your bounds come from"], live=False),
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _head(chosen: _Chosen) -> list[str]:
    told = (
        f"A space of {chosen.config.family} models around {chosen.like}. It runs as it is: `archsearch enumerate F`, "
        "`archsearch study run F`, `archsearch recommend F`. Above each key stands what it means, its type and "
        "its default. Lines that begin with # and no blank after it are what a space may say besides: take the "
        "# away. `archsearch spaces schema` lists all keys (not here: builder, pipeline, sampling, distillation), "
        f"`archsearch models fields {chosen.config.family}` all fields of the family."
    )
    return _comment(told)


def _shape_blocks(top: _Section, chosen: _Chosen, shapes: Shapes) -> Iterable[list[str]]:
    """The sections that name fields of the family, each field with its meaning."""
    family = chosen.config.family
    meanings = {f.name: f.meaning for f in family_fields(family, type(chosen.config))}
    defaults = ", ".join(f.name for f in family_fields(family, type(chosen.config)) if f.name not in _named(shapes))

    def block(key: str, lines: Mapping[str, str]) -> list[str]:
        return [*top.about(key), f"{key}:", *(line for name in lines for line in _field(meanings[name], lines[name]))]

    lines = {name: f"{name}: {_flow(value)}" for name, value in shapes.fixed.items()}
    fixed = block("fixed", lines) if lines else top.key("fixed", {})
    yield [*fixed, *_comment(f"  at their defaults: {defaults}")]
    ranges = shapes.dimensions.items()
    yield block("dimensions", {n: f"{n}: {{range: [{low}, {high}], step: {step}}}" for n, (low, high, step) in ranges})
    if shapes.derived:
        yield block("derived", {name: f"{name}: {text}" for name, text in shapes.derived.items()})
    rules = [line for rule, why in shapes.constraints.items() for line in _field(why, f"- {rule}")]
    yield [*top.about("constraints"), "constraints:", *rules]


def _named(shapes: Shapes) -> set[str]:
    return {*shapes.fixed, *shapes.dimensions, *shapes.derived}


def _field(meaning: str, line: str) -> list[str]:
    return [*_comment(f"  {meaning}"), f"  {line}"]


def _budget(top: _Section, parameters: float) -> list[str]:
    bounds = [_number(parameters * (1 - _BUDGET)), _number(parameters * (1 + _BUDGET))]
    rest = {"memory_gib": 24, "latency_ms": 50, "training_hours": 1000, "training_usd": _number(1e5)}
    return top.section("budget", {"parameters": bounds}, rest)


def _workload(top: _Section, chosen: _Chosen) -> list[str]:
    given = {"phase": "forward", "batch_size": chosen.batch_size, **chosen.sizes, "dtype": chosen.dtype.value}
    return top.section("workload", given, {})


def _baseline(top: _Section, chosen: _Chosen) -> list[str]:
    if preset_family(chosen.like) is not None:
        return top.key("baseline", chosen.like)
    values = {n: v for n, v in chosen.config.to_dict().items() if isinstance(v, bool | int | float | str)}
    return top.key("baseline", values)


def _training(top: _Section, chosen: _Chosen, parameters: float) -> list[str]:
    given = {
        "hardware": chosen.pool.ids[0],
        "gpus": 8,
        "tokens": _number(_TOKENS_PER_PARAMETER * parameters),
        "batch_size": 256,
        "micro_batch": 1,
        **chosen.sizes,
        "dtype": chosen.dtype.value,
        "checkpointing": False,
        "execution": "torch-compiled",
        "zero": 1,
        "tensor_parallel": [1],
        "pipeline_parallel": [1],
    }
    return top.section("training", given, {}, live=False)


def _metrics() -> str:
    metric = next(key for key in keys_of(_record_of("objectives")) if key.name == "metric")
    return f"metrics: {metric.kind}"


def _record_of(name: str) -> type[BaseModel]:
    record = next(key.record for key in keys_of(SpaceRecord) if key.name == name)
    assert record is not None
    return record


class _Section:
    """Lines of a record's keys, each below what it means."""

    def __init__(self, record: type[BaseModel]) -> None:
        self._keys = {key.name: key for key in keys_of(record)}

    def about(self, name: str, more: str = "") -> list[str]:
        """What a key means."""
        return _comment(self._keys[name].told + (f"; {more}" if more else ""))

    def key(self, name: str, value: object, *, live: bool = True, more: str = "") -> list[str]:
        """A key with its value, as a comment unless ``live``."""
        return [*self.about(name, more), f"{'' if live else '#'}{name}: {_flow(value)}"]

    def section(
        self, name: str, given: Mapping[str, object], rest: Mapping[str, object], *, live: bool = True
    ) -> list[str]:
        """A section with keys ``given``, and those of ``rest`` as comments; all of it as comments unless ``live``."""
        inner, off = _Section(_record_of(name)), "" if live else "#"
        lines = [*self.about(name), f"{off}{name}:"]
        for key, value in {**given, **rest}.items():
            lines += [f"{off}  {line}" for line in inner.about(key)]
            lines.append(f"{off}  {'#' if key in rest else ''}{key}: {_flow(value)}")
        return lines


def _comment(text: str) -> list[str]:
    """A text as comment lines, indented as it is."""
    lead = text[: len(text) - len(text.lstrip())]
    return [f"{lead}# {line}" for line in textwrap.wrap(text.strip(), WIDTH, break_on_hyphens=False)]


class _Number(float):
    """A number that a file writes shortly, 1.25e+09."""


def _number(value: float) -> float:
    return _Number(value)


def _flow(value: object) -> str:
    """A value on one line of YAML."""
    if isinstance(value, _Number):
        return f"{value:.2e}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_flow(one)}' for name, one in value.items())}}}"
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")
