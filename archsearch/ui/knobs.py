"""What can be turned on a model and its workload: each number with its range and step, and the switches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from archsearch.dtypes import DType
from archsearch.hardware import GpuSpec
from archsearch.models.base import ModelConfig
from archsearch.models.field_types import field_types
from archsearch.models.registry.families import family_names, presets_of
from archsearch.workload import Phase

SHAPE = (
    *("num_layers", "num_single_layers", "hidden_size", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "intermediate_size", "patch_size", "text_seq_len"),
)
"""Fields that are shown first, in this order, whatever the family."""
WIDE = 512
"""From here on a dimension is a width: it moves in steps of ``WIDTH_STEP``."""
WIDTH_STEP = 64
MOST_TIMES = 3
"""How far a slider reaches, in multiples of the value that it starts from; a number that is typed may go on."""
LEAST_REACH = 8
TOKENS = 32_768
BATCH = 256
PIXELS, PIXEL_STEP = 4096, 16
FRAMES, FRAME_STEP = 257, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A whole number that a slider moves from ``low`` to ``high`` in steps. ``value`` is where it starts; None: the
    model's own rule fills it in. ``first``: of the model's shape, not one of its details."""

    name: str
    low: int
    high: int
    step: int
    value: int | None
    first: bool = True

    @property
    def label(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")


def model_knobs(config: ModelConfig) -> list[Knob]:
    """The whole numbers of a config, its shape first."""
    kinds = field_types(type(config))
    numbers = {}
    for field in fields(config):
        value = getattr(config, field.name)
        kind = kinds.get(field.name)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if kind is not None and kind.is_size and (is_number or (value is None and kind.optional)):
            numbers[field.name] = value
    ordered = [*(n for n in SHAPE if numbers.get(n) is not None), *(n for n in numbers if numbers[n] is not None)]
    ordered += [n for n in numbers if numbers[n] is None]
    return [_model_knob(name, numbers[name]) for name in dict.fromkeys(ordered)]


def _model_knob(name: str, value: int | None) -> Knob:
    if value is None:
        return Knob(name=name, low=1, high=1024, step=1, value=None, first=False)
    step = WIDTH_STEP if value >= WIDE and value % WIDTH_STEP == 0 else 8 if value > 64 and value % 8 == 0 else 1
    low = 0 if value == 0 else step
    reach = max(MOST_TIMES * value, LEAST_REACH)
    return Knob(name=name, low=low, high=-(-reach // step) * step, step=step, value=value, first=name in SHAPE)


def switches(config: ModelConfig) -> dict[str, bool]:
    """The truth values of a config, by field."""
    return {f.name: getattr(config, f.name) for f in fields(config) if isinstance(getattr(config, f.name), bool)}


def workload_knobs(config: ModelConfig, given: Mapping[str, int] | None = None) -> list[Knob]:
    """The sizes of a workload that the model reads; ``given`` are those to start from in place of its defaults."""
    values = {"batch_size": 1, **config.default_sizes, **(given or {})}
    limit = getattr(config, "max_position_embeddings", None)
    if limit and "seq_len" in config.default_sizes and not (given and "seq_len" in given):
        values["seq_len"] = min(values["seq_len"], int(limit))
    pixels = _pixels_of_a_token(config)
    ranges = {
        "batch_size": (1, BATCH, 1),
        "seq_len": (1, TOKENS, 1),
        "height": (pixels, PIXELS, pixels),
        "width": (pixels, PIXELS, pixels),
        "frames": (1, FRAMES, FRAME_STEP),
    }
    knobs = []
    for name, (low, high, step) in ranges.items():
        if name in values:
            value = int(values[name])
            knobs.append(Knob(name=name, low=low, high=max(high, value), step=step, value=value))
    return knobs


def _pixels_of_a_token(config: ModelConfig) -> int:
    """What height and width must be a multiple of, at least ``PIXEL_STEP``."""
    sides = [getattr(config, name, 1) for name in ("vae_scale_factor", "patch_size")]
    return max(PIXEL_STEP, math.prod(side for side in sides if isinstance(side, int)))


def phases_of(config: ModelConfig) -> list[str]:
    """The phases that a model runs."""
    own = getattr(config, "phases", ())
    return [phase.value for phase in Phase if phase in own] or [Phase.FORWARD.value]


def formats() -> list[str]:
    """The number formats that can be asked for."""
    return [dtype.value for dtype in DType]


def first_format(gpu: GpuSpec) -> str:
    """bf16 where the GPU multiplies it, else fp16, else fp32."""
    for dtype in (DType.BF16, DType.FP16):
        if gpu.supports(dtype):
            return dtype.value
    return DType.FP32.value


def families_with_presets() -> dict[str, list[str]]:
    """The names of presets by family, families without any left out."""
    found = {family: list(presets_of(family)) for family in family_names()}
    return {family: names for family, names in found.items() if names}
