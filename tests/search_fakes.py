"""A toy family and a toy cost model for tests of the search: small, exact, and easy to compute by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from archsearch.arrays import as_float
from archsearch.cost.estimate import Estimate, Provenance
from archsearch.cost.execution import BURST, Execution
from archsearch.hardware import GpuPool, load_gpu
from archsearch.models.base import ConfigMixin, MemoryUse, Modality, Requirement
from archsearch.ops import MatMul, OpList
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.space.space import SearchSpace, parse_space
from archsearch.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig(ConfigMixin):
    """A stack of square layers and an output projection."""

    family: ClassVar[str] = "decoder"
    modality: ClassVar[Modality] = Modality.CAUSAL_LANGUAGE
    hidden_size: Any
    num_layers: Any
    num_attention_heads: Any
    intermediate_size: Any
    vocab_size: Any = 1024

    def parameters(self) -> Any:
        layer = as_float(self.hidden_size) * (4 * as_float(self.hidden_size) + 2 * as_float(self.intermediate_size))
        return as_float(self.num_layers) * layer + as_float(self.vocab_size) * as_float(self.hidden_size)

    def requirements(self) -> tuple[Requirement, ...]:
        holds = np.mod(self.hidden_size, np.maximum(self.num_attention_heads, 1)) == 0
        return (Requirement(reason="num_attention_heads must divide hidden_size", holds=holds),)

    def lower(self, workload: Workload) -> OpList:
        m, h, dtype = (int(workload.batch_size) * int(workload.seq_len or 1), self.hidden_size, workload.dtype)
        return OpList(
            (
                MatMul(name="attention.qkvo", m=m, n=h, k=4 * np.asarray(h), dtype=dtype, count=self.num_layers),
                MatMul(
                    name="mlp", m=m, n=self.intermediate_size, k=h, dtype=dtype, count=2 * np.asarray(self.num_layers)
                ),
                MatMul(name="lm_head", m=m, n=self.vocab_size, k=h, dtype=dtype),
            )
        )

    def memory(self, workload: Workload) -> MemoryUse:
        return MemoryUse(weights=self.parameters() * 2, activations=0.0)

    def tokens(self, workload: Workload) -> Any:
        return int(workload.batch_size) * int(workload.seq_len or 1)


class ToyModel:
    """Seconds: FLOPs over a peak, wasted where n misses ``tile``, plus a launch per call."""

    def __init__(self, peak: float = 1e13, tile: int = 256, launch_s: float = 5e-6) -> None:
        self.peak, self.tile, self.launch_s = peak, tile, launch_s
        self.calls = 0

    def estimate(self, ops: OpList, execution: Execution = BURST, spread: float = 0.0) -> Estimate:
        self.calls += 1
        total: Any = as_float(0.0)
        for op in ops:
            assert isinstance(op, MatMul)
            padded = np.ceil(as_float(op.n) / self.tile) * self.tile / as_float(op.n)
            total = total + as_float(op.count) * (op.flops() * padded / self.peak + self.launch_s)
        return Estimate(
            latency_s=total,
            low_s=total * 0.9,
            high_s=total * 1.1,
            provenance=Provenance.ANALYTIC,
            flops=ops.flops(),
        )


TOY_SPACE = """
name: toy
description: A space small enough to price one architecture at a time.
family: decoder
fixed:
  vocab_size: 1024
dimensions:
  hidden_size: {range: [256, 1024], step: 128}
  num_layers: {range: [2, 8]}
  intermediate_size: {choices: [512, 1024, 2048, 3072]}
  head_dim: {choices: [64, 128, 192]}
derived:
  num_attention_heads: hidden_size // head_dim
constraints:
  - intermediate_size <= 4 * hidden_size
  - 2 * intermediate_size >= hidden_size
budget:
  parameters: [1.0e+6, 2.0e+7]
workload: {batch_size: 4, seq_len: 128, dtype: fp16}
quality: {proxy: chinchilla-besiroglu, tokens: 1.0e+10}
objectives:
  - metric: quality
  - metric: throughput
baseline: {hidden_size: 512, num_layers: 4, intermediate_size: 2048, num_attention_heads: 8}
"""


@pytest.fixture
def toy_family(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr("archsearch.models.registry.families.get_family", lambda family: ToyConfig)


@pytest.fixture
def toy_file(tmp_path: Path, toy_family: None) -> Path:
    directory = tmp_path / "spaces"
    directory.mkdir()
    path = directory / "toy.yaml"
    path.write_text(TOY_SPACE)
    return path


@pytest.fixture
def toy_space(toy_file: Path) -> SearchSpace:
    return parse_space(toy_file)


@pytest.fixture
def evaluator(toy_space: SearchSpace) -> Evaluator:
    pool = GpuPool.of([load_gpu("t4"), load_gpu("a100-sxm-40gb")])
    return Evaluator(toy_space, pool, {"t4": ToyModel(1e13, 256), "a100-sxm-40gb": ToyModel(1e14, 384)})
