"""The record of a search's answer: what a user's table carries comes back whole, and one module looks there."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archsearch.errors import InvalidInputError
from archsearch.plotting import front_info
from archsearch.search.answers.candidates import Limits
from archsearch.search.answers.recommend import recommend, recommendation
from archsearch.search.evaluate.columns import by_gpu, metric_and_gpu, per_gpu_column
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import config_of, to_records
from archsearch.search.evaluate.result import SearchResult
from archsearch.search.explore.enumeration import sweep
from archsearch.search.studies.study import run_study
from archsearch.search.studies.study_contents import study_result

pytest_plugins = ("search_fakes",)
PACKAGE = Path(__file__).resolve().parents[1] / "archsearch"
READERS = {"search/evaluate/result.py"}
"""Modules that touch the ``attrs`` of a table."""


@pytest.fixture(params=["enumerated", "sampled", "recommended", "recommended of trials"])
def result(request: pytest.FixtureRequest, evaluator: Evaluator, tmp_path: Path) -> SearchResult:
    if request.param == "enumerated":
        swept = sweep(evaluator.space, evaluator=evaluator, progress=False)
        return swept.result(swept.front_cells)
    if request.param == "recommended":
        return recommendation(evaluator.space, evaluator=evaluator, progress=False)
    options = {"evaluator": evaluator, "storage": str(tmp_path / "s.journal"), "progress": False}
    study = run_study(evaluator.space, trials=60, strategy="random", name="s", **options)
    if request.param == "sampled":
        return study_result(study)
    return recommendation(study, limits=Limits(max_memory_gib=10), evaluator=evaluator, progress=False)


def test_a_table_brings_the_record_back(result: SearchResult) -> None:
    again = SearchResult.from_frame(result.to_frame())
    assert again.setting == result.setting
    assert (again.counts, again.advice) == (result.counts, result.advice)
    assert again.attributes() == result.attributes()
    pd.testing.assert_frame_equal(again.frame, result.frame)
    assert (again.records(), again.config(2)) == (result.records(), result.config(2))


def test_attributes_are_plain_values(result: SearchResult) -> None:
    """As JSON brings them back they are the same; and a table of them goes through Parquet, which stores them so."""
    assert json.loads(json.dumps(result.attributes())) == result.attributes()


def test_a_table_keeps_its_facts_through_a_parquet_file(result: SearchResult, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    result.to_frame().to_parquet(path)
    assert SearchResult.from_frame(pd.read_parquet(path)).attributes() == result.attributes()


def test_a_table_that_lost_its_facts_is_refused(evaluator: Evaluator) -> None:
    table = recommend(evaluator.space, evaluator=evaluator, top=2, progress=False)
    lost = pd.DataFrame(table.to_dict())
    for use in (config_of, to_records, front_info):
        with pytest.raises(InvalidInputError, match="does not say what it is of"):
            use(lost)


def test_the_record_itself_is_not_a_users_to_change(evaluator: Evaluator) -> None:
    result = recommendation(evaluator.space, evaluator=evaluator, top=2, progress=False)
    table = result.to_frame()
    table.attrs["space"] = "another"
    table.attrs["fixed"]["vocab_size"] = 1
    table["quality"] = np.nan
    assert result.setting.space == "toy"
    assert result.config()["vocab_size"] == 1024
    assert result.frame["quality"].notna().all()


def test_columns_of_a_gpu_are_named_and_read_in_one_place() -> None:
    column = per_gpu_column("latency_s", "t4")
    assert metric_and_gpu(column) == ("latency_s", "t4")
    assert metric_and_gpu("parameters") == ("parameters", "")
    assert by_gpu({column: 1.0, per_gpu_column("latency_s", "a10"): 2.0, "parameters": 3}) == {
        "latency_s": {"t4": 1.0, "a10": 2.0},
        "parameters": 3,
    }


def test_nothing_else_looks_into_a_tables_attrs() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "attrs"
    }
    assert found == READERS
