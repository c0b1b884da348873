"""What a call leads to: the next call that it names, and refusals of what cannot be or has no effect."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from verbs import asker
from witness_files import BUILT, DITS, MINE, SPACE

from archsearch.cli.main import run
from archsearch.cli.output import folded
from archsearch.data import data_path
from archsearch.files import write_text


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Any:
    return asker(capsys)


def refused(capsys: Any, *words: str) -> str:
    """The one line of a call that must be refused."""
    capsys.readouterr()
    assert run(list(words)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return str(err)


def test_the_next_call_finds_the_study_and_the_profiles_of_this_one(capsys, tmp_path):
    profiles, store = str(own_profiles(tmp_path)), str(tmp_path / "my studies.journal")
    written = write_text(tmp_path / "s.yaml", yaml.safe_dump(DITS))
    made = [
        "study",
        "run",
        str(written),
        "-g",
        "own-gpu",
        "--profiles",
        profiles,
        f"--storage={store}",
        "--name",
        "own",
    ]
    assert run(made) == 0
    recommended = next_of(capsys.readouterr().err)
    assert run(recommended) == 0
    explained = shlex.split(capsys.readouterr().out.splitlines()[-1].partition(": archsearch ")[2])
    assert run(explained) == 0
    assert "own-gpu" in capsys.readouterr().out
    assert run(["study", "show", "own", "--storage", store]) == 0
    assert "unknown_gpus" in capsys.readouterr().out
    assert f"archsearch study resume own --storage '{store}'" in refused(capsys, *made)


def next_of(errors: str) -> list[str]:
    """The words of the call that is named as the next one."""
    return shlex.split(errors.rpartition("next: archsearch ")[2].splitlines()[0])


def own_profiles(folder: Path) -> Path:
    """A folder with a GPU that no one else has."""
    shipped = yaml.safe_load((data_path("hardware_profiles") / "h100-sxm.yaml").read_text())
    profile = yaml.safe_dump(shipped | {"id": "own-gpu", "name": "Own GPU", "aliases": []})
    (folder / "profiles").mkdir()
    return write_text(folder / "profiles" / "own-gpu.yaml", profile).parent


@pytest.mark.parametrize("way", [(), ("--strategy", "random", "--trials", "6")])
def test_a_study_without_a_feasible_architecture_ends_with_what_binds(way, capsys, tmp_path):
    space = str(write_text(tmp_path / "s.yaml", yaml.safe_dump(SPACE)))
    impossible = ("--set", "budget.latency_ms=1e-6")
    assert run(["study", "run", space, "--name", "kept"]) == 0
    assert run(["study", "run", space, "--name", "none", *impossible, *way]) == 2
    line = capsys.readouterr().err
    assert "latency at most 1e-06 ms on a100-sxm-80gb" in line
    assert run(["study", "run", space, "--name", "kept", "--overwrite", *impossible]) == 2  # enumerated, nothing found
    capsys.readouterr()
    assert run(["study", "show", "kept", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["feasible"] == 24


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("objectives=[]", "objectives must name at least one metric"),
        ("workload.height=64", "workload.height: has no effect on family decoder, which has seq_len: leave it out"),
        ("workload.frames=2", "workload.frames: has no effect on family decoder"),
    ],
)
def test_what_a_space_has_no_use_for_is_refused(change, told, capsys, tmp_path):
    space = str(write_text(tmp_path / "s.yaml", yaml.safe_dump(SPACE)))
    assert told in refused(capsys, "enumerate", space, "--set", change)


def test_a_storage_that_no_study_can_be_in_is_refused_by_all_verbs(capsys, tmp_path):
    for verb in (["list"], ["show", "s"], ["export", "s", "-o", "t.csv"], ["delete", "s"]):
        assert "ending in .journal or .db" in refused(capsys, "study", *verb, "--storage", str(tmp_path / "st1"))


def test_what_was_set_is_told_as_numbers_and_options_as_they_were_given(ask, capsys, tmp_path):
    space = str(write_text(tmp_path / "s.yaml", yaml.safe_dump(SPACE)))
    told = ask("enumerate", space, "--set", "quality.tokens=1e12", "--set", "name=a1e2")["set"]
    assert told == {"quality.tokens": 1e12, "name": "a1e2"}
    ask("study", "run", space, "--name", "s")
    assert "--eager" in (line := refused(capsys, "recommend", "s", "--eager"))
    assert "--compiled" not in line
    assert "--no-fused-qkv" in refused(capsys, "recommend", "s", "--no-fused-qkv")


def test_a_line_without_spaces_folds_behind_its_commas(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    line = "  execution   torch=2.8,attention=sdpa,compiled=true,clock=sustained,launch_us=12"
    lines = folded(line, Terminal()).split("\n")
    assert [len(one) <= 40 for one in lines] == [True] * len(lines)
    assert "".join(one.strip() for one in lines) == line.strip()
    assert folded("a,b, c", Terminal()) == "a,b, c"


class Terminal:
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_a_limit_that_the_central_estimate_alone_keeps_is_said(ask, tmp_path):
    space = str(write_text(tmp_path / "s.yaml", yaml.safe_dump(SPACE)))
    row = ask("recommend", space, "--top", "1", "--prefer", "quality")["recommendations"][0]
    assert "latency_kept_at_high_end" not in row
    gpu = "a100-sxm-80gb"
    middle, high = row["latency_s"][gpu] * 1e3, row["latency_high_s"][gpu] * 1e3
    for limit, kept in (((middle + high) / 2, False), (high * 1.01, True)):
        call = ("recommend", space, "--top", "1", "--prefer", "quality", "--max-latency-ms", f"{limit!r}")
        limited = ask(*call)["recommendations"][0]
        assert limited["config"] == row["config"]
        assert limited["latency_kept_at_high_end"] == {gpu: kept}
        assert ("not at the upper end of the 80 % band" in ask(*call, as_text=True)) is not kept


def test_a_baseline_of_another_size_is_told_as_such(ask, tmp_path):
    first = str(write_text(tmp_path / "first.yaml", yaml.safe_dump(SPACE)))
    same = SPACE["baseline"] | ask("recommend", first, "--top", "1")["recommendations"][0]["config"]
    for baseline, told in ((same, False), (same | {"intermediate_size": 16384}, True)):
        space = str(write_text(tmp_path / "s.yaml", yaml.safe_dump({**SPACE, "baseline": baseline})))
        text = ask("recommend", space, "--top", "1", as_text=True)
        assert ("against it sizes are compared, not shapes" in text) is told
        page = ask("report", space, "-o", str(tmp_path / "r.html"))
        assert any("a difference of size, not of shape" in line for line in page["headline"]) is told


def test_what_a_fleet_printed_is_reported_on(ask, capsys, tmp_path):
    sized = ask("serve", "fleet", "pixart-sigma", "-g", "h100-sxm", "--rate", "1", "--height", "256", "--width", "256")
    printed, page = write_text(tmp_path / "fleet.json", json.dumps(sized)), tmp_path / "fleet.html"
    told = ask("report", str(printed), "-o", str(page))
    assert told["kind"] == "fleet"
    assert told["headline"][0].startswith("1 h100-sxm serve 1 requests/s of pixart-sigma")
    assert page.stat().st_size == told["bytes"]
    assert "leave out --hardware" in refused(capsys, "report", str(printed), "-g", "t4")
    broken = {**sized, "rate_per_s": "many"}
    line = refused(capsys, "report", str(write_text(tmp_path / "broken.json", json.dumps(broken))))
    assert 'rate_per_s: "many" is no number' in line


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("width", "takes width from the workload: set workload.width, or call the parameter otherwise"),
        ("wider", "'wider': did you mean wide?"),
    ],
)
def test_a_builders_parameters_are_told_from_the_workloads(name, told, capsys, tmp_path):
    mine = write_text(tmp_path / "mine.py", MINE.replace("depth=1,", "depth=1, width=64,"))
    dimensions = {name: {"choices": [64, 128]}, "depth": {"choices": [1, 2]}}
    built = {**BUILT, "builder": f"{mine}:build", "dimensions": dimensions, "baseline": None}
    space = str(write_text(tmp_path / "s.yaml", yaml.safe_dump(built)))
    line = refused(capsys, "enumerate", space, "--allow-code")
    assert told in line
    assert "models fields traced" not in line
