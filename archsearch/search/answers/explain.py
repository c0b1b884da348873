"""Where an architecture's time goes, what each of its dimensions costs, and which shapes nearby are better.

All neighbours of an architecture (each dimension one step down and up, and pairs of such steps) are evaluated
as one batch by the same formulas as a search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.cost.estimate import Estimate
from archsearch.hardware import GpuSpec
from archsearch.models.base import ModelConfig
from archsearch.ops import as_float
from archsearch.search.evaluate.pricing import Hardware, LatencyModel, cost_models, resolve_pool
from archsearch.workload import Workload

DEFAULT_STEPS: Mapping[str, int] = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 64,
    "patch_size": 2,
}
_ALIGNED = ("hidden_size", "intermediate_size", "head_dim", "vocab_size")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class GpuExplanation:
    """One GPU's view. Times in seconds.

    ``groups`` add up the breakdown by block part, largest first. ``dimensions`` hold the change per single
    step. ``better`` are neighbours that are faster with no fewer parameters, or as fast with more.
    """

    gpu: str
    latency_s: float
    low_s: float
    high_s: float
    provenance: str
    throughput: float
    groups: list[dict[str, Any]]
    breakdown: list[dict[str, Any]]
    dimensions: list[dict[str, Any]]
    better: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer of ``explain``."""

    family: str
    config: dict[str, Any]
    parameters: int
    flops: float
    memory_bytes: float
    per_gpu: tuple[GpuExplanation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "per_gpu"}
        views = [{f.name: getattr(view, f.name) for f in fields(view)} for view in self.per_gpu]
        return own | {"per_gpu": views}

    def lines(self) -> list[str]:
        """Sentences for people, GPU by GPU."""
        told = [f"{self.family}: {self.parameters / 1e6:.4g} M parameters, {self.flops / 1e12:.4g} TFLOPs per run"]
        for view in self.per_gpu:
            told.append(
                f"{view.gpu}: {view.latency_s * 1e3:.3g} ms ({view.low_s * 1e3:.3g} to {view.high_s * 1e3:.3g}, "
                f"{view.provenance})"
            )
            told += [f"  {group['share']:6.1%} {group['group']}" for group in view.groups]
            told += [
                f"  {item['dimension']} {item['from']} -> {item['to']}: latency {item['latency_change']:+.1%}, "
                f"parameters {item['parameters_change']:+.1%}"
                for item in view.dimensions
            ]
            told += [f"  better: {_shape(item['changes'])}: {item['why']}" for item in view.better]
        return told


def _shape(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in changes.items())


def explain(
    config: ModelConfig,
    workload: Workload,
    gpus: Hardware,
    *,
    compiled: bool = False,
    attention: str = "auto",
    steps: Mapping[str, int] | None = None,
    models: Mapping[str, LatencyModel] | None = None,
) -> Explanation:
    """Explain one architecture (a config of scalars) on one or several GPUs.

    ``steps`` gives the step of each dimension to vary; by default the widths move by 64, layers and heads by
    one. A width that is off its step's multiple moves to the multiples around it.

    Raises:
        UnsupportedError: a GPU cannot run the workload.
        InvalidInputError: the config describes no real model.
    """
    for requirement in config.requirements():
        if not np.all(requirement.holds):
            from archsearch.errors import InvalidInputError

            raise InvalidInputError(f"{config.family} config: {requirement.reason}")
    pool = resolve_pool(gpus)
    pricers = cost_models(pool) if models is None else models
    grid = _Neighbours.of(config, DEFAULT_STEPS if steps is None else steps)
    ops = config.lower(workload)
    run = {"compiled": compiled, "attention": attention}
    views = []
    for gpu in pool.gpus:
        here = pricers[gpu.id].estimate(ops, compiled=compiled, attention=attention)
        there = pricers[gpu.id].estimate(grid.config.lower(workload), **run) if grid.size else None  # type: ignore[arg-type]
        views.append(_view(gpu, config, workload, here, there, grid))
    return Explanation(
        family=config.family,
        config=_scalars(config),
        parameters=int(as_float(config.parameters())),
        flops=float(as_float(ops.flops())),
        memory_bytes=float(as_float(config.memory(workload).total)),
        per_gpu=tuple(views),
    )


