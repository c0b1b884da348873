"""Optuna samplers over a space: proposals in batches, each architecture evaluated once.

The sampler works on a study in memory, which costs no storage round trips. It asks for a batch of proposals
(a generation for the genetic samplers). A proposal that is no legal architecture, that misses a budget of parameters
or memory, or that was seen before, is replaced by an unseen cell that is reached by few random changes of a dimension:
one that keeps the budgets where such a one was met, else a legal one. So budgets hold by construction. The batch is
evaluated as arrays, and each trial carries its budget violations as Optuna constraints (≤ 0 is feasible).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archsearch.errors import UnsupportedError
from archsearch.search.evaluate.columns import Columns
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.plain import plain
from archsearch.search.explore.enumeration import canonical_keys, cell_columns, with_own_fronts
from archsearch.search.explore.hybrid import seed_cells
from archsearch.search.explore.keys import KEY, encode_key
from archsearch.search.space.space import Cells, SearchSpace

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

GENETIC_POPULATION = 50
_BATCH = {
    **{"hybrid": GENETIC_POPULATION, "nsga2": GENETIC_POPULATION, "nsga3": GENETIC_POPULATION},
    **{"tpe": 16, "gp": 1, "cmaes": 16, "random": 256},
}
SEED_SHARE = 0.5
"""Share of a hybrid study's trials that the coarsened space's front may take."""
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


def directions(signs: Mapping[str, float]) -> list[optuna.study.StudyDirection]:
    """Optuna's direction of each objective, from {column: sign}."""
    from optuna.study import StudyDirection

    return [StudyDirection.MINIMIZE if sign > 0 else StudyDirection.MAXIMIZE for sign in signs.values()]


def make_sampler(strategy: str, seed: int, dimensions: int, objectives: int) -> optuna.samplers.BaseSampler:
    """The Optuna sampler of a strategy name.

    Raises:
        UnsupportedError: ``gp`` or ``cmaes`` without the package that it needs, or ``cmaes`` with several objectives.
    """
    import optuna

    startup = max(32, 4 * dimensions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several are marked experimental
        match strategy:
            case "nsga2" | "hybrid":
                return optuna.samplers.NSGAIISampler(population_size=GENETIC_POPULATION, seed=seed)
            case "nsga3":
                return optuna.samplers.NSGAIIISampler(population_size=GENETIC_POPULATION, seed=seed)
            case "tpe":
                return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=startup)
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "cmaes":
                require_sampler(strategy, objectives)
                _need("cmaes", "cmaes", "pip install 'archsearch[samplers]'")
                return optuna.samplers.CmaEsSampler(
                    seed=seed, n_startup_trials=startup, warn_independent_sampling=False
                )
        _need("gp", "torch", "pip install 'archsearch[torch]'")
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)


def require_sampler(strategy: str, objectives: int) -> None:
    """Refuse a strategy that cannot follow so many objectives, on whatever machine it runs.

    Raises:
        UnsupportedError: ``cmaes`` with several.
    """
    if strategy == "cmaes" and objectives > 1:
        raise UnsupportedError(
            f"strategy cmaes follows one objective, this search has {objectives}; choose hybrid or nsga2"
        )


