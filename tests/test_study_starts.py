"""Starts that fail: nothing is written, the name stays free, and what would be replaced stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore import cluster, measured, samplers
from archsearch.search.explore.fidelity import Fidelity
from archsearch.search.studies import study as studies
from archsearch.search.studies.storage import load_study, study_names
from archsearch.search.studies.study import create_study, resume_study, run_study

pytest_plugins = ("search_fakes",)

LARGEST = 2**32 - 1


def missing(*_: object) -> None:
    """Stands for ``find_spec``: no package is installed."""


STARTS: dict[str, tuple[dict[str, Any], str]] = {
    "code without leave": (
        {"fidelity": Fidelity("train", function="os:getpid", pruner="none")},
        "to run that code",
    ),
    "no such trainer": (
        {"fidelity": Fidelity("train", function="no.such:trainer", pruner="none"), "allow_code": True},
        "no.such",
    ),
    "torch is missing": ({"fidelity": Fidelity("benchmark")}, "torch"),
    "gp without torch": ({"strategy": "gp"}, "strategy gp needs the package torch"),
    "cmaes with two objectives": ({"strategy": "cmaes"}, "follows one objective"),
    "dask is missing": ({"strategy": "exhaustive", "scheduler": "tcp://127.0.0.1:1"}, "dask.distributed"),
    "scheduler for a sample": ({"strategy": "random", "scheduler": "tcp://127.0.0.1:1"}, "leave it out"),
    "no such strategy": ({"strategy": "nsga"}, "nsga2"),
    "no trials": ({"trials": 0}, "trials must be"),
    "seed below 0": ({"seed": -1}, "seed must be a whole number from 0 to 4294967295, not -1"),
    "seed above 32 bits": ({"seed": LARGEST + 1}, "seed must be a whole number from 0 to 4294967295"),
    "seed that is no number": ({"seed": 0.5}, "seed must be a whole number"),
}


@pytest.mark.parametrize("place", ["s.journal", "s.db"])
@pytest.mark.parametrize("case", STARTS)
def test_a_start_that_fails_leaves_neither_a_stub_nor_a_loss(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, place: str
) -> None:
    options, told = STARTS[case]
    storage = str(tmp_path / place)
    common: dict[str, Any] = {"evaluator": evaluator, "storage": storage, "progress": False, "name": "s"}
    for module in (cluster, measured, samplers):
        monkeypatch.setattr(module, "find_spec", missing)
    with pytest.raises(ArchSearchError, match=told):
        run_study(evaluator.space, **common, **options)
    assert study_names(storage) == []
    run_study(evaluator.space, **common, strategy="random", trials=7)
    with pytest.raises(ArchSearchError, match=told):
        run_study(evaluator.space, **common, **options, overwrite=True)
    assert len(load_study("s", storage).trials) == 7


@pytest.mark.parametrize("seed", [-1, LARGEST + 1])
def test_seeds_out_of_range_are_refused_wherever_one_is_given(evaluator: Evaluator, tmp_path: Path, seed: int) -> None:
    storage = str(tmp_path / "s.journal")
    with pytest.raises(InvalidInputError, match="seed must be"):
        create_study(evaluator.space, evaluator=evaluator, storage=storage, name="s", seed=seed)
    assert study_names(storage) == []
    create_study(evaluator.space, evaluator=evaluator, storage=storage, name="s", strategy="random")
    with pytest.raises(InvalidInputError, match="seed must be"):
        resume_study("s", storage=storage, evaluator=evaluator, seed=seed, progress=False)


@pytest.mark.parametrize("strategy", ["random", "nsga2", "hybrid", "tpe"])
def test_the_largest_seed_can_be_resumed(evaluator: Evaluator, tmp_path: Path, strategy: str) -> None:
    storage = str(tmp_path / "s.journal")
    options: dict[str, Any] = {"storage": storage, "evaluator": evaluator, "progress": False}
    run_study(evaluator.space, strategy=strategy, name="s", seed=LARGEST, trials=8, **options)
    study = resume_study("s", trials=8, **options)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 16


def test_a_limit_of_the_sampler_is_told_before_workers_wait_for_it(evaluator: Evaluator, tmp_path: Path) -> None:
    storage = str(tmp_path / "s.journal")
    with pytest.raises(UnsupportedError, match="follows one objective"):
        create_study(evaluator.space, evaluator=evaluator, storage=storage, name="s", strategy="cmaes")
    assert study_names(storage) == []


def test_an_interrupt_before_the_first_trial_leaves_no_study(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "_sample", interrupted)
    storage = str(tmp_path / "s.journal")
    with pytest.raises(KeyboardInterrupt):
        run_study(evaluator.space, evaluator=evaluator, storage=storage, name="s", strategy="random", progress=False)
    assert study_names(storage) == []


def test_two_that_take_one_name_at_once_are_told_apart(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other is quicker between the look at the names and the writing."""
    from archsearch.search.studies import start

    storage = str(tmp_path / "s.journal")
    create_study(evaluator.space, evaluator=evaluator, storage=storage, name="s")
    monkeypatch.setattr(start, "study_names", lambda storage: [])
    with pytest.raises(InvalidInputError, match="study 's' exists"):
        create_study(evaluator.space, evaluator=evaluator, storage=storage, name="s")
    assert len(optuna.get_all_study_names(load_study("s", storage)._storage)) == 1
    assert np.array_equal(load_study("s", storage).trials, [])
