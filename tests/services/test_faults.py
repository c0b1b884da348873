"""A little of what ``make faults`` does at length: verbs killed at random points, a database that is restarted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from postgres_server import PostgresServer

sys.path.append(str(Path(__file__).parents[1] / "faults"))

from killing import Killing
from places import restarted

pytestmark = pytest.mark.services
KILLS = 6


def test_verbs_killed_on_postgresql_lose_and_double_nothing(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path / "home"))
    assert Killing(postgres.url, tmp_path, seed=1).run(KILLS).kills == KILLS


def test_a_database_restarted_under_workers_loses_nothing(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path / "home"))
    assert restarted(postgres, 1).startswith("| PostgreSQL restarted under two workers | 1 |")
