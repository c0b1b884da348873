"""Several worker processes on one real storage, one of them killed: exact counts, nothing twice, nothing lost."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from processes import archsearch, free_port

import archsearch as package
from archsearch.search.explore.keys import KEY
from archsearch.search.studies.storage import load_study
from archsearch.testing.storage_contract import StorageContract

pytestmark = pytest.mark.services
SPACE = str(Path(__file__).parents[2] / "search_spaces" / "decoder-1b.yaml")


def create(name: str, storage: str, strategy: str) -> None:
    made = archsearch("study", "create", SPACE, "--name", name, "--storage", storage, "--strategy", strategy, "--json")
    out, err = made.communicate(timeout=120)
    assert made.returncode == 0, err
    assert json.loads(out)["trials"] == 0


def finished(name: str, storage: str) -> list[Any]:
    return [t for t in load_study(name, storage).get_trials(deepcopy=False) if t.state.name == "COMPLETE"]


def run_workers(name: str, storage: str, until: int, workers: int, kill_after: int | None) -> set[str]:
    """Run workers until the study is full; kill -9 the first once ``kill_after`` trials stand. Returns what stood."""
    started = [
        archsearch("study", "worker", name, "--seed", str(seed), "--until", str(until), "--storage", storage, "--json")
        for seed in range(workers)
    ]
    stood: set[str] = set()
    if kill_after is not None:
        deadline = time.monotonic() + 120
        while len(stood) < kill_after and time.monotonic() < deadline:
            stood = {trial.system_attrs[KEY] for trial in finished(name, storage)}
            time.sleep(0.02)
        assert started[0].poll() is None, "the worker was done before it could be killed"
        started[0].kill()
        assert len(stood) < until
    for number, process in enumerate(started):
        _, err = process.communicate(timeout=300)
        assert process.returncode == (-9 if number == 0 and kill_after is not None else 0), err
        assert "Traceback" not in err
    return stood


def check(name: str, storage: str, until: int, stood: set[str]) -> None:
    trials = load_study(name, storage).get_trials(deepcopy=False)
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": until}
    keys = [trial.system_attrs[KEY] for trial in trials]
    assert len(set(keys)) == until  # no architecture twice
    assert stood <= set(keys)  # nothing lost
    assert sorted(trial.number for trial in trials) == list(range(until))
    architectures = {tuple(sorted(trial.params.items())) for trial in trials}
    assert len(architectures) == until
    assert all(trial.values and trial.user_attrs["metrics"]["parameters"] > 0 for trial in trials)


@pytest.mark.parametrize("strategy", ["nsga2"])
def test_four_workers_on_postgresql_one_killed(postgres_url: str, strategy: str) -> None:
    name = f"four-{strategy}"
    create(name, postgres_url, strategy)
    stood = run_workers(name, postgres_url, until=2000, workers=4, kill_after=300)
    check(name, postgres_url, 2000, stood)
    package_frame = package.recommend(name, storage=postgres_url, top=3, progress=False)
    assert len(package_frame) == 3


def test_resume_after_a_kill_continues(postgres_url: str) -> None:
    create("resumed", postgres_url, "hybrid")
    stood = run_workers("resumed", postgres_url, until=400, workers=2, kill_after=50)
    more = archsearch("study", "resume", "resumed", "--trials", "100", "--storage", postgres_url, "--json")
    out, err = more.communicate(timeout=120)
    assert more.returncode == 0, err
    assert json.loads(out)["trials"] == 500
    check("resumed", postgres_url, 500, stood)


@pytest.mark.parametrize("file", ["shared.db", "shared.journal"])
def test_workers_on_one_file_one_killed(tmp_path: Path, file: str) -> None:
    storage = str(tmp_path / file)
    create("shared", storage, "nsga2")
    stood = run_workers("shared", storage, until=500, workers=3, kill_after=100)
    check("shared", storage, 500, stood)


@contextmanager
def proxy_of(url: str) -> Iterator[str]:
    """The address of a proxy of a database; it tells no password."""
    port = free_port()
    proxy = archsearch("study", "proxy", "--storage", url, "--port", str(port), "--json")
    try:
        assert proxy.stdout is not None
        head = "".join(iter(proxy.stdout.readline, "}\n"))  # the address is told before anybody connects
        assert "127.0.0.1" in head
        assert "***" in head
        yield f"grpc://127.0.0.1:{port}"
    finally:
        proxy.terminate()
        _, err = proxy.communicate(timeout=30)
    assert password_of(url) not in head + err


def test_workers_through_the_grpc_proxy(postgres_url: str) -> None:
    with proxy_of(postgres_url) as address:
        create("proxied", address, "nsga2")
        stood = run_workers("proxied", address, until=400, workers=3, kill_after=100)
        check("proxied", postgres_url, 400, stood)


class TestPostgresql(StorageContract):
    @pytest.fixture
    def storage(self, postgres_url: str) -> str:
        return postgres_url


@pytest.fixture(scope="module")
def proxy(postgres_url: str) -> Iterator[str]:
    with proxy_of(postgres_url) as address:
        yield address


class TestProxy(StorageContract):
    @pytest.fixture
    def storage(self, proxy: str) -> str:
        return proxy


def test_passwords_are_told_to_nobody(postgres_url: str) -> None:
    create("secret", postgres_url, "random")
    wrong = postgres_url.replace(password_of(postgres_url), "wr0ng-secret")
    for storage, secret in ((postgres_url, password_of(postgres_url)), (wrong, "wr0ng-secret")):
        for verb in (
            ["list"],
            ["show", "nowhere"],
            ["show", "secret"],
            ["worker", "secret", "--seed", "1", "-n", "60"],
        ):
            process = archsearch("study", *verb, "--storage", storage)
            out, err = process.communicate(timeout=120)
            assert secret not in out + err
            assert unquote(secret) not in out + err
            assert "Traceback" not in err
            assert process.returncode in (0, 2)
            assert process.returncode == 0 or err.count("\n") == 1


def test_a_server_that_goes_away_is_told_in_one_line(postgres_url: str) -> None:
    nobody = f"postgresql://tester:s3cret@127.0.0.1:{free_port()}/postgres"
    process = archsearch("study", "list", "--storage", nobody)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "s3cret" not in err
    assert "refused" in err


def password_of(url: str) -> str:
    return url.split("://tester:")[1].rpartition("@")[0]
