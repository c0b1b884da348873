"""Tokens and sizes: optima against a brute search."""

from __future__ import annotations

import numpy as np
import pytest

from archsearch.errors import InvalidInputError
from archsearch.quality import get_proxy
from archsearch.quality.budget import compute_optimum, inference_optimum, overtraining
from archsearch.quality.laws import Law


def test_compute_optimum_is_the_least_loss_of_a_budget() -> None:
    law = get_proxy("chinchilla-besiroglu")
    assert isinstance(law, Law)
    for flops in (1e19, 1e21, 5.76e23):
        sizes = np.geomspace(1e7, 1e12, 20001)
        loss = law.predict({"parameters": sizes, "tokens": flops / 6 / sizes}).value
        best = compute_optimum(law.record.constants, flops)
        size, tokens = best.parameters, best.tokens
        assert size == pytest.approx(sizes[np.argmin(loss)], rel=2e-3)
        assert 6 * size * tokens == pytest.approx(flops)


@pytest.mark.parametrize("served", [1e9, 1e12, 1e14])
def test_inference_optimum_is_the_cheapest_of_one_loss(served: float) -> None:
    law = get_proxy("chinchilla")
    assert isinstance(law, Law)
    c, size, tokens = law.record.constants, 7e9, 1.4e11
    target = law.predict({"parameters": size, "tokens": tokens}).value
    found = inference_optimum(law, size, tokens, served)
    reached = law.predict({"parameters": found.parameters, "tokens": found.tokens}).value
    assert reached == pytest.approx(target, abs=1e-9)
    sizes = np.geomspace(1e8, 1e11, 60001)
    with np.errstate(invalid="ignore", divide="ignore"):
        needed = (c["B"] / (target - c["E"] - c["A"] / sizes ** c["alpha"])) ** (1 / c["beta"])
        cost = np.where(np.isfinite(needed), sizes * (6 * needed + 2 * served), np.inf)
    assert found.flops == pytest.approx(np.nanmin(cost), rel=1e-3)
    assert 0 <= found.saved < 1


def test_serving_more_makes_the_best_model_smaller() -> None:
    law = get_proxy("shape-aware")
    few, many = (inference_optimum(law, 7e9, 1.4e11, served) for served in (1e10, 1e14))
    assert many.parameters < few.parameters
    assert many.tokens > few.tokens


def test_overtraining_and_laws_without_tokens() -> None:
    assert overtraining(8e9, 15e12) == pytest.approx(15e12 / 8e9 / 20)
    with pytest.raises(InvalidInputError, match="no law of size and tokens"):
        inference_optimum(get_proxy("dit-fid"), 1e9, 1e10, 1e10)
