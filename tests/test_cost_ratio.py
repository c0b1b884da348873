"""The band of a ratio: against a simulation of the errors that it stands for, and its limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from archsearch.cost.execution import Execution
from archsearch.cost.model import CostModel
from archsearch.cost.ratio import ratio_of
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload

MODEL = CostModel(load_gpu("h100-sxm"))
WORK = Workload(seq_len=2048)
RUN = Execution(launch_us=0.0)
Z80 = 1.2815515655446004


def priced(**changes):
    return MODEL.price(replace(load_preset("llama-3-8b"), **changes), WORK, RUN)


def test_a_run_against_itself_is_certain():
    same = ratio_of(priced(), priced())
    assert float(same.low) == float(same.value) == float(same.high) == 1.0


def test_what_both_share_cancels():
    """Twice the layers, nothing else: the ratio is far better known than either time."""
    one, two = priced(num_layers=16), priced(num_layers=32)
    found = ratio_of(two, one)
    assert float(found.low) < float(found.value) < float(found.high)
    alone = np.log(float(two.high_s) / float(two.low_s))
    assert np.log(float(found.high) / float(found.low)) < 0.2 * alone
    apart = ratio_of(two, one, alike=False)
    assert np.log(float(apart.high) / float(apart.low)) > alone


def test_the_band_is_that_of_errors_drawn_by_hand():
    """Every shape its own error, one of the same shape in both runs the same, none of the run's own."""
    one, two = (replace(priced(**c), spread=0.0) for c in ({}, {"intermediate_size": 12288, "num_layers": 36}))
    rng = np.random.default_rng(0)
    errors: dict[tuple[str, float], np.ndarray] = {}

    def total(run):
        seconds = np.zeros(20000)
        for item in run.breakdown:
            each = float(item.cost.latency_s)
            half = np.log(float(item.cost.high_s) / float(item.cost.low_s)) / 2
            drawn = errors.setdefault((item.name, each), rng.normal(0, half / Z80, 20000))
            seconds += each * float(item.count) * np.exp(drawn)
        return seconds

    low, high = np.quantile(total(two) / total(one), (0.1, 0.9))
    found = ratio_of(two, one, alike=True)
    assert np.log(float(found.high) / float(found.low)) == pytest.approx(np.log(high / low), rel=0.1)


def test_arrays_say_what_scalars_say():
    wide = MODEL.price(replace(load_preset("llama-3-8b"), intermediate_size=np.array([12288, 14336])), WORK, RUN)
    found = ratio_of(wide, priced())
    for i, width in enumerate((12288, 14336)):
        single = ratio_of(priced(intermediate_size=width), priced())
        for name in ("value", "low", "high"):
            assert getattr(found, name)[i] == pytest.approx(float(getattr(single, name)), rel=1e-9)
