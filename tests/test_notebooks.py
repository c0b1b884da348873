"""Every notebook runs from a clean kernel and prints what is stored; that is small, drawn and without errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))
import notebooks  # noqa: E402

BOOKS = notebooks.notebooks()
MAX_BYTES = 400_000
PICTURES = {"image/png", "image/svg+xml"}


@pytest.fixture(scope="module", autouse=True)
def own_path() -> Iterator[None]:
    """Scripts of benchmarks/ can be imported here, and nowhere else."""
    yield
    sys.path.remove(str(BENCHMARKS))


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def test_numbers_run_from_one():
    assert [path.name[:3] for path in BOOKS] == [f"{i:02d}_" for i in range(1, len(BOOKS) + 1)]
    assert len(BOOKS) == 9


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_clean_kernel_prints_what_is_stored(path: Path, tmp_path: Path):
    found = notebooks.differences(read(path), notebooks.execute(path, tmp_path))
    assert not found, "make notebooks would store:\n" + "\n".join(found)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_stored_outputs(path: Path):
    assert path.stat().st_size < MAX_BYTES
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    drawn = [output.data for output in outputs if output.get("data")]
    for data in drawn:  # a repository's page draws no Plotly
        assert "application/vnd.plotly.v1+json" not in data or PICTURES & set(data)
    assert any(PICTURES & set(data) for data in drawn)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A notebook of three cells: one prints, one shows a value, one times."""
    codes = ["print('one', flush=True)\nprint('two')", "6 * 7", "import time\ntime.perf_counter()"]
    cells = [nbformat.v4.new_code_cell(code) for code in codes]
    cells[-1].metadata["tags"] = [notebooks.MEASURED]
    path = tmp_path / "book.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def test_a_run_is_stored_and_compared(book: Path, capsys: pytest.CaptureFixture[str]):
    assert notebooks.main([str(book)]) == 0
    stored = read(book)
    assert [notebooks.texts(cell) for cell in stored.cells[:2]] == [["one\ntwo\n"], ["42"]]
    assert notebooks.main(["--check", str(book)]) == 0  # though the time is another
    stored.cells[1].outputs[0].data["text/plain"] = "41"
    nbformat.write(stored, book)
    capsys.readouterr()
    assert notebooks.main(["--check", str(book)]) == 1
    printed = capsys.readouterr().out
    assert "cell 2 stored:\n41\ncell 2 now:\n42" in printed
    assert "cell 1" not in printed
    assert "cell 3" not in printed
