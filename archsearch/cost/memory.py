"""Bytes of a run: what the model holds, with the attention kernels that run on this GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from archsearch.arrays import as_float
from archsearch.cost.execution import AttentionChoice, Execution, chosen_execution
from archsearch.cost.launches import runs_fused
from archsearch.cost.layouts import own_batch, shard
from archsearch.hardware.spec import GpuSpec
from archsearch.workload import Phase, Workload


class Held(Protocol):
    """What has a footprint: a model's config."""

    def memory(self, workload: Workload) -> Any:
        """Its ``MemoryUse`` with fused attention."""


def memory(config: Held, workload: Workload, execution: Execution | None, gpu: GpuSpec) -> Any:
    """Device memory (``MemoryUse``) of one GPU under an execution: the one way from a config to bytes.

    Attention that no fused kernel runs here holds its score matrix, by the same mask that its time goes by. Under a
    layout it is one GPU's part; sequence parallelism divides the activations.

    Raises:
        UnsupportedError: an attention kernel or layout that this GPU or model does not have.
        InvalidInputError: a workload that the model cannot take.
    """
    return memory_on(config, workload, execution, [gpu])[0]


def memory_on(config: Held, workload: Workload, execution: Execution | None, gpus: Sequence[GpuSpec]) -> list[Any]:
    """``memory`` on each of several GPUs."""
    chosen = chosen_execution(workload, execution).resolved(workload)
    stage, _ = shard(config, chosen)
    work = own_batch(workload, chosen)
    fused = stage.memory(work)
    found = [with_attention(fused, work, chosen, gpu) for gpu in gpus]
    if chosen.sequence_parallel > 1:
        found = [replace(use, activations=as_float(use.activations) / chosen.sequence_parallel) for use in found]
    return found


def with_attention(use: Any, workload: Workload, execution: Execution, gpu: GpuSpec) -> Any:
    """A footprint with each attention's score matrix where no fused kernel runs it."""
    activations = as_float(use.activations)
    for part in use.unfused:
        own = execution.of_part(beside=part.beside)
        fused = runs_fused(part.op, gpu, AttentionChoice(own.attention))
        if np.all(fused):
            continue
        if workload.phase is Phase.TRAIN:
            activations = activations + np.where(fused, 0.0, part.saved_bytes)
        else:
            activations = np.maximum(activations, np.where(fused, 0.0, part.alive_bytes))
    return replace(use, activations=activations, unfused=())
