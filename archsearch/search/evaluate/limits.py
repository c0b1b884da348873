"""What an architecture must keep: budgets of a space, bounds that a user adds, and what attention kernels demand.

A violation is how far a limit is missed, relative to it: ≤ 0 where it is kept. Values are metric arrays of any shape.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from archsearch.arrays import FloatArray, Floats, as_float
from archsearch.cost.routes import fused_attention_reason
from archsearch.hardware import GpuPool
from archsearch.models.base import ModelConfig, Requirement
from archsearch.search.evaluate.columns import Metrics, metric_and_gpu, per_gpu_column
from archsearch.search.evaluate.training_cost import TrainingCost

if TYPE_CHECKING:
    from archsearch.search.space.space import SearchSpace


LATENCY = "budget: latency"
DEVICE_MEMORY = "memory of"
AT_LEAST = "at least"


def limit_of(text: str) -> str:
    """The limit that a violation is a part of: one latency budget, and one question whether the GPUs' memory holds it,
    over all GPUs of a pool."""
    if text.startswith(LATENCY):
        return text.rpartition(" on ")[0]
    return DEVICE_MEMORY if text.startswith(f"{DEVICE_MEMORY} ") else text


def relaxation(text: str, miss: ArrayLike) -> Floats:
    """ln of the factor by which a limit missed by ``miss`` (relative to it) has to move: comparable over limits from
    above and from below."""
    with np.errstate(all="ignore"):
        return -np.log1p(-as_float(miss)) if f" {AT_LEAST} " in text else np.log1p(as_float(miss))


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit beside the space's budget: ``sign`` · column (per unit for latencies) is at most ``limit``.

    ``text`` says so in messages.
    """

    text: str
    column: str
    sign: float
    limit: float

    def miss(self, values: Metrics) -> FloatArray:
        """How far values miss it, relative to the limit; ≤ 0 where they keep it."""
        value = values[self.column]
        if metric_and_gpu(self.column)[0] == "latency_s":
            value = value / values["tokens"]
        return (self.sign * value - self.limit) / max(abs(self.limit), 1e-300)


def size_violations(space: SearchSpace, pool: GpuPool, values: Metrics) -> dict[str, FloatArray]:
    """The budgets that parameters and memory decide."""
    budget = space.record.budget
    amounts: dict[str, FloatArray] = {}
    if budget.parameters is not None:
        low, high = budget.parameters
        amounts[f"budget: parameters at least {low:.6g}"] = (low - values["parameters"]) / low
        amounts[f"budget: parameters at most {high:.6g}"] = (values["parameters"] - high) / high
    if budget.memory_gib is not None:
        limit = budget.memory_gib * 2**30
        amounts[f"budget: memory at most {budget.memory_gib:g} GiB"] = (values["memory_bytes"] - limit) / limit
    for gpu in pool.gpus:
        fits = f"{DEVICE_MEMORY} {gpu.id} ({gpu.available_gib:.1f} GiB)"
        amounts[fits] = (values["memory_bytes"] - gpu.available_bytes) / gpu.available_bytes
    return amounts


def latency_violations(space: SearchSpace, pool: GpuPool, values: Metrics) -> dict[str, FloatArray]:
    """The latency budget on every GPU."""
    latency_ms = space.record.budget.latency_ms
    if latency_ms is None:
        return {}
    limit = latency_ms / 1e3
    return {
        f"{LATENCY} at most {latency_ms:g} ms on {gpu.id}": (values[per_gpu_column("latency_s", gpu.id)] - limit)
        / limit
        for gpu in pool.gpus
    }


def training_violations(space: SearchSpace, training: TrainingCost, values: Metrics) -> dict[str, FloatArray]:
    """Memory of the training GPUs, and the budgets of training."""
    budget, record = space.record.budget, training.record
    amounts = {f"training memory of {record.gpus} x {training.gpu.id}": values["training_memory_share"] - 1}
    if budget.training_hours is not None:
        text = f"budget: training at most {budget.training_hours:g} hours"
        amounts[text] = values["training_hours"] / budget.training_hours - 1
    if budget.training_usd is not None:
        text = f"budget: training at most {budget.training_usd:g} USD"
        amounts[text] = values["training_usd"] / budget.training_usd - 1
    return amounts


def kernel_rules(space: SearchSpace, pool: GpuPool, config: ModelConfig) -> tuple[tuple[Requirement, ...], ModelConfig]:
    """What the attention kernel asked for demands of head_dim on each GPU; and the config with other head_dims made one
    that it serves, so that the rest of a mesh can be priced.

    A GPU that has no such kernel for any of them is left to the cost model, which refuses it.
    """
    attention = space.execution.attention
    if attention not in ("flash", "fa2") or "head_dim" not in space.config_fields:
        return (), config
    widths = np.asarray(config.head_width)  # type: ignore[attr-defined]
    distinct, where = np.unique(widths, return_inverse=True)
    where = where.reshape(widths.shape)
    rules, served = [], np.ones(len(distinct), dtype=bool)
    for gpu in pool.gpus:
        dtype = space.workload.activation_dtype
        reasons = [fused_attention_reason(gpu, dtype, width, flash=attention == "flash") for width in distinct]
        refused = next((reason for reason in reasons if reason), None)
        if refused is None or all(reasons):
            continue
        good = np.array([reason is None for reason in reasons])
        served &= good
        rules.append(Requirement(reason=f"{attention} attention on {gpu.id}: {refused}", holds=good[where]))
    if not served.any() or served.all():
        return tuple(rules), config
    spread = np.where(served[where], widths, distinct[served][0])
    return tuple(rules), replace(config, head_dim=spread)
