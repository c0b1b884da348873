"""The spaces that ship: they load, hold their baseline's kind of model, and their bounds keep shapes sane."""

from __future__ import annotations

import numpy as np
import pytest

from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.pricing import resolve_pool
from archsearch.search.explore.enumeration import sweep
from archsearch.search.space.space import SearchSpace, list_spaces, load_space

SPACES = [name for name in list_spaces() if load_space(name).record.pipeline is None]  # others: test_pipeline_codesign


def legal_cells(space: SearchSpace, evaluator: Evaluator) -> np.ndarray:
    return np.flatnonzero(evaluator.legal(space.mesh()))


@pytest.fixture(scope="module", params=SPACES)
def evaluator(request: pytest.FixtureRequest) -> Evaluator:
    space = load_space(request.param)
    return Evaluator(space, resolve_pool(None, space))


def test_every_legal_width_is_a_multiple_of_64(evaluator: Evaluator) -> None:
    space = evaluator.space
    values = space.field_values(space.decode(legal_cells(space, evaluator)))
    for name in ("hidden_size", "intermediate_size", "head_dim", "vocab_size"):
        if name in values:
            assert np.all(np.asarray(values[name]) % 64 == 0), name
    assert np.all(values["num_attention_heads"] * values["head_dim"] == values["hidden_size"])


def test_shapes_stay_within_what_has_been_trained(evaluator: Evaluator) -> None:
    space = evaluator.space
    values = space.decode(legal_cells(space, evaluator))
    aspect = values["hidden_size"] / values["num_layers"]
    assert aspect.min() >= 19
    assert aspect.max() <= 128


def test_baseline_is_near_the_budget(evaluator: Evaluator) -> None:
    baseline = evaluator.baseline_columns
    assert baseline is not None
    low, high = evaluator.space.record.budget.parameters or (0.0, np.inf)
    assert low <= baseline["parameters"][0] <= high


def test_parameters_of_sampled_cells_equal_those_of_single_configs(evaluator: Evaluator) -> None:
    space = evaluator.space
    cells = np.random.default_rng(0).choice(legal_cells(space, evaluator), 12, replace=False)
    many = space.build(space.field_values(space.decode(cells))).parameters()
    for position, cell in enumerate(cells):
        dimensions = {name: value.item() for name, value in space.decode(np.array(cell)).items()}
        single = space.family_class.from_dict(space.config_dict(dimensions))
        assert float(np.broadcast_to(many, (12,))[position]) == float(single.parameters())


def test_front_beats_the_baseline(evaluator: Evaluator) -> None:
    """On every GPU of the pool at once there is a shape with no worse predicted quality that is no slower."""
    front = sweep(evaluator.space, evaluator=evaluator, progress=False).front
    baseline = evaluator.baseline_columns
    assert baseline is not None
    assert len(front) > 0
    better = front[front["quality"] <= float(baseline["quality"][0])]
    assert (better["throughput_worst"] >= 1.0).any()


@pytest.mark.parametrize("name", SPACES)
def test_sources_are_named(name: str) -> None:
    assert any("https://" in reference for reference in load_space(name).record.references)
