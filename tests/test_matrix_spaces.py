"""Every shipped space, at its own size, on one GPU and on a pool of three, through every verb that takes it; and one
architecture has one number in all of them."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from verbs import Ask, asker

from archsearch.models.huggingface import from_hf_dict
from archsearch.search.space.space import list_spaces

POOLS = {"one": "h100-sxm", "three": "h100-sxm,l40s,a100-sxm-80gb"}
SAME = 1e-9


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    return asker(capsys)


def workload_options(workload: dict[str, Any]) -> list[str]:
    """A printed workload as options of ``estimate``."""
    return [word for name, value in workload.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def execution_text(execution: dict[str, Any]) -> str:
    """A printed execution as ``--execution`` takes it."""
    return ",".join(f"{n}={'null' if v is None else str(v).lower()}" for n, v in execution.items())


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("space", list_spaces())
def test_a_space_goes_through_every_verb(space: str, pool: str, ask: Ask, tmp_path: Path) -> None:
    gpus = POOLS[pool]
    front = ask("enumerate", space, "-g", gpus)
    assert front["valid"] > 0
    ask("study", "run", space, "-g", gpus, "--name", "matrix")
    (listed,) = ask("study", "list")
    assert listed["name"] == "matrix"
    assert ask("study", "show", "matrix")["space"] == space
    found = ask("recommend", "matrix", "--top", "2")
    assert ask("recommend", space, "-g", gpus, "--top", "2")["recommendations"] == found["recommendations"]
    table = ask("recommend", "matrix", "--top", "2", as_text=True)
    assert "1" in table.splitlines()[1] or "rank" in table
    best = found["recommendations"][0]
    held = [row for row in front["front"] if row["config"] == best["config"]]
    assert len(held) == 1
    for name in ("latency_s", "parameters", "flops", "memory_bytes", "quality"):
        assert held[0][name] == pytest.approx(best[name], rel=SAME)
    told = ask("explain", "matrix:1")
    assert told["parameters"] == best["parameters"]
    for view in told["per_gpu"]:
        assert view["latency_s"] == pytest.approx(best["latency_s"][view["gpu"]], rel=SAME)
    check_exports(ask, found, tmp_path)
    script = tmp_path / "module.py"
    ask("build", "matrix:1", "-o", str(script), as_text=True)
    ast.parse(script.read_text())


def check_exports(ask: Ask, found: dict[str, Any], place: Path) -> None:
    """Rank 1 as files: the same parameters, and the seconds that the search said, of the same execution."""
    best, gpus = found["recommendations"][0], found["hardware"]
    execution = execution_text(found["execution"])
    path = place / "rank1.yaml"
    path.write_text(ask("recommend", "matrix", "--top", "1", "--format", "yaml", as_text=True))
    work = workload_options(found["workload"])
    for gpu in gpus:
        answer = ask("estimate", str(path), "-g", gpu, *work, "--execution", execution)
        assert answer["parameters"] == best["parameters"]
        if not found.get("pipeline"):
            assert answer["latency_s"] == pytest.approx(best["latency_s"][gpu], rel=SAME)
            assert answer["flops"] == pytest.approx(best["flops"], rel=SAME)
            assert answer["memory_bytes"]["total"] <= best["memory_bytes"] * (1 + SAME)
    if best["hf_class"] is not None:
        document = json.loads(ask("recommend", "matrix", "--top", "1", "--format", "hf", as_text=True))
        assert float(from_hf_dict(document).parameters()) == best["parameters"]
    else:
        assert best["hf_difference"]
    if found.get("pipeline"):
        whole = place / "whole.yaml"
        whole.write_text(ask("recommend", "matrix", "--top", "1", "--format", "pipeline", as_text=True))
        size = yaml.safe_load(whole.read_text())["defaults"]
        for gpu in gpus:
            batch = ["--batch-size", str(found["workload"].get("batch_size", 1))]
            answer = ask("pipeline", "estimate", str(whole), "-g", gpu, *batch, "--execution", execution)
            assert answer["request"]["steps"] == size["steps"]
            assert answer["latency_s"] == pytest.approx(best["latency_s"][gpu], rel=SAME)
            assert answer["memory_bytes"]["peak"] <= best["memory_bytes"] * (1 + SAME)