def _scalars(config: ModelConfig) -> dict[str, Any]:
    found = {f.name: getattr(config, f.name) for f in fields(config)}  # type: ignore[arg-type]
    return {k: v.item() if isinstance(v, np.generic | np.ndarray) else v for k, v in found.items()}


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Architectures around one, as one array-valued config; ``changes[i]`` says how the i-th differs."""

    config: ModelConfig
    changes: list[dict[str, int]]
    legal: NDArray[np.bool_]

    @property
    def size(self) -> int:
        return len(self.changes)

    @classmethod
    def of(cls, config: ModelConfig, steps: Mapping[str, int]) -> _Neighbours:
        moves = [(name, value) for name, step in steps.items() for value in _moves(config, name, step)]
        changes = [{name: value} for name, value in moves]
        changes += [dict(pair) for pair in combinations(moves, 2) if pair[0][0] != pair[1][0]]
        names = dict.fromkeys(name for name, _ in moves)
        columns = {n: np.array([c.get(n, int(getattr(config, n))) for c in changes]) for n in names}
        many: Any = replace(config, **columns) if changes else config  # type: ignore[type-var]
        legal = np.ones(len(changes), dtype=bool)
        for requirement in many.requirements():
            legal &= np.asarray(requirement.holds, dtype=bool)
        return cls(many, changes, legal)


def _moves(config: ModelConfig, name: str, step: int) -> list[int]:
    """The values one step below and above a field's, where the config has such a field."""
    value = getattr(config, name, None)
    if value is None or isinstance(value, bool | str | float):
        return []
    here = int(value)
    off = here % step if name in _ALIGNED else 0
    around = (here - off, here - off + step) if off else (here - step, here + step)
    return [moved for moved in around if moved > 0]


def _view(
    gpu: GpuSpec, config: ModelConfig, workload: Workload, here: Estimate, there: Estimate | None, grid: _Neighbours
) -> GpuExplanation:
    latency = float(as_float(here.latency_s))
    tokens = float(as_float(config.tokens(workload)))
    dimensions: list[dict[str, Any]] = []
    better: list[dict[str, Any]] = []
    if there is not None:
        times = np.broadcast_to(as_float(there.latency_s), (grid.size,)) / latency - 1
        sizes = (
            np.broadcast_to(as_float(grid.config.parameters()), (grid.size,)) / float(as_float(config.parameters())) - 1
        )
        dimensions = _dimension_rows(config, grid, times, sizes)
        better = _better_rows(grid, times, sizes)
    return GpuExplanation(
        gpu=gpu.id,
        latency_s=latency,
        low_s=float(as_float(here.low_s)),
        high_s=float(as_float(here.high_s)),
        provenance=here.provenance.value,
        throughput=tokens / latency,
        groups=_groups(here.rows(), latency),
        breakdown=here.rows(),
        dimensions=dimensions,
        better=better,
    )


def _groups(rows: Sequence[Mapping[str, Any]], latency: float) -> list[dict[str, Any]]:
    """Time by the first part of the ops' dotted names, largest first."""
    totals: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = str(row["name"]).split(".")[0]
        group = totals.setdefault(name, {"group": name, "latency_s": 0.0, "flops": 0.0, "bytes": 0.0})
        for key in ("latency_s", "flops", "bytes"):
            group[key] += row[key]
    for group in totals.values():
        group["share"] = group["latency_s"] / latency
    return sorted(totals.values(), key=lambda group: -float(group["latency_s"]))


def _dimension_rows(
    config: ModelConfig, grid: _Neighbours, times: NDArray[np.float64], sizes: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Relative changes of latency and parameters for every legal single step."""
    rows = []
    for index, change in enumerate(grid.changes):
        if len(change) == 1 and grid.legal[index]:
            ((name, value),) = change.items()
            throughput_per_parameter = 1 / ((1 + times[index]) * (1 + sizes[index])) - 1
            rows.append(
                {
                    "dimension": name,
                    "from": int(getattr(config, name)),
                    "to": value,
                    "latency_change": float(times[index]),
                    "parameters_change": float(sizes[index]),
                    "throughput_per_parameter_change": float(throughput_per_parameter),
                }
            )
    return rows


def _better_rows(grid: _Neighbours, times: NDArray[np.float64], sizes: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Neighbours that are faster without losing parameters, or larger without losing time; best first."""
    wins = np.flatnonzero(grid.legal & (times <= 0) & (sizes >= 0) & (sizes - times > 1e-4))
    order = wins[np.argsort(times[wins] - sizes[wins], kind="stable")][:_SHOWN]
    return [
        {
            "changes": grid.changes[i],
            "latency_change": float(times[i]),
            "parameters_change": float(sizes[i]),
            "why": f"{times[i]:+.1%} latency with {sizes[i]:+.1%} parameters",
        }
        for i in order
    ]
