"""No kernel of any GPU is faster than its units multiply or its memory moves, however it runs.

Both bounds are counted here by hand: FLOPs that have to be done over the datasheet's peak at the clock, and bytes that
no L2 can hold over the datasheet's bandwidth (an L2 of C bytes spares C of what passes, and nothing of streamed
weights).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from archsearch.bench.measurements import read_timed, route_rows
from archsearch.bench.own_tables import is_results, rotated_and_warm
from archsearch.cost.execution import BURST, Execution
from archsearch.cost.floor import least_time
from archsearch.cost.kernel_families import FAMILIES
from archsearch.cost.model import CostModel
from archsearch.cost.releases import RELEASES
from archsearch.cost.remember import PriceCache
from archsearch.cost.routes import attention_routes, gemm_route, memory_route
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware import GpuSpec, list_gpus, load_gpu
from archsearch.linear_attention import GatedDeltaNet
from archsearch.ops import Attention, Convolution, FusedGroup, MatMul, MemoryOp, Op
from archsearch.routed_experts import Experts

GPUS = list_gpus()
EXACT = 1 - 1e-9
KINDS = (
    *("linear", "bmm", "attention", "decode", "window", "convolution", "pointwise", "reduction", "group"),
    *("delta", "experts"),
)
MODELS = {gpu.id: CostModel(gpu) for gpu in GPUS}


def size(least: int, most: int, multiple: int = 1) -> st.SearchStrategy[int]:
    """Whole numbers, every power of two of the range alike."""
    return st.floats(np.log2(least), np.log2(most)).map(lambda x: max(least, int(2**x) // multiple * multiple))


def attention(draw: st.DrawFn, dtype: DType, **given: Any) -> Attention:
    heads = draw(size(1, 32))
    seq_q = given.pop("seq_q", None) or draw(size(1, 16384))
    return Attention(
        name="attention",
        dtype=dtype,
        batch=draw(size(1, 32)),
        heads_q=heads * draw(st.sampled_from((1, 4, 8))),
        heads_kv=heads,
        seq_q=seq_q,
        seq_kv=seq_q + draw(st.sampled_from((0, 1, 77, 30000))),
        head_dim=draw(st.sampled_from((40, 64, 72, 128, 160, 256, 512, 1024))),
        causal=draw(st.booleans()),
        **given,
    )


@st.composite
def ops(draw: st.DrawFn, kind: str, dtype: DType) -> Op:
    """One op of a kind, of any size that fits a GPU."""
    if kind in ("linear", "bmm"):
        most = 60000 if kind == "linear" else 4096
        batch = 1 if kind == "linear" else draw(size(1, 512))
        m, n, k = draw(size(1, most)), draw(size(1, most)), draw(size(1, most))
        return MatMul(name=kind, m=m, n=n, k=k, batch=batch, dtype=dtype, weights=kind == "linear")
    if kind == "attention":
        return attention(draw, dtype, backward=draw(st.booleans()))
    if kind == "decode":
        return attention(draw, dtype, seq_q=1)
    if kind == "window":
        return attention(draw, dtype, window=draw(size(16, 8192)))
    if kind == "delta":
        generation, groups = draw(st.booleans()), draw(st.sampled_from((1, 2, 4)))
        heads = draw(size(1, 32))
        return GatedDeltaNet(
            name=kind,
            kernel=draw(st.sampled_from(("convolution", "rule"))),
            generation=generation,
            batch=draw(size(1, 1024)),
            seq=1 if generation else draw(size(1, 32768)),
            num_k_heads=heads,
            num_v_heads=heads * groups,
            head_k_dim=draw(st.sampled_from((64, 128, 256))),
            head_v_dim=draw(st.sampled_from((64, 128, 256))),
            dtype=dtype,
        )
    if kind == "convolution":
        width, side, kernel = draw(size(4, 2048, 4)), draw(size(4, 512)), draw(st.sampled_from((1, 3, 5)))
        stride = draw(st.sampled_from((1, 2, kernel)))
        channels: dict[str, Any] = {"in_channels": width, "out_channels": draw(size(4, 2048, 4))}
        if draw(st.booleans()):
            channels = {"in_channels": width, "out_channels": width, "groups": width}
        shape: dict[str, Any] = {"kernel_size": (kernel, kernel), "stride": (stride, stride), "out_size": (side, side)}
        return Convolution(name=kind, batch=draw(size(1, 16)), dtype=dtype, bias=False, **channels, **shape)
    if kind == "experts":
        experts = 2 ** draw(st.integers(0, 9))
        return Experts(
            name=kind,
            tokens=draw(size(1, 30_000)),
            hidden_size=draw(size(64, 16384, 8)),
            moe_intermediate_size=draw(size(8, 16384, 8)),
            num_experts_per_tok=draw(size(1, min(16, experts))),
            num_experts=experts,
            expert_parallel=2 ** draw(st.integers(0, int(np.log2(experts)))),
            gated=draw(st.booleans()),
            skew=draw(st.sampled_from((0.0, 0.0, 1.01, 1.2))),
            dtype=dtype,
        )
    rows, cols = draw(size(1, 400_000)), draw(size(1, 30_000))
    names = (
        ("rmsnorm", "layernorm", "softmax", "groupnorm") if kind == "reduction" else ("gelu", "add", "copy", "adamw")
    )
    op = MemoryOp(name=kind, kind=draw(st.sampled_from(names)), rows=rows, cols=cols, dtype=dtype, reads=2.0)
    if kind != "group":
        return op
    return FusedGroup(
        name=kind,
        kind=op.kind,
        members=(op, replace(op, kind="mul")),
        rows=rows,
        cols=cols,
        dtype=dtype,
        reads=3.0,
        writes=1.0,
    )


@st.composite
def executions(draw: st.DrawFn, gpu: GpuSpec) -> Execution:
    clocks = ["burst", "sustained", 0.5 * gpu.boost_clock_mhz, float(gpu.max_clock_mhz or gpu.boost_clock_mhz)]
    return Execution(
        attention=draw(st.sampled_from(("auto", "eager", "fastest", "sdpa"))),
        compiled=draw(st.booleans()),
        torch=draw(st.sampled_from(sorted(RELEASES))),
        clock=draw(st.sampled_from(clocks)),
        correction=draw(st.booleans()),
    )


def least_s(op: Op, gpu: GpuSpec, execution: Execution) -> float:
    """The roofline of an op, less what its L2 spares."""
    slower = 1.0 if isinstance(execution.clock, str) else max(1.0, gpu.boost_clock_mhz / execution.clock)
    cache = gpu.l2_bytes if gpu.generation.tiles_known else 0.0
    flops, moved, dtype = 0.0, 0.0, op.dtype
    if isinstance(op, MatMul):
        size, out = dtype.itemsize, max(dtype.itemsize, 2.0)
        flops = 2.0 * op.batch * op.m * op.n * op.k
        activations = op.batch * (op.m * op.k * size + op.m * op.n * out)
        weights = op.batch * op.k * op.n * size
        moved = weights + max(0, activations - cache) if op.weights else max(0, weights + activations - cache)
    elif isinstance(op, Attention):
        seen = int(op.seq_kv) if op.window is None else min(int(op.seq_kv), int(op.seq_q) + int(op.window))
        rows = op.heads_q * op.seq_q + op.heads_kv * seen
        flops = float(op.executed_flops()) * (0.8 if op.backward else 1.0)  # what is no score computed again
        moved = max(0, 2.0 * op.batch * op.head_dim * rows * dtype.itemsize - cache)
    elif isinstance(op, Convolution):
        if dtype is DType.FP32 and gpu.vendor == "nvidia" and gpu.supports(DType.TF32):
            dtype = DType.TF32  # as torch computes convolutions
        flops = 0.0 if op.is_depthwise else float(op.flops())
        inputs = int(op.positions) * min(int(np.prod(op.stride)), int(op.volume)) * int(op.in_channels)
        moved = max(0, (inputs + int(op.positions) * int(op.out_channels)) * dtype.itemsize - cache)
    elif isinstance(op, Experts):
        copies = op.tokens * op.num_experts_per_tok / op.expert_parallel
        weights = (3 if op.gated else 2) * op.hidden_size * op.moe_intermediate_size
        flops = 2.0 * copies * weights
        active = op.num_experts_per_tok if op.skew else min(op.num_experts, copies * op.expert_parallel)
        here = active / op.expert_parallel
        rows = op.tokens + min(op.tokens, copies)
        moved = max(0, (here * weights + rows * op.hidden_size) * dtype.itemsize - cache)
    elif isinstance(op, GatedDeltaNet):
        tokens, keys = op.batch * op.seq, op.num_k_heads * op.head_k_dim
        channels = 2 * keys + op.num_v_heads * op.head_v_dim
        states = op.batch * op.num_v_heads * op.head_k_dim * op.head_v_dim
        if op.kernel == "rule":  # three products with the state for a token, whatever chunks add
            flops = 6.0 * op.seq * states
            moved = 8 * states + dtype.itemsize * tokens * (channels + op.num_v_heads * op.head_v_dim)
        else:
            flops = 8.0 * tokens * channels
            moved = dtype.itemsize * channels * (2 * tokens + 3 * op.batch * (1 + op.generation))
        moved = max(0, moved - cache * (1 + op.generation))
    else:
        least = op.fused() if isinstance(op, FusedGroup) else op
        moved = max(0, least.rows * least.cols * (least.reads + least.writes) * dtype.itemsize - cache)
    compute = slower * flops / (gpu.peak_tflops[dtype] * 1e12) if flops else 0.0
    return float(max(compute, moved / (gpu.memory.bandwidth_gb_s * 1e9)))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_op_is_faster_than_its_peak_or_its_bytes(kind: str, data: st.DataObject) -> None:
    gpu = data.draw(st.sampled_from(GPUS))
    dtype = data.draw(st.sampled_from([d for d in gpu.peak_tflops if d not in gpu.unchecked]))
    op = data.draw(ops(kind, dtype))
    execution = data.draw(executions(gpu))
    try:
        answer = MODELS[gpu.id].estimate([op], execution)
    except UnsupportedError:
        assume(False)
    least = least_s(op, gpu, execution)
    assert float(answer.latency_s) >= least * EXACT
    assert float(answer.high_s) >= float(answer.latency_s) * EXACT


def test_no_op_of_a_grid_is_either_and_remembered_prices_are_the_same() -> None:
    gpu = load_gpu("rtx-3050")
    side = np.array([64, 1024, 4096, 16384])
    op = Attention(name="a", batch=1, heads_q=1, heads_kv=1, seq_q=side, seq_kv=side, head_dim=512, dtype=DType.BF16)
    alone = CostModel(gpu).estimate([op], BURST).latency_s
    assert np.all(alone >= op.flops() / (gpu.peak_tflops[DType.BF16] * 1e12))
    np.testing.assert_array_equal(alone, CostModel(gpu, cache=PriceCache()).estimate([op], BURST).latency_s)


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.id)
def test_wide_heads_cost_as_many_times_their_columns_as_they_have(gpu: GpuSpec) -> None:
    """The middle of every KL autoencoder: one head of 512 columns, twice the work of one of 256."""
    shape: dict[str, Any] = {"batch": 1, "heads_q": 8, "heads_kv": 8, "seq_q": 16384, "seq_kv": 16384}
    times = {}
    for head_dim in (256, 512, 1024):
        op = Attention(
            name="a", head_dim=head_dim, dtype=DType.FP32 if gpu.supports(DType.FP32) else DType.BF16, **shape
        )
        times[head_dim] = float(CostModel(gpu).estimate([op], Execution(attention="auto")).latency_s)
    assert times[512] > 1.4 * times[256]  # an unfused one has the softmax beside, of any head_dim
    assert times[1024] > 1.6 * times[512]


def test_the_floor_leaves_what_is_possible_alone() -> None:
    """A large product, a long attention and a large copy: above the floor, and not by it."""
    gpu = load_gpu("h100-sxm")
    flat = {c: np.array([8192.0]) for c in "mnk"}
    product = gemm_route(gpu, DType.BF16, {**flat, "reuse_bytes": np.array(np.inf)}, weights=True)
    copy = memory_route(
        gpu, DType.BF16, "copy", {"rows": np.array([1e5]), "cols": np.array([8192.0]), "reads": 1.0, "writes": 1.0}
    )
    names = ("batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim", "causal")
    attended = dict(zip(names, (np.array([v]) for v in (4.0, 32.0, 8.0, 8192.0, 8192.0, 128.0, 1.0)), strict=True))
    ((_, attention),) = attention_routes(gpu, DType.BF16, attended)
    for route in (product, copy, attention):
        compute, memory = least_time(route, BURST)
        time = MODELS["h100-sxm"].route_cost(route, BURST).latency_s
        assert 0.5 < float(np.maximum(compute, memory)[0] / time[0]) < 0.99, route.kernel


def test_weights_that_come_round_within_the_cache_need_no_dram() -> None:
    gpu = load_gpu("h100-sxm")
    dims = {"m": np.array([1.0]), "n": np.array([4096.0]), "k": np.array([4096.0])}  # 33.6 MB against 52.4 of L2
    kept = gemm_route(gpu, DType.BF16, {**dims, "reuse_bytes": np.array([34e6])}, weights=True)
    streamed = gemm_route(gpu, DType.BF16, {**dims, "reuse_bytes": np.array([np.inf])}, weights=True)
    assert float(least_time(kept, BURST)[1][0]) == 0.0
    assert float(least_time(streamed, BURST)[1][0]) == pytest.approx(2 * 4096**2 / gpu.bandwidth_bytes_s)
    looped = gemm_route(gpu, DType.BF16, {**dims, "reuse_bytes": np.array([2 * gpu.l2_bytes])}, weights=True)
    assert float(least_time(looped, BURST)[1][0]) == pytest.approx(4096**2 / gpu.bandwidth_bytes_s)


def test_every_kernel_family_has_a_floor() -> None:
    assert {name.split("/")[0] for name in FAMILIES} == {
        *("gemm", "convolution", "attention", "decode", "memory", "collective", "roofline", "delta"),
        "experts",
    }


MEASUREMENTS = Path(__file__).resolve().parents[2] / "shared" / "measurements"
OURS = Path("hardware_profiles/measurements/h200-sxm-2026-11-26.csv")
TABLES = (
    "gemm_tensor_core.csv",
    "gemm_fp32.csv",
    "attention.csv",
    "decode_attention.csv",
    "memory_bound_fp32.csv",
    "experts.csv",
    "linear_attention.csv",
    "collectives.csv",
)


@pytest.mark.parametrize("table", [OURS, *(MEASUREMENTS / name for name in TABLES)], ids=lambda path: path.stem)
def test_no_measured_kernel_is_faster_than_the_floor(table: Path) -> None:
    """The floor is one of real kernels: of some 90,000 measured ones, one in a thousand at most lies below it."""
    if not table.is_file():
        pytest.skip("the measurements are not part of the project")
    frame = read_timed(table)
    frame = rotated_and_warm(frame) if is_results(frame) else frame
    measured = frame["latency_us"].to_numpy() * 1e-6
    below, count = 0, 0
    for routed in route_rows(frame):
        compute, memory = least_time(routed.route, BURST)
        least = np.broadcast_to(np.maximum(compute, memory), routed.index.shape)
        below += int((measured[routed.index] < 0.98 * least).sum())
        count += least.size
    assert below <= 1e-3 * count
