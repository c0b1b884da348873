"""Explanations: of every preset, with nothing called better that is not; of a study's architecture in its terms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archsearch.api import estimate, explain
from archsearch.cost.execution import BURST
from archsearch.errors import InvalidInputError
from archsearch.hardware import GpuPool
from archsearch.models.registry.families import load_preset, preset_names
from archsearch.quality import default_proxy, training_features
from archsearch.search.answers.explain import Explanation
from archsearch.search.answers.moves import DEFAULT_STEPS, legal_moves
from archsearch.search.answers.ranked import explain_ranked
from archsearch.search.answers.recommend import recommend
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.enumeration import sweep
from archsearch.search.space.space import load_space
from archsearch.search.studies.study import run_study
from archsearch.workload import Workload

GPU = "h100-sxm"
APART = ("patch_size", "vocab_size")


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_explained(preset: str) -> None:
    answer = explain(preset, GPU)
    view = answer.per_gpu[0]
    assert view.latency_s == pytest.approx(estimate(preset, GPU).latency_s, rel=1e-9)
    if view.breakdown:
        assert sum(group["latency_s"] for group in view.groups) == pytest.approx(view.latency_s, rel=1e-9)
    assert answer.neighbours
    assert not set(view.sensitivities) & {*APART, "vae_scale_factor", "in_channels"}
    for row in answer.neighbours:
        assert {"parameters", "flops", "memory_bytes", "quality", "latency_s"} == set(row["metrics"])
        if row["verdict"][GPU] == "better":
            assert not set(row["dimension"].split(", ")) & set(APART)
            faster, quality = -row["differences"]["latency_s"][GPU], row["differences"]["quality"]
            gain = -quality if default_proxy(answer.family).direction == "minimize" else quality
            assert min(faster, gain) >= -1e-9
            assert max(faster, gain) > 0
    if answer.quality is None:  # no law speaks for autoencoders: nothing can be called better
        assert not view.better
    assert answer.lines()


def test_neighbours_are_what_their_configs_are() -> None:
    """Metrics of a neighbour equal those of its config, priced alone; quality with the model's own training tokens."""
    answer = explain("modernbert-base", GPU, seq_len=512, batch_size=4)
    own = load_preset("modernbert-base")
    proxy = default_proxy("encoder")
    workload = Workload(seq_len=512, batch_size=4)
    tokens = training_features(own, proxy, workload, {})["tokens"]
    for row in answer.neighbours[::5]:
        moved = replace(own, **row["changes"])
        alone = estimate(moved, GPU, seq_len=512, batch_size=4)
        assert row["metrics"]["latency_s"][GPU] == pytest.approx(alone.latency_s, rel=1e-9)
        assert row["metrics"]["parameters"] == alone.parameters
        assert row["metrics"]["flops"] == pytest.approx(alone.flops)
        assert row["metrics"]["memory_bytes"] == pytest.approx(alone.memory_bytes["total"])
        if row["dimension"] != "vocab_size":
            value = proxy.predict(training_features(moved, proxy, workload, {"tokens": tokens})).value
            assert row["metrics"]["quality"] == pytest.approx(float(value))


@pytest.mark.parametrize("preset", ["flux1-dev", "sd3-medium", "pixart-alpha", "wan2.1-1.3b", "dit-xl-2"])
def test_larger_patches_cost_quality_and_are_never_better(preset: str) -> None:
    answer = explain(preset, GPU, batch_size=32)  # what one image of a small model takes is the host's launches
    larger = [r for r in answer.neighbours if r["dimension"] == "patch_size" and r["changes"]["patch_size"] > 2]
    assert larger
    for row in larger:
        assert row["differences"]["latency_s"][GPU] < 0
        assert row["differences"]["quality"] > 0  # FID
        assert row["verdict"][GPU] == "not comparable"
    assert not any("patch_size" in item["changes"] for item in answer.per_gpu[0].better)


def test_vocabularies_do_not_compare() -> None:
    rows = [r for r in explain("gpt2", GPU).neighbours if r["dimension"] == "vocab_size"]
    assert {r["changes"]["vocab_size"] for r in rows} == {50240, 50304}
    assert all(r["metrics"]["quality"] is None and "vocabulary" in r["why"] for r in rows)


