"""Journals that a full disk, a loss of power or a stranger has been at: mended or refused, and never in the way."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import optuna
import pytest

from archsearch.cli.main import run
from archsearch.errors import InvalidInputError
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.samplers import cell_trials
from archsearch.search.studies import journal
from archsearch.search.studies.ledger import insert
from archsearch.search.studies.places import artifacts_dir, check_name
from archsearch.search.studies.storage import delete_study, load_study, study_names
from archsearch.search.studies.study import create_study, list_studies, resume_study, run_study

pytest_plugins = ("search_fakes",)

CASE = Path(__file__).resolve().parents[2] / "shared" / "cases" / "bad_input" / "journal-torn-by-enospc.journal"


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of studies, of a home of the test's own."""
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "studies"
    folder.mkdir(parents=True)
    return folder


def sampled(evaluator: Evaluator, name: str, trials: int = 30) -> None:
    run_study(evaluator.space, evaluator=evaluator, name=name, strategy="random", trials=trials, progress=False)


def shapes(name: str) -> list[dict[str, object]]:
    return [trial.params for trial in load_study(name).get_trials(deepcopy=False)]


@pytest.mark.parametrize("cut", [1, 40, 700])
def test_a_torn_end_is_cut_off_kept_and_told_before_anything_is_appended(
    evaluator: Evaluator, studies: Path, capsys: pytest.CaptureFixture[str], cut: int
) -> None:
    sampled(evaluator, "t")
    file = studies / "t.journal"
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    kept = shapes("t")  # read as far as it is whole
    assert kept == shapes("t")
    assert file.read_bytes() == whole[:-cut]  # reading mends nothing
    resume_study("t", trials=10, evaluator=evaluator, progress=False)
    lines = whole[:-cut].split(b"\n")
    assert (studies / "t.journal.torn").read_bytes() == lines[-1]
    assert file.read_bytes().startswith(b"\n".join(lines[:-1]) + b"\n")
    assert shapes("t")[: len(kept)] == kept
    assert len(shapes("t")) == len(kept) + 10
    assert f"its last {len(lines[-1]):,} bytes were no whole record" in capsys.readouterr().err
    assert list_studies()["problem"].tolist() == [None]


def test_several_torn_ends_are_all_kept(evaluator: Evaluator, studies: Path) -> None:
    sampled(evaluator, "t")
    for number in range(2):
        with (studies / "t.journal").open("ab") as file:
            file.write(b'{"op_code":4,"torn":%d' % number)
        insert(load_study("t"), cell_trials(evaluator, np.arange(60)))
        load_study("t").set_user_attr("round", number)
    torn = [(studies / name).read_bytes() for name in ("t.journal.torn", "t.journal.torn-2")]
    assert torn == [b'{"op_code":4,"torn":0', b'{"op_code":4,"torn":1']


@pytest.mark.parametrize("end", [b"\0" * 4096, b'{"op_code":4,"wo\0\0\0\0\n', b"\xff\xfe{\n{}\n"])
def test_what_a_loss_of_power_leaves_is_cut_off(evaluator: Evaluator, studies: Path, end: bytes) -> None:
    sampled(evaluator, "t")
    with (studies / "t.journal").open("ab") as file:
        file.write(end)
    before = 30
    resume_study("t", trials=5, evaluator=evaluator, progress=False)
    assert len(shapes("t")) == before + 5
    assert (studies / "t.journal.torn").read_bytes() == end


@pytest.mark.skipif(not CASE.is_file(), reason="the shared cases are not here")
def test_a_study_whose_disk_filled_up_goes_on(studies: Path) -> None:
    shutil.copyfile(CASE, studies / "d3.journal")
    assert run(["study", "resume", "d3", "--trials", "20"]) == 0
    assert run(["study", "list"]) == 0
    assert list_studies()[["name", "trials", "problem"]].values.tolist() == [["d3", 144, None]]


def test_a_record_lost_in_the_middle_is_refused_with_its_line_and_nothing_is_appended(
    evaluator: Evaluator, studies: Path
) -> None:
    sampled(evaluator, "t")
    file = studies / "t.journal"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[9] = lines[9][7:]
    file.write_bytes(b"".join(lines))
    with pytest.raises(InvalidInputError, match=r"t\.journal:10: is no record"):
        resume_study("t", trials=10, evaluator=evaluator, progress=False)
    assert file.read_bytes() == b"".join(lines)
    assert "t.journal:10" in list_studies()["problem"][0]


