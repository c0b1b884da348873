"""Devices whose kernels nobody modelled: the roofline, at the shares that measured GPUs reach, and said to be that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archsearch.cli.main import run
from archsearch.cost.calibration import Calibration
from archsearch.cost.estimate import Provenance
from archsearch.cost.execution import BURST, Execution
from archsearch.cost.model import CostModel
from archsearch.cost.remember import PriceCache
from archsearch.cost.routes import gemm_route
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware import GpuSpec, list_gpus, load_gpu
from archsearch.ops import Attention, Convolution, MatMul, MemoryOp, Op

DEVICES = [gpu for gpu in list_gpus() if not gpu.generation.tiles_known]
every_device = pytest.mark.parametrize("gpu", DEVICES, ids=lambda gpu: gpu.id)
SHAPES = 200


def random_ops(dtype: DType) -> list[Op]:
    """One op of each kind over ``SHAPES`` random shapes."""
    rng = np.random.default_rng(7)

    def size(low: int, high: int) -> Any:
        return np.exp(rng.uniform(np.log(low), np.log(high), SHAPES)).astype(np.int64)

    heads = size(1, 16)
    attention: dict[str, Any] = {"batch": size(1, 16), "heads_q": heads, "heads_kv": heads, "head_dim": size(16, 256)}
    lengths = {"seq_q": size(1, 4096), "seq_kv": size(4096, 16384)}
    return [
        MatMul(name="linear", m=size(1, 20000), n=size(16, 20000), k=size(16, 20000), dtype=dtype),
        MatMul(name="bmm", m=size(1, 4000), n=size(1, 4000), k=size(1, 999), batch=heads, dtype=dtype, weights=False),
        Attention(name="full", dtype=dtype, **attention, **lengths),
        Attention(name="causal", dtype=dtype, causal=True, **attention, **lengths),
        Attention(name="window", dtype=dtype, causal=True, window=size(64, 4096), **attention, **lengths),
        MemoryOp(name="pointwise", kind="gelu", rows=size(1, 40000), cols=size(1, 9000), dtype=dtype, reads=2.0),
        MemoryOp(name="norm", kind="rmsnorm", rows=size(1, 40000), cols=size(1, 9000), dtype=dtype),
        Convolution(
            name="convolution",
            batch=size(1, 8),
            in_channels=size(8, 2000),
            out_channels=size(8, 2000),
            kernel_size=(3, 3),
            out_size=(size(8, 256), size(8, 256)),
            dtype=dtype,
            bias=False,
        ),
        Convolution(
            name="depthwise",
            batch=2,
            in_channels=640,
            out_channels=640,
            groups=640,
            kernel_size=(3, 3),
            out_size=(size(8, 256), size(8, 256)),
            dtype=dtype,
            bias=False,
        ),
    ]


def roofline_s(op: Op, gpu: GpuSpec) -> Any:
    """Counted by hand: what has to be multiplied at the peak, what has to be moved at the bandwidth, the longer."""
    multiplied = op.executed_flops() if isinstance(op, Attention) else op.flops()
    depthwise = isinstance(op, Convolution) and op.is_depthwise
    compute = 0.0 if depthwise else multiplied / (gpu.peak_tflops[op.dtype] * 1e12)
    return np.maximum(compute, op.memory_bytes() / (gpu.memory.bandwidth_gb_s * 1e9))


@every_device
def test_every_kind_of_op_has_a_time_between_its_roofline_and_a_few_times_it(gpu: GpuSpec) -> None:
    for dtype in (d for d in gpu.peak_tflops if d is not DType.INT8):
        for op in random_ops(dtype):
            answer = CostModel(gpu).estimate([op], BURST)
            floor = roofline_s(op, gpu)
            assert np.all(answer.latency_s >= floor * (1 - 1e-12)), op.name
            assert np.all(answer.latency_s <= 4 * floor + 50e-6), op.name  # the least share, the longest launch
            assert np.all(answer.low_s < answer.latency_s)
            assert np.all(answer.high_s >= answer.latency_s)
            assert answer.provenance is Provenance.ANALYTIC


@every_device
def test_arrays_scalars_and_remembered_prices_agree(gpu: GpuSpec) -> None:
    dtype = next(iter(gpu.peak_tflops))
    for op in random_ops(dtype):
        together = CostModel(gpu).estimate([op], BURST)
        remembered = CostModel(gpu, cache=PriceCache()).estimate([op], BURST)
        np.testing.assert_array_equal(together.latency_s, remembered.latency_s)
        for i in (0, 17, SHAPES - 1):
            alone = CostModel(gpu).estimate([picked(op, i)], BURST)
            for field in ("latency_s", "low_s", "high_s"):
                assert float(getattr(alone, field)) == pytest.approx(float(getattr(together, field)[i]), rel=1e-12)


def picked(op: Op, i: int) -> Op:
    """The i-th shape of an op over arrays."""
    from dataclasses import fields, replace

    def at(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(at(v) for v in value)
        return int(value[i]) if isinstance(value, np.ndarray) else value

    return replace(op, **{f.name: at(getattr(op, f.name)) for f in fields(op)})


def test_more_work_takes_longer() -> None:
    gpu, widths = load_gpu("tpu-v5e"), np.arange(64, 8192, 64)
    for grown in ("m", "n", "k", "batch"):
        sizes: dict[str, Any] = {"m": 512, "n": 512, "k": 512, "batch": 2, grown: widths}
        times = CostModel(gpu).estimate([MatMul(name="p", dtype=DType.BF16, weights=False, **sizes)], BURST).latency_s
        assert np.all(np.diff(times) > 0), grown
    lengths: dict[str, Any] = {"seq_q": widths, "seq_kv": widths}
    shape: dict[str, Any] = {"batch": 1, "heads_q": 8, "heads_kv": 8, "head_dim": 64, "dtype": DType.BF16}
    full, causal = (
        CostModel(gpu).estimate([Attention(name="a", causal=c, **shape, **lengths)], BURST).latency_s
        for c in (False, True)
    )
    assert np.all(np.diff(full) > 0)
    assert np.all(causal <= full)


def test_the_mechanism_of_other_gpus_does_not_ask_for_it() -> None:
    dims = {"m": np.array([4096.0]), "n": np.array([4096.0]), "k": np.array([4096.0])}
    for gpu in list_gpus():
        for dtype in gpu.peak_tflops:
            kernel = gemm_route(gpu, dtype, dims, weights=True).kernel
            assert kernel.startswith("roofline/") == (gpu in DEVICES)


def test_a_calibration_of_ones_own_replaces_the_shares(tmp_path: Path) -> None:
    gpu = load_gpu("tpu-v5e")
    (tmp_path / "tpu-v5e.yaml").write_text(
        """level: gpu
