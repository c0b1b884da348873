"""How much of the exact front's hypervolume each sampler reaches with a budget of trials.

Three spaces that are too large to look at by hand and still small enough to enumerate, so that the exact front is
known. ``hybrid``, ``nsga2``, ``tpe`` and ``random`` are this program's strategies. ``stock nsga2`` and ``stock tpe``
are Optuna's samplers as they come: same dimensions, same cost model, budgets as constraints; an illegal combination
violates a constraint. Each trial is one architecture. The hybrid prices a coarsened space besides, which takes no
trials (``seeds``: seconds).

Hypervolume is the area under the feasible front in the two objectives, each scaled so that the exact front's best is 0
and the reference point (10 % beyond the exact front's worst) is 1.

python benchmarks/samplers.py [--seeds 5] [--budgets 200,1000,5000]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPACES = {
    "decoder-1b, fine": ("decoder-1b", "a100-sxm-80gb", {"intermediate_size": 32, "hidden_size": 32}),
    "modernbert, fine": ("modernbert-base-budget", "h100-sxm", {"intermediate_size": 8, "hidden_size": 16}),
    "dit-xl, fine": ("dit-xl-budget", "l40s", {"intermediate_size": 8, "hidden_size": 16}),
}
OURS = ("hybrid", "nsga2", "tpe", "random")
STOCK = ("stock nsga2", "stock tpe")
TPE_TRIALS = 1000
"""TPE's time grows with the square of the trials: its largest budget here."""


def finer(name: str, steps: dict[str, int]) -> Any:
    """A shipped space with smaller steps and no width multiple: 20 to 60 times as many cells."""
    from archsearch.search.space.sections import Dimension
    from archsearch.search.space.space import SearchSpace, load_space

    space = load_space(name)
    dimensions = dict(space.record.dimensions)
    for dimension, step in steps.items():
        if dimension in dimensions:
            values = dimensions[dimension].values
            dimensions[dimension] = Dimension(range=(int(values[0]), int(values[-1])), step=step)
    record = space.record.model_copy(update={"dimensions": dimensions, "width_multiple": 8})
    return SearchSpace(record, space.origin, space.source_text)


def hypervolume(points: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """Area that points [N, 2] dominate below the reference point (1, 1) after scaling low to 0 and high to 1."""
    scaled = (points - low) / (high - low)
    scaled = scaled[(scaled < 1).all(axis=1)]
    area, ceiling = 0.0, 1.0
    for x, y in scaled[np.lexsort(scaled.T[::-1])]:
        if y < ceiling:
            area += (1 - x) * (ceiling - y)
            ceiling = y
    return area


def our_points(evaluator: Any, strategy: str, trials: int, seed: int) -> NDArray[np.float64]:
    """Objectives [trials, 2] in order, infeasible ones NaN."""
    from archsearch.search.explore.samplers import BatchSearch

    kept: list[Any] = []
    BatchSearch(evaluator, strategy, seed, lambda: kept, kept.extend).run(trials)
    return _points(evaluator, kept)


def stock_points(evaluator: Any, sampler_name: str, trials: int, seed: int) -> NDArray[np.float64]:
    import optuna

    from archsearch.search.explore.samplers import directions, distributions

    def constraints(trial: Any) -> Any:
        return trial.user_attrs["violations"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if sampler_name == "stock nsga2":
            sampler: Any = optuna.samplers.NSGAIISampler(seed=seed, constraints_func=constraints)
        else:
            sampler = optuna.samplers.TPESampler(seed=seed, constraints_func=constraints)
    study = optuna.create_study(sampler=sampler, directions=directions(evaluator.objective_columns))
    kinds = distributions(evaluator.space)
    signs = evaluator.objective_columns
    rows = []
    for _ in range(trials):
        trial = study.ask(kinds)
        evaluation = evaluator.evaluate({name: np.array([trial.params[name]]) for name in kinds})
        columns = evaluator.columns(evaluation, np.zeros(1, dtype=np.int64))
        legal = bool(evaluation.legal[0])
        violations = [
            float(np.nan_to_num(v[0], nan=1.0)) for v in evaluation.violation_columns(np.zeros(1, int)).values()
        ]
        values = [float(columns[name][0]) for name in signs]
        if not np.isfinite(values).all():
            values, legal = [1e9 * sign for sign in signs.values()], False
        trial.set_user_attr("violations", [*violations, 0.0 if legal else 1.0])
        study.tell(trial, values)
        feasible = legal and max(violations, default=0.0) <= 0
        rows.append(
            [sign * value for sign, value in zip(signs.values(), values, strict=True)] if feasible else [np.nan] * 2
        )
    return np.array(rows)


def _points(evaluator: Any, trials: list[Any]) -> NDArray[np.float64]:
    signs = list(evaluator.objective_columns.values())
    return np.array(
        [
            [s * v for s, v in zip(signs, t.values, strict=True)]
            if max(t.constraints.values(), default=0.0) <= 0
            else [np.nan] * len(signs)
            for t in trials
        ]
    )


def shares(
    evaluator: Any, exact: NDArray[np.float64], name: str, budgets: list[int], seeds: int
) -> Iterator[list[float]]:
    """For each seed: the share of the exact hypervolume after each budget (NaN where it was not run)."""
    low, worst = exact.min(axis=0), exact.max(axis=0)
    high = worst + 0.1 * (worst - low)
    best = hypervolume(exact, low, high)
    reached = [b for b in budgets if "tpe" not in name or b <= TPE_TRIALS]
    for seed in range(seeds):
        run = stock_points if name in STOCK else our_points
        points = run(evaluator, name, max(reached), seed)
        found = [hypervolume(points[:b][~np.isnan(points[:b]).any(axis=1)], low, high) / best for b in reached]
        yield found + [float("nan")] * (len(budgets) - len(reached))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budgets", default="200,1000,5000")
    parser.add_argument("--samplers", default=",".join((*OURS, *STOCK)))
    options = parser.parse_args()
    budgets = sorted(int(b) for b in options.budgets.split(","))

    import optuna

    from archsearch.search.evaluate.evaluator import Evaluator
    from archsearch.search.evaluate.pool_models import resolve_pool
    from archsearch.search.explore.enumeration import sweep
    from archsearch.search.explore.hybrid import seed_cells
    from archsearch.search.pareto import objective_matrix

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for title, (name, gpu, steps) in SPACES.items():
        space = finer(name, steps)
        evaluator = Evaluator(space, resolve_pool(gpu))
        whole = sweep(space, evaluator=evaluator, progress=False)
        exact = objective_matrix(whole.columns(whole.front_cells), evaluator.objective_columns)
        started = time.perf_counter()
        seed_cells(evaluator, 1000)
        print(
            f"\n{title} on {gpu}: {whole.architectures:,} cells, {whole.legal:,} legal, {whole.valid:,} valid, "
            f"front {len(exact)}, enumerated in {whole.evaluation_s:.1f} s "
            f"(seeds: {time.perf_counter() - started:.2f} s)"
        )
        print(f"{'':14}" + "".join(f"{b:>24,}" for b in budgets) + "      s per run")
        for sampler in options.samplers.split(","):
            started = time.perf_counter()
            table = np.array(list(shares(evaluator, exact, sampler, budgets, options.seeds)))
            seconds = (time.perf_counter() - started) / options.seeds
            cells = "".join(f"{100 * c.mean():>12.2f} % (>= {100 * c.min():5.1f})" for c in table.T)
            print(f"{sampler:14}{cells}  {seconds:10.1f}", flush=True)


if __name__ == "__main__":
    main()
