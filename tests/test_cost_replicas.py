"""ZeRO's stages against bytes and seconds worked out by hand, and one answer of every verb that trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from archsearch.cost.execution import Execution
from archsearch.cost.layouts import laid_out
from archsearch.cost.memory import memory
from archsearch.cost.model import CostModel
from archsearch.cost.replicas import shared_state
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.hardware.spec import GpuSpec
from archsearch.models.registry.families import load_preset
from archsearch.ops import Collective, MatMul, MemoryOp
from archsearch.search.evaluate.training_cost import TrainingCost
from archsearch.search.space.sections import TrainingRecord
from archsearch.segments import Overlap, segments_of
from archsearch.workload import Phase, Workload

LAYERS = 32
"""Of Llama 2 7B."""
H100 = load_gpu("h100-sxm")


def collective_s(gpu: GpuSpec, op: Collective) -> float:
    """Seconds of one collective alone."""
    return float(CostModel(gpu).estimate([op], Execution(launch_us=0.0)).latency_s)


def run(zero: int, **changes: Any) -> Execution:
    return Execution(data_parallel=8, zero=zero, attention="sdpa", **changes)


@pytest.mark.parametrize(
    ("zero", "weights", "gradients", "state"), [(0, 1, 1, 1), (1, 1, 1, 8), (2, 1, 8, 8), (3, 8, 8, 8)]
)
@pytest.mark.parametrize(("dtype", "parts"), [(DType.BF16, (2, 2, 12)), (DType.FP32, (4, 4, 8))])
def test_bytes_per_parameter_of_a_stage(
    zero: int, weights: int, gradients: int, state: int, dtype: DType, parts: tuple[int, int, int]
) -> None:
    """16-bit weights and gradients with 32-bit master weights and moments (2, 2 and 12 bytes), or all in 32 bits; stage
    3 holds two layers' weights whole besides."""
    config = load_preset("llama-2-7b")
    work = Workload(phase=Phase.TRAIN, seq_len=128, dtype=dtype, batch_size=8)
    each = parts[0] / weights + parts[1] / gradients + parts[2] / state
    gathered = 2 * parts[0] / LAYERS if zero == 3 else 0.0
    use = memory(config, work, run(zero), H100)
    assert float(use.weights) + float(use.optimizer) == pytest.approx((each + gathered) * float(config.parameters()))
    alone = memory(config, Workload(phase=Phase.TRAIN, seq_len=128, dtype=dtype), None, H100)
    assert float(use.activations) == float(alone.activations)


def test_one_gpu_shares_nothing() -> None:
    config = load_preset("llama-3.2-1b")
    use = config.memory(Workload(phase=Phase.TRAIN, seq_len=128))
    assert shared_state(use, config, Execution()) is use
    assert float(use.weights) + float(use.optimizer) == 16 * float(config.parameters())


@pytest.mark.parametrize(
    ("exchange", "call", "shown"),
    [(8.0, 200.0, 2.0), (8.0, 0.0, 8.0), (8.0, 10.0, 3.0), (np.array([8.0, 4.0]), 4.0, np.array([6.0, 2.0]))],
)
def test_what_shows_of_an_exchange_of_four_layers(exchange: Any, call: float, shown: Any) -> None:
    """A quarter has nothing to run beside; the rest shows where it outlasts its half of the call."""
    np.testing.assert_allclose(Overlap(beside="pass", share=0.5, layers=4).exposed_s(exchange, call), shown)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("zero", "gathered", "kind"), [(0, 0, "all_reduce"), (1, 1, ""), (2, 1, ""), (3, 2, "")])
def test_bytes_that_a_stage_exchanges(zero: int, gathered: int, kind: str, checkpointing: bool) -> None:
    """Gradients once; weights never, once after the update, or before either pass, whatever the second runs again."""
    config = load_preset("llama-3.2-1b")
    work = Workload(phase=Phase.TRAIN, seq_len=128, batch_size=8, checkpointing=checkpointing)
    ops = laid_out(config, work, run(zero))
    size = 2 * float(config.parameters())
    sums: dict[str, float] = {}
    for op in ops:
        if isinstance(op, Collective):
            sums[op.kind] = sums.get(op.kind, 0.0) + float(op.payload_bytes) * float(np.asarray(op.count))
    expected = {kind or "reduce_scatter": size} | ({"all_gather": gathered * size} if gathered else {})
    assert sums == {name: pytest.approx(value) for name, value in expected.items()}


