"""How searches end early: interrupts, deleted studies, trainers that fail, workers that died, clocks that differ."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages.journal import JournalFileOpenLock

from archsearch import progress
from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.search.answers.recommend import recommend
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore import fidelity as module
from archsearch.search.explore import liveness, samplers
from archsearch.search.explore.fidelity import Fidelity, candidates, waiting_trials, work
from archsearch.search.explore.liveness import BEAT, WORKER, Watch, release_dead
from archsearch.search.studies.journal_lock import JournalLock
from archsearch.search.studies.ledger import insert
from archsearch.search.studies.storage import delete_study, load_study, study_names
from archsearch.search.studies.study import create_study, resume_study, run_study, study_frame, summarize_study

pytest_plugins = ("search_fakes",)

TRAINED = Fidelity("train", pruner="none", keep=1.0)
SPACE = str(Path(__file__).parents[1] / "search_spaces" / "decoder-1b.yaml")


def queued(evaluator: Evaluator, place: Path, fidelity: Fidelity = TRAINED, trials: int = 6) -> optuna.Study:
    study = create_study(evaluator.space, evaluator=evaluator, name="q", storage=str(place), fidelity=fidelity)
    insert(study, waiting_trials(evaluator, candidates(evaluator, trials, 1.0, 0, progress=False)))
    return study


def train(study: optuna.Study, evaluator: Evaluator, trainer: Any, fidelity: Fidelity = TRAINED) -> int:
    return work(study, evaluator, fidelity, allow_code=False, progress=False, trainer=trainer)


def states(study: optuna.Study) -> dict[str, int]:
    return dict(Counter(trial.state.name for trial in study.get_trials(deepcopy=False)))


class NoNumber:
    """What a trainer may return by mistake."""


def failing() -> Any:
    """Raises what a trainer's own code raises, its line included."""
    raise ZeroDivisionError("division by\nzero")


BAD: dict[str, tuple[Any, str]] = {
    "an exception": (failing, r"ZeroDivisionError: division by \(.*test_study_endings\.py:\d+\)"),
    "an exit": (lambda: sys.exit("enough"), r"SystemExit: enough"),
    "no memory": (lambda: bytearray(2**62), r"MemoryError|OverflowError"),
    "nan": (lambda: float("nan"), r"trained_loss: nan was returned, where a finite number is needed"),
    "inf": (lambda: float("inf"), r"trained_loss: inf was returned"),
    "-inf": (lambda: -np.inf, r"trained_loss: -inf was returned"),
    "nothing": (lambda: None, r"trained_loss: nothing \(None\) was returned"),
    "an object": (NoNumber, r"trained_loss: NoNumber was returned"),
    "a text": (lambda: "0.5 nats", r"trained_loss: str was returned"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_trainer_does_wrong_fails_that_trial_with_the_reason(
    evaluator: Evaluator, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    bad, reason = BAD[case]
    study, calls = queued(evaluator, tmp_path / "q.journal"), []

    def trainer(config: Any, report: Any) -> Any:
        calls.append(config)
        return bad() if len(calls) in (2, 3) else 1.0 + len(calls)

    assert train(study, evaluator, trainer) == 4
    assert states(study) == {"COMPLETE": 4, "FAIL": 2}
    failed = [trial for trial in study.trials if trial.state.name == "FAIL"]
    assert all(re.match(reason, trial.user_attrs["failed_because"]) for trial in failed)
    assert "2 of 6 trials failed; the last: " in capsys.readouterr().err
    assert set(study_frame(study)["trained_loss"]) == {2.0, 5.0, 6.0, 7.0}
    found = recommend(study, top=9, progress=False, evaluator=evaluator)
    assert np.isfinite(found["trained_loss"]).all()


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), None])
def test_a_timer_that_measures_nothing_fails_its_trial(evaluator: Evaluator, tmp_path: Path, seconds: Any) -> None:
    way = Fidelity("benchmark")
    study = queued(evaluator, tmp_path / "q.journal", way, trials=2)
    timer = iter([seconds, 2.0])
    assert work(study, evaluator, way, allow_code=False, progress=False, timer=lambda *_: next(timer)) == 1
    assert states(study) == {"FAIL": 1, "COMPLETE": 1}


@pytest.mark.parametrize("place", ["q.journal", "q.db"])
def test_an_interrupted_trial_is_queued_again_however_often(evaluator: Evaluator, tmp_path: Path, place: str) -> None:
    study = queued(evaluator, tmp_path / place, trials=2)

    def interrupted(config: Any, report: Any) -> float:
        raise KeyboardInterrupt

    for _ in range(liveness.MAX_RETRIES + 2):
        with pytest.raises(KeyboardInterrupt):
            train(study, evaluator, interrupted)
    assert train(study, evaluator, lambda config, report: 1.0) == 2
    shapes = {tuple(t.params.items()) for t in study.trials if t.state.name == "COMPLETE"}
    assert len(shapes) == 2
    assert states(study) == {"FAIL": liveness.MAX_RETRIES + 2, "COMPLETE": 2}


