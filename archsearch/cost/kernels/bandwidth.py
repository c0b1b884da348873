"""Time of bandwidth-bound kernels over a [rows, cols] tensor: pointwise, softmax and norms.

Every kernel moves its tensors through DRAM, except inputs that still lie in L2 from the kernel before, and through
L2, where a warp's request that starts between sectors of 32 bytes touches one sector more. Row reductions also pay
for how a row maps to threads, as PyTorch's kernels map it:

* softmax of at most 1024 elements and 4 KiB per row: one warp per row, four rows per block, the row in registers,
  padded to the next power of two.
* softmax of longer rows: one block per row, its threads the power of two above an eighth (16 bits: a sixteenth) of
  the row, 32 to 512 of them; maximum, sum and write are three passes. A pass takes vector steps of 16 bytes per
  thread and scalar steps for the rest; rows that do not start on 16 bytes begin with a scalar step. Passes re-read
  the row from L2 while the rows in flight fit there, else from DRAM.
* norms: one block of 128 threads per row, four elements per thread and step; statistics and write are two passes.
  A warp whose lanes differ in their number of steps leaves the four-fold unrolled loop and walks the remainder too.
  Rows that are no multiple of four take two kernels of scalar steps.
* group norm: a row is one group of one image. Its mean and variance are one block's work, 512 threads that take one
  element each per step and wait for it; images of 32 groups leave most SMs idle. A kernel of the groups' size makes
  factors per channel, and a pointwise kernel on all SMs reads the rows again and writes them.

    turns = ⌈blocks / num_sms⌉ / resident blocks per SM
    time  = launch + DRAM latency where L2 misses + smooth max(DRAM, L2, instructions, turns · passes · pass latency)

A call that is timed on its own (``alone``) also shows the host's time to issue it, ``call_s``, as published tables of
single calls do; kernels queued behind others do not.

Kernel structure: PyTorch 2.1, aten/src/ATen/native/cuda: SoftMax.cu, PersistentSoftmax.cuh, layer_norm_kernel.cu,
group_norm_kernel.cu
(https://github.com/pytorch/pytorch/tree/v2.1.0/aten/src/ATen/native/cuda).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from archsearch.arrays import FloatArray, Floats, Mask
from archsearch.cost.kernels.kernel_cost import Coefficient, Dims, KernelTime, smooth_max
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec

KINDS: dict[str, tuple[str, ...]] = {
    "pointwise": (
        *("add", "addu", "sub", "subu", "mul", "mulu", "div", "divu", "pow", "powu", "exp", "sqrt", "rsqrt", "neg"),
        *("gelu", "relu", "tanh", "silu", "sigmoid", "mish", "elu", "swiglu", "geglu", "dropout", "mask", "scale"),
        *("copy", "cast", "fill", "cat", "transpose", "permute", "pad", "quantize", "dequantize", "rope", "modulate"),
        *("embedding", "gather", "pointwise", "residual", "bias", "interpolate", "upsample", "pool", "noise", "sample"),
        *("depthwise", "scheduler", "kv_cache", "patchify", "unpatchify", "sgd", "adam", "adamw"),
    ),
    "softmax": ("softmax", "log_softmax"),
    "norm": ("norm", "layernorm", "layer_norm", "rmsnorm", "rms_norm"),
    "groupnorm": ("groupnorm", "group_norm"),
}
"""Operation kinds by the kernel structure that serves them."""
CLASS_OF = {kind: name for name, kinds in KINDS.items() for kind in kinds}
TWO_OPERANDS = ("add", "sub", "mul", "div", "pow", "swiglu", "geglu", "residual")
SPECIAL_FUNCTION = ("pow", "powu")
"""Kinds that run a multi-instruction routine per element (CUDA's powf) rather than a few instructions."""
RMS_NORMS = ("rmsnorm", "rms_norm")
DEPTHWISE_CYCLES = 5.0
"""Lane clocks per position of a depthwise convolution's window: a load, at a quarter of the lanes' rate, and a
multiply-add."""

WARP = 32
SECTOR_BYTES = 32.0
LINE_BYTES = 128.0
VECTOR_BYTES = 16.0
WARP_ROW_ELEMENTS, WARP_ROW_BYTES = 1024.0, 4096.0
BLOCK_THREADS = 128.0
"""Threads of a norm's block and of a warp-per-row softmax's block (four warps)."""
SOFTMAX_THREADS = (32.0, 512.0)
MOMENTS_THREADS = 512.0
"""Threads of a block that takes a group's moments (``kCUDABlockReduceNumThreads``)."""
MOMENTS_STEP_CYCLES = 850.0
"""Clocks of one of its steps: load, then Welford's update with a division, nothing in flight beside it. From 0.43 µs a
step on H100 and H200, alike over groups of 3.7 to 14.7 million elements
(https://github.com/sgl-project/sglang/pull/26045 and /pull/23938, native group norm with SiLU)."""
NORM_VECTOR = 4.0
UNROLL = 4.0
SHARPNESS = 4
"""Power with which the share of data that stays in L2 falls beyond its capacity."""

COMMON = (
    Coefficient("launch_s", "s", 1e-6, 6e-6, 2e-6, "launch and drain of a queued kernel", 0.1),
    Coefficient("call_s", "s", 1e-6, 3e-4, 2e-5, "host time to issue a call that is timed on its own", 1.0),
    Coefficient("miss_s", "s", 1e-7, 2e-6, 6e-7, "DRAM's latency, which a kernel shows whose inputs L2 has lost", 0.3),
    Coefficient("dram_fraction", "1", 0.4, 1.0, 0.85, "achievable share of the datasheet's DRAM bandwidth"),
    Coefficient("l2_fraction", "1", 0.05, 1.5, 0.4, "share of L2 that holds data until its next use"),
    Coefficient("l2_bytes_per_clock_per_sm", "B/clock", 4, 200, 25, "L2 bytes per clock, per SM of the whole chip"),
)
POINTWISE = (
    *COMMON,
    Coefficient("write_factor", "1", 0.7, 1.5, 1.0, "DRAM time of a byte written against a byte read", 0.2),
    Coefficient("special_cycles", "clock", 1, 400, 60, "lane clocks per element of a special function"),
)
REDUCTION = (
    *COMMON,
    Coefficient("pass_cycles", "clock", 20, 20000, 2000, "latency of one pass of a block on a full SM"),
    Coefficient("element_cycles", "clock", 0.5, 300, 25, "lane clocks per element over all passes"),
)
SOFTMAX = (
    *REDUCTION,
    Coefficient("step_cycles", "clock", 1, 300, 20, "lane clocks per thread and step of a pass, whatever it loads"),
)
NORM = (
    *REDUCTION,
    Coefficient("walk_cycles", "clock", 1, 3000, 100, "latency of one further step of a block that walks a row", 1.0),
    Coefficient("rms_factor", "1", 0.2, 1.5, 0.7, "instructions of an RMS norm against those of a layer norm", 0.5),
)
COEFFICIENTS: dict[str, tuple[Coefficient, ...]] = {
    "pointwise": POINTWISE,
    "softmax": SOFTMAX,
    "norm": NORM,
    "groupnorm": REDUCTION,
}


def memory_class(kind: str) -> str:
    """The kernel structure ("pointwise", "softmax" or "norm") that serves an operation kind.

    Raises:
        UnsupportedError: no known kernel computes it.
    """
    if kind not in CLASS_OF:
        known = ", ".join(sorted(CLASS_OF))
        raise UnsupportedError(f"no bandwidth-bound kernel is known for op {kind!r}; known: {known}")
    return CLASS_OF[kind]


def default_tensors(kind: str) -> tuple[float, float]:
    """(reads, writes) of [rows, cols] tensors where nothing else is said: two operands or one in, one out.

    Raises:
        UnsupportedError: see ``memory_class``.
    """
    memory_class(kind)
    return (2.0 if kind in TWO_OPERANDS else 1.0), 1.0


@dataclass(frozen=True, slots=True)
class Tensor:
    """Per-shape quantities, each of shape [S] (``reads`` and the like may be 0-d)."""

    rows: Floats
    cols: Floats
    reads: Floats
    writes: Floats
    alone: Floats
    special: Floats
    rms: Floats
    lane_cycles: Floats
    reuse_bytes: Floats
    itemsize: Floats

    @classmethod
    def of(cls, dims: Dims, dtype: DType) -> Tensor:
        rows, cols = np.broadcast_arrays(*(np.asarray(dims[c], dtype=np.float64) for c in ("rows", "cols")))
        optional = {"reads": 1.0, "writes": 1.0, "alone": 0.0, "special": 0.0, "rms": 0.0, "lane_cycles": 0.0}
        optional |= {"reuse_bytes": 0.0, "itemsize": dtype.itemsize}
        rest = {c: np.asarray(dims.get(c, value), dtype=np.float64) for c, value in optional.items()}
        return cls(np.atleast_1d(rows), np.atleast_1d(cols), **rest)

    def distance(self) -> Floats:
        """Bytes touched between two uses of the input, at least its own tensors."""
        return np.asarray(np.maximum(self.bytes_one * (self.reads + self.writes), self.reuse_bytes))

    def written(self, machine: Machine) -> Floats:
        """[rows, cols] tensors that reach DRAM: all, but in a loop over few buffers (``reuse_bytes``) those alone that
        L2 evicts before they are written again."""
        evicted = self.writes * machine.missed(self.distance())
        return np.where(self.reuse_bytes > 0, evicted, self.writes)

    @property
    def row_bytes(self) -> Floats:
        return np.asarray(self.cols * self.itemsize)

    @property
    def bytes_one(self) -> Floats:
        """Bytes of one [rows, cols] tensor."""
        return self.rows * self.row_bytes


@dataclass(frozen=True, slots=True)
class Machine:
    """A GPU's rates under given coefficients, in seconds and bytes."""

    num_sms: float
    clock_hz: float
    lanes: float
    threads_per_sm: float
    blocks_per_sm: float
    dram_bytes_s: float
    l2_bytes_s: float
    l2_bytes: float

    @classmethod
    def of(cls, gpu: GpuSpec, v: Mapping[str, float]) -> Machine:
        clock = gpu.boost_clock_mhz * 1e6
        return cls(
            num_sms=float(gpu.num_sms),
            clock_hz=clock,
            lanes=gpu.peak_flops(DType.FP32) / (2 * gpu.num_sms * clock),
            threads_per_sm=float(gpu.sm_limits.threads),
            blocks_per_sm=float(gpu.sm_limits.blocks),
            dram_bytes_s=v["dram_fraction"] * gpu.bandwidth_bytes_s,
            l2_bytes_s=v["l2_bytes_per_clock_per_sm"] * clock * gpu.num_sms,
            l2_bytes=v["l2_fraction"] * gpu.l2_bytes,
        )

    def resident(self, threads: FloatArray) -> Floats:
        """Blocks of this many threads that one SM holds at once."""
        return np.clip(np.floor(self.threads_per_sm / threads), 1.0, self.blocks_per_sm)

    def waves(self, blocks: Floats, threads: FloatArray) -> Floats:
        return np.ceil(blocks / (self.num_sms * self.resident(threads)))

    def turns_s(self, blocks: Floats, threads: FloatArray, cycles: FloatArray) -> Floats:
        """Time of the busiest SM, whose resident blocks take turns; ``cycles`` is a block's latency among them."""
        return np.ceil(blocks / self.num_sms) / self.resident(threads) * cycles / self.clock_hz

    def missed(self, footprint: Floats) -> Floats:
        """Share of data with this reuse distance in bytes that L2 has lost, rising from 0 to 1."""
        return 1.0 - 1.0 / (1.0 + (footprint / self.l2_bytes) ** SHARPNESS)

    def instructions_s(self, lane_cycles: Floats) -> Floats:
        """Time of this many lane clocks spread over all lanes of all SMs."""
        return lane_cycles / (self.lanes * self.num_sms * self.clock_hz)


@dataclass(frozen=True, slots=True)
class Parts:
    """Times in seconds of shape [S] that overlap, and the waves of blocks."""

    dram: Floats
    l2: Floats
    instructions: Floats
    latency: Floats
    waves: Floats


class MemoryModel:
    """One structure of bandwidth-bound kernels: ``kind_class`` is a key of ``KINDS``."""

    def __init__(self, kind_class: str) -> None:
        if kind_class not in KINDS:
            raise UnsupportedError(f"no kernel structure {kind_class!r}; known: {', '.join(KINDS)}")
        self.kind_class = kind_class
        self.name = f"memory/{kind_class}"
        self.coefficients: tuple[Coefficient, ...] = COEFFICIENTS[kind_class]

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Dims, values: Mapping[str, float]) -> KernelTime:
        """Time of each shape.

        Args:
            dims: rows, cols; optional reads and writes ([rows, cols] tensors moved, 1 each), alone (1 where the call
                was timed on its own, 0 where it queues behind others), special (1 where every element takes a
                special function), rms (1 where a norm takes no mean), lane_cycles (lane clocks per element beside
                that), reuse_bytes (what is touched between two uses of the input, at least these tensors) and itemsize
                (where formats are mixed).
        """
        tensor, machine = Tensor.of(dims, dtype), Machine.of(gpu, values)
        parts = _STRUCTURES[self.kind_class](tensor, machine, values)
        launches = np.where(_scalar_norm(tensor), 2.0, 1.0) if self.kind_class == "norm" else 1.0
        launches = 3.0 if self.kind_class == "groupnorm" else launches
        fixed = launches * values["launch_s"] + tensor.alone * values["call_s"]
        fixed = fixed + values["miss_s"] * machine.missed(tensor.distance())
        total = fixed + smooth_max(parts.dram, parts.l2, parts.instructions, parts.latency)
        memory = np.maximum(parts.dram, parts.l2)
        busiest = np.stack(np.broadcast_arrays(parts.instructions, memory, np.maximum(parts.latency, fixed)))
        bound = np.array(["compute", "memory", "latency"])[np.argmax(busiest, axis=0)]
        shape = tensor.rows.shape
        return KernelTime(
            latency_s=np.asarray(np.broadcast_to(total, shape)),
            bound=np.broadcast_to(bound, shape),
            details={"waves": np.broadcast_to(parts.waves, shape).astype(np.int64)},
        )


