"""What a study's page is given: notes of the study and its best trials, and refusals before anything is served."""

from __future__ import annotations

import re
from pathlib import Path

import optuna
import pytest
import yaml
from witness_files import SPACE

from archsearch.cli.main import run
from archsearch.search.answers.recommend import recommendation
from archsearch.search.studies.storage import load_study
from archsearch.search.studies.study_contents import study_result
from archsearch.ui import study_notes
from archsearch.ui.study_notes import SIGNED, escaped, ranks_of, study_note, trial_notes
from archsearch.ui.words import seconds

TOP = 3


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SPACE))
    store = folder / "store.journal"
    assert run(["study", "run", str(folder / "tiny.yaml"), "--name", "tiny", "--storage", str(store)]) == 0
    return store


@pytest.fixture(scope="module")
def study(stored: Path) -> optuna.Study:
    return load_study("tiny", str(stored))


def test_recommended_trials_and_those_of_the_front_get_notes(study: optuna.Study, stored: Path) -> None:
    trials, best = study_result(study), recommendation(study, storage=str(stored), top=TOP, progress=False)
    notes = trial_notes(trials, best)
    front = [t.number for t in study.best_trials]
    assert sorted(notes) == sorted(front)
    ranks = ranks_of(trials, best)
    assert sorted(ranks.values()) == list(range(len(best)))
    for number, place in ranks.items():
        params, row = study.trials[number].params, best.rows()[place]
        assert {name: row[name] for name in params} == params
        assert f"Recommended, rank {place + 1}:" in notes[number]
        latency = study.trials[number].user_attrs["metrics"]["latency_s:a100-sxm-80gb"]
        assert f"| {seconds(latency)} |" in notes[number]
        assert f"hidden\\_size {params['hidden_size']}" in notes[number]
    assert all(note.rstrip().endswith(SIGNED) for note in notes.values())


def test_the_front_of_a_large_study_is_noted_in_part(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_notes, "NOTED", 1)
    assert len(trial_notes(study_result(study), None)) == 1


def test_the_note_of_a_study_counts_and_leads_to_its_trials(study: optuna.Study, stored: Path) -> None:
    trials, best = study_result(study), recommendation(study, storage=str(stored), top=TOP, progress=False)
    places = {place: trial for trial, place in ranks_of(trials, best).items()}
    note = study_note(study, best, places)
    assert f"{len(study.trials)} trials" in note
    assert f"{len(study.best_trials)} on the front" in note
    linked = re.findall(r"\| (\d+) \| \[(\d+)\]\(/dashboard/studies/0/trials\?numbers=(\d+)\)", note)
    assert linked == [(str(place + 1), str(places[place]), str(places[place])) for place in range(len(best))]


def test_names_of_others_are_neither_markdown_nor_html() -> None:
    assert escaped("<img src=x onerror=alert(1)>") == "&lt;img src=x onerror=alert\\(1\\)&gt;"
    assert escaped("a|b_c*d`e[f](g)") == "a\\|b\\_c\\*d\\`e\\[f\\]\\(g\\)"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("ui tinny --storage {store}", "unknown study 'tinny': did you mean tiny?"),
        ("ui bert-base --storage {store}", "it is a model, which `archsearch ui --model bert-base` shows"),
        ("ui tiny --storage {store} --model bert-base", "leave out --model and --hardware, or the study"),
        ("ui tiny --storage {store} --port 70000", "--port 70000 on --host 127.0.0.1"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    call: str, reason: str, stored: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archsearch.ui.dashboard.find_spec", lambda name: object())
    before = stored.read_bytes()
    assert run([*call.format(store=stored).split(), "--no-browser"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert reason in err
    assert stored.read_bytes() == before


def test_without_the_dashboard_it_says_how_to_get_it(
    stored: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archsearch.ui.dashboard.find_spec", lambda name: None)
    assert run(["ui", "tiny", "--storage", str(stored), "--no-browser"]) == 2
    assert capsys.readouterr().err == (
        "archsearch: a study's page needs optuna-dashboard: pip install 'archsearch[dashboard]'\n"
    )
