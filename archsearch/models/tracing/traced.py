"""A traced module with the face of a model config: parameters, operations and memory of one workload."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from archsearch.arrays import Floats, as_float
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models import footprint
from archsearch.models.base import MemoryUse, Modality, Requirement
from archsearch.models.training import training_step
from archsearch.ops import Collective, FusedGroup, MemoryOp, OpList
from archsearch.progress import progress_bar
from archsearch.workload import Phase, Workload

if TYPE_CHECKING:
    import torch

    from archsearch.models.tracing.record import Kernel

Inputs = Mapping[str, Any] | Sequence[Any]
"""What a module is called with: arguments by keyword, or in order."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Calls that no rule maps: they cost as pointwise kernels of their bytes. ``share`` is of all bytes moved."""

    op: str
    calls: int
    bytes: int
    share: float


@dataclass(frozen=True, slots=True)
class Trace:
    """One workload's run: operations, parameters (tied ones once), bytes of weights and buffers, peak of live bytes.
    ``remarks`` say where a GPU runs other kernels than those."""

    ops: OpList
    parameters: int
    weight_bytes: int
    peak_bytes: int
    unknown: tuple[Unknown, ...]
    remarks: tuple[str, ...] = ()


@dataclass(slots=True)
class TracedModel:
    """A user's module, traced anew for every workload. ``build(workload)`` makes the module and its inputs."""

    family: ClassVar[str] = "traced"
    modality: ClassVar[Modality] = Modality.TRACED
    throughput_unit: ClassVar[str] = "runs/s"

    name: str
    build: Callable[[Workload], tuple[torch.nn.Module, Inputs]]
    default_sizes: Mapping[str, int] = field(default_factory=dict)
    _traces: dict[Hashable, Trace] = field(default_factory=dict, repr=False)

    def trace(self, workload: Workload) -> Trace:
        """The trace of a workload (one for forward and training).

        Raises:
            UnsupportedError: a phase other than forward and train, or work that depends on tensors' values.
        """
        if workload.phase not in (Phase.FORWARD, Phase.TRAIN):
            raise UnsupportedError(f"{self.name} is a traced module: it has no {workload.phase.value} phase")
        sizes = (workload.seq_len, workload.height, workload.width, workload.frames)
        key = (workload.batch_size, *sizes, workload.dtype)
        if key not in self._traces:
            self._traces[key] = run(*self.build(workload), where=self.name)
        return self._traces[key]

    def formats(self, workload: Workload) -> tuple[str, ...]:
        """Formats that its products run in (without any, its other operations), whatever the workload's is."""
        ops = [op for op in self.trace(workload).ops if not isinstance(op, Collective)]
        products = [op.dtype.value for op in ops if not isinstance(op, MemoryOp | FusedGroup)]
        return tuple(dict.fromkeys(products or [op.dtype.value for op in ops]))

    def parameters(self) -> Floats:
        return as_float(self._any().parameters)

    def active_parameters(self) -> Floats:
        return self.parameters()

    def requirements(self) -> tuple[Requirement, ...]:
        return ()

    def tokens(self, workload: Workload) -> Floats:
        """Samples: one run works on ``batch_size`` of them."""
        return as_float(workload.batch_size)

    def lower(self, workload: Workload) -> OpList:
        trace = self.trace(workload)
        if workload.phase is Phase.TRAIN:
            return training_step(trace.ops, as_float(trace.parameters), workload)
        return trace.ops

    def memory(self, workload: Workload) -> MemoryUse:
        """Weights in their own formats, and the peak of live tensors; training keeps every kernel's result."""
        trace = self.trace(workload)
        if workload.phase is not Phase.TRAIN:
            return MemoryUse(weights=as_float(trace.weight_bytes), activations=as_float(trace.peak_bytes))
        return MemoryUse(
            weights=as_float(trace.weight_bytes),
            activations=trace.ops.memory_bytes() / 2,
            optimizer=footprint.training_state_bytes(trace.parameters, workload),
            gradients=footprint.gradient_bytes(trace.parameters, workload),
        )

    def to_dict(self) -> dict[str, Any]:
        return {"builder": self.name}

    def _any(self) -> Trace:
        if not self._traces:
            raise InvalidInputError(f"{self.name}: give a workload first, so that the module can be built")
        return next(iter(self._traces.values()))


def run(module: torch.nn.Module, inputs: Inputs, where: str) -> Trace:
    """Trace a module on its inputs (a mapping of keyword arguments, or a sequence).

    Raises:
        InvalidInputError: the module fails on these inputs; the text holds its own message.
    """
    from archsearch.models.tracing.fusion import to_ops
    from archsearch.models.tracing.record import recording

    module = module.eval()
    bar = progress_bar(f"tracing {where}", sum(1 for _ in module.modules()))
    with bar as advance, recording(module, advance) as recorder:
        recorder.take_inputs(_named(module, inputs))
        try:
            output = module(**inputs) if isinstance(inputs, Mapping) else module(*inputs)
        except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            message = " ".join(str(error).split())
            raise InvalidInputError(
                f"{where}: the module fails on its inputs: {type(error).__name__}: {message}"
            ) from error
    del output
    weights = {t.untyped_storage()._cdata: t for t in (*module.parameters(), *module.buffers())}
    return Trace(
        ops=to_ops(recorder.kernels),
        parameters=sum(p.numel() for p in module.parameters()),
        weight_bytes=sum(t.untyped_storage().nbytes() for t in weights.values()),
        peak_bytes=recorder.peak_bytes,
        unknown=_unknown(recorder.kernels),
        remarks=tuple(_remarks(module)),
    )


def _named(module: torch.nn.Module, inputs: Inputs) -> dict[str, object]:
    """Inputs by the names of what ``forward`` takes."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    names = list(inspect.signature(module.forward).parameters)
    return {names[place] if place < len(names) else str(place): value for place, value in enumerate(inputs)}


def _remarks(module: torch.nn.Module) -> Iterator[str]:
    """Recurrent layers, whose steps are traced one by one and which cuDNN runs in fused kernels."""
    import torch

    for name, child in module.named_modules():
        if isinstance(child, torch.nn.RNNBase):
            yield (
                f"nn.{type(child).__name__} ({name or 'the module'}) is priced step by step, as torch runs it without "
                "cuDNN; cuDNN's fused kernels launch far less and are faster, so the time is an upper bound"
            )


def _unknown(kernels: list[Kernel]) -> tuple[Unknown, ...]:
    total = max(sum(k.bytes_moved for k in kernels), 1)
    moved: dict[str, list[int]] = {}
    for kernel in kernels:
        if not kernel.known:
            moved.setdefault(kernel.aten, []).append(kernel.bytes_moved)
    return tuple(Unknown(name, len(each), sum(each), sum(each) / total) for name, each in sorted(moved.items()))