def test_clocks_that_differ_fail_no_live_trial(evaluator: Evaluator, tmp_path: Path) -> None:
    """Workers of other machines, ten minutes ahead and behind, both alive; one that stopped; one that was killed
    before its first sign."""
    study, now = queued(evaluator, tmp_path / "q.journal"), 0.0
    watch = Watch(lambda: now)
    ids = [study._pop_waiting_trial_id() for _ in range(4)]
    ahead, behind, stopped, silent = (trial for trial in ids if trial is not None)
    for trial in (ahead, behind, stopped):
        study._storage.set_trial_system_attr(trial, WORKER, "elsewhere/1/1")
    study._storage.set_trial_system_attr(stopped, BEAT, time.time() - 600)
    for step in range(10):
        now = 29.0 * step
        study._storage.set_trial_system_attr(ahead, BEAT, time.time() + 600 + step)
        study._storage.set_trial_system_attr(behind, BEAT, time.time() - 600 + step)
        release_dead(study, watch)
        dead = {trial._trial_id for trial in study.trials if trial.state.name == "FAIL"}
        assert dead == ({stopped, silent} if now >= liveness.GRACE_S else set()), now
    again = [trial for trial in study.trials if "failed_trial" in trial.system_attrs]
    assert len(again) == 2
    assert not watch.awaits(study)


def test_a_worker_with_nothing_left_to_do_waits_for_one_that_may_be_dead(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "GRACE_S", 0.3)
    monkeypatch.setattr(module, "WATCH_S", 0.05)
    study = queued(evaluator, tmp_path / "q.journal", trials=2)
    taken = study._pop_waiting_trial_id()
    assert taken is not None
    study._storage.set_trial_system_attr(taken, WORKER, "elsewhere/1/1")
    study._storage.set_trial_system_attr(taken, BEAT, time.time() - 600)
    assert train(study, evaluator, lambda config, report: 1.0) == 2
    assert states(study) == {"FAIL": 1, "COMPLETE": 2}


@pytest.mark.parametrize("place", ["d.journal", "d.db", None])
def test_a_study_deleted_while_it_runs_is_told(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str | None
) -> None:
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path))
    storage = str(tmp_path / place) if place else None
    original, calls = samplers.cell_trials, []

    def deleting(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            delete_study("d", storage)
        return original(*args, **kwargs)

    monkeypatch.setattr(samplers, "cell_trials", deleting)
    options: dict[str, Any] = {"strategy": "nsga2", "trials": 150, "evaluator": evaluator, "progress": False}
    with pytest.raises(InvalidInputError, match="deleted or replaced"):
        run_study(evaluator.space, name="d", storage=storage, **options)
    assert study_names(storage) == []


@pytest.mark.parametrize("place", ["q.journal", "q.db"])
def test_a_study_deleted_while_it_trains_is_told(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    storage = str(tmp_path / place)
    queued(evaluator, tmp_path / place)

    def trainer(config: Any, report: Any) -> float:
        delete_study("q", storage)
        return 1.0

    monkeypatch.setattr(module, "_trainer", lambda *_: trainer)
    with pytest.raises(ArchSearchError, match="deleted or replaced"):
        resume_study("q", storage=storage, evaluator=evaluator, progress=False)


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signals_end_a_search_in_order(tmp_path: Path, number: int, status: int, word: str) -> None:
    place = str(tmp_path / "s.journal")
    command = [sys.executable, "-m", "archsearch", "study", "run", SPACE, "-g", "h100-sxm", "--strategy", "random"]
    options = ["--trials", "1000000", "--name", "s", "--storage", place]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (Path(place).exists() and Path(place).stat().st_size > 10**6):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, "")
    kept = len(load_study("s", place).trials)
    how = f"continue it with `archsearch study resume s --storage {place}`"
    told = re.search(rf"study s keeps ([\d,]+) finished trials; {how}", err)
    assert told
    assert int(told[1].replace(",", "")) == kept == summarize_study(load_study("s", place))["trials"]
    assert f"{word}; what was finished is kept" in err
    assert "Traceback" not in err
    assert not Path(f"{place}.lock").exists()


class _Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(("terminal", "kind"), [(True, "dumb"), (False, "xterm"), (False, "dumb")])
def test_progress_is_a_line_now_and_then_where_no_bar_can_be_drawn(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, kind: str
) -> None:
    stream, now = _Stream(terminal), 0.0
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.progress_bar("counting", 100) as advance:
        for _ in range(100):
            now += 1.0
            advance(1)
    assert stream.getvalue().splitlines() == [
        f"counting: {done} of 100, {100 - done} s left" for done in (16, 32, 48, 64, 80, 96)
    ]


def test_windows_needs_no_privilege_and_kills_nobody(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "A required privilege is not held by the client")

    import psutil

    monkeypatch.setattr(psutil, "pid_exists", lambda pid: pid == os.getpid())  # as it answers there
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "symlink", refused)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("os.kill ends processes there"))
    study = queued(evaluator, tmp_path / "q.journal", trials=3)
    taken = study._pop_waiting_trial_id()
    assert taken is not None
    study._storage.set_trial_system_attr(taken, WORKER, f"{liveness.me().split('/')[0]}/999999999/")
    assert train(study, evaluator, lambda config, report: 1.0) == 3
    assert states(study) == {"FAIL": 1, "COMPLETE": 3}


def test_a_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    """Killed within the lock, on this machine: nobody waits for the half minute that other machines' locks take."""
    path = tmp_path / "s.journal"
    path.touch()
    code = (
        "import os, signal; from archsearch.search.studies.journal_lock import JournalLock\n"
        f"JournalLock({str(path)!r}).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert (tmp_path / "s.journal.lock").read_text().startswith("archsearch ")
    lock = JournalLock(str(path))
    lock.file.grace_period = None  # never broken for its age
    lock.acquire()
    lock.release()
    assert not (tmp_path / "s.journal.lock").exists()


def test_a_lock_of_another_program_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    path.touch()
    other, mine = JournalFileOpenLock(str(path)), JournalLock(str(path))
    other.acquire()
    mine.file.grace_period = 1  # broken once it is that old
    started = time.monotonic()
    mine.acquire()
    assert time.monotonic() - started >= 1
    mine.release()
