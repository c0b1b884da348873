"""Studies that measure or train: candidates by the analytic model, pruning, retries, and real torch at small size."""

from __future__ import annotations

import json
import os
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

from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware import GpuPool
from archsearch.search.answers.recommend import recommend
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore import fidelity as module
from archsearch.search.explore import liveness
from archsearch.search.explore.fidelity import Fidelity, best_first, candidates, waiting_trials, work
from archsearch.search.explore.liveness import release_dead
from archsearch.search.pareto import non_dominated, objective_matrix
from archsearch.search.space.space import load_space
from archsearch.search.studies import storage as storage_module
from archsearch.search.studies.ledger import insert
from archsearch.search.studies.storage import load_study
from archsearch.search.studies.study import create_study, run_study, study_frame, summarize_study

pytest_plugins = ("search_fakes",)

TINY = """
name: tiny-decoders
description: Decoders small enough to time and train in a test.
family: decoder
fixed: {vocab_size: 512, max_position_embeddings: 128, tie_word_embeddings: true}
dimensions:
  hidden_size: {choices: [32, 64, 96]}
  num_layers: {choices: [1, 2]}
  num_attention_heads: {choices: [1, 2]}
derived:
  intermediate_size: 3 * hidden_size
  num_key_value_heads: num_attention_heads
width_multiple: 32
workload: {phase: forward, batch_size: 2, seq_len: 32, dtype: fp32}
quality: {proxy: chinchilla-besiroglu, tokens: 1.0e+9}
hardware: [a100-sxm-80gb]
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-decoders.yaml"
    path.write_text(TINY)
    return path


def test_best_first_takes_whole_fronts() -> None:
    random = np.random.default_rng(0)
    points = random.integers(0, 12, (200, 2)).astype(float)
    rank, rest, level = np.full(200, -1), np.arange(200), 0
    while len(rest):
        mask = np.array([not any((q <= p).all() and (q < p).any() for q in points[rest]) for p in points[rest]])
        rank[rest[mask]] = level
        rest, level = rest[~mask], level + 1
    for count in (1, 7, 40, 200):
        chosen = best_first(points, count)
        assert len(set(chosen.tolist())) == count
        assert sorted(rank[chosen].tolist()) == sorted(rank.tolist())[:count]


def test_candidates_are_the_analytic_best(evaluator: Evaluator) -> None:
    cells = candidates(evaluator, 20, 0.1, 3, progress=False)
    assert len(set(cells.tolist())) == 20
    evaluation = evaluator.evaluate(evaluator.space.decode(cells))
    assert evaluation.feasible.all()
    front = candidates(evaluator, 10_000, 1.0, 3, progress=False)
    points = objective_matrix(
        evaluator.columns(evaluator.evaluate(evaluator.space.decode(front)), np.arange(len(front))),
        evaluator.objective_columns,
    )
    leading = set(front[non_dominated(points)].tolist())
    assert set(cells.tolist()) <= leading  # the front alone has more than 20


def slow_is_wide(config: Any, workload: Any) -> float:
    return 1e-3 * float(config.hidden_size)


def benchmark_study(evaluator: Evaluator, place: str, timer: Any = slow_is_wide, trials: int = 12) -> optuna.Study:
    fidelity = Fidelity(objective="benchmark", keep=0.5)
    study = create_study(evaluator.space, evaluator=evaluator, name="b", storage=place, fidelity=fidelity)
    insert(study, waiting_trials(evaluator, candidates(evaluator, trials, fidelity.keep, 0, progress=False)))
    assert work(study, evaluator, fidelity, allow_code=False, progress=False, timer=timer) == trials
    return study


@pytest.mark.parametrize("place", ["b.journal", "b.db"])
def test_measured_speed_replaces_the_estimate(evaluator: Evaluator, tmp_path: Path, place: str) -> None:
    study = benchmark_study(evaluator, str(tmp_path / place))
    frame = study_frame(study)
    assert len(frame) == 12
    tokens = 4 * 128
    np.testing.assert_allclose(frame["measured_throughput"], tokens / (1e-3 * frame["hidden_size"]))
    front = frame[frame["on_front"]]
    points = frame[["quality", "measured_throughput"]].to_numpy() * [1, -1]
    np.testing.assert_array_equal(frame["on_front"], non_dominated(points))
    best = recommend(study, top=2, progress=False, evaluator=evaluator)
    assert set(best["hidden_size"]) <= set(front["hidden_size"])
    assert summarize_study(study)["objective"] == "benchmark"


def test_a_failing_architecture_fails_alone(evaluator: Evaluator, tmp_path: Path) -> None:
    def picky(config: Any, workload: Any) -> float:
        if int(config.num_layers) % 2:
            raise UnsupportedError("no odd depths here")
        return 1.0

    fidelity = Fidelity(objective="benchmark")
    place = str(tmp_path / "p.journal")
    study = create_study(evaluator.space, evaluator=evaluator, name="p", storage=place, fidelity=fidelity)
    feasible = np.flatnonzero(evaluator.evaluate(evaluator.space.mesh()).feasible)
    insert(study, waiting_trials(evaluator, feasible[:20]))
    done = work(study, evaluator, fidelity, allow_code=False, progress=False, timer=picky)
    states = Counter(t.state.name for t in study.trials)
    assert states["COMPLETE"] == done == sum(t.params["num_layers"] % 2 == 0 for t in study.trials)
    assert {t.user_attrs["failed_because"] for t in study.trials if t.state.name == "FAIL"} == {"no odd depths here"}


TRAINER = """
import os, time
def train(config, report):
    open({log!r}, "a").write(f"{{config['hidden_size']}} {{config['num_layers']}}\\n")
    loss = 10.0
    for step in range(1, 28):
        loss = 1.0 + config["hidden_size"] / 1000 + 5.0 / step
        report(step, loss)
        time.sleep(0.0 if os.path.exists({log!r} + ".fast") else 0.5)
    return loss
