"""Differences against a baseline: their band by hand, arrays as scalars, and how often it holds on tables unseen."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archsearch.errors import InvalidInputError
from archsearch.quality import get_proxy
from archsearch.quality.advantage import advantage, advantage_records

CHECKOUT = Path(__file__).parents[1]
SHARED = CHECKOUT.parent / "shared" / "quality_tables"
BASE = {
    "attention_parameters": 6e7, "mlp_parameters": 9e7, "embedding_parameters": 4e7, "non_embedding_parameters": 1.5e8,
    "mlp_to_attention": 1.5, "num_layers": 24.0, "head_dim": 64.0, "tokens": 1e10,
}  # fmt: skip


def test_the_band_by_hand() -> None:
    law = get_proxy("depth-aware")
    found = advantage(law, {**BASE, "num_layers": 12.0}, BASE, noise=0.01)
    ours, theirs = (float(law.predict({**BASE, "num_layers": n}).value) for n in (12.0, 24.0))
    record = advantage_records()["depth-aware"]
    half = 1.28155 * math.sqrt(2 * 0.01**2 + (record.depth * math.log(2)) ** 2)  # equal sizes
    assert float(found.value) == pytest.approx(ours - theirs, rel=1e-12)
    assert float(found.low) == pytest.approx(theirs * (ours / theirs * math.exp(-half) - 1), rel=1e-4)
    assert float(found.high) == pytest.approx(theirs * (ours / theirs * math.exp(half) - 1), rel=1e-4)


def test_a_model_is_equal_to_itself_and_sure_of_it() -> None:
    law = get_proxy("depth-aware")
    same = advantage(law, BASE, BASE, noise=0.0)
    assert (float(same.value), float(same.low), float(same.high)) == (0, 0, 0)
    assert bool(same.equal)
    noisy = advantage(law, BASE, BASE)
    assert float(noisy.low) < 0 < float(noisy.high)


def test_small_differences_are_equal_and_large_ones_are_not() -> None:
    law = get_proxy("depth-aware")
    heads = advantage(law, {**BASE, "head_dim": np.array([8.0, 48.0, 64.0, 128.0])}, BASE)
    assert heads.equal.tolist() == [False, True, True, True]
    assert float(heads.value[0]) > float(heads.low[0]) > 0


def test_arrays_say_what_scalars_say() -> None:
    law = get_proxy("depth-aware-encoder")
    layers, weights = np.array([6.0, 12, 24, 48]), np.array([5e7, 8e7, 6e7, 1e8])
    many = advantage(law, {**BASE, "num_layers": layers, "attention_parameters": weights}, BASE)
    for i in range(4):
        one = advantage(law, {**BASE, "num_layers": layers[i], "attention_parameters": weights[i]}, BASE)
        for part in ("value", "low", "high", "equal"):
            assert getattr(many, part)[i] == getattr(one, part), part
    assert np.all((many.low < many.value) & (many.value < many.high))


def test_exchanging_the_two_turns_the_sign() -> None:
    law, other = get_proxy("depth-aware"), {**BASE, "num_layers": 6.0, "mlp_parameters": 2e8}
    one, back = advantage(law, other, BASE), advantage(law, BASE, other)
    assert float(one.value) == pytest.approx(-float(back.value))
    assert bool(one.equal) == bool(back.equal)


def test_mistakes_are_told() -> None:
    with pytest.raises(InvalidInputError, match="proxy 'kaplan': it is known of depth"):
        advantage(get_proxy("kaplan"), BASE, BASE)
    with pytest.raises(InvalidInputError, match="noise of a difference must be 0 or more, not -1"):
        advantage(get_proxy("depth-aware"), BASE, BASE, noise=-1.0)
    with pytest.raises(InvalidInputError, match="needs 'num_layers'"):
        advantage(get_proxy("depth-aware"), BASE, {k: v for k, v in BASE.items() if k != "num_layers"})


@pytest.mark.skipif(not SHARED.is_dir(), reason="the tables lie beside a checkout")
def test_the_coefficients_are_fitted_and_hold_what_they_never_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CHECKOUT / "benchmarks")
    bands: Any = importlib.import_module("quality_bands")
    record = advantage_records()["depth-aware"]
    tables = {table.name: table for table in bands.load_tables(SHARED)}
    depth, size = bands.fit([tables[name] for name in bands.FITTED])
    assert record.depth == pytest.approx(depth, rel=0.02)
    assert record.size == pytest.approx(size, rel=0.02)
    for name in bands.FITTED:
        assert 0.69 <= bands.coverage_left_out(tables, name) <= 0.9, name
