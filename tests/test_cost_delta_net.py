"""Gated delta nets: FLOPs against torch, bytes by hand, invariants, legality, and rows that no fit saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.qwen3_next.modeling_qwen3_next import torch_recurrent_gated_delta_rule

from archsearch.bench.delta_rows import DIMENSIONS, KERNELS, UNPACKED
from archsearch.bench.fit import Group, fit, log_residuals
from archsearch.bench.measurements import group_of, read_timed, route_rows
from archsearch.bench.unseen import thinned
from archsearch.bench.validate import predict_frame, predicted_table, scores_of
from archsearch.cost import CostModel
from archsearch.cost.delta_routes import delta_net_route
from archsearch.cost.kernels.delta_net import delta_net_work
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.linear_attention import CHUNK_SIZE, GatedDeltaNet
from archsearch.models.training import training_step
from archsearch.ops import OpList
from archsearch.workload import Workload

MEASURED = ("h100-sxm", "b200-sxm", "l40s", "rtx-pro-6000-server")
QWEN3_NEXT: dict[str, Any] = {"num_k_heads": 16, "head_k_dim": 128, "num_v_heads": 32, "head_v_dim": 128}


def op(kernel: str = "rule", **changes: Any) -> GatedDeltaNet:
    sizes = {"name": "d", "kernel": kernel, "batch": 2, "seq": 256, "dtype": DType.BF16, **QWEN3_NEXT}
    return GatedDeltaNet(**{**sizes, **changes})


def chunked(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """The rule over [batch, tokens, heads, dim] in whole chunks, in matrix products, from an empty state."""
    batch, tokens, heads, dim = k.shape
    parts = [x.transpose(1, 2).reshape(batch, heads, -1, CHUNK_SIZE, x.shape[-1]) for x in (q * dim**-0.5, k, v)]
    q, k, v = parts
    g, beta = (x.transpose(1, 2).reshape(batch, heads, -1, CHUNK_SIZE) for x in (g, beta))
    passed = g.cumsum(-1)
    decay = (passed[..., :, None] - passed[..., None, :]).tril().exp().tril()
    triangle = torch.eye(CHUNK_SIZE) + ((beta[..., None] * k) @ k.transpose(-1, -2) * decay).tril(-1)
    inverse = torch.linalg.inv(triangle)
    u = inverse @ (beta[..., None] * v)
    w = inverse @ (beta[..., None] * k * passed.exp()[..., None])
    state, outputs = torch.zeros(batch, heads, dim, v.shape[-1]), []
    for i in range(q.shape[2]):
        new = u[:, :, i] - w[:, :, i] @ state
        scores = q[:, :, i] @ k[:, :, i].transpose(-1, -2) * decay[:, :, i]
        outputs.append((q[:, :, i] * passed[:, :, i].exp()[..., None]) @ state + scores @ new)
        rest = (passed[:, :, i, -1:] - passed[:, :, i]).exp()[..., None]
        state = state * passed[:, :, i, -1, None, None].exp() + (k[:, :, i] * rest).transpose(-1, -2) @ new
    return torch.stack(outputs, 2).reshape(batch, heads, tokens, -1).transpose(1, 2)


def test_the_chunked_rule_counts_the_products_of_one_that_computes_it() -> None:
    """An implementation in matrix products gives what transformers' loop over tokens gives, and torch counts it."""
    torch.manual_seed(0)
    batch, tokens, heads, k_dim, v_dim = 2, 3 * CHUNK_SIZE, 2, 8, 12
    q, k = (torch.nn.functional.normalize(torch.randn(batch, tokens, heads, k_dim), dim=-1) for _ in range(2))
    v = torch.randn(batch, tokens, heads, v_dim)
    g, beta = -torch.rand(batch, tokens, heads), torch.rand(batch, tokens, heads)
    with FlopCounterMode(display=False) as counter:
        found = chunked(q, k, v, g, beta)
    expected, _ = torch_recurrent_gated_delta_rule(q, k, v, g=g, beta=beta)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    sizes = {"num_k_heads": heads, "num_v_heads": heads, "head_k_dim": k_dim, "head_v_dim": v_dim}
    assert float(op(batch=batch, seq=tokens, **sizes).flops()) == counter.get_total_flops()


def test_the_convolution_counts_as_torch_counts_one() -> None:
    channels = 2 * 16 * 128 + 32 * 128
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        layer = torch.nn.Conv1d(channels, channels, 4, groups=channels, bias=False)
        layer(torch.empty(2, channels, 256 + 3))  # padded by what comes before a prompt
    assert float(op("convolution").flops()) == counter.get_total_flops()


