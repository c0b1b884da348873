"""Objectives over pools, energy, price, training and lifetime, against their definitions worked out one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archsearch.cost import CostModel
from archsearch.cost.execution import Execution
from archsearch.cost.host import gap_s
from archsearch.cost.layouts import shard
from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware import GpuPool, listed_prices, load_gpu
from archsearch.models.registry.families import get_family, load_preset
from archsearch.ops import Collective, MatMul, OpList
from archsearch.search.answers.ranked import explain_ranked
from archsearch.search.answers.recommend import recommend
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.pools import dimension_costs, price_of_one
from archsearch.search.evaluate.training_cost import TrainingCost, layout_of
from archsearch.search.explore.enumeration import sweep
from archsearch.search.space.sections import TrainingRecord
from archsearch.search.space.space import load_space, parse_space
from archsearch.search.studies.study import run_study, study_frame
from archsearch.segments import SegmentedOps, segments_of
from archsearch.workload import Phase, Workload

pytest_plugins = ("search_fakes",)


def edited(
    evaluator: Evaluator, toy_file: Path, *changes: tuple[str, str], weights: tuple[float, float] = (1, 3)
) -> Evaluator:
    text = toy_file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = toy_file.with_name("edited.yaml")
    path.write_text(text)
    pool = GpuPool(tuple(zip(evaluator.pool.gpus, weights, strict=True)))
    return Evaluator(parse_space(path), pool, evaluator.models)


def table(evaluator: Evaluator) -> dict[str, Any]:
    """All feasible architectures' columns."""
    evaluation = evaluator.evaluate(evaluator.space.mesh())
    return evaluator.columns(evaluation, np.flatnonzero(evaluation.feasible))


def test_fleet_energy_and_price_follow_their_definition(evaluator: Evaluator, toy_file: Path) -> None:
    mixed = edited(evaluator, toy_file, PRICES)
    columns = table(mixed)
    base = mixed.baseline_columns
    assert base is not None
    t4, a100 = load_gpu("t4"), load_gpu("a100-sxm-40gb")
    for row in (0, 7, 100):
        rate = {g.id: float(columns[f"throughput:{g.id}"][row]) for g in (t4, a100)}
        fleet = 0.25 * rate["t4"] + 0.75 * rate["a100-sxm-40gb"]
        known = 0.25 * base["throughput:t4"][0] + 0.75 * base["throughput:a100-sxm-40gb"][0]
        assert columns["throughput_fleet"][row] == pytest.approx(fleet / known)
        assert columns["energy_j:t4"][row] == pytest.approx(t4.tdp_w / rate["t4"])
        usd = 2.5 / 3600 / rate["a100-sxm-40gb"] * 1e6
        assert columns["usd_per_million:a100-sxm-40gb"][row] == pytest.approx(usd)
        both = [columns[f"energy_j:{g.id}"][row] for g in (t4, a100)]
        assert columns["energy_j_weighted"][row] == pytest.approx(0.25 * both[0] + 0.75 * both[1])
        assert columns["energy_j_worst"][row] == max(both)


def test_regret_is_measured_against_each_gpus_own_best(evaluator: Evaluator, toy_file: Path) -> None:
    mixed = edited(evaluator, toy_file, ("baseline:", "pool: {objectives: [regret]}\nbaseline:"))
    result = sweep(mixed.space, evaluator=mixed, progress=False)
    assert list(mixed.objective_columns) == ["quality", "regret"]
    assert mixed.own_fronts is None  # what the search learnt is in its result's evaluator
    columns = table(result.evaluator)
    quality = columns["quality"]
    worst = np.zeros(len(quality))
    for gpu in mixed.pool.ids:
        seconds = 1 / columns[f"throughput:{gpu}"]
        least = np.array([seconds[quality <= q].min() for q in quality])
        np.testing.assert_allclose(columns[f"regret:{gpu}"], seconds / least - 1, rtol=1e-9, atol=1e-9)
        worst = np.maximum(worst, seconds / least - 1)
    np.testing.assert_allclose(columns["regret"], worst, rtol=1e-9, atol=1e-9)
    front = result.front
    assert (front["regret"] >= 0).all()
    for _, row in front.iterrows():
        beaten = (
            (quality <= row["quality"])
            & (worst <= row["regret"])
            & ((quality < row["quality"]) | (worst < row["regret"]))
        )
        assert not (beaten & ~np.isclose(worst, row["regret"], atol=1e-9)).any()


PRICES = ("baseline:", "prices: {t4: 0.5, a100-sxm-40gb: 2.5}\nbaseline:")
OBJECTIVES = "objectives:\n  - metric: quality\n  - metric: throughput"


