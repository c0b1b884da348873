"""Whatever a file holds and whatever is typed: an answer or a refusal in words, soon, in bounded memory.

``make fuzz CASES=100000`` tries more; the inputs that fail lie in ``build/fuzz`` then, one of each fault.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzz_judge import fault_of
from fuzz_mutations import Choice, mutated
from fuzz_options import COMMANDS, typed
from fuzz_readers import READERS
from fuzz_worker import Worker

CASES = int(os.environ.get("FUZZ_CASES", "2000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
KEPT = Path(__file__).resolve().parents[2] / "build" / "fuzz"
NAMES = [name for name, reader in READERS.items() for _ in range(reader.share)]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    home = tmp_path_factory.mktemp("home")
    with Worker({"ARCHSEARCH_HOME": str(home), "XDG_CACHE_HOME": str(home), "COLUMNS": "200"}) as found:
        yield found


class Found:
    """Faults by what they are, with the shortest case of each."""

    def __init__(self) -> None:
        self.cases: dict[str, tuple[str, str, bytes]] = {}
        self.tried: Counter[str] = Counter()

    def add(self, name: str, fault: str, line: str, content: bytes) -> None:
        known = self.cases.get(fault)
        if known is None or len(content) < len(known[2]):
            self.cases[fault] = name, line, content

    def told(self) -> str:
        """The faults, and where their cases were kept."""
        lines = []
        for fault, (name, line, content) in self.cases.items():
            place = KEPT / f"{re.sub(r'[^a-z]+', '-', name)}-{hashlib.sha256(fault.encode()).hexdigest()[:8]}"
            place.mkdir(parents=True, exist_ok=True)
            (place / "case").write_bytes(content)
            (place / "fault.txt").write_text(f"{fault}\n{line}\n")
            lines.append(f"{name}: {fault}\n    {line}\n    {place}")
        return "\n".join(lines)


def tried(cases: int, one: Callable[[Choice], None]) -> None:
    """``one(choice)`` for so many cases, the same whenever they are tried with one seed."""
    for number in range(cases):
        one(Choice(random.Random(f"{SEED}:{number}")))


def test_files(worker: Worker, tmp_path: Path) -> None:
    found = Found()
    folder = tmp_path / "case"

    def one(choice: Choice) -> None:
        name = choice.of(NAMES)
        reader = READERS[name]
        content = mutated(choice.of(reader.examples), Path(reader.place).suffix, choice)
        shutil.rmtree(folder, ignore_errors=True)
        file = reader.write(folder, content)
        given = content.decode("utf-8", "replace")
        if reader.function is not None:
            asked: list[dict[str, Any]] = [{"reader": name, "file": str(file)}]
        else:
            asked = [{"line": choice.of(reader.calls(file))}]
        found.tried[name] += 1
        for case in asked:
            if fault := fault_of(worker.ask(case), given):
                found.add(name, fault, " ".join(case.get("line", [])), content)

    tried(CASES * 4 // 5, one)
    print(dict(found.tried))
    assert not found.cases, "\n" + found.told()


def test_options(worker: Worker, tmp_path: Path) -> None:
    found = Found()
    files = {}
    for name, reader in READERS.items():
        file = reader.write(tmp_path / re.sub(r"\W", "-", name), reader.examples[0].encode())
        files[name] = str(file)
    out = tmp_path / "out"

    def one(choice: Choice) -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        verb = choice.of(sorted(COMMANDS))
        line = typed(verb, choice, files, str(out))
        found.tried[verb] += 1
        outcome = worker.ask({"line": line})
        if fault := fault_of(outcome, "\n".join(line), is_json="--json" in line and "--help" not in line):
            found.add(verb, fault, " ".join(line), repr(line).encode())

    tried(CASES // 5, one)
    print(dict(found.tried))
    assert not found.cases, "\n" + found.told()


def test_examples_are_valid(worker: Worker, tmp_path: Path) -> None:
    wrong = {}
    for name, reader in READERS.items():
        for number, text in enumerate(reader.examples):
            file = reader.write(tmp_path / f"{random.Random(name).random()}-{number}", text.encode())
            calls: list[dict[str, Any]] = [{"line": line} for line in reader.calls(file)]
            asked = calls or [{"reader": name, "file": str(file)}]
            outcomes = [worker.ask(case) for case in asked]
            if not any(outcome.status == 0 for outcome in outcomes) or any(fault_of(o, "") for o in outcomes):
                wrong[f"{name} {number}"] = [(o.err, fault_of(o, "")) for o in outcomes]
    assert wrong == {}
