"""Bytes of a run: what the model holds, with the attention kernels that run on this GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from archsearch.arrays import FloatArray, Floats, as_float
from archsearch.cost.asked_execution import chosen_execution
from archsearch.cost.execution import AttentionChoice, Execution
from archsearch.cost.launches import runs_fused
from archsearch.cost.layouts import own_batch, shard
from archsearch.cost.replicas import shared_state
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Attention
from archsearch.workload import Phase, Workload


class Scores(Protocol):
    """What attention takes where no fused kernel runs it: bytes alive in inference, and bytes saved in training."""

    @property
    def op(self) -> Attention: ...

    @property
    def beside(self) -> bool: ...

    @property
    def alive_bytes(self) -> FloatArray: ...

    @property
    def saved_bytes(self) -> FloatArray: ...


class Footprint(Protocol):
    """Bytes that a model needs, with fused attention; a dataclass (``MemoryUse``)."""

    @property
    def weights(self) -> FloatArray: ...

    @property
    def activations(self) -> FloatArray: ...

    @property
    def optimizer(self) -> FloatArray: ...

    @property
    def gradients(self) -> FloatArray: ...

    @property
    def unfused(self) -> Sequence[Scores]: ...


Use = TypeVar("Use", bound=Footprint)
HeldUse = TypeVar("HeldUse", bound=Footprint, covariant=True)


class Held(Protocol[HeldUse]):
    """What has a footprint: a model's config."""

    def memory(self, workload: Workload) -> HeldUse:
        """Its footprint with fused attention."""


def memory(config: Held[Use], workload: Workload, execution: Execution | None, gpu: GpuSpec) -> Use:
    """Device memory (``MemoryUse``) of one GPU under an execution: the one way from a config to bytes.

    Attention that no fused kernel runs here holds its score matrix, by the same mask that its time goes by. Under a
    layout it is one GPU's part; sequence parallelism divides the activations, ZeRO what training holds beside them.

    Raises:
        UnsupportedError: an attention kernel or layout that this GPU or model does not have.
        InvalidInputError: a workload that the model cannot take.
    """
    return memory_on(config, workload, execution, [gpu])[0]


def memory_on(config: Held[Use], workload: Workload, execution: Execution | None, gpus: Sequence[GpuSpec]) -> list[Use]:
    """``memory`` on each of several GPUs."""
    chosen = chosen_execution(workload, execution).resolved(workload)
    stage, _ = shard(config, chosen)
    work = own_batch(workload, chosen)
    fused = stage.memory(work)
    uses = [shared_state(with_attention(fused, work, chosen, gpu), stage, chosen) for gpu in gpus]
    if chosen.sequence_parallel > 1:
        uses = [_with_activations(use, as_float(use.activations) / chosen.sequence_parallel) for use in uses]
    return uses


def with_attention(use: Use, workload: Workload, execution: Execution, gpu: GpuSpec) -> Use:
    """A footprint with each attention's score matrix where no fused kernel runs it."""
    activations = as_float(use.activations)
    for part in use.unfused:
        attention = execution.of_part(beside=part.beside).attention
        fused = runs_fused(part.op, gpu, AttentionChoice(attention))
        if np.all(fused):
            continue
        if workload.phase is Phase.TRAIN:
            activations = activations + np.where(fused, 0.0, part.saved_bytes)
        else:
            activations = np.maximum(activations, np.where(fused, 0.0, part.alive_bytes))
    return _with_activations(use, activations)


def _with_activations(use: Use, activations: Floats) -> Use:
    """The footprint with other activations, and nothing left that may run unfused."""
    return replace(use, activations=activations, unfused=())  # type: ignore[type-var]  # a dataclass
