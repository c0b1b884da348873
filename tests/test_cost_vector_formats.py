"""Formats on vector units: fp16 products add up in fp32, and nothing that was not measured is called calibrated."""

from __future__ import annotations

import pytest

from archsearch.cost.estimate import Provenance
from archsearch.cost.execution import BURST
from archsearch.cost.model import CostModel
from archsearch.dtypes import DType
from archsearch.hardware import list_gpus, load_gpu
from archsearch.ops import Attention, Convolution, MatMul

WITHOUT_MATRIX_UNITS = [gpu for gpu in list_gpus() if gpu.vendor == "nvidia" and not gpu.tensor_cores_per_sm]
every_pascal = pytest.mark.parametrize("gpu", WITHOUT_MATRIX_UNITS, ids=lambda gpu: gpu.id)


def flops_s(gpu: str, dtype: DType, size: int) -> float:
    op = MatMul(name="product", m=size, n=size, k=size, dtype=dtype)
    return float(op.flops() / CostModel(load_gpu(gpu)).estimate([op], BURST).latency_s)


def test_there_are_such_gpus() -> None:
    assert {"p4", "p40", "gtx-1080-ti", "p100-pcie-16gb"} <= {gpu.id for gpu in WITHOUT_MATRIX_UNITS}


@every_pascal
def test_fp16_runs_at_the_rate_of_fp32_units(gpu: object) -> None:
    name = gpu.id  # type: ignore[attr-defined]
    fp16, fp32 = flops_s(name, DType.FP16, 4096), flops_s(name, DType.FP32, 4096)
    assert 0.7 < fp16 / fp32 < 1.3
    assert fp16 < load_gpu(name).peak_flops(DType.FP32)


def test_a_p100_reaches_what_was_measured_in_fp16_and_not_its_own_rate() -> None:
    """8.4 TFLOP/s are published of its fp16 products; its fp16 units' peak is 18.7."""
    assert 6e12 < flops_s("p100-pcie-16gb", DType.FP16, 2048) < 9.3e12


def test_only_the_format_that_was_measured_is_calibrated() -> None:
    gpu = load_gpu("p100-pcie-16gb")
    found = {
        dtype: CostModel(gpu).estimate([MatMul(name="p", m=512, n=512, k=512, dtype=dtype)], BURST).provenance
        for dtype in (DType.FP32, DType.FP16)
    }
    assert found == {DType.FP32: Provenance.CALIBRATED, DType.FP16: Provenance.ANALYTIC}
    dp4a = CostModel(load_gpu("p4")).estimate([MatMul(name="p", m=512, n=512, k=512, dtype=DType.INT8)], BURST)
    assert dp4a.provenance is Provenance.ANALYTIC


@every_pascal
def test_convolutions_and_attention_in_fp16_have_a_price(gpu: object) -> None:
    model = CostModel(load_gpu(gpu.id))  # type: ignore[attr-defined]
    shape = {"batch": 2, "in_channels": 64, "out_channels": 64, "kernel_size": (3, 3), "out_size": (64, 64)}
    for op in (
        Convolution(name="c", dtype=DType.FP16, **shape),  # type: ignore[arg-type]
        Attention(name="a", batch=2, heads_q=8, heads_kv=8, seq_q=512, seq_kv=512, head_dim=64, dtype=DType.FP16),
    ):
        answer = model.estimate([op], BURST)
        assert op.flops() / model.gpu.peak_flops(DType.FP32) < answer.latency_s < 1.0
        assert answer.provenance is Provenance.ANALYTIC
