"""The accuracy report as a file: a self-contained page (HTML) or a picture (PNG), by the path's suffix."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.errors import UnsupportedError
from archsearch.files import replacing, write_text
from archsearch.report.accuracy import accuracy_info
from archsearch.report.accuracy_html import accuracy_page
from archsearch.report.accuracy_png import draw_png
from archsearch.report.files import check_path
from archsearch.report.web_page import render

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".html", ".png")


def check_report_path(path: Path) -> None:
    """Refuse, before any work, a report that could not be written.

    Raises:
        InvalidInputError: a suffix other than .html and .png, no such directory, or a directory in the file's place.
        UnsupportedError: a .png without matplotlib.
    """
    check_path(path, SUFFIXES)
    if path.suffix.lower() == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise UnsupportedError(f"{path}: a .png needs matplotlib: pip install 'archsearch[report]', or write .html")


def write_accuracy_report(
    predicted: pd.DataFrame, path: Path, *, title: str, by: Sequence[str], command: str = ""
) -> None:
    """Write the report as .html (one file, no network) or .png, by the path's suffix.

    Args:
        predicted: ``bench.validate.predicted_table``; rows whose ``predicted_us`` is NaN are counted and left out.
        by: columns that make a group.
        command: what made it, for whoever reads it.

    Raises:
        InvalidInputError: see ``check_report_path`` and ``accuracy_info``, or a path that cannot be written.
        UnsupportedError: a .png without matplotlib.
    """
    check_report_path(path)
    info = accuracy_info(predicted, title=title, by=by)
    if path.suffix.lower() == ".html":
        write_text(path, render(accuracy_page(info, command)))
    else:
        with replacing(path) as draft:
            draw_png(info, draft)