@pytest.mark.parametrize(("zero", "updated", "cast"), [(0, 1, 1), (1, 8, 1), (2, 8, 1), (3, 8, 8)])
def test_a_replica_updates_and_casts_its_share(zero: int, updated: int, cast: int) -> None:
    config = load_preset("llama-3.2-1b")
    ops = laid_out(config, Workload(phase=Phase.TRAIN, seq_len=128, batch_size=8), run(zero))
    rows = {op.name: int(op.rows) * 1024 for op in ops if isinstance(op, MemoryOp) and int(op.cols) == 1024}
    size = int(config.parameters())
    for name, share in (("optimizer.adamw", updated), ("autocast.weights", cast), ("autocast.gradients", cast)):
        assert 0 <= rows[name] * share - size < 2 * 8 * 1024, name


def test_exchanges_that_outlast_the_computation_show() -> None:
    """Over PCIe, of FSDP and of a short sequence: a gather of all layers beside a third of the pass, a gather and a
    scatter beside the rest, each with one layer that has nothing to run beside."""
    gpu, config = load_gpu("l40s"), load_preset("llama-3.2-1b")
    work = Workload(phase=Phase.TRAIN, seq_len=1024, batch_size=8)
    answer = CostModel(gpu).price(config, work, run(3, launch_us=0.0))
    compute = float(answer.segments[0].latency_s)
    size = float(config.parameters()) * 2 / 16
    gather, scatter = (
        collective_s(gpu, Collective(name="c", kind=kind, payload_bytes=size, group_size=8))
        for kind in ("all_gather", "reduce_scatter")
    )
    assert 15 * gather > compute / 3  # it outlasts
    forward = 16 * gather - compute / 3
    backward = 16 * (gather + scatter) - 2 * compute / 3
    shown = sum(float(part.latency_s) for part in answer.segments[1:3])
    assert shown == pytest.approx(forward + backward, rel=1e-9)
    total = sum(float(part.latency_s) for part in answer.segments)
    assert float(answer.latency_s) == pytest.approx(total, rel=1e-12)
    assert total == pytest.approx(sum(float(row["latency_s"]) for row in answer.rows()), rel=1e-9)
    assert float(answer.low_s) < total < float(answer.high_s)


def test_layers_that_run_again_hide_more_by_just_their_time() -> None:
    """A call of 100 s, 20 of them a second time: two thirds of 80, and the 20."""
    overlap = Overlap(beside="pass", share=2 / 3, layers=4, share_again=1.0)
    assert overlap.hidden_s(100.0, 0.2) == pytest.approx(80 * 2 / 3 + 20)
    assert overlap.exposed_s(120.0, 100.0, 0.2) == pytest.approx(30 + 90 - 80 * 2 / 3 - 20)


@pytest.mark.parametrize("zero", [0, 3])
def test_running_layers_again_is_never_faster(zero: int) -> None:
    """Also where exchanges over PCIe outlast the computation, and checkpointing gives them more to run beside."""
    model, config = CostModel(load_gpu("rtx-4090")), load_preset("gpt2")
    execution = Execution(data_parallel=8, zero=zero, launch_us=0.0, correction=False)
    work = Workload(phase=Phase.TRAIN, seq_len=512, batch_size=np.array([8, 64, 1024]))
    plain, again = (model.price(config, w, execution).latency_s for w in (work, replace(work, checkpointing=True)))
    assert (again >= plain).all(), (plain, again)
    assert again[-1] > plain[-1]


