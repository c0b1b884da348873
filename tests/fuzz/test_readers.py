"""The registry of readers is whole: whoever opens a file is reached by a reader's example, or opens only our own."""

from __future__ import annotations

import ast
import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_options import ALL, COMMANDS, LEFT_OUT
from fuzz_readers import READERS

import archsearch
from archsearch.cli.main import run

ROOT = Path(archsearch.__file__).parent
OPENERS = {
    *("read_text", "read_json", "read_mapping", "parse_record", "parse_records", "record_of", "read_table"),
    *("read_bytes", "open", "read_csv", "read_parquet", "parsed_mapping"),
}
"""What opens a file, or reads one that is open."""
BELOW = ("files.py", "yaml_records.py", "tables.py", "hardware/parsed.py")
"""Modules of which everybody else's reading is made."""
OURS = {
    "bench/expert_tables.py:_tables": "ships",
    "cost/host.py:host_record": "ships",
    "cost/kernels/collective.py:_constants": "ships",
    "cost/quantization.py:quantization_record": "ships",
    "cost/spread.py:spread_records": "ships",
    "cost/training_kernels.py:training_constants": "ships",
    "hardware/clouds.py:_read": "ships",
    "models/family_fields.py:shipped_meanings": "ships",
    "models/plain/__init__.py:source": "ships",
    "models/plain/__init__.py:imports": "ships",
    "pipeline/lever_file.py:load_levers": "ships",
    "pipeline/scaling.py:figures": "ships",
    "quality/diffusion.py:autoencoder_figures": "ships",
    "quality/laws.py:published_laws": "ships",
    "quality/sampling_table.py:shipped_table": "ships; a user's stands in a space",
    "report/web_page.py:_part": "ships",
    "hardware/architecture.py:_parse": "a user's stands in a profile, read by _generation in the same way",
    "hardware/database.py:_claimed": "a profile's names, from what read_profile has parsed",
    "bench/calibration_files.py:write_calibration": "written by the same function",
    "bench/micro/results.py:_read": "written by `bench run`",
    "bench/micro/results.py:add": "writes",
    "bench/micro/results.py:close": "written by `bench run`",
    "bench/micro/results.py:_unpack": "written by `bench run`; read_table has a reader",
    "bench/micro/device.py:processor": "the system's",
    "search/explore/liveness.py:_started": "the system's",
    "cli/main.py:_run": "the null device",
    "quality/training_free.py:scores": "a cache of ours",
    "quality/tiny_decoders.py:python_corpus": "bytes, whatever they are, to train on",
    "search/explore/measured.py:_text": "code, for a hash of it",
    "search/studies/artifacts.py:read_artifact": "written by a study",
    "models/registry/hub.py:_revisions": "Hugging Face's cache; the name in it is checked",
    "ui/dashboard.py:_keep_file": "written by the same function",
    "plotting/sources.py:is_search": "looks which reader's it is",
    "report/named.py:_kind_of_file": "looks which reader's it is",
    "cli/answer_keys.py:read_answers": "ships",
    "quality/advantage.py:advantage_records": "ships",
    "report/named.py:kinds_of": "looks which reader's it is",
    "cli/report.py:_of_fleet": "an answer of ours, held against its keys before it is read",
    "hardware/profile.py:_generation": "an architecture that a profile states, as the last example of profiles does",
    "search/studies/kept_tables.py:_digest": "a cache of ours",
    "search/studies/kept_tables.py:_write_table": "a cache of ours",
    "search/studies/kept_tables.py:kept_studies": "a cache of ours",
    "search/studies/kept_tables.py:kept_table": "a cache of ours",
    "search/studies/kept_tables.py:stamp": "a study's file, for a digest of its ends",
    "search/studies/artifacts.py:open_reader": "written by a study",
    "search/studies/artifacts.py:write": "writes",
    "search/studies/journal.py:_append_whole": "a study's journal, which tests of storages break",
    "search/studies/journal.py:_problem": "a study's journal, which tests of storages break",
    "search/studies/journal.py:_require_journal": "a study's journal, which tests of storages break",
    "search/studies/journal.py:_require_same_file": "a study's journal, which tests of storages break",
    "search/studies/journal.py:mend": "a study's journal, which tests of storages break",
    "search/studies/journal_lock.py:_is_ours": "a lock",
    "search/studies/journal_lock.py:_system_lock": "a lock",
    "search/studies/journal_lock.py:_take": "a lock",
    "testing/storage_contract.py:test_studies_are_listed_shown_and_exported": "a test",
}
"""Functions that open no file of a user's, and whose they are."""


def openers() -> Iterator[str]:
    """``module:function`` of everything that opens a file."""
    for path in sorted(ROOT.rglob("*.py")):
        module = str(path.relative_to(ROOT))
        if module in BELOW or "_data" in path.parts:
            continue
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            called = [call.func for call in ast.walk(function) if isinstance(call, ast.Call)]
            names = {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in called}
            if names & OPENERS:
                yield f"{module}:{function.name}"


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The functions that were under way whenever bytes were read."""
    found: set[str] = set()
    read = Path.read_bytes

    def noted(self: Path) -> bytes:
        frame = sys._getframe(1)
        while frame is not None:
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(ROOT):
                found.add(f"{file.relative_to(ROOT)}:{frame.f_code.co_name}")
            frame = frame.f_back  # type: ignore[assignment]
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", noted)
    return found


def test_every_function_that_opens_a_file_has_a_reader(reading: set[str], tmp_path: Path) -> None:
    for number, reader in enumerate(READERS.values()):
        file = reader.write(tmp_path / str(number), reader.examples[0].encode())
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            if reader.function is not None:
                reader.answered(file)
            for line in reader.calls(file):
                run(line)
    known = set(openers())
    assert known - reading - set(OURS) == set(), "opens a file, and no reader's example in fuzz_readers.py reaches it"
    assert set(OURS) - known == set(), "opens no file any more"


def test_verbs_that_are_not_tried_exist() -> None:
    assert set(LEFT_OUT) <= set(ALL)
    assert set(COMMANDS) | set(LEFT_OUT) == set(ALL)
