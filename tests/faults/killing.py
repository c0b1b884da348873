"""Verbs killed at random points, and what must hold of their study and files afterwards.

The verbs run in processes forked from this one, which has imported everything: a kill meets their work and not their
start. This process opens no storage itself; it is looked at from forked processes too.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archsearch.testing.storage_contract import SPACE

COUNTED = ("COMPLETE", "RUNNING", "WAITING", "PRUNED")
WRITES = {"export csv": "csv", "export parquet": "parquet", "enumerate": "json", "report": "html", "spaces new": "yaml"}
"""Verbs that write a file, and its suffix."""
TRIALS = 60
"""Added by each run or resumption; the space has 360 architectures."""


def forked(work: Callable[[], Any]) -> tuple[int, int]:
    """Start work in a process of its own; its number, and where its answer is read."""
    out, into = os.pipe()
    number = os.fork()
    if number:
        os.close(into)
        return number, out
    status = 1
    try:
        os.close(out)
        quiet = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(quiet, stream)
        with os.fdopen(into, "w") as answer:
            try:
                told, status = work(), 0
            except BaseException:
                told = traceback.format_exc()
            json.dump(told, answer)
    finally:
        os._exit(status)


def answer_of(work: Callable[[], Any]) -> Any:
    """What work answers in a process of its own.

    Raises:
        AssertionError: it failed.
    """
    number, out = forked(work)
    with os.fdopen(out) as text:
        told = text.read()
    _, status = os.waitpid(number, 0)
    assert status == 0, told
    return json.loads(told)


def verb(*words: str) -> int:
    """Run a verb here; its exit status."""
    from archsearch.cli.main import run

    return run(list(words))


def contents(storage: str, name: str) -> dict[str, Any]:
    """What a storage holds, and of a study each trial; the list of studies has to answer.

    Raises:
        AssertionError: it does not, or the study is torn.
    """
    from archsearch.search.explore.keys import KEY
    from archsearch.search.studies.storage import load_study
    from archsearch.search.studies.study import list_studies

    listed = list_studies(storage).set_index("name")["problem"]
    assert listed.isna().all(), listed.tolist()
    if name not in listed:
        return {"there": False, "finished": []}
    trials = load_study(name, storage).get_trials(deepcopy=False)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    counted = [trial for trial in trials if trial.state.name in COUNTED]
    keys = [trial.system_attrs[KEY] for trial in counted]
    assert len(set(keys)) == len(keys), "an architecture stands twice"
    finished = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert all(trial.values and trial.user_attrs["metrics"]["parameters"] > 0 for trial in finished)
    return {"there": True, "finished": [trial.system_attrs[KEY] for trial in finished]}


@dataclass
class Round:
    """What came of the kills of one storage."""

    kills: int = 0
    ended: int = 0
    """Verbs that were done before they could be killed."""
    met: dict[str, int] = field(default_factory=dict)
    """Kills by verb."""
    trials: int = 0


@dataclass
class Killing:
    """Kills over every verb that writes, on one storage; ``folder`` takes the files that verbs write."""

    storage: str
    folder: Path
    seed: int = 0

    def run(self, kills: int) -> Round:
        """Kill so many verbs.

        Raises:
            AssertionError: something finished was lost or doubled, a file was torn, or the list did not answer.
        """
        chance, told = random.Random(self.seed), Round()
        space = self.folder / "contract.yaml"
        space.write_text(SPACE, encoding="utf-8")
        verbs = self._verbs(str(space))
        took = {name: self._timed(name, words) for name, words in verbs.items() if name != "delete"}
        before = answer_of(lambda: contents(self.storage, "s"))
        while told.kills < kills:
            name = chance.choice(list(took) if before["there"] else ["run"])
            if chance.random() < 0.05 and before["there"]:
                name = "delete"
            words = verbs[name]
            number, out = forked(lambda words=words: verb(*words))
            time.sleep(chance.uniform(0, took.get(name, 0.1)))
            os.kill(number, signal.SIGKILL)
            os.close(out)
            _, status = os.waitpid(number, 0)
            if os.WIFSIGNALED(status):
                told.kills += 1
                told.met[name] = told.met.get(name, 0) + 1
            else:
                told.ended += 1
            after = answer_of(lambda: contents(self.storage, "s"))
            if name not in ("overwrite", "delete"):
                assert set(before["finished"]) <= set(after["finished"]), f"{name}: finished trials were lost"
                assert after["there"] or not before["there"]
            if name in WRITES:
                self._check_file(WRITES[name])
            before = after
            if len(after["finished"]) > 250:  # nearly all of the space: from the beginning
                assert answer_of(lambda: verb("study", "delete", "s", "--storage", self.storage)) == 0
                before = {"there": False, "finished": []}
        told.trials = len(before["finished"])
        return told

    def _verbs(self, space: str) -> dict[str, list[str]]:
        where = ["--storage", self.storage]
        run = ["study", "run", space, "-g", "t4,a10", "--name", "s", "--strategy", "random", "-n", str(TRIALS), *where]
        out = {suffix: str(self.folder / f"out.{suffix}") for suffix in ("csv", "parquet", "json", "html", "yaml")}
        return {
            "run": run,
            "resume": ["study", "resume", "s", "-n", str(TRIALS), *where],
            "worker": ["study", "worker", "s", "--seed", "3", "-n", str(TRIALS), *where],
            "overwrite": [*run, "--overwrite"],
            "exhaustive": ["study", "run", space, "-g", "t4,a10", "--name", "whole", "--overwrite", *where],
            "create": ["study", "create", space, "-g", "t4,a10", "--name", f"made-{self.seed}", *where],
            "export csv": ["study", "export", "s", "-o", out["csv"], *where],
            "export parquet": ["study", "export", "s", "-o", out["parquet"], *where],
            "enumerate": ["enumerate", space, "-g", "t4,a10", "--output", out["json"], "--json"],
            "report": ["report", "s", "-o", out["html"], *where],
            "spaces new": ["spaces", "new", "decoder", "-o", out["yaml"], "--overwrite"],
            "delete": ["study", "delete", "s", *where],
        }

    def _timed(self, name: str, words: list[str]) -> float:
        """Seconds that a verb takes when nothing disturbs it."""
        started = time.monotonic()
        assert answer_of(lambda: verb(*words)) == 0, name
        return time.monotonic() - started

    def _check_file(self, suffix: str) -> None:
        """What a verb writes is whole: of this time or of one before."""
        import pandas as pd
        import yaml

        path = self.folder / f"out.{suffix}"
        if suffix == "parquet":
            assert len(pd.read_parquet(path)) > 0
            return
        text = path.read_text(encoding="utf-8")
        match suffix:
            case "csv":
                assert len({line.count(",") for line in text.splitlines()}) == 1
            case "json":
                assert json.loads(text)
            case "html":
                assert text.rstrip().endswith("</html>")
            case _:
                assert yaml.safe_load(text)["family"] == "decoder"
