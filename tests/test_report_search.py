"""Reports of studies, spaces and models: they say what the other verbs say, in files that are whole or not there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from report_pages import Read, read
from verbs import Ask, asker
from witness_files import SPACE

from archsearch.cli.main import run
from archsearch.errors import InvalidInputError
from archsearch.report.report_place import check_path, default_path
from archsearch.report.texts import amount
from archsearch.report.web_page import Page, Section, safe_json
from archsearch.report.write import write_page


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    return asker(capsys)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    import yaml

    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(SPACE))
    return path


def rows_of(page: Read, head: str) -> list[dict[str, str]]:
    """The rows of the table that has a column of this title, by column."""
    table = next(t for t in page.tables if t and head in t[0])
    return [dict(zip(table[0], row, strict=True)) for row in table[1:]]


def test_a_space_is_told_as_recommend_and_explain_tell_it(ask: Ask, space: Path, tmp_path: Path) -> None:
    told = ask("report", space, "-o", tmp_path / "r.html")
    page = read((tmp_path / "r.html").read_text())
    best = ask("recommend", space)["recommendations"]
    assert told["kind"] == "space"
    assert told["recommended"] == len(best)
    points = page.data["points"]
    columns = {head: [row[i] for row in points["rows"]] for i, head in enumerate(points["heads"])}
    for place, record in enumerate(best):
        assert points["names"][place] == f"rank {record['rank']}"
        assert columns["hidden_size"][place] == record["config"]["hidden_size"]
        assert columns["parameters (millions)"][place] == pytest.approx(record["parameters"] / 1e6)
        assert record["why"] in "".join(_texts(tmp_path / "r.html"))
    front = page.data["figures"]["front-0"]["data"]
    stars = next(trace for trace in front if trace["name"] == "recommended")
    latency = [record["latency_s"]["a100-sxm-80gb"] * 1e3 for record in best]
    assert stars["x"] == pytest.approx(latency)
    assert stars["customdata"] == list(range(len(best)))
    neighbours = ask("explain", f"{space}:1")["neighbours"]
    steps = rows_of(page, "step")
    assert sum(row["step"] in {n["label"] for n in neighbours} for row in rows_of(page, "verdict")) == len(neighbours)
    assert steps


def _texts(path: Path) -> list[str]:
    import html

    return [html.unescape(path.read_text())]


def test_a_study_is_told_from_its_storage_without_its_password(ask: Ask, space: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    url = f"sqlite:///{store}"
    ask("study", "run", space, "--name", "mine", "--storage", url)
    told = ask("report", "mine", "--storage", url, "-o", tmp_path / "r.html")
    assert told["kind"] == "study"
    text = _texts(tmp_path / "r.html")[0]
    assert f"archsearch recommend mine --storage {url} --rank 1 --format hf" in text
    from archsearch.cli.invocation import command_line, remember

    remember(["report", "mine", "--storage", "postgresql://me:secret@host/db", "--where", "a <= 3"])
    assert command_line() == "archsearch report mine --storage postgresql://me:PASSWORD@host/db --where 'a <= 3'"


def test_a_model_is_told_as_estimate_tells_it(ask: Ask, tmp_path: Path) -> None:
    told = ask("report", "gpt2", "-g", "t4,l4", "--dtype", "fp16", "-o", tmp_path / "r.html")
    page = read((tmp_path / "r.html").read_text())
    for gpu in ("t4", "l4"):
        e = ask("estimate", "gpt2", "-g", gpu, "--dtype", "fp16")
        row = next(r for r in rows_of(page, "kernels") if r["GPU"] == gpu)
        assert row["latency"] == f"{e['latency_s'] * 1e3:.4g} ms"
        assert row["80 % band"] == f"{e['latency_low_s'] * 1e3:.4g} to {e['latency_high_s'] * 1e3:.4g} ms"
        number = ("t4", "l4").index(gpu)
        tiles = page.data["figures"][f"time-{number}"]["data"][0]
        ops = [v for i, v in zip(tiles["ids"], tiles["values"], strict=True) if i.startswith("op ")]
        assert sum(ops) == pytest.approx(e["latency_s"] * 1e3)
    assert {"curves-0", "curves-1", "memory", "latency"} <= set(told["figures"])


def test_a_name_of_two_things_is_one_of_them_and_the_other_on_request(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["report", "dit-xl-2", "-g", "h100-sxm", "-o", str(tmp_path / "r.html"), "--json"]
    capsys.readouterr()
    assert run(call) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["kind"] == "model"
    assert "--kind" in printed.err
    told = ask(*call[:-1], "--kind", "pipeline", "--height", "512", "--width", "512")
    assert told["kind"] == "pipeline"
    seconds = ask("pipeline", "estimate", "dit-xl-2", "-g", "h100-sxm", "--height", 512, "--width", 512)["latency_s"]
    assert f"takes {seconds * 1e3:.4g} ms" in told["headline"][0]


REFUSED = {
    "report gpt2": "--hardware GPU",
    "report gpt2 -g t4 -o r.pdf": "r.pdf: a report is .html",
    "report gpt2 -g t4 -o no/r.html": "no directory no",
    "report gpt2 -g t4 --kind study": "'gpt2' is a model",
    "report nothing-known -g t4": "unknown study, space, model or pipeline",
    "report gone.yaml": "gone.yaml: no such file",
    "report sana-class --seq-len 8": "--seq-len",
    "report dit-xl-2 --kind pipeline -g t4 --seq-len 8": "--seq-len",
    "report dit-xl-2 --kind pipeline": "--hardware GPU",
    "report sana-class --top 0": "--top",
}


@pytest.mark.parametrize("call", REFUSED)
def test_what_cannot_be_reported_is_refused_in_one_line(
    call: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(call.split()) == 2
    out, err = capsys.readouterr()
    assert REFUSED[call] in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_without_a_path_it_goes_beside_under_the_name_of_its_source(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ask("report", "gpt2", "-g", "t4", "--dtype", "fp16")["path"] == "gpt2-report.html"
    assert (tmp_path / "gpt2-report.html").stat().st_size > 3e6
    assert default_path("spaces/mine.yaml").name == "mine-report.html"
    assert default_path("../a/b <x>").name == "a-b-x-report.html"
    assert default_path("mod:make").name == "mod-make-report.html"


def test_a_directory_in_the_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="a directory is in the report's place"):
        check_path(_made(tmp_path / "d.html"))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_texts_of_any_kind_stay_texts(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>\u2028{{ 7 * 7 }}"
    written = write_page(Page(name, name, (name,), (Section("s", name, (name,)),), command=name), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert written == len(text.encode())
    assert "<script>alert" not in text
    assert "{{ 7 * 7 }}" in text
    assert json.loads(safe_json({"a": [name, float("nan"), 1.5]})) == {"a": [name, None, 1.5]}
    assert "<" not in safe_json(name)
    policy = next(a["content"] for tag, a in read(text).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


SHOWN: dict[Any, str] = {1234.5: "1,234", 0.001234: "0.001234", 33360.0: "33,360", 7: "7", True: "yes", None: ""}


@pytest.mark.parametrize("value", SHOWN)
def test_numbers_are_short_and_never_in_powers_of_ten_that_people_count_in(value: Any) -> None:
    assert amount(value) == SHOWN[value]


def test_help_needs_neither_templates_nor_plotly() -> None:
    import subprocess

    code = (
        "import sys; from archsearch.cli.main import run; run(['report', '--help']); "
        "assert not {'jinja2', 'plotly', 'pandas', 'optuna'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
