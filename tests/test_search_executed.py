"""A space run otherwise, and for other shares of its pool, through the verbs and in what a study keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from archsearch.cli.main import run
from archsearch.cost.execution import Execution
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.search.space.space import load_space, space_from_text
from archsearch.search.studies.storage import load_study
from archsearch.search.studies.study_contents import RECORD, study_evaluator, study_record

SPACE = "modernbert-base-budget"


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    status = run([*arguments, "--json"])
    out, err = capsys.readouterr()
    assert status == 0, err
    return json.loads(out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run([*arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_fields_change_a_spaces_own_execution_and_its_text_with_it():
    space = load_space(SPACE)
    changed = space.with_execution(changes={"torch": "2.4", "clock": "burst"})
    assert changed.execution == replace(space.execution, torch="2.4", clock="burst")
    assert space_from_text(changed.source_text, "text").execution == changed.execution
    assert changed.record.model_copy(update={"execution": space.record.execution}) == space.record
    assert space.with_execution().execution == space.execution


def test_a_named_execution_replaces_a_spaces_own():
    space = load_space(SPACE)
    assert space.execution.compiled
    eager = space.with_execution("torch-eager", {"launch_us": 0.0})
    assert eager.execution == Execution(launch_us=0.0).resolved(space.workload)
    with pytest.raises(UnknownNameError, match="torch-egr"):
        space.with_execution("torch-egr")
    with pytest.raises(InvalidInputError, match="compiled"):
        space.with_execution(changes={"compiled": "yes"})


def test_a_study_keeps_the_space_as_it_ran(capsys, own_home):
    how = ["--eager", "--torch", "2.4"]
    shown = answer(capsys, "study", "run", SPACE, "-g", "t4", "--name", "old", *how)
    assert (shown["execution"]["torch"], shown["execution"]["compiled"]) == ("2.4", False)
    of_study = answer(capsys, "recommend", "old", "--top", "2")
    of_space = answer(capsys, "recommend", SPACE, "-g", "t4", "--top", "2", *how)
    assert of_study["execution"] == of_space["execution"]
    assert of_study["recommendations"] == of_space["recommendations"]
    as_it_is = answer(capsys, "recommend", SPACE, "-g", "t4", "--top", "2")
    slower, usual = (a["baseline"]["latency_s"]["t4"] for a in (of_space, as_it_is))
    assert slower > usual  # no fused pointwise ops, RMSNorms of many kernels
    assert "keeps how its architectures ran: leave out --compiled" in refused(capsys, "recommend", "old", "--compiled")


def test_weights_are_shares_of_the_units_that_each_gpu_serves(capsys):
    """throughput_weighted = 1 / sum of w t / t(baseline), from the answer's own per-GPU throughputs."""
    for options, weights in (
        (["-g", "t4,a10"], {"t4": 1 / 2, "a10": 1 / 2}),
        (["-g", "t4,a10=3"], {"t4": 1 / 4, "a10": 3 / 4}),
        (["-g", "t4,a10=3", "--weights", "t4=9,a10=1"], {"t4": 9 / 10, "a10": 1 / 10}),
    ):
        found = answer(capsys, "recommend", SPACE, *options, "--top", "1")
        row, base = found["recommendations"][0]["throughput"], found["baseline"]["throughput"]
        expected = 1 / sum(weight * base[gpu] / row[gpu] for gpu, weight in weights.items())
        assert found["recommendations"][0]["throughput_weighted"] == pytest.approx(expected, rel=1e-9)
    assert "whole number of GPUs" in refused(capsys, "enumerate", SPACE, "-g", "t4=0.5,a10")
    assert "give both" in refused(capsys, "enumerate", SPACE, "--weights", "t4=1")


def test_a_study_of_before_counts_keeps_its_weights(capsys, own_home):
    answer(capsys, "study", "create", SPACE, "-g", "t4,a10=3", "--strategy", "random", "--name", "mine")
    study = load_study("mine")
    assert study_evaluator(study).pool.weights == (0.25, 0.75)
    study.set_user_attr(RECORD, {**study_record(study), "hardware": ["t4=0.1", "a10=0.9"]})
    assert study_evaluator(load_study("mine")).pool.weights == (0.1, 0.9)


def test_options_of_trying_are_refused_where_nothing_is_tried(capsys):
    call = ["study", "run", SPACE, "-g", "t4"]
    assert "--device: objective analytic" in refused(capsys, *call, "--device", "cuda")
    assert "--trainer: objective benchmark" in refused(capsys, *call, "--objective", "benchmark", "--trainer", "x")
