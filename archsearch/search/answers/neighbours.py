"""The neighbours of a model that belongs to no space, with every metric, and whether they are better.

The objectives are latency and the quality that the family's default proxy predicts, trained on as many tokens as the
model itself. Where no proxy speaks for the family, where its law does not see the step, or where the step changes what
quality means, a neighbour is *not comparable*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.arrays import as_float
from archsearch.cost.estimate import Estimate
from archsearch.cost.execution import Execution
from archsearch.cost.layouts import layout_rules
from archsearch.cost.memory import memory_on
from archsearch.cost.model import price_on
from archsearch.cost.routes import fused_attention_reason
from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.hardware import GpuPool, GpuSpec
from archsearch.models.base import ModelConfig
from archsearch.quality import QualityProxy, default_proxy, training_features
from archsearch.search.answers.moves import OTHER_MEANING, Move, grid_of, legal_moves, other_meanings
from archsearch.search.answers.terms import Term, run_of
from archsearch.search.evaluate.pool_models import LatencyModel
from archsearch.workload import Phase, Workload

SIZED = ("parameters", "flops", "memory_bytes")
UNSEEN = 1e-4
"""Relative changes of everything that a law reads below which it does not see a step."""


@dataclass(frozen=True)
class Law:
    """The family's default proxy with what it saw of the model itself; no proxy where none speaks for it."""

    proxy: QualityProxy | None
    workload: Workload
    features: Mapping[str, Any]
    in_range: bool = True

    @classmethod
    def of(cls, config: ModelConfig, workload: Workload) -> Law:
        forward = replace(workload, phase=Phase.FORWARD, checkpointing=False)
        try:
            proxy = default_proxy(config.family)
            seen = training_features(config, proxy, forward, {})
            inside = bool(np.all(proxy.predict(seen).in_range))
        except InvalidInputError:
            return cls(None, forward, {})
        return cls(proxy, forward, seen, inside)

    def predict(self, config: ModelConfig, count: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """[N] quality, NaN without a proxy, trained on the model's own tokens; and where the law sees a difference."""
        unknown = np.full(count, np.nan), np.zeros(count, dtype=bool)
        if self.proxy is None:
            return unknown
        given = {"tokens": self.features["tokens"]} if "tokens" in self.features else {}
        try:
            seen = training_features(config, self.proxy, self.workload, given)
            value = np.broadcast_to(as_float(self.proxy.predict(seen).value), (count,))
        except ArchSearchError:
            return unknown
        differs = np.zeros(count, dtype=bool)
        for name, feature in seen.items():
            before = self.features.get(name)
            if before is not None and not isinstance(before, str | bool):
                differs |= np.abs(as_float(feature) - as_float(before)) > UNSEEN * np.abs(as_float(before))
        return np.asarray(value, dtype=np.float64), differs

    @property
    def term(self) -> Term | None:
        if self.proxy is None:
            return None
        sign = 1.0 if self.proxy.direction == "minimize" else -1.0
        return Term("quality", sign, f"predicted {self.proxy.metric}", "", relative=False)

    def answer(self, value: float) -> dict[str, Any] | None:
        if self.proxy is None:
            return None
        law = {"proxy": self.proxy.name, "metric": self.proxy.metric, "direction": self.proxy.direction}
        return {**law, "value": float(value), "in_range": self.in_range, "source": self.proxy.source}


@dataclass(frozen=True)
class Models:
    """Moves [N] with all metrics [N]; latencies and estimates by GPU. ``seen``: the law sees a difference from the
    model itself."""

    moves: list[Move]
    values: dict[str, NDArray[np.float64]]
    latency: dict[str, NDArray[np.float64]]
    seen: NDArray[np.bool_]
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class Question:
    """A model, what it works on and how it runs, on a pool; and the law that predicts its quality."""

    config: ModelConfig
    workload: Workload
    pool: GpuPool
    models: Mapping[str, LatencyModel]
    execution: Execution
    law: Law

    @property
    def per(self) -> str:
        """What a latency is of."""
        return run_of(self.config, self.workload)

    @property
    def objectives(self) -> tuple[str, ...]:
        term = self.law.term
        return (f"latency per {self.per}", *([] if term is None else [term.label]))

    def ask(self, moves: list[Move]) -> Models:
        """The models that moves lead to, with all their metrics.

        Raises:
            UnsupportedError: a GPU cannot run them.
            InvalidInputError: a workload that they cannot take.
        """
        count = len(moves)
        many = grid_of(self.config, [move.changes for move in moves])
        estimates = price_on(self.models, many, self.workload, self.execution)
        uses = memory_on(many, self.workload, self.execution, self.pool.gpus)
        quality, seen = self.law.predict(many, count)
        values = {
            "parameters": _spread(many.parameters(), count),
            "flops": _spread(many.lower(self.workload).flops(), count),
            "memory_bytes": np.max([_spread(use.total, count) for use in uses], axis=0),
            "quality": quality,
        }
        latency = {gpu: _spread(estimate.latency_s, count) for gpu, estimate in estimates.items()}
        return Models(moves, values, latency, seen, estimates)


def _spread(value: ArrayLike, count: int) -> NDArray[np.float64]:
    return np.asarray(np.broadcast_to(as_float(value), (count,)), dtype=np.float64)


def neighbours_of(question: Question, steps: Mapping[str, int]) -> list[Models]:
    """The neighbours: all steps and pairs of sizes as one batch, and what means something else, one by one: an image
    need not be whole patches of every size."""
    config = question.config
    sizes = [move for move in legal_moves(config, steps) if _served(question, move)]
    parts = [question.ask(sizes)] if sizes else []
    for move in other_meanings(config):
        try:
            parts.append(question.ask([move]))
        except InvalidInputError:
            continue
    return parts


def _served(question: Question, move: Move) -> bool:
    """Whether the layout and the attention kernel asked for take what a step leads to, on every GPU."""
    moved: Any = replace(question.config, **move.changes)
    if not all(np.all(holds) for _, holds in layout_rules(moved, question.execution)):
        return False
    attention = question.execution.attention
    dtype, width = question.workload.activation_dtype, move.changes.get("head_dim")
    if attention not in ("flash", "fa2") or not isinstance(width, int):
        return True
    return not any(fused_attention_reason(gpu, dtype, width, flash=attention == "flash") for gpu in question.pool.gpus)


def neighbour_rows(question: Question, own: Models, part: Models) -> list[dict[str, object]]:
    """One dict per neighbour: its changes, metrics, differences, and why it is better, loses or does not compare."""
    config, pool, law = question.config, question.pool, question.law
    unseen = {m.dimension for m, seen in zip(part.moves, part.seen, strict=True) if m.single and not seen}
    rows = []
    for index, move in enumerate(part.moves):
        metrics: dict[str, Any] = {name: _plain(values[index]) for name, values in part.values.items()}
        metrics["latency_s"] = {gpu: float(times[index]) for gpu, times in part.latency.items()}
        changes: dict[str, Any] = {n: _relative(part.values[n][index], own.values[n][0]) for n in SIZED}
        changes["latency_s"] = {g: _relative(t[index], own.latency[g][0]) for g, t in part.latency.items()}
        changes["quality"] = _plain(part.values["quality"][index] - own.values["quality"][0])
        if move.dimension == "vocab_size":
            metrics["quality"] = changes["quality"] = None
        apart = OTHER_MEANING.get(move.dimension)
        if apart is None and law.proxy is None:
            apart = f"no quality law speaks for family {config.family}"
        elif apart is None and law.proxy is not None and set(move.dimension.split(", ")) & unseen:
            apart = f"{law.proxy.name} does not see it"
        row: dict[str, Any] = {
            "label": step_label(config, move),
            "dimension": move.dimension,
            "single": move.single,
            "changes": {name: plain_size(value) for name, value in move.changes.items()},
            "metrics": metrics,
            "differences": changes,
            "comparable": apart is None,
            "verdict": {gpu.id: _verdict(own, part, index, gpu, law, apart) for gpu in pool.gpus},
        }
        rows.append(row | {"why": _why(row, law, apart, question.per)})
    return rows


def _verdict(own: Models, part: Models, index: int, gpu: GpuSpec, law: Law, apart: str | None) -> str:
    """``better``, ``worse``, ``trade``, ``equal``, ``does not fit`` or ``not comparable``, on one GPU."""
    if apart is not None or law.term is None:
        return "not comparable"
    need, have = part.values["memory_bytes"][index], own.values["memory_bytes"][0]
    if need > gpu.available_bytes >= have:
        return "does not fit"
    speed = Term("latency_s", 1.0, "latency", "s")
    gains = [
        speed.gain(part.latency[gpu.id][index], own.latency[gpu.id][0]),
        law.term.gain(part.values["quality"][index], own.values["quality"][0]),
    ]
    return verdict(gains)


def verdict(gains: Sequence[float]) -> str:
    """What gains in several objectives make of a neighbour."""
    if not np.isfinite(gains).all():
        return "not comparable"
    up, down = any(gain > 0 for gain in gains), any(gain < 0 for gain in gains)
    return {(True, False): "better", (False, True): "worse", (True, True): "trade", (False, False): "equal"}[up, down]


def _why(row: Mapping[str, Any], law: Law, apart: str | None, per: str) -> str:
    """The differences in words, and what they come to."""
    changes = row["differences"]
    several = len(changes["latency_s"]) > 1
    speed = [f"{value:+.1%}" + (f" ({gpu})" if several else "") for gpu, value in changes["latency_s"].items()]
    differences = [f"latency per {per} {', '.join(speed)}"]
    if law.proxy is not None and changes["quality"] is not None:
        differences.append(f"predicted {law.proxy.metric} {changes['quality']:+.3g}")
    differences.append(f"parameters {changes['parameters']:+.1%}, FLOPs {changes['flops']:+.1%}")
    differences.append(f"memory {changes['memory_bytes']:+.1%}")
    verdicts = dict.fromkeys(row["verdict"].values())
    ends = apart or ", ".join(
        word + (f" on {', '.join(g for g, w in row['verdict'].items() if w == word)}" if len(verdicts) > 1 else "")
        for word in verdicts
    )
    return f"{', '.join(differences)} ({ends})"


def step_label(config: ModelConfig, move: Move) -> str:
    """The step in words: ``hidden_size 768 -> 832 (with num_attention_heads 13)``."""
    own = move.dimension.split(", ")
    steps = [f"{name} {plain_size(getattr(config, name))} -> {plain_size(move.changes[name])}" for name in own]
    carried = [f"{name} {plain_size(value)}" for name, value in move.changes.items() if name not in own]
    return ", ".join(steps) + (f" (with {', '.join(carried)})" if carried else "")


def plain_size(value: object) -> object:
    """A field's value as JSON has it: stages as a list."""
    if isinstance(value, tuple):
        return [int(v) for v in value]
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _relative(new: float, old: float) -> float:
    with np.errstate(all="ignore"):
        return float(new / old - 1)
