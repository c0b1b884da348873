"""Every notebook runs from a clean kernel, and its committed outputs are small and without errors."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
NotebookClient = pytest.importorskip("nbclient").NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MAX_BYTES = 200_000


def kinds(cell) -> list[str]:
    """What a cell's outputs are: output type and MIME types."""
    return [kind for output in cell.outputs for kind in (output.output_type, *sorted(output.get("data", ())))]


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS] == ["01_quickstart.ipynb", "02_modernbert_exercise.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_a_clean_kernel(path: Path, tmp_path: Path):
    committed = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(fresh, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    pairs = zip(committed.cells, fresh.cells, strict=True)
    assert [kinds(old) for old, new in pairs if old.cell_type == "code"] == [
        kinds(new) for new in fresh.cells if new.cell_type == "code"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs(path: Path):
    assert path.stat().st_size < MAX_BYTES
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any("error" in kinds(cell) for cell in cells)
    assert not any(output.get("name") == "stderr" for cell in cells for output in cell.outputs)
    assert any("application/vnd.plotly.v1+json" in kinds(cell) for cell in cells)
