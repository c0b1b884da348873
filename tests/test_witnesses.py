"""Every option of every verb changes an answer: its witness (see ``tests/witnesses.py``) is asked both ways."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import typer
from witness_files import make_files
from witnesses import ANSWER, FILES, IDLE, REASON, REFUSED, TEXT, VERBS, Witness

from archsearch.cli.answer_keys import answers
from archsearch.cli.execution_options import ExecutionOptions
from archsearch.cli.generation import PlacementOptions, RequestOptions
from archsearch.cli.groups import options_of as options_of_group
from archsearch.cli.options import PoolOptions, WorkloadOptions
from archsearch.cost.model import CostModel
from archsearch.cost.remember import PriceCache
from archsearch.search.explore.measured import torch_timer

ECHO = {
    "execution",
    "workload",
    "request",
    "run",
    "assumed",
    "hardware",
    "weights",
    "service_level",
    "rate_per_s",
    "model",
    "pipeline",
    "name",
    "space",
    "set",
    "prefer",
    "objective",
    "strategy",
    "seed",
    "dtype",
    "samples",
    "verifier",
    "spread",
    "fidelity",
    "output",
    "storage",
    "path",
    "bytes",
    "version",
    "device",
    "files",
    "evaluation_s",
    "architectures_per_s",
}
"""Fields of answers that repeat the question (a report's bytes hold the command line), and how long the answering took:
they witness nothing."""
main: Any = importlib.import_module("archsearch.cli.main")
COMMAND: Any = typer.main.get_command(main.app)


def options_of(command: Any, path: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """Options by verb; a pair ``--x/--no-x`` is one, by its first name."""
    if hasattr(command, "commands"):
        return {v: o for n, c in command.commands.items() for v, o in options_of(c, (*path, n)).items()}
    return {" ".join(path): {p.opts[0] for p in command.params if p.param_type_name == "option"}}


OPTIONS = options_of(COMMAND)


@dataclass(frozen=True)
class Outcome:
    """What a call printed and wrote."""

    status: int
    text: str
    errors: str
    files: dict[str, bytes]

    @property
    def answer(self) -> Any:
        """The JSON document without echoes."""
        return _told(json.loads(self.text))


def _told(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _told(v) for k, v in value.items() if k not in ECHO}
    return [_told(v) for v in value] if isinstance(value, list) else value


@pytest.fixture(scope="module", autouse=True)
def shared() -> Iterator[None]:
    """One command and one cache of prices per GPU for all calls: as many answers in less time."""
    with pytest.MonkeyPatch.context() as patch:
        caches: dict[Any, PriceCache] = defaultdict(PriceCache)
        make = CostModel.__init__

        def cached(self: CostModel, gpu: Any, calibration: Any = None, *, cache: PriceCache | None = None) -> None:
            key = (gpu.model_dump_json(), os.environ.get("ARCHSEARCH_PROFILES"))
            make(self, gpu, calibration, cache=None if cache is None else caches[key])

        patch.setattr(CostModel, "__init__", cached)
        patch.setattr(main, "app", COMMAND)
        patch.setattr("archsearch.serving.report.SIMULATED_REQUESTS", 2000)
        for module in ("model_report", "search_pictures"):  # the curves repeat what the numbers say, and take longer
            patch.setattr(f"archsearch.report.{module}.sensitivity_pictures", lambda _: ((), ()))
        patch.setattr("archsearch.bench.micro.run.Runner.measure", _row)
        patch.setattr("archsearch.search.explore.fidelity.torch_timer", _timer)
        patch.setattr("archsearch.verify.compare._measured", lambda *_: (1e-3, 1e-4, "told"))
        patch.setattr("archsearch.verify.on_device._recalibrated", lambda *_: {"kernels_measured": 1})
        yield


def _timer(device: str) -> Any:
    """Seconds as if measured, on a device that is here."""
    torch_timer(device)
    return lambda config, workload: 1e-3 * float(config.num_layers)


def _row(runner: Any, case: Any) -> dict[str, Any]:
    """A row of ``bench run`` as if measured."""
    told = {"op": case.op, "dtype": case.dtype, "purpose": case.purpose, "split": case.split, **case.dims}
    return {**runner.identity.columns(), **told, "latency_us": 1.0, "throttled": "", "key": case.key}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_files(tmp_path_factory.mktemp("witnesses"))


Ask = Callable[[str, bool], Outcome]


@pytest.fixture
def ask(files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Calls a command line, ``;`` between several; the last one's outcome, or the first that fails."""
    known: dict[str, Outcome] = {}
    folders = (tmp_path / f"out{number}" for number in count())

    def call(line: str, as_json: bool) -> Outcome:
        key = f"{line} {as_json}"
        if key not in known:
            known[key] = _call(line, as_json, files, next(folders), capsys)
        return known[key]

    return call


def _call(line: str, as_json: bool, files: dict[str, str], out: Path, capsys: Any) -> Outcome:
    out.mkdir()
    names = {**files, "out": str(out)}
    if "{store_copy}" in line:
        names["store_copy"] = shutil.copy(files["store"], out / "copy.journal")
    status, text, errors, before = 0, "", "", None
    for part in line.split(";"):
        status = main.run([*shlex.split(part.format(**names)), *(["--json"] if as_json else [])])
        printed = capsys.readouterr()
        text, errors = printed.out.replace(str(out), "OUT"), printed.err
        if status:
            break
        if as_json and "--format hf" not in part:
            assert answers().faults(verb_of(part), json.loads(printed.out)) == [], f"docs/reference/json.md: {part}"
        before = before or text
    if "copy.journal" in os.listdir(out):
        os.unlink(out / "copy.journal")
    found = {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and ".journal" not in p.name
    }
    shutil.rmtree(out)
    return Outcome(status, text if len(line.split(";")) == 1 else (before or ""), errors, found)


def verb_of(call: str) -> str:
    """The verb of a call, of one word or two."""
    words = call.split()
    return " ".join(words[:2]) if " ".join(words[:2]) in OPTIONS else words[0]


def lines_of(verb: str, witness: Witness) -> tuple[str, str]:
    """The two command lines of a witness."""
    base, then = witness.base or VERBS[verb].base, None if witness.alone else VERBS[verb].then
    return tuple(f"{base} {more}".strip() + (f"; {then}" if then else "") for more in (witness.a, witness.b))  # type: ignore[return-value]


def check(verb: str, option: str, ask: Ask) -> str:
    """Why an option's witness is none; empty where it is one."""
    witness = VERBS[verb].witness(option)
    one, other = lines_of(verb, witness)
    if witness.by == TEXT:
        a, b = ask(one, False), ask(other, False)
    else:
        a, b = ask(one, True), ask(other, True)
    if witness.by == REFUSED:
        codes = sorted((a.status, b.status))
        return "" if codes == [0, 2] else f"exits {codes}, not one refused: {one} | {other}: {a.errors} {b.errors}"
    if witness.by == REASON:
        told = a.status == b.status == 2 and a.errors != b.errors
        return "" if told else f"not refused for two reasons: {one} | {other}: {a.errors} {b.errors}"
    for line, outcome in ((one, a), (other, b)):
        if outcome.status:
            return f"refused: {line}: {outcome.errors.strip()}"
    if witness.by == ANSWER:
        stored = VERBS[verb].then is not None
        same = a.answer == b.answer if not stored else a.files == b.files
    else:
        same = a.files == b.files if witness.by == FILES else a.text == b.text
    return f"no effect: {one} | {other}" if same else ""


def test_every_option_has_a_witness_or_a_reason_why_not():
    told = {verb: set(known.options) | set(known.exempt) for verb, known in VERBS.items()}
    missing = {v: sorted(options - told.get(v, set())) for v, options in OPTIONS.items()}
    gone = {v: sorted(options - OPTIONS.get(v, set())) for v, options in told.items()}
    assert {v: o for v, o in missing.items() if o} == {}, "options without a witness"
    assert {v: o for v, o in gone.items() if o} == {}, "witnesses of options that do not exist"
    assert set(VERBS) == set(OPTIONS)


@pytest.mark.parametrize("verb", sorted(v for v, known in VERBS.items() if known.options))
def test_options_change_the_answer(verb: str, ask: Ask):
    found = {option: check(verb, option, ask) for option in sorted(VERBS[verb].options)}
    failed = [f"{verb} {option}: {why}" for option, why in found.items() if why]
    assert not failed, "\n" + "\n".join(failed)


def test_options_that_nothing_reads_are_refused_in_one_line(ask: Ask):
    answered = {line: ask(line, False) for line in IDLE}
    wrong = {line: o.status for line, o in answered.items() if o.status != 2 or "archsearch: " not in o.errors}
    assert wrong == {}


SHARED = (ExecutionOptions, WorkloadOptions, RequestOptions, PlacementOptions, PoolOptions)
MOST_OPTIONS = 20


def shared_names(group: Any) -> set[str]:
    return {f"--{name.replace('_', '-')}" for name in options_of_group(group)}


@pytest.mark.parametrize("verb", sorted(OPTIONS))
def test_a_verb_has_few_options_of_its_own_and_its_help_fits_80_columns(verb: str, capsys, monkeypatch):
    common = set().union(*map(shared_names, SHARED))
    assert len(OPTIONS[verb] - common) <= MOST_OPTIONS
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    assert main.run([*verb.split(), "--help"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []
