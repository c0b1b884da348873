"""ZeRO's stages against bytes and seconds worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from archsearch.cost import CostModel
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import load_preset
from archsearch.ops import Collective
from archsearch.search.evaluate.replicas import exposed_s, replica_bytes, replica_exchanges
from archsearch.search.evaluate.training_cost import TrainingCost
from archsearch.search.space.schema import TrainingRecord
from archsearch.workload import Phase, Workload

LAYERS = 32
"""Of Llama 2 7B."""


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
    memory = config.memory(Workload(phase=Phase.TRAIN, seq_len=128, dtype=dtype))
    each = parts[0] / weights + parts[1] / gradients + parts[2] / state
    gathered = 2 * parts[0] / LAYERS if zero == 3 else 0.0
    held = float(replica_bytes(memory, config, 8, zero))
    assert held == pytest.approx((each + gathered) * float(config.parameters()))


def test_one_replica_holds_all_and_exchanges_nothing() -> None:
    config = load_preset("llama-3.2-1b")
    work = Workload(phase=Phase.TRAIN, seq_len=128)
    for zero in (0, 1, 2):
        assert float(replica_bytes(config.memory(work), config, 1, zero)) == 16 * float(config.parameters())
        assert not list(replica_exchanges(config, work, 1, zero))


@pytest.mark.parametrize(
    ("exchange", "compute", "shown"),
    [(8.0, 100.0, 2.0), (8.0, 0.0, 8.0), (8.0, 5.0, 3.0), (np.array([8.0, 4.0]), 2.0, np.array([6.0, 2.0]))],
)
def test_what_shows_of_an_exchange_of_four_layers(exchange: Any, compute: float, shown: Any) -> None:
    """A quarter has nothing to run beside; the rest shows where it outlasts the computation."""
    np.testing.assert_allclose(exposed_s(exchange, compute, 4.0), shown)


def cost(zero: int, **changes: Any) -> dict[str, Any]:
    values = {"hardware": "h100-sxm", "gpus": 8, "tokens": 64 * 1024, "batch_size": 64, "seq_len": 1024}
    values |= {"micro_batch": 4, "tensor_parallel": [1], "pipeline_parallel": [1], "zero": zero}
    return TrainingCost(TrainingRecord.model_validate(values | changes)).columns(load_preset("llama-3.2-1b"))


def test_stages_trade_memory_for_exchanges() -> None:
    """Of one step: each stage holds less; scattering every one of two micro-batches and gathering the weights twice in
    each takes longer."""
    shares = [float(cost(zero)["training_memory_share"]) for zero in (0, 1, 2, 3)]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 4
    hours = [float(cost(zero)["training_hours"]) for zero in (1, 2)]
    size = float(load_preset("llama-3.2-1b").parameters()) * 2
    op = Collective(name="c", kind="reduce_scatter", payload_bytes=size, group_size=8)
    one_layer = float(CostModel(load_gpu("h100-sxm")).estimate([op]).breakdown[0].cost.latency_s) / 16
    assert (hours[1] - hours[0]) * 3600 == pytest.approx(one_layer, rel=1e-3)


def test_hours_lie_within_their_band() -> None:
    columns = cost(3, checkpointing=True)
    low, hours, high = (float(columns[f"training_hours{end}"]) for end in ("_low", "", "_high"))
    assert low < hours < high
