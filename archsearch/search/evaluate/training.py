"""What training an architecture to a token budget costs on the GPUs of one node, in the best layout that fits.

A layout splits ``gpus`` into tensor × pipeline × data parallel groups:

* tensor parallel (Megatron-LM, Shoeybi et al. 2019, https://arxiv.org/abs/1909.08053): heads, feed-forward width and
  vocabulary are divided by t; every layer all-reduces its [tokens, hidden_size] output twice in the forward and twice
  in the backward pass (section 3), and twice more where the forward pass is run again;
* pipeline parallel (the same group's 1F1B schedule, Narayanan et al. 2021, https://arxiv.org/abs/2104.04473, section
  2.2): ⌈layers / p⌉ layers a stage, m micro-batches take m + p − 1 turns, each stage sends its output on and its
  gradient back, and the first stage keeps the activations of min(p, m) micro-batches. Every stage is costed with the
  embeddings and the head, which the slowest one of two has: an upper bound;
* data parallel: one all-reduce of the stage's gradients a step, not overlapped with the backward pass (an upper bound);
  ``zero`` 1 divides the optimizer's state by the d replicas (ZeRO, https://arxiv.org/abs/1910.02054).

Collectives are costed from the node's links (``archsearch.cost.kernels.collective``, within one node).

    step = (m + p − 1) · micro-batch + all-reduce + optimizer        train = tokens / tokens per step · step
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from archsearch.cost.kernels.collective import collective_cost, link_of
from archsearch.errors import UnsupportedError
from archsearch.hardware import GpuSpec, load_gpu
from archsearch.models.base import MemoryUse
from archsearch.ops import Collective, OpList, as_float
from archsearch.search.evaluate.pricing import LatencyModel
from archsearch.search.space.schema import TrainingRecord
from archsearch.workload import Phase, Workload

PARALLEL = (1, 2, 4, 8)
"""Sizes tried where the record names none."""
REDUCES_PER_LAYER = 4
RECOMPUTED_REDUCES = 2
SHARDED = ("num_attention_heads", "num_key_value_heads", "intermediate_size", "moe_intermediate_size")
"""Fields that tensor parallelism divides."""


@dataclass(frozen=True)
class Layout:
    """Parallel groups of a node."""

    tensor: int
    pipeline: int
    data: int

    @property
    def code(self) -> float:
        """The layout as one number, tpd in base 1000, for columns."""
        return float((self.tensor * 1000 + self.pipeline) * 1000 + self.data)


def layout_of(code: float) -> dict[str, int]:
    """The layout of a column's number."""
    number = int(code)
    return {"tensor": number // 1_000_000, "pipeline": number // 1000 % 1000, "data": number % 1000}


class TrainingCost:
    """Prices training runs of one space's architectures. ``splittable`` families have heads of a width of their own.

    Raises:
        UnknownNameError: no such GPU.
        UnsupportedError: the GPU lacks the format, or no layout of the record is possible.
    """

    def __init__(self, record: TrainingRecord, *, splittable: bool = True, usd_per_hour: float | None = None) -> None:
        from archsearch.cost.remember import SearchCostModel

        self.record = record
        self.gpu: GpuSpec = load_gpu(record.hardware)
        if not self.gpu.supports(record.dtype):
            raise UnsupportedError(f"training on {self.gpu.id}: {self.gpu.why_unsupported(record.dtype)}")
        self.model: LatencyModel = SearchCostModel(self.gpu)
        listed = np.nan if self.gpu.price is None else self.gpu.price.usd_per_hour
        self.usd_per_hour = listed if usd_per_hour is None else usd_per_hour
        self.layouts = tuple(self._layouts(splittable))
        if not self.layouts:
            raise UnsupportedError(
                f"training: {record.gpus} GPUs have no layout of the tensor and pipeline parallel sizes asked for with "
                f"a whole number of micro-batches of {record.micro_batch} in a batch of {record.batch_size}"
            )

    def _layouts(self, splittable: bool) -> Iterator[Layout]:
        r = self.record
        given = (*(r.tensor_parallel or ()), *(r.pipeline_parallel or ()))
        if not splittable and max(given, default=1) > 1:
            raise UnsupportedError("training: only language models have tensor and pipeline parallel layouts here")
        sizes = PARALLEL if splittable else (1,)
        for tensor in r.tensor_parallel or sizes:
            for pipeline in r.pipeline_parallel or sizes:
                data, rest = divmod(r.gpus, tensor * pipeline)
                if data and not rest and r.batch_size % (data * r.micro_batch) == 0:
                    yield Layout(tensor, pipeline, data)

    def columns(self, config: Any) -> dict[str, Any]:
        """``training_hours``, ``training_usd``, ``training_energy_j``, ``training_layout`` and, of the GPU's memory,
        ``training_memory_share``; arrays broadcast like the config's.

        The fastest layout that fits counts; where none fits, the one that needs the least memory.
        """
        best: dict[str, Any] | None = None
        for layout in self.layouts:
            found = self._layout_columns(config, layout)
            best = found if best is None else _better(best, found)
        assert best is not None
        with np.errstate(all="ignore"):
            steps = np.ceil(
                self.record.tokens * self.record.micro_batch / (self._units(config) * self.record.batch_size)
            )
        seconds = best["step_s"] * steps
        return {
            "training_hours": seconds / 3600,
            "training_usd": seconds / 3600 * self.record.gpus * self.usd_per_hour,
            "training_energy_j": seconds * self.record.gpus * self.gpu.tdp_w,
            "training_layout": best["layout"],
            "training_memory_share": best["memory_share"],
        }

    def _layout_columns(self, config: Any, layout: Layout) -> dict[str, Any]:
        stage, legal = _stage(config, layout)
        r, work = self.record, self.workload
        with np.errstate(all="ignore"):
            ops = stage.lower(work)
            optimizer = OpList(tuple(op for op in ops if op.name.startswith("optimizer.")))
            passes = OpList(tuple(op for op in ops if not op.name.startswith("optimizer.")))
            micro = as_float(self.model.estimate(passes, compiled=r.compiled).latency_s)
            update = as_float(self.model.estimate(optimizer, compiled=r.compiled).latency_s)
            turns = r.batch_size // (layout.data * r.micro_batch)
            micro = micro + self._tensor_s(stage, layout) + self._pipeline_s(stage, layout)
            sync = self._all_reduce_s(stage.parameters() * work.activation_dtype.itemsize, layout.data)
            memory = stage.memory(work)
            step = (turns + layout.pipeline - 1) * micro + sync + update / (layout.data if r.zero else 1)
            share = self._bytes(memory, layout, turns) / self.gpu.memory_bytes
        return {
            "step_s": np.where(legal, step, np.inf),
            "memory_share": np.where(legal, share, np.inf),
            "layout": as_float(layout.code),
        }

    @property
    def workload(self) -> Workload:
        """One micro-batch."""
        r = self.record
        sizes = {"seq_len": r.seq_len, "height": r.height, "width": r.width, "frames": r.frames}
        run = {"batch_size": r.micro_batch, "dtype": r.dtype, "checkpointing": r.checkpointing}
        return Workload(phase=Phase.TRAIN, **run, **sizes)  # type: ignore[arg-type]

    def _units(self, config: Any) -> Any:
        """Tokens (images, videos) of a micro-batch."""
        return as_float(config.tokens(self.workload))

    def _bytes(self, memory: MemoryUse, layout: Layout, turns: int) -> Any:
        kept = min(layout.pipeline, turns)
        optimizer = as_float(memory.optimizer) / (layout.data if self.record.zero else 1)
        return as_float(memory.weights) + as_float(memory.activations) * kept + optimizer

    def _payload(self, stage: Any) -> Any:
        tokens = self.record.micro_batch * (self.record.seq_len or 1)
        return as_float(tokens) * as_float(stage.hidden_size) * self.workload.activation_dtype.itemsize

    def _tensor_s(self, stage: Any, layout: Layout) -> Any:
        each = REDUCES_PER_LAYER + (RECOMPUTED_REDUCES if self.record.checkpointing else 0)
        return self._all_reduce_s(self._payload(stage), layout.tensor) * each * as_float(stage.num_layers)

    def _pipeline_s(self, stage: Any, layout: Layout) -> Any:
        if layout.pipeline == 1:
            return 0.0
        return 2 * self._payload(stage) / link_of(self.gpu).bandwidth

    def _all_reduce_s(self, payload_bytes: Any, size: int) -> Any:
        if size == 1:
            return 0.0
        op = Collective(name="all_reduce", kind="all_reduce", payload_bytes=payload_bytes, group_size=size)
        return collective_cost(self.gpu, op).latency_s


def _stage(config: Any, layout: Layout) -> tuple[Any, Any]:
    """One GPU's part of a model as a config of its own, and where the layout divides it evenly.

    Raises:
        UnsupportedError: tensor parallelism of a family whose heads have no width of their own.
    """
    names = {f.name for f in fields(config)}
    legal = np.asarray(config.num_layers) >= layout.pipeline
    changes: dict[str, Any] = {"num_layers": -(-np.asarray(config.num_layers) // layout.pipeline)}
    if layout.tensor > 1:
        changes["head_dim"] = config.head_width
        for name in SHARDED:
            value = getattr(config, name, None)
            if value is not None:
                legal = legal & (np.asarray(value) % layout.tensor == 0)
                changes[name] = np.maximum(np.asarray(value) // layout.tensor, 1)
        if "vocab_size" in names:
            changes["vocab_size"] = -(-np.asarray(config.vocab_size) // layout.tensor)
    return replace(config, **changes), legal


def _better(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Elementwise the layout that fits and is faster; of two that do not fit the smaller."""
    fits_a, fits_b = np.asarray(a["memory_share"]) <= 1, np.asarray(b["memory_share"]) <= 1
    faster = np.asarray(b["step_s"]) < a["step_s"]
    smaller = np.asarray(b["memory_share"]) < a["memory_share"]
    take = np.where(fits_a & fits_b, faster, np.where(fits_a | fits_b, fits_b, smaller))
    return {name: np.where(take, b[name], a[name]) for name in a}
