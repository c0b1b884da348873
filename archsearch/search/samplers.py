"""Optuna samplers over a space: proposals in batches, each architecture evaluated once.

The sampler works on a study in memory, which costs no storage round trips. It asks for a batch of proposals
(a generation for the genetic samplers). A proposal that is no legal architecture, or that was seen before, is
replaced by the legal unseen cell that is reached by the fewest random changes of a dimension. The batch is
evaluated as arrays, and each trial carries its budget violations as Optuna constraints (≤ 0 is feasible).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archsearch.errors import UnsupportedError
from archsearch.search.enumeration import canonical_keys, cell_columns
from archsearch.search.evaluate import Columns, Evaluator
from archsearch.search.frames import plain
from archsearch.search.space import Cells, SearchSpace

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

GENETIC_POPULATION = 50
_BATCH = {"nsga2": GENETIC_POPULATION, "nsga3": GENETIC_POPULATION, "tpe": 16, "gp": 1, "random": 256}
_REPAIR_ATTEMPTS = 400
_IDLE_PROPOSALS = 500


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """One Optuna distribution per dimension: stepped integers where the values are evenly spaced."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    chosen: dict[str, BaseDistribution] = {}
    for name, values in space.dimensions.items():
        steps = np.unique(np.diff(values))
        if values.dtype.kind == "i" and len(steps) <= 1:
            step = int(steps[0]) if len(steps) else 1
            chosen[name] = IntDistribution(int(values[0]), int(values[-1]), step=step)
        else:
            chosen[name] = CategoricalDistribution([value.item() for value in values])
    return chosen


def directions(evaluator: Evaluator) -> list[optuna.study.StudyDirection]:
    """Optuna's direction of each objective."""
    from optuna.study import StudyDirection

    signs = evaluator.objective_columns.values()
    return [StudyDirection.MINIMIZE if sign > 0 else StudyDirection.MAXIMIZE for sign in signs]


def make_sampler(strategy: str, seed: int, dimensions: int) -> optuna.samplers.BaseSampler:
    """The Optuna sampler of a strategy name.

    Raises:
        UnsupportedError: ``gp`` without PyTorch, which Optuna's Gaussian process needs.
    """
    import optuna

    match strategy:
        case "nsga2":
            return optuna.samplers.NSGAIISampler(population_size=GENETIC_POPULATION, seed=seed)
        case "nsga3":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # marked experimental
                return optuna.samplers.NSGAIIISampler(population_size=GENETIC_POPULATION, seed=seed)
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=max(32, 4 * dimensions))
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
    try:
        import torch  # noqa: F401
    except ImportError:
        raise UnsupportedError("strategy gp needs PyTorch: pip install 'archsearch[torch]', or choose tpe") from None
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=max(32, 4 * dimensions))


def cell_trials(
    evaluator: Evaluator,
    cells: Cells,
    *,
    system_attrs: Sequence[dict[str, Any]] | None = None,
    labels: dict[int, list[str]] | None = None,
) -> list[FrozenTrial]:
    """Completed Optuna trials of cell numbers, metrics in ``user_attrs["metrics"]``.

    ``labels`` gives, by cell, the fronts that it stands on (``user_attrs["front_of"]``).
    """
    from optuna.trial import create_trial

    if not len(cells):
        return []
    space = evaluator.space
    columns = cell_columns(evaluator, cells)
    violations = evaluator.evaluate(space.decode(cells)).violation_columns(np.arange(len(cells)))
    kinds = distributions(space)
    rows = _rows(columns)
    limits = _rows(violations) if violations else [{}] * len(rows)
    trials = []
    for position, (row, limit) in enumerate(zip(rows, limits, strict=True)):
        attributes: dict[str, Any] = {"metrics": {name: value for name, value in row.items() if name not in kinds}}
        if labels is not None:
            attributes["front_of"] = labels.get(int(cells[position]), [])
        trials.append(
            create_trial(
                values=[row[name] for name in evaluator.objective_columns],
                params={name: row[name] for name in kinds},
                distributions=kinds,
                user_attrs=attributes,
                system_attrs=dict(system_attrs[position]) if system_attrs else {},
                constraints=limit,
            )
        )
    return trials


def _rows(columns: Columns) -> list[dict[str, Any]]:
    lists = {name: values.tolist() for name, values in columns.items()}
    return [
        {name: plain(value) for name, value in zip(lists, row, strict=True)}
        for row in zip(*lists.values(), strict=True)
    ]


