"""The band of a ratio: against a simulation of the errors that it stands for, and its limits."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.arrays import as_float
from archsearch.cost.estimate import Estimate, KernelCost, OpCost, Provenance, SegmentCost
from archsearch.cost.execution import Execution
from archsearch.cost.model import CostModel
from archsearch.cost.ratio import Ratio, ratio_of
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import get_family, load_preset
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


def half_width(found: Ratio) -> float:
    return float(np.log(float(found.high) / float(found.low))) / 2


def made(ops: dict[str, tuple[float, float]], spread: float = 0.0, host_s: float = 0.0) -> Estimate:
    """A run of one segment whose kernels take so many seconds, with so wide a band: {name: (seconds, half width)}."""
    items = tuple(
        OpCost(
            name=name,
            op="matmul",
            count=1,
            flops=seconds * 1e12,
            memory_bytes=seconds * 1e9,
            cost=KernelCost(
                latency_s=as_float(seconds),
                low_s=as_float(seconds * np.exp(-half)),
                high_s=as_float(seconds * np.exp(half)),
                provenance=Provenance.CALIBRATED,
                bound=np.asarray("compute"),
            ),
        )
        for name, (seconds, half) in ops.items()
    )
    low, mid, high = (
        sum((as_float(getattr(i.cost, f)) for i in items), as_float(0.0)) for f in ("low_s", "latency_s", "high_s")
    )
    part = SegmentCost(
        name="model",
        calls=1,
        execution=RUN,
        gpu_s=mid,
        low_s=low,
        high_s=high,
        host_s=as_float(host_s),
        kernels=as_float(len(items)),
        flops=as_float(0.0),
        breakdown=items,
    )
    return Estimate.of([part], RUN, spread)


def test_runs_of_the_same_kernels_have_a_ratio_that_is_a_point():
    """However wide their bands, and however wide that of a whole run."""
    one = made({"a": (3e-3, 0.4), "b": (1e-3, 0.2)}, spread=0.3)
    found = ratio_of(one, made({"a": (3e-3, 0.4), "b": (1e-3, 0.2)}, spread=0.3))
    assert float(found.low) == float(found.value) == float(found.high) == 1.0


def test_errors_of_disjoint_kernels_add_in_quadrature():
    """One kernel each: √(0.3² + 0.4²) = 0.5; all time lies elsewhere, so the run's own error of 0.12 stays whole."""
    found = ratio_of(made({"a": (2e-3, 0.3)}), made({"b": (1e-3, 0.4)}))
    assert float(found.value) == pytest.approx(2.0)
    assert half_width(found) == pytest.approx(0.5)
    whole = ratio_of(made({"a": (2e-3, 0.3)}, spread=0.12), made({"b": (1e-3, 0.4)}, spread=0.12))
    assert half_width(whole) == pytest.approx(np.sqrt(0.5**2 + 0.12**2))


def test_the_same_name_at_another_shape_is_another_kernel():
    """Half of each run's time is shared and cancels; the other halves are independent: √(2 · (½ · 0.4)²)."""
    one = made({"shared": (1e-3, 0.4), "other": (1e-3, 0.4)})
    two = made({"shared": (1e-3, 0.4), "other": (np.nextafter(1e-3, 1.0), 0.4)})
    assert half_width(ratio_of(one, two)) == pytest.approx(np.sqrt(2 * 0.2**2))


def test_ops_of_one_name_in_two_segments_are_two():
    """A text encoder and a decoder both have a ``proj``: each is compared with its own, and none overwrites another."""
    model = made({"proj": (1e-3, 0.4)}).segments[0]
    longer = made({"proj": (2e-3, 0.3)}).segments[0]
    run = Estimate.of([replace(model, name="text"), replace(longer, name="decode")], RUN)
    turned = Estimate.of([replace(model, name="decode"), replace(longer, name="text")], RUN)
    assert half_width(ratio_of(run, run)) == 0.0
    shares = np.array([1 / 3, 2 / 3])
    assert half_width(ratio_of(run, turned)) == pytest.approx(np.sqrt(2 * np.sum((shares * [0.4, 0.3]) ** 2)))


def test_waits_for_launches_move_time_as_kernels_do():
    """The second run waits for half of its time, the first never: half of the run's own error is not shared."""
    busy = made({"a": (1e-3, 0.0)}, spread=0.2)
    waiting = made({"a": (1e-3, 0.0)}, spread=0.2, host_s=2e-3)
    found = ratio_of(waiting, busy)
    assert float(found.value) == pytest.approx(2.0)
    assert half_width(found) == pytest.approx(0.5 * 0.2)


KERNELS = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.floats(1e-6, 1e-2), st.floats(0.0, 0.7)), min_size=1, max_size=5
)
RUNS = st.builds(made, KERNELS, st.sampled_from((0.0, 0.1, 0.3)), st.floats(0.0, 2e-2))


@given(RUNS, RUNS)
def test_a_band_holds_its_ratio_and_turns_over_with_it(one: Estimate, two: Estimate):
    found, turned = ratio_of(one, two), ratio_of(two, one)
    assert float(found.low) <= float(found.value) <= float(found.high)
    assert float(found.value) == pytest.approx(float(one.latency_s) / float(two.latency_s))
    for mine, theirs in (("value", "value"), ("low", "high"), ("high", "low")):
        assert float(getattr(found, mine)) * float(getattr(turned, theirs)) == pytest.approx(1.0)


@given(RUNS, RUNS)
def test_sharing_never_widens_a_band(one: Estimate, two: Estimate):
    """What is known of the runs together is at least what is known of each alone."""
    assert half_width(ratio_of(one, two, alike=True)) <= half_width(ratio_of(one, two, alike=False)) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("file", "pairs"), [("eager", [(0, 1), (0, 2), (1, 2)]), ("compiled", [(0, 1)])], ids=["eager", "compiled"]
)
def test_measured_ratios_of_architectures_lie_in_the_band(file: str, pairs: list[tuple[int, int]]):
    """ModernBERT base and two recommendations timed on an H200, which nothing is fitted on: within 3 % of the ratio,
    where each time is off by 16 to 31 %. Rank 2 compiled ran partly eager (docs/benchmarks.md)."""
    rows = pd.read_csv(f"benchmarks/results/h200-sxm-verify-modernbert-base-budget--{file}.csv")
    model, work = CostModel(load_gpu("h200-sxm")), Workload(batch_size=32, seq_len=512, dtype=DType.FP16)
    configs = [get_family("encoder").from_dict(json.loads(text)) for text in rows["config"]]
    runs = [model.price(config, work, Execution(compiled=file == "compiled")) for config in configs]
    for one, two in pairs:
        found, measured = ratio_of(runs[one], runs[two]), rows["measured_s"][one] / rows["measured_s"][two]
        assert float(found.low) < measured < float(found.high)
        assert measured == pytest.approx(float(found.value), rel=0.03)
