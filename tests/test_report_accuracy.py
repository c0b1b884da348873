"""What the accuracy report shows, against numbers worked out by hand, and the two files it is written as."""

from __future__ import annotations

import html
import re
import sys

import numpy as np
import pandas as pd
import pytest
from report_pages import read

from archsearch.cli.main import run
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.report import accuracy, accuracy_file, accuracy_html
from archsearch.report.accuracy import accuracy_info
from archsearch.report.accuracy_file import write_accuracy_report

ROWS = pd.DataFrame(
    # signed errors: +10, −10, +20 | 0, −30, +50 %; of the roofline: −50, −50, −50 | 0, −10, −10 %
    [
        ("a", "test", "memory", 1, 9.0, 9.9, 9.0, 10.0, 4.5),
        ("a", "test", "memory", 3, 10.0, 9.0, 9.0, 10.0, 5.0),
        ("a", "test", "compute", 4, 100.0, 120.0, 90.0, 130.0, 50.0),
        ("b", "fit", "compute", 15, 200.0, 200.0, 190.0, 210.0, 200.0),
        ("b", "fit", "compute", 16, 300.0, 210.0, 200.0, 220.0, 270.0),
        ("b", "fit", "latency", np.nan, 1000.0, 1500.0, 900.0, 1600.0, 900.0),
        ("b", "fit", "", 7, 5.0, np.nan, np.nan, np.nan, np.nan),
    ],
    columns=["gpu", "split", "bound", "m", "latency_us", "predicted_us", "low_us", "high_us", "roofline_us"],
).assign(provenance=["calibrated"] * 4 + ["transferred"] * 2 + [""])


@pytest.fixture
def info():
    return accuracy_info(ROWS, title="Six rows", by=["gpu"])


def table(regime):
    """A regime as {label: (rows, MAPE, median, bias)}."""
    return {s.label: (s.rows, s.mape, s.median_ape, s.bias) for s in (b.scores for b in regime.bins)}


def approx(expected):
    return {label: pytest.approx(values) for label, values in expected.items()}


def test_groups(info):
    assert [(g.label, g.rows) for g in info.groups] == [("a", 3), ("b", 3), ("all", 6)]
    a, b, total = info.groups
    assert (a.mape, a.median_ape, a.bias) == pytest.approx((40 / 3, 10, 20 / 3))
    assert (b.mape, b.median_ape, b.bias) == pytest.approx((80 / 3, 30, 20 / 3))
    assert total.mape == pytest.approx(20)
    assert (a.within_band, b.within_band) == pytest.approx((1, 2 / 3))
    assert (a.spearman, b.spearman) == pytest.approx((0.5, 1))  # ranks 2 1 3 against 1 2 3: 1 − 6·2/(3·8)


def test_regimes(info):
    regimes = {regime.column: regime for regime in info.regimes}
    assert list(regimes) == ["bound", "latency_us", "m"]
    assert table(regimes["bound"]) == approx(
        {"compute": (3, 50 / 3, 20, -10 / 3), "latency": (1, 50, 50, 50), "memory": (2, 10, 10, 0)}
    )
    assert table(regimes["latency_us"]) == approx(
        {  # 10, 100 and 1000 µs begin their decades
            "1–10 µs": (1, 10, 10, 10),
            "10–100 µs": (1, 10, 10, -10),
            "100–1,000 µs": (3, 50 / 3, 20, -10 / 3),
            "1,000–10,000 µs": (1, 50, 50, 50),
        }
    )
    assert table(regimes["m"]) == approx(
        {"1–3": (2, 10, 10, 0), "4–15": (2, 10, 10, 10), "16–63": (1, 30, 30, -30)}  # powers of four
    )
    assert [regime.without for regime in info.regimes] == [0, 0, 1]
    memory = regimes["bound"].bins[2]
    assert memory.quantiles == pytest.approx((-9, -5, 0, 5, 9))  # between −10 and +10


def test_dimensions_that_the_table_lacks_make_no_regime():
    more = ROWS.assign(head_dim=[64, 64, 128, 128, 256, 256, 256], cols=np.nan)
    columns = [r.column for r in accuracy_info(more, title="", by=["gpu"]).regimes]
    assert columns == ["bound", "latency_us", "m", "head_dim"]


def test_roofline_loses_and_wins(info):
    a, b, total = info.against
    assert (a.mape, a.roofline_mape) == pytest.approx((40 / 3, 50))
    assert (a.spearman, a.roofline_spearman) == pytest.approx((0.5, 1))
    assert (b.mape, b.roofline_mape) == pytest.approx((80 / 3, 20 / 3))
    assert (total.label, total.roofline_mape) == ("all", pytest.approx(170 / 6))
    assert "lower MAPE than the roofline in 1 of 2 groups" in " ".join(accuracy.remarks(info))


