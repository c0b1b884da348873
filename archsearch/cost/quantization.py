"""Which kernels quantize the activations of 8- and 4-bit products: ``Execution.quantization``, ``scaling`` and
``granularity``.

``kernel``: one kernel before each product, as serving engines run it and tables of products measure it: the product's
own time holds it, a scale for each row (fp4: each block), or none to find where scales are ``static``. Other scales
were not measured with it. The other two take it out of the product and list what runs instead:

* ``fused``, what torch.compile makes of it: the scale of a row, or one that is known before (``static``), is applied by
  the kernel that produces the activations, which then writes 8 bits instead of 16; products that read the same tensor
  share it. The scale of a whole tensor is known only after its last element: the maximum's last step and the
  cast are kernels of their own. So is the cast of what attention or a product leaves, which no compiler fuses into.
  int8 products with the scales in their epilogue are Triton's, slower than the library's.
* ``eager``, torchao without a compiler: every step is a kernel over the whole tensor, for every product anew
  (``quantization.yaml`` counts them; fp4 has no such kernels). int8 products turn their weights around in every call,
  since ``safe_int_mm`` passes a contiguous right side, and then run a kernel that loads it against its grain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveFloat

from archsearch.arrays import Count, Floats, as_float
from archsearch.cost.execution import Execution
from archsearch.cost.kernels.bandwidth import memory_class
from archsearch.cost.routes import PERSISTENT_ROW
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.source import Source
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Attention, FusedGroup, MatMul, MemoryOp, Op, OpList
from archsearch.workload import Workload
from archsearch.yaml_records import Record, parse_record

CONSTANTS_FILE = Path(__file__).with_name("quantization.yaml")
_MERGED = {"q_proj+k_proj+v_proj": 3, "k_proj+v_proj": 2}
SAVED = 0.5
"""Of a 16-bit tensor's bytes, what a kernel that writes it in 8 bits does not write."""


class StepsRecord(Record):
    """Kernels of one eager quantization: (bytes read, bytes written) per element of each that runs over the whole
    tensor, and how many run over its scales alone."""

    maximum: tuple[tuple[float, float], ...]
    cast: tuple[tuple[float, float], ...]
    output: tuple[tuple[float, float], ...] = ()
    bias: tuple[float, float] | None = None
    scale_kernels: int
    cast_kernels: int


class QuantizationRecord(Record):
    """What ``quantization.yaml`` holds; the file says what each field means."""

    eager: dict[DType, StepsRecord]
    block: int = Field(ge=1)
    compiled_int8_rate: Annotated[float, Field(gt=0, le=1)]
    row_major_int8_per_clock: PositiveFloat
    host_int8_per_s: PositiveFloat
    least_int8_rows: int = Field(ge=1)
    host_releases: tuple[str, ...]
    sources: tuple[Source, ...]


