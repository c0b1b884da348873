"""AMD: products at what AMD publishes of hipBLASLt, fused attention where PyTorch's sdp_utils has it."""

from __future__ import annotations

import pytest
import yaml

from archsearch.cost.calibration import Calibration, read_calibration
from archsearch.cost.estimate import Provenance
from archsearch.cost.execution import BURST, Execution
from archsearch.cost.model import CostModel
from archsearch.cost.routes import fused_attention_reason
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.hardware.folders import profiles_dirs
from archsearch.ops import Attention, MatMul


def tflops(gpu: str, dtype: DType, m: int, n: int, k: int) -> float:
    op = MatMul(name="product", m=m, n=n, k=k, dtype=dtype)
    return float(op.flops() / CostModel(load_gpu(gpu)).estimate([op], BURST).latency_s) / 1e12


@pytest.mark.parametrize(
    ("gpu", "dtype", "shape", "published", "within"),
    [
        # AMD's own, which the coefficients are from: the mechanism must add no more than its waves
        ("mi300x", DType.BF16, (4096, 4864, 32896), 708, 0.05),
        ("mi325x", DType.BF16, (4096, 4864, 32896), 843, 0.05),
        # of others: stas00/ml-engineering, best of a search; Azure's ND MI300X v5, hipBLASLt
        ("mi300x", DType.BF16, (10240, 15360, 8192), 668.4, 0.08),
        ("mi355x", DType.BF16, (12288, 8192, 8192), 1565, 0.12),
        ("mi300x", DType.FP8, (8192, 8192, 8192), 1159.2, 0.12),
        ("mi300x", DType.FP8, (4096, 4096, 4096), 955.2, 0.15),
        ("mi300x", DType.FP8, (6144, 12288, 12288), 1159.5, 0.12),
    ],
)
def test_products_reach_what_is_published(
    gpu: str, dtype: DType, shape: tuple[int, int, int], published: float, within: float
) -> None:
    assert tflops(gpu, dtype, *shape) == pytest.approx(published, rel=within)


@pytest.mark.parametrize("gpu", ["mi300x", "mi325x", "mi355x", "mi308x"])
@pytest.mark.parametrize("clock", ["burst", "sustained"])
def test_what_is_published_and_not_fitted_is_analytic(gpu: str, clock: str) -> None:
    op = MatMul(name="product", m=8192, n=8192, k=8192, dtype=DType.BF16)
    answer = CostModel(load_gpu(gpu)).estimate([op], Execution(clock=clock))
    assert answer.provenance is Provenance.ANALYTIC
    assert float(answer.high_s) > 1.15 * float(answer.latency_s) > 1.3 * float(answer.low_s)


def test_a_fit_of_the_users_replaces_what_is_published() -> None:
    file = read_calibration(profiles_dirs()[-1] / "calibration" / "architecture-cdna3.yaml")
    fitted = file.model_copy(update={"published": False})
    gpu = load_gpu("mi300x")
    assert Calibration([file]).lookup(gpu, "gemm/16bit").provenance is Provenance.ANALYTIC
    assert Calibration([file, fitted]).lookup(gpu, "gemm/16bit").provenance is Provenance.TRANSFERRED
    assert Calibration([fitted, file]).lookup(gpu, "gemm/16bit").provenance is Provenance.ANALYTIC


def test_published_coefficients_differ_from_the_mean_of_all_gpus_in_the_rate_alone() -> None:
    folder = profiles_dirs()[-1] / "calibration"
    default = yaml.safe_load((folder / "default.yaml").read_text())["kernels"]
    for name in ("architecture-cdna3", "architecture-cdna4", "mi325x"):
        for kernel, fit in yaml.safe_load((folder / f"{name}.yaml").read_text())["kernels"].items():
            names = set(fit["coefficients"])
            assert names == set(default[kernel]["coefficients"])


@pytest.mark.parametrize("gpu", ["mi210", "mi250x", "mi300x", "mi355x", "rx-7900-xtx", "rx-9070-xt"])
def test_fused_attention_runs_where_aotriton_has_kernels(gpu: str) -> None:
    spec = load_gpu(gpu)
    assert fused_attention_reason(spec, DType.BF16, 128, flash=True) is None
    assert "head_dim up to 256" in str(fused_attention_reason(spec, DType.BF16, 512, flash=True))
    assert fused_attention_reason(spec, DType.BF16, 512, flash=False) is None
    op = Attention(name="a", batch=2, heads_q=32, heads_kv=32, seq_q=8192, seq_kv=8192, head_dim=64, dtype=DType.BF16)
    fused, eager = (CostModel(spec).estimate([op], Execution(attention=a)) for a in ("auto", "eager"))
    assert [row["op"] for row in fused.rows()] == ["attention"]
    assert float(fused.latency_s) < 0.6 * float(eager.latency_s)


def test_attention_of_an_mi300x_is_near_what_azure_measures() -> None:
    """328.6 TFLOP/s: FlashAttention-2, heads of 64, batch 2, 8192 tokens (AI-benchmarking-guide, ND MI300X v5)."""
    op = Attention(name="a", batch=2, heads_q=32, heads_kv=32, seq_q=8192, seq_kv=8192, head_dim=64, dtype=DType.FP16)
    time = CostModel(load_gpu("mi300x")).estimate([op], Execution(attention="auto")).latency_s
    assert float(op.flops() / time) / 1e12 == pytest.approx(328.6, rel=0.3)


def test_an_mi100_has_none() -> None:
    spec = load_gpu("mi100")
    assert "gfx90a" in str(fused_attention_reason(spec, DType.FP16, 64, flash=False))
    op = Attention(name="a", batch=1, heads_q=8, heads_kv=8, seq_q=64, seq_kv=64, head_dim=64, dtype=DType.FP16)
    with pytest.raises(UnsupportedError, match="no FlashAttention is known of AMD CDNA"):
        CostModel(spec).estimate([op], Execution(attention="flash"))
