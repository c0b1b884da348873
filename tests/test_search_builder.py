"""Search spaces over a user's own modules: dimensions in, torch module out, traced."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import archsearch
from archsearch.cli.main import run as cli
from archsearch.cost import CostModel
from archsearch.cost.execution import BURST
from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.models.tracing import builder, grid, load_traced
from archsearch.models.tracing.grid import family_of
from archsearch.models.tracing.stored import read_traces, trace_texts
from archsearch.search.explore.enumeration import sweep
from archsearch.search.space.space import parse_space
from archsearch.search.space.user_code import allowing_code, code_allowed
from archsearch.search.studies.places import artifacts_dir
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
    shutil.rmtree(artifacts_dir("s", place))  # the traces are gone: the modules are needed again
    with pytest.raises(UnsupportedError, match="add allow_code"):
        archsearch.recommend("s", storage=place, progress=False)
    assert len(archsearch.recommend("s", storage=place, progress=False, allow_code=True)) >= 1


def test_a_complete_study_needs_neither_code_nor_tracing(
    space_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (tmp_path / "mine.py").rename(code / "mine.py")
    space_file.write_text(SPACE.format(builder=f"{code}/mine.py:build"))
    place = str(tmp_path / "s.journal")
    options: dict[str, Any] = {"storage": place, "name": "s", "strategy": "exhaustive", "progress": False}
    archsearch.run_study(str(space_file), allow_code=True, **options)
    with allowing_code(True):
        before = archsearch.recommend(str(space_file), top=9, progress=False)
    shutil.rmtree(code)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(grid, "_TRACES", {})  # as in another process

    def imported(text: str) -> None:
        raise AssertionError(f"{text} was imported")

    for module in (grid, builder):
        monkeypatch.setattr(module, "find_function", imported)
    for verb in (["list"], ["show", "s"]):
        assert cli(["study", *verb, "--storage", place, "--json"]) == 0
    after = archsearch.recommend("s", storage=place, top=9, progress=False)
    pandas.testing.assert_frame_equal(after, before)
    assert len(archsearch.recommend("s", "a10,l4", max_parameters=1e6, storage=place, progress=False)) >= 1
    capsys.readouterr()
    assert cli(["recommend", "s", "--storage", place, "--json"]) == 0
    assert not code_allowed()


def test_a_trace_read_from_texts_is_the_trace(space_file: Path) -> None:
    work = Workload(phase=Phase.TRAIN, batch_size=2, seq_len=32)
    text = f"{space_file.parent}/mine.py:build"
    family = family_of(text, work)
    own = {"hidden_size": np.array([128, 192]), "num_attention_heads": np.array([[2], [3]]), "gated": 1}
    made = family(**own)
    assert made.requirements()[0].holds.tolist() == [[True, True], [False, True]]
    texts = trace_texts(family)
    known = read_traces([texts])
    assert known is not None

    def leave() -> None:
        raise UnsupportedError("asked")

    again = known.family(text, work, leave)
    assert again is not None
    read = again(**own)
    for value in ("parameters", "requirements"):
        assert str(getattr(read, value)()) == str(getattr(made, value)())
    for name in ("weights", "activations", "optimizer"):
        assert np.array_equal(getattr(read.memory(work), name), getattr(made.memory(work), name))
    assert str(read.lower(work)) == str(made.lower(work))
    assert trace_texts(again) == []  # nothing that is not stored yet
    with pytest.raises(UnsupportedError, match="asked"):
        again(hidden_size=256, num_attention_heads=2).parameters()
    assert known.family(text, replace(work, batch_size=3), leave) is None
    assert known.family(f"{text}2", work, leave) is None
    assert len(read_traces([texts, [texts[0], texts[1]]]).cells) == len(known.cells)  # type: ignore[union-attr]
    with pytest.raises(InvalidInputError, match="not readable"):
        read_traces([[texts[0], texts[1].replace("MatMul", "Unheard")]])


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
    ("verb", "told"),
    [
        (["enumerate", "SPACE"], None),
        (["recommend", "SPACE"], None),
        (["recommend", "STUDY"], None),
        (["study", "run", "SPACE"], None),
        (["study", "create", "SPACE"], None),
        (["study", "resume", "STUDY", "--trials", "1"], None),
        (["study", "worker", "STUDY", "--trials", "1", "--seed", "2"], None),
        (["build", "SPACE:1"], "call the space's builder with hidden_size="),
        (["build", "STUDY:1"], "call the space's builder with hidden_size="),
        (["explain", "STUDY:1"], None),
        (["bench", "verify", "SPACE", "--device", "cpu", "--gpu", "h100-sxm"], "modules of your own"),
    ],
)
def test_whatever_asks_for_leave_takes_it(
    space_file: Path, capsys: pytest.CaptureFixture[str], verb: list[str], told: str | None
) -> None:
    if any("STUDY" in word for word in verb):
        options: dict[str, Any] = {"name": "s", "trials": 2, "strategy": "random", "progress": False}
        archsearch.run_study(str(space_file), allow_code=True, **options)
        shutil.rmtree(artifacts_dir("s", None))
    words = [word.replace("SPACE", str(space_file)).replace("STUDY", "s") for word in verb]
    capsys.readouterr()
    assert cli([*words, "--json"]) == 2
    assert "--allow-code" in capsys.readouterr().err
    status, err = cli([*words, "--json", "--allow-code"]), capsys.readouterr().err
    assert status == (0 if told is None else 2), err
    assert told is None or told in err
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