@lru_cache(maxsize=1)
def quantization_record() -> QuantizationRecord:
    """The constants of quantized execution."""
    return parse_record(QuantizationRecord, CONSTANTS_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticMatMul(MatMul):
    """A product after its own kernel that quantizes with scales known before: its time holds that cast and no search
    for a scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledMatMul(MatMul):
    """A product whose activations come quantized: its time holds no quantization.

    ``rate`` is its kernel's multiply rate against the library's. ``row_major`` marks an int8 product whose right side
    lies row by row, as torchao passes it eagerly; ``on_host`` one that the host's processor computes.
    """

    rate: float = 1.0
    row_major: bool = False
    on_host: bool = False


def quantized(ops: OpList, execution: Execution) -> OpList:
    """The op list with the kernels that quantize activations, where products do not do it themselves."""
    how = execution.quantization
    if how in ("auto", "kernel") and execution.scaling == "dynamic":
        return ops
    found = tuple(ops)
    if not any(map(_is_quantized, found)):
        return ops
    if how in ("auto", "kernel"):
        return OpList(tuple(_static(op) if isinstance(op, MatMul) and _is_quantized(op) else op for op in found))
    return OpList(tuple(_eager(found, execution) if how == "eager" else _fused(found, execution)))


def check_quantizing(execution: Execution, workload: Workload) -> None:
    """Refuse scales that no known kernels have.

    Args:
        execution: resolved for the workload.

    Raises:
        UnsupportedError: see the module's text.
    """
    dtype, how, scale = workload.linear_dtype, execution.quantization, execution.granularity
    if dtype.itemsize >= DType.BF16.itemsize:
        return
    if how == "eager" and dtype not in quantization_record().eager:
        text = f"{{quantization}} eager: no eager kernels quantize {dtype.value}; use {{quantization}} kernel or fused"
        raise UnsupportedError(text, field="quantization")
    if execution.scaling == "static":
        return
    if dtype is DType.FP4 and scale != "block":
        text = f"{{granularity}} {scale}: {dtype.value} has a scale for each block; use {{granularity}} block"
        raise UnsupportedError(text, field="granularity")
    if how == "kernel" and dtype is not DType.FP4 and scale != "row":
        text = f"{{granularity}} {scale}: the kernel before a product finds a scale for each row of {dtype.value}"
        more = "; use {granularity} row, or {quantization} fused or eager"
        raise UnsupportedError(text + more, field=("granularity", "quantization"))


def copies(op: Op) -> int:
    """Products of one entry that read one tensor (``q_proj+k_proj+v_proj``)."""
    if not isinstance(op, MatMul):
        return 1
    return next((n for suffix, n in _MERGED.items() if op.name.endswith(suffix)), 1)


def _is_quantized(op: Op) -> bool:
    return isinstance(op, MatMul) and op.weights and op.dtype.itemsize < 2 and not isinstance(op, ScaledMatMul)


def _static(op: MatMul) -> StaticMatMul:
    return StaticMatMul(**{f.name: getattr(op, f.name) for f in fields(MatMul)})


def _kernel(op: MatMul, name: str, kind: str, steps: Sequence[tuple[float, float]], count: Count) -> MemoryOp:
    """Kernels over a product's activations by the bytes per element that each reads and writes."""
    read, written = (sum(step[i] for step in steps) / DType.BF16.itemsize for i in (0, 1))
    rows = np.asarray(op.batch) * np.asarray(op.m)
    return MemoryOp(
        name=f"{op.name}.{name}",
        kind=kind,
        rows=rows,
        cols=op.k,
        dtype=DType.BF16,
        reads=read,
        writes=written,
        kernels=len(steps),
        count=count,
    )


def _scales(op: MatMul, granularity: str, kernels: int) -> MemoryOp:
    """Kernels over the scales alone: one a row, one a block of a row, or one in all."""
    each_row = np.asarray(op.batch) * np.asarray(op.m)
    blocks = -(-np.asarray(op.k) // quantization_record().block)
    rows = {"row": each_row, "block": each_row * blocks}.get(granularity, 1)
    each = float(kernels)
    return MemoryOp(
        name=f"{op.name}.scales",
        kind="mulu",
        rows=1,
        cols=rows,
        dtype=DType.FP32,
        reads=each,
        writes=each,
        kernels=kernels,
        count=op.count,
    )


# ---- eager


def _eager(ops: Sequence[Op], execution: Execution) -> Iterator[Op]:
    for op in ops:
        if isinstance(op, MatMul) and _is_quantized(op) and op.dtype in quantization_record().eager:
            yield from _eager_product(op, execution)
        else:
            yield op


def _eager_product(op: MatMul, execution: Execution) -> Iterator[Op]:
    """What torchao runs for one linear layer without a compiler."""
    record = quantization_record()
    steps, dynamic = record.eager[op.dtype], execution.scaling == "dynamic"
    if dynamic:
        yield _kernel(op, "maximum", "pointwise", steps.maximum, op.count)
    kernels = steps.cast_kernels + (steps.scale_kernels if dynamic else 0)
    yield _scales(op, execution.granularity, kernels)
    yield _kernel(op, "quantize", "quantize", steps.cast, op.count)
    if op.dtype is DType.INT8:
        yield from _int8_product(op, execution)
        out = replace(op, k=op.n)
        yield _kernel(out, "dequantize", "dequantize", steps.output, op.count)
        if op.bias and steps.bias is not None:
            yield _kernel(out, "bias", "addu", (steps.bias,), op.count)
    else:
        yield _scaled(op, execution)


def _int8_product(op: MatMul, execution: Execution) -> Iterator[Op]:
    """``safe_int_mm`` of few rows, which cuBLAS does not take, and of others."""
    few = np.asarray(op.batch) * np.asarray(op.m) <= quantization_record().least_int8_rows
    weights = MemoryOp(name=f"{op.name}.weights", kind="transpose", rows=op.k, cols=op.n, dtype=DType.INT8)
    if few.any():
        count = np.asarray(op.count) * few if not few.all() else op.count
        if execution.torch in quantization_record().host_releases:
            yield _scaled(replace(op, count=count), execution, on_host=True)
        else:
            yield replace(weights, kind="cast", writes=4.0, count=count)
            yield replace(op, dtype=DType.FP32, count=count)
    if not few.all():
        count = np.asarray(op.count) * ~few if few.any() else op.count
        yield replace(weights, count=count)
        yield _scaled(replace(op, count=count), execution, row_major=True)


# ---- fused


def _fused(ops: Sequence[Op], execution: Execution) -> Iterator[Op]:
    """Every input quantized once, by its producer where that can be."""
    found: list[Op] = list(ops)
    before: dict[int, list[Op]] = {}
    seen: set[tuple[int, bytes]] = set()
    for place, op in enumerate(ops):
        if not (isinstance(op, MatMul) and _is_quantized(op)):
            continue
        source = _producer(ops, place)
        key = (source, np.asarray(op.m).tobytes()) if source >= 0 else (-1 - place, b"")
        found[place] = _scaled(op, execution)
        if key in seen:
            continue
        seen.add(key)
        producer = found[source] if source >= 0 else None
        fuses = isinstance(producer, MemoryOp | FusedGroup)
        if fuses and _at_once(op, execution):
            found[source] = _writes_quantized(producer, execution)  # type: ignore[arg-type]  # fuses has seen to it
        else:
            before[place] = list(_own_kernels(op, execution, fuses=fuses))
    for place, op in enumerate(found):
        yield from before.get(place, ())
        yield op


def _at_once(op: MatMul, execution: Execution) -> bool:
    """Whether the producer of activations can write them quantized: their scales are known, or are its own rows'."""
    if op.dtype is DType.FP4:
        return False  # packed by a kernel of torchao's own
    return execution.scaling == "static" or execution.granularity != "tensor"


def _own_kernels(op: MatMul, execution: Execution, *, fuses: bool) -> Iterator[Op]:
    """The kernels of one input that its producer does not quantize; the maximum is in it where it ``fuses``."""
    count = np.asarray(op.count) // (1 if execution.fused_qkv else copies(op))
    if execution.scaling == "dynamic" and execution.granularity == "tensor" and op.dtype is not DType.FP4:
        if not fuses:
            yield _kernel(op, "maximum", "pointwise", ((2.0, 0.0),), count)
        yield replace(_scales(op, "row", 1), count=count)
    yield _kernel(op, "quantize", "quantize", ((2.0, op.dtype.itemsize),), count)


def _writes_quantized(op: MemoryOp | FusedGroup, execution: Execution) -> MemoryOp | FusedGroup:
    """A producer that writes one of its outputs in 8 bits. For the maximum of a row that no block of threads holds
    whole a pointwise kernel reads its inputs a second time."""
    walks = execution.scaling == "dynamic" and execution.granularity == "row" and memory_class(op.kind) == "pointwise"
    again = as_float(1 + (np.asarray(op.cols) > PERSISTENT_ROW)) if walks else 1.0
    return replace(op, reads=as_float(op.reads) * again, writes=as_float(op.writes) - SAVED)


def _producer(ops: Sequence[Op], place: int) -> int:
    """The place of the op that leaves a product's activations, a tensor of m rows and k columns; -1 where it is not
    seen."""
    op = ops[place]
    assert isinstance(op, MatMul)
    rows = np.asarray(op.batch) * np.asarray(op.m)
    for at in range(place - 1, -1, -1):
        other = ops[at]
        if isinstance(other, Attention):
            if np.array_equal(np.asarray(other.heads_q) * np.asarray(other.head_dim), np.asarray(op.k)):
                return at
        elif isinstance(other, MemoryOp | FusedGroup):
            if np.array_equal(other.rows, rows) and np.array_equal(other.cols, op.k):
                return at
        elif isinstance(other, MatMul) and np.array_equal(other.m, op.m) and np.array_equal(other.n, op.k):
            return at
    return -1


def _scaled(op: MatMul, execution: Execution, *, row_major: bool = False, on_host: bool = False) -> ScaledMatMul:
    in_triton = op.dtype is DType.INT8 and execution.compiled and execution.quantization == "fused"
    return ScaledMatMul(
        name=op.name,
        m=op.m,
        n=op.n,
        k=op.k,
        dtype=op.dtype,
        batch=op.batch,
        count=op.count,
        weights=op.weights,
        bias=op.bias,
        rate=quantization_record().compiled_int8_rate if in_triton else 1.0,
        row_major=row_major,
        on_host=on_host,
    )


def least_seconds(op: ScaledMatMul, gpu: GpuSpec, execution: Execution) -> Floats:
    """Seconds that an eager int8 product takes whatever the tensor cores could do; 0 for others, and where the library
    is not cuBLAS."""
    record = quantization_record()
    if gpu.vendor != "nvidia":
        return as_float(0.0)
    if op.on_host:
        return as_float(op.n) * as_float(op.k) / record.host_int8_per_s
    if op.row_major:
        locked = gpu.boost_clock_mhz if isinstance(execution.clock, str) else execution.clock
        clock_hz = min(gpu.boost_clock_mhz, locked) * 1e6
        return op.flops() / (record.row_major_int8_per_clock * gpu.num_sms * clock_hz)
    return as_float(0.0)
