"""Studies whose objective is measured or trained: the analytic model picks candidates, each is then tried for real.

Three objectives of rising cost:

* ``analytic``: the cost model and the quality law (``study.py``);
* ``benchmark``: speed is measured on the device at hand, by a ``Timer``;
* ``train``: quality is the loss of a short training run, by a ``Trainer``: a user's ``module:function`` or ours.

The analytic model prices ``trials / keep`` architectures and the best ``trials`` of them, front by front, are queued as
waiting trials. Workers take them one by one. A trial whose worker dies is queued again (``liveness.py``); one that
raises, or returns no finite number, fails with the reason, and its worker goes on to the next. Optuna's pruners stop
bad training runs early; they need a single objective, so that a pruned study minimises the trained loss alone.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, cast

import numpy as np

from archsearch.arrays import Floats
from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.models.base import ModelConfig
from archsearch.progress import progress_bar, remark
from archsearch.ranges import require_range
from archsearch.search.evaluate.columns import metric_and_gpu
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.enumeration import sweep, with_own_fronts
from archsearch.search.explore.hybrid import spread
from archsearch.search.explore.liveness import WORKER, Watch, beating, me, queue_again, release_dead
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
FAILED = "failed_because"
"""User attribute of a failed trial: the reason."""
LONGEST_REASON = 500
WATCH_S = 1.0
"""Between two looks at workers that may be dead, where nothing else is left to do."""
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
    done, failed, watch = 0, [], Watch()
    with progress_bar(f"{fidelity.objective} on {fidelity.device}", len(study.trials), enabled=progress) as advance:
        while True:
            release_dead(study, watch)
            trial_id = study._pop_waiting_trial_id()
            if trial_id is None:
                if not watch.awaits(study):
                    break
                time.sleep(WATCH_S)  # nothing else is left: see whether the silent ones are alive
                continue
            reason = _one(study, trial_id, evaluator, fidelity, measure)
            if reason is None:
                done += 1
            else:
                failed.append(reason)
            advance(1)
    if failed:
        remark(f"{len(failed)} of {done + len(failed)} trials failed; the last: {failed[-1]}")
    return done


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
            seconds = _number("measured_latency_s", clock(config, workload))
            if seconds <= 0:
                raise InvalidInputError(f"measured_latency_s: {seconds} was measured, where a time is needed")
            units = float(np.asarray(config.tokens(workload)))
            return {"measured_latency_s": seconds, "measured_throughput": units / seconds}

        return Evaluation(benchmark, "a timer of the caller's" if timer else device_name(fidelity.device))
    train = trainer or _trainer(fidelity, evaluator.space.family, allow_code)

    def trained(config: ModelConfig, report: Report) -> dict[str, float]:
        return {"trained_loss": train(config.to_dict(), report)}

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


def _one(
    study: optuna.Study, trial_id: int, evaluator: Evaluator, fidelity: Fidelity, measure: Evaluation
) -> str | None:
    """Evaluate one trial; returns why it failed, None where it was finished or pruned."""
    import optuna
    from optuna.trial import Trial, TrialState

    study._storage.set_trial_system_attr(trial_id, WORKER, me())
    trial = Trial(study, trial_id)

    def report(step: int, value: float) -> None:
        if fidelity.pruned:
            trial.report(float(value), int(step))
            if trial.should_prune():
                raise optuna.TrialPruned

    with beating(study, trial_id):
        try:
            dimensions = {name: trial._suggest(name, kind) for name, kind in distributions(evaluator.space).items()}
            config = evaluator.space.family_class.from_dict(evaluator.space.config_dict(dimensions))
            measured = {name: _number(name, value) for name, value in measure.metrics(config, report).items()}
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
            return None
        except KeyboardInterrupt:
            trial.set_user_attr(FAILED, "interrupted")
            study.tell(trial, state=TrialState.FAIL)
            queue_again(study, trial_id)
            raise
        except (Exception, SystemExit) as error:
            reason = _reason(error)
            trial.set_user_attr(FAILED, reason)
            study.tell(trial, state=TrialState.FAIL)
            return reason
    metrics = {**trial.user_attrs["metrics"], **measured}
    trial.set_user_attr("metrics", metrics)
    trial.set_user_attr("measured_on", measure.on)
    study.tell(trial, [metrics[name] for name in fidelity.objectives(evaluator)])
    return None


def _number(name: str, value: object) -> float:
    """A measured or trained value.

    Raises:
        InvalidInputError: it is no finite number; a failed trial says so, and no recommendation rests on it.
    """
    if value is None:
        raise InvalidInputError(f"{name}: nothing (None) was returned, where a finite number is needed")
    try:
        number = float(cast("SupportsFloat", value))
    except (TypeError, ValueError):
        text = f"{name}: {type(value).__name__} was returned, where a finite number is needed"
        raise InvalidInputError(text) from None
    if not math.isfinite(number):
        raise InvalidInputError(f"{name}: {number} was returned, where a finite number is needed")
    return number


def _reason(error: BaseException) -> str:
    """What failed, and of another's code where."""
    if isinstance(error, ArchSearchError):
        return str(error)[:LONGEST_REASON]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:LONGEST_REASON] + where


def make_pruner(fidelity: Fidelity) -> optuna.pruners.BasePruner:
    """The Optuna pruner of a study's record."""
    import optuna

    if not fidelity.pruned:
        return optuna.pruners.NopPruner()
    if fidelity.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=3)
    return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=fidelity.steps)
