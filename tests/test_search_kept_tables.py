"""What is kept of studies' files is what replaying them gives, and nothing stands in for a file that is another one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage

from archsearch.search.answers.recommend import recommend
from archsearch.search.studies import kept_tables, trial_table
from archsearch.search.studies.listing import listed_studies, summary_of
from archsearch.search.studies.storage import load_study
from archsearch.search.studies.study import resume_study, run_study
from archsearch.search.studies.study_contents import study_result, summarize_study

TRIALS = 24


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A data directory of its own, in which tables of few trials are kept too."""
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(trial_table, "KEPT_FROM", 5)
    return tmp_path / "home"


@pytest.fixture(params=["journal", "sqlite"])
def storage(request, tmp_path) -> str | None:
    return None if request.param == "journal" else str(tmp_path / "studies.db")


def made(storage: str | None = None, name: str = "one", seed: int = 0) -> str:
    run_study("gpt2-shape", "a10", strategy="random", trials=TRIALS, name=name, storage=storage, seed=seed)
    return name


def journal(home: Path, name: str = "one") -> Path:
    return home / "studies" / f"{name}.journal"


def forget(home: Path) -> None:
    shutil.rmtree(home / "cache" / "studies", ignore_errors=True)


def told(name: str = "one", storage: str | None = None) -> tuple[dict[str, object], pd.DataFrame]:
    """What the verbs tell of a study, by a storage that is opened anew."""
    study = load_study(name, storage)
    return summarize_study(study), study_result(study).frame


def replayed(home: Path, name: str = "one", storage: str | None = None) -> tuple[dict[str, object], pd.DataFrame]:
    """The same, with nothing kept."""
    forget(home)
    answer = told(name, storage)
    forget(home)
    return answer


def same(first: tuple[dict[str, object], pd.DataFrame], second: tuple[dict[str, object], pd.DataFrame]) -> bool:
    return first[0] == second[0] and first[1].equals(second[1]) and (first[1].dtypes == second[1].dtypes).all()


def test_what_is_kept_is_what_replaying_gives(home, storage, monkeypatch):
    made(storage)
    wanted, best = replayed(home, storage=storage), recommend("one", storage=storage)
    told(storage=storage)  # keeps
    monkeypatch.setattr(JournalStorage, "_sync_with_backend", lambda self: pytest.fail("replayed"))
    monkeypatch.setattr(trial_table, "_of_trials", lambda study, objectives: pytest.fail("read trial by trial"))
    assert same(told(storage=storage), wanted)
    assert wanted[0]["trials"] == len(wanted[1]) == TRIALS
    assert summary_of("one", storage) == wanted[0]
    assert recommend("one", storage=storage).equals(best)


def test_another_program_s_trial_is_seen(home, storage):
    """Written by Optuna itself, running and then finished."""
    made(storage)
    told(storage=storage)
    study = load_study("one", storage)
    first = study.get_trials(deepcopy=False)[0]
    number = study._storage.create_new_trial(study._study_id)
    assert told(storage=storage)[0]["unfinished"] == 1
    for name, value in first.user_attrs.items():
        study._storage.set_trial_user_attr(number, name, value)
    study._storage.set_trial_state_values(number, optuna.trial.TrialState.COMPLETE, first.values)
    summary, frame = told(storage=storage)
    assert (summary["unfinished"], summary["trials"], len(frame)) == (0, TRIALS + 1, TRIALS + 1)
    assert frame["trial"].tolist() == list(range(TRIALS + 1))
    assert same((summary, frame), replayed(home, storage=storage))


def test_resuming_goes_on_from_what_is_there(home, storage):
    made(storage)
    told(storage=storage)
    resume_study("one", trials=6, storage=storage, progress=False)
    answer = told(storage=storage)
    assert len(answer[1]) == TRIALS + 6
    assert same(answer, replayed(home, storage=storage))


