"""What holds of every price: any GPU, any family, any legal dimensions near a published model's.

An architecture is a published one with up to three of its whole numbers changed (halved, doubled, one more ...), kept
where the family's own requirements hold. ``make properties`` tries many more (``PROPERTIES=2000``, another seed a run).
"""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from archsearch.cost.model import CostModel
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError
from archsearch.hardware import list_gpus
from archsearch.models.registry.families import family_names, load_preset, presets_of
from archsearch.workload import Workload

PRESETS = [name for family in family_names() for name in sorted(presets_of(family))]
MODELS = {gpu.id: CostModel(gpu) for gpu in list_gpus()}
STEPS = (lambda x: x // 2, lambda x: 2 * x, lambda x: x + 1, lambda x: x - 1, lambda x: x + 64, lambda x: 3 * x)
SAME = 1e-9
TILES = 0.03
"""By how much more of the same may be faster, since other tiles and splits are the best for it and were measured apart:
0.017 was the largest seen over 230 models on as many boards."""
MANY = int(os.environ.get("PROPERTIES", "0"))
few = settings(
    max_examples=MANY or 12,
    derandomize=not MANY,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
DEPTHS = ("num_layers", "num_single_layers", "num_decoder_layers")


def legal(config: Any) -> bool:
    return all(bool(np.all(rule.holds)) for rule in config.requirements())


@st.composite
def architectures(draw: st.DrawFn) -> Any:
    """A published architecture, or a legal one near it."""
    config: Any = load_preset(draw(st.sampled_from(PRESETS)))
    whole = [field.name for field in fields(config) if type(getattr(config, field.name)) is int]
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(whole))
        value = draw(st.sampled_from(STEPS))(getattr(config, name))
        try:
            changed = replace(config, **{name: value})
            if legal(changed):
                config = changed
        except ArchSearchError:
            continue
    return config


@st.composite
def questions(draw: st.DrawFn) -> tuple[Any, Workload, CostModel]:
    """An architecture, a workload that it takes in a format that the GPU has, and the GPU."""
    config, model = draw(architectures()), MODELS[draw(st.sampled_from(sorted(MODELS)))]
    formats = [d for d in (DType.BF16, DType.FP16, DType.FP32, DType.FP8) if model.gpu.supports(d)]
    phase = draw(st.sampled_from(config.phases))
    sizes = dict(config.default_sizes)
    if "seq_len" in sizes:
        sizes["seq_len"] = draw(st.sampled_from((1, 17, sizes["seq_len"] // 2, sizes["seq_len"])))
    dtype = draw(st.sampled_from(formats))
    workload = Workload(phase=phase, batch_size=draw(st.integers(1, 48)), dtype=dtype, **sizes)
    try:
        config.lower(workload)
        model.price(config, workload)
    except ArchSearchError:  # a combination that is refused has no price
        assume(False)
    note(f"{config} {workload} {model.gpu.id}")
    return config, workload, model


def seconds(model: CostModel, config: Any, workload: Workload) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(model.price(config, workload).latency_s)


@few
@given(questions())
def test_a_time_is_finite_and_positive_and_lies_in_its_band(question: tuple[Any, Workload, CostModel]) -> None:
    config, workload, model = question
    estimate = model.price(config, workload)
    low, middle, high = (float(np.asarray(x)) for x in (estimate.low_s, estimate.latency_s, estimate.high_s))
    assert np.isfinite([low, middle, high]).all()
    assert 0 < low <= middle <= high


@few
@given(questions())
def test_no_model_beats_the_rate_of_its_board(question: tuple[Any, Workload, CostModel]) -> None:
    """FLOPs of products (without the keys that masks skip) over the highest rate that the board has in any format."""
    config, workload, model = question
    ops = config.lower(workload)
    peak = max(model.gpu.peak_flops(d) for d in DType if model.gpu.supports(d))
    assert float(np.asarray(ops.flops())) / peak <= float(seconds(model, config, workload)) * (1 + SAME)


@few
@given(questions(), st.sampled_from((2, 3, 4)))
def test_a_larger_batch_is_not_faster(question: tuple[Any, Workload, CostModel], times: int) -> None:
    """Of batches in multiples of eight: an odd number of tokens has kernels of its own, which are slower."""
    config, workload, model = question
    less = replace(workload, batch_size=8 * int(workload.batch_size))
    more = replace(workload, batch_size=times * 8 * int(workload.batch_size))
    assert seconds(model, config, more) >= seconds(model, config, less) * (1 - TILES)


@few
@given(questions())
def test_longer_sequences_and_larger_pictures_are_not_faster(question: tuple[Any, Workload, CostModel]) -> None:
    """Sequences in multiples of eight too: a cache of one key has kernels of its own."""
    config, workload, model = question
    less = replace(workload, batch_size=8 * int(workload.batch_size))
    if workload.seq_len is not None:
        less = replace(less, seq_len=max(8, int(workload.seq_len) // 8 * 8))
    for name in config.default_sizes:
        size = getattr(less, name)
        try:
            more = replace(less, **{name: 2 * size if name != "frames" else 2 * size - 1})
            longer = seconds(model, config, more)
        except ArchSearchError:  # more positions than the model has
            continue
        assert longer >= seconds(model, config, less) * (1 - TILES), name


@few
@given(questions())
def test_more_layers_are_not_faster(question: tuple[Any, Workload, CostModel]) -> None:
    config, workload, model = question
    deeper = [replace(config, **{n: getattr(config, n) + 1}) for n in DEPTHS if getattr(config, n, None)]
    assume(deeper)
    for more in deeper:
        assert seconds(model, more, workload) >= seconds(model, config, workload) * (1 - SAME)


@few
@given(questions(), st.lists(st.integers(1, 64), min_size=2, max_size=4))
def test_a_column_of_workloads_costs_what_each_costs(
    question: tuple[Any, Workload, CostModel], batches: list[int]
) -> None:
    config, workload, model = question
    column = seconds(model, config, replace(workload, batch_size=np.array(batches)))
    alone = [float(seconds(model, config, replace(workload, batch_size=b))) for b in batches]
    np.testing.assert_allclose(np.broadcast_to(column, len(batches)), alone, rtol=SAME)
