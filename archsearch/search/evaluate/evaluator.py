"""One array-valued evaluation of architectures on a pool of GPUs, for enumeration and for samplers alike.

``Evaluator.evaluate`` takes dimension arrays that broadcast: an open mesh (enumeration) or columns of equal
length (a batch of trials). What it returns keeps the arrays unbroadcast; ``Evaluation.take`` gathers columns
for the cells that matter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.arrays import Column, FloatArray, as_float
from archsearch.cost.layouts import layout_rules
from archsearch.cost.memory import memory_on
from archsearch.cost.model import price_on
from archsearch.errors import ArchSearchError, UnknownNameError
from archsearch.hardware import GpuPool
from archsearch.models.base import ModelConfig, Requirement
from archsearch.quality import QualityProxy, default_proxy, get_proxy, list_proxies, training_features
from archsearch.search.evaluate.baseline import baseline_error, baseline_of
from archsearch.search.evaluate.columns import Columns, per_gpu_column
from archsearch.search.evaluate.evaluation import Evaluation
from archsearch.search.evaluate.limits import (
    Bound,
    kernel_rules,
    latency_violations,
    size_violations,
    training_violations,
)
from archsearch.search.evaluate.metrics import (
    PER_GPU_ABSOLUTE,
    Derivation,
    OwnFronts,
    refuse_idle_prices,
    refuse_unpriced,
)
from archsearch.search.evaluate.pool_formats import refuse_unsupported
from archsearch.search.evaluate.pool_models import LatencyModel, cost_models
from archsearch.search.evaluate.sampling_quality import SpaceSampler
from archsearch.search.evaluate.training_cost import TrainingCost
from archsearch.search.pareto import objective_matrix
from archsearch.search.space.sections import Objective
from archsearch.search.space.space import Cells, SearchSpace

ON_GPU = ("throughput", "latency_s", *PER_GPU_ABSOLUTE)
"""Metrics that each GPU has its own value of."""


def space_proxy(space: SearchSpace) -> QualityProxy:
    """The law that a space names, or its family's default.

    Raises:
        UnknownNameError: the space names none that there is; the text names file and field.
    """
    name = space.record.quality.proxy
    if name is None:
        return default_proxy(space.family)
    try:
        return get_proxy(name)
    except UnknownNameError:
        raise UnknownNameError("quality proxy", name, list_proxies(), f"({space.origin}: quality.proxy)") from None


class Evaluator:
    """Prices architectures of one space on one pool. Nothing of it changes once it is made: what a search learns or a
    user adds goes into another one (``on``, ``knowing``), which shares the price caches of ``models``.

    Args:
        models: what prices op lists, by GPU (default: the calibrated cost models, each with a cache of its own).
        training: what prices the space's training runs (default: from the space's record).
        reference: seconds per token of the reference architecture by GPU (default: priced when first asked for).
        own_fronts: what regret is measured against; without it there is no column ``regret``.
        bounds: limits beside the space's budget.

    Raises:
        UnsupportedError: a GPU of the pool has no units for the workload's dtype.
        UnknownNameError: the space names an unknown proxy or preset.
    """

    def __init__(
        self,
        space: SearchSpace,
        pool: GpuPool,
        models: Mapping[str, LatencyModel] | None = None,
        *,
        training: TrainingCost | None = None,
        reference: Mapping[str, float] | None = None,
        own_fronts: OwnFronts | None = None,
        bounds: tuple[Bound, ...] = (),
    ) -> None:
        self.space = space
        self.pool = pool
        refuse_unsupported(space, pool)
        self.training = training or _training_cost(space)
        trainer = self.training.gpu if self.training else None
        refuse_idle_prices(space.record, pool, trainer)
        refuse_unpriced(space.record, pool, trainer)
        self.own_fronts = own_fronts
        self.bounds = bounds
        self.models: Mapping[str, LatencyModel] = cost_models(pool) if models is None else models
        self.proxy: QualityProxy = space_proxy(space)
        self.sampling = SpaceSampler(space, self.proxy.direction)
        self._reference = reference

    def on(self, space: SearchSpace, bounds: tuple[Bound, ...] | None = None) -> Evaluator:
        """The same pricing of a part of the space (fewer values, a tighter budget), against this reference; under
        ``bounds`` in place of this one's, where given."""
        return self._with(space, self.own_fronts, self.bounds if bounds is None else bounds)

    def knowing(self, fronts: OwnFronts) -> Evaluator:
        """The same pricing with regret, measured against these."""
        return self._with(self.space, fronts, self.bounds)

    def _with(self, space: SearchSpace, own_fronts: OwnFronts | None, bounds: tuple[Bound, ...]) -> Evaluator:
        return Evaluator(
            space,
            self.pool,
            self.models,
            training=self.training,
            reference=self.reference_s_per_token,
            own_fronts=own_fronts,
            bounds=bounds,
        )

    def evaluate(self, dimensions: Mapping[str, ArrayLike]) -> Evaluation:
        """Metrics of every combination that the broadcast dimension arrays describe.

        Cells that describe no legal model may hold any number (NaN, inf); they are never feasible.
        """
        shape = np.broadcast_shapes(*(np.shape(value) for value in dimensions.values()))
        with np.errstate(all="ignore"):
            values = self.space.field_values(dimensions)
            config = self.space.build(self._guarded(values))
            kernels, served = self._kernel_rules(config)
            rules = (*self.space.rules(values, config), *kernels)
            return self._price(served, shape, rules)

    def config(self, dimensions: Mapping[str, ArrayLike]) -> ModelConfig:
        """The family's config of dimension arrays, as it is priced."""
        values = self.space.field_values(dimensions)
        return self.space.build(self._guarded(values))

    def legal(self, dimensions: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
        """Which combinations describe a legal architecture, from the rules alone: nothing is priced."""
        return self._masks(dimensions)[0]

    def admissible(self, dimensions: Mapping[str, ArrayLike]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which combinations are legal, and which keep the budgets of size too (parameters, memory): no latency."""
        legal, config = self._masks(dimensions)
        with np.errstate(all="ignore"):
            sizes = {
                "parameters": as_float(config.parameters()),
                "memory_bytes": self._memory(config),
            }
            kept = legal.copy()
            for amount in size_violations(self.space, self.pool, sizes).values():
                kept &= np.asarray(amount) <= 0
        return legal, kept

    def _masks(self, dimensions: Mapping[str, ArrayLike]) -> tuple[NDArray[np.bool_], ModelConfig]:
        shape = np.broadcast_shapes(*(np.shape(value) for value in dimensions.values()))
        mask = np.ones(shape, dtype=bool)
        with np.errstate(all="ignore"):
            values = self.space.field_values(dimensions)
            config = self.space.build(self._guarded(values))
            for rule in (*self.space.rules(values, config), *self._kernel_rules(config)[0]):
                mask &= np.asarray(rule.holds, dtype=bool)
        return mask, config

    def _kernel_rules(self, config: ModelConfig) -> tuple[tuple[Requirement, ...], ModelConfig]:
        rules, served = kernel_rules(self.space, self.pool, config)
        return (*rules, *self._layout_rules(config), *self.sampling.rules(config)), served

    def _layout_rules(self, config: ModelConfig) -> tuple[Requirement, ...]:
        rules = layout_rules(config, self.space.execution)
        return tuple(Requirement(reason=reason, holds=holds) for reason, holds in rules)

    def _guarded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields with derived ones below one (an illegal cell) made one, so that formulas stay defined there."""
        derived = {n: np.maximum(values[n], 1) for n in self.space.derived if not isinstance(values[n], bool)}
        return {**values, **derived}

    def evaluate_config(self, config: ModelConfig) -> Evaluation:
        """Metrics of one architecture (for example the baseline), as columns of length one."""
        rules = (*config.requirements(), *self._layout_rules(config))
        with np.errstate(all="ignore"):
            return self._price(config, (1,), rules)

    def _price(self, config: ModelConfig, shape: tuple[int, ...], rules: tuple[Requirement, ...]) -> Evaluation:
        workload = self.space.workload
        tokens = as_float(config.tokens(workload))
        estimates = price_on(self.models, config, workload, self.space.execution)
        flops = as_float(next(iter(estimates.values())).flops)
        values: dict[str, Any] = {
            "parameters": as_float(config.parameters()),
            "flops": flops,
            "memory_bytes": self._memory(config),
        }
        one_pass = as_float(config.pass_flops(workload)) if hasattr(config, "pass_flops") else flops
        values |= self._quality(config, values["parameters"], one_pass)
        for gpu_id, estimate in estimates.items():
            values[per_gpu_column("latency_s", gpu_id)] = as_float(estimate.latency_s)
            values[per_gpu_column("latency_low_s", gpu_id)] = as_float(estimate.low_s)
            values[per_gpu_column("latency_high_s", gpu_id)] = as_float(estimate.high_s)
        provenance = {gpu_id: estimate.provenance for gpu_id, estimate in estimates.items()}
        values |= self.sampling.columns(config, values)
        values["tokens"] = tokens
        if self.training is not None:
            values |= self.training.columns(config)
        return Evaluation(shape, values, rules, self._violations(values), provenance, estimates)

    def _memory(self, config: ModelConfig) -> FloatArray:
        """Bytes of one run on the GPU of the pool where its kernels need most."""
        uses = memory_on(config, self.space.workload, self.space.execution, self.pool.gpus)
        return reduce(np.maximum, (as_float(use.total) for use in uses))

    def _quality(self, config: ModelConfig, parameters: FloatArray, flops: FloatArray) -> dict[str, Any]:
        """Quality columns. ``flops`` of one image, where the law wants them, leave out the batch."""
        answer = self.proxy.predict(
            training_features(config, self.proxy, self.space.workload, self.quality_given(parameters, flops))
        )
        return {
            "quality": answer.value,
            "quality_low": answer.low,
            "quality_high": answer.high,
            "quality_in_range": answer.in_range,
        }

    def quality_given(self, parameters: FloatArray, flops: FloatArray) -> dict[str, Any]:
        """What a quality proxy need not compute from the config: the space's settings, and what is priced already."""
        return {
            "tokens": self.space.record.quality.tokens,
            "parameters": np.maximum(parameters, 1.0),
            "flops": np.maximum(flops / as_float(self.space.workload.batch_size), 1.0),
        }

    def _violations(self, values: Mapping[str, Any]) -> dict[str, FloatArray]:
        """How far each budget is missed, relative to its limit."""
        amounts = size_violations(self.space, self.pool, values)
        if self.training is not None:
            amounts |= training_violations(self.space, self.training, values)
        amounts |= {bound.text: bound.miss(values) for bound in self.bounds}
        return amounts | latency_violations(self.space, self.pool, values)

    def columns(self, evaluation: Evaluation, cells: Cells) -> Columns:
        """Columns [N] of all metrics at cell numbers [N], those of the pool included.

        ``throughput:<gpu>`` is tokens per second. With r_g the time per token on GPU g over the reference
        architecture's, the pool's relative latency is max_g r_g (worst) and Σ w_g r_g (weighted: w_g is the
        share of tokens that g serves); relative throughput is the inverse.
        """
        return self.derived_columns(evaluation.take(cells))

    def feasible_objectives(
        self, evaluation: Evaluation, views: Mapping[str, Mapping[str, float]]
    ) -> dict[str, NDArray[np.float64]]:
        """For each view ({column: sign}), its objectives [N, M], all minimised, of the N feasible cells in order.

        Columns that no view names are never spread over the mesh.
        """
        names = {name for view in views.values() for name in view}
        mask = evaluation.feasible.ravel()
        everything = bool(mask.all())
        with np.errstate(all="ignore"):
            values = self.derived_columns(evaluation.values, names)
        columns = {}
        for name in names:
            whole = np.broadcast_to(np.asarray(values[name], dtype=np.float64), evaluation.shape)
            columns[name] = whole.ravel() if everything else whole.ravel()[mask]
        return {label: objective_matrix(columns, view) for label, view in views.items()}

    def derived_columns(self, values: Mapping[str, object], names: Collection[str] | None = None) -> Columns:
        """The metrics with those that follow from them (only what ``names`` need, where given), any shape."""
        return self._derivation.columns(values, names)

    @cached_property
    def _derivation(self) -> Derivation:
        sign, reference = self.quality_sign, self.reference_s_per_token
        return Derivation(self.pool, self.space.record, reference, sign, self.own_fronts, self.space.execution)

    @property
    def quality_sign(self) -> float:
        """+1 where less of the quality metric is better (a loss), −1 where more is."""
        return 1.0 if self.proxy.direction == "minimize" else -1.0

    @property
    def asks_regret(self) -> bool:
        """Whether regret is an objective, which needs each GPU's own front first (``knowing``)."""
        speeds = {objective.metric for objective in self.space.objectives} & {"throughput", "latency_s"}
        return len(self.pool) > 1 and bool(speeds) and "regret" in self.space.record.pool.objectives

    @cached_property
    def reference_s_per_token(self) -> dict[str, float]:
        """Seconds per token of the reference on each GPU: the baseline's, else those of the middle of the space."""
        if self._reference is not None:
            return dict(self._reference)
        config = self.baseline_config()
        evaluation = self.evaluate(self._middle()) if config is None else self.evaluate_config(config)
        row = evaluation.take(np.zeros(1, dtype=np.int64))
        return {g.id: float(row[per_gpu_column("latency_s", g.id)][0] / row["tokens"][0]) for g in self.pool.gpus}

    def _middle(self) -> dict[str, Column]:
        """The legal cell nearest to the middle of the space, in steps; the middle itself where nothing is legal."""
        space = self.space
        centre = {name: v[len(v) // 2 : len(v) // 2 + 1] for name, v in space.dimensions.items()}
        if self.legal(centre).any():
            return centre
        half = np.array([n // 2 for n in space.shape]).reshape(-1, 1)
        best: tuple[float, int] | None = None
        for window in space.chunks():
            cells = space.window_cells(window, np.flatnonzero(self.legal(space.mesh(window))))
            if len(cells):
                away = np.abs(np.stack(np.unravel_index(cells, space.shape)) - half).sum(axis=0)
                nearest = (float(away.min()), int(cells[np.argmin(away)]))
                best = nearest if best is None else min(best, nearest)
        return centre if best is None else space.decode(np.array([best[1]]))

    @cached_property
    def baseline_columns(self) -> Columns | None:
        """The baseline's metrics as columns of length one; None where the space has no baseline."""
        config = self.baseline_config()
        if config is None:
            return None
        try:
            return self.columns(self.evaluate_config(config), np.zeros(1, dtype=np.int64))
        except ArchSearchError as error:
            raise baseline_error(self.space, error) from None

    def baseline_config(self) -> ModelConfig | None:
        """The space's naive reference; None where it has none.

        Raises:
            UnknownNameError: no such preset.
            InvalidInputError: the values describe no real model.
        """
        return baseline_of(self.space)

    @cached_property
    def objective_columns(self) -> dict[str, float]:
        """Columns that are optimised over the pool, with their sign (+1 minimise, −1 maximise)."""
        if len(self.pool) == 1:
            return self.gpu_objectives(self.pool.ids[0])
        chosen: dict[str, float] = {}
        for objective in self.space.objectives:
            if objective.metric in ("throughput", "latency_s"):
                stem = objective.metric.removesuffix("_s")
                views = self.space.record.pool.objectives
                chosen |= {f"{stem}_{view}": objective.sign for view in views if view != "regret"}
                chosen |= {"regret": 1.0} if "regret" in views else {}
            elif objective.metric in PER_GPU_ABSOLUTE:
                views = tuple(v for v in self.space.record.pool.objectives if v in ("worst", "weighted"))
                chosen |= {f"{objective.metric}_{view}": objective.sign for view in views or ("weighted",)}
            else:
                chosen[objective.metric] = self._sign(objective)
        return chosen

    def gpu_objectives(self, gpu_id: str) -> dict[str, float]:
        """Columns that one GPU alone would optimise, with their sign."""
        return {
            per_gpu_column(o.metric, gpu_id) if o.metric in ON_GPU else o.metric: self._sign(o)
            for o in self.space.objectives
        }

    def _sign(self, objective: Objective) -> float:
        if objective.metric == "quality" and objective.direction is None:
            return self.quality_sign
        return objective.sign


def _training_cost(space: SearchSpace) -> TrainingCost | None:
    record = space.record.training
    if record is None:
        return None
    if space.record.builder is None:  # of a module of the user's no size is known
        sizes = {n: v for n, v in space.family_class.default_sizes.items() if getattr(record, n) is None}
        record = record.model_copy(update=sizes)
    splittable = bool(space.family_class.tensor_parallel_fields)
    return TrainingCost(record, splittable=splittable, prices=space.record.prices)