def test_flops_and_bytes_by_hand() -> None:
    """One head of 2 by 3, conv_kernel 4: 7 channels."""
    sizes = {"num_k_heads": 1, "head_k_dim": 2, "num_v_heads": 1, "head_v_dim": 3, "batch": 5}
    prompt, step = op("convolution", seq=10, **sizes), op("convolution", seq=1, generation=True, **sizes)
    assert float(prompt.flops()) == 2 * 50 * 7 * 4
    assert float(prompt.memory_bytes()) == 2 * 7 * (50 + 50 + 5 * 3 + 4)  # in, out, a state each, weights
    assert float(step.memory_bytes()) == 2 * 7 * (5 + 5 + 2 * 5 * 3 + 4)  # states read and written
    step = op("rule", seq=1, generation=True, **sizes)
    assert float(step.flops()) == 5 * 3 * (2 * 2 * 3)  # recalls, writes, reads a state of 2 by 3
    assert (
        float(step.memory_bytes()) == 5 * (2 * (2 + 2 + 3 + 3) + 2 * 4) + 2 * 5 * 6 * 4
    )  # q, k, v, out; gates; states
    prompt = op("rule", seq=65, **sizes)  # two chunks
    assert float(prompt.flops()) == 5 * 2 * (3 * 2 * 64 * 64 * 2 + 2 * 2 * 64 * 64 * 3 + 3 * 2 * 64 * 2 * 3)


@pytest.mark.parametrize("kernel", ["convolution", "rule"])
@pytest.mark.parametrize("generation", [False, True])
def test_routed_dimensions_say_the_same_work(kernel: str, generation: bool) -> None:
    """What floors and rooflines count of a route is what the operation counts."""
    one = op(kernel, generation=generation, seq=1 if generation else 300)
    route, shape = delta_net_route(load_gpu("h100-sxm"), one)
    flops, moved = delta_net_work(route.dims, route.dtype)
    assert shape == ()
    assert (float(flops[0]), float(moved[0])) == (float(one.flops()), float(one.memory_bytes()))


@settings(max_examples=200, deadline=None)
@given(
    gpu=st.sampled_from((*MEASURED, "h200-sxm", "a100-sxm-80gb", "rtx-3090", "mi300x")),
    kernel=st.sampled_from(("convolution", "rule")),
    generation=st.booleans(),
    batch=st.integers(1, 300),
    seq=st.integers(1, 9000),
    grown=st.sampled_from(("batch", "seq", "num_k_heads", "num_v_heads", "head_v_dim")),
)
def test_more_of_anything_takes_no_less_time(
    gpu: str, kernel: str, generation: bool, batch: int, seq: int, grown: str
) -> None:
    if generation:
        seq, grown = 1, "batch" if grown == "seq" else grown
    small = op(kernel, generation=generation, batch=batch, seq=seq)
    step = getattr(small, grown) // 3 + 1 if grown in ("batch", "seq") else getattr(small, grown)
    large = replace(small, **{grown: getattr(small, grown) + step})
    model = CostModel(load_gpu(gpu))
    first, second = (float(model.estimate([o]).latency_s) for o in (small, large))
    assert second >= first * (1 - 1e-12)


def test_a_grid_equals_its_architectures_one_by_one() -> None:
    model = CostModel(load_gpu("l40s"))
    heads, seq = np.array([[4], [16], [32]]), np.array([[1, 65, 4096]])
    for kernel in ("convolution", "rule"):
        grid = model.estimate([op(kernel, num_v_heads=heads, seq=seq)])
        assert grid.latency_s.shape == (3, 3)
        for i, j in np.ndindex(3, 3):
            alone = model.estimate([op(kernel, num_v_heads=int(heads[i, 0]), seq=int(seq[0, j]))])
            assert float(alone.latency_s) == pytest.approx(grid.latency_s[i, j], rel=1e-12)


def test_an_estimate_names_it_and_counts_its_work() -> None:
    one = op("rule", count=3)
    answer = CostModel(load_gpu("h100-sxm")).estimate([one, op("convolution", count=3)])
    assert [item.op for item in answer.breakdown] == ["gated_delta_net", "gated_delta_net"]
    assert float(answer.flops) == 3 * float(one.flops()) + 3 * float(op("convolution").flops())
    assert answer.provenance.value == "calibrated"


def test_what_no_kernel_computes_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="bf16 and fp16, not fp32"):
        CostModel(load_gpu("h100-sxm")).estimate([op(dtype=DType.FP32)])
    with pytest.raises(UnsupportedError, match="Triton, which has no code for p100-pcie-16gb"):
        CostModel(load_gpu("p100-pcie-16gb")).estimate([op(dtype=DType.FP16)])
    with pytest.raises(UnsupportedError, match="d: no kernel of a gated delta net's gradients"):
        training_step(OpList((op(),)), 1.0, Workload(seq_len=256))


def rows(**changes: Any) -> pd.DataFrame:
    row = {"gpu": "h100-sxm", "op": "gated_delta_net", "dtype": "bf16", "kernel": "chunk_gated_delta_rule"}
    return pd.DataFrame([{**row, "batch": 2, "seq": 256, "conv_kernel": 4, **QWEN3_NEXT, **changes}])


