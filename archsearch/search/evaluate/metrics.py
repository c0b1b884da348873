"""Metrics that follow from latency, memory and parameters: speed over a pool, energy, price, cost over a lifetime.

A *unit* is what the family's throughput counts (a token, an image). With t_g(a) the seconds per unit of architecture a
on GPU g, r_g = t_g(a) / t_g(reference), and w_g the weights of the pool (they sum to 1):

    throughput_worst       1 / max_g r_g                       the smallest gain over the reference
    throughput_weighted    1 / Σ w_g r_g                       w_g: share of the units that g serves
    throughput_fleet       Σ w_g / t_g(a)  over the reference  w_g: share of the fleet's GPUs, all of them busy
    regret                 max_g t_g(a) / t*_g(quality of a) − 1

where t*_g(q) is the least time per unit that any architecture of the space with at least quality q has on g: what a
model made for g alone would gain. Energy is the board power (TDP) times the time that the GPU is busy, an upper bound
(``energy_basis``). Prices are the space's, else the on-demand
prices of the file of prices (``archsearch.hardware.prices``).

    energy_j:<g>           power_w · gpus · t_g                per unit
    usd_per_million:<g>    usd_per_hour / 3600 · gpus · t_g · 10⁶   per million units
    lifetime_usd           training_usd + inferences · Σ w_g · usd per inference on g

An inference is one sequence, image or video of the workload: 1 / batch_size of its run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.arrays import Floats
from archsearch.cost.execution import Execution
from archsearch.cost.power import board_power_w
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware import GpuPool, Quotes, load_gpu, price_of, quotes
from archsearch.hardware.prices import IN_A_SPACE
from archsearch.hardware.spec import GpuSpec
from archsearch.search.evaluate.columns import Columns, metric_and_gpu, per_gpu_column
from archsearch.search.space.schema import SpaceRecord

PER_GPU_ABSOLUTE = ("energy_j", "usd_per_million")
NEED_PRICE = ("usd_per_million", "lifetime_usd")
ENERGY_BASIS = "TDP times busy time: an upper bound"


@dataclass(frozen=True)
class OwnFronts:
    """For each GPU the least seconds per unit at every quality: qualities ascending from the best (as minimised) and
    the running minimum of seconds."""

    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]

    @classmethod
    def of(cls, fronts: Mapping[str, NDArray[np.float64]]) -> OwnFronts:
        """From points [F, 2] of each GPU: minimised quality, seconds per unit."""
        curves = {}
        for gpu, points in fronts.items():
            ordered = points[np.lexsort(points.T[::-1])]
            curves[gpu] = (ordered[:, 0], np.minimum.accumulate(ordered[:, 1]))
        return cls(curves)

    def regret(self, gpu: str, quality: Floats, s_per_unit: Floats) -> Floats:
        """t / t* − 1, elementwise; 0 where nothing of that quality is known (worse than the whole front)."""
        qualities, least = self.curves[gpu]
        place = np.searchsorted(qualities, np.asarray(quality) * (1 + 1e-12 * np.sign(quality)), side="right") - 1
        best = np.where(place >= 0, least[np.maximum(place, 0)], s_per_unit)
        return np.maximum(s_per_unit / best - 1, 0.0)


@dataclass(frozen=True)
class Derivation:
    """Everything that the derived metrics of one evaluator read."""

    pool: GpuPool
    record: SpaceRecord
    reference_s_per_token: Mapping[str, float]
    quality_sign: float
    own_fronts: OwnFronts | None
    execution: Execution = field(default_factory=Execution)

    def columns(self, values: Mapping[str, Any], names: Collection[str] | None = None) -> Columns:
        """The values with the metrics above added (only what ``names`` need, where given), any shape."""
        with np.errstate(all="ignore"):  # cells that are no legal architecture may hold anything
            return self._columns(dict(values), names)

    def _columns(self, columns: Columns, names: Collection[str] | None) -> Columns:
        seconds: dict[str, Floats] = {}
        for gpu in self.pool.gpus:
            seconds[gpu.id] = columns[per_gpu_column("latency_s", gpu.id)] / columns["tokens"]
            columns[per_gpu_column("throughput", gpu.id)] = 1 / seconds[gpu.id]
        if names is None or any(_stem(name) in PER_GPU_ABSOLUTE for name in names):
            self._absolute(columns, seconds)
        if names is None or any(name.startswith(("latency_", "throughput_")) for name in names):
            self._relative(columns, seconds)
        if self.own_fronts is not None and (names is None or "regret" in names):
            quality = self.quality_sign * np.asarray(columns["quality"])
            regrets = {gpu: self.own_fronts.regret(gpu, quality, seconds[gpu]) for gpu in self.pool.ids}
            columns |= {per_gpu_column("regret", gpu): value for gpu, value in regrets.items()}
            columns["regret"] = reduce(np.maximum, regrets.values())
        if self.record.lifetime is not None and (names is None or "lifetime_usd" in names):
            columns["lifetime_usd"] = self._lifetime(columns, seconds)
        return columns

    def _relative(self, columns: Columns, seconds: Mapping[str, Floats]) -> None:
        reference = self.reference_s_per_token
        ratios = [seconds[gpu] / reference[gpu] for gpu in self.pool.ids]
        weights = self.pool.weights
        columns["latency_worst"] = reduce(np.maximum, ratios)
        columns["latency_weighted"] = reduce(np.add, [w * r for w, r in zip(weights, ratios, strict=True)])
        rates = [w / seconds[gpu] for gpu, w in zip(self.pool.ids, weights, strict=True)]
        whole = sum(w / reference[gpu] for gpu, w in zip(self.pool.ids, weights, strict=True))
        columns["throughput_fleet"] = reduce(np.add, rates) / whole
        columns["latency_fleet"] = 1 / columns["throughput_fleet"]
        columns["throughput_worst"] = 1 / columns["latency_worst"]
        columns["throughput_weighted"] = 1 / columns["latency_weighted"]

    def _absolute(self, columns: Columns, seconds: Mapping[str, Floats]) -> None:
        for name in PER_GPU_ABSOLUTE:
            each = []
            for gpu in self.pool.gpus:
                watts = board_power_w(gpu, self.execution)
                rate = watts if name == "energy_j" else self._usd_per_s(gpu) * 1e6
                each.append(seconds[gpu.id] * rate * self.execution.gpus)
                columns[per_gpu_column(name, gpu.id)] = each[-1]
            if len(self.pool) > 1:
                columns[f"{name}_worst"] = reduce(np.maximum, each)
                weighted = [w * value for w, value in zip(self.pool.weights, each, strict=True)]
                columns[f"{name}_weighted"] = reduce(np.add, weighted)

    def _usd_per_s(self, gpu: GpuSpec) -> float:
        price = price_of(gpu, self.record.prices)
        return float("nan") if price is None else price / 3600

    def _lifetime(self, columns: Columns, seconds: Mapping[str, Floats]) -> Floats:
        assert self.record.lifetime is not None
        units = columns["tokens"] / float(np.asarray(self.record.workload.batch_size))
        each = [
            weight * seconds[gpu.id] * units * self._usd_per_s(gpu) * self.execution.gpus
            for gpu, weight in zip(self.pool.gpus, self.pool.weights, strict=True)
        ]
        return columns["training_usd"] + self.record.lifetime.inferences * reduce(np.add, each)


def refuse_unpriced(record: SpaceRecord, pool: GpuPool, trainer: GpuSpec | None) -> None:
    """Refuse objectives and budgets that ask for what nothing gives.

    Raises:
        InvalidInputError: training or lifetime figures without a ``training`` or ``lifetime`` section.
        UnsupportedError: a price is needed that nobody knows.
    """
    metrics = {objective.metric for objective in record.objectives}
    budget = record.budget
    if budget.training_usd is not None:
        metrics.add("training_usd")
    if budget.training_hours is not None:
        metrics.add("training_hours")
    needs_training = {name for name in metrics if name.startswith("training_")} | (metrics & {"lifetime_usd"})
    if needs_training and record.training is None:
        raise InvalidInputError(f"space {record.name}: {', '.join(sorted(needs_training))} needs a 'training' section")
    if "lifetime_usd" in metrics and record.lifetime is None:
        raise InvalidInputError(f"space {record.name}: lifetime_usd needs a section 'lifetime: {{inferences: N}}'")
    needed = list(pool.gpus) if metrics & set(NEED_PRICE) else []
    needed += [trainer] if trainer is not None and metrics & {"training_usd", "lifetime_usd"} else []
    unpriced = quotes(needed, record.prices).unpriced
    if unpriced:
        asked = ", ".join(sorted(metrics & {*NEED_PRICE, "training_usd"}))
        missing = "; ".join(Quotes({}, unpriced).lines(IN_A_SPACE))
        raise UnsupportedError(f"space {record.name} asks for {asked}: {missing}")


def refuse_idle_prices(record: SpaceRecord, pool: GpuPool, trainer: GpuSpec | None) -> None:
    """Refuse a price of the space that has no effect: of a GPU that is neither in the pool, nor among the space's own
    hardware, nor trains.

    Raises:
        InvalidInputError: there is one.
    """
    used = {*pool.ids, *((trainer.id,) if trainer else ())}
    if idle := record.prices.keys() - used:
        idle -= {load_gpu(name).id for name in record.hardware}
    if idle:
        text = f"{', '.join(sorted(idle))}: has no effect: the hardware is {', '.join(sorted(used))}"
        raise InvalidInputError(f"space {record.name}: prices.{text}")


def priced_gpus(record: SpaceRecord, pool: GpuPool, trainer: GpuSpec | None) -> Quotes:
    """Prices per GPU-hour of the pool and the training GPU, where each is from, and whose price nobody knows."""
    return quotes((*pool.gpus, *((trainer,) if trainer else ())), record.prices, given="the space's prices")


def _stem(name: str) -> str:
    return metric_and_gpu(name)[0].removesuffix("_worst").removesuffix("_weighted")
