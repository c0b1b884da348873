"""Time of a gated delta net's kernels: causal convolution, chunked rule, and both for one token of a generation.

Kernel structure: vLLM 0.24, vllm/model_executor/layers/mamba/ops/causal_conv1d.py and
vllm/model_executor/layers/fla/ops (https://github.com/vllm-project/vllm), Triton kernels whose blocks are fixed:

* ``convolution``: a block walks 8 tokens of 256 channels, one after the other, each a dependent load and store.
      chain = min(seq, 8) · token latency, and the load of the tokens before where a sequence has more than one block
      work  = blocks · block clocks + tokens · channel blocks · token clocks, over all SMs
* ``convolution-update``: one token, a block of 256 channels with the tokens of its state.
* ``channels-first`` and ``channels-first-update``: the same over [channels, tokens], as in engines before them and in
  the package causal-conv1d (https://github.com/Dao-AILab/causal-conv1d, csrc/causal_conv1d_fwd.cu): a block for each
  channel of a sequence takes 1024 tokens at a time, in threads of 8; one by one where seq is no multiple of 8.
* ``chunk``: five kernels in parallel over chunks of 64 tokens and value heads (sums of gates, k kᵀ, the inverse of its
  triangle, w and u, outputs) and one that walks the chunks of a sequence, since its state passes from one to the next.
      parallel = longest of chunks · chunk clocks + tokens · token clocks over all SMs, the rows of one chunk's
                 triangle one after the other, and what passes between the kernels through DRAM
      serial   = longest of chunks of a sequence · step latency, all chunks · step clocks over all SMs, and DRAM
      time     = launches + parallel + serial
* ``recurrent``: a state of [head_k_dim, head_v_dim] is read, changed and written for each value head of a sequence.

    time = launch + smooth max(chain, work, bytes / DRAM · miss)

What passes through DRAM is what L2 does not hold until it comes round: footprints beyond ``l2_fraction`` of L2. They
fall out sharply, since all of it comes round in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from archsearch.arrays import FloatArray, Floats
from archsearch.cost.kernels.kernel_cost import Coefficient, Dims, KernelTime, smooth_max
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec
from archsearch.linear_attention import CHUNK_SIZE, GatedDeltaNet

BLOCK_TOKENS, BLOCK_CHANNELS = 8.0, 256.0
"""Tokens and channels of a convolution's block (``BLOCK_M`` and ``BLOCK_N`` of causal_conv1d.py)."""
ROW_TOKENS, VECTOR_TOKENS = 1024.0, 8.0
"""Tokens of one step of a block over [channels, tokens], and of a thread's load in it (``kNThreads`` · ``kNElts``)."""
SCORE_BYTES = 4.0
"""Bytes of an element of k kᵀ between the kernels; its inverse has the format's (``output_dtype`` of chunk.py)."""
SHARPNESS = 8.0
"""Power with which the share of data that stays in L2 falls beyond its capacity: states that are read and written in
order fall out together (an L40S's generation steps take 35 µs at 64 MiB of states and 404 at 128)."""

