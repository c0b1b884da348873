"""What only a training run shows of its kernels: attention's backward rate, and how much slower compute-bound kernels
run in it than alone (``training.yaml``)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from archsearch.arrays import FloatArray
from archsearch.cost.estimate import OpCost
from archsearch.cost.execution import AttentionChoice, Execution
from archsearch.cost.kernels.tiles import uses_matrix_units
from archsearch.cost.launches import runs_fused
from archsearch.hardware.source import Source
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Attention, Convolution, MatMul, Op
from archsearch.yaml_records import Record, parse_record

CONSTANTS_FILE = Path(__file__).with_name("training.yaml")


class TrainingConstants(Record):
    """What ``training.yaml`` holds; the file says what each field means."""

    backward_rate: Annotated[float, Field(gt=0, le=1)]
    compute: Annotated[float, Field(ge=1, le=1.5)]
    attention: Annotated[float, Field(ge=1, le=2)]
    sources: tuple[Source, ...]


@lru_cache(maxsize=1)
def training_constants() -> TrainingConstants:
    """The constants of training runs."""
    return parse_record(TrainingConstants, CONSTANTS_FILE)


def attention_passes(op: Attention) -> float:
    """Time of fused attention's products against one forward pass: five for two, at the backward kernels' rate."""
    return op.passes / training_constants().backward_rate if op.backward else op.passes


def in_training(item: OpCost, op: Op, gpu: GpuSpec, execution: Execution) -> OpCost:
    """An op's cost as part of a training step, from its cost alone."""
    if not (isinstance(op, MatMul | Convolution | Attention) and uses_matrix_units(gpu, op.dtype)):
        return item
    slower, cost = _slow_down(op, gpu, execution), item.cost
    seconds = {name: getattr(cost, name) * slower for name in ("latency_s", "low_s", "high_s")}
    return replace(item, cost=replace(cost, **seconds))


def _slow_down(op: MatMul | Convolution | Attention, gpu: GpuSpec, execution: Execution) -> FloatArray:
    """Time of a compute-bound op in a training step over its time alone; an array where only some head_dims of a grid
    have a fused kernel."""
    known = training_constants()
    if not isinstance(op, Attention) or execution.compiled:
        return known.compute
    fused = runs_fused(op, gpu, AttentionChoice(execution.attention))
    return known.compute * np.where(fused, known.attention, 1.0)
