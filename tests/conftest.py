"""Settings shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads: xdist already uses both cores

from hypothesis import settings

settings.register_profile("archsearch", deadline=None, derandomize=True)
settings.load_profile("archsearch")

MEASUREMENTS = Path(__file__).resolve().parents[2] / "shared" / "measurements"


@pytest.fixture(scope="session")
def measurements() -> Path:
    """The folder of published measurements, which lies beside a checkout and is not part of it."""
    if not MEASUREMENTS.is_dir():
        pytest.skip(f"no measurements at {MEASUREMENTS}")
    return MEASUREMENTS


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of tests never touch the user's data directory."""
    monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path / "archsearch-home"))