_DRAM = (
    Coefficient("dram_fraction", "1", 0.3, 1.0, 0.8, "achievable share of the datasheet's DRAM bandwidth", 0.2),
    Coefficient("l2_fraction", "1", 0.05, 2.0, 0.8, "share of L2 that holds data until its next use"),
)
_LAUNCH = Coefficient("launch_s", "s", 5e-7, 1e-5, 2e-6, "launch, first loads and drain of the kernel")
_BLOCK = Coefficient("block_cycles", "clock", 1, 4e4, 400, "clocks of an SM per block, with others beside it")
COEFFICIENTS: dict[str, tuple[Coefficient, ...]] = {
    "convolution": (
        _LAUNCH,
        Coefficient("chain_cycles", "clock", 1, 5e3, 300, "latency of one token of a block's walk"),
        Coefficient("before_cycles", "clock", 1, 2e4, 500, "latency of the loads of the tokens before a block"),
        _BLOCK,
        Coefficient("token_cycles", "clock", 1, 5e3, 100, "clocks of an SM per token of a block"),
        *_DRAM,
    ),
    "convolution-update": (_LAUNCH, _BLOCK, *_DRAM),
    "channels-first": (
        _LAUNCH,
        _BLOCK,
        Coefficient("element_cycles", "clock", 1e-3, 10, 0.1, "clocks of an SM per token and channel"),
        Coefficient("scalar_factor", "1", 1.0, 8.0, 1.5, "time of a block whose tokens come one by one"),
        *_DRAM,
    ),
    "channels-first-update": (_LAUNCH, _BLOCK, *_DRAM),
    "recurrent": (_LAUNCH, _BLOCK, *_DRAM),
    "chunk": (
        Coefficient("launch_s", "s", 5e-6, 5e-5, 1.8e-5, "launch, first loads and drain of all six kernels"),
        Coefficient("row_cycles", "clock", 10, 5e3, 500, "latency of one row of a chunk's triangle"),
        Coefficient("step_cycles", "clock", 100, 2e4, 3e3, "latency of one chunk of the walk along a sequence"),
        Coefficient("chunk_cycles", "clock", 100, 2e5, 1e3, "clocks of an SM per chunk and head, in parallel kernels"),
        Coefficient("token_cycles", "clock", 1, 2e4, 200, "clocks of an SM per token and head, in parallel kernels"),
        Coefficient("state_cycles", "clock", 100, 2e5, 1e4, "clocks of an SM per chunk and head, in the walk"),
        *_DRAM,
    ),
}
Kernel = Literal["convolution", "convolution-update", "channels-first", "channels-first-update", "chunk", "recurrent"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of a kernel's parts, each [S]: launches, latencies one after the other, SMs and DRAM, and their sum."""

    launch: Floats
    chain: Floats
    work: Floats
    dram: Floats
    total: Floats


@dataclass(frozen=True, slots=True)
class _Machine:
    """A GPU under given coefficients."""

    clock_hz: float
    num_sms: float
    l2_bytes: float
    dram_bytes_s: float

    @classmethod
    def of(cls, gpu: GpuSpec, v: Mapping[str, float]) -> _Machine:
        return cls(
            clock_hz=gpu.boost_clock_mhz * 1e6,
            num_sms=float(gpu.num_sms),
            l2_bytes=v["l2_fraction"] * gpu.l2_bytes,
            dram_bytes_s=v["dram_fraction"] * gpu.bandwidth_bytes_s,
        )

    def dram_s(self, moved: Floats, footprint: FloatArray) -> Floats:
        """Time of bytes moved, less what L2 holds of their footprint."""
        missed = 1.0 - 1.0 / (1.0 + (footprint / self.l2_bytes) ** SHARPNESS)
        return moved * missed / self.dram_bytes_s

    def work_s(self, cycles: Floats) -> Floats:
        """Time of this many clocks of an SM, spread over all."""
        return cycles / (self.num_sms * self.clock_hz)


class DeltaNetModel:
    """One kernel of gated delta nets: ``kernel`` is one of ``KERNELS``."""

    def __init__(self, kernel: Kernel) -> None:
        self.name = f"delta/{kernel}"
        self.coefficients: tuple[Coefficient, ...] = COEFFICIENTS[kernel]
        self._times = _TIMES[kernel]

    def predict(self, gpu: GpuSpec, dtype: DType, dims: Dims, values: Mapping[str, float]) -> KernelTime:
        """Time of each shape.

        Args:
            dims: of convolutions batch, seq, channels and conv_kernel; of the rule batch, seq, num_k_heads, head_k_dim,
                num_v_heads, head_v_dim, state_itemsize and sector_share (of each sector of DRAM that a state's access
                covers, what it uses).
        """
        names = list(dims)
        arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(dims[n], dtype=np.float64)) for n in names))
        full = dict(zip(names, arrays, strict=True))
        t = self._times(full, float(dtype.itemsize), _Machine.of(gpu, values), values)
        parts = np.stack(np.broadcast_arrays(t.work, t.dram, np.maximum(t.chain, t.launch)))
        bound = np.array(["compute", "memory", "latency"])[np.argmax(parts, axis=0)]
        return KernelTime(latency_s=t.total, bound=bound)


def _convolution(d: Mapping[str, Floats], size: float, m: _Machine, v: Mapping[str, float]) -> Times:
    across = np.ceil(d["channels"] / BLOCK_CHANNELS)
    blocks = d["batch"] * np.ceil(d["seq"] / BLOCK_TOKENS) * across
    before = np.where(d["seq"] > BLOCK_TOKENS, v["before_cycles"], 0.0)
    chain = (np.minimum(d["seq"], BLOCK_TOKENS) * v["chain_cycles"] + before) / m.clock_hz
    tokens = d["batch"] * d["seq"]
    work = m.work_s(blocks * v["block_cycles"] + tokens * across * v["token_cycles"])
    moved = 2.0 * tokens * d["channels"] * size
    return _one(v["launch_s"], chain, work, m.dram_s(moved, moved))


def _channels_first(d: Mapping[str, Floats], size: float, m: _Machine, v: Mapping[str, float]) -> Times:
    blocks = d["batch"] * d["channels"]
    scalar = np.where(d["seq"] % VECTOR_TOKENS == 0, 1.0, v["scalar_factor"])
    each = np.ceil(d["seq"] / ROW_TOKENS) * v["block_cycles"] * scalar + d["seq"] * v["element_cycles"]
    moved = 2.0 * blocks * d["seq"] * size
    return _one(v["launch_s"], np.zeros_like(moved), m.work_s(blocks * each), m.dram_s(moved, moved))


