"""The coarse-to-fine front that seeds sampled studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archsearch.errors import UnsupportedError
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.enumeration import sweep
from archsearch.search.explore.hybrid import coarsened, refined_front, seed_cells, spread
from archsearch.search.explore.samplers import BatchSearch
from archsearch.search.pareto import non_dominated, objective_matrix
from archsearch.search.space.space import parse_space

pytest_plugins = ("search_fakes",)


@pytest.fixture
def large(toy_file: Path, evaluator: Evaluator) -> Evaluator:
    """The toy family over 2,000 times as many cells as the toy space."""
    text = toy_file.read_text()
    text = text.replace("{range: [256, 1024], step: 128}", "{range: [256, 1024], step: 8}")
    text = text.replace("{range: [2, 8]}", "{range: [2, 40]}")
    text = text.replace("{choices: [512, 1024, 2048, 3072]}", "{range: [512, 3072], step: 8}")
    path = toy_file.with_name("large.yaml")
    path.write_text(text.replace("budget:", "width_multiple: 8\nbudget:").replace("[64, 128, 192]", "[8, 64, 128]"))
    space = parse_space(path)
    assert space.size > 2_000_000
    return Evaluator(space, evaluator.pool, evaluator.models)


def test_coarse_cells_are_cells_of_the_space(large: Evaluator) -> None:
    coarse = coarsened(large.space, 1000)
    assert coarse.size <= 1000
    for name, values in coarse.dimensions.items():
        whole = large.space.dimensions[name]
        assert set(values.tolist()) <= set(whole.tolist())
        assert {whole[0], whole[-1]} <= set(values.tolist())
    assert coarsened(large.space, 10**9).size == large.space.size


@pytest.mark.parametrize("max_cells", [2000, 50_000])
def test_refined_front_is_feasible_and_close_to_the_exact_one(large: Evaluator, max_cells: int) -> None:
    cells, points = refined_front(large, max_cells)
    evaluation = large.evaluate(large.space.decode(cells))
    assert evaluation.feasible.all()
    again = large.feasible_objectives(evaluation, {"": large.objective_columns})[""]
    np.testing.assert_allclose(points, again, rtol=1e-12)
    exact = sweep(large.space, evaluator=large, progress=False)
    truth = objective_matrix(exact.columns(exact.front_cells), large.objective_columns)
    span = truth.max(axis=0) - truth.min(axis=0)
    gaps = [np.max((points - row) / span, axis=1).min() for row in truth]  # what each exact point is better by, at most
    assert np.mean(gaps) < 0.01
    assert max(gaps) < 0.05


def test_seeds_are_distinct_and_as_many_as_asked(large: Evaluator) -> None:
    for count in (1, 5, 30):
        cells = seed_cells(large, count, 50_000)
        assert len(set(cells.tolist())) == len(cells) == count


def test_spread_keeps_the_extremes() -> None:
    line = np.stack([np.linspace(0, 1, 101), 1 - np.linspace(0, 1, 101)], axis=1)
    chosen = spread(line, 5)
    assert {0, 50, 100} <= set(chosen.tolist())
    assert np.diff(np.sort(chosen)).tolist() == [25, 25, 25, 25]


def test_infeasible_coarse_front_starts_from_the_nearest(large: Evaluator, toy_file: Path) -> None:
    # a band of parameters so narrow that no coarse cell lies in it
    text = toy_file.with_name("large.yaml").read_text()
    path = toy_file.with_name("narrow.yaml")
    path.write_text(text.replace("[1.0e+6, 2.0e+7]", "[1.0037e+7, 1.0039e+7]"))
    narrow = Evaluator(parse_space(path), large.pool, large.models)
    coarse = coarsened(narrow.space, 500)
    assert not len(sweep(coarse, evaluator=narrow.on(coarse), progress=False).front_cells)
    cells, _ = refined_front(narrow, 500)
    if len(cells):
        assert narrow.evaluate(narrow.space.decode(cells)).feasible.all()


def test_hybrid_reaches_the_front_before_nsga2(large: Evaluator) -> None:
    def reached(strategy: str) -> np.ndarray:
        kept: list = []
        BatchSearch(large, strategy, 0, lambda: kept, kept.extend).run(150)
        assert max(max(trial.constraints.values()) for trial in kept) <= 0  # budgets of size hold by construction
        points = np.array([trial.values for trial in kept]) * np.array(list(large.objective_columns.values()))
        return points[non_dominated(points)]

    ours, theirs = reached("hybrid"), reached("nsga2")

    def covered(points: np.ndarray, by: np.ndarray) -> float:
        """Share of points that another front equals or beats (the C metric of Zitzler and Thiele 1999)."""
        return float(np.mean([(by <= row).all(axis=1).any() for row in points]))

    assert covered(theirs, ours) > 0.5
    assert covered(theirs, ours) > 4 * covered(ours, theirs)


def test_cma_es_refuses_several_objectives(large: Evaluator) -> None:
    with pytest.raises(UnsupportedError, match="one objective"):
        BatchSearch(large, "cmaes", 0, list, list).run(3)
