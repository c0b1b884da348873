"""An architecture's price does not depend on which others are priced beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from archsearch.cost import CostModel
from archsearch.cost.execution import BURST
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import get_family
from archsearch.ops import OpList
from archsearch.workload import Phase, Workload


def encoder(hidden_size: Any, head_dim: Any) -> Any:
    return get_family("encoder")(
        vocab_size=50368,
        hidden_size=hidden_size,
        num_attention_heads=hidden_size // head_dim,
        head_dim=head_dim,
        intermediate_size=2 * np.asarray(hidden_size),
        num_layers=12,
    )


@pytest.mark.parametrize("attention", ["auto", "eager"])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("gpu", "dtype"), [("h100-sxm", DType.BF16), ("t4", DType.FP16), ("a100-sxm-40gb", DType.BF16)]
)
@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.TRAIN])
def test_mesh_and_single_architectures_cost_the_same(
    phase: Phase, gpu: str, dtype: DType, compiled: bool, attention: str
) -> None:
    hidden = np.array(
        [512, 960, 1024, 1088, 1280, 2560]
    )  # on both sides of the 1,024 columns that a block of threads holds
    head_dims = np.array([[64], [100], [320]])  # fused everywhere, in no kernel (no multiple of 8), in some
    work = Workload(phase=phase, batch_size=4, seq_len=256, dtype=dtype)
    model = CostModel(load_gpu(gpu))

    def cost(hidden_size: Any, head_dim: Any) -> Any:
        ops: OpList = encoder(hidden_size, head_dim).lower(work)
        return model.estimate(ops, replace(BURST, compiled=compiled, attention=attention))

    mesh = cost(hidden, head_dims)
    for row, head_dim in enumerate(head_dims[:, 0].tolist()):
        for column, hidden_size in enumerate(hidden.tolist()):
            alone = cost(hidden_size, head_dim)
            for name in ("latency_s", "low_s", "high_s"):
                assert np.broadcast_to(getattr(mesh, name), (3, 6))[row, column] == pytest.approx(
                    float(getattr(alone, name)), rel=1e-9
                )