def test_pipeline_stages_exchange_and_update_at_once() -> None:
    """Of 4 stages each exchanges a quarter of the weights behind a quarter of the pass, and updates a quarter."""
    gpu, config = load_gpu("l40s"), load_preset("llama-3.2-1b")
    work = Workload(phase=Phase.TRAIN, seq_len=256, batch_size=2)
    staged = Execution(data_parallel=2, pipeline_parallel=4, launch_us=0.0)
    answer = CostModel(gpu).price(config, work, staged)
    size = float(config.parameters()) * 2 / 16
    op = Collective(name="c", kind="all_reduce", payload_bytes=size, group_size=2)
    takes, compute = collective_s(gpu, op), float(answer.segments[0].latency_s)
    exposed = takes + max(3 * takes - compute * 2 / 3 / 4, 0.0)
    assert float(answer.segments[1].latency_s) == pytest.approx(exposed, rel=1e-9)
    whole, part = (segments_of(laid_out(config, work, e))[-1].ops.ops[0] for e in (Execution(data_parallel=2), staged))
    assert isinstance(whole, MemoryOp)
    assert isinstance(part, MemoryOp)
    assert int(part.rows) == -(-int(whole.rows) // 4)


def test_gpus_that_share_a_sequence_are_replicas_too() -> None:
    """Each computes on its tokens, updates all weights, and reduces all gradients with the others."""
    config = load_preset("llama-3.2-1b")
    work = Workload(phase=Phase.TRAIN, seq_len=1024)
    ops = {op.name: op for op in laid_out(config, work, Execution(sequence_parallel=4))}
    alone = {op.name: op for op in laid_out(config, work, Execution())}
    reduce = ops["data_parallel.gradients.all_reduce"]
    assert isinstance(reduce, Collective)
    assert reduce.group_size == 4
    for name in ("optimizer.adamw", "autocast.weights", "autocast.gradients"):
        assert ops[name] == alone[name]
    for name, tokens in (("mlp.down_proj", "m"), ("mlp.down_proj.backward.weight", "k")):
        product, whole = ops[name], alone[name]
        assert isinstance(product, MatMul)
        assert isinstance(whole, MatMul)
        assert int(getattr(product, tokens)) * 4 == int(getattr(whole, tokens)), name
        assert product.flops() * 4 == whole.flops()


def cost(zero: int, **changes: Any) -> dict[str, Any]:
    values = {"hardware": "h100-sxm", "gpus": 8, "tokens": 64 * 1024, "batch_size": 64, "seq_len": 1024}
    values |= {"micro_batch": 4, "tensor_parallel": [1], "pipeline_parallel": [1], "zero": zero}
    return TrainingCost(TrainingRecord.model_validate(values | changes)).columns(load_preset("llama-3.2-1b"))


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_space_trains_as_estimate_says(zero: int, checkpointing: bool) -> None:
    """A step of one micro-batch: seconds, band and memory of both."""
    columns = cost(zero, batch_size=32, tokens=32 * 1024, checkpointing=checkpointing)
    config = load_preset("llama-3.2-1b")
    work = Workload(phase=Phase.TRAIN, seq_len=1024, batch_size=32, checkpointing=checkpointing)
    answer = CostModel(H100).price(config, work, run(zero))
    for name, value in (("", answer.latency_s), ("_low", answer.low_s), ("_high", answer.high_s)):
        assert float(columns[f"training_hours{name}"]) * 3600 == pytest.approx(float(value), rel=1e-9)
    held = float(memory(config, work, run(zero), H100).total)
    assert float(columns["training_memory_share"]) == pytest.approx(held / H100.available_bytes, rel=1e-9)


def test_stages_trade_memory_for_exchanges() -> None:
    """Of one step: each stage holds less; scattering every one of two micro-batches takes longer by what shows, one
    layer of 16."""
    shares = [float(cost(zero)["training_memory_share"]) for zero in (0, 1, 2, 3)]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 4
    hours = [float(cost(zero)["training_hours"]) for zero in (1, 2)]
    size = float(load_preset("llama-3.2-1b").parameters()) * 2 / 16
    op = Collective(name="c", kind="reduce_scatter", payload_bytes=size, group_size=8)
    one_layer = collective_s(H100, op)
    assert (hours[1] - hours[0]) * 3600 == pytest.approx(one_layer, rel=1e-6)


def test_hours_lie_within_their_band() -> None:
    columns = cost(3, checkpointing=True)
    low, hours, high = (float(columns[f"training_hours{end}"]) for end in ("_low", "", "_high"))
    assert low < hours < high


def test_a_stage_without_effect_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="zero"):
        Execution(zero=1)
    with pytest.raises(InvalidInputError, match="zero"):
        Execution(data_parallel=2, zero=4)
    with pytest.raises(InvalidInputError, match="no effect on phase forward"):
        laid_out(load_preset("gpt2"), Workload(seq_len=64, batch_size=2), Execution(data_parallel=2, zero=1))
    with pytest.raises(UnsupportedError, match="layout"):
        cost(1, execution={"data_parallel": 8})
