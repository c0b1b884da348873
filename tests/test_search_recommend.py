"""Recommendations and explanations: feasible, on the front, ranked, with reasons that hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archsearch.cost.model import CostModel
from archsearch.cost.ratio import ratio_of
from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import get_family, load_preset
from archsearch.quality import get_proxy
from archsearch.report.search_report import search_answer
from archsearch.search.answers.agreement import independent
from archsearch.search.answers.diagnosis import space_bindings
from archsearch.search.answers.explain import explain
from archsearch.search.answers.recommend import recommend
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import config_of, to_records
from archsearch.search.explore import enumeration
from archsearch.search.explore.enumeration import sweep
from archsearch.search.pareto import non_dominated, objective_matrix
from archsearch.search.space.space import load_space, parse_space
from archsearch.search.studies.study import run_study

pytest_plugins = ("search_fakes",)


def test_recommendations_are_distinct_points_of_the_front(evaluator: Evaluator) -> None:
    frame = recommend(evaluator.space, evaluator=evaluator, top=4, progress=False)
    front = sweep(evaluator.space, evaluator=evaluator, progress=False).front
    keys = list(evaluator.space.dimensions)
    assert frame["rank"].tolist() == [1, 2, 3, 4]
    assert not frame.duplicated(keys).any()
    assert set(map(tuple, frame[keys].to_numpy())) <= set(map(tuple, front[keys].to_numpy()))


def test_reasons_state_true_numbers(evaluator: Evaluator) -> None:
    frame = recommend(evaluator.space, evaluator=evaluator, top=3, progress=False)
    baseline = frame.attrs["baseline"]
    assert baseline["config"]["hidden_size"] == 512
    for row in frame.to_dict(orient="records"):
        gain = row["throughput:t4"] / baseline["throughput:t4"] - 1
        assert f"{gain:+.1%} (t4)" in row["why"]
        assert "front of" in row["why"]


@pytest.mark.parametrize("limit", ["max_latency_ms", "max_parameters", "max_memory_gib"])
def test_limits_hold_and_the_answer_stays_optimal(evaluator: Evaluator, limit: str) -> None:
    free = recommend(evaluator.space, evaluator=evaluator, top=1, progress=False).iloc[0]
    gpus = evaluator.pool.ids
    figure = {
        "max_latency_ms": lambda f: np.max([f[f"latency_s:{g}"] for g in gpus], axis=0) * 1e3,
        "max_parameters": lambda f: f["parameters"],
        "max_memory_gib": lambda f: f["memory_bytes"] / 2**30,
    }[limit]
    bound = float(figure(free)) * 0.8
    frame = recommend(evaluator.space, evaluator=evaluator, top=100, progress=False, **{limit: bound})
    assert (figure(frame) <= bound).all()
    # brute force over the whole space under the limit
    space = evaluator.space
    evaluation = evaluator.evaluate(space.decode(np.arange(space.size)))
    columns = evaluator.columns(evaluation, np.flatnonzero(evaluation.feasible))
    inside = figure(columns) <= bound
    points = objective_matrix({n: v[inside] for n, v in columns.items()}, evaluator.objective_columns)
    truth = np.unique(points[non_dominated(points)], axis=0)
    found = objective_matrix({n: frame[n].to_numpy() for n in evaluator.objective_columns}, evaluator.objective_columns)
    np.testing.assert_allclose(np.unique(found, axis=0), truth, rtol=1e-12)


def test_nothing_feasible_names_the_binding_limit(evaluator: Evaluator) -> None:
    with pytest.raises(ArchSearchError, match=r"latency at most 1e-06 ms on t4 .*bind\..*hidden_size="):
        recommend(evaluator.space, evaluator=evaluator, max_latency_ms=1e-6, progress=False)
    with pytest.raises(ArchSearchError, match=r"at least 1e\+06 parameters"):
        recommend(evaluator.space, evaluator=evaluator, max_parameters=10, progress=False)


def test_pool_reports_what_each_gpu_alone_would_choose(evaluator: Evaluator) -> None:
    frame = recommend(evaluator.space, evaluator=evaluator, top=1, progress=False)
    best = frame.iloc[0]
    space = evaluator.space
    evaluation = evaluator.evaluate(space.decode(np.arange(space.size)))
    columns = evaluator.columns(evaluation, np.flatnonzero(evaluation.feasible))
    allowed = columns["quality"] <= best["quality"]
    for view in frame.attrs["pool"]:
        own = columns[f"throughput:{view['gpu']}"][allowed].max()
        assert view["throughput"] == pytest.approx(own, rel=1e-12)
        assert view["regret"] == pytest.approx(own / best[f"throughput:{view['gpu']}"] - 1)
        assert view["regret"] >= 0


def test_worst_and_weighted_views_follow_their_definition(evaluator: Evaluator) -> None:
    frame = recommend(evaluator.space, evaluator=evaluator, top=5, progress=False)
    base = frame.attrs["baseline"]
    gains = np.stack([frame[f"throughput:{g}"] / base[f"throughput:{g}"] for g in evaluator.pool.ids])
    np.testing.assert_allclose(frame["throughput_worst"], gains.min(axis=0), rtol=1e-12)
    np.testing.assert_allclose(frame["throughput_weighted"], 1 / (0.5 / gains).sum(axis=0), rtol=1e-12)


def test_gains_over_the_baseline_and_the_runner_up_by_hand(evaluator: Evaluator) -> None:
    """The toy model has bands of 0.9 to 1.1 and says of no op how long it takes: two of them in quadrature."""
    frame = recommend(evaluator.space, evaluator=evaluator, top=3, progress=False)
    base, width = frame.attrs["baseline"], np.exp(np.sqrt(2) * np.log(1.1 / 0.9) / 2)
    gains = {(gain["rank"], gain["against"], gain["gpu"]): gain for gain in frame.attrs["gains"]}
    runner_up = {(1, "rank 2", gpu) for gpu in evaluator.pool.ids}
    assert set(gains) == {(rank, base["name"], gpu) for rank in (1, 2, 3) for gpu in evaluator.pool.ids} | runner_up
    for (rank, against, gpu), gain in gains.items():
        column = f"throughput:{gpu}"
        speedup = frame[column].iloc[rank - 1] / (frame[column].iloc[1] if against == "rank 2" else base[column])
        assert gain["speedup"] == pytest.approx(speedup)
        assert (gain["low"], gain["high"]) == pytest.approx((speedup / width, speedup * width))
        assert gain["regret"] == pytest.approx(max(width / speedup - 1, 0))


def test_a_gain_has_the_band_of_the_ratio_of_two_runs_priced_alone() -> None:
    """Narrower than either time's, since GPU, kernels and framework are the same: DiT-XL/2 and the space's answer."""
    frame = recommend("dit-xl-budget", "a100-sxm-80gb", top=2, progress=False)
    gain = next(g for g in frame.attrs["gains"] if (g["rank"], g["against"]) == (2, "dit-xl-2"))
    model, space = CostModel(load_gpu("a100-sxm-80gb")), load_space("dit-xl-budget")
    naive, chosen = (
        model.price(config, space.workload, space.execution)
        for config in (load_preset("dit-xl-2"), get_family("dit").from_dict(config_of(frame, 2)))
    )
    ratio = ratio_of(naive, chosen)
    assert (gain["speedup"], gain["low"], gain["high"]) == pytest.approx(
        (float(ratio.value), float(ratio.low), float(ratio.high)), rel=1e-9
    )
    assert 1 < gain["high"] / gain["low"] < np.sqrt(float(naive.high_s) / float(naive.low_s))


@pytest.mark.parametrize("strategy", ["exhaustive", "nsga2"])
def test_studies_recommend_too(evaluator: Evaluator, tmp_path: Path, strategy: str) -> None:
    place = str(tmp_path / "r.journal")
    study = run_study(
        evaluator.space, evaluator=evaluator, trials=150, strategy=strategy, name="r", storage=place, progress=False
    )
    frame = recommend(study, evaluator=evaluator, top=3, progress=False)
    assert len(frame) == 3
    assert frame.attrs["exact"] == (strategy == "exhaustive")
    low, high = evaluator.space.record.budget.parameters or (0, 0)
    assert frame["parameters"].between(low, high).all()
    by_name = recommend("r", storage=place, evaluator=evaluator, top=3, progress=False)
    assert by_name["quality"].tolist() == frame["quality"].tolist()
    if strategy == "nsga2":
        with pytest.raises(ArchSearchError, match="parameters at most 100 binds"):
            recommend(study, evaluator=evaluator, max_parameters=100, progress=False)


def test_records_and_configs_are_complete(evaluator: Evaluator) -> None:
    frame = recommend(evaluator.space, evaluator=evaluator, top=2, progress=False)
    records = to_records(frame)
    assert records[0]["rank"] == 1
    assert "why" in records[0]
    assert set(records[0]["throughput"]) == set(evaluator.pool.ids)
    config = config_of(frame, 2)
    evaluator.space.family_class.from_dict(config)
    assert config["hidden_size"] == frame.iloc[1]["hidden_size"]


def test_mistakes_are_told(evaluator: Evaluator, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="top"):
        recommend(evaluator.space, evaluator=evaluator, top=0)
    with pytest.raises(InvalidInputError, match="max_latency_ms"):
        recommend(evaluator.space, evaluator=evaluator, max_latency_ms=-1)
    with pytest.raises(InvalidInputError, match="objectives are"):
        recommend(evaluator.space, evaluator=evaluator, weights={"beauty": 1}, progress=False)
    with pytest.raises(UnknownNameError, match="study or search space"):
        recommend("no-such-thing", storage=str(tmp_path / "n.journal"))


def test_what_beats_the_baseline_comes_first(evaluator: Evaluator) -> None:
    whole = recommend(evaluator.space, evaluator=evaluator, top=10_000, progress=False)
    base = whole.attrs["baseline"]
    wins = (
        (whole["quality"] <= base["quality"]) & (whole["throughput_worst"] >= 1) & (whole["throughput_weighted"] >= 1)
    )
    assert wins.iloc[0]
    assert not wins.all()
    assert whole.loc[~wins, "throughput_worst"].max() > whole.loc[wins, "throughput_worst"].max()


def test_short_lists_show_alternatives(evaluator: Evaluator) -> None:
    whole = recommend(evaluator.space, evaluator=evaluator, top=10_000, progress=False)
    names = list(evaluator.objective_columns)
    span = whole[names].max() - whole[names].min()
    few = recommend(evaluator.space, evaluator=evaluator, top=4, progress=False)[names].to_numpy()
    for i in range(4):
        for j in range(i):
            assert (np.abs(few[i] - few[j]) / span.to_numpy()).max() >= 0.05
    # nothing is lost: asking for more shows the twins too
    assert len(whole) == whole.attrs["front"]


def test_weights_move_the_ranking(evaluator: Evaluator) -> None:
    fast = recommend(evaluator.space, evaluator=evaluator, top=1, weights={"throughput": 1e6}, progress=False).iloc[0]
    good = recommend(evaluator.space, evaluator=evaluator, top=1, weights={"quality": 1e6}, progress=False).iloc[0]
    assert fast["throughput_weighted"] > good["throughput_weighted"]
    assert fast["quality"] > good["quality"]


def test_explanation_agrees_with_single_estimates(evaluator: Evaluator) -> None:
    config = evaluator.baseline_config()
    assert config is not None
    workload = evaluator.space.workload
    answer = explain(config, workload, evaluator.pool, models=evaluator.models)
    assert [view.gpu for view in answer.per_gpu] == list(evaluator.pool.ids)
    model = evaluator.models["t4"]
    for item in answer.per_gpu[0].dimensions:
        moved = evaluator.space.family_class(**{**answer.config, **item["changes"]})
        latency = float(np.asarray(model.estimate(moved.lower(workload)).latency_s))
        assert item["latency_change"] == pytest.approx(latency / answer.per_gpu[0].latency_s - 1)
        assert item["parameters_change"] == pytest.approx(float(moved.parameters()) / answer.parameters - 1)
    assert answer.lines()


def test_preferences_order_the_front(evaluator: Evaluator) -> None:
    """The best in what is preferred is first, and the front is ordered by it, near twins last."""
    options = {"evaluator": evaluator, "top": 10_000, "progress": False}
    good = recommend(evaluator.space, prefer="quality", **options)
    fast = recommend(evaluator.space, prefer="speed", **options)
    assert good.attrs["prefer"] == "quality"
    assert good["quality"].iloc[0] == good["quality"].min()
    assert fast["throughput_weighted"].iloc[0] == fast["throughput_weighted"].max()
    assert good["quality"].head(4).is_monotonic_increasing
    assert set(good["quality"]) == set(fast["quality"])
    assert recommend(evaluator.space, **options).attrs["prefer"] == "knee"  # what a space says by default


def test_preferences_that_say_nothing_are_refused(evaluator: Evaluator, toy_file: Path) -> None:
    with pytest.raises(
        InvalidInputError, match=r"prefer cost needs an objective of .*: prefer quality or speed or knee"
    ):
        recommend(evaluator.space, evaluator=evaluator, prefer="cost", progress=False)
    with pytest.raises(UnknownNameError, match="preference"):
        recommend(evaluator.space, evaluator=evaluator, prefer="beauty", progress=False)
    with pytest.raises(InvalidInputError, match="prefer or weights"):
        recommend(evaluator.space, evaluator=evaluator, prefer="speed", weights={"quality": 2}, progress=False)
    toy_file.write_text(toy_file.read_text() + "prefer: cost\n")
    with pytest.raises(InvalidInputError, match="prefer cost needs"):
        parse_space(toy_file)


def brute_force(evaluator: Evaluator) -> dict[str, tuple[float, int]]:
    """Limit -> (least relative miss of what keeps all the others, cell), cell by cell in plain Python."""
    space, best = evaluator.space, {}
    evaluation = evaluator.evaluate(space.decode(np.arange(space.size)))
    violations = {text: np.broadcast_to(v, (space.size,)) for text, v in evaluation.violations.items()}
    for cell in np.flatnonzero(evaluation.legal).tolist():
        missed: dict[str, float] = {}
        for text, amounts in violations.items():
            kind = "latency" if "latency" in text else "device" if text.startswith("memory of") else text
            if amounts[cell] > 0:
                missed[kind] = max(missed.get(kind, 0.0), float(amounts[cell]))
        if len(missed) == 1:
            ((kind, amount),) = missed.items()
            if kind not in best or amount < best[kind][0]:
                best[kind] = (amount, cell)
    return best


@pytest.mark.parametrize(
    "budget",
    [
        "parameters: [1.0e+6, 2.0e+7], memory_gib: 0.001",
        "parameters: [1.5e+7, 2.0e+7], latency_ms: 0.5",
        "parameters: [1.5e+7, 2.0e+7], latency_ms: 1.0e-6",
        "memory_gib: 0.002, latency_ms: 0.165",
    ],
)
def test_what_binds_is_what_alone_is_in_the_way(evaluator: Evaluator, toy_file: Path, budget: str) -> None:
    text = toy_file.read_text()
    toy_file.write_text(text.replace("budget:\n  parameters: [1.0e+6, 2.0e+7]", f"budget: {{{budget}}}"))
    tight = Evaluator(parse_space(toy_file), evaluator.pool, evaluator.models)
    found = space_bindings(tight)
    truth = brute_force(tight)
    kinds = {("latency" if "latency" in b.limit else b.limit): b for b in found if not b.limit.startswith("constraint")}
    assert set(kinds) == set(truth)
    for kind, (amount, cell) in truth.items():
        assert max(kinds[kind].missed.values()) == pytest.approx(amount, rel=1e-12)
        assert kinds[kind].place == cell
    with pytest.raises(ArchSearchError) as told:
        recommend(tight.space, evaluator=tight, progress=False)
    if truth:
        assert all(kinds[kind].limit in str(told.value) for kind in truth)
        assert "all else kept" in str(told.value)
    else:
        assert "bind together" in str(told.value)


def test_conditions_of_the_user_can_bind(evaluator: Evaluator) -> None:
    with pytest.raises(
        ArchSearchError, match=r"constraint: num_layers > 8 binds. The nearest that keeps all else: hid"
    ):
        recommend(evaluator.space, evaluator=evaluator, where="num_layers > 8", progress=False)


def test_conditions_may_read_the_parameters(evaluator: Evaluator) -> None:
    """As ``max_parameters`` does, and told as what binds; a name that a space lacks is refused as before."""
    space, most = evaluator.space, 4_000_000
    found = recommend(space, evaluator=evaluator, where=f"parameters <= {most}", top=20, progress=False)
    limited = recommend(space, evaluator=evaluator, max_parameters=most, top=20, progress=False)
    every = recommend(space, evaluator=evaluator, top=20, progress=False)
    assert every["parameters"].max() > most >= found["parameters"].max()
    assert list(found["parameters"]) == list(limited["parameters"])
    with pytest.raises(ArchSearchError, match="parameters <= 10 binds"):
        recommend(space, evaluator=evaluator, where="parameters <= 10", progress=False)
    with pytest.raises(ArchSearchError, match=r"'parameter'.*did you mean parameters"):
        recommend(space, evaluator=evaluator, where="parameter <= 10", progress=False)


def test_a_report_enumerates_its_space_once(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The front and the recommendations come of one sweep."""
    space, pool, swept = evaluator.space, ",".join(evaluator.pool.ids), []
    windows = enumeration.reduce_window
    monkeypatch.setattr(enumeration, "reduce_window", lambda *a, **k: swept.append(1) or windows(*a, **k))
    answer = search_answer(space, pool, top=3)
    assert len(swept) == sum(1 for _ in space.chunks())
    assert answer.search.best is not None
    assert len(answer.search.best) == 3


