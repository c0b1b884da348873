"""How activations of 8-bit products are quantized: kernels and bytes counted by hand, published gains in order."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archsearch
from archsearch.cost.asked_execution import default_execution, named_execution
from archsearch.cost.execution import BURST, Execution
from archsearch.cost.model import CostModel
from archsearch.cost.quantization import quantization_record, quantized
from archsearch.cost.releases import RELEASES
from archsearch.cost.rewrites import rewritten
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import load_preset
from archsearch.ops import Attention, FusedGroup, MatMul, MemoryOp, Op, OpList
from archsearch.pipeline import Deployment, load_pipeline, make_request
from archsearch.pipeline.levers import get_lever
from archsearch.pipeline.optimize import Goal, optimize
from archsearch.pipeline.plan import Plan
from archsearch.workload import Phase, Workload

ROOT = Path(__file__).parents[1]
H100 = load_gpu("h100-sxm")
ROWS, WIDTH = 4096, 3072


def linear(name: str = "up_proj", dtype: DType = DType.FP8, m: int = ROWS, count: int = 1, bias: bool = True) -> MatMul:
    return MatMul(name=name, m=m, n=4 * WIDTH, k=WIDTH, dtype=dtype, count=count, bias=bias)


def norm(rows: int = ROWS) -> MemoryOp:
    return MemoryOp(name="norm", kind="layernorm", rows=rows, cols=WIDTH, dtype=DType.BF16)


def run(how: str, **fields: Any) -> Execution:
    return Execution(quantization=how, compiled=how == "fused", **{"granularity": "tensor", **fields})


def launches(ops: Sequence[Op]) -> int:
    return sum(int(np.asarray(op.count)) * (op.kernels if isinstance(op, MemoryOp) else 1) for op in ops)


def moved(ops: Sequence[Op], *names: str) -> float:
    """Bytes of the kernels of these names."""
    return sum(float(op.memory_bytes()) for op in ops if op.name.rsplit(".", 1)[-1] in names)


def lowered(ops: Sequence[Op], execution: Execution) -> tuple[Op, ...]:
    return tuple(quantized(OpList(tuple(ops)), execution))


def test_eager_fp8_is_torchaos_kernels() -> None:
    """amin, amax, product into 32 bits, clamp, cast: 2 + 2 + (2 + 4) + (4 + 4) + (4 + 1) bytes an element."""
    found = lowered([norm(), linear()], run("eager"))
    assert moved(found, "maximum", "quantize") == 23 * ROWS * WIDTH
    static = lowered([norm(), linear()], run("eager", scaling="static"))
    assert moved(static, "maximum", "quantize") == 19 * ROWS * WIDTH
    assert launches(static) < launches(found)
    assert [op.memory_bytes() for op in found if op.name == "norm"] == [norm().memory_bytes()]


def test_eager_quantizes_for_every_product_and_a_compiler_once() -> None:
    three = linear("q_proj+k_proj+v_proj", count=3)
    eager, fused = (lowered([norm(), three], run(how)) for how in ("eager", "fused"))
    one = lowered([norm(), linear()], run("eager"))
    assert launches(eager) - 1 == 3 * (launches(one) - 1)
    assert [float(np.asarray(op.count)) for op in fused if op.name.endswith("quantize")] == [1.0]
    merged = rewritten(OpList((norm(), three)), run("fused", fused_qkv=True))
    assert [float(np.asarray(op.count)) for op in merged if op.name.endswith("quantize")] == [1.0]
    two = lowered([norm(), linear("up_proj"), linear("gate_proj")], run("fused"))
    assert sum(op.name.endswith("quantize") for op in two) == 1


@pytest.mark.parametrize(("scaling", "granularity"), [("dynamic", "row"), ("static", "tensor")])
def test_a_known_or_a_rows_scale_is_applied_where_activations_arise(scaling: str, granularity: str) -> None:
    """No kernel more, and 8 bits written instead of 16."""
    found = lowered([norm(), linear()], run("fused", scaling=scaling, granularity=granularity))
    assert launches(found) == 2
    assert norm().memory_bytes() - found[0].memory_bytes() == ROWS * WIDTH


def test_a_tensors_scale_needs_the_tensor_first() -> None:
    """The last step of the maximum and a cast that reads 16 bits and writes 8."""
    found = lowered([norm(), linear()], run("fused"))
    assert launches(found) == 4
    assert moved(found, "quantize") == 3 * ROWS * WIDTH
    assert moved(found, "norm") == norm().memory_bytes()


def test_nothing_fuses_into_attention_or_a_product() -> None:
    attention = Attention(
        name="core", batch=1, heads_q=24, heads_kv=24, seq_q=ROWS, seq_kv=ROWS, head_dim=128, dtype=DType.BF16
    )
    for producer in (attention, MatMul(name="value", m=ROWS, n=WIDTH, k=64, dtype=DType.BF16)):
        found = lowered([norm(), producer, linear()], run("fused", granularity="row"))
        assert launches(found) == 4
        assert moved(found, "norm") == norm().memory_bytes()
        assert moved(found, "quantize") == 3 * ROWS * WIDTH


def test_groups_are_producers_too() -> None:
    group = FusedGroup(
        name="gate",
        kind="gelu",
        members=(norm(),),
        rows=ROWS,
        cols=WIDTH,
        dtype=DType.BF16,
        reads=2.0,
        writes=2.0,
    )
    first = lowered([group, linear()], run("fused", granularity="row"))[0]
    assert isinstance(first, FusedGroup)
    assert first.writes == 1.5


def test_int8_products_of_few_rows_run_on_the_host_in_old_releases() -> None:
    """``safe_int_mm`` of up to 16 rows; 3.2e9 weights of FLUX.1's modulation, 3.6 s a step."""
    model, few = CostModel(H100), linear(dtype=DType.INT8, m=1)
    old, new = (
        float(model.estimate([few], run("eager", torch=t, granularity="row")).latency_s) for t in ("2.5", "2.8")
    )
    assert old == pytest.approx(few.n * few.k / 0.89e9, rel=0.05)
    assert new < old / 50
    both = MatMul(name="p", m=np.array([1, 17]), n=few.n, k=few.k, dtype=DType.INT8)
    parts = [MatMul(name="p", m=m, n=few.n, k=few.k, dtype=DType.INT8) for m in (1, 17)]
    for release in RELEASES:
        how = run("eager", torch=release, granularity="row")
        alone = [float(model.estimate([part], how).latency_s) for part in parts]
        assert model.estimate([both], how).latency_s == pytest.approx(alone, rel=1e-9)