@dataclass
class BatchSearch:
    """Runs a sampler over a space until ``trials`` new architectures were evaluated or none is left.

    ``stored`` reads all trials kept so far, by this run, earlier ones or other workers on the same study;
    ``store`` keeps a batch of finished trials.
    """

    evaluator: Evaluator
    strategy: str
    seed: int
    stored: Callable[[], Sequence[FrozenTrial]]
    store: Callable[[list[FrozenTrial]], None]
    _seen: set[tuple[Any, ...]] = field(default_factory=set)
    _kept: set[tuple[Any, ...]] = field(default_factory=set)
    _read: int = 0

    def run(self, trials: int) -> int:
        """Evaluate up to ``trials`` new architectures; returns how many were found."""
        import optuna

        space = self.evaluator.space
        sampler = make_sampler(self.strategy, self.seed, len(space.dimensions))
        study = optuna.create_study(sampler=sampler, directions=directions(self.evaluator))
        random = np.random.default_rng(self.seed)
        self._catch_up(study)
        found, idle = 0, 0
        while found < trials and idle < _IDLE_PROPOSALS:
            wanted = min(_BATCH[self.strategy], trials - found)
            cells, origins = self._propose(study, wanted, random)
            finished = cell_trials(self.evaluator, cells, system_attrs=origins)
            study.add_trials(finished)
            self._catch_up(study)
            mine = [t for t, key in zip(finished, canonical_keys(space, cells), strict=True) if key not in self._kept]
            self.store(mine)
            found += len(mine)
            idle = 0 if mine else idle + wanted
        return found

    def _catch_up(self, study: optuna.Study) -> None:
        """Learn the trials that were stored since the last look and that this run did not evaluate itself."""
        fresh = list(self.stored())[self._read :]
        self._read += len(fresh)
        if not fresh:
            return
        space = self.evaluator.space
        values = {name: np.array([trial.params[name] for trial in fresh]) for name in space.dimensions}
        keys = canonical_keys(space, space.encode(values))
        study.add_trials([trial for trial, key in zip(fresh, keys, strict=True) if key not in self._seen])
        self._seen.update(keys)
        self._kept.update(keys)

    def _propose(
        self, study: optuna.Study, count: int, random: np.random.Generator
    ) -> tuple[Cells, list[dict[str, Any]]]:
        """Distinct legal unseen cells from the sampler's proposals, with the sampler's notes on each."""
        space = self.evaluator.space
        kinds = distributions(space)
        asked = [study.ask(kinds) for _ in range(count)]
        cells = space.encode({name: np.array([trial.params[name] for trial in asked]) for name in kinds})
        keys = canonical_keys(space, cells)
        legal = self._legal(cells)
        chosen, origins = [], []
        for trial, cell, key, usable in zip(asked, cells.tolist(), keys, legal.tolist(), strict=True):
            # the genetic samplers note the generation in the trial; a replacement inherits it
            notes = dict(study.tell(trial, state=_failed()).system_attrs)
            fresh: int | None = cell
            if usable and key not in self._seen:
                self._seen.add(key)
            else:
                fresh = self._replacement(cell, random)
            if fresh is not None:
                chosen.append(fresh)
                origins.append(notes)
        return np.asarray(chosen, dtype=np.int64), origins

    def _replacement(self, cell: int, random: np.random.Generator) -> int | None:
        """A legal unseen cell near a cell that is not, or None where none was met."""
        space = self.evaluator.space
        candidates = _perturbed(space, cell, random)
        candidates = candidates[self._legal(candidates)]
        for candidate, key in zip(candidates.tolist(), canonical_keys(space, candidates), strict=True):
            if key not in self._seen:
                self._seen.add(key)
                return int(candidate)
        return None

    def _legal(self, cells: Cells) -> NDArray[np.bool_]:
        """Legality [N], from the rules alone: nothing is priced."""
        return self.evaluator.legal(self.evaluator.space.decode(cells))


def _failed() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL


def _perturbed(space: SearchSpace, cell: int, random: np.random.Generator) -> Cells:
    """Random cells at growing distance: the i-th changes more dimensions, by more steps, as i grows."""
    shape = np.array(space.shape)
    origin = np.array(np.unravel_index(cell, space.shape))
    growth = np.linspace(0, 1, _REPAIR_ATTEMPTS)[:, None]
    reach = 1 + np.floor(growth**2 * (shape - 1))
    shift = np.rint(random.uniform(-1, 1, (_REPAIR_ATTEMPTS, len(shape))) * reach).astype(np.int64)
    share = 1 / len(shape) + growth * (1 - 1 / len(shape))
    moved = random.random(shift.shape) < share
    coordinates = np.clip(origin + np.where(moved, shift, 0), 0, shape - 1)
    return np.asarray(np.ravel_multi_index(tuple(coordinates.T), space.shape), dtype=np.int64)
