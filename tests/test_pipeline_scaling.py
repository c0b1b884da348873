"""Best-of-N search: expected maxima against draws and closed forms, equal cost and crossover."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from archsearch.cli.main import run as cli
from archsearch.errors import InvalidInputError
from archsearch.pipeline.scaling import Search, compare, expected_maximum


def search(**changes) -> Search:
    fields = {"name": "x", "generate_s": 1.0, "verify_s": 0.1, "score": 0.6, "spread": 0.2, "fidelity": 0.5}
    return Search(**{**fields, **changes})


def test_expected_maxima_of_normals():
    assert expected_maximum(1) == 0.0
    assert expected_maximum(2) == pytest.approx(1 / math.sqrt(math.pi), rel=1e-3)
    assert expected_maximum(3) == pytest.approx(1.5 / math.sqrt(math.pi), rel=1e-3)
    draws = np.random.default_rng(0).standard_normal((100_000, 16)).max(axis=1)
    assert expected_maximum(16) == pytest.approx(draws.mean(), abs=0.01)
    with pytest.raises(InvalidInputError):
        expected_maximum(0)


def test_selection_by_a_noisy_verifier_gains_what_draws_gain():
    one = search(score=0.5, spread=0.1, fidelity=0.6)
    rng = np.random.default_rng(1)
    true = rng.standard_normal((200_000, 8))
    seen = 0.6 * true + 0.8 * rng.standard_normal(true.shape)
    kept = np.take_along_axis(true, seen.argmax(axis=1)[:, None], axis=1)
    assert one.expected(8) == pytest.approx(0.5 + 0.1 * kept.mean(), abs=1e-3)


def test_equal_cost_and_crossover_by_hand():
    small, large = search(), search(name="y", generate_s=10.0, score=0.75)
    found = compare(small, large)
    assert found.equal_cost_samples == 9  # 10 / 1.1
    needed = (0.75 - 0.6) / 0.1  # m(N) = 1.5 lies between 6 (1.27), 10 (1.54)
    assert expected_maximum(found.crossover_samples - 1) < needed <= expected_maximum(found.crossover_samples)
    assert found.small_wins == (found.equal_cost_samples >= found.crossover_samples)
    never = compare(search(fidelity=0.0), large)
    assert never.crossover_samples is None
    assert not never.small_wins
    assert compare(search(generate_s=11.0), large).equal_cost_samples == 0


def test_one_sample_needs_no_verifier_and_scores_stay_shares():
    assert search().seconds(1) == 1.0
    assert search().seconds(4) == pytest.approx(4.4)
    assert search(score=0.95, spread=1.0, fidelity=1.0).expected(1000) == 1.0


def test_the_command_compares(capsys):
    queued = ["--launch-us", "0"]  # SANA waits for its host in eager PyTorch
    assert cli(["pipeline", "compare", "sana-0.6b", "flux-schnell", "-g", "h100-sxm", *queued, "--json"]) == 0
    d = json.loads(capsys.readouterr().out)
    assert d["equal_cost_samples"] >= 1
    assert d["assumed"] == ["spread", "fidelity", "score of flux-schnell"]
    assert cli(["pipeline", "compare", "dit-xl-2", "flux-dev", "-g", "h100-sxm"]) == 2
    assert "--score dit-xl-2" in capsys.readouterr().err
    assert cli(["pipeline", "compare", "sana-0.6b", "flux-dev", "-g", "h100-sxm", "--spread", "2"]) == 2
    assert cli(["pipeline", "compare", "sana-0.6b", "flux-dev", "-g", "h100-sxm", "--verifier", "me"]) == 2