def _pointwise(t: Tensor, machine: Machine, v: Mapping[str, float]) -> Parts:
    moved = t.bytes_one * (t.reads + t.writes)
    fetched = t.reads * machine.missed(t.distance())
    dram = t.bytes_one * (fetched + t.written(machine) * v["write_factor"]) / machine.dram_bytes_s
    cycles = t.special * v["special_cycles"] + t.lane_cycles
    instructions = machine.instructions_s(t.rows * t.cols * cycles)
    nothing = np.zeros_like(dram)
    return Parts(dram, moved / machine.l2_bytes_s, instructions, nothing, nothing + 1.0)


def _softmax(t: Tensor, machine: Machine, v: Mapping[str, float]) -> Parts:
    """Both softmax kernels, each where PyTorch picks it."""
    in_warp = (t.cols <= WARP_ROW_ELEMENTS) & (t.row_bytes <= WARP_ROW_BYTES)
    vector = VECTOR_BYTES / t.itemsize
    eighth = np.maximum(np.floor(np.floor(t.cols / vector) / 2), 1.0)
    threads = np.where(in_warp, BLOCK_THREADS, np.clip(_power_of_two(eighth), *SOFTMAX_THREADS))
    passes = np.where(in_warp, 1.0, 3.0)
    steps = np.where(in_warp, 0.0, _softmax_steps(t, threads, vector))
    blocks = np.where(in_warp, np.ceil(t.rows * WARP / BLOCK_THREADS), t.rows)
    rereads = passes - 1.0
    moved = t.bytes_one * (t.reads + rereads + t.writes)
    extra_sectors = np.where(t.row_bytes % SECTOR_BYTES == 0, 1.0, 1.0 + SECTOR_BYTES / LINE_BYTES)
    width = np.where(in_warp, np.maximum(_power_of_two(t.cols), WARP), t.cols)
    lane_cycles = t.rows * (width * v["element_cycles"] + passes * steps * threads * v["step_cycles"])
    return Parts(
        dram=_row_dram(t, machine, threads, rereads),
        l2=moved * extra_sectors / machine.l2_bytes_s,
        instructions=machine.instructions_s(lane_cycles),
        latency=machine.turns_s(blocks, threads, passes * v["pass_cycles"]),
        waves=machine.waves(blocks, threads),
    )