def _convolution_update(d: Mapping[str, Floats], size: float, m: _Machine, v: Mapping[str, float]) -> Times:
    states = d["conv_kernel"] - 1.0
    each = d["batch"] * d["channels"] * size
    work = m.work_s(d["batch"] * np.ceil(d["channels"] / BLOCK_CHANNELS) * v["block_cycles"])
    return _one(v["launch_s"], np.zeros_like(each), work, m.dram_s(each * (2.0 + 2.0 * states), each * (2.0 + states)))


def _recurrent(d: Mapping[str, Floats], size: float, m: _Machine, v: Mapping[str, float]) -> Times:
    heads = d["batch"] * d["num_v_heads"]
    state = d["head_k_dim"] * d["head_v_dim"]
    states = heads * state * d["state_itemsize"]
    rows = d["batch"] * size * (2.0 * d["num_k_heads"] * d["head_k_dim"] + 2.0 * d["num_v_heads"] * d["head_v_dim"])
    work = m.work_s(heads * state / STATE * v["block_cycles"])
    moved = 2.0 * states / d["sector_share"] + rows
    return _one(v["launch_s"], np.zeros_like(states), work, m.dram_s(moved, states + rows))


STATE = 128.0 * 128.0
"""Elements of the state that ``block_cycles`` and ``state_cycles`` count for."""


def _chunk(d: Mapping[str, Floats], size: float, m: _Machine, v: Mapping[str, float]) -> Times:
    heads, tokens = d["batch"] * d["num_v_heads"], d["batch"] * d["seq"]
    steps = np.ceil(d["seq"] / CHUNK_SIZE)
    keys = tokens * d["num_k_heads"] * d["head_k_dim"] * size
    wide, values = (tokens * d["num_v_heads"] * d[name] * size for name in ("head_k_dim", "head_v_dim"))
    scores = tokens * d["num_v_heads"] * CHUNK_SIZE
    inverse, scores = scores * size, scores * SCORE_BYTES
    state = heads * d["head_k_dim"] * d["head_v_dim"] * d["state_itemsize"]
    # each kernel's bytes: k kᵀ, its inverse, w and u (inputs, then outputs), the walk, the outputs
    traffic = (keys + scores, scores + inverse, inverse + keys + values + wide + values)
    outputs = 2.0 * keys + values + steps * state + values
    passed = sum((m.dram_s(moved, moved) for moved in (*traffic, outputs)), np.zeros_like(keys))
    walked = keys + wide + 2.0 * values + (steps + 2.0) * state
    per_state = d["head_k_dim"] * d["head_v_dim"] / STATE
    parallel = m.work_s(heads * per_state * (steps * v["chunk_cycles"] + d["seq"] * v["token_cycles"]))
    walk = m.work_s(heads * per_state * steps * v["state_cycles"])
    rows = np.minimum(d["seq"], CHUNK_SIZE) * v["row_cycles"] / m.clock_hz
    chain, dram = steps * v["step_cycles"] / m.clock_hz, m.dram_s(walked, walked)
    total = v["launch_s"] + smooth_max(parallel, rows, passed) + smooth_max(chain, walk, dram)
    return Times(np.full_like(total, v["launch_s"]), rows + chain, parallel + walk, passed + dram, total)


def _one(launch: float, chain: Floats, work: Floats, dram: Floats) -> Times:
    """One kernel, whose parts overlap."""
    return Times(np.full_like(work, launch), chain, work, dram, launch + smooth_max(chain, work, dram))


_TIMES: dict[str, Callable[[Mapping[str, Floats], float, _Machine, Mapping[str, float]], Times]] = {
    "convolution": _convolution,
    "convolution-update": _convolution_update,
    "channels-first": _channels_first,
    "channels-first-update": _convolution_update,
    "recurrent": _recurrent,
    "chunk": _chunk,
}


def delta_net_work(dims: Dims, dtype: DType) -> tuple[Floats, Floats]:
    """FLOPs and compulsory bytes of each shape [S], of routed dimensions (``DeltaNetModel.predict``)."""
    sizes: dict[str, Any] = {name: np.atleast_1d(np.asarray(value)) for name, value in dims.items()}
    sizes.pop("sector_share", None)
    generation = bool(np.all(sizes.pop("generation") > 0))
    kernel: Literal["convolution", "rule"] = "rule"
    if "channels" in sizes:  # those of a single value head are as many
        kernel = "convolution"
        sizes |= {"num_k_heads": 0, "head_k_dim": 0, "num_v_heads": 1, "head_v_dim": sizes.pop("channels")}
    op = GatedDeltaNet(name="", kernel=kernel, dtype=dtype, generation=generation, **sizes)
    return op.flops(), op.memory_bytes()
