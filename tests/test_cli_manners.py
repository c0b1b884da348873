"""What the command line does of its own accord, and what it says of it: formats, refusals, next steps."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from verbs import asker

import archsearch
from archsearch.cli import recommend
from archsearch.cli.main import run
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu
from archsearch.pipeline.catalog import list_pipelines, load_pipeline
from archsearch.pipeline.generation_cost import cheapest_fit, estimate_pipeline, placements
from archsearch.pipeline.request import Deployment, make_request
from archsearch.search.answers.ranking import spread_twins


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Any:
    return asker(capsys)


def refused(capsys: Any, *words: str) -> str:
    """The one line of a call that must be refused."""
    assert run(list(words)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return str(err)


@pytest.mark.parametrize(("gpu", "dtype"), [("t4", "fp16"), ("p100-pcie-16gb", "fp16"), ("h100-sxm", "bf16")])
def test_an_open_format_is_one_that_the_gpu_has_and_is_the_same_as_asked_for(gpu, dtype, ask):
    open_, said = (ask("estimate", "bert-base", "-g", gpu, *more) for more in ((), ("--dtype", dtype)))
    assert open_["workload"] == said["workload"]
    assert open_["latency_s"] == said["latency_s"]
    assert ("dtype=fp16" in open_["assumed"]) == (dtype == "fp16")
    assert not any(item.startswith("dtype") for item in said["assumed"])


def test_a_format_taken_for_another_is_said_with_the_reason(capsys):
    for call in ("estimate bert-base -g t4", "explain modernbert-base --hardware t4,h100-sxm"):
        assert run(call.split()) == 0
        assert "dtype=fp16 (no bf16 on t4)" in capsys.readouterr().err
    assert run(["pipeline", "estimate", "flux-schnell", "-g", "v100-sxm-32gb"]) == 0
    assert "dtype=fp16 (no bf16 on v100-sxm-32gb)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("estimate bert-base -g t4 --dtype bf16", ["bf16", "8.0", "fp16"]),
        ("recommend modernbert-base-budget -g t4 --where 1/0", ["'1/0'", "not a condition", "num_layers <= 24"]),
        ("recommend modernbert-base-budget -g t4 --where num_layers+1", ["not a condition"]),
        ("estimate bert-base -g a100-sxm-80gb=8", ["one GPU here", "write a100-sxm-80gb", "--tensor-parallel 8"]),
        ("estimate bert-base -g t4,l4", ["one GPU here", "write t4"]),
        ("estimate flux-dev -g t4", ["archsearch pipeline estimate flux-dev"]),
        ("explain sana-class -g t4", ["archsearch recommend sana-class"]),
    ],
)
def test_refusals_say_what_and_what_to_do(call, told, capsys):
    line = refused(capsys, *call.split())
    assert [word for word in told if word not in line] == []


def test_a_latency_of_seconds_is_written_out(capsys):
    assert run(["explain", "llama-3.1-8b", "-g", "t4"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("t4: "))
    assert "e+" not in line
    assert run(["explain", "llama-3.1-8b", "-g", "t4", "--json"]) == 0
    seconds = json.loads(capsys.readouterr().out)["per_gpu"][0]["latency_s"]
    assert f"{1e3 * seconds:,.0f} ms" in line


def test_an_idle_launch_time_is_said(ask, capsys):
    call = ["estimate", "bert-base", "-g", "t4", "--cuda-graphs"]
    without = ask(*call)["latency_s"]
    assert run([*call, "--launch-us", "5", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["latency_s"] == without
    assert "--launch-us has no effect beside --cuda-graphs" in err


BUDGET = "modernbert-base-budget"
OWN_PRICE = "t4: {usd_per_hour: 40, provider: mine, date: 2026-11-01, url: 'https://example.com'}\n"


def test_a_finished_study_answers_for_its_space_as_enumerating_it_would(ask, monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path))
    fresh = ask("recommend", BUDGET, "-g", "t4,h100-sxm")
    assert "study" not in fresh
    name = ask("study", "run", BUDGET, "-g", "t4,h100-sxm")["name"]
    monkeypatch.setattr("archsearch.search.answers.candidates.sweep", None)  # nothing is enumerated again
    stored = ask("recommend", BUDGET, "-g", "t4,h100-sxm")
    assert stored.pop("study") == name
    assert stored == fresh
    monkeypatch.undo()
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path))
    assert "study" not in ask("recommend", BUDGET, "-g", "t4,l4")  # another pool
    limited = ask("recommend", BUDGET, "-g", "t4,h100-sxm", "--where", "num_layers == 19")
    assert {record["config"]["num_layers"] for record in limited["recommendations"]} == {19}


def test_a_study_that_is_priced_differently_today_does_not_answer(ask, monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path))
    ask("study", "run", BUDGET, "-g", "t4")
    before = ask("recommend", BUDGET, "-g", "t4")
    prices = tmp_path / "own" / "prices"
    prices.mkdir(parents=True)
    (prices / "on_demand.yaml").write_text(OWN_PRICE)
    after = ask("recommend", BUDGET, "-g", "t4", "--profiles", str(prices.parent))
    assert ("study" in before, "study" in after) == (True, False)
    cheap, dear = (answer["recommendations"][0]["usd_per_million"]["t4"] for answer in (before, after))
    assert dear > 10 * cheap


def test_a_study_that_fails_leaves_nothing_and_several_are_deleted_at_once(capsys, ask, monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path))

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("archsearch.search.studies.study.sweep", fails)
        assert "No space left" in refused(capsys, "study", "run", BUDGET, "-g", "t4", "--name", "one")
    assert ask("study", "list") == []
    ask("study", "run", BUDGET, "-g", "t4", "--name", "one")
    line = refused(capsys, "study", "run", BUDGET, "-g", "t4", "--name", "one")
    assert [word for word in ("exists", "study resume one", "--overwrite", "--name") if word not in line] == []
    refused(capsys, "study", "run", BUDGET, "-g", "t4", "--name", "one", "--overwrite", "--strategy", "nonsense")
    assert [study["name"] for study in ask("study", "list")] == ["one"]  # what replaces it has to be possible
    ask("study", "create", BUDGET, "-g", "t4", "--name", "two", "--strategy", "random")
    assert "'nix'" in refused(capsys, "study", "delete", "one", "nix")
    assert ask("study", "delete", "one", "two") == {"schema": 1, "deleted": ["one", "two"]}
    assert ask("study", "list") == []


def test_near_twins_stand_behind_distinct_shapes_and_are_counted():
    """Six points in two objectives, by hand: 1 is near 0 in both, 3 is 2 with one layer more, 5 has half of its."""
    points = np.array([[0.0, 1.0], [0.02, 0.97], [0.3, 0.6], [0.4, 0.5], [0.6, 0.2], [1.0, 0.0]])
    dimensions = {
        "hidden_size": np.array([512, 768, 1024, 1024, 2048, 1024]),
        "num_layers": np.array([8, 8, 24, 25, 6, 12]),
    }
    ranked = spread_twins(points, np.arange(6), dimensions)
    assert ranked.places == [0, 2, 4, 5, 1, 3]
    assert ranked.twins == {0: [5], 2: [6], 4: [], 5: []}


def test_twins_of_an_answer_are_reachable_by_their_rank(ask):
    answer = ask("recommend", BUDGET, "-g", "t4", "--top", "1")["recommendations"][0]
    assert answer["twins"]
    for rank in answer["twins"]:
        (twin,) = ask("recommend", BUDGET, "-g", "t4", "--rank", str(rank))["recommendations"]
        assert twin["rank"] == rank
        assert twin["config"] != answer["config"]
        assert twin["twins"] == []


def test_the_call_that_explains_the_neighbours_runs_as_printed(ask, capsys):
    text = ask("recommend", BUDGET, "-g", "t4", "--top", "1", as_text=True)
    call = re.search(r"what each neighbour loses: archsearch (.+)", text)
    assert call is not None
    assert run(call[1].split()) == 0
    assert "num_layers 17 -> 16: predicted loss +0.0108 (worse)" in capsys.readouterr().out


def test_that_call_says_what_was_set(ask, capsys):
    text = ask("recommend", BUDGET, "-g", "t4", "--top", "1", "--set", "workload.batch_size=2", as_text=True)
    call = re.search(r"what each neighbour loses: archsearch (.+)", text)
    assert call is not None
    assert call[1].endswith(":1 --hardware t4 --set workload.batch_size=2")
    assert recommend._explained("s.yaml", None, ["budget.parameters=[1, 2]"]).endswith(
        "s.yaml:RANK --set 'budget.parameters=[1, 2]'"
    )


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            "report gpt2-shape:1",
            "archsearch report gpt2-shape` reports on the search, `archsearch explain gpt2-shape:1",
        ),
        ("explain gpt2-shape", "gpt2-shape is a space, which holds many architectures: name one, gpt2-shape:1"),
        ("report qqqq", "names in all) (`archsearch study list`, `spaces list`, `models list`"),
    ],
)
def test_a_search_and_its_architectures_are_told_apart(call, told, capsys):
    text = refused(capsys, *call.split())
    assert told in text
    assert len(text) < 800


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("serve fleet llama-3.1-8b -g h100-sxm --rate 2", "archsearch estimate llama-3.1-8b --phase decode"),
        ("serve fleet bert-base -g h100-sxm --rate 2", "archsearch estimate bert-base --phase forward"),
    ],
)
def test_a_model_that_is_no_pipeline_has_its_own_verb(call, told, capsys):
    assert told in refused(capsys, *call.split())


def test_the_call_that_a_missed_level_prints_runs_as_printed(capsys):
    line = refused(capsys, *["serve", "fleet", "sana-0.6b", "-g", "h100-sxm", "--rate", "2", "--p95-s", "0.3"])
    call = re.search(r"`archsearch (.+?)`", line)
    assert call is not None
    assert run(call[1].split()) in (0, 2)
    assert "No such option" not in capsys.readouterr().err


def test_a_level_that_is_met_on_the_central_estimate_alone_is_said(ask):
    """The high end by hand: one GPU at a tenth of its load, so that a response is little more than one service."""
    served = ask("serve", "fleet", "sana-0.6b", "-g", "h100-sxm=1", "--rate", "0.05", "--max-batch", "1")
    generated = ask("pipeline", "estimate", "sana-0.6b", "-g", "h100-sxm")
    ratio = generated["latency_high_s"] / generated["latency_s"]
    assert served["response_high_s"]["p50"] == pytest.approx(ratio * served["response_s"]["p50"], rel=1e-3)
    between = (served["response_s"]["p95"] + served["response_high_s"]["p95"]) / 2
    level = ["serve", "fleet", "sana-0.6b", "-g", "h100-sxm=1", "--rate", "0.05", "--max-batch", "1", "--p95-s"]
    assert ask(*level, f"{between:.4f}")["kept_at_high_end"] is False
    assert "met on the central estimate, not at the upper end" in ask(*level, f"{between:.4f}", as_text=True)
    far = f"{2 * between:.4f}"
    assert ask(*level, far)["kept_at_high_end"] is True
    assert "high end" not in ask(*level, far, as_text=True)


def test_kinds_that_the_price_leaves_out_are_named(ask):
    call = ["serve", "fleet", "sana-0.6b", "-g", "h100-sxm,h20", "--rate", "1", "--max-batch", "1"]
    assert "without h20: add --price h20=USD" in ask(*call, as_text=True)
    assert "cheapest    of" not in ask(*call, "--price", "h20=2", as_text=True)


def test_what_fits_computes_the_same_numbers_where_that_is_as_fast():
    """Against all placements: none that keeps the numbers is as near to the fastest and was passed over."""
    pipeline, gpu = load_pipeline("flux-dev"), load_gpu("rtx-4090")
    request, _ = make_request(pipeline)
    run_ = Deployment(dtype=DType.BF16)
    chosen = cheapest_fit(pipeline, gpu, request, run_)
    priced = [estimate_pipeline(pipeline, gpu, request, changed) for changed in dict.fromkeys(placements(run_))]
    fitting = [e for e in priced if bool(e.fits)]
    fastest = min(float(e.latency_s) for e in fitting)
    same = [e for e in fitting if e.deployment.text_encoder_dtype is None and not e.deployment.tiling]
    near = [e for e in same if float(e.latency_s) <= 1.05 * fastest]
    assert chosen is not None
    assert float(chosen.latency_s) <= 1.05 * fastest
    if near:
        assert (chosen.deployment.text_encoder_dtype, chosen.deployment.tiling) == (None, None)


def test_doctor_tells_versions_places_and_what_is_missing(ask, monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path))
    monkeypatch.setenv("ARCHSEARCH_STORAGE", "postgresql://me:secret@host/db")
    found = ask("doctor")
    assert (found["schema"], found["archsearch"]) == (1, archsearch.__version__)
    assert found["environment"]["ARCHSEARCH_STORAGE"] == "postgresql://me:***@host/db"
    by_what = {place["what"]: place for place in found["places"]}
    assert by_what["studies"] == {"what": "studies", "path": f"{tmp_path}/studies", "exists": False, "count": 0}
    assert by_what["pipelines"]["count"] == len(list_pipelines())
    assert found["packages"].get("numpy") in (np.__version__, None)
    for extra in found["extras"]:
        assert extra["missing"] == [name for name, version in extra["packages"].items() if version is None]
        told = [item["get"] for item in found["missing"] if item["get"].endswith(f"[{extra['extra']}]'")]
        assert told == ([f"pip install 'archsearch[{extra['extra']}]'"] if extra["missing"] else [])
    text = ask("doctor", as_text=True)
    assert "secret" not in text


def test_doctor_knows_the_gpu_that_nvidia_smi_names(ask, monkeypatch, tmp_path):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho NVIDIA H200\necho Tesla T4\necho Nobody 1\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    measured, other, unknown = ask("doctor")["gpus"]
    assert (measured["profile"], measured["known"]["gemm/16bit"], measured["next_step"]) == (
        "h200-sxm",
        "calibrated",
        None,
    )
    assert other["profile"] == "t4"
    assert (unknown["profile"], unknown["device"]) == (None, "Nobody 1")
    assert "bench calibrate --gpu" in unknown["next_step"]