def test_a_file_changed_in_its_middle_with_its_times_put_back_is_read(home, monkeypatch):
    monkeypatch.setattr(kept_tables, "TAIL_BYTES", 512)
    made()
    place = journal(home)
    before = told()[1]["quality"]
    about, text = place.stat(), place.read_text()
    line = text.splitlines()[TRIALS // 2]
    value = json.loads(line)["user_attrs"]["metrics"]["quality"]
    other = str(value)[:-1] + ("1" if str(value)[-1] != "1" else "2")
    place.write_text(text.replace(line, line.replace(str(value), other)))
    os.utime(place, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert place.stat().st_size == about.st_size
    after = told()[1]["quality"]
    assert sorted(set(after) - set(before)) == [float(other)]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": 1}', '{"format": 0, "version": "", "path": "", "stamp": [], "studies": []}'],
)
def test_what_is_torn_or_foreign_is_done_without_and_replaced(home, text):
    made()
    wanted = told()
    (place,) = (home / "cache" / "studies").glob("*.json")
    good = place.read_text()
    place.write_text(text)
    assert same(told(), wanted)
    assert json.loads(place.read_text()) == json.loads(good)


@pytest.mark.parametrize("field", ["format", "version", "path", "stamp"])
def test_what_was_kept_of_another_file_or_by_another_version_is_not_taken(home, field):
    """Its trials are those of another seed: whoever took them would tell another front."""
    made()
    wanted = told()
    (place,) = (home / "cache" / "studies").glob("*.json")
    document = json.loads(place.read_text())
    document["studies"][0]["summary"]["trials"] = 7
    document["studies"][0]["table"] = None
    place.write_text(json.dumps(document))
    assert told()[0]["trials"] == 7  # it is what is read
    place.write_text(json.dumps({**document, field: 0}))
    assert same(told(), wanted)


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_a_torn_table_is_done_without(home, cut):
    made()
    wanted = told()
    (table,) = (home / "cache" / "studies").glob("*.parquet")
    table.write_bytes(table.read_bytes()[:cut])
    assert same(told(), wanted)
    assert same(told(), wanted)


def test_a_table_elsewhere_is_not_read(home):
    """A name that leads out of the folder is none."""
    made()
    told()
    (place,) = (home / "cache" / "studies").glob("*.json")
    (table,) = (home / "cache" / "studies").glob("*.parquet")
    shutil.move(table, home / "other.parquet")
    document = json.loads(place.read_text())
    document["studies"][0]["table"] = "../../other.parquet"
    place.write_text(json.dumps(document))
    (known,) = kept_tables.kept_studies(journal(home)).values()
    assert kept_tables.kept_table(known) is None


def test_a_study_of_the_same_name_and_a_copy_are_others(home):
    made()
    told()
    shutil.copy2(journal(home), journal(home, "copy"))
    assert kept_tables.kept_studies(journal(home, "copy")) is None
    run_study("gpt2-shape", "a10", strategy="random", trials=9, name="one", overwrite=True)
    summary, frame = told()
    assert (summary["trials"], len(frame)) == (9, 9)


def test_a_place_that_cannot_be_written_is_done_without(home):
    made()
    wanted = told()
    shutil.rmtree(home / "cache")
    (home / "cache").write_text("a file where the folder should be")
    assert same(told(), wanted)


def test_two_studies_of_one_file_are_both_kept(home, tmp_path):
    storage = str(tmp_path / "both.journal")
    for seed, name in enumerate(("one", "two")):
        made(storage, name, seed)
    answers = {name: told(name, storage) for name in ("one", "two")}
    kept = kept_tables.kept_studies(Path(storage))
    assert {name: kept_tables.kept_table(study) is not None for name, study in kept.items()} == {
        "one": True,
        "two": True,
    }
    assert not answers["one"][1].equals(answers["two"][1])
    for name, answer in answers.items():
        assert same(told(name, storage), answer)


def test_what_was_kept_longest_ago_goes(home, monkeypatch):
    monkeypatch.setattr(kept_tables, "MOST_STUDY_FILES", 2)
    for name in ("one", "two", "three"):
        made(name=name)
        told(name)
    assert [kept_tables.kept_studies(journal(home, name)) is None for name in ("one", "two", "three")] == [1, 0, 0]
    assert len(list((home / "cache" / "studies").glob("*.parquet"))) == 2
    monkeypatch.setattr(kept_tables, "MOST_BYTES", 1)
    forget(home)
    told("two")
    told("three")
    assert len(list((home / "cache" / "studies").glob("*.parquet"))) == 1


def test_what_parquet_does_not_give_back_is_not_kept(home, tmp_path):
    path = tmp_path / "some.journal"
    path.write_text("{}")
    study = kept_tables.KeptStudy(0, "some", [1], {}, {}, table="")
    for values, kept in (([1, 2], True), ([(1, 2), (3, 4)], False)):
        frame = pd.DataFrame({"a": pd.Series(values, dtype=None if kept else object)})
        kept_tables.keep(path, kept_tables.stamp(path), {"some": study}, frame)
        known = (kept_tables.kept_studies(path) or {}).get("some")
        assert (known is not None and kept_tables.kept_table(known) is not None) == kept
        forget(home)


def test_constraints_stand_beside_the_rows_that_they_are_of(home):
    made()
    study = load_study("one")
    objectives = study_result(study).setting.objectives
    kept, anew = (trial_table.trial_table(study, objectives) for study in (study, load_study("one")))
    trials = study.get_trials(deepcopy=False)
    assert {name: list(values) for name, values in kept.constraints.items()} == {
        name: [trial.constraints[name] for trial in trials] for name in trials[0].constraints
    }
    assert all((kept.constraints[name] == anew.constraints[name]).all() for name in anew.constraints)
    worst = np.max([*kept.constraints.values()], axis=0)
    assert (worst == kept.frame["violation"]).all()


def test_a_list_of_kept_studies_needs_no_optuna(home):
    made()
    rows = listed_studies()
    code = "from archsearch.search.studies.listing import listed_studies; import sys; print(listed_studies()); "
    code += "assert not {'optuna', 'pandas', 'archsearch.cost.model'} & set(sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert answer.stdout.strip() == str(rows)