def test_eager_int8_products_run_far_below_their_peak() -> None:
    """PyTorch issue 187094: the kernel of a row-major right side makes 75 TOPS on a GB300, 245 operations per clock of
    each of its 160 SMs at 1.92 GHz; whole runs show the same order on A100 and H100."""
    assert 245 / 1.6 < quantization_record().row_major_int8_per_clock < 245 * 1.6
    big = linear(dtype=DType.INT8, m=8192)
    seconds = float(CostModel(load_gpu("a100-sxm-80gb")).estimate([big], run("eager", granularity="row")).latency_s)
    assert seconds > float(big.flops()) / 60e12  # of 624 TOPS


def test_a_kernel_before_each_product_is_what_tables_measure() -> None:
    ops = OpList((norm(), linear()))
    for execution in (BURST, run("kernel"), Execution(), Execution(compiled=True)):
        assert quantized(ops, execution) is ops
    static = lowered(ops, run("kernel", scaling="static"))
    assert launches(static) == launches(ops)
    assert [op.memory_bytes() for op in static] == [op.memory_bytes() for op in ops]
    sixteen = OpList((norm(), linear(dtype=DType.BF16)))
    for how in ("eager", "fused"):
        assert quantized(sixteen, run(how)) is sixteen


def test_defaults_follow_phase_format_and_compilation() -> None:
    def told(execution: Execution, **fields: Any) -> tuple[str, str]:
        resolved = execution.resolved(Workload(**{"dtype": DType.FP8, **fields}))
        return resolved.quantization, resolved.granularity

    assert told(Execution()) == ("eager", "tensor")
    assert told(Execution(compiled=True)) == ("fused", "tensor")
    assert told(Execution(compiled=True), dtype=DType.INT8) == ("fused", "row")
    assert told(Execution(compiled=True), dtype=DType.FP4) == ("fused", "block")
    assert told(Execution(), phase=Phase.TRAIN) == ("kernel", "row")
    assert told(Execution(scaling="static"), dtype=DType.INT8) == ("eager", "tensor")
    served = Workload(phase=Phase.PREFILL, seq_len=64, dtype=DType.FP8)
    assert named_execution("vllm", served).resolved(served).quantization == "kernel"
    assert told(Execution(), dtype=DType.BF16) == ("auto", "auto")