def test_bad_files_take_no_list_down_and_can_be_deleted(
    evaluator: Evaluator, studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampled(evaluator, "good")
    (studies / "empty.journal").touch()
    (studies / "foreign.journal").write_text("never a journal\n")
    (studies / "json.journal").write_text('[1, 2]\n{"op_code": "x"}\n')
    (studies / "deep.journal").write_text("[" * 100_000 + "\n" + "]\n")
    (studies / "binary.journal").write_bytes(bytes(range(256)) * 64)
    (studies / "folder.journal").mkdir()
    (studies / "folder.journal" / "inside").touch()
    (studies / "loop.journal").symlink_to(studies / "loop.journal")
    shutil.copyfile(studies / "good.journal", studies / "renamed.journal")
    shutil.copyfile(studies / "good.journal", studies / "good (copy).journal")
    found = list_studies().set_index("name")["problem"]
    assert found["good"] is None
    bad = sorted(set(found.index) - {"good"})
    assert bad == ["binary", "deep", "empty", "folder", "foreign", "good (copy)", "json", "loop", "renamed"]
    assert all("cannot be read" in found[name] for name in bad)
    assert "holds no study" in found["empty"]
    assert "is a directory" in found["folder"]
    assert "first line is no record" in found["foreign"]
    assert "holds the study 'good'" in found["renamed"]
    assert run(["study", "list", "--json"]) == 0
    for name in bad:
        capsys.readouterr()
        assert run(["study", "show", name]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert run(["study", "delete", *bad]) == 0
    assert sorted(path.name for path in studies.iterdir()) == ["good.journal"]
    assert list_studies()["trials"].tolist() == [30]


def test_a_full_disk_leaves_the_journal_as_it_was(
    evaluator: Evaluator, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled(evaluator, "t")
    before, written = (studies / "t.journal").read_bytes(), []
    write = os.write

    def full(descriptor: int, data: memoryview) -> int:
        """Room for a hundred bytes more."""
        if len(data) < 1000:
            return write(descriptor, data)  # a lock's name
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(write(descriptor, data[:100]))
        return written[-1]

    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "write", full)
        with pytest.raises(InvalidInputError, match=r"t\.journal: cannot be written: No space left .* is whole"):
            resume_study("t", trials=20, evaluator=evaluator, progress=False)
    assert written == [100]
    assert (studies / "t.journal").read_bytes() == before
    resume_study("t", trials=20, evaluator=evaluator, progress=False)
    assert len(shapes("t")) == 50


def test_a_study_that_is_deleted_or_replaced_is_not_written_to(evaluator: Evaluator, studies: Path) -> None:
    sampled(evaluator, "t")
    study = load_study("t")
    delete_study("t")
    with pytest.raises(InvalidInputError, match="deleted or replaced"):
        insert(study, cell_trials(evaluator, np.arange(3)))
    assert list(studies.iterdir()) == []
    create_study(evaluator.space, evaluator=evaluator, name="t")
    with pytest.raises(InvalidInputError, match="deleted or replaced"):
        insert(study, cell_trials(evaluator, np.arange(3)))
    assert load_study("t").trials == []


@pytest.mark.parametrize("name", ["../victim", "a/../../victim", "/tmp/victim", "..", ".", "", "a\0b", "x" * 121, "-x"])
def test_names_that_lead_elsewhere_are_refused_by_every_verb(
    studies: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    victim = studies.parent / "victim.artifacts"
    victim.mkdir()
    place = str(studies.parent / "own.db")
    optuna.create_study(study_name=name, storage=f"sqlite:///{place}")  # as another program may
    verbs = (["show"], ["delete"], ["resume"], ["worker", "--seed", "1"], ["export", "-o", str(studies / "o.csv")])
    for verb in verbs:
        for storage in ([], ["--storage", place]):
            assert run(["study", verb[0], *verb[1:], *storage, "--", name]) == 2, verb
            assert "study name" in capsys.readouterr().err
    for call in (
        check_name,
        lambda n: load_study(n, place),
        lambda n: delete_study(n, place),
        lambda n: artifacts_dir(n, None),
    ):
        with pytest.raises(InvalidInputError, match="study name"):
            call(name)
    assert victim.is_dir()
    assert study_names(place) == [name]
