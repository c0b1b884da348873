"""Passwords in addresses (``--storage``, ``--scheduler``) reach no message, answer, log, file or report."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from archsearch.cli.invocation import command_line, next_call, remember
from archsearch.cli.main import run
from archsearch.cli.output import note
from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError, masked
from archsearch.search.explore.cluster import _connected
from archsearch.search.studies.storage import shown, storage_errors

SECRET = "s3cr3t/w@rd"
ADDRESSES = [
    f"postgresql://ann:{SECRET}@127.0.0.1:1/db",
    f"postgresql+psycopg://ann:{SECRET}@127.0.0.1:1/db?sslmode=require",
    f"postgresql:/ann:{SECRET}@127.0.0.1:1/db",
    f"mysql://127.0.0.1:1/db?user=ann&password={SECRET}",
    f"nonsense://ann:{SECRET}@127.0.0.1:1",
    f"grpc://ann:{SECRET}@127.0.0.1:1",
]
VERBS = [
    ("study", "list"),
    ("study", "show", "s"),
    ("study", "export", "s", "-o", "x.csv"),
    ("study", "resume", "s"),
    ("study", "worker", "s"),
    ("study", "delete", "s"),
    ("study", "create", "modernbert-base-budget", "--name", "s"),
    ("study", "proxy",),
    ("recommend", "s"),
    ("explain", "s:1", "--hardware", "t4"),
    ("report", "s", "-o", "x.html"),
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_no_verb_tells_a_storages_password(
    verb: tuple[str, ...],
    address: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([*verb, "--storage", address]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "s3cr3t" not in err
    assert "w@rd" not in err
    assert not [path for path in tmp_path.rglob("*") if "s3cr3t" in path.name]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_in_the_wrong_place_keeps_its_password(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["recommend", address], ["estimate", address, "-g", "t4"], ["estimate", "gpt2", "-g", address]):
        assert run(words) == 2
        assert "s3cr3t" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("scheme", ["tcp", "tls", "ucx"])
def test_a_dask_schedulers_password_is_told_to_nobody(scheme: str) -> None:
    """dask.distributed repeats the address that it cannot reach."""

    def client(address: str, **_: object) -> None:
        raise OSError(f"Timed out trying to connect to {address} after 5 s")

    with pytest.raises(InvalidInputError) as raised:
        _connected(SimpleNamespace(Client=client), f"{scheme}://ann:{SECRET}@127.0.0.1:1")
    assert "s3cr3t" not in str(raised.value)
    assert "ann:***@127.0.0.1:1" in str(raised.value)


def test_a_drivers_message_loses_the_password_encoded_or_not() -> None:
    place = "postgresql://ann:a%40b@127.0.0.1/db"
    with pytest.raises(InvalidInputError) as raised, storage_errors(place, opening=True):
        raise RuntimeError('password "a@b" of ann (a%40b) is wrong')
    assert str(raised.value) == (
        "storage 'postgresql://ann:***@127.0.0.1/db' cannot be used: password \"***\" of ann (***) is wrong"
    )


@pytest.mark.parametrize("address", ADDRESSES)
def test_commands_that_answers_and_reports_repeat_have_no_password(address: str) -> None:
    remember(["report", "s", "--storage", address])
    for text in (command_line(), next_call("recommend", "s"), shown(address)):
        assert "s3cr3t" not in text
        assert "w@rd" not in text
        assert "127.0.0.1:1" in text


def test_errors_and_notes_are_masked_wherever_they_arise(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (
        ArchSearchError(f"cannot reach {ADDRESSES[0]}"),
        UnknownNameError("study", ADDRESSES[0], ["mine"]),
        ArchSearchError(f"{{storage}} {ADDRESSES[0]}", field="storage").about("here"),
    ):
        assert "s3cr3t" not in str(error)
    note(f"serving {ADDRESSES[0]}")
    assert "s3cr3t" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["", "no address", "https://a.example/b", "https://a.example:80/b", "path/to/file.py:function", "a@b.example: x"],
)
def test_what_has_no_password_stays_as_it_is(text: str) -> None:
    assert masked(text) == text