def test_remarks_say_what_is_shown(info):
    said = " ".join(accuracy.remarks(info))
    assert (info.rows, info.skipped) == (6, 1)
    assert "1 more rows have no prediction" in said
    assert "Split: fit (3 rows), test (3 rows)." in said
    assert "calibrated (4 rows), transferred (2 rows)" in said
    assert "points are" not in said
    whole = accuracy.remarks(accuracy_info(ROWS.drop(columns="split")[:6], title="", by=["gpu"]))
    assert "No column split" in " ".join(whole)
    assert "no prediction" not in " ".join(whole)


def test_one_group_is_not_repeated_as_all():
    info = accuracy_info(ROWS[ROWS["gpu"] == "a"], title="", by=["gpu"])
    assert [g.label for g in info.groups] == ["a"]
    assert len(info.against) == 1


def test_rows_without_a_group_value_are_a_group():
    info = accuracy_info(ROWS.assign(kernel=["x", None, "x", "x", "x", "x", "x"]), title="", by=["kernel", "gpu"])
    assert [(g.label, g.rows) for g in info.groups] == [("x, a", 2), ("x, b", 3), ("none, a", 1), ("all", 6)]


def test_points_are_the_rows(info):
    assert [cloud.label for cloud in info.clouds] == ["a", "b"]
    assert info.clouds[0].measured_us == [9, 10, 100]
    assert info.clouds[0].predicted_us == [9.9, 9, 120]
    assert info.clouds[1].shapes == ["m 15", "m 16", ""]
    drawn = {trace.name: (list(trace.x), list(trace.y)) for trace in accuracy_html.points_figure(info).data}
    assert drawn["b"] == (info.clouds[1].measured_us, info.clouds[1].predicted_us)
    assert drawn["equal"] == ([9, 1500], [9, 1500])
    assert drawn["+10 %"][1] == pytest.approx([9.9, 1650])
    assert drawn["−10 %"][1] == pytest.approx([8.1, 1350])
    assert len(set(accuracy.colors(60))) == 60


def test_many_points_are_thinned_the_same_way_every_time():
    count = 3000
    rng = np.random.default_rng(0)
    many = pd.DataFrame({"latency_us": rng.permutation(count) + 1.0, "gpu": np.where(np.arange(count) < 10, "s", "l")})
    many = many.assign(predicted_us=many["latency_us"], low_us=1.0, high_us=9e9, roofline_us=1.0)
    many = many.assign(provenance="analytic", bound="memory")
    info = accuracy_info(many, title="", by=["gpu"], max_points=500)
    again = accuracy_info(many.sample(frac=1, random_state=1), title="", by=["gpu"], max_points=500)
    assert info.clouds == again.clouds
    large, small = info.clouds
    assert len(small.shapes) >= 1
    assert 490 <= len(large.shapes) + len(small.shapes) <= 500
    assert np.diff(large.measured_us).max() < 10  # evenly spread: no stretch of latencies is left out
    assert info.groups[-1].rows == count  # the scores are of all rows
    assert any("of the 3,000 rows" in line for line in accuracy.remarks(info))


@pytest.mark.parametrize(
    ("frame", "by", "words"),
    [
        (ROWS.drop(columns="roofline_us"), ["gpu"], "lacks roofline_us"),
        (ROWS, ["gpu", "kernel"], "lacks kernel"),
        (ROWS, [], "no column to group by"),
        (ROWS[6:], ["gpu"], "none of the 1 rows"),
    ],
)
def test_frames_that_cannot_be_reported(frame, by, words):
    with pytest.raises(InvalidInputError, match=words):
        accuracy_info(frame, title="", by=by)


def test_too_many_groups_are_refused():
    with pytest.raises(InvalidInputError, match="6 groups by latency_us"):
        accuracy_info(ROWS, title="", by=["latency_us"], max_points=5)


def test_html_is_one_file_with_the_numbers(tmp_path):
    first, second = tmp_path / "one.html", tmp_path / "two.HTML"
    for path in (first, second):
        write_accuracy_report(ROWS, path, title="<Six> rows", by=["gpu"])
    text = first.read_text(encoding="utf-8")
    assert text == second.read_text(encoding="utf-8")
    assert "<h1>&lt;Six&gt; rows</h1>" in text
    found = read(text)
    assert not [t for t, a in found.tags if t in ("script", "link", "img", "iframe") and {"src", "href"} & {*a}]
    scripts = re.findall(r"<script.*?</script>", text, flags=re.DOTALL)
    assert sum(len(script) > 1_000_000 for script in scripts) == 1  # plotly.js, once
    assert len(found.data["figures"]) == 5  # points, roofline, and three regimes
    rows = [row for table in found.tables for row in table]
    for row in (
        ["a", "3", "13.33", "10.00", "+6.67", "0.5000", "1.000"],
        ["b", "3", "26.67", "6.67", "1.0000", "1.0000"],
        ["1,000–10,000 µs", "1", "50.00", "50.00", "+50.00"],
    ):
        assert row in rows
    plain = html.unescape(text)
    assert all(line in plain for line in accuracy.MEANING)


