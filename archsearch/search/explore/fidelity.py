"""Studies whose objective is measured or trained: the analytic model picks candidates, each is then tried for real.

Three objectives of rising cost:

* ``analytic``: the cost model and the quality law (``study.py``);
* ``benchmark``: speed is measured on the device at hand, by a ``Timer``;
* ``train``: quality is the loss of a short training run, by a ``Trainer``: a user's ``module:function`` or ours.

The analytic model prices ``trials / keep`` architectures and the best ``trials`` of them, front by front, are queued as
waiting trials. Workers take them one by one. A trial whose worker dies is queued again: other workers notice that its
heartbeats have stopped (Optuna's own in databases, a system attribute elsewhere), and on one machine at once that the
process is gone. Optuna's pruners stop bad training runs early; they need
a single objective, so that a pruned study minimises the trained loss alone.
"""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from archsearch.arrays import Floats
from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.models.base import ModelConfig
from archsearch.progress import progress_bar
from archsearch.ranges import require_range
from archsearch.search.evaluate.columns import metric_and_gpu
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.enumeration import sweep, with_own_fronts
from archsearch.search.explore.hybrid import spread
from archsearch.search.explore.measured import device_name, short_training, torch_timer
from archsearch.search.explore.samplers import BatchSearch, cell_trials, distributions
from archsearch.search.explore.tried import Report, Timer, Trainer
from archsearch.search.pareto import non_dominated, objective_matrix
from archsearch.search.space.space import Cells
from archsearch.search.space.user_code import allowing_code, require_leave

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

