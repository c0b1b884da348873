"""Objectives and metrics in words: what a column stands for, its unit, what it is per, and a difference of two values.

Latency is that of one *run* of the workload: a generation (pipelines), a denoising step (image and video
transformers), a prompt (prefill), a decoded token (decode), a training step, a forward pass; ``run_of`` says which,
with the batch. Throughput, energy and prices count *units*: tokens, images, videos.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.arrays import FloatArray, as_float
from archsearch.search.evaluate.columns import metric_and_gpu, per_gpu_column
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.workload import Phase, Workload

if TYPE_CHECKING:
    from archsearch.models.base import ModelConfig

_VIEWS = {
    "worst": "on the GPU that gains least",
    "weighted": "over the pool",
    "fleet": "of the fleet",
}
_ABSOLUTE = {
    "parameters": ("parameters", ""),
    "flops": ("FLOPs per {run}", ""),
    "memory_bytes": ("memory", "GiB"),
    "training_hours": ("training time", "hours"),
    "training_usd": ("training price", "USD"),
    "training_energy_j": ("training energy", "J"),
    "distillation_gpu_hours": ("distillation", "GPU-hours"),
    "lifetime_usd": ("price over its lifetime", "USD"),
    "energy_j": ("energy per {unit}", "J"),
    "usd_per_million": ("price per million {unit}s", "USD"),
    "regret": ("regret", ""),
}


@dataclass(frozen=True, slots=True)
class Term:
    """One metric column in words. ``sign`` is +1 where less is better; ``relative``: differences are per cent."""

    column: str
    sign: float
    label: str
    unit: str
    relative: bool = True

    def value(self, amount: float) -> str:
        """A value with its unit."""
        number = float(amount)
        if not np.isfinite(number):
            return "unknown"
        if self.unit == "GiB":
            number /= 2**30
        if self.unit == "s":
            return f"{number:.4g} s" if number >= 1 else f"{number * 1e3:.4g} ms"
        if self.column == "parameters":
            return f"{number / 1e9:.4g} B" if number >= 1e9 else f"{number / 1e6:.4g} M"
        return f"{number:.4g} {self.unit}".rstrip()

    def difference(self, new: float, old: float) -> float:
        """new − old, relative to old where differences are per cent; NaN where either is unknown."""
        with np.errstate(all="ignore"):
            change = float(new) - float(old)
            return change / abs(float(old)) if self.relative else change

    def change(self, new: float, old: float) -> str:
        """The difference in words: ``latency per step on t4 +3.1%``."""
        amount = self.difference(new, old)
        if not np.isfinite(amount):
            return f"{self.label} unknown"
        return f"{self.label} {amount:+.1%}" if self.relative else f"{self.label} {amount:+.3g}"

    def gain(self, new: float, old: float) -> float:
        """How much better new is: above 0 better, below worse, 0 where the difference is rounding's, NaN unknown."""
        amount = -self.sign * self.difference(new, old)
        return 0.0 if abs(amount) <= 1e-9 * (1.0 if self.relative else abs(float(old))) else amount


def step_of(config: ModelConfig | type[Any], workload: Workload) -> str:
    """One pass of the model itself: a step, a prompt, a decoded token ..."""
    if workload.phase is Phase.FORWARD:
        return "step" if config.modality.denoises else "forward pass"
    words = {Phase.TRAIN: "training step", Phase.PREFILL: "prompt", Phase.DECODE: "decoded token"}
    if workload.phase is Phase.DECODE and config.throughput_unit != "tokens/s":
        return "decoding"
    return words.get(workload.phase, "encoding")


def run_of(config: ModelConfig | type[Any], workload: Workload, *, pipeline: bool = False) -> str:
    """What a latency is of: a generation, or one pass of the model; with the batch where that is more than one."""
    run = "generation" if pipeline else step_of(config, workload)
    batch = int(np.asarray(workload.batch_size))
    return run if batch == 1 else f"{run} of {batch}"


def unit_of(throughput_unit: str) -> str:
    """What throughput counts: token, image, video, run."""
    return throughput_unit.removesuffix("/s").removesuffix("s")


def space_run(evaluator: Evaluator) -> str:
    """What the latencies of a space are of."""
    space = evaluator.space
    return run_of(space.family_class, space.workload, pipeline=space.record.pipeline is not None)


def pass_flops(evaluator: Evaluator, config: ModelConfig, flops: FloatArray) -> FloatArray:
    """FLOPs of one pass of the model, where the run that the latency is of makes several; else the run's own."""
    passes = getattr(config, "pass_flops", None)
    return flops if passes is None else as_float(passes(evaluator.space.workload))


def term_of(evaluator: Evaluator, column: str, sign: float) -> Term:
    """An objective (or any metric column) of a space in words."""
    family = evaluator.space.family_class
    return term_in(column, sign, evaluator.proxy.metric, space_run(evaluator), family.throughput_unit)


def term_in(column: str, sign: float, quality: str, run: str, throughput_unit: str) -> Term:
    """A metric column in words: ``quality`` is the metric that a law predicts, ``run`` what a latency is of."""
    stem, gpu = metric_and_gpu(column)
    measured = "measured " if stem.startswith("measured_") else ""
    stem = stem.removeprefix("measured_")
    where = f" on {gpu}" if gpu else ""
    if stem == "quality":
        return Term(column, sign, f"predicted {quality}", "", relative=False)
    if stem == "trained_loss":
        return Term(column, sign, "trained loss", "", relative=False)
    for view, words in _VIEWS.items():
        if stem.endswith(f"_{view}"):
            stem, where = stem.removesuffix(f"_{view}"), f" {words}"
    if stem in ("latency", "latency_s"):
        return Term(column, sign, f"{measured}latency per {run}{where}", "s" if stem == "latency_s" else "x")
    if stem == "throughput":
        return Term(column, sign, f"{measured}throughput{where}", throughput_unit if gpu or measured else "x")
    where = where.replace("GPU that gains least", "worst GPU")  # not relative to a baseline
    words, unit = _ABSOLUTE.get(stem, (stem.replace("_", " "), ""))
    label = words.format(run=run, unit=unit_of(throughput_unit))
    return Term(column, sign, label + where, unit, relative=stem != "regret")


def objective_terms(evaluator: Evaluator, signs: Mapping[str, float]) -> list[Term]:
    """The objectives of a table or study in words, in order."""
    return [term_of(evaluator, column, sign) for column, sign in signs.items()]


def priced_terms(evaluator: Evaluator, signs: Mapping[str, float]) -> list[Term]:
    """Objectives that a neighbour can be told of: what was measured or trained stands for what is predicted of it."""
    columns: dict[str, float] = {}
    for column, sign in signs.items():
        if column == "trained_loss":
            columns["quality"] = evaluator.quality_sign
        elif column.startswith("measured_"):
            stem = column.removeprefix("measured_")
            columns |= {per_gpu_column(stem, gpu): sign for gpu in evaluator.pool.ids}
        else:
            columns[column] = sign
    return objective_terms(evaluator, columns)