@pytest.mark.parametrize("metric", ["energy_j", "usd_per_million"])
def test_absolute_metrics_are_objectives(evaluator: Evaluator, toy_file: Path, metric: str) -> None:
    mixed = edited(evaluator, toy_file, PRICES, (OBJECTIVES, f"objectives:\n  - metric: quality\n  - metric: {metric}"))
    front = sweep(mixed.space, evaluator=mixed, progress=False)
    assert set(mixed.objective_columns) == {"quality", f"{metric}_worst", f"{metric}_weighted"}
    columns = table(mixed)
    assert front.front[f"{metric}_weighted"].min() == columns[f"{metric}_weighted"].min()


def test_what_nothing_gives_is_refused(evaluator: Evaluator, toy_file: Path) -> None:
    with pytest.raises(InvalidInputError, match="'training' section"):
        edited(evaluator, toy_file, ("metric: throughput", "metric: training_usd"))
    unpriced = load_gpu("h100-sxm").model_copy(update={"id": "lab"})
    path = toy_file.with_name("priced.yaml")
    path.write_text(toy_file.read_text().replace("metric: throughput", "metric: usd_per_million"))
    with pytest.raises(
        UnsupportedError, match=r"lab: no price known; give USD per GPU-hour in the space, prices: \{lab: USD\}"
    ):
        Evaluator(parse_space(path), GpuPool.of([unpriced]), evaluator.models)


def record(**changes: Any) -> TrainingRecord:
    values = {"hardware": "h100-sxm", "gpus": 8, "tokens": 1e9, "batch_size": 64, "seq_len": 1024, "micro_batch": 2}
    values |= {"execution": "torch-compiled"}
    return TrainingRecord.model_validate(values | changes)


def steps_of(config: Any, work: Workload, gpu: str) -> tuple[float, float]:
    """Seconds of forward and backward, and of the optimizer."""
    ops = config.lower(work)
    parts = [
        replace(part, ops=OpList(tuple(op for op in ops if op.name.startswith("optimizer.") is late)))
        for part, late in zip(segments_of(ops), (False, True), strict=True)
    ]
    model = CostModel(load_gpu(gpu))
    passes, update = (
        float(model.estimate(SegmentedOps.of([part]), Execution(compiled=True)).latency_s) for part in parts
    )
    return passes, update


def test_one_gpu_trains_in_micro_batches_and_one_update() -> None:
    config = load_preset("llama-3.2-1b")
    cost = TrainingCost(record(gpus=1, tensor_parallel=[1], pipeline_parallel=[1])).columns(config)
    work = Workload(phase=Phase.TRAIN, batch_size=2, seq_len=1024)
    passes, update = steps_of(config, work, "h100-sxm")
    seconds = (32 * passes + update) * np.ceil(1e9 / (64 * 1024))
    assert float(cost["training_hours"]) == pytest.approx(seconds / 3600)
    price = listed_prices()["h100-sxm"].usd_per_hour
    assert float(cost["training_usd"]) == pytest.approx(seconds / 3600 * price)
    assert float(cost["training_energy_j"]) == pytest.approx(seconds * load_gpu("h100-sxm").tdp_w)
    assert float(cost["training_memory_share"]) * load_gpu("h100-sxm").available_bytes == pytest.approx(
        float(config.memory(work).total)
    )


