"""A stored study in optuna-dashboard: our notes are read there, files can be fetched, and a user's note stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from browsing import Browser
from serving import serving, status_as
from witness_files import SPACE

from archsearch.cli.main import run
from archsearch.search.answers.recommend import recommendation
from archsearch.search.studies.storage import load_study
from archsearch.ui.study_notes import SIGNED

pytestmark = pytest.mark.browser
NAME = "tiny"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study with a note of the user's on the second architecture that it recommends."""
    from optuna.trial import Trial
    from optuna_dashboard import save_note

    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SPACE))
    store = folder / "store.journal"
    assert run(["study", "run", str(folder / "tiny.yaml"), "--name", NAME, "--storage", str(store)]) == 0
    study = load_study(NAME, str(store))
    second = recommendation(study, storage=str(store), top=2, progress=False).rows()[1]
    (own,) = [t for t in study.best_trials if all(second[name] == value for name, value in t.params.items())]
    save_note(Trial(study, own._trial_id), "mine")
    return store


@pytest.fixture(scope="module")
def served(store: Path) -> Iterator[str]:
    with serving(store.parent, NAME, "--storage", store.name) as (url, told):
        yield url
    assert told()[0].startswith("notes of ")


def answer(url: str, path: str) -> Any:
    with urlopen(f"{url.partition('/dashboard')[0]}{path}", timeout=30) as found:
        return json.load(found) if path.startswith("/api") else found.read().decode()


def test_the_dashboard_shows_our_notes(browser: Browser, served: str) -> None:
    browser.open(f"{served}/note")
    browser.until(lambda: "on the front" in browser.text("body"), "the study's note")
    assert "every one of 24 combinations" in browser.text("body")
    link = browser.one("a[href*='trials?numbers=']")
    browser.open(str(link.get_attribute("href")))
    browser.until(lambda: "Recommended, rank 1" in browser.text("body"), "the trial's note")
    assert browser.errors() == []


def test_files_are_what_recommend_prints_and_a_users_note_stays(
    served: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = answer(served, "/api/studies/0")
    files = {file["filename"]: file["artifact_id"] for file in study["artifacts"]}
    for name, form in (("rank-1.yaml", "yaml"), ("rank-1.config.json", "hf")):
        assert run(["recommend", NAME, "--storage", str(store), "--top", "1", "--format", form]) == 0
        assert answer(served, f"/artifacts/0/{files[name]}") == capsys.readouterr().out
    notes = [trial["note"]["body"] for trial in study["trials"] if trial["note"]["body"]]
    assert notes.count("mine") == 1
    assert all(SIGNED in note for note in notes if note != "mine")
    assert len(notes) == len(load_study(NAME, str(store)).best_trials)


def test_a_second_time_nothing_is_written_anew(served: str, store: Path) -> None:
    from archsearch.cli.ui import _files
    from archsearch.ui.dashboard import keep_notes

    before = store.read_bytes(), sorted(p.name for p in store.parent.rglob("*"))
    keep_notes(load_study(NAME, str(store)), str(store), _files)
    assert (store.read_bytes(), sorted(p.name for p in store.parent.rglob("*"))) == before


def test_a_name_that_is_not_this_machines_is_not_served(served: str) -> None:
    assert [status_as(served, name) for name in ("127.0.0.1", "localhost:80", "example.org")] == [200, 200, 400]