def _softmax_steps(t: Tensor, threads: FloatArray, vector: FloatArray) -> Floats:
    """Steps of one pass, averaged over the rows' alignments.

    Rows whose length is a multiple of the vector all start on 16 bytes. Where it is a multiple of half of it, every
    second row does; where it is odd, every fourth (32-bit) row does.
    """

    def steps(cols: FloatArray) -> Floats:
        full = np.floor(cols / (vector * threads))
        return full + np.ceil((cols - full * vector * threads) / threads)

    period = vector / np.gcd(t.cols.astype(np.int64), np.asarray(vector).astype(np.int64))
    aligned = 1.0 / period
    shifted = 1.0 + steps(np.maximum(t.cols + vector / 2 - threads, 0.0))
    return aligned * steps(t.cols) + (1.0 - aligned) * shifted


def _norm(t: Tensor, machine: Machine, v: Mapping[str, float]) -> Parts:
    scalar = _scalar_norm(t)
    vectors = t.cols / NORM_VECTOR
    steps = np.ceil(vectors / BLOCK_THREADS)
    split_warp = (vectors % WARP != 0) & (steps % UNROLL == 0)
    walked = np.where(split_warp, steps + UNROLL - 1.0, steps)
    walked = np.where(scalar, np.ceil(t.cols / BLOCK_THREADS), walked)
    moved = t.bytes_one * (t.reads + 1.0 + t.writes)
    extra_sectors = np.where(t.row_bytes % LINE_BYTES == 0, 1.0, 1.0 + SECTOR_BYTES / LINE_BYTES)
    element_cycles = v["element_cycles"] * np.where(t.rms > 0, v["rms_factor"], 1.0)
    lane_cycles = t.rows * BLOCK_THREADS * walked * np.where(scalar, 1.0, NORM_VECTOR) * element_cycles
    chain = 2.0 * (v["pass_cycles"] + (walked - 1.0) * v["walk_cycles"])
    return Parts(
        dram=_row_dram(t, machine, BLOCK_THREADS, 1.0),
        l2=moved * extra_sectors / machine.l2_bytes_s,
        instructions=machine.instructions_s(lane_cycles),
        latency=np.maximum(machine.turns_s(t.rows, BLOCK_THREADS, chain), chain / machine.clock_hz),
        waves=machine.waves(t.rows, BLOCK_THREADS),
    )


