"""Parts of a sweep: merging, the sample, the filter against known fronts, and prices remembered between chunks."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from archsearch.cost import CostModel
from archsearch.cost.execution import BURST
from archsearch.cost.remember import PriceCache
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import get_family
from archsearch.ops import weighted_total
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.enumeration import sweep
from archsearch.search.explore.windows import Part, reduce_window, reduce_windows
from archsearch.search.pareto import non_dominated, survivors
from archsearch.workload import Phase, Workload

pytest_plugins = ("search_fakes",)

points = st.integers(1, 4).flatmap(
    lambda m: st.tuples(
        arrays(np.float64, st.tuples(st.integers(0, 40), st.just(m)), elements=st.integers(0, 6).map(float)),
        arrays(np.float64, st.tuples(st.integers(0, 40), st.just(m)), elements=st.integers(0, 6).map(float)),
    )
)


@given(points)
@settings(max_examples=200, deadline=None)
def test_survivors_lose_nothing_of_the_union(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    known, fresh = clouds
    known = known[non_dominated(known)]
    union = np.concatenate((known, fresh))
    on_front = np.flatnonzero(non_dominated(union)[len(known) :])
    assert set(on_front.tolist()) <= set(survivors(fresh, known).tolist())


@pytest.mark.parametrize("pieces", [1, 3, 10])
def test_parts_merge_in_any_order(evaluator: Evaluator, pieces: int) -> None:
    windows = list(evaluator.space.chunks(40))
    parts = [reduce_windows(evaluator, windows[i::pieces], sample=25, seed=4) for i in range(pieces)]
    forward, backward = Part(), Part()
    for part in parts:
        forward = forward.merged(part, 25)
    for part in reversed(parts):
        backward = backward.merged(part, 25)
    whole = reduce_window(evaluator, next(evaluator.space.chunks(10**6)), sample=25, seed=4)
    for merged in (forward, backward):
        assert (merged.legal, merged.valid, merged.rejected) == (whole.legal, whole.valid, whole.rejected)
        np.testing.assert_array_equal(merged.sample[1], whole.sample[1])
        for name, (_, cells) in whole.fronts.items():
            assert sorted(merged.fronts[name][1].tolist()) == sorted(cells.tolist())


def test_sample_is_uniform_over_valid_cells(evaluator: Evaluator) -> None:
    exact = sweep(evaluator.space, evaluator=evaluator, progress=False)
    picks = [
        reduce_window(evaluator, next(evaluator.space.chunks(10**6)), sample=20, seed=seed).sample[1]
        for seed in range(200)
    ]
    assert all(len(set(cells.tolist())) == 20 for cells in picks)
    counts = np.bincount(np.concatenate(picks), minlength=evaluator.space.size)
    assert np.count_nonzero(counts) == exact.valid  # every valid cell was drawn in 200 tries, no other ever
    expected = 200 * 20 / exact.valid
    chi_square = ((counts[counts > 0] - expected) ** 2 / expected).sum() / exact.valid
    assert 0.6 < chi_square < 1.4  # 1 for draws without preference


@pytest.mark.parametrize("attention", ["auto", "eager"])
@pytest.mark.parametrize("phase", list(Phase)[:4])
def test_remembered_prices_are_the_prices(phase: Phase, attention: str) -> None:
    gpu = load_gpu("a100-sxm-80gb")
    heads = np.arange(1, 13).reshape(-1, 1, 1)
    queries = np.array([1, 2, 4]).reshape(1, -1, 1)
    layers = np.arange(2, 7).reshape(1, 1, -1)
    config = get_family("decoder")(
        vocab_size=32000,
        hidden_size=heads * queries * 64,
        num_attention_heads=heads * queries,
        num_key_value_heads=heads,
        head_dim=64,
        intermediate_size=heads * queries * 128,
        num_layers=layers,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    ops = config.lower(Workload(phase=phase, batch_size=2, seq_len=256))
    plain, search = CostModel(gpu), CostModel(gpu, cache=PriceCache())
    expected = plain.estimate(ops, replace(BURST, compiled=True, attention=attention))
    for _ in range(2):  # priced, then remembered
        answer = search.estimate(ops, replace(BURST, compiled=True, attention=attention))
        for name in ("latency_s", "low_s", "high_s", "flops"):
            np.testing.assert_allclose(getattr(answer, name), getattr(expected, name), rtol=1e-12)
        assert answer.provenance == expected.provenance
    # the mesh repeats widths: 2 heads of 2 queries have the hidden_size of 4 heads of 1
    hidden = (heads * queries)[..., 0]
    twins = [(a, b) for a, b in itertools.combinations(np.ndindex(hidden.shape), 2) if hidden[a] == hidden[b]]
    assert twins


@given(
    st.lists(st.tuples(st.sampled_from([(1, 1), (3, 1), (1, 4), (3, 4)]), st.integers(1, 4)), min_size=0, max_size=8),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_weighted_total_is_the_sum_of_products(terms: list[tuple[tuple[int, int], int]], seed: int) -> None:
    random = np.random.default_rng(seed)
    values = [random.random(shape) for shape, _ in terms]
    counts = [np.array(count) if count % 2 else np.full((1, 4), count) for _, count in terms]
    plain = sum((v * c for v, c in zip(values, counts, strict=True)), np.zeros(()))
    np.testing.assert_allclose(weighted_total(values, counts), plain, rtol=1e-12)
