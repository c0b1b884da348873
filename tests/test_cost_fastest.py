"""The fastest attention loses to no slower explicit choice, on any kind of GPU, in any phase."""

from __future__ import annotations

from functools import cache

import pytest

from archsearch.cost import CostModel
from archsearch.cost.execution import AttentionChoice, Execution
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import load_preset
from archsearch.workload import Phase, Workload

GPUS = ("a100-sxm-80gb", "a10", "l40s", "rtx-4090", "h100-sxm", "h200-sxm", "b200-sxm", "rtx-5090", "t4", "mi300x")
OTHERS = (
    "v100-sxm-32gb",
    "p40",
    "a30",
    "rtx-3090",
    "gh200",
    "rtx-pro-6000-server",
    "rtx-pro-6000-workstation",
    "mi355x",
)
RUNS = (
    ("llama-3.2-1b", Phase.PREFILL, 1, 1024),
    ("llama-3.2-1b", Phase.DECODE, 1, 128),
    ("llama-3.2-1b", Phase.DECODE, 1, 32768),
    ("llama-3.2-1b", Phase.DECODE, 64, 2048),
    ("gpt2", Phase.DECODE, 16, 1024),
    ("gpt2", Phase.TRAIN, 4, 1024),
    ("modernbert-base", Phase.FORWARD, 8, 512),
)
OVER_A_CACHE = (("gpt2", 1, 1024), ("gpt2", 64, 1000), ("llama-2-7b", 8, 1024), ("llama-3-8b", 1, 1024))
TIE = 1e-4
"""Over a short cache on a T4 launches alone decide, and unfused attention comes out 0.002 % ahead."""
FUSED = ("auto", "sdpa", "flash", "fa2")


@cache
def seconds(gpu: str, run: int, attention: str) -> float | None:
    """Time of a run compiled, None where a choice is refused."""
    name, phase, batch, length = RUNS[run]
    spec = load_gpu(gpu)
    dtype = DType.BF16 if spec.supports(DType.BF16) else DType.FP16
    work = Workload(batch_size=batch, seq_len=length, phase=phase, dtype=dtype)
    try:
        answer = CostModel(spec).price(load_preset(name), work, Execution(attention=attention, compiled=True))
    except UnsupportedError:
        return None
    return float(answer.latency_s)


@pytest.mark.parametrize("run", range(len(RUNS)))
@pytest.mark.parametrize("gpu", GPUS)
def test_the_fastest_is_never_slower_than_a_fused_choice(gpu: str, run: int) -> None:
    best = seconds(gpu, run, "fastest")
    assert best is not None
    others = {choice: time for choice in FUSED if (time := seconds(gpu, run, choice)) is not None}
    assert {"auto", "sdpa"} <= set(others)
    assert all(best <= time * (1 + 1e-12) for time in others.values()), others
    assert {*FUSED, "fastest", "eager"} == {choice.value for choice in AttentionChoice}


@pytest.mark.parametrize("run", [i for i, (_, phase, *_) in enumerate(RUNS) if phase in (Phase.PREFILL, Phase.DECODE)])
@pytest.mark.parametrize("gpu", GPUS)
def test_what_serves_tokens_is_never_slower_than_any_choice(gpu: str, run: int) -> None:
    """In prefill and decode ``auto`` is the fastest kernel, and unfused attention is none that beats it."""
    best = seconds(gpu, run, "auto")
    times = [seconds(gpu, run, choice.value) for choice in AttentionChoice]
    assert best is not None
    assert all(best <= time * (1 + TIE) for time in times if time is not None), times


@pytest.mark.parametrize(("name", "batch", "length"), OVER_A_CACHE)
@pytest.mark.parametrize("gpu", GPUS + OTHERS)
def test_a_step_over_a_cache_is_served_by_the_fastest_choice(gpu: str, name: str, batch: int, length: int) -> None:
    """Also where unfused attention is the fastest; as graphs, back to back, and where launches alone decide."""
    spec = load_gpu(gpu)
    dtype = DType.BF16 if spec.supports(DType.BF16) else DType.FP16
    work = Workload(batch_size=batch, seq_len=length, phase=Phase.DECODE, dtype=dtype)
    for how in ({"compiled": True, "launch_us": 0.0}, {"launch_us": 0.0}, {"launch_us": 1e4}):
        times: dict[str, float] = {}
        for choice in AttentionChoice:
            try:
                run = Execution(attention=choice.value, **how)
                times[choice.value] = float(CostModel(spec).price(load_preset(name), work, run).latency_s)
            except UnsupportedError:
                continue
        if not times:  # Pascal compiles nothing
            assert str(spec.compute_capability) < "7.0"
            continue
        assert times["auto"] == times["fastest"]
        assert times["auto"] <= min(times.values()) * (1 + 1e-9), times
