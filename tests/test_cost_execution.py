"""How a model runs: reading and printing executions, their defaults, what each field does to a price, layouts."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.cost import remember
from archsearch.cost.asked_execution import (
    EXECUTION_NAMES,
    chosen_execution,
    default_execution,
    execution_of,
    named_execution,
    parse_execution,
)
from archsearch.cost.bounds import bounds
from archsearch.cost.execution import BURST, Execution
from archsearch.cost.host import host_record
from archsearch.cost.layouts import layout_rules
from archsearch.cost.memory import memory
from archsearch.cost.model import CostModel, price_on
from archsearch.cost.releases import RELEASES
from archsearch.cost.remember import Answers, PriceCache, Remembered
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import load_preset, preset_names
from archsearch.ops import Attention, Collective, MatMul, MemoryOp, OpList
from archsearch.segments import Segment, SegmentedOps
from archsearch.workload import Phase, Workload

H100 = load_gpu("h100-sxm")
FORWARD, DECODE = Workload(seq_len=512), Workload(phase=Phase.DECODE, seq_len=512)

EXECUTIONS = st.builds(
    Execution,
    torch=st.sampled_from(sorted(RELEASES)),
    attention=st.sampled_from(["auto", "sdpa", "fastest", "flash", "fa2", "eager"]),
    compiled=st.booleans(),
    cuda_graphs=st.booleans(),
    fused_qkv=st.booleans(),
    quantization=st.sampled_from(["auto", "kernel", "fused", "eager"]),
    scaling=st.sampled_from(["dynamic", "static"]),
    granularity=st.sampled_from(["auto", "tensor"]),
    launch_us=st.none() | st.floats(0, 100),
    clock=st.sampled_from(["burst", "sustained"]) | st.floats(200, 1900),
    power_limit_w=st.none() | st.floats(100, 700),
    correction=st.booleans(),
    tensor_parallel=st.sampled_from([1, 2, 8]),
    sequence_parallel=st.sampled_from([1, 4]),
    pipeline_parallel=st.sampled_from([1, 2]),
    data_parallel=st.sampled_from([1, 2]),
)


@given(EXECUTIONS)
def test_the_line_that_is_printed_can_be_pasted(execution: Execution) -> None:
    for workload in (FORWARD, DECODE):
        resolved = execution.resolved(workload)
        for pasted_into in (FORWARD, DECODE):  # it means the same under another default
            assert parse_execution(resolved.line(), pasted_into) == resolved
            assert execution_of(resolved.to_dict(), pasted_into) == resolved


def test_names_files_and_answers_are_read(tmp_path: Path) -> None:
    for name in EXECUTION_NAMES:
        assert parse_execution(name, FORWARD) == named_execution(name, FORWARD)
    path = tmp_path / "run.yaml"
    path.write_text("name: torch-compiled\nclock: 1410\ntorch: 2.4\n")
    assert parse_execution(str(path), FORWARD) == Execution(compiled=True, clock=1410.0, torch="2.4")
    path.write_text('{"latency_s": 1.0, "execution": {"attention": "fa2", "compiled": true}}')
    assert parse_execution(str(path), FORWARD) == Execution(attention="fa2", compiled=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fast", "unknown execution 'fast'"),
        ("compilde=true", "did you mean compiled"),
        ("compiled=3", "compiled=3 is not what this field holds"),
        ("tensor_parallel=0", "tensor_parallel must be a whole number from 1"),
        ("clock=quick", "unknown clock 'quick'"),
        ("clock=-5", "unknown clock"),
        ("attention=flsh", "did you mean flash"),
        ("torch=1.0", "unknown torch release"),
        ("launch_us=-1", "launch_us must be a number of microseconds from 0"),
        ("power_limit_w=0", "power_limit_w must be a number of watts above 0"),
        ("missing.yaml", "missing.yaml: cannot be read"),
    ],
)
def test_what_no_run_is_is_refused(text: str, told: str) -> None:
    with pytest.raises(ArchSearchError, match=told):
        parse_execution(text, FORWARD)


def test_defaults_are_one_table() -> None:
    for phase in (Phase.FORWARD, Phase.TRAIN):
        run = default_execution(Workload(phase=phase, seq_len=8)).resolved(Workload(phase=phase, seq_len=8))
        assert (run.torch, run.attention, run.compiled, run.clock, run.launch_us) == (
            "2.8",
            "sdpa",
            False,
            "sustained",
            None,
        )
    prefill = Workload(phase=Phase.PREFILL, seq_len=8)
    assert default_execution(prefill).resolved(prefill).attention == "fastest"
    assert not default_execution(prefill).cuda_graphs
    assert default_execution(DECODE).cuda_graphs
    decoding = Workload(phase=Phase.DECODE, height=64, width=64)  # an autoencoder's
    assert default_execution(decoding) == Execution()


def latency(config: object, workload: Workload, execution: Execution | None = None, gpu: str = "h100-sxm") -> float:
    return float(CostModel(load_gpu(gpu)).price(config, workload, execution).latency_s)  # type: ignore[arg-type]


def test_a_run_takes_its_calls_times_the_longer_of_gpu_and_host() -> None:
    """Two segments by hand: one bound by the GPU, one by the host."""
    big = MatMul(name="big", m=8192, n=8192, k=8192, dtype=DType.BF16)
    small = MemoryOp(name="small", kind="add", rows=8, cols=8, dtype=DType.BF16, reads=2.0, count=50)
    ops = SegmentedOps.of([Segment(name="a", ops=_list(big), calls=3), Segment(name="b", ops=_list(small), calls=7)])
    model = CostModel(H100)
    run = replace(BURST, launch_us=20.0)
    gpu_big, gpu_small = (float(model.estimate([op]).latency_s) for op in (big, small))
    assert gpu_small < 50 * 20e-6 < gpu_big + 1
    gap = host_record().gap_us * 1e-6  # after its one kernel
    answer = model.estimate(ops, run)
    assert float(answer.latency_s) == pytest.approx(3 * (gpu_big + gap) + 7 * 50 * 20e-6)
    assert float(answer.total("gpu_s")) == pytest.approx(3 * gpu_big + 7 * gpu_small)
    assert float(answer.total("host_s")) == pytest.approx((3 + 7 * 50) * 20e-6)
    assert bool(answer.host_bound)
    graphs = model.estimate(ops, replace(run, cuda_graphs=True))
    assert float(graphs.latency_s) == pytest.approx(3 * gpu_big + 7 * gpu_small)
    assert not bool(graphs.host_bound)


def _list(*ops: object) -> object:
    from archsearch.ops import OpList

    return OpList(ops)  # type: ignore[arg-type]


def test_what_stands_beside_runs_plainly() -> None:
    op = _list(MatMul(name="x", m=64, n=64, k=64, dtype=DType.BF16))
    ops = SegmentedOps.of([Segment(name="encoder", ops=op, beside=True), Segment(name="step", ops=op)])
    parts = CostModel(H100).estimate(ops, Execution(compiled=True, cuda_graphs=True, clock="burst")).segments
    assert [p.execution.compiled for p in parts] == [False, True]
    assert [float(p.host_s) > 0 for p in parts] == [True, False]
    assert {p.execution.clock for p in parts} == {"burst"}


@pytest.mark.parametrize("cache", [None, PriceCache()])
def test_one_cache_changes_no_price_and_every_field_of_a_kernel_counts(cache: PriceCache | None) -> None:
    config, work = load_preset("bert-base"), Workload(seq_len=512, batch_size=64)
    model = CostModel(H100, cache=cache)
    runs = [
        Execution(),
        Execution(clock="burst"),
        Execution(clock=900.0),
        Execution(power_limit_w=350.0),
        Execution(correction=False),
        Execution(torch="2.4"),
        Execution(compiled=True),
        Execution(fused_qkv=True),
        Execution(attention="eager"),
        Execution(launch_us=100.0),
    ]
    found = [float(model.price(config, work, run).latency_s) for run in (*runs, *runs)]
    plain = [latency(config, work, run) for run in runs]
    assert found == pytest.approx([*plain, *plain], rel=1e-12)
    assert len(set(plain[:5])) == 5


def test_fields_left_out_of_keys_are_fields_of_an_execution() -> None:
    """A new field of Execution counts in keys until somebody lists it."""
    names = {f.name for f in fields(Execution)}
    assert names >= remember.NOT_OF_A_KERNEL
    assert set(remember._IN_KEYS) == names - remember.NOT_OF_A_KERNEL
    assert {"clock", "power_limit_w", "correction"} <= set(remember._IN_KEYS)


def test_a_locked_clock_stretches_products_by_its_ratio_and_leaves_memory_alone() -> None:
    model = CostModel(load_gpu("a100-sxm-80gb"))
    product = [MatMul(name="x", m=8192, n=8192, k=8192, dtype=DType.BF16)]
    copy = [MemoryOp(name="y", kind="add", rows=65536, cols=4096, dtype=DType.BF16, reads=2.0)]
    slow, slower = (replace(BURST, clock=c) for c in (1000.0, 500.0))
    at = [float(model.estimate(product, run).latency_s) for run in (slow, slower)]
    assert at[1] / at[0] == pytest.approx(2.0)
    assert float(model.estimate(copy, slow).latency_s) == pytest.approx(float(model.estimate(copy).latency_s))
    with pytest.raises(InvalidInputError, match="runs at 1410 MHz at most"):
        model.estimate(product, replace(BURST, clock=1500.0))
    with pytest.raises(InvalidInputError, match="has 400 W at most"):
        model.estimate(product, replace(BURST, power_limit_w=500.0))


def test_tensor_parallel_runs_a_shard_and_pays_for_its_sums() -> None:
    config, work = load_preset("llama-3-8b"), Workload(phase=Phase.PREFILL, seq_len=2048)
    run = replace(default_execution(work).resolved(work), launch_us=0.0)
    shard = replace(
        config,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=128,
        intermediate_size=3584,
        vocab_size=32064,
    )
    sums = Collective(name="r", kind="all_reduce", payload_bytes=2048 * 4096 * 2.0, group_size=4)
    expected = latency(shard, work, run) + 2 * 32 * float(CostModel(H100).estimate([sums]).breakdown[0].cost.latency_s)
    shared = replace(run, tensor_parallel=4)
    assert latency(config, work, shared) == pytest.approx(expected, rel=1e-9)
    assert float(memory(config, work, shared, H100).total) == float(shard.memory(work).total)
    with pytest.raises(UnsupportedError, match="num_key_value_heads 8 is no multiple of 3"):
        latency(config, work, replace(run, tensor_parallel=3))
    with pytest.raises(UnsupportedError, match="only language models"):
        latency(load_preset("dit-xl-2"), Workload(height=256, width=256), Execution(tensor_parallel=2))


def test_stages_send_and_replicas_share_the_batch() -> None:
    config, work = load_preset("llama-3-8b"), Workload(seq_len=1024, batch_size=4)
    send = Collective(name="s", kind="send", payload_bytes=4 * 1024 * 4096 * 2.0, group_size=2)
    each = float(CostModel(H100).estimate([send]).breakdown[0].cost.latency_s)
    run = Execution(launch_us=0.0)
    staged = latency(config, work, replace(run, pipeline_parallel=4))
    assert staged == pytest.approx(latency(config, work, run) + 3 * each, rel=1e-9)
    half = latency(config, replace(work, batch_size=2), Execution())
    assert latency(config, work, Execution(data_parallel=2)) == pytest.approx(half, rel=1e-12)
    with pytest.raises(UnsupportedError, match="cannot be shared equally"):
        latency(config, work, Execution(data_parallel=3))


def test_attention_without_a_fused_kernel_holds_its_scores() -> None:
    """Two score matrices of batch · heads · tokens² in 16 bits stand over everything else, and training saves one a
    layer."""
    config = replace(load_preset("bert-base"), max_position_embeddings=4096)
    work = Workload(seq_len=2048, batch_size=4)
    scores = 4 * 12 * 2048**2 * 2.0
    fused, plain = (memory(config, work, Execution(attention=a), H100) for a in ("sdpa", "eager"))
    assert float(fused.activations) < 2 * scores < float(plain.activations) < 2.2 * scores
    train = replace(work, phase=Phase.TRAIN)
    saved = [float(memory(config, train, Execution(attention=a), H100).activations) for a in ("sdpa", "eager")]
    assert saved[1] - saved[0] == pytest.approx(12 * scores)
    # a P100 has no FlashAttention: torch's memory-efficient kernel is fused too, head_dim 60 fits neither
    odd = replace(load_preset("bert-base"), max_position_embeddings=4096, hidden_size=12 * 60)
    half = replace(work, dtype=DType.FP16)
    t4 = load_gpu("t4")
    assert float(memory(odd, half, None, t4).activations) > 2 * scores
    ops = [op for op in odd.lower(half) if isinstance(op, Attention)]
    assert CostModel(t4).estimate(ops, Execution()).breakdown[0].op == "attention (unfused)"


def test_memory_and_time_go_by_one_mask_over_a_grid() -> None:
    grid = replace(load_preset("bert-base"), max_position_embeddings=4096, hidden_size=12 * np.array([60, 64]))
    work = Workload(seq_len=2048, dtype=DType.FP16)
    t4 = load_gpu("t4")
    use = np.broadcast_to(memory(grid, work, None, t4).activations, 2)
    for i, width in enumerate((60, 64)):
        one = replace(load_preset("bert-base"), max_position_embeddings=4096, hidden_size=12 * width)
        assert float(use[i]) == pytest.approx(float(memory(one, work, None, t4).activations), rel=1e-12)


@pytest.mark.parametrize("gpu", ["h100-sxm", "a100-sxm-80gb", "l4", "t4"])
def test_no_preset_uses_more_flops_than_there_are(gpu: str) -> None:
    spec = load_gpu(gpu)
    model = CostModel(spec, cache=PriceCache())
    for name in preset_names()[::4]:
        config = load_preset(name)
        sizes = dict(config.default_sizes)
        if "seq_len" in sizes:
            sizes["seq_len"] = min(sizes["seq_len"], int(getattr(config, "max_position_embeddings", 1 << 20)))
        for phase in getattr(config, "phases", (Phase.FORWARD,)):
            work = Workload(phase=phase, dtype=DType.FP16, **sizes)
            run = default_execution(work).resolved(work)
            found = bounds(config.lower(work), spec, run)
            seconds = float(model.price(config, work, run).latency_s)
            assert float(found.peak_s) <= float(found.executed_peak_s) + 1e-15, (name, phase)
            assert float(found.executed_peak_s) <= seconds, (name, phase)


def test_masked_pairs_and_recomputation_are_not_needed() -> None:
    config = load_preset("mistral-7b")
    long = Workload(phase=Phase.PREFILL, seq_len=131072)
    run = default_execution(long).resolved(long)
    seconds = latency(config, long, run)
    found = bounds(config.lower(long), H100, run)
    assert 0.3 < float(found.peak_s) / seconds < 1.0
    train = Workload(phase=Phase.TRAIN, seq_len=2048)
    again = replace(train, checkpointing=True)
    eager = Execution().resolved(train)
    once, twice = (bounds(config.lower(w), H100, eager) for w in (train, again))
    assert float(once.peak_s) == pytest.approx(float(twice.peak_s))
    assert float(twice.executed_peak_s) > 1.2 * float(once.executed_peak_s)


def test_several_gpus_are_priced_as_each_alone() -> None:
    config, work = load_preset("bert-base"), Workload(seq_len=256, dtype=DType.FP16)
    models = {name: CostModel(load_gpu(name)) for name in ("t4", "h100-sxm")}
    together = price_on(models, config, work)
    for name, model in models.items():
        assert float(together[name].latency_s) == float(model.price(config, work).latency_s)


def test_unknown_fields_are_told_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean cuda_graphs"):
        chosen_execution(FORWARD, None, {"cuda_graph": True})


@pytest.mark.parametrize(
    "text",
    [
        *("clock=[", "clock=%", "clock=*a", "clock={[1]: 2}", "compiled=!!python/object:os.system", "clock=2024-13-45"),
        *("launch_us=" + "9" * 400, "clock=" + "9" * 5000, "launch_us=" + "[" * 3000, "tensor_parallel=" + "9" * 30),
    ],
)
def test_garbage_is_one_line(text: str) -> None:
    with pytest.raises(ArchSearchError) as told:
        parse_execution(text, FORWARD)
    assert len(str(told.value)) < 500


def test_broken_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    for content in ("1: 2\n", "null: 2\n", "clock: 2024-13-45\n", "[" * 3000, "launch_us: " + "9" * 400, "a"):
        path.write_text(content)
        with pytest.raises(ArchSearchError) as told:
            parse_execution(str(path), FORWARD)
        assert len(str(told.value)) < 500


def test_a_lower_limit_slows_a_burst_too_and_the_boards_own_changes_nothing() -> None:
    product = [MatMul(name="x", m=16384, n=8192, k=8192, dtype=DType.BF16)]
    model = CostModel(H100)
    at = [float(model.estimate(product, replace(BURST, power_limit_w=w)).latency_s) for w in (None, 700.0, 350.0)]
    assert at[1] == pytest.approx(at[0], rel=1e-12)
    assert 1.2 * at[0] < at[2] < 2.0 * at[0]  # at the lower voltage an operation takes less energy


def test_the_fastest_attention_is_no_slower_than_any() -> None:
    config = load_preset("llama-3-8b")
    for gpu in ("a100-sxm-80gb", "h100-sxm", "b200-sxm", "l40s"):
        for phase, seq in ((Phase.DECODE, 4096), (Phase.PREFILL, 2048), (Phase.FORWARD, 1024)):
            work = Workload(phase=phase, seq_len=seq, batch_size=8)
            seconds = {
                a: latency(config, work, Execution(attention=a), gpu) for a in ("fastest", "sdpa", "fa2", "flash")
            }
            assert seconds["fastest"] <= min(seconds.values()) * (1 + 1e-12), (gpu, phase)


def test_a_grid_of_which_some_cannot_be_shared_prices_the_rest() -> None:
    heads = np.array([12, 13, 16])
    grid = replace(load_preset("llama-3.2-1b"), num_attention_heads=heads, num_key_value_heads=heads, head_dim=64)
    work, run = Workload(seq_len=512), Execution(tensor_parallel=2)
    rules = {reason.split()[0]: np.broadcast_to(holds, 3).tolist() for reason, holds in layout_rules(grid, run)}
    assert rules["num_attention_heads"] == [True, False, True]
    seconds = np.broadcast_to(CostModel(H100).price(grid, work, run).latency_s, 3)
    for i in (0, 2):
        one = replace(grid, num_attention_heads=int(heads[i]), num_key_value_heads=int(heads[i]))
        assert float(seconds[i]) == pytest.approx(latency(one, work, run), rel=1e-12)
    with pytest.raises(UnsupportedError, match="num_attention_heads 13 is no multiple of 2"):
        latency(replace(grid, num_attention_heads=13, num_key_value_heads=13), work, run)
    with pytest.raises(UnsupportedError, match="a decoded token is no sequence"):
        latency(load_preset("llama-3.2-1b"), DECODE, Execution(sequence_parallel=2))


# ---------------------------------------------------------------- remembering


def test_answers_are_kept_least_recently_asked_for_first_out() -> None:
    asked: list[int] = []

    def square(n: int) -> int:
        asked.append(n)
        return n * n

    remembered = Remembered(square, 2)
    assert [remembered(n) for n in (2, 3, 2, 4, 2, 3)] == [4, 9, 4, 16, 4, 9]
    assert asked == [2, 3, 4, 3]  # 3 made room for 4, 2 had been asked for since


def test_what_does_not_hash_is_computed_every_time() -> None:
    remembered = Remembered(lambda array: float(array.sum()), 4)
    array = np.ones(3)
    assert remembered(array) == 3.0
    array[0] = 5.0
    assert remembered(array) == 7.0


def test_a_copy_in_another_process_starts_empty() -> None:
    answers: Answers[int] = Answers(3)
    assert answers.of("key", lambda: 1) == 1
    assert answers.of("key", lambda: 2) == 1
    copy = pickle.loads(pickle.dumps(answers))
    assert copy.of("key", lambda: 2) == 2
    model = CostModel(load_gpu("l4"), cache=PriceCache())
    ops = OpList((MatMul(name="x", m=64, n=64, k=64, dtype=DType.FP16),))
    there = pickle.loads(pickle.dumps(model.cache)) if model.cache else None
    assert CostModel(model.gpu, cache=there).estimate(ops).latency_s == model.estimate(ops).latency_s