def test_names_from_the_table_are_text_not_markup(tmp_path):
    path = tmp_path / "r.html"
    name = "</script><script>alert(1)"
    write_accuracy_report(ROWS.assign(gpu=name), path, title="", by=["gpu"])
    text = path.read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    assert read(text).tables[0][1][0] == name


def test_png_is_a_picture(tmp_path):
    matplotlib = pytest.importorskip("matplotlib.image")
    path = tmp_path / "r.png"
    write_accuracy_report(ROWS, path, title="Six rows", by=["gpu"])
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = matplotlib.imread(path)
    assert min(pixels.shape[:2]) > 600
    assert pixels[..., :3].std() > 0.01  # not blank


def test_png_of_many_groups_names_the_largest(tmp_path):
    png = pytest.importorskip("archsearch.report.accuracy_png")
    frames = [ROWS[:3].assign(gpu=f"g{i:02d}") for i in range(30)] + [ROWS[3:6].assign(gpu=["g07", "g29", "g29"])]
    info = accuracy_info(pd.concat(frames), title="", by=["gpu"])
    named = png._largest(info.groups)
    assert [g.label for g in named[-2:]] == ["g29", "all"]
    assert len(named) == png.MAX_GROUPS + 1
    assert "6 more count in all rows" in " ".join(png._lines(info, len(named)))
    only = accuracy_info(ROWS[:3], title="", by=["gpu"])
    assert [g.label for g in png._largest(only.groups)] == ["a"]


def test_png_without_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=re.escape("pip install 'archsearch[report]'")):
        accuracy_file.check_report_path(tmp_path / "r.png")
    monkeypatch.undo()
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnsupportedError, match=re.escape("pip install 'archsearch[report]'")):
        write_accuracy_report(ROWS, tmp_path / "r.png", title="", by=["gpu"])


@pytest.mark.parametrize(("name", "words"), [("r.pdf", "not .pdf"), ("r", "without suffix"), ("no/r.html", "no direc")])
def test_paths_that_cannot_be_written(tmp_path, name, words):
    with pytest.raises(InvalidInputError, match=words):
        write_accuracy_report(ROWS, tmp_path / name, title="", by=["gpu"])
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_the_way(tmp_path):
    (tmp_path / "r.html").mkdir()
    with pytest.raises(InvalidInputError, match="a directory is in the report's place"):
        write_accuracy_report(ROWS, tmp_path / "r.html", title="", by=["gpu"])


class TestCommand:
    """``archsearch validate --report``."""

    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "m.csv"
        path.write_text(
            "gpu,op,dtype,m,n,k,latency_us,split\n"
            "h100-sxm,linear,bf16,4096,4096,4096,220,test\n"
            "h100-sxm,linear,bf16,128,8192,1024,10,test\n"
            "a100-sxm-80gb,linear,bf16,2048,4096,4096,300,fit\n"
        )
        return path

    def test_both_kinds(self, file, tmp_path, capsys):
        page, picture = tmp_path / "r.html", tmp_path / "r.png"
        pytest.importorskip("matplotlib")
        assert run(["validate", str(file), "--split", "test", "--report", str(page), "--report", str(picture)]) == 0
        err = capsys.readouterr().err
        assert f"wrote {page}\n" in err
        assert f"wrote {picture}\n" in err
        assert picture.read_bytes().startswith(b"\x89PNG")
        text = page.read_text(encoding="utf-8")
        assert "Accuracy on m.csv" in text
        assert "Split: test (2 rows)." in text
        assert "a100-sxm-80gb" not in text

    def test_title_says_when_the_correction_is_off(self, file, tmp_path):
        page = tmp_path / "r.html"
        assert run(["validate", str(file), "--no-correction", "--report", str(page)]) == 0
        assert "<h1>Accuracy on m.csv, without the learned correction</h1>" in page.read_text(encoding="utf-8")

    @pytest.mark.parametrize(("option", "words"), [(["--report", "r.pdf"], ".html or .png"), (["--by", " ,"], "--by")])
    def test_refusals(self, file, capsys, option, words):
        assert run(["validate", str(file), *option]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert words in err
        assert err.count("\n") == 1
