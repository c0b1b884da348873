"""How a model is run: one value, chosen in one place, printed with every answer and passed to what gives a price.

An ``Execution`` holds what the one who runs a model decides: software release, attention kernel, compilation, CUDA
graphs, what a launch costs the host, the clock that the board keeps, and how many GPUs share the model. Formats, phase
and checkpointing are the workload's; placement and tiling are a pipeline's plan's.
How people give one, and which one holds where nobody says, stands in ``asked_execution.py``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Annotated, TypedDict

from archsearch.cost.releases import RELEASES
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.ranges import require_range
from archsearch.workload import Phase, Workload

CLOCKS = ("burst", "sustained")
QUANTIZATIONS = ("auto", "kernel", "fused", "eager")
SCALINGS = ("dynamic", "static")
GRANULARITIES = ("auto", "tensor", "row", "block")
QUANTIZING = ("quantization", "scaling", "granularity")
"""Fields that say how activations of 8- and 4-bit products are quantized, ``cost/quantization.py``."""
MOST_DIGITS = 9
"""Digits of a whole number in an execution: no GPUs, clocks or times need more."""
LAYOUT = ("tensor_parallel", "sequence_parallel", "pipeline_parallel", "data_parallel")
"""Fields that say how many GPUs share a model, and along what."""
ZERO_STAGES = (0, 1, 2, 3)
"""What data-parallel replicas divide in training: see ``archsearch/cost/replicas.py``."""


class AttentionChoice(StrEnum):
    """Which kernels run attention.

    ``auto``: the default of the phase, ``sdpa`` or ``fastest``. ``sdpa``: what torch's scaled_dot_product_attention
    takes in this release: FlashAttention-2, cuDNN on Hopper and data-centre Blackwell (``cost/releases.py``), the
    memory-efficient kernel, or its math path, unfused, where none of them runs. ``fastest``: of the fused kernels of
    all libraries the fastest for each shape, else unfused; over a cache, unfused also where that is faster. ``flash``:
    the fastest FlashAttention of this GPU, or refuse. ``fa2``: FlashAttention-2, or torch's memory-efficient kernel, or
    refuse. ``eager``: product, scale, mask, softmax, product.
    """

    AUTO = "auto"
    SDPA = "sdpa"
    FASTEST = "fastest"
    FLASH = "flash"
    FA2 = "fa2"
    EAGER = "eager"

    @classmethod
    def parse(cls, text: str) -> AttentionChoice:
        """Read a choice; ``fa3``, ``flash-attention-2`` and ``flash-attention-3`` are other spellings.

        Raises:
            UnknownNameError: no such choice.
        """
        spelled = {"fa3": "flash", "flash-attention-2": "fa2", "flash-attention-3": "flash"}.get(text, text)
        try:
            return cls(spelled)
        except ValueError:
            raise UnknownNameError("attention kernel", text, [a.value for a in cls]) from None


def _number(value: object) -> float:
    """A number as a float without a sign of zero, NaN where it is none."""
    try:
        return float(value) + 0.0  # type: ignore[arg-type]  # what is no number is refused here
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _clock(value: str | float) -> str | float:
    """A named clock, or MHz as a float; text that holds a number is one.

    Raises:
        UnknownNameError: neither.
    """
    if isinstance(value, str) and value in CLOCKS:
        return value
    clock = _number(value)
    if not (math.isfinite(clock) and clock > 0):
        raise UnknownNameError("clock", str(value)[:20], CLOCKS, hint="(or a locked clock in MHz)")
    return clock


class ExecutionFields(TypedDict, total=False):
    """What a user may change of an execution: the fields of ``Execution``.

    The keywords of ``archsearch.estimate`` and the options of every verb that gives a time are these fields with these
    texts.
    """

    torch: Annotated[str, "Release: 2.4, 2.5 (2.5.0: cuDNN on Hopper), 2.6 (to 2.7) or 2.8 (and later)."]
    attention: Annotated[str, "auto, sdpa (torch's choice), fastest, flash, fa2, eager (unfused)."]
    compiled: Annotated[bool, "Fuse bandwidth-bound ops as torch.compile does, or not."]
    cuda_graphs: Annotated[bool, "Replay all launches of a call at once."]
    fused_qkv: Annotated[bool, "Merge projections of one input into one product."]
    quantization: Annotated[str, "Activations of 8- and 4-bit products: auto, kernel, fused, eager."]
    scaling: Annotated[str, "Their scales: dynamic (of every call, default) or static (calibrated)."]
    granularity: Annotated[str, "What a scale covers: auto, tensor, row, block."]
    launch_us: Annotated[float | None, "Host microseconds per kernel; 0: back to back (modelled)."]
    clock: Annotated[str | float, "sustained, burst, or a locked clock in MHz."]
    power_limit_w: Annotated[float | None, "Power limit of the board in watts."]
    correction: Annotated[bool, "Learned correction of matrix products, or mechanism alone."]
    tensor_parallel: Annotated[int, "GPUs that share the widths."]
    sequence_parallel: Annotated[int, "GPUs that share the sequence (Ulysses)."]
    pipeline_parallel: Annotated[int, "GPUs that share the layers."]
    data_parallel: Annotated[int, "GPUs that share the batch."]
    zero: Annotated[int, "In training, they share: 1 the optimizer's state, 2 gradients, 3 weights (FSDP)."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a model runs. All fields are scalars; two equal values give one price.

    ``compiled`` fuses bandwidth-bound ops as torch.compile does; ``cuda_graphs`` replays all launches at once
    (with ``fastest`` attention a serving engine, whose all_reduce is its own where it is faster);
    ``fused_qkv`` merges projections of one input into one product. Activations of 8- and 4-bit products are quantized
    by one ``kernel`` before each product, ``fused`` into what produces them, or ``eager``, a kernel a step
    (``quantization``, see ``cost/quantization.py``; ``auto``: a kernel in prefill, decode and training, else fused
    where ``compiled``, eager where not, but in fp4), with scales of every call or calibrated ones (``scaling``:
    ``dynamic``, ``static``), one per ``tensor``, ``row`` or ``block`` (``granularity``; ``auto``: a row in int8 and
    in a serving engine, a tensor in fp8, a block in fp4). ``launch_us`` is the host's time per launch in
    microseconds (None: the modelled time of ``cost/host.yaml``; 0: kernels back to back). ``clock`` is ``burst`` (as a
    benchmark of single kernels meets it), ``sustained`` (what the power limit leaves under continuous load) or a locked
    clock in MHz; ``power_limit_w`` is a limit below the board's own. ``correction`` applies the learned correction of
    matrix products. GPUs share the model's widths (``tensor_parallel``), its sequence (``sequence_parallel``), its
    layers (``pipeline_parallel``) and its batch (``data_parallel``). In training, those that share sequence or batch
    divide what ``zero``, the stage of ZeRO, says: nothing (0), the optimizer's state (1), the gradients too (2), the
    weights too (3, FSDP).

    Raises:
        UnknownNameError: no such release, attention kernel or clock.
        InvalidInputError: a number that no run can have.
    """

    torch: str = "2.8"
    attention: str = "auto"
    compiled: bool = False
    cuda_graphs: bool = False
    fused_qkv: bool = False
    quantization: str = "auto"
    scaling: str = "dynamic"
    granularity: str = "auto"
    launch_us: float | None = None
    clock: str | float = "sustained"
    power_limit_w: float | None = None
    correction: bool = True
    tensor_parallel: int = 1
    sequence_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    zero: int = 0

    def __post_init__(self) -> None:
        if self.torch not in RELEASES:
            raise UnknownNameError("torch release", self.torch, RELEASES)
        object.__setattr__(self, "attention", AttentionChoice.parse(str(self.attention)).value)
        object.__setattr__(self, "clock", _clock(self.clock))
        for name, known in zip(QUANTIZING, (QUANTIZATIONS, SCALINGS, GRANULARITIES), strict=True):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, str(getattr(self, name))[:20], known)
        if self.scaling == "static" and self.granularity in ("row", "block"):
            text = (
                f"{{scaling}} static has one scale per tensor, not per {self.granularity}; use {{granularity}} tensor"
            )
            raise InvalidInputError(text, field=("scaling", "granularity"))
        for name in LAYOUT:
            require_range(name, getattr(self, name), 1, 10**MOST_DIGITS - 1, whole=True)
        require_range("zero", self.zero, 0, ZERO_STAGES[-1], whole=True)
        if self.zero and self.replicas == 1:
            text = f"{{zero}} {self.zero} divides what several replicas hold: add {{data_parallel}}"
            raise InvalidInputError(text, field=("zero", "data_parallel"))
        for name in ("launch_us", "power_limit_w"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _number(getattr(self, name)))
        if self.launch_us is not None:
            require_range("launch_us", self.launch_us, 0, unit="microseconds")
        if self.power_limit_w is not None:
            require_range("power_limit_w", self.power_limit_w, 0, above=True, unit="watts")

    @property
    def gpus(self) -> int:
        """GPUs that share one model."""
        return self.tensor_parallel * self.sequence_parallel * self.pipeline_parallel * self.data_parallel

    @property
    def replicas(self) -> int:
        """GPUs that hold the same weights: those that share the batch, or the sequence."""
        return self.data_parallel * self.sequence_parallel

    def beside(self) -> Execution:
        """How what stands beside a pipeline's transformer runs under this execution (text encoders, decoder): of the
        same release, at the same clock, eagerly, by the default attention, on one GPU."""
        plain = {"attention": "auto", "compiled": False, "cuda_graphs": False, "fused_qkv": False}
        plain |= {"quantization": "kernel", "scaling": "dynamic", "granularity": "auto"}
        return replace(self, **plain, **dict.fromkeys(LAYOUT, 1), zero=0)  # type: ignore[arg-type]

    def of_part(self, *, beside: bool, workload: Workload | None = None) -> Execution:
        """How a part of a run runs: what stands ``beside`` the transformer plainly; ``auto`` attention as its own
        workload has it, where that is given."""
        own = self.beside() if beside else self
        return own if workload is None else own.resolved(workload)

    def resolved(self, workload: Workload) -> Execution:
        """The execution with ``auto`` replaced by the default of the workload's phase and format."""
        chosen: dict[str, str] = {}
        if self.attention == AttentionChoice.AUTO:
            chosen["attention"] = (AttentionChoice.FASTEST if is_served(workload) else AttentionChoice.SDPA).value
        if workload.linear_dtype.itemsize < 2:
            if self.quantization == "auto":
                own = is_served(workload) or workload.phase is Phase.TRAIN
                plain = "kernel" if workload.linear_dtype is DType.FP4 else "eager"  # fp4 has no kernel a step
                chosen["quantization"] = "kernel" if own else "fused" if self.compiled else plain
            if self.granularity == "auto":
                by_format = {DType.INT8: "row", DType.FP4: "block"}
                default = "row" if chosen.get("quantization", self.quantization) == "kernel" else "tensor"
                chosen["granularity"] = (
                    "tensor" if self.scaling == "static" else by_format.get(workload.linear_dtype, default)
                )
        return replace(self, **chosen) if chosen else self  # type: ignore[arg-type]  # their own values

    def to_dict(self) -> dict[str, object]:
        """Plain values by field, as JSON and files hold them."""
        return asdict(self)

    def line(self) -> str:
        """One line that ``parse_execution`` reads back: fields that differ from ``Execution()``, and the attention."""
        plain = Execution()
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        shown = {n: v for n, v in told.items() if n in ("torch", "attention", "clock") or v != getattr(plain, n)}
        return ",".join(f"{name}={_text(value)}" for name, value in shown.items())


BURST = Execution(attention="fastest", launch_us=0.0, clock="burst")
"""Kernels back to back, as benchmarks of single kernels time them."""


def is_served(workload: Workload) -> bool:
    """Whether a workload is what a serving engine runs: prefill or decode of a model over tokens."""
    return workload.phase in (Phase.PREFILL, Phase.DECODE) and workload.height is None


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
