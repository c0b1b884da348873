"""The results file survives interrupts, and a run goes on where the last one ended."""

from __future__ import annotations

import pandas as pd
import pytest

from archsearch.bench.micro.results import COLUMNS, ResultsFile
from archsearch.bench.micro.run import run_suite

ONLY = ("misaligned",)


def run(path, **options):
    return run_suite("quick", path, device="cpu", only=ONLY, **options)


def test_an_interrupt_keeps_what_was_measured_and_a_second_run_adds_the_rest(tmp_path):
    def stop(done, of, left_s, case):
        if done == 3:
            raise KeyboardInterrupt

    path = tmp_path / "results.csv"
    first = run(path, progress=stop)
    assert first.interrupted
    assert (first.measured, first.left) == (3, 27)
    before = path.read_text()
    second = run(path)
    assert (second.measured, second.resumed, second.left) == (27, 3, 0)
    assert path.read_text().startswith(before)
    frame = pd.read_csv(path)
    assert len(frame) == 30
    assert frame["key"].is_unique
    assert (frame["latency_us"] > 0).all()
    assert set(frame["gpu"]) == {"cpu"}


def test_the_budget_ends_a_run_and_says_what_is_left(tmp_path):
    ticks = iter(range(0, 10_000, 30))
    found = run(tmp_path / "r.csv", budget_minutes=2, clock=lambda: next(ticks))
    assert 0 < found.measured < 10
    assert found.measured + found.left == 30


def test_a_row_that_was_cut_off_is_measured_again(tmp_path):
    path = tmp_path / "r.csv"
    results = ResultsFile(path)
    for key in ("a", "b"):
        results.add({"device": "d", "key": key, "latency_us": "1.5", "op": "linear"})
    torn = path.read_text()[:-20]
    path.write_text(torn)
    again = ResultsFile(path)
    assert set(again.done) == {("d", "a")}
    again.add({"device": "d", "key": "b"})
    assert set(ResultsFile(path).done) == {("d", "a"), ("d", "b")}


def test_parquet_holds_the_same_rows_and_is_continued(tmp_path):
    path = tmp_path / "r.parquet"
    first = run(path, progress=_stop_after(4))
    assert first.path == path
    assert len(pd.read_parquet(path)) == 4
    assert tuple(pd.read_parquet(path).columns) == COLUMNS
    assert run(path).resumed == 4
    assert len(pd.read_parquet(path)) == 30


def _stop_after(count):
    def stop(done, of, left_s, case):
        if done == count:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.txt", None, "write results to .csv or .parquet"),
        ("none/r.csv", None, "no such folder"),
        ("r.csv", "a,b\n1,2\n", "is no results file"),
    ],
)
def test_outputs_that_cannot_be_used_are_refused(tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        ResultsFile(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "warp"}, "torch knows no device 'warp'"),
        ({"device": "meta"}, "bench runs on cuda"),
        ({"device": "cpu", "dtypes": ("fp8_e4m3",)}, "has no fp8_e4m3"),
        ({"device": "cpu", "only": ("nothing",)}, "no case has purpose nothing"),
    ],
)
def test_requests_that_this_machine_cannot_serve_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run_suite("quick", tmp_path / "r.csv", **options)
