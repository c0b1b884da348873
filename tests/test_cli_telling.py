"""What stands on stderr beside an answer, and what a shell completes."""

from __future__ import annotations

import io
import json

import pytest

import archsearch.progress as progress
from archsearch.cli import completion
from archsearch.cli.main import run
from archsearch.cost.calibration import Calibration, read_calibration
from archsearch.data import data_path
from archsearch.hardware import gpu_ids, load_gpu
from archsearch.models.registry.families import preset_names


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_quiet_leaves_the_answer_alone_wherever_it_stands(flag, capsys):
    call = ["estimate", "bert-base", "-g", "t4"]
    assert run(call) == 0
    told = capsys.readouterr()
    assert "assumed seq_len=512" in told.err
    for words in ([flag, *call], [*call, flag]):
        assert run(words) == 0
        quiet = capsys.readouterr()
        assert (quiet.out, quiet.err) == (told.out, "")
    assert run([*call, flag, "--dtype", "nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err  # an error is told in any case


def test_verbose_names_the_files_that_were_read_and_keeps_the_document(capsys, tmp_path):
    folder = tmp_path / "profiles"
    folder.mkdir()
    assert run(["estimate", "bert-base", "-g", "t4", "--json"]) == 0
    document = capsys.readouterr().out
    file = tmp_path / "pipeline.yaml"
    assert run(["-v", "pipeline", "estimate", str(file), "-g", "t4"]) == 2
    capsys.readouterr()
    assert run(["estimate", "bert-base", "-g", "t4", "--json", "-v"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(document)
    assert run(["-q", "hardware", "list", "-v"]) == 2
    assert "--quiet and --verbose: give one of both" in capsys.readouterr().err


class _Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "level", "drawn"),
    [
        (True, progress.Telling.USUAL, True),
        (False, progress.Telling.USUAL, False),
        (False, progress.Telling.VERBOSE, True),
        (True, progress.Telling.QUIET, False),
    ],
)
def test_a_bar_is_drawn_on_a_terminal_or_where_details_are_asked_for(terminal, level, drawn, monkeypatch):
    stream = _Stream(terminal)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(progress, "DELAY_S", -1.0)
    monkeypatch.setattr(progress, "EVERY_S", -1.0)
    with progress.telling(level), progress.progress_bar("counting", 2) as advance:
        advance(1)
        advance(1)
    assert ("counting" in stream.getvalue()) == drawn


def test_a_shell_completes_the_last_gpu_of_a_list_and_names_of_all_kinds(monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path))
    hopper = [gpu for gpu in gpu_ids() if gpu.startswith("h100-")]
    assert completion.complete_gpu("t4,h100-") == [f"t4,{gpu}" for gpu in sorted(hopper)]
    assert completion.complete_model("modernbert") == sorted(n for n in preset_names() if n.startswith("modernbert"))
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mine.journal").touch()
    assert completion.complete_source("m") == ["marketing-4k", "mine", "modernbert-base-budget"]
    assert completion.complete_pipeline("flux-d") == ["flux-dev"]
    assert completion.complete_reported("flux-d") == ["flux-dev"]
    assert completion.complete_design("mine") == ["mine"]
    assert completion.complete_family("flux") == ["flux"]
    assert completion.complete_dtype("b") == ["bf16"]
    assert completion.complete_preference("k") == ["knee"]
    assert completion.complete_lever("compil") == ["compile"]


def test_the_shell_asks_the_command_line(monkeypatch, capsys):
    monkeypatch.setenv("_ARCHSEARCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "archsearch pipeline estimate flux-s")
    monkeypatch.setenv("COMP_CWORD", "3")
    monkeypatch.setattr("sys.argv", ["archsearch"])
    with pytest.raises(SystemExit):
        run()
    assert capsys.readouterr().out.split() == ["flux-schnell"]


def test_details_name_the_file_of_the_coefficients(capsys):
    """The GPU's own, its architecture's, and all GPUs' where nothing nearer was measured."""
    paths = sorted((data_path("hardware_profiles") / "calibration").glob("*.yaml"))
    known = Calibration([read_calibration(path) for path in paths], paths=paths)
    for gpu, kernel, file in (
        ("h100-sxm", "gemm/16bit", "h100-sxm.yaml"),
        ("a10", "memory/norm", "architecture-ampere.yaml"),
        ("a10", "gemm/16bit", "default.yaml"),
    ):
        with progress.telling(progress.Telling.VERBOSE):
            known.lookup(load_gpu(gpu), kernel)
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"{kernel} on {gpu}: coefficients of ")
        assert f"/calibration/{file} (" in line
