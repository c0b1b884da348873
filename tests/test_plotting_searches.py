"""What pictures of searches, pipelines and fleets show beside the front, as numbers."""

from __future__ import annotations

import pytest
from scipy.stats import kendalltau

import archsearch
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.plotting import (
    draw,
    fleet_info,
    front_info,
    latency_info,
    memory_info,
    parallel_info,
    plot_fleet,
    plot_parallel,
    plot_proxies,
    plot_stages,
    proxies_info,
    save,
    stages_info,
)
from archsearch.plotting.static_parallel import static_parallel
from archsearch.search.answers.recommend import recommend
from archsearch.search.explore.enumeration import sweep
from archsearch.search.studies.study import run_study

pytest_plugins = ["search_fakes"]


@pytest.fixture
def tables(toy_space, evaluator):
    front = sweep(toy_space, evaluator=evaluator, progress=False).front
    return front, recommend(toy_space, evaluator=evaluator, top=3, progress=False)


def test_lines_are_the_rows_and_say_which_are_recommended(tables):
    front, best = tables
    info = parallel_info(best)
    assert info.rank == [1, 2, 3]
    info = parallel_info(front)
    columns = {axis.column: values for axis, values in zip(info.axes, info.columns, strict=True)}
    assert list(columns)[-4:] == ["quality", "throughput_worst", "throughput_weighted", "parameters"]
    assert columns["hidden_size"] == front["hidden_size"].tolist()
    assert columns["parameters"] == pytest.approx((front["parameters"] / 1e6).tolist())
    assert all(info.on_front)
    (lines,) = plot_parallel(front, columns=["quality", "num_layers"]).data
    assert list(lines.dimensions[1]["values"]) == front["num_layers"].tolist()
    with pytest.raises(InvalidInputError, match="two columns"):
        parallel_info(front, columns=["quality"])


def test_parallel_axes_are_written_without_a_browser(tables, tmp_path):
    front, _ = tables
    info = parallel_info(front)
    assert save(plot_parallel(front), tmp_path / "figure.svg").exists()
    save(info, tmp_path / "record.svg")
    lines = static_parallel(info).axes[0].collections
    assert sum(len(group.get_segments()) for group in lines) == len(front)
    (top,) = {
        round(max(float(line[0, 1]) for line in group.get_segments()), 9) for group in lines if group.get_segments()
    }
    assert top == 1.0
    assert len(info.axes) == len(static_parallel(info).axes[0].get_xticklabels())
    with pytest.raises(InvalidInputError, match="picture first"):
        save(str(tmp_path / "a.svg"), info)


def test_recommendations_are_compared_gpu_by_gpu(tables):
    _, best = tables
    info = latency_info(best)
    assert info.labels == ["t4", "a100-sxm-40gb"]
    names = list(info.series)
    assert len(names) == 4  # three ranks and the baseline
    assert info.series[names[0]] == pytest.approx([best[f"latency_s:{gpu}"][0] * 1e3 for gpu in info.labels])
    assert info.series["baseline"][0] == pytest.approx(best.attrs["baseline"]["latency_s:t4"] * 1e3)
    memory = memory_info(best)
    assert memory.totals == pytest.approx((best["memory_bytes"] / 2**30).tolist())
    assert set(memory.limits) == {"usable memory of t4", "usable memory of a100-sxm-40gb"}
    with pytest.raises(InvalidInputError, match="no effect on a search"):
        latency_info(best, batch_size=3)


def test_laws_are_compared_rank_by_rank(tmp_path):
    storage = f"sqlite:///{tmp_path}/s.db"
    study = archsearch.run_study(
        "gpt2-shape", "a10", storage=storage, name="g", progress=False, strategy="random", trials=25
    )
    info = proxies_info(study, storage=storage, top=2)
    own, *others = info.ranks
    assert own == study.user_attrs["archsearch"]["proxy"]
    assert others
    losses = front_info(study, storage=storage, top=0).front.y  # in the front's order
    assert info.ranks[own] == [1 + sum(other < loss for other in losses) for loss in losses]
    for pair in info.pairs:
        assert pair.kendall == pytest.approx(kendalltau(info.ranks[pair.a], info.ranks[pair.b]).statistic)
    assert sorted(info.recommended)[-2:] == [1, 2]
    drawn = draw(info).data[1]
    assert (list(drawn.x), list(drawn.y)) == (info.ranks[info.pairs[0].a], info.ranks[info.pairs[0].b])
    assert save(info, tmp_path / "a.svg").exists()


def test_one_law_alone_is_compared_with_nothing(toy_file, evaluator, tables, tmp_path):
    storage = f"sqlite:///{tmp_path}/s.db"
    study = run_study(
        toy_file, evaluator=evaluator, storage=storage, name="toy", progress=False, strategy="random", trials=40
    )
    with pytest.raises(UnsupportedError, match="one independent law alone"):
        plot_proxies(study, storage=storage, top=0)
    with pytest.raises(InvalidInputError, match="a study or a space"):
        plot_proxies(tables[0])


def test_stages_stack_to_the_latency():
    gpu = archsearch.load_gpu("h100-sxm")
    plan, _ = archsearch.make_plan("dit-xl-2", gpu, steps=20)
    answer = archsearch.estimate_pipeline(plan.pipeline, gpu, plan.request, plan.deployment)
    info = stages_info(answer)
    assert sum(info.totals) == pytest.approx(float(answer.latency_s))
    assert info.labels == [stage.name for stage in answer.stages]
    for place, stage in enumerate(answer.stages):
        assert info.low["whole"][place] == pytest.approx(float(stage.low_s))
    assert plot_stages(answer).layout.barmode == "stack"
    with pytest.raises(InvalidInputError, match="pipeline estimate --json"):
        stages_info({})


def test_fleets_are_priced_kind_by_kind():
    units = []
    for name, usd in (("h100-sxm", 2.5), ("l40s", 1.0)):
        gpu = archsearch.load_gpu(name)
        plan, _ = archsearch.make_plan("dit-xl-2", gpu, steps=20)
        units.append(archsearch.make_replica(plan, gpu, max_batch=1, usd_per_hour=usd))
    answer = archsearch.plan_fleet(units, 3.0, archsearch.ServiceLevel(p95_s=10.0))
    info = fleet_info(answer)
    assert info.unit == "USD/h"
    assert info.totals[0] == pytest.approx(answer.best.usd_per_hour) == min(info.totals)
    assert len(info.labels) == len(answer.considered)
    assert [trace.name for trace in plot_fleet(answer).data] == list(info.series)
    with pytest.raises(InvalidInputError, match="serve fleet --json"):
        fleet_info({})