def _groupnorm(t: Tensor, machine: Machine, v: Mapping[str, float]) -> Parts:
    """Moments, then factors and their application: one after the other, so that the latency of the first adds to the
    traffic of the last."""
    steps = np.ceil(t.cols / MOMENTS_THREADS)
    rounds = np.ceil(np.ceil(t.rows / machine.num_sms) / machine.resident(MOMENTS_THREADS))
    moments = rounds * steps * MOMENTS_STEP_CYCLES / machine.clock_hz
    moved = t.bytes_one * (t.reads + t.writes)
    read = t.bytes_one * t.reads * machine.missed(t.distance()) / machine.dram_bytes_s
    apply = read + t.bytes_one * t.written(machine) / machine.dram_bytes_s
    return Parts(
        dram=read + apply,
        l2=(moved + t.bytes_one * t.reads) / machine.l2_bytes_s,
        instructions=np.zeros_like(apply),
        latency=moments + apply,
        waves=machine.waves(t.rows, MOMENTS_THREADS),
    )


def _scalar_norm(t: Tensor) -> Mask:
    scalar: Mask = t.cols % NORM_VECTOR != 0
    return scalar


def _row_dram(t: Tensor, machine: Machine, threads: FloatArray, rereads: FloatArray) -> Floats:
    """DRAM time of a row reduction: inputs that L2 lost, re-reads of rows that fell out meanwhile, outputs."""
    in_flight = np.minimum(t.rows, machine.num_sms * machine.resident(threads)) * t.row_bytes
    fetched = t.reads * machine.missed(t.distance()) + rereads * machine.missed(in_flight)
    return np.asarray(t.bytes_one * (fetched + t.written(machine)) / machine.dram_bytes_s)


def _power_of_two(value: FloatArray) -> Floats:
    """The least power of two that is not below ``value``."""
    return np.exp2(np.ceil(np.log2(np.maximum(value, 1.0))))


_STRUCTURES = {"pointwise": _pointwise, "softmax": _softmax, "norm": _norm, "groupnorm": _groupnorm}