def test_what_nobody_runs_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="static has one scale per tensor"):
        Execution(scaling="static", granularity="row")
    with pytest.raises(UnknownNameError, match="quantization"):
        Execution(quantization="fuse")
    assert set(quantization_record().host_releases) < set(RELEASES)


def test_one_path_for_scalars_and_arrays() -> None:
    config, model = load_preset("dit-xl-2"), CostModel(H100)
    for how in ("fused", "eager"):
        execution = Execution(quantization=how, compiled=how == "fused", launch_us=0.0)
        sizes = np.array([1, 2, 8])
        given = {"height": 512, "width": 512, "dtype": DType.FP8}
        grid = model.price(config, Workload(batch_size=sizes, **given), execution).latency_s
        alone = [model.price(config, Workload(batch_size=int(b), **given), execution).latency_s for b in sizes]
        assert grid == pytest.approx(np.array(alone, dtype=float), rel=1e-9)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("gpu", ["h100-sxm", "b200-sxm", "l40s"])
def test_less_work_is_never_slower(gpu: str, batch: int) -> None:
    """Static before row before tensor scales, fused before a kernel a step."""
    model, config = CostModel(load_gpu(gpu)), load_preset("pixart-sigma")
    w = Workload(batch_size=batch, height=1024, width=1024, dtype=DType.FP8)
    ways = [
        Execution(compiled=True, quantization="fused", scaling="static"),
        Execution(compiled=True, quantization="fused", granularity="row"),
        Execution(compiled=True, quantization="fused", granularity="tensor"),
        Execution(compiled=True, quantization="eager", granularity="tensor"),
    ]
    times = [float(model.price(config, w, way).latency_s) for way in ways]
    assert times == sorted(times)
    assert len(set(times)) == len(times)


@pytest.mark.parametrize("gpu", ["h100-sxm", "rtx-pro-6000-server"])
def test_known_scales_never_cost_more_than_those_found_in_every_call(gpu: str) -> None:
    """Of a small decoder's layer, by the phase's own executions: few rows and many."""
    config, model, compared = replace(load_preset("llama-3.2-1b"), num_layers=1), CostModel(load_gpu(gpu)), 0
    for dtype in filter(model.gpu.supports, (DType.FP8, DType.INT8, DType.FP4)):
        for phase, batch in ((Phase.DECODE, [1, 64]), (Phase.PREFILL, [2]), (Phase.FORWARD, [2]), (Phase.TRAIN, [2])):
            w = Workload(phase=phase, seq_len=512, batch_size=np.array(batch), dtype=dtype)
            for how in ("kernel", "fused", "eager"):
                if how == "eager" and (dtype is DType.FP4 or phase is not Phase.FORWARD):
                    continue
                plain = replace(default_execution(w), quantization=how, compiled=how != "eager")
                static, dynamic = (
                    model.price(config, w, replace(plain, scaling=s)).latency_s for s in ("static", "dynamic")
                )
                assert (static <= dynamic).all(), (dtype, phase, how, static, dynamic)
                compared += int((static < dynamic).any())
    assert compared >= 10


def test_scales_that_no_kernels_have_are_refused() -> None:
    def reason(dtype: str, **asked: str) -> str:
        with pytest.raises(UnsupportedError) as refused:
            archsearch.estimate("dit-xl-2", "b200-sxm", height=256, width=256, dtype=dtype, **asked)
        return str(refused.value)

    for scale in ("tensor", "block"):
        assert "a scale for each row of fp8" in reason("fp8", quantization="kernel", granularity=scale)
    for scale in ("tensor", "row"):
        assert "fp4 has a scale for each block" in reason("fp4", granularity=scale)
    assert "no eager kernels quantize fp4" in reason("fp4", quantization="eager")
    archsearch.estimate("dit-xl-2", "b200-sxm", height=256, width=256, dtype="fp4", granularity="block")


