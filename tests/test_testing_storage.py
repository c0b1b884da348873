"""Our own storages keep the contract that an outsider's can be checked with; and it catches a storage that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archsearch.search.studies import ledger
from archsearch.testing import storage_contract as contract
from archsearch.testing.storage_contract import StorageContract


class TestJournal(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> str:
        return str(tmp_path / "studies.journal")


class TestSqlite(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> str:
        return str(tmp_path / "studies.db")


def _forgets_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_known_keys", lambda session, study_id, keys: set())


def _counts_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "COUNTED", tuple(ledger.TrialState))


def _rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    written = ledger._write_rows

    def rounding(session: Any, study_id: int, number: int, trials: Any) -> None:
        for trial in trials:
            trial.values = [float(f"{value:.6g}") for value in trial.values]
        written(session, study_id, number, trials)

    monkeypatch.setattr(ledger, "_write_rows", rounding)


def _deletes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "delete_study", lambda name, storage: None)


def _lists_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "study_names", lambda storage: [])


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        (_forgets_keys, StorageContract.test_nothing_twice_and_no_more_than_the_limit),
        (_counts_failures, StorageContract.test_a_failed_architecture_may_be_tried_again),
        (_rounds, StorageContract.test_bulk_writes_are_what_optuna_writes),
        (_deletes_nothing, StorageContract.test_a_deleted_study_is_gone_and_no_other),
        (_lists_nothing, StorageContract.test_a_new_study_is_empty_and_listed),
    ],
)
def test_a_fault_is_caught(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[pytest.MonkeyPatch], None],
    caught_by: Callable[[StorageContract, str], None],
) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        caught_by(StorageContract(), str(tmp_path / "faulty.db"))
