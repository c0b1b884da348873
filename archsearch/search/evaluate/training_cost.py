"""What training an architecture to a token budget costs on the GPUs of one node, in the best layout that fits.

A layout splits ``gpus`` into tensor × pipeline × data parallel groups:

* tensor parallel (Megatron-LM, Shoeybi et al. 2019, https://arxiv.org/abs/1909.08053): heads, feed-forward width and
  vocabulary are divided by t; every layer all-reduces its [tokens, hidden_size] output twice in the forward and twice
  in the backward pass (section 3), and twice more where the forward pass is run again;
* pipeline parallel (the same group's 1F1B schedule, Narayanan et al. 2021, https://arxiv.org/abs/2104.04473, section
  2.2): ⌈layers / p⌉ layers a stage, m micro-batches take m + p − 1 turns, each stage sends its output on and its
  gradient back, and the first stage keeps the activations of min(p, m) micro-batches. Every stage is costed with the
  embeddings and the head, which the slowest one of two has: an upper bound;
* data parallel: gradients, optimizer's state and weights divided and exchanged by ``zero``'s stage, beside the
  computation (``archsearch.cost.replicas``, as ``archsearch.estimate`` has it).

Layouts, what they exchange and what the exchange costs are ``archsearch.cost.layouts``'s; each part of a step takes the
longer of the GPU and its host. The band holds how far whole training runs scatter (``archsearch.cost.spread``).

    step = (m + p − 1) · micro-batch + what shows of the replicas' exchange + optimizer
    train = tokens / tokens per step · step
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import reduce

import numpy as np

from archsearch.arrays import FloatArray, as_float
from archsearch.cost.execution import Execution
from archsearch.cost.layouts import exchanges, is_layered, output_bytes, shard
from archsearch.cost.memory import with_attention
from archsearch.cost.model import CostModel
from archsearch.cost.power import board_power_w
from archsearch.cost.remember import PriceCache
from archsearch.cost.replicas import shared_state, with_replicas
from archsearch.cost.spread import whole_run_spread
from archsearch.errors import UnsupportedError
from archsearch.hardware import GpuSpec, load_gpu, price_of
from archsearch.models.base import MemoryUse, ModelConfig
from archsearch.ops import Collective, Op, OpList
from archsearch.search.evaluate.pool_models import LatencyModel
from archsearch.search.space.sections import TrainingRecord
from archsearch.segments import Segment, SegmentedOps, segments_of
from archsearch.workload import Workload

PARALLEL = (1, 2, 4, 8)
"""Sizes tried where the record names none."""


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


@dataclass(frozen=True, slots=True)
class StepCost:
    """One training step under a layout (its ``code``): seconds with their 80 % band, and the share of a GPU's memory
    that it needs. Infinite where the layout does not divide the architecture."""

    step_s: FloatArray
    low_s: FloatArray
    high_s: FloatArray
    memory_share: FloatArray
    layout: FloatArray

    def better(self, other: StepCost) -> StepCost:
        """Elementwise the layout that fits and is faster; of two that do not fit the smaller."""
        fits, other_fits = np.asarray(self.memory_share) <= 1, np.asarray(other.memory_share) <= 1
        faster = np.asarray(other.step_s) < self.step_s
        smaller = np.asarray(other.memory_share) < self.memory_share
        take = np.where(fits & other_fits, faster, np.where(fits | other_fits, other_fits, smaller))
        names = (item.name for item in fields(self))
        return StepCost(**{name: np.where(take, getattr(other, name), getattr(self, name)) for name in names})


class TrainingCost:
    """Prices training runs of one space's architectures. ``splittable`` families have heads of a width of their own.
    ``model`` prices op lists on the training GPU (default: the calibrated cost model with a cache of its own).

    Raises:
        UnknownNameError: no such GPU.
        UnsupportedError: the GPU lacks the format, or no layout of the record is possible.
    """

    def __init__(
        self,
        record: TrainingRecord,
        *,
        splittable: bool = True,
        prices: Mapping[str, float] | None = None,
        model: LatencyModel | None = None,
    ) -> None:
        self.record = record
        self.execution = record.chosen_execution().resolved(record.workload())
        if self.execution.gpus > 1:
            text = "training: say its layout by gpus, tensor_parallel, pipeline_parallel and zero, not by execution"
            raise UnsupportedError(text)
        self.gpu: GpuSpec = load_gpu(record.hardware)
        if not self.gpu.supports(record.dtype):
            raise UnsupportedError(f"training on {self.gpu.id}: {self.gpu.why_unsupported(record.dtype)}")
        self.model: LatencyModel = CostModel(self.gpu, cache=PriceCache()) if model is None else model
        price = price_of(self.gpu, prices)
        self.usd_per_hour = np.nan if price is None else price
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

    def columns(self, config: ModelConfig) -> dict[str, FloatArray]:
        """``training_hours`` with its band (``training_hours_low``, ``training_hours_high``), ``training_usd``,
        ``training_energy_j``, ``training_layout`` and, of the GPU's memory, ``training_memory_share``; arrays broadcast
        like the config's.

        The fastest layout that fits counts; where none fits, the one that needs the least memory.
        """
        best = reduce(StepCost.better, (self._step(config, layout) for layout in self.layouts))
        with np.errstate(all="ignore"):
            steps = np.ceil(
                self.record.tokens * self.record.micro_batch / (self._units(config) * self.record.batch_size)
            )
        seconds = best.step_s * steps
        return {
            "training_hours": seconds / 3600,
            "training_hours_low": best.low_s * steps / 3600,
            "training_hours_high": best.high_s * steps / 3600,
            "training_usd": seconds / 3600 * self.record.gpus * self.usd_per_hour,
            "training_energy_j": seconds * self.record.gpus * board_power_w(self.gpu, self.execution),
            "training_layout": best.layout,
            "training_memory_share": best.memory_share,
        }

    def _step(self, config: ModelConfig, layout: Layout) -> StepCost:
        """One step: (m + p − 1) micro-batches of a stage with its exchanges, the replicas' exchange, the update."""
        r, work = self.record, self.workload
        run = self._run(layout)
        stage, legal = shard(config, run)
        with np.errstate(all="ignore"):
            turns = r.batch_size // (layout.data * r.micro_batch)
            parts = self._segments(stage, run, turns)
            step = self.model.estimate(SegmentedOps.of(parts), self.execution, whole_run_spread(config, work))
            use = shared_state(with_attention(stage.memory(work), work, self.execution, self.gpu), stage, run)
            share = self._bytes(use, min(layout.pipeline, turns)) / self.gpu.available_bytes
        return StepCost(
            step_s=np.where(legal, step.latency_s, np.inf),
            low_s=np.where(legal, step.low_s, np.inf),
            high_s=np.where(legal, step.high_s, np.inf),
            memory_share=np.where(legal, share, np.inf),
            layout=as_float(layout.code),
        )

    def _run(self, layout: Layout) -> Execution:
        """How a step runs under a layout."""
        return replace(
            self.execution,
            tensor_parallel=layout.tensor,
            pipeline_parallel=layout.pipeline,
            data_parallel=layout.data,
            zero=self.record.zero if layout.data > 1 else 0,
        )

    def _segments(self, stage: ModelConfig, run: Execution, turns: int) -> list[Segment]:
        """Micro-batches of a stage, what replicas exchange, and the update."""
        work = self.workload
        one, update = segments_of(stage.lower(work))
        tensor = Execution(tensor_parallel=run.tensor_parallel)
        sends: tuple[Op, ...] = ()
        if run.pipeline_parallel > 1 and is_layered(stage):  # its output on, and its gradient back
            payload = output_bytes(stage, work)
            sends = (Collective(name="pipeline.send", kind="send", payload_bytes=payload, group_size=2, count=2),)
        ops = OpList((*one.ops, *exchanges(stage, work, tensor), *sends))
        micro = replace(one, name="micro-batch", ops=ops, calls=turns + run.pipeline_parallel - 1)
        return with_replicas((micro, update), stage, work, run, turns=turns)

    @property
    def workload(self) -> Workload:
        """One micro-batch."""
        return self.record.workload()

    def _units(self, config: ModelConfig) -> FloatArray:
        """Tokens (images, videos) of a micro-batch."""
        return as_float(config.tokens(self.workload))

    def _bytes(self, use: MemoryUse, kept: int) -> FloatArray:
        """Bytes of a GPU that keeps the activations of so many micro-batches."""
        return as_float(use.weights) + use.optimizer + as_float(use.activations) * kept
