"""The steps around an architecture of a space: its dimensions' own values, judged by the space's rules and
objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.search.answers.terms import Term
from archsearch.search.evaluate.columns import Columns, Row
from archsearch.search.evaluate.evaluation import Evaluation
from archsearch.search.evaluate.evaluator import Evaluator


@dataclass(frozen=True, slots=True)
class Judged:
    """N architectures against one: ``columns`` [N] of all metrics, ``feasible`` [N], and ``gains`` [N, M], how much
    better each of M objectives is (above 0 better, below worse, NaN unknown)."""

    evaluation: Evaluation
    columns: Columns
    feasible: NDArray[np.bool_]
    gains: NDArray[np.float64]

    @property
    def loses(self) -> NDArray[np.bool_]:
        """[N] better in no objective."""
        return np.asarray(~(self.gains > 0).any(axis=1))

    @property
    def better(self) -> NDArray[np.bool_]:
        """[N] better in one objective and worse in none; an unknown objective is no worse and no better."""
        compared = np.isfinite(self.gains).all(axis=1)
        return np.asarray(compared & (self.gains > 0).any(axis=1) & (self.gains >= 0).all(axis=1))


def judge(row: Row, dimensions: Columns, evaluator: Evaluator, terms: Sequence[Term]) -> Judged:
    """Architectures by their dimension columns [N] against a row of a table, in the objectives ``terms``."""
    count = max((len(values) for values in dimensions.values()), default=0)
    return judge_each([row] * count, dimensions, evaluator, terms)


def judge_each(rows: Sequence[Row], dimensions: Columns, evaluator: Evaluator, terms: Sequence[Term]) -> Judged:
    """As ``judge``, each of N architectures against its own of N rows; priced together."""
    evaluation = evaluator.evaluate(dimensions)
    count = len(rows)
    columns = evaluator.columns(evaluation, np.arange(count))
    gains = np.array([[t.gain(columns[t.column][i], row[t.column]) for t in terms] for i, row in enumerate(rows)])
    return Judged(evaluation, columns, evaluation.feasible, gains.reshape(count, len(terms)))


def single_moves(row: Row, evaluator: Evaluator) -> list[dict[str, object]]:
    """The next value below and above of every dimension: {dimension: value} each."""
    moves: list[dict[str, Any]] = []
    for name, values in evaluator.space.dimensions.items():
        index = int(np.searchsorted(values, row[name]))
        moves += [{name: values[i].item()} for i in (index - 1, index + 1) if 0 <= i < len(values)]
    return moves


def pair_moves(moves: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Every pair of single moves of two dimensions."""
    return [{**a, **b} for a, b in combinations(moves, 2) if a.keys() != b.keys()]


def moved_cells(row: Row, moves: Sequence[Mapping[str, object]], evaluator: Evaluator) -> Columns:
    """Dimension columns [N] of the architectures that moves lead to."""
    names = evaluator.space.dimensions
    return {name: np.array([move.get(name, row[name]) for move in moves]) for name in names}


def neighbour_cells(row: Row, evaluator: Evaluator) -> tuple[Columns, list[str]]:
    """Dimension columns [N] of all single steps from an architecture, with a label each."""
    moves = single_moves(row, evaluator)
    labels = [f"{name} {row[name]:g} -> {value:g}" for move in moves for name, value in move.items()]
    return moved_cells(row, moves, evaluator), labels
