"""archsearch.Study: the same study, at hand."""

from __future__ import annotations

import optuna
import pandas as pd
import pytest

import archsearch
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.search.studies.study import run_study

pytest_plugins = ["search_fakes"]


@pytest.fixture
def study(toy_file, evaluator, tmp_path) -> archsearch.Study:
    storage = f"sqlite:///{tmp_path}/s.db"
    run_study(toy_file, evaluator=evaluator, storage=storage, name="toy", progress=False, strategy="random", trials=40)
    return archsearch.Study("toy", storage)


def test_tables_are_those_of_the_trials(study):
    whole = study.frame()
    assert len(whole) == 40 == len(study.study.trials)
    assert study.front()["trial"].tolist() == whole[whole["on_front"]]["trial"].tolist()
    small = study.frame("num_layers <= 4 and feasible and vocab_size == 1024")
    expected = whole[(whole["num_layers"] <= 4) & whole["feasible"]]
    assert 0 < len(small) < 40
    assert small["trial"].tolist() == expected["trial"].tolist()
    assert small.attrs["space"] == "toy"  # so that it can be plotted
    assert archsearch.plotting.front_info(small).front.total > 0
    assert study.frame("vocab_size == 2").empty
    with pytest.raises(UnknownNameError, match="num_layers"):
        study.frame("num_layer < 3")
    with pytest.raises(InvalidInputError):
        study.frame("__import__('os')")


def test_it_recommends_plots_and_exports(study, tmp_path):
    best = study.recommend(top=2)
    assert best["rank"].tolist() == [1, 2]
    for kind in ("front", "parallel", "latency", "memory"):
        assert study.plot(kind, top=2).layout.title.text
    with pytest.raises(UnknownNameError, match="did you mean front"):
        study.plot("fronts")
    path = study.export(tmp_path / "front.csv", front_only=True)
    assert pd.read_csv(path)["trial"].tolist() == study.front()["trial"].tolist()
    with pytest.raises(InvalidInputError, match=r"write to \.parquet"):
        study.export(tmp_path / "front.txt")


def test_it_wraps_an_optuna_study(study):
    again = archsearch.Study(study.study, study.storage)
    assert isinstance(again.study, optuna.Study)
    assert again.name == "toy"
    assert repr(again) == "archsearch.Study('toy')"
    assert "40, " in again._repr_html_()
    with pytest.raises(InvalidInputError, match="not written by archsearch"):
        archsearch.Study(optuna.create_study(storage=study.storage))
    with pytest.raises(UnknownNameError, match="did you mean toy"):
        archsearch.Study("toys", study.storage)
    with pytest.raises(UnknownNameError, match=r"argument of Study\.recommend 'tops'"):
        study.recommend(tops=3)