OBJECTIVES = ("analytic", "benchmark", "train")
PRUNERS = ("hyperband", "median", "none")
WORKER = "archsearch:worker"
BEAT = "archsearch:beat"
HEARTBEAT_S = 30
GRACE_S = 120
MAX_RETRIES = 3
ENUMERABLE_CANDIDATES = 5_000_000


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How a study's trials are evaluated.

    ``objective`` is analytic, benchmark (measured on ``device``) or train (a short run's loss). Of the analytically
    priced candidates the share ``keep`` is measured or trained. ``function`` is a user's trainer,
    ``MODULE:FUNCTION``; a run has ``steps`` at most, and ``pruner`` (hyperband, median or none) ends it earlier.

    Raises:
        InvalidInputError: a choice or a number that makes no sense.
    """

    objective: Literal["analytic", "benchmark", "train"] = "analytic"
    function: str | None = None
    device: str = "cpu"
    steps: int = 200
    pruner: Literal["hyperband", "median", "none"] = "hyperband"
    keep: float = 0.1

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InvalidInputError(f"objective {self.objective!r}: choose {', '.join(OBJECTIVES)}", field="objective")
        if self.pruner not in PRUNERS:
            raise InvalidInputError(f"pruner {self.pruner!r}: choose {', '.join(PRUNERS)}", field="pruner")
        require_range("keep", self.keep, 0, 1, above=True)
        require_range("steps", self.steps, 1, whole=True)
        if self.function is not None and self.objective != "train":
            text = f"a trainer function needs the objective train, not {self.objective}"
            raise InvalidInputError(text, field="function")

    @property
    def pruned(self) -> bool:
        return self.objective == "train" and self.pruner != "none"

    def objectives(self, evaluator: Evaluator) -> dict[str, float]:
        """Columns that the study optimises, with their sign."""
        if self.objective == "analytic":
            return evaluator.objective_columns
        if self.pruned:
            return {"trained_loss": 1.0}
        chosen: dict[str, float] = {}
        for objective in evaluator.space.objectives:
            if self.objective == "train" and objective.metric == "quality":
                chosen["trained_loss"] = 1.0
            elif self.objective == "benchmark" and objective.metric in ("throughput", "latency_s"):
                chosen[f"measured_{objective.metric}"] = objective.sign
            else:
                chosen |= _analytic(evaluator, objective.metric)
        wanted = "quality" if self.objective == "train" else "throughput or latency_s"
        if not any(name.startswith(("measured_", "trained_")) for name in chosen):
            raise InvalidInputError(
                f"space {evaluator.space.name}: a {self.objective} study needs {wanted} among its objectives"
            )
        return chosen

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _analytic(evaluator: Evaluator, metric: str) -> dict[str, float]:
    return {
        column: sign
        for column, sign in evaluator.objective_columns.items()
        if metric_and_gpu(column)[0].startswith(metric.removesuffix("_s"))
    }


def candidates(evaluator: Evaluator, count: int, keep: float, seed: int, *, progress: bool) -> Cells:
    """The best ``count`` of ``count / keep`` analytically priced architectures: whole fronts, one after another, and of
    the last one a spread selection."""
    evaluator = with_own_fronts(evaluator, progress=progress)
    pool = max(count, int(np.ceil(count / keep)))
    if evaluator.space.size <= ENUMERABLE_CANDIDATES:
        swept = sweep(evaluator.space, progress=progress, sample=pool, seed=seed, evaluator=evaluator)
        cells = np.concatenate([swept.front_cells, swept.sample_cells])[:pool]
    else:
        kept: list[FrozenTrial] = []
        BatchSearch(evaluator, "hybrid", seed, lambda: kept, kept.extend).run(pool)
        feasible = [t for t in kept if max(t.constraints.values(), default=0.0) <= 0]
        values = {n: np.array([t.params[n] for t in feasible]) for n in evaluator.space.dimensions}
        cells = evaluator.space.encode(values) if feasible else np.empty(0, dtype=np.int64)
    if not len(cells):
        raise ArchSearchError(
            f"space {evaluator.space.name}: nothing that is feasible was found; `archsearch recommend` tells what binds"
        )
    columns = evaluator.columns(evaluator.evaluate(evaluator.space.decode(cells)), np.arange(len(cells)))
    chosen: Cells = cells[best_first(objective_matrix(columns, evaluator.objective_columns), count)]
    return chosen


def best_first(points: Floats, count: int) -> Cells:
    """Rows of points [N, M] (minimised) by the front that they stand on, ``count`` of them."""
    rest, chosen = np.arange(len(points)), np.empty(0, dtype=np.int64)
    while len(chosen) < count and len(rest):
        mask = non_dominated(points[rest])
        front = rest[mask]
        room = count - len(chosen)
        chosen = np.concatenate([chosen, front if len(front) <= room else front[spread(points[front], room)]])
        rest = rest[~mask]
    return chosen


def waiting_trials(evaluator: Evaluator, cells: Cells) -> list[FrozenTrial]:
    """Architectures as trials that wait for a worker."""
    from optuna.trial import TrialState

    waiting = []
    for trial in cell_trials(evaluator, cells):
        trial.system_attrs["fixed_params"] = dict(trial.params)
        trial.values = None
        trial.state = TrialState.WAITING
        trial.datetime_start = trial.datetime_complete = None
        waiting.append(trial)
    return waiting


def work(
    study: optuna.Study,
    evaluator: Evaluator,
    fidelity: Fidelity,
    *,
    allow_code: bool,
    progress: bool,
    timer: Timer | None = None,
    trainer: Trainer | None = None,
) -> int:
    """Evaluate waiting trials until none is left; returns how many this worker finished.

    Raises:
        UnsupportedError: the study names a trainer's code and ``allow_code`` is False, or torch is missing.
    """
    measure = _evaluation(evaluator, fidelity, allow_code, timer, trainer)
    done = 0
    with progress_bar(f"{fidelity.objective} on {fidelity.device}", len(study.trials), enabled=progress) as advance:
        while True:
            release_dead(study)
            trial_id = study._pop_waiting_trial_id()
            if trial_id is None:
                return done
            done += _one(study, trial_id, evaluator, fidelity, measure)
            advance(1)


def require_evaluation(evaluator: Evaluator, fidelity: Fidelity, *, allow_code: bool) -> None:
    """Refuse what this machine cannot measure or train, before a trial is queued for it.

    Raises:
        UnsupportedError: a trainer's code without ``allow_code``, no such device here, or torch is missing.
        InvalidInputError: there is no such trainer.
    """
    if fidelity.objective != "analytic":
        _evaluation(evaluator, fidelity, allow_code, None, None)


@dataclass(frozen=True)
class Evaluation:
    """Tries one architecture: ``metrics`` from a config and a report; ``on`` says what device answers."""

    metrics: Callable[[ModelConfig, Report], dict[str, float]]
    on: str


def _evaluation(
    evaluator: Evaluator, fidelity: Fidelity, allow_code: bool, timer: Timer | None, trainer: Trainer | None
) -> Evaluation:
    if fidelity.objective == "benchmark":
        clock = timer or torch_timer(fidelity.device)
        workload = evaluator.space.workload

        def benchmark(config: ModelConfig, report: Report) -> dict[str, float]:
            seconds = clock(config, workload)
            units = float(np.asarray(config.tokens(workload)))
            return {"measured_latency_s": seconds, "measured_throughput": units / seconds}

        return Evaluation(benchmark, "a timer of the caller's" if timer else device_name(fidelity.device))
    train = trainer or _trainer(fidelity, evaluator.space.family, allow_code)

    def trained(config: ModelConfig, report: Report) -> dict[str, float]:
        return {"trained_loss": float(train(config.to_dict(), report))}

    named = fidelity.function or (None if trainer is None else "a trainer of the caller's")
    return Evaluation(trained, named or f"the built-in short training on {device_name(fidelity.device)}")


def _trainer(fidelity: Fidelity, family: str, allow_code: bool) -> Trainer:
    if fidelity.function is None:
        return short_training(fidelity.device, fidelity.steps, family)
    with allowing_code(allow_code):
        require_leave(f"the study trains by {fidelity.function!r}")
    from archsearch.models.tracing.builder import find_function

    trainer: Trainer = find_function(fidelity.function)
    return trainer


def _one(study: optuna.Study, trial_id: int, evaluator: Evaluator, fidelity: Fidelity, measure: Evaluation) -> int:
    """Evaluate one trial; returns 1 where it was finished or pruned, 0 where it failed."""
    import optuna
    from optuna.storages._heartbeat import get_heartbeat_thread
    from optuna.trial import Trial, TrialState

    study._storage.set_trial_system_attr(trial_id, WORKER, _me())
    trial = Trial(study, trial_id)
    signs = fidelity.objectives(evaluator)
    dimensions = {name: trial._suggest(name, kind) for name, kind in distributions(evaluator.space).items()}
    config = evaluator.space.family_class.from_dict(evaluator.space.config_dict(dimensions))

    def report(step: int, value: float) -> None:
        if fidelity.pruned:
            trial.report(float(value), int(step))
            if trial.should_prune():
                raise optuna.TrialPruned

    with get_heartbeat_thread(trial_id, study._storage), _beating(study, trial_id):
        try:
            measured = measure.metrics(config, report)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
            return 1
        except ArchSearchError as error:
            trial.set_user_attr("failed_because", str(error))
            study.tell(trial, state=TrialState.FAIL)
            return 0
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)
            raise
    metrics = {**trial.user_attrs["metrics"], **measured}
    trial.set_user_attr("metrics", metrics)
    trial.set_user_attr("measured_on", measure.on)
    study.tell(trial, [metrics[name] for name in signs])
    return 1


@contextmanager
def _beating(study: optuna.Study, trial_id: int) -> Iterator[None]:
    """Signs of life in storages that have no heartbeats of their own (journals, the proxy)."""
    from optuna.storages._heartbeat import is_heartbeat_enabled

    if is_heartbeat_enabled(study._storage):
        yield
        return
    done = Event()

    def beat() -> None:
        while True:
            study._storage.set_trial_system_attr(trial_id, BEAT, time.time())
            if done.wait(HEARTBEAT_S):
                return

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _me() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{_started(os.getpid())}"


def _started(pid: int) -> str:
    """When a process of this machine began, so that a reused number is not taken for it ('' where that is unknown)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def release_dead(study: optuna.Study) -> None:
    """Fail and queue again the trials of workers that are gone: those whose heartbeats have stopped, and those whose
    process on this machine has ended."""
    import optuna
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from optuna.trial import TrialState

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # marked experimental
        optuna.storages.fail_stale_trials(study)
    again = RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES)
    for trial in study.get_trials(deepcopy=True, states=(TrialState.RUNNING,)):
        host, _, rest = str(trial.system_attrs.get(WORKER, "")).partition("/")
        pid, _, started = rest.partition("/")
        here = host == socket.gethostname() and pid.isdigit()
        gone = here and not (_alive(int(pid)) and _started(int(pid)) == started)
        if not gone and time.time() - trial.system_attrs.get(BEAT, np.inf) < GRACE_S:
            continue
        try:
            study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
        except optuna.exceptions.UpdateFinishedTrialError:
            continue  # another worker was quicker
        again(study, trial)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def make_pruner(fidelity: Fidelity) -> optuna.pruners.BasePruner:
    """The Optuna pruner of a study's record."""
    import optuna

    if not fidelity.pruned:
        return optuna.pruners.NopPruner()
    if fidelity.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=3)
    return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=fidelity.steps)