def test_sampled_studies_name_what_binds(evaluator: Evaluator, tmp_path: Path) -> None:
    """Of trials that miss two limits, each alone in some, both are named with the nearest trial that keeps the rest."""
    place = str(tmp_path / "s.journal")
    options: dict[str, Any] = {"evaluator": evaluator, "progress": False}
    study = run_study(evaluator.space, name="s", storage=place, strategy="random", trials=60, **options)
    with pytest.raises(
        ArchSearchError, match=r"memory at most 0.0001 GiB binds. The nearest misses it by \d.*all else kept"
    ):
        recommend(study, max_memory_gib=1e-4, **options)


def test_proxies_of_one_base_count_once() -> None:
    names = ["shape-aware", "conditional", "aspect-ratio", "chinchilla-besiroglu", "kaplan", "chinchilla", "ensemble"]
    kept = [proxy.name for proxy in independent(get_proxy(name) for name in names)]
    assert kept == [
        "shape-aware",
        "kaplan",
        "chinchilla",
    ]  # four on Besiroglu's constants, and the mean of three of them
    images = ["latent-diffusion-fid", "dit-fid-any-patch", "dit-fid", "dit-loss", "dit-fid-clip"]
    assert [p.name for p in independent(get_proxy(n) for n in images)] == ["latent-diffusion-fid", "dit-loss"]