def test_a_law_that_does_not_see_a_step_calls_it_no_better() -> None:
    """Wider heads in place of more leave parameters and tokens as they are: the law of FID cannot tell them apart."""
    rows = [r for r in explain("ltx-video-2b", GPU).neighbours if r["dimension"] == "head_dim"]
    assert rows
    for row in rows:
        assert row["changes"]["num_attention_heads"] * row["changes"]["head_dim"] == 2048
        assert row["verdict"][GPU] == "not comparable"
        assert "does not see it" in row["why"]


def test_misaligned_width_is_shown_the_better_shape() -> None:
    """A feed-forward of 3001 costs more than the next multiple of 64, which is larger."""
    answer = explain(replace(load_preset("bert-large"), intermediate_size=3001), GPU, batch_size=8)
    view = answer.per_gpu[0]
    singles = {item["to"] for item in view.dimensions if item["dimension"] == "intermediate_size"}
    assert singles == {2944, 3008}
    assert any(item["changes"].get("intermediate_size") == 3008 for item in view.better)


def test_execution_is_the_one_asked_for() -> None:
    burst = explain("bert-base", GPU, execution=BURST)
    assert burst.per_gpu[0].latency_s == pytest.approx(estimate("bert-base", GPU, execution=BURST).latency_s)
    assert burst.execution["clock"] == "burst"


def test_where_the_host_binds_is_told() -> None:
    """One image of DiT-S is launched slower than it is computed: width is free. Of 256 it is not."""
    small, large = explain("dit-s-2", GPU), explain("dit-s-2", GPU, batch_size=256)
    assert small.per_gpu[0].host_bound
    assert not large.per_gpu[0].host_bound
    assert small.per_gpu[0].sensitivities["hidden_size"] == pytest.approx(0, abs=1e-9)
    assert large.per_gpu[0].sensitivities["hidden_size"] > 0.5
    assert any("host bound" in line for line in small.lines())


def test_moves_keep_models_real() -> None:
    config = load_preset("flux1-dev")
    moves = legal_moves(config, DEFAULT_STEPS)
    assert {m.dimension for m in moves if m.single} >= {"hidden_size", "num_layers", "num_single_layers"}
    for move in moves:
        moved = replace(config, **move.changes)
        moved.check()
        assert moved.num_attention_heads * moved.head_dim == moved.hidden_size


# ---------------------------------------------------------------------------------------------- studies


@pytest.fixture(scope="module")
def training_study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Evaluator]:
    """A coarse decoder-1b that minimises loss and training hours."""
    text = Path("search_spaces/decoder-1b.yaml").read_text()
    text = text.replace("[3072, 12288], step: 128}", "[3072, 12288], step: 1024}")
    text = text.replace("[1024, 3072], step: 64}", "[1024, 3072], step: 256}")
    text = text.replace("  - metric: throughput", "  - metric: training_hours")
    text += (
        "training: {hardware: h100-sxm, gpus: 8, tokens: 2.0e+10, batch_size: 64, seq_len: 2048, tensor_parallel: [1],"
        " pipeline_parallel: [1]}\n"
    )
    path = tmp_path_factory.mktemp("spaces") / "decoder-hours.yaml"
    path.write_text(text)
    evaluator = Evaluator(load_space(str(path)), GpuPool.parse("a100-sxm-80gb"))
    place = str(tmp_path_factory.mktemp("studies") / "hours.journal")
    study = run_study(evaluator.space, evaluator=evaluator, name="hours", storage=place, progress=False)
    return study, evaluator


@pytest.fixture(scope="module")
def explained(training_study: tuple[Any, Evaluator]) -> Explanation:
    study, evaluator = training_study
    return explain_ranked(study, 1, evaluator=evaluator)


def test_a_study_is_explained_in_its_own_objectives(explained: Explanation) -> None:
    assert explained.objectives == ("predicted loss", "training time")
    assert explained.space == "decoder-1b"
    for row in explained.neighbours:
        assert set(row["objectives"]) == ({"quality", "training_hours"} if row["legal"] else set())
        assert "throughput" not in row["why"]