"""


def test_hyperband_stops_bad_runs_early(evaluator: Evaluator, tmp_path: Path) -> None:
    steps: list[int] = []

    def train(config: Any, report: Any) -> float:
        steps.append(0)
        for step in range(1, 28):
            steps[-1] = step
            report(step, config["hidden_size"] / 100 + 1 / step)
        return float(config["hidden_size"] / 100)

    fidelity = Fidelity(objective="train", steps=27, keep=1.0)
    place = str(tmp_path / "h.journal")
    study = create_study(evaluator.space, evaluator=evaluator, name="h", storage=place, fidelity=fidelity)
    study.pruner = module.make_pruner(fidelity)
    insert(study, waiting_trials(evaluator, candidates(evaluator, 40, 1.0, 0, progress=False)))
    assert work(study, evaluator, fidelity, allow_code=True, progress=False, trainer=train) == 40
    states = Counter(t.state.name for t in study.trials)
    assert states["PRUNED"] > 5
    assert states["COMPLETE"] + states["PRUNED"] == 40
    assert sum(steps) < 0.8 * 40 * 27
    assert list(study_frame(study).attrs["objectives"]) == ["trained_loss"]
    assert study.best_trial.params["hidden_size"] == min(t.params["hidden_size"] for t in study.trials)
    best = recommend(study, top=1, progress=False, evaluator=evaluator)
    assert best.iloc[0]["trained_loss"] == study.best_value


def test_without_a_pruner_speed_stays_an_objective(evaluator: Evaluator) -> None:
    names = Fidelity(objective="train", pruner="none").objectives(evaluator)
    assert list(names) == ["trained_loss", "throughput_worst", "throughput_weighted"]
    names = Fidelity(objective="benchmark").objectives(evaluator)
    assert names == {"quality": 1.0, "measured_throughput": -1.0}


@pytest.mark.parametrize(
    "wrong", [{"objective": "guess"}, {"pruner": "axe"}, {"keep": 0.0}, {"keep": 2}, {"steps": 0}, {"function": "a:b"}]
)
def test_choices_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Fidelity(**wrong)


def test_a_users_trainer_needs_leave(tiny: Path, tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(TRAINER.format(log=str(tmp_path / "log")))
    (tmp_path / "log.fast").touch()
    fidelity = Fidelity(objective="train", function=f"{script}:train", steps=27, keep=1.0, pruner="none")
    options: dict[str, Any] = {"trials": 4, "storage": str(tmp_path / "u.journal"), "progress": False}
    with pytest.raises(UnsupportedError, match="add allow_code"):
        run_study(str(tiny), name="u", fidelity=fidelity, **options)
    assert not (tmp_path / "log").exists()
    study = run_study(str(tiny), name="u", fidelity=fidelity, allow_code=True, **options)  # the name is free
    assert len(study_frame(study)) == 4
    assert len((tmp_path / "log").read_text().splitlines()) == 4
    for missing in ("nowhere.py:train", f"{script}:nothing", "no"):
        wrong = Fidelity(objective="train", function=missing, keep=1.0)
        with pytest.raises(InvalidInputError):
            run_study(str(tiny), name=f"u{len(missing)}", fidelity=wrong, allow_code=True, **options)


@pytest.mark.parametrize("file", ["k.journal", "k.db"])
def test_a_killed_workers_trial_is_run_again(tiny: Path, tmp_path: Path, file: str) -> None:
    script, log, place = tmp_path / "slow.py", tmp_path / "log", str(tmp_path / file)
    script.write_text(TRAINER.format(log=str(log)))
    command = [sys.executable, "-m", "archsearch", "study"]
    train = ["--objective", "train", "--trainer", f"{script}:train", "--pruner", "none", "--keep", "1", "--allow-code"]
    run = [*command, "run", str(tiny), "--name", "k", "--trials", "6", "--storage", place, *train]
    first = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    fast = tmp_path / "log.fast"
    fast.touch()  # the first trial is soon done, the second takes long enough to be killed in
    for trials in (1, 2):
        while not (log.exists() and len(log.read_text().splitlines()) >= trials):
            assert first.poll() is None, first.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        fast.unlink(missing_ok=True)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    fast.touch()
    states = Counter(t.state.name for t in load_study("k", place).trials)
    assert states["RUNNING"] == 1  # the zombie that the killed worker leaves
    assert states["WAITING"] >= 1
    second = [*command, "worker", "k", "--seed", "1", "--trials", "6", "--storage", place, "--allow-code", "--json"]
    told = subprocess.run(second, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(told.stdout)["trials"] == 6
    trials = load_study("k", place).trials
    assert Counter(t.state.name for t in trials) == {"COMPLETE": 6, "FAIL": 1}
    assert len({json.dumps(t.params, sort_keys=True) for t in trials if t.state.name == "COMPLETE"}) == 6
    (failed,) = (t for t in trials if t.state.name == "FAIL")
    assert any(t.system_attrs.get("failed_trial") == failed.number for t in trials)


def test_heartbeats_release_a_silent_worker(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "HEARTBEAT_S", 1)
    monkeypatch.setattr(storage_module, "GRACE_S", 2)
    fidelity = Fidelity(objective="benchmark")
    place = str(tmp_path / "s.db")
    study = create_study(evaluator.space, evaluator=evaluator, name="s", storage=place, fidelity=fidelity)
    insert(study, waiting_trials(evaluator, candidates(evaluator, 2, 1.0, 0, progress=False)))
    taken = study._pop_waiting_trial_id()
    assert taken is not None
    study._storage.record_heartbeat(taken)
    study._storage.set_trial_system_attr(
        taken, liveness.WORKER, "elsewhere/1/1"
    )  # another machine: no process to look at
    release_dead(study)
    assert Counter(t.state.name for t in study.trials) == {"RUNNING": 1, "WAITING": 1}
    time.sleep(3.5)
    assert work(study, evaluator, fidelity, allow_code=False, progress=False, timer=slow_is_wide) == 2
    assert Counter(t.state.name for t in study.trials) == {"COMPLETE": 2, "FAIL": 1}


def test_journals_release_a_silent_worker(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(liveness, "GRACE_S", 1.0)
    fidelity = Fidelity(objective="benchmark")
    place = str(tmp_path / "s.journal")
    study = create_study(evaluator.space, evaluator=evaluator, name="s", storage=place, fidelity=fidelity)
    insert(study, waiting_trials(evaluator, candidates(evaluator, 2, 1.0, 0, progress=False)))
    taken = study._pop_waiting_trial_id()
    assert taken is not None
    study._storage.set_trial_system_attr(taken, liveness.WORKER, "elsewhere/1/1")
    study._storage.set_trial_system_attr(taken, liveness.BEAT, time.time())
    release_dead(study)
    assert Counter(t.state.name for t in study.trials) == {"RUNNING": 1, "WAITING": 1}

    def slow(config: Any, workload: Any) -> float:
        time.sleep(1.5)  # longer than the grace: beats keep it alive
        other = load_study("s", place)
        release_dead(other)
        assert "RUNNING" in [t.state.name for t in other.get_trials(deepcopy=False)]
        return 1.0

    assert work(study, evaluator, fidelity, allow_code=False, progress=False, timer=slow) == 2
    assert Counter(t.state.name for t in study.trials) == {"COMPLETE": 2, "FAIL": 1}


def test_real_modules_are_timed_and_trained(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    options: dict[str, Any] = {"trials": 3, "progress": False, "seed": 1}
    timed = run_study(
        str(tiny),
        name="t",
        storage=str(tmp_path / "t.journal"),
        fidelity=Fidelity(objective="benchmark", keep=1),
        **options,
    )
    frame = study_frame(timed)
    assert len(frame) == 3
    assert (frame["measured_latency_s"] > 0).all()
    assert frame["measured_on"].str.contains("torch").all()
    np.testing.assert_allclose(frame["measured_throughput"], 64 / frame["measured_latency_s"])
    learn = Fidelity(objective="train", keep=1, steps=40, pruner="none")
    trained = run_study(str(tiny), name="l", storage=str(tmp_path / "l.journal"), fidelity=learn, **options)
    losses = study_frame(trained)["trained_loss"]
    assert (losses < np.log(256)).all()  # better than a uniform guess of bytes
    assert (losses > 1.0).all()
    again = run_study(str(tiny), name="l2", storage=str(tmp_path / "l2.journal"), fidelity=learn, **options)
    np.testing.assert_allclose(study_frame(again)["trained_loss"], losses, rtol=1e-3)


def test_the_built_in_training_refuses_other_families_and_devices(tmp_path: Path) -> None:
    from archsearch.search.explore.measured import short_training, torch_timer

    with pytest.raises(UnsupportedError, match="decoders only"):
        short_training("cpu", 1, "encoder")({"hidden_size": 64}, lambda step, loss: None)
    for device in ("cuda:77", "abacus"):
        with pytest.raises(UnsupportedError, match="cannot be used"):
            torch_timer(device)


def test_nothing_feasible_is_told(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("workload:", "budget: {parameters: [1.0e+12, 2.0e+12]}\nworkload:"))
    evaluator = Evaluator(load_space(str(tiny)), GpuPool.parse("a100-sxm-80gb"))
    with pytest.raises(ArchSearchError, match="nothing that is feasible"):
        candidates(evaluator, 3, 1.0, 0, progress=False)
