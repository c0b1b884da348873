"""Two answers compared: shares add up to the difference, and are those worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import archsearch
from archsearch.cli.main import run as cli
from archsearch.errors import ArchSearchError, InvalidInputError


def answer(**asked: Any) -> dict[str, Any]:
    return archsearch.estimate("bert-base", "h100-sxm", **{"seq_len": 512, "batch_size": 8, **asked}).to_dict()


def test_equal_answers_differ_in_nothing() -> None:
    found = archsearch.diff(answer(), answer())
    assert found.shares == ()
    assert found.a_s == found.b_s


def test_one_field_accounts_for_all_of_it() -> None:
    one, other = answer(), answer(compiled=True)
    found = archsearch.diff(one, other)
    assert [(s.field, s.a, s.b) for s in found.shares] == [("execution.compiled", False, True)]
    assert found.shares[0].seconds == pytest.approx(other["latency_s"] - one["latency_s"], rel=1e-9)


def test_two_fields_share_what_they_do_together_equally() -> None:
    """Shapley of two by hand: half of alone, half of after the other."""
    plain, small = answer(clock="burst"), answer(clock="burst", batch_size=1)
    clocked, both = answer(clock=800.0), answer(clock=800.0, batch_size=1)
    found = {s.field: s.seconds for s in archsearch.diff(plain, both).shares}
    seconds = {name: d["latency_s"] for name, d in zip("psc", (plain, small, clocked), strict=True)}
    seconds["b"] = both["latency_s"]
    batch = ((seconds["s"] - seconds["p"]) + (seconds["b"] - seconds["c"])) / 2
    clock = ((seconds["c"] - seconds["p"]) + (seconds["b"] - seconds["s"])) / 2
    assert found == {"workload.batch_size": pytest.approx(batch), "execution.clock": pytest.approx(clock)}


def test_models_and_gpus_count_too_and_the_sum_is_the_difference() -> None:
    one = answer()
    other = archsearch.estimate("bert-large", "a100-sxm-80gb", seq_len=256, torch="2.4").to_dict()
    found = archsearch.diff(one, other)
    assert {s.field for s in found.shares} == {
        "model.config",
        "hardware.gpu",
        "workload.seq_len",
        "workload.batch_size",
        "execution.torch",
    }
    assert sum(s.seconds for s in found.shares) == pytest.approx(other["latency_s"] - one["latency_s"], rel=1e-9)
    model = next(s for s in found.shares if s.field == "model.config")
    assert (model.a["num_layers"], model.b["num_layers"]) == (12, 24)
    assert "vocab_size" not in model.a


def test_what_cannot_be_compared_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidInputError, match="this is neither"):
        archsearch.diff({"x": 1}, answer())
    fp8 = answer(dtype="fp8")
    a100 = archsearch.estimate("bert-base", "a100-sxm-80gb", seq_len=512, batch_size=8).to_dict()
    with pytest.raises(ArchSearchError, match=r"hardware\.gpu of the second answer nothing can be priced"):
        archsearch.diff(fp8, a100)
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    assert cli(["diff", str(bad), str(bad)]) == 2
    assert "bad.json:1: not valid JSON" in capsys.readouterr().err


def test_the_verb_reads_what_the_verbs_print(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for name, more in (("a", []), ("b", ["--compiled", "--steps", "4"])):
        command = ["pipeline", "estimate", "flux-schnell", "-g", "h100-sxm", "--steps", "2", *more, "--json"]
        assert cli(command) == 0
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(capsys.readouterr().out)
    assert cli(["diff", *map(str, files), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["field"] for row in found["fields"]} == {"execution.compiled", "request.steps"}
    assert sum(row["seconds"] for row in found["fields"]) == pytest.approx(found["difference_s"], rel=1e-9)
    seconds = [json.loads(path.read_text())["latency_s"] for path in files]
    assert found["difference_s"] == pytest.approx(seconds[1] - seconds[0], rel=1e-9)