def test_eager_scales_of_blocks_are_more_than_those_of_rows() -> None:
    """One for 128 elements of a row of 3,072."""

    def scales(granularity: str) -> int:
        found = lowered([linear()], run("eager", granularity=granularity))
        (op,) = (op for op in found if isinstance(op, MemoryOp) and op.name.endswith("scales"))
        return int(np.asarray(op.rows) * np.asarray(op.cols))

    counts = {granularity: scales(granularity) for granularity in ("tensor", "row", "block")}
    assert counts == {"tensor": 1, "row": ROWS, "block": ROWS * 24}


# ---- published runs


@pytest.fixture(scope="module")
def published() -> Any:
    spec = importlib.util.spec_from_file_location("quantized_gains", ROOT / "benchmarks" / "quantized_gains.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["quantized_gains"] = module
    spec.loader.exec_module(module)
    return module


def test_gains_over_16_bits_are_the_published_ones(published: Any) -> None:
    errors = {run: gain_error(published, run, plain) for run, plain in published.pairs(published.runs())}
    assert len(errors) >= 30
    compiled = np.array([abs(e) for run, e in errors.items() if run.compiled])
    eager = np.array([abs(e) for run, e in errors.items() if not run.compiled])
    assert np.median(compiled) < 0.03
    assert compiled.max() < 0.09
    assert np.median(eager) < 0.08
    assert eager.max() < 0.2


def gain_error(published: Any, run: Any, plain: Any) -> float:
    """Logarithm of the predicted gain over the published one."""
    gain = published.predicted_s(plain) / published.predicted_s(run)
    return math.log(gain / (plain.published_s / run.published_s))


def test_formats_come_in_the_published_order(published: Any) -> None:
    """Compiled on an H100: fp8 by rows, fp8, int8, bf16; eager: bf16 before fp8 before int8."""
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for run in published.runs():
        if run.dtype != "bf16":
            key = (run.pipeline, run.gpu, run.batch_size, run.compiled, run.fused_qkv)
            groups.setdefault(key, []).append(run)
    compared = 0
    for run, plain in published.pairs(published.runs()):
        key = (run.pipeline, run.gpu, run.batch_size, run.compiled, run.fused_qkv)
        for other in (*groups[key], plain):
            if abs(math.log(other.published_s / run.published_s)) > 0.03:  # further apart than two runs of one thing
                compared += 1
                faster = other.published_s < run.published_s
                assert (published.predicted_s(other) < published.predicted_s(run)) == faster, (run, other)
    assert compared >= 40


def test_the_optimiser_takes_fp8_before_int8() -> None:
    """On an H100, compiled (the table that the levers cite: 3.19 s against 3.36 s); int8 does not pay eagerly."""
    found = load_pipeline("flux-dev")
    request, _ = make_request(found)
    known = {name: get_lever(name) for name in ("compile", "cuda-graphs", "fp8", "int8")}
    plan = Plan(found, request, Deployment(dtype=DType.BF16, execution=Execution(torch="2.4")))
    best = optimize(plan, H100, Goal(), known=known).best.ids
    assert "fp8" in best
    alone = optimize(plan, H100, Goal(), known={"int8": known["int8"]}).best.ids
    assert "int8" not in alone


@pytest.mark.parametrize("dtype", ["bf16", "int4"])
@pytest.mark.parametrize("asked", [{"scaling": "static"}, {"quantization": "eager"}, {"granularity": "tensor"}])
def test_scales_are_refused_where_nothing_is_quantized(dtype: str, asked: dict[str, str]) -> None:
    """bf16, and 4-bit weights (``int4``: weights alone) whose activations stay in 16 bits."""
    with pytest.raises(InvalidInputError, match="quantizes no activations"):
        archsearch.estimate("llama-3.1-8b", "h100-sxm", seq_len=128, dtype=dtype, **asked)
    archsearch.estimate("llama-3.1-8b", "h100-sxm", seq_len=128, dtype="fp8", **asked)
