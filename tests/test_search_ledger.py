"""Exclusive bulk writes, passwords in messages, and tables beside a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.enumeration import sweep
from archsearch.search.explore.keys import KEY
from archsearch.search.explore.samplers import cell_trials, directions
from archsearch.search.studies.artifacts import read_artifact
from archsearch.search.studies.journal import LockedJournal
from archsearch.search.studies.ledger import LIMIT, guard, insert
from archsearch.search.studies.places import artifacts_dir
from archsearch.search.studies.storage import (
    delete_study,
    load_study,
    open_storage,
    proxy_address,
    shown,
    storage_errors,
)
from archsearch.search.studies.study import create_study, resume_study, run_study

pytest_plugins = ("search_fakes",)


def make(evaluator: Evaluator, place: str | None) -> optuna.Study:
    storage = open_storage(place, "s", create=True) if place else None
    return optuna.create_study(study_name="s", storage=storage, directions=directions(evaluator.objective_columns))


def test_a_study_in_memory_holds_nothing_twice_and_no_more_than_the_limit(evaluator: Evaluator) -> None:
    """What ``archsearch.testing.storage_contract`` asks of storages, of a study that is in none."""
    trials = cell_trials(evaluator, np.arange(10))
    study = make(evaluator, None)
    assert insert(study, [trials[0], trials[1], trials[0]]) == [True, True, False]
    assert insert(study, trials[4:], limit=4) == [True, True, False, False, False, False]
    assert [t.system_attrs[KEY] for t in study.trials] == [trials[i].system_attrs[KEY] for i in (0, 1, 4, 5)]
    other = make(evaluator, None)
    other.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, system_attrs=trials[3].system_attrs))
    assert insert(other, [trials[3]], limit=1) == [True]


def test_an_exception_under_the_journals_lock_writes_nothing(evaluator: Evaluator, tmp_path: Path) -> None:
    study = make(evaluator, str(tmp_path / "s.journal"))
    backend = study._storage._backend
    assert isinstance(backend, LockedJournal)
    before = (tmp_path / "s.journal").read_bytes()

    def interrupted() -> None:
        with backend.exclusive():
            study.add_trials(cell_trials(evaluator, np.arange(3)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "s.journal").read_bytes() == before
    assert not (tmp_path / "s.journal.lock").is_symlink()
    assert insert(load_study("s", str(tmp_path / "s.journal")), cell_trials(evaluator, np.arange(3))) == [True] * 3


def test_a_lock_left_behind_is_broken(evaluator: Evaluator, tmp_path: Path) -> None:
    study = make(evaluator, str(tmp_path / "s.journal"))
    study._storage._backend.guard.file.grace_period = 1
    (tmp_path / "s.journal.lock").symlink_to(tmp_path / "s.journal")  # as a killed process leaves it
    assert insert(study, cell_trials(evaluator, np.arange(3))) == [True] * 3
    assert not (tmp_path / "s.journal.lock").is_symlink()
    assert insert(study, cell_trials(evaluator, np.arange(4))) == [False, False, False, True]


def test_guarded_storage_refuses_in_silence(evaluator: Evaluator) -> None:
    storage = guard(optuna.storages.InMemoryStorage())
    study = optuna.create_study(study_name="s", storage=storage, directions=directions(evaluator.objective_columns))
    study._storage.set_study_system_attr(study._study_id, LIMIT, 3)
    study.add_trials(cell_trials(evaluator, np.array([5, 6, 5, 7, 8])))
    assert [t.params for t in study.trials] == [t.params for t in cell_trials(evaluator, np.array([5, 6, 7]))]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+psycopg://u:s3cret@host:5432/db", "postgresql+psycopg://u:***@host:5432/db"),
        ("postgresql://u:p@ss/w%40rd@host/db?sslmode=require", "postgresql://u:***@host/db?sslmode=require"),
        ("postgresql://host/db?user=u&password=s3cret&x=1", "postgresql://host/db?user=u&password=***&x=1"),
        ("mysql://:s3cret@host/db", "mysql://:***@host/db"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
        ("/tmp/studies/a.journal", "/tmp/studies/a.journal"),
    ],
)
def test_urls_are_shown_without_passwords(url: str, told: str) -> None:
    assert shown(url) == told


def test_errors_hide_the_password_wherever_it_stands() -> None:
    url = "postgresql://u:s3%40cret@host/db"
    with pytest.raises(InvalidInputError) as caught, storage_errors(url, opening=True):
        raise ValueError(f"cannot parse {url} with s3@cret and s3%40cret")
    assert "cret" not in str(caught.value).replace("***", "")
    with pytest.raises(ZeroDivisionError), storage_errors(url):  # a fault of ours is not the storage's
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "storage", ["postgresql://u:s3cret@127.0.0.1:1/db", "nosuch://u:s3cret@h/db", "postgresql:/u:s3cret@h/db"]
)
def test_unusable_storages_are_told_without_the_password(storage: str) -> None:
    with pytest.raises(ArchSearchError) as caught:
        load_study("s", storage)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "host", ":13000", "host:port", "host:0", "host:70000"])
def test_proxy_addresses_are_checked(text: str) -> None:
    with pytest.raises(InvalidInputError, match="HOST:PORT"):
        proxy_address(text)


@pytest.mark.parametrize("place", ["s.journal", None])
def test_exhaustive_studies_keep_whole_fronts_as_tables(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str | None
) -> None:
    from archsearch.search.studies import study as module

    monkeypatch.setattr(module, "FRONT_TRIALS", 10)
    monkeypatch.setattr(module, "SAMPLE_TRIALS", 7)
    storage = str(tmp_path / place) if place else None
    study = run_study(evaluator.space, evaluator=evaluator, name="t", storage=storage, progress=False)
    exact = sweep(evaluator.space, evaluator=evaluator, progress=False, sample=10_000)
    front = read_artifact(study, storage, "front")
    assert len(front) == len(exact.front_cells) > 10
    np.testing.assert_allclose(front["quality"], exact.front["quality"])
    assert len(read_artifact(study, storage, "sample")) == exact.valid - len(front)
    assert len([t for t in study.trials if "pool" in t.user_attrs["front_of"]]) == 10
    assert len(study.trials) <= 3 * 10 + 7
    with pytest.raises(UnknownNameError, match="front"):
        read_artifact(study, storage, "frnt")
    delete_study("t", storage)
    assert not artifacts_dir("t", storage).exists()


def test_workers_fill_a_created_study_to_the_brim(evaluator: Evaluator, tmp_path: Path) -> None:
    storage = str(tmp_path / "w.journal")
    create_study(evaluator.space, evaluator=evaluator, name="w", storage=storage, strategy="nsga2")
    assert load_study("w", storage).trials == []
    resume_study("w", trials=40, storage=storage, seed=1, evaluator=evaluator, progress=False)
    study = resume_study("w", trials=100, until=70, storage=storage, seed=2, evaluator=evaluator, progress=False)
    assert len(study.trials) == 70
    study = resume_study("w", trials=5, until=70, storage=storage, seed=3, evaluator=evaluator, progress=False)
    assert len(study.trials) == 70
