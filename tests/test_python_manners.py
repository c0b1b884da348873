"""Python's manners: calls that do not fit are told in our own errors; answers show themselves in a notebook."""

from __future__ import annotations

import inspect
from html.parser import HTMLParser

import pytest

import archsearch
from archsearch import plotting
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.keywords import checked_call
from archsearch.notebook_html import MOST_ROWS, facts_html, table_html

SEARCHING = ("estimate", "explain", "enumerate_space", "run_study", "resume_study", "recommend", "diff")
OTHERS = (
    "make_plan",
    "estimate_pipeline",
    "optimize_pipeline",
    "pull_levers",
    "plan_fleet",
    "make_replica",
    "load_gpu",
)


@pytest.mark.parametrize("name", [*SEARCHING, *OTHERS, "load_study"])
def test_an_unknown_keyword_is_told_with_the_nearest(name):
    function = getattr(archsearch, name)
    parameters = inspect.signature(function).parameters
    given = {n: None for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    near = next(n for n, p in reversed(parameters.items()) if p.kind is not p.VAR_KEYWORD)
    if name in ("estimate", "explain"):  # they take fields too, which they check themselves
        near, given = "compiled", {"model": "gpt2", "hardware": "t4"}
    if name == "make_plan":
        near, given = "steps", {"pipeline": "dit-xl-2", "gpu": archsearch.load_gpu("t4")}
    with pytest.raises(UnknownNameError, match=near):
        function(**given, **{f"{near}_": 1})


@pytest.mark.parametrize("name", [name for name in plotting.__all__ if name.startswith("plot_")])
def test_pictures_too(name):
    function = getattr(plotting, name)
    given = ("gpt2", "a10") if "hardware" in list(inspect.signature(function).parameters)[:2] else ("gpt2-shape",)
    with pytest.raises(UnknownNameError, match="'topz'"):
        function(*given, topz=3)


def test_a_missing_argument_is_told():
    with pytest.raises(InvalidInputError, match=r"'source'.*it takes source, hardware"):
        archsearch.recommend()
    with pytest.raises(InvalidInputError, match="positional"):
        archsearch.enumerate_space("a", "b", "c")
    with pytest.raises(UnknownNameError, match="did you mean batch_size"):
        archsearch.estimate("gpt2", "t4", batchsize=3)


def test_a_fault_inside_stays_one():
    @checked_call
    def broken(a: int) -> int:
        return len(a)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="has no len"):
        broken(3)
    assert inspect.signature(broken).parameters.keys() == {"a"}


class Cells(HTMLParser):
    """The texts of a page's cells and lines."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # every element is closed where it should be

    def handle_data(self, data):
        self.texts.append(data)


def shown(answer: object) -> list[str]:
    cells = Cells(answer._repr_html_())
    assert cells.open == []
    return cells.texts


def test_an_estimate_shows_its_answer_and_its_longest_ops():
    result = archsearch.estimate("gpt2", "a10", batch_size=4)
    texts = shown(result)
    assert texts[0] == "gpt2 on a10"
    assert any(f"{result.latency_s * 1e3:.4g} ms" in text and result.provenance in text for text in texts)
    longest = max(result.breakdown, key=lambda row: row["latency_s"])
    heads = texts.index("waves")
    assert texts[heads + 1] == longest["name"]
    assert f"{longest['latency_s'] / result.latency_s:.1%}" in texts


def test_other_answers_show_themselves():
    gpu = archsearch.load_gpu("h100-sxm")
    assert {"bf16", f"{gpu.peak_tflops[archsearch.DType.BF16]:,g}"} <= set(shown(gpu))
    told = archsearch.explain("gpt2", "a10")
    assert set(told.lines()) <= set(shown(told))
    a, b = (archsearch.estimate("gpt2", "a10", batch_size=n).to_dict() for n in (1, 2))
    assert "workload.batch_size" in shown(archsearch.diff(a, b))
    plan, _ = archsearch.make_plan("dit-xl-2", gpu, steps=20)
    answer = archsearch.estimate_pipeline(plan.pipeline, gpu, plan.request, plan.deployment)
    assert {stage.name for stage in answer.stages} <= set(shown(answer))
    unit = archsearch.make_replica(plan, gpu, max_batch=1, usd_per_hour=2.5)
    fleet = archsearch.plan_fleet([unit], 3.0, archsearch.ServiceLevel(p95_s=10.0))
    assert f"{fleet.best.gpus} h100-sxm" in shown(fleet)
    assert f"{fleet.best.usd_per_hour:.4g}" in shown(fleet)


def test_hostile_texts_are_texts_and_long_tables_are_cut():
    evil = "<script>alert(1)</script>"
    page = facts_html(evil, [(evil, evil)]) + table_html([evil], [[evil]] * 20)
    assert "<script" not in page
    assert Cells(page).texts.count(evil) == 2 + MOST_ROWS
    assert "and 8 more" in page