def test_neighbours_are_the_spaces_own(explained: Explanation, training_study: tuple[Any, Evaluator]) -> None:
    space = training_study[1].space
    own = {name: explained.config.get(name) for name in space.dimensions}
    own["queries_per_kv"] = own["queries_per_kv"] or (
        explained.config["num_attention_heads"] // explained.config["num_key_value_heads"]
    )
    for row in explained.neighbours:
        assert set(row["changes"]) <= set(space.dimensions)
        for name, value in row["changes"].items():
            values = space.dimensions[name].tolist()
            assert value in values
            assert abs(values.index(value) - values.index(own[name])) == 1


def test_each_neighbour_is_judged_by_rules_budgets_and_values(
    explained: Explanation, training_study: tuple[Any, Evaluator]
) -> None:
    _, evaluator = training_study
    space = evaluator.space
    own = {name: explained.config.get(name) for name in space.dimensions}
    own["queries_per_kv"] = explained.config["num_attention_heads"] // explained.config["num_key_value_heads"]
    base = evaluator.columns(evaluator.evaluate({n: np.array([v]) for n, v in own.items()}), np.array([0]))
    words = set()
    for row in explained.neighbours:
        at = {n: np.array([row["changes"].get(n, v)]) for n, v in own.items()}
        evaluation = evaluator.evaluate(at)
        columns = evaluator.columns(evaluation, np.array([0]))
        assert row["legal"] == bool(evaluation.legal.all())
        assert row["feasible"] == bool(evaluation.feasible.all())
        words.add(row["verdict"]["a100-sxm-80gb"])
        if not row["legal"]:
            assert any(not np.all(rule.holds) and rule.reason in row["broken"] for rule in evaluation.rules)
            continue
        for name, told in row["objectives"].items():
            assert told["value"] == pytest.approx(float(columns[name][0]))
            outcome = np.sign(columns[name][0] - base[name][0])
            assert told["outcome"] == {1.0: "worse", -1.0: "better", 0.0: "equal"}[float(outcome)]
        if not row["feasible"]:
            assert any(text in told for text in evaluation.violations for told in row["broken"])
    assert {"trade", "illegal", "over budget"} <= words
    assert "better" not in words  # the front is exact: whatever is feasible and better would stand on it instead


def test_a_study_s_latency_is_the_recommended_one(
    explained: Explanation, training_study: tuple[Any, Evaluator]
) -> None:
    study, evaluator = training_study
    best = recommend(study, evaluator=evaluator, top=1, progress=False).iloc[0]
    assert explained.per_gpu[0].latency_s == pytest.approx(best["latency_s:a100-sxm-80gb"], rel=1e-9)
    assert explained.parameters == best["parameters"]
    assert "training time" in best["why"]
    assert "throughput" not in best["why"]


def test_ranks_that_do_not_exist_are_refused(training_study: tuple[Any, Evaluator]) -> None:
    study, evaluator = training_study
    with pytest.raises(InvalidInputError, match="no rank 9999"):
        explain_ranked(study, 9999, evaluator=evaluator)
    with pytest.raises(InvalidInputError, match="count from 1"):
        explain_ranked(study, 0, evaluator=evaluator)


def test_sizes_alone_have_sensitivities(explained: Explanation) -> None:
    found = explained.per_gpu[0].sensitivities
    assert set(found) <= {"hidden_size", "intermediate_size", "num_layers", "queries_per_kv"}
    assert found["num_layers"] == pytest.approx(1.0, abs=0.15)  # all but embeddings and head is layers


def test_a_pipeline_space_s_own_steps(tmp_path: Path) -> None:
    """marketing-4k with two seconds more: steps are the space's, the budget is named where it is missed, compression
    has no sensitivity."""
    path = tmp_path / "longer.yaml"
    path.write_text(Path("search_spaces/marketing-4k.yaml").read_text().replace("30000", "32000"))
    space = load_space(str(path))
    answer = explain_ranked(space, 1)
    assert answer.per == "generation"
    found = answer.per_gpu[0].sensitivities
    assert set(found) == {"hidden_size", "num_layers", "ratio"}
    assert all(-1 < value < 4 for value in found.values())
    over = [row for row in answer.neighbours if row["verdict"][GPU] == "over budget"]
    assert any("latency at most 32000 ms" in reason for row in over for reason in row["broken"])
    front = sweep(space, progress=False).front
    assert answer.quality is not None
    assert answer.quality["value"] == front["quality"].min()
