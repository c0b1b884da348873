"""Search spaces over a user's own modules: dimensions in, torch module out, traced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archsearch
from archsearch.cli.main import run as cli
from archsearch.cost import CostModel
from archsearch.cost.execution import BURST
from archsearch.errors import ArchSearchError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.models.tracing import load_traced
from archsearch.models.tracing.grid import family_of
from archsearch.search.explore.enumeration import sweep
from archsearch.search.space.space import parse_space
from archsearch.search.space.user_code import allowing_code, code_allowed
from archsearch.workload import Phase, Workload

MODULE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, hidden_size, num_layers, num_attention_heads, gated):
        super().__init__()
        self.embed = nn.Embedding(1000, hidden_size)
        layer = lambda: nn.TransformerEncoderLayer(hidden_size, num_attention_heads, 4 * hidden_size, batch_first=True)
        self.layers = nn.ModuleList(layer() for _ in range(num_layers))
        self.gate = nn.Linear(hidden_size, hidden_size) if gated else None
        self.head = nn.Linear(hidden_size, 1000)

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        if self.gate is not None:
            x = x * torch.sigmoid(self.gate(x))
        return self.head(x)


def build(hidden_size, num_attention_heads, num_layers=2, gated=0, batch_size=1, seq_len=64, dtype=torch.bfloat16):
    if hidden_size % num_attention_heads:
        raise ValueError("heads must divide the width")
    module = Net(hidden_size, num_layers, num_attention_heads, gated).to(dtype)
    return module, {"ids": torch.zeros(batch_size, seq_len, dtype=torch.long)}


def plain(batch_size=1):
    return nn.Linear(8, 8), {"input": torch.zeros(batch_size, 8)}
"""
SPACE = """
name: own
description: A module of the user's.
builder: {builder}
dimensions:
  hidden_size: {{choices: [128, 192, 256]}}
  num_attention_heads: {{choices: [2, 3, 4]}}
  num_layers: {{choices: [1, 2, 3]}}
  gated: {{choices: [0, 1]}}
workload: {{batch_size: 2, seq_len: 32, dtype: bf16}}
execution: {{compiled: true}}
quality: {{proxy: chinchilla-besiroglu, tokens: 1.0e+9}}
hardware: [h100-sxm]
baseline: {{hidden_size: 128, num_attention_heads: 2, num_layers: 1, gated: 0}}
"""


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODULE)
    path = tmp_path / "own.yaml"
    path.write_text(SPACE.format(builder=f"{tmp_path}/mine.py:build"))
    return path


@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.TRAIN])
@pytest.mark.parametrize("compiled", [True, False])
def test_grid_is_what_each_module_traces_to(space_file: Path, phase: Phase, compiled: bool) -> None:
    builder = f"{space_file.parent}/mine.py:build"
    work = Workload(phase=phase, batch_size=2, seq_len=32)
    family = family_of(builder, work)
    sizes, layers, gates = np.array([128, 256]), np.array([1, 3]), np.array([0, 1])
    grid = family(
        hidden_size=sizes.reshape(2, 1, 1),
        num_attention_heads=4,
        num_layers=layers.reshape(1, 2, 1),
        gated=gates.reshape(1, 1, 2),
    )
    model = CostModel(load_gpu("h100-sxm"))
    estimate = model.estimate(grid.lower(work), replace(BURST, compiled=compiled))
    memory = grid.memory(work)
    for place in np.ndindex(2, 2, 2):
        own = {"hidden_size": sizes[place[0]], "num_layers": layers[place[1]], "gated": gates[place[2]]}
        one = load_traced(builder, {n: int(v) for n, v in own.items()} | {"num_attention_heads": 4})
        alone = model.estimate(one.lower(work), replace(BURST, compiled=compiled))
        assert estimate.latency_s[place] == pytest.approx(float(alone.latency_s), rel=1e-9)
        assert estimate.flops[place] == pytest.approx(float(alone.flops))
        assert grid.parameters()[place] == float(one.parameters())
        assert np.broadcast_to(memory.total, (2, 2, 2))[place] == pytest.approx(float(one.memory(work).total))


def test_own_modules_are_enumerated_and_recommended(space_file: Path, tmp_path: Path) -> None:
    with allowing_code(True):
        result = sweep(parse_space(space_file), progress=False)
        assert result.architectures == 54
        assert result.legal == 54 - 2 * 6  # 3 heads divide 192 alone
        assert any("heads must divide the width" in reason for reason in result.rejected)
        assert len(result.front_cells) > 1
    best = archsearch.recommend(str(space_file), "h100-sxm,l4", top=2, progress=False, allow_code=True)
    assert {"hidden_size", "gated"} <= set(best.columns)
    assert not code_allowed()
    place = str(tmp_path / "s.journal")
    options: dict[str, Any] = {"storage": place, "name": "s", "trials": 10, "strategy": "nsga2", "progress": False}
    study = archsearch.run_study(str(space_file), allow_code=True, **options)
    assert len(study.trials) == 10
    with pytest.raises(UnsupportedError, match="--allow-code"):
        archsearch.recommend("s", storage=place, progress=False)
    assert len(archsearch.recommend("s", storage=place, progress=False, allow_code=True)) >= 1


def test_nothing_runs_without_leave(space_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = space_file.parent / "ran"
    (space_file.parent / "mine.py").write_text(f"open({str(mark)!r}, 'w').close()\n{MODULE}")
    assert cli(["enumerate", str(space_file), "--json"]) == 2
    told = capsys.readouterr()
    assert "--allow-code" in told.err
    assert told.out == ""
    assert not mark.exists()
    assert cli(["enumerate", str(space_file), "--json", "--allow-code"]) == 0
    assert mark.exists()
    assert not code_allowed()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mine.py:build", "mine.py:nothing", "no function 'nothing'"),
        ("mine.py:build", "nowhere.py:build", "no such file"),
        ("mine.py:build", "mine.py:plain", "takes no dimensions"),
        ("hidden_size:", "hidden_sise:", "hidden_sise"),
        ("dtype: bf16", "dtype: bf16, phase: decode", "no decode phase"),
        ("description:", "family: decoder\ndescription:", "either 'family' or 'builder"),
    ],
)
def test_mistakes_are_told(space_file: Path, old: str, new: str, message: str) -> None:
    space_file.write_text(space_file.read_text().replace(old, new, 1))
    with allowing_code(True), pytest.raises(ArchSearchError, match=message):
        sweep(parse_space(space_file), progress=False)