def _need(strategy: str, module: str, remedy: str) -> None:
    if find_spec(module) is None:
        raise UnsupportedError(f"strategy {strategy} needs the package {module}: {remedy}, or choose another strategy")


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
    by_dimension = distributions(space)
    rows = _rows(columns)
    limits = _rows(violations) if violations else [{}] * len(rows)
    keys = [encode_key(key) for key in canonical_keys(space, cells)]
    trials = []
    for position, (row, limit) in enumerate(zip(rows, limits, strict=True)):
        attributes: dict[str, Any] = {
            "metrics": {name: value for name, value in row.items() if name not in by_dimension}
        }
        if labels is not None:
            attributes["front_of"] = labels.get(int(cells[position]), [])
        trials.append(
            create_trial(
                values=[row[name] for name in evaluator.objective_columns],
                params={name: row[name] for name in by_dimension},
                distributions=by_dimension,
                user_attrs=attributes,
                system_attrs={**(system_attrs[position] if system_attrs else {}), KEY: keys[position]},
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


@dataclass(frozen=True)
class BatchSearch:
    """Runs a sampler over a space until ``trials`` new architectures were evaluated or none is left.

    ``stored`` reads all trials kept so far, by this run, earlier ones or other workers on the same study;
    ``store`` keeps a batch of finished trials and says which of them it took (None: all): another worker may have
    stored the same architecture a moment before.
    """

    evaluator: Evaluator
    strategy: str
    seed: int
    stored: Callable[[], Sequence[FrozenTrial]]
    store: Callable[[list[FrozenTrial]], Sequence[bool] | None]

    def run(self, trials: int) -> int:
        """Evaluate up to ``trials`` new architectures; returns how many were found."""
        import optuna

        goals = directions(self.evaluator.objective_columns)
        sampler = make_sampler(self.strategy, self.seed, len(self.evaluator.space.dimensions), len(goals))
        study = optuna.create_study(sampler=sampler, directions=goals)
        evaluator = with_own_fronts(self.evaluator, progress=False)
        progress = _Progress(evaluator, self.stored, study, np.random.default_rng(self.seed))
        progress.catch_up()
        if self.strategy == "hybrid":
            progress.enqueue_seeds(trials)
        stored = idle = 0
        while stored < trials and idle < _IDLE_PROPOSALS:
            wanted = min(_BATCH[self.strategy], trials - stored)
            mine = progress.evaluate_batch(wanted)
            taken = self.store(mine)
            count = len(mine) if taken is None else sum(taken)
            stored += count
            idle = 0 if count else idle + wanted
        return stored


@dataclass
class _Progress:
    """How far one search has come; it grows with every batch.

    ``study`` is the sampler's, in memory. ``seen`` are the keys of all architectures that it was told of or that were
    proposed, ``kept`` those stored by whomever, ``inside`` cells that keep the budgets of size, ``read`` how many
    stored trials were learnt.
    """

    evaluator: Evaluator
    stored: Callable[[], Sequence[FrozenTrial]]
    study: optuna.Study
    random: np.random.Generator
    seen: set[tuple[Any, ...]] = field(default_factory=set)
    kept: set[tuple[Any, ...]] = field(default_factory=set)
    inside: list[int] = field(default_factory=list)
    read: int = 0

    def evaluate_batch(self, count: int) -> list[FrozenTrial]:
        """Up to ``count`` new architectures as finished trials that nobody has stored yet."""
        space = self.evaluator.space
        cells, origins = self._propose(count)
        finished = cell_trials(self.evaluator, cells, system_attrs=origins)
        self.study.add_trials(finished)
        self.catch_up()
        return [t for t, key in zip(finished, canonical_keys(space, cells), strict=True) if key not in self.kept]

    def enqueue_seeds(self, trials: int) -> None:
        """Queue the seeds that were not evaluated yet: the sampler is asked for them first."""
        space = self.evaluator.space
        cells = seed_cells(self.evaluator, max(1, int(trials * SEED_SHARE)))
        keys = canonical_keys(space, cells)
        fresh = cells[[position for position, key in enumerate(keys) if key not in self.seen]]
        for row in _rows(space.decode(fresh)):
            self.study.enqueue_trial(row)

    def catch_up(self) -> None:
        """Learn the trials that were stored since the last look and that this run did not evaluate itself."""
        fresh = list(self.stored())[self.read :]
        self.read += len(fresh)
        if not fresh:
            return
        space = self.evaluator.space
        values = {name: np.array([trial.params[name] for trial in fresh]) for name in space.dimensions}
        keys = canonical_keys(space, space.encode(values))
        self.study.add_trials([trial for trial, key in zip(fresh, keys, strict=True) if key not in self.seen])
        self.seen.update(keys)
        self.kept.update(keys)

    def _propose(self, count: int) -> tuple[Cells, list[dict[str, object]]]:
        """Distinct legal unseen cells from the sampler's proposals, with the sampler's notes on each."""
        from optuna.trial import TrialState

        space = self.evaluator.space
        by_dimension = distributions(space)
        proposals = [self.study.ask(by_dimension) for _ in range(count)]
        cells = space.encode({name: np.array([trial.params[name] for trial in proposals]) for name in by_dimension})
        keys = canonical_keys(space, cells)
        _, kept = self._admissible(cells)
        # the genetic samplers note the generation in the trial; a replacement inherits it
        notes = [dict(self.study.tell(trial, state=TrialState.FAIL).system_attrs) for trial in proposals]
        chosen: dict[int, int] = {}
        for position, (cell, key, usable) in enumerate(zip(cells.tolist(), keys, kept.tolist(), strict=True)):
            if usable and key not in self.seen:
                self.seen.add(key)
                self.inside.append(cell)
                chosen[position] = cell
        missing = [position for position in range(count) if position not in chosen]
        chosen |= self._replacements({position: int(cells[position]) for position in missing})
        order = sorted(chosen)
        return np.asarray([chosen[p] for p in order], dtype=np.int64), [notes[p] for p in order]

    def _replacements(self, origins: dict[int, int]) -> dict[int, int]:
        """For each origin cell an unseen one: within the budgets of size and near it, else near a cell that was found
        within them before, else merely legal and near it."""
        chosen = self._unseen_near(origins, kept_only=True)
        missing = [position for position in origins if position not in chosen]
        if missing and self.inside:
            starts = {position: self.inside[int(self.random.integers(len(self.inside)))] for position in missing}
            chosen |= self._unseen_near(starts, kept_only=True)
        rest = {position: cell for position, cell in origins.items() if position not in chosen}
        return chosen | self._unseen_near(rest, kept_only=False)

    def _unseen_near(self, origins: dict[int, int], *, kept_only: bool) -> dict[int, int]:
        if not origins:
            return {}
        space = self.evaluator.space
        candidates = np.stack([_perturbed(space, cell, self.random) for cell in origins.values()])
        legal, kept = self._admissible(candidates.ravel())
        usable = (kept if kept_only else legal).reshape(candidates.shape)
        chosen: dict[int, int] = {}
        for position, row, mask in zip(origins, candidates, usable, strict=True):
            mine = row[mask]
            for candidate, key in zip(mine.tolist(), canonical_keys(space, mine), strict=True):
                if key not in self.seen:
                    self.seen.add(key)
                    chosen[position] = int(candidate)
                    break
        if kept_only:
            self.inside += chosen.values()
        return chosen

    def _admissible(self, cells: Cells) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Masks [N]: legal, and within the budgets of size. Nothing is priced."""
        return self.evaluator.admissible(self.evaluator.space.decode(cells))


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
