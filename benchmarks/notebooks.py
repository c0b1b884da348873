"""Notebooks: executed from a clean kernel and stored, or compared with what is stored.

    python benchmarks/notebooks.py [NOTEBOOK ...]           # executes notebooks and stores them (all unless named)
    python benchmarks/notebooks.py --check [NOTEBOOK ...]   # fails where a run prints anything else than is stored

A cell tagged ``measured`` times the machine that it runs on: of it only the kinds of outputs are compared.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
MEASURED = "measured"
"""The tag of cells whose outputs depend on the machine's speed."""
TIMEOUT_S = 180
BESIDE = ("benchmarks", "hardware_profiles")
"""Folders of the repository whose data notebooks read."""


def notebooks() -> list[Path]:
    """Every notebook, in the order of its number."""
    return sorted(FOLDER.glob("*.ipynb"))


def execute(path: Path, place: Path) -> Any:
    """A notebook's cells run by a new kernel, in a folder of ``place`` that stands to the repository's as its own does.

    ``place`` also holds their studies.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
    folder = place / FOLDER.name
    folder.mkdir()
    for beside in BESIDE:
        (place / beside).symlink_to(ROOT / beside)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(book, timeout=TIMEOUT_S, kernel_name="python3", record_timing=False, resources=resources)
    client.execute(env=_environment(place))
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined(output for output in cell.outputs if not _is_progress(output))
    book.metadata = {"kernelspec": book.metadata["kernelspec"], "language_info": {"name": "python"}}
    return book


def _environment(place: Path) -> dict[str, str]:
    """What cells see: this Python's commands first, studies of their own, lines of one length and no colours."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    ours = {"ARCHSEARCH_HOME": str(place / "archsearch-home"), "PATH": path, "COLUMNS": "120", "NO_COLOR": "1"}
    ours |= {"OMP_NUM_THREADS": "1"}  # two cores run two notebooks
    foreign = ("ARCHSEARCH_", "FORCE_COLOR")
    return {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | ours


def _is_progress(output: Mapping[str, Any]) -> bool:
    """Whether an output is a progress bar, which slow machines draw: a widget, and nothing once it is gone."""
    data = output.get("data", {})
    return "application/vnd.jupyter.widget-view+json" in data or data.get("text/plain") == ""


def _joined(outputs: Iterable[Any]) -> list[Any]:
    """Outputs, pieces of one stream put together: how it was cut depends on the moment."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.get("name") and output.get("name") == joined[-1].get("name"):
            joined[-1]["text"] += output["text"]
        else:
            joined.append(output)
    return joined


def kinds(cell: Mapping[str, Any]) -> list[str]:
    """What a cell's outputs are: output types with streams' names, and MIME types."""
    found: list[str] = []
    for output in cell["outputs"]:
        found += [output["output_type"] + output.get("name", ""), *sorted(output.get("data", ()))]
    return found


def texts(cell: Mapping[str, Any]) -> list[str]:
    """What a cell prints and shows as text; pictures are compared by their kind alone."""
    return [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell["outputs"]]


def differences(stored: Any, fresh: Any) -> list[str]:
    """Cells, by their number among the code cells, that no longer give what is stored."""
    pairs = zip(*([cell for cell in book.cells if cell.cell_type == "code"] for book in (stored, fresh)), strict=True)
    found: list[str] = []
    for number, (old, new) in enumerate(pairs, 1):
        if kinds(old) != kinds(new):
            found.append(f"cell {number}: {kinds(old)} are stored, {kinds(new)} come")
        elif MEASURED not in old.metadata.get("tags", ()) and texts(old) != texts(new):
            found.append(f"cell {number} stored:\n{''.join(texts(old))}\ncell {number} now:\n{''.join(texts(new))}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebook", nargs="*", type=Path, help="files (default: all of notebooks/)")
    parser.add_argument("--check", action="store_true", help="store nothing; fail where a run differs")
    asked = parser.parse_args(arguments)
    status = 0
    for path in asked.notebook or notebooks():
        with tempfile.TemporaryDirectory() as place:
            fresh = execute(path, Path(place))
        if asked.check:
            found = differences(nbformat.read(path, as_version=4), fresh)
            status |= bool(found)
            print(f"{path.name}: {'as stored' if not found else ''}", *found, sep="\n")
        else:
            nbformat.write(fresh, path)
            print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")
    return status


if __name__ == "__main__":
    sys.exit(main())