serves: [tpu-v5e]
source: measured here
date: '2026-01-01'
code_version: '0'
kernels:
  roofline/gemm:
    coefficients: {launch_s: 1.0e-6, compute_fraction: 0.5, memory_fraction: 0.5}
    bands: {compute: {low: 0.9, high: 1.1}, memory: {low: 0.9, high: 1.1}, latency: {low: 0.9, high: 1.1}}
    residuals: {rows: 1, mape: 1.0, held_back: nothing}
    rows: 1
    fitted_on: [tpu-v5e]
"""
    )
    op = MatMul(name="p", m=8192, n=8192, k=8192, dtype=DType.BF16)
    answer = CostModel(gpu, Calibration.load(tmp_path)).estimate([op], BURST)
    assert float(answer.latency_s) == pytest.approx(1e-6 + 2 * 8192**3 / (0.5 * 197e12))
    assert answer.provenance is Provenance.CALIBRATED


# ---------------------------------------------------------------- what is refused


def test_what_nobody_can_know_is_refused() -> None:
    gpu = load_gpu("tpu-v5e")
    op = Attention(name="a", batch=1, heads_q=8, heads_kv=8, seq_q=64, seq_kv=64, head_dim=64, dtype=DType.BF16)
    for kernel in ("flash", "fa2"):
        with pytest.raises(UnsupportedError, match="no kernels of tpu-v5e are known"):
            CostModel(gpu).estimate([op], Execution(attention=kernel))
    with pytest.raises(UnsupportedError, match="power limit"):
        CostModel(gpu).estimate([op], Execution(power_limit_w=100.0))
    with pytest.raises(UnsupportedError, match="has no native fp16 matrix units; it has: bf16, int8"):
        CostModel(gpu).estimate([MatMul(name="p", m=8, n=8, k=8, dtype=DType.FP16)])
    with pytest.raises(UnsupportedError, match="no thread blocks are known"):
        _ = gpu.sm_limits


def test_an_attention_kernel_that_stands_apart_moves_its_scores() -> None:
    gpu = load_gpu("tpu-v5e")
    op = Attention(name="a", batch=4, heads_q=32, heads_kv=32, seq_q=4096, seq_kv=4096, head_dim=64, dtype=DType.BF16)
    fused = CostModel(gpu).estimate([op], Execution(attention="fastest"))
    apart = CostModel(gpu).estimate([op], Execution(attention="eager"))
    assert float(apart.latency_s) > float(fused.latency_s)
    assert [row["op"] for row in apart.rows()] == ["attention (unfused)"]


def test_the_host_is_counted_only_where_the_execution_states_it() -> None:
    gpu, op = load_gpu("tpu-v5e"), MatMul(name="p", m=8, n=8, k=8, dtype=DType.BF16)
    assert float(CostModel(gpu).estimate([op], Execution()).total("host_s")) == 0.0
    assert float(CostModel(gpu).estimate([op], Execution(launch_us=30.0)).latency_s) == pytest.approx(30e-6)


@pytest.mark.parametrize("vendor", ["Google", "", "nvidia inc"])
def test_a_vendor_is_a_lower_case_name_and_its_architectures(vendor: str, tmp_path: Path) -> None:
    text = Path("hardware_profiles/tpu-v5e.yaml").read_text().replace("vendor: google", f'vendor: "{vendor}"')
    (tmp_path / "tpu-v5e.yaml").write_text(text)
    with pytest.raises(InvalidInputError, match="vendor"):
        load_gpu("tpu-v5e", tmp_path)
    (tmp_path / "tpu-v5e.yaml").write_text(text.replace(f'vendor: "{vendor}"', "vendor: nvidia"))
    with pytest.raises(InvalidInputError, match="vendor: nvidia, but the architecture tpu-v5e is google"):
        load_gpu("tpu-v5e", tmp_path)


# ---------------------------------------------------------------- said


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("model", "gpu", "options"),
    [
        ("llama-3.1-8b", "tpu-v5e", ()),
        ("llama-3.1-8b", "tpu-v6e", ("--phase", "decode", "--batch-size", "4")),
        ("dit-xl-2", "gaudi-3", ()),
        ("dit-xl-2", "arc-b580", ("--compiled",)),
        ("llama-3.1-8b", "apple-m4-max-40c", ("--phase", "prefill")),
        ("llama-3.1-8b", "trainium-2", ("--phase", "train")),
    ],
)
def test_estimates_say_that_they_are_rooflines(
    model: str, gpu: str, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    told = answer(capsys, "estimate", model, "-g", gpu, *options)
    assert told["roofline"].startswith(f"no kernels of {gpu} are known: a roofline")
    assert told["provenance"] == "analytic"
    assert told["latency_low_s"] < 0.8 * told["latency_s"] < told["latency_s"] < 0.8 * told["latency_high_s"]
    assert told["flops"] / (load_gpu(gpu).peak_tflops[DType.BF16] * 1e12) < told["latency_s"]
    assert run(["estimate", model, "-g", gpu, *options]) == 0
    assert f"no kernels of {gpu} are known" in capsys.readouterr().out
    known = answer(capsys, "estimate", model, "-g", "h100-sxm", *options)
    assert known["roofline"] is None


def test_explain_and_show_say_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    view = answer(capsys, "explain", "dit-s-2", "-g", "tpu-v5e")["per_gpu"][0]
    assert view["roofline"].startswith("no kernels of tpu-v5e are known")
    shown = answer(capsys, "hardware", "show", "tpu-v5e")["roofline"]
    shares = Calibration.load().lookup(load_gpu("tpu-v5e"), "roofline/gemm").fit.coefficients
    assert f"{shares['compute_fraction']:.0%} of peak" in shown["shares"][0]
    assert run(["hardware", "show", "tpu-v5e"]) == 0
    assert "products" in capsys.readouterr().out
    assert answer(capsys, "hardware", "show", "h100-sxm")["roofline"] is None


def test_a_pipeline_says_it_and_pulls_what_is_legal(capsys: pytest.CaptureFixture[str]) -> None:
    plan = answer(capsys, "pipeline", "estimate", "flux-dev", "-g", "gaudi-3")
    assert plan["roofline"].startswith("no kernels of gaudi-3 are known")
    best = answer(capsys, "pipeline", "optimize", "flux-dev", "-g", "gaudi-3")
    pulled = {step["lever"] for step in best["levers"]}
    assert "compile" in pulled
    assert not pulled & {"cuda-graphs", "flash-attention"}
    assert best["best"]["latency_s"] < best["baseline"]["latency_s"] == plan["latency_s"]


# ---------------------------------------------------------------- the shares


MEASUREMENTS = Path(__file__).resolve().parents[2] / "shared" / "measurements"


@pytest.mark.skipif(not MEASUREMENTS.is_dir(), reason="the measurements are not part of the project")
@pytest.mark.parametrize(
    ("kernel", "table", "compute_bound"),
    [("roofline/gemm", "gemm_tensor_core.csv", True), ("roofline/memory", "memory_bound_fp32.csv", False)],
)
def test_shares_are_near_the_median_of_large_measured_kernels(kernel: str, table: str, compute_bound: bool) -> None:
    import pandas as pd

    frame = pd.read_csv(MEASUREMENTS / table)
    frame = frame[(frame["dtype"] == "bf16") & (frame["split"] == "fit")] if compute_bound else frame
    ratios = []
    for name, part in frame.groupby("gpu"):
        gpu = load_gpu(str(name))
        if compute_bound:
            ideal = 2.0 * part["m"] * part["n"] * part["k"] / gpu.peak_flops(DType.BF16) * 1e6
        else:
            part = part[part["op"].isin(("gelu", "relu", "tanh"))]
            ideal = 8.0 * part["rows"] * part["cols"] / gpu.bandwidth_bytes_s * 1e6
        large = ideal > 100
        ratios.append(float((ideal[large] / part["latency_us"][large]).median()))
    stored = Calibration.load().lookup(load_gpu("tpu-v5e"), kernel).fit.coefficients
    share = stored["compute_fraction" if compute_bound else "memory_fraction"]
    assert min(ratios) * 0.85 < share < max(ratios) * 1.15