def test_layouts_cost_their_collectives() -> None:
    config, gpu = load_preset("llama-3.2-1b"), load_gpu("h100-sxm")
    cost = TrainingCost(record(tensor_parallel=[2], pipeline_parallel=[2])).columns(config)
    assert layout_of(float(cost["training_layout"])) == {"tensor": 2, "pipeline": 2, "data": 2}
    stage = get_family("decoder")(
        **{**config.to_dict(), "num_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 64}
        | {"intermediate_size": 4096, "vocab_size": 64128}
    )
    work = Workload(phase=Phase.TRAIN, batch_size=2, seq_len=1024)
    passes, update = steps_of(stage, work, "h100-sxm")
    payload = 2 * 1024 * 2048 * 2.0

    def takes(kind: str, size: float) -> float:
        op = Collective(name="c", kind=kind, payload_bytes=size, group_size=2)
        alone = CostModel(gpu).estimate([op]).breakdown[0].cost.latency_s
        return float(alone) + gap_s(gpu, Execution(compiled=True))  # a kernel of the stream, as the others

    micro = passes + 4 * 8 * takes("all_reduce", payload) + 2 * takes("send", payload)
    turns, layer = 64 // (2 * 2), float(stage.parameters()) * 2 / 8  # one of 8 layers is exchanged at a time
    scatter = takes("reduce_scatter", layer)  # beside the last backward pass, but for the last layer's
    assert 7 * scatter < 2 / 3 * micro
    step = (turns + 1) * micro + scatter + 8 * takes("all_gather", layer) + update / 2
    assert float(cost["training_hours"]) == pytest.approx(step * np.ceil(1e9 / (64 * 1024)) / 3600)
    memory = stage.memory(work)
    held = (2 + 2 + 12 / 2) * float(stage.parameters()) + 2 * float(memory.activations)
    assert float(cost["training_memory_share"]) == pytest.approx(held / gpu.available_bytes)


@pytest.mark.parametrize("tensor", [2, 4, 8])
def test_shards_hold_and_compute_their_share(tensor: int) -> None:
    config = load_preset("llama-3-8b")
    stage, legal = shard(config, Execution(tensor_parallel=tensor))
    assert bool(np.all(legal))
    work = Workload(phase=Phase.FORWARD, batch_size=1, seq_len=512)

    def products(model: Any) -> float:
        return float(sum(op.flops() * np.asarray(op.count) for op in model.lower(work) if isinstance(op, MatMul)))

    assert tensor * products(stage) == pytest.approx(products(config))
    assert float(config.parameters()) <= tensor * float(stage.parameters()) <= 1.001 * float(config.parameters())


def test_the_fastest_layout_that_fits_is_taken() -> None:
    sizes = np.array([2048, 4096, 8192])
    grid = get_family("decoder")(
        num_layers=32,
        hidden_size=sizes,
        num_attention_heads=sizes // 64,
        num_key_value_heads=8,
        head_dim=64,
        intermediate_size=3 * sizes,
        vocab_size=32000,
    )
    free = TrainingCost(record()).columns(grid)
    alone = [
        TrainingCost(record(tensor_parallel=[x.tensor], pipeline_parallel=[x.pipeline]))
        for x in TrainingCost(record()).layouts
    ]
    each = [{k: np.broadcast_to(v, (3,)) for k, v in one.columns(grid).items()} for one in alone]
    for i in range(3):
        fitting = [float(c["training_hours"][i]) for c in each if c["training_memory_share"][i] <= 1]
        if fitting:
            assert np.broadcast_to(free["training_hours"], (3,))[i] == pytest.approx(min(fitting))
        else:
            least = min(float(c["training_memory_share"][i]) for c in each)
            assert np.broadcast_to(free["training_memory_share"], (3,))[i] == pytest.approx(least)
    layouts = [layout_of(code) for code in np.broadcast_to(free["training_layout"], (3,))]
    assert layouts[0] != layouts[2]  # what fits a small model as replicas must be split for a large one


def test_training_refuses_what_it_cannot_cost() -> None:
    with pytest.raises(UnsupportedError, match="have no layout"):
        TrainingCost(record(batch_size=7))
    with pytest.raises(UnsupportedError, match="language models"):
        TrainingCost(record(tensor_parallel=[2]), splittable=False)
    with pytest.raises(UnsupportedError, match="t4"):
        TrainingCost(record(hardware="t4"))
    with pytest.raises(ValueError, match="less than or equal to 8"):
        record(gpus=16)


SECTIONS = """training: {hardware: h100-sxm, gpus: 8, tokens: 2.0e+10, batch_size: 64, micro_batch: 4, seq_len: 2048}
lifetime: {inferences: 1.0e+9}
prices: {a100-sxm-80gb: 2.0, l4: 0.75}
hardware:"""


def with_training(tmp_path: Path, metric: str, extra: str = "") -> Evaluator:
    text = Path("search_spaces/decoder-1b.yaml").read_text()
    text = (
        text.replace("step: 128}", "step: 1024}")
        .replace("step: 64}", "step: 256}")
        .replace("[10, 48]}", "[10, 46], step: 4}")
    )
    text = text.replace("hardware: [a100-sxm-80gb]", f"{SECTIONS} [a100-sxm-80gb, l4]", 1).replace(
        "  - metric: throughput", f"  - metric: {metric}"
    )
    text = text.replace("budget:\n", f"budget:\n{extra}")
    path = tmp_path / "trained.yaml"
    path.write_text(text)
    space = load_space(str(path))
    return Evaluator(space, GpuPool.parse("a100-sxm-80gb,l4=3"))


def test_lifetime_is_training_and_inferences(tmp_path: Path) -> None:
    evaluator = with_training(tmp_path, "lifetime_usd")
    front = sweep(evaluator.space, evaluator=evaluator, progress=False).front
    assert len(front) > 1
    row = front.iloc[0]
    total = row["training_usd"]
    for gpu, weight in evaluator.pool:
        usd_per_hour = {"a100-sxm-80gb": 2.0, "l4": 0.75}[gpu.id]
        each = row[f"latency_s:{gpu.id}"] / 8 * usd_per_hour / 3600  # a batch of 8 sequences a run
        total += 1e9 * weight * each
    assert row["lifetime_usd"] == pytest.approx(total)
    assert (front["training_memory_share"] <= 1).all()
    assert (front["training_hours_low"] < front["training_hours"]).all()
    assert (front["training_hours"] < front["training_hours_high"]).all()


def test_training_budgets_bind(tmp_path: Path) -> None:
    free = sweep(with_training(tmp_path, "training_usd").space, "a100-sxm-80gb", progress=False)
    costs = free.front["training_usd"]
    limit = float(costs.median())
    bound = with_training(tmp_path, "training_usd", extra=f"  training_usd: {limit}\n")
    held = sweep(bound.space, "a100-sxm-80gb", progress=False)
    assert 0 < held.valid < free.valid
    assert held.front["training_usd"].max() <= limit
    assert any("training at most" in reason for reason in held.rejected)
    with pytest.raises(ArchSearchError):
        with_training(tmp_path, "training_usd", extra="  training_usd: -1\n")


def test_which_dimension_pays_is_the_ratio_of_small_changes() -> None:
    evaluator = Evaluator(load_space("modernbert-base-budget"), GpuPool.parse("t4,h100-sxm"))
    row = {"hidden_size": 896, "intermediate_size": 1920, "head_dim": 128, "num_layers": 22}
    own = {name: np.array([value]) for name, value in row.items()}
    columns = evaluator.columns(evaluator.evaluate(own), np.array([0]))
    found = dimension_costs(evaluator, row | {name: value[0] for name, value in columns.items()})
    by_name = {item.dimension: item for item in found}
    assert set(by_name) == {"hidden_size", "intermediate_size", "num_layers"}  # heads change no parameters
    for name, others in {
        "hidden_size": (768, 1024),
        "num_layers": (21, 23),
    }.items():  # heads of 128 divide these widths
        changes = []
        for other in others:
            moved = evaluator.columns(evaluator.evaluate(own | {name: np.array([other])}), np.array([0]))
            time = np.log(columns["throughput:t4"] / moved["throughput:t4"])
            changes.append(float((time / np.log(moved["parameters"] / columns["parameters"]))[0]))
        assert by_name[name].cost["t4"] == pytest.approx(np.mean(changes))
        assert (by_name[name].steps, by_name[name].along) == (others, None)
        assert by_name[name].pays_most_on == min(by_name[name].cost, key=by_name[name].cost.__getitem__)


def test_price_of_one_architecture_for_all() -> None:
    price = price_of_one({"a": 0.2, "b": 0.0}, {"a": 0.25, "b": 0.75})
    assert price is not None
    assert (price.worst, price.worst_on, price.weighted) == (0.2, "a", pytest.approx(0.05))
    assert price_of_one({}, {}) is None


def test_regret_studies_sample_too(evaluator: Evaluator, toy_file: Path, tmp_path: Path) -> None:
    mixed = edited(evaluator, toy_file, ("baseline:", "pool: {objectives: [regret, fleet]}\nbaseline:"))
    place = str(tmp_path / "s.journal")
    study = run_study(
        mixed.space, evaluator=mixed, trials=10_000, strategy="hybrid", name="s", storage=place, progress=False
    )
    exact = sweep(mixed.space, evaluator=mixed, progress=False).front
    found = study_frame(study, front_only=True)
    best = recommend(study, evaluator=mixed, top=1, progress=False)
    assert best["regret"].iloc[0] in set(found["regret"])
    told = explain_ranked(study, 1, evaluator=mixed)  # its neighbours have regrets too
    assert "regret" in told.objectives
    assert any(row["objectives"]["regret"]["value"] is not None for row in told.neighbours if row["legal"])
    for name in mixed.objective_columns:
        np.testing.assert_allclose(np.sort(found[name]), np.sort(exact[name]), rtol=1e-12, atol=1e-12)


def test_without_a_baseline_the_reference_is_legal(evaluator: Evaluator, toy_file: Path) -> None:
    # the middle, 640 wide in heads of 128, is legal in the toy space; with heads of 192 alone it is not
    baseline = toy_file.read_text().split("baseline:")[1]
    changed = edited(evaluator, toy_file, (f"baseline:{baseline}", ""), ("[64, 128, 192]", "[192]"))
    legal = changed.evaluate(changed._middle()).legal
    assert legal.all()
    assert all(np.isfinite(value) and value > 0 for value in changed.reference_s_per_token.values())
