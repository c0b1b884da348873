"""The spaces that ship: they load, hold their baseline's kind of model, and their bounds keep shapes sane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archsearch.errors import ArchSearchError
from archsearch.hardware import GpuPool
from archsearch.search.answers.recommend import recommend
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.pool_models import resolve_pool
from archsearch.search.explore.enumeration import sweep
from archsearch.search.space.space import SearchSpace, list_spaces, load_space
from archsearch.search.studies.storage import delete_study, load_study
from archsearch.search.studies.study import list_studies, run_study, summarize_study

SPACES = [name for name in list_spaces() if load_space(name).record.pipeline is None]  # others: test_pipeline_codesign


def legal_cells(space: SearchSpace, evaluator: Evaluator) -> np.ndarray:
    return np.flatnonzero(evaluator.legal(space.mesh()))


@pytest.fixture(scope="module", params=SPACES)
def evaluator(request: pytest.FixtureRequest) -> Evaluator:
    space = load_space(request.param)
    return Evaluator(space, resolve_pool(None, space))


def test_every_legal_width_is_a_multiple_of_64(evaluator: Evaluator) -> None:
    space = evaluator.space
    values = space.field_values(space.decode(legal_cells(space, evaluator)))
    for name in ("hidden_size", "intermediate_size", "head_dim", "vocab_size"):
        if name in values:
            assert np.all(np.asarray(values[name]) % 64 == 0), name
    assert np.all(values["num_attention_heads"] * values["head_dim"] == values["hidden_size"])


def test_shapes_stay_within_what_has_been_trained(evaluator: Evaluator) -> None:
    space = evaluator.space
    values = space.decode(legal_cells(space, evaluator))
    aspect = values["hidden_size"] / values["num_layers"]
    assert aspect.min() >= 19
    assert aspect.max() <= 128


def test_baseline_is_near_the_budget(evaluator: Evaluator) -> None:
    baseline = evaluator.baseline_columns
    assert baseline is not None
    low, high = evaluator.space.record.budget.parameters or (0.0, np.inf)
    assert low <= baseline["parameters"][0] <= high


def test_parameters_of_sampled_cells_equal_those_of_single_configs(evaluator: Evaluator) -> None:
    space = evaluator.space
    cells = np.random.default_rng(0).choice(legal_cells(space, evaluator), 12, replace=False)
    many = space.build(space.field_values(space.decode(cells))).parameters()
    for position, cell in enumerate(cells):
        dimensions = {name: value.item() for name, value in space.decode(np.array(cell)).items()}
        single = space.family_class.from_dict(space.config_dict(dimensions))
        assert float(np.broadcast_to(many, (12,))[position]) == float(single.parameters())


def test_front_beats_the_baseline(evaluator: Evaluator) -> None:
    """On every GPU of the pool at once there is a shape with no worse predicted quality that is no slower."""
    front = sweep(evaluator.space, evaluator=evaluator, progress=False).front
    baseline = evaluator.baseline_columns
    assert baseline is not None
    assert len(front) > 0
    better = front[front["quality"] <= float(baseline["quality"][0])]
    assert (better["throughput_worst"] >= 1.0).any()


@pytest.mark.parametrize("name", SPACES)
def test_sources_are_named(name: str) -> None:
    assert any("https://" in reference for reference in load_space(name).record.references)


SHAPES = {
    "dit-xl-2-shape": {"head_dim": 72},
    "gpt2-shape": {"vocab_size": 50257},
    "gpt3-2.7b-shape": {"head_dim": 80, "vocab_size": 50257},
    "llama-7b-shape": {"intermediate_size": 10922},
    "pythia-2.8b-shape": {"head_dim": 80},
}
"""Spaces whose baseline was chosen without the hardware in mind, and what of it is off 64."""


def test_every_space_of_another_shape_says_what_is_naive() -> None:
    assert set(SHAPES) == {name for name in SPACES if name.endswith("-shape")}


@pytest.mark.parametrize("name", SHAPES)
def test_another_shape_has_the_size_of_the_naive_one(name: str) -> None:
    """Every architecture of the budget has the baseline's parameters within 2 %, and what is off 64 is not searched."""
    space = load_space(name)
    priced = Evaluator(space, resolve_pool(None, space))
    naive = priced.baseline_config()
    assert naive is not None
    widths = {field: getattr(naive, field, None) for field in ("hidden_size", "intermediate_size", "vocab_size")}
    widths |= {"head_dim": naive.hidden_size // naive.num_attention_heads}
    assert {field: width for field, width in widths.items() if width is not None and width % 64} == SHAPES[name]
    low, high = np.array(space.record.budget.parameters) / float(naive.parameters())
    assert 0.98 <= low < 1 < high <= 1.02


@pytest.mark.parametrize("name", SHAPES)
def test_another_shape_gains_speed_and_loses_no_quality(name: str) -> None:
    """Rank 1 is predicted no worse than the naive shape and faster, and at the lower end at most 1 % slower."""
    found = recommend(name, "h100-sxm", top=1, progress=False)
    (gain,) = found.attrs["gains"]
    sign = -1 if found.attrs["quality"]["direction"] == "maximize" else 1
    assert sign * found["quality"].iloc[0] <= sign * found.attrs["baseline"]["quality"]
    assert gain["speedup"] > 1
    assert gain["low"] > 0.99


GENERATIONS = [name for name in list_spaces() if load_space(name).record.pipeline is not None]
POOLS = {"one": "h100-sxm", "three": "h100-sxm,l40s,rtx-6000-ada"}


@pytest.fixture(scope="module", params=[(name, pool) for name in GENERATIONS for pool in POOLS], ids="-".join)
def priced(request: pytest.FixtureRequest) -> Evaluator:
    name, pool = request.param
    return Evaluator(load_space(name), GpuPool.parse(POOLS[pool]))


@pytest.fixture(scope="module")
def ranked(priced: Evaluator) -> pd.DataFrame:
    return recommend(priced.space, evaluator=priced, top=5, progress=False)


def test_pipeline_spaces_are_answered_on_every_pool(priced: Evaluator, ranked: pd.DataFrame) -> None:
    assert set(priced.objective_columns) <= set(ranked.columns)
    assert ranked[list(priced.objective_columns)].notna().all(axis=None)
    latency_ms = priced.space.record.budget.latency_ms or np.inf
    for gpu in priced.pool.ids:
        assert (ranked[f"latency_s:{gpu}"] * 1e3 <= latency_ms).all()


def test_rank_1_is_what_the_space_prefers(priced: Evaluator, ranked: pd.DataFrame) -> None:
    """marketing-4k asks for the highest quality within 30 s: no architecture that keeps them predicts better."""
    prefer = priced.space.record.prefer
    assert prefer == {"marketing-4k": "quality", "realtime-avatar": "quality"}.get(priced.space.name, "knee")
    if prefer == "quality":
        evaluation = priced.evaluate(priced.space.mesh())
        quality = np.broadcast_to(evaluation.values["quality"], evaluation.shape)[evaluation.feasible]
        assert ranked["quality"].iloc[0] == (priced.quality_sign * quality).min() * priced.quality_sign


def test_reasons_speak_of_the_objectives_alone(priced: Evaluator, ranked: pd.DataFrame) -> None:
    asked = {objective.metric for objective in priced.space.objectives}
    for why in ranked["why"]:
        assert f"predicted {priced.proxy.metric}" in why
        assert ("throughput" in why) == ("throughput" in asked)
        assert ("latency per generation" in why) == ("latency_s" in asked)


def test_flops_are_per_pass_and_per_generation(priced: Evaluator, ranked: pd.DataFrame) -> None:
    """A generation is its steps and passes of the transformer, and more: text encoders and decoder."""
    row = ranked.iloc[0]
    passes = float(row.get("guidance_passes", priced.space.record.fixed.get("guidance_passes", 1)))
    assert row["flops"] > row["pass_flops"] * float(row["num_inference_steps"]) * passes
    assert ranked.attrs["per"] == {"run": "generation", "step": "step"}


def test_only_sizes_have_sensitivities(ranked: pd.DataFrame) -> None:
    for item in ranked.attrs.get("dimensions_pay", []):
        assert item["dimension"] in ("hidden_size", "num_layers", "num_single_layers", "ratio")
        assert all(-1 < cost < 4 for cost in item["cost"].values())


def test_ranks_are_compared_over_independent_proxies(priced: Evaluator, ranked: pd.DataFrame) -> None:
    assert ranked.attrs["quality"]["compared"] == [priced.proxy.name, "dit-loss"]


def test_one_base_is_no_comparison() -> None:
    """Both laws of encoders stand on one decoder law: no range of ranks is printed."""
    found = recommend("modernbert-base-budget", "t4,a10", top=1, progress=False)
    assert found.attrs["quality"]["compared"] == []
    assert "quality_rank_best" not in found


@pytest.mark.parametrize("name", ["flux-class-12b", "wan-class-video", "marketing-4k"])
def test_studies_of_pools_are_kept_listed_and_recommended_from(name: str, tmp_path: Path) -> None:
    place = str(tmp_path / "studies.journal")
    study = run_study(name, "h100-sxm,l40s", name=name, storage=place, progress=False)
    assert list_studies(place)["name"].tolist() == [name]
    assert summarize_study(study)["front"] > 0
    best = recommend(name, storage=place, top=2, progress=False)
    space = recommend(load_space(name), "h100-sxm,l40s", top=2, progress=False)
    assert best["latency_worst"].tolist() == pytest.approx(space["latency_worst"].tolist(), rel=1e-9)


def test_a_broken_study_breaks_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path))
    run_study("sana-class", "h100-sxm", name="whole", progress=False)
    broken = run_study("sana-class", "h100-sxm", name="broken", progress=False)
    broken.set_user_attr("archsearch", {"space": "no space", "frame": {}})
    (tmp_path / "studies" / "garbage.journal").write_text("no journal\n")
    found = list_studies().set_index("name")
    assert set(found.index) == {"whole", "broken", "garbage"}
    assert found.loc["whole", "problem"] is None
    assert found.loc["whole", "front"] == summarize_study(load_study("whole"))["front"]
    assert "cannot be read" in found.loc["broken", "problem"]
    assert "cannot be read" in found.loc["garbage", "problem"]
    delete_study("garbage")
    assert "garbage" not in set(list_studies()["name"])


def test_memory_is_named_where_memory_binds() -> None:
    """FLUX-sized weights and T5 in bf16 on what 24 GB leave: the GPU's memory, and by how much, at 8 B or more."""
    with pytest.raises(ArchSearchError) as told:
        recommend("flux-class-12b", "l4", progress=False)
    text = str(told.value)
    assert "memory of l4 (21.5 GiB) binds. The nearest misses it by" in text
    first = next(part for part in text.split("; or ") if "memory of l4" in part)
    parameters = float(first.partition(" M parameters")[0].rpartition("(")[2])
    assert 8000 <= parameters <= 13000  # the nearest keeps the parameters' budget


def test_a_reference_of_a_pipeline_space_is_a_whole_generation() -> None:
    """FLUX.1 [dev] in its own pipeline is the space's baseline: the same steps, text encoders and decoder."""
    found = recommend("flux-class-12b", "h100-sxm", reference="flux1-dev", top=1, progress=False)
    reference, baseline = found.attrs["reference"], found.attrs["baseline"]
    for name in ("latency_s:h100-sxm", "flops", "pass_flops", "parameters", "quality"):
        assert reference[name] == pytest.approx(baseline[name], rel=1e-9)