@pytest.mark.parametrize("kernel", sorted(set(KERNELS) - {UNPACKED}))
def test_a_row_is_predicted_as_its_operation_is(kernel: str) -> None:
    name, generation = KERNELS[kernel]
    one = op(name, generation=generation, seq=1 if generation else 256)
    found = predict_frame(rows(kernel=kernel, seq=int(one.seq)))["predicted_us"][0] * 1e-6
    assert found == pytest.approx(float(CostModel(load_gpu("h100-sxm")).estimate([one]).latency_s))


def test_an_earlier_step_moves_as_much_with_states_of_half_the_size() -> None:
    """16-bit states of which every sector is read for its half: as long as 32-bit ones, where no cache holds either."""
    packed = "fused_recurrent_gated_delta_rule_packed_decode"
    frame = pd.concat([rows(kernel=kernel, seq=1, batch=4096) for kernel in (UNPACKED, packed)], ignore_index=True)
    first, second = predict_frame(frame)["predicted_us"]
    assert first == pytest.approx(second, rel=1e-3)


def test_rows_that_say_too_little_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="kernel 'mamba' is none of causal_conv1d_fn"):
        predict_frame(rows(kernel="mamba"))
    with pytest.raises(InvalidInputError, match=r"kernel '' is none of"):
        predict_frame(rows().drop(columns="kernel"))
    for column in DIMENSIONS[1:]:
        with pytest.raises(InvalidInputError, match=f"'{column}' is missing"):
            predict_frame(rows().drop(columns=column))


def test_an_earlier_collector_convolved_the_keys_alone() -> None:
    """The A100's published rows: over the channels of the keys, whatever num_v_heads, in steps of 1024 tokens, and
    slower where a thread's eight tokens are no vector."""
    sizes = [(16, 1024), (32, 1024), (32, 1032), (32, 1025)]
    frames = {
        gpu: pd.concat([rows(gpu=gpu, kernel="causal_conv1d_fn", num_v_heads=n, seq=s) for n, s in sizes])
        for gpu in ("a100-sxm-80gb", "h100-sxm")
    }
    old, new = (predict_frame(frame.reset_index(drop=True))["predicted_us"] for frame in frames.values())
    assert old[0] == old[1]
    assert new[1] > 1.2 * new[0]
    assert old[2] > 1.3 * old[1]  # two steps
    assert old[3] > 1.1 * old[2]
    ((_, route),) = [(r.index, r.route) for r in route_rows(rows(gpu="a100-sxm-80gb", kernel="causal_conv1d_fn"))]
    flops, moved = delta_net_work(route.dims, route.dtype)
    tokens, channels = 2 * 256, 16 * 128
    assert float(flops[0]) == 2 * 4 * tokens * channels
    assert float(moved[0]) == 2 * channels * (2 * tokens + 2 * 3 + 4)


def test_unseen_rows_are_within_a_few_percent_and_in_band(measurements: Path) -> None:
    """Every kernel of every GPU, on head counts that no fit saw."""
    predicted = predicted_table(measurements / "linear_attention.csv", split="test")
    scores = scores_of(predicted, ("gpu", "kernel"))
    assert len(scores["groups"]) == 16
    for group in scores["groups"]:
        assert group["mape"] <= 12, group
        assert group["spearman"] >= 0.95, group
    assert scores["overall"]["mape"] <= 6
    assert 0.75 <= scores["overall"]["within_band"] <= 0.88


def test_a_gpu_that_was_left_out_is_within_thirty_percent(measurements: Path) -> None:
    """Every GPU under coefficients that the others alone give, on its rows that no fit sees."""
    frame = read_timed(measurements / "linear_attention.csv")
    seen, unseen = (frame[frame["split"] == s].reset_index(drop=True) for s in ("fit", "test"))
    fitted: dict[str, dict[str, Group]] = {}
    models = {}
    for routed in route_rows(seen):
        models[routed.route.kernel] = routed.route.model
        group = thinned(group_of(routed, seen))
        fitted.setdefault(routed.route.kernel, {})[group.gpu.id] = group.take(slice(None, None, 1 + len(group) // 200))
    errors: dict[str, list[float]] = {}
    for routed in route_rows(unseen):
        target, kernel = group_of(routed, unseen), routed.route.kernel
        others = [group for gpu, group in fitted[kernel].items() if gpu in MEASURED and gpu != target.gpu.id]
        values = fit(models[kernel], others)
        off = np.abs(np.expm1(log_residuals(models[kernel], target, values)))
        errors.setdefault(target.gpu.id, []).extend(off)
    assert sorted(errors) == sorted(MEASURED)
    for gpu, off in errors.items():
        assert np.mean(off) <= 0.30, gpu
