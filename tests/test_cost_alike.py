"""What is known of one op or model is used for its like, and changes no answer."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from archsearch.cost.execution import BURST
from archsearch.cost.model import CostModel
from archsearch.cost.remember import shape_key
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu
from archsearch.models.base import ModelConfig
from archsearch.models.registry.families import load_preset
from archsearch.ops import Convolution, FusedGroup, MatMul, MemoryOp, Op
from archsearch.pipeline import component_calls
from archsearch.pipeline.component_calls import Models, Pricer
from archsearch.workload import Phase, Workload

NORM = MemoryOp(name="norm", kind="layernorm", rows=64, cols=128, dtype=DType.BF16)
GROUP = FusedGroup(
    name="group", kind="layernorm", members=(NORM,), rows=64, cols=128, dtype=DType.BF16, reads=1.0, writes=1.0
)
OPS: tuple[Op, ...] = (
    MatMul(name="product", m=64, n=128, k=np.int64(256), dtype=DType.BF16),
    Convolution(
        name="window", batch=1, in_channels=8, out_channels=8, kernel_size=(3, 3), out_size=(8, 8), dtype=DType.BF16
    ),
    NORM,
    GROUP,
)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_only_name_and_count_leave_an_ops_cost_as_it_is(op: Op) -> None:
    key = shape_key(op)
    assert key is not None
    assert shape_key(replace(op, name="other", count=7)) == key
    changes = {"m": 65, "batch": 2, "out_channels": 16, "out_size": (8, 16), "kernel_size": (1, 1), "dtype": DType.FP16}
    changes |= {"rows": 65, "kind": "rmsnorm", "reads": 2.0, "members": (replace(NORM, kind="rmsnorm"),)}
    own = {f.name for f in fields(op)} & set(changes)
    assert len(own) >= 3
    for name in own:
        assert shape_key(replace(op, **{name: changes[name]})) != key, name  # type: ignore[arg-type]


def test_ops_of_arrays_are_nobodys_like() -> None:
    assert shape_key(replace(NORM, rows=np.array([64, 65]))) is None
    assert shape_key(replace(GROUP, members=(replace(NORM, rows=np.array([64, 65])),))) is None
    assert shape_key(replace(NORM, rows=np.array(64))) == shape_key(NORM)


def test_ops_of_one_shape_cost_what_each_costs_alone() -> None:
    model = CostModel(load_gpu("h100-sxm"))
    ops = load_preset("sd-vae").lower(Workload(phase=Phase.DECODE, height=64, width=64))
    together = model.estimate(ops, BURST)
    assert len({shape_key(op) for op in ops}) < len(ops) - 20
    for op, item in zip(ops, together.breakdown, strict=True):
        alone = model.estimate([op], BURST)
        assert (item.name, np.asarray(item.count).tolist()) == (op.name, np.asarray(op.count).tolist())
        assert float(item.cost.latency_s * item.count) == pytest.approx(float(alone.latency_s), rel=1e-12)


def test_a_model_is_said_once_for_all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[ModelConfig] = []

    def lowered(config: ModelConfig, workload: Workload) -> object:
        said.append(config)
        return config.lower(workload)

    monkeypatch.setattr(component_calls, "_lower", lowered)
    config, models = load_preset("sd-vae"), Models()
    work = Workload(phase=Phase.DECODE, height=64, width=64)
    calls = [Pricer(load_gpu(gpu), models=models).call(config, work, BURST) for gpu in ("h100-sxm", "l4")]
    assert said == [config]
    assert calls[0].latency_s < calls[1].latency_s
    own = Pricer(load_gpu("l4")).call(config, work, BURST)
    assert own == calls[1]
