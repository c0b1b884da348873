"""Files: read one way whatever wrote them, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

from archsearch.errors import InvalidInputError
from archsearch.files import read_json, read_text, replacing, write_text
from archsearch.tables import read_table, write_table
from archsearch.yaml_records import load_text, read_mapping


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_texts_of_every_editor_read_alike(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes("name: é\r\nsize: 3\r\n".encode(encoding))
    assert read_mapping(path) == {"name": "é", "size": 3}
    assert read_text(path) == "name: é\nsize: 3\n"
    table = tmp_path / "x.csv"
    table.write_bytes("gpu, m\nl4, 1\n".encode(encoding))
    assert read_table(table).to_dict("list") == {"gpu": ["l4"], "m": [1]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe\x00", r"is no UTF-16 text"),
        ("é".encode("latin-1"), r"is no UTF-8 text \(byte 0\)"),
        (b'{"a": 1,}', r"x\.json:1: not valid JSON"),
        (b"[" * 100_000, r"nested deeper than 64"),
        (b"1" * 5000, r"not valid JSON"),
    ],
)
def test_what_is_no_json_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=said):
        read_json(path)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none", "no such file"), (tmp_path, "cannot be read"), ("a\0b", "cannot be read")):
        with pytest.raises(InvalidInputError, match=said):
            read_text(path)


def test_aliases_do_not_expand_without_end() -> None:
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 13)
    )
    with pytest.raises(ValueError, match="line 6: over 200,000 values"):  # 10^6 of them
        load_text(bomb)
    with pytest.raises(ValueError, match="line 1: an alias inside of what it stands for"):
        load_text("&a [*a]")
    usual = "x: &x {a: 1, b: [1, 2]}\ny: {<<: *x, c: *x}\n"
    assert load_text(usual) == yaml.safe_load(usual)


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("old")
    path.chmod(0o640)

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(InvalidInputError, match=r"r\.html: cannot be written: No space left on device"),
        replacing(path) as p,
    ):
        half(p)
    assert path.read_text() == "old"
    write_text(path, "nëw")
    assert path.read_text(encoding="utf-8") == "nëw"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "r.html", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "r.html").stat().st_mode & 0o777 == 0o640


def test_what_is_no_file_is_written_as_it_stands(tmp_path: Path) -> None:
    write_text("/dev/null", "x")
    assert not Path("/dev/null").is_file()
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    with pytest.raises(InvalidInputError, match="cannot be written: is a directory"):
        write_text(tmp_path, "x")
    with pytest.raises(InvalidInputError, match="cannot be written: No such file"):
        write_text(tmp_path / "none" / "x", "x")


def test_a_spreadsheet_runs_no_cell(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["=1+1", "@x", "-y", "-1.5", "plain"], "m": [-1, 2, 3, 4, 5]})
    write_table(frame, tmp_path / "x.csv")
    cells = [line.split(",")[0] for line in (tmp_path / "x.csv").read_text().splitlines()[1:]]
    assert cells == ["'=1+1", "'@x", "'-y", "-1.5", "plain"]
    assert read_table(tmp_path / "x.csv")["m"].to_list() == [-1, 2, 3, 4, 5]
