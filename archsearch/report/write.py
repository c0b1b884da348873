"""A page into its file."""

from __future__ import annotations

from pathlib import Path

from archsearch.files import write_text
from archsearch.report.files import check_path
from archsearch.report.web_page import Page, render


def write_page(page: Page, path: Path) -> int:
    """Write a page as one self-contained HTML file, whole or not at all; returns its bytes.

    Raises:
        InvalidInputError: a suffix other than .html, no such directory, or a file that cannot be written.
    """
    check_path(path)
    text = render(page)
    write_text(path, text)
    return len(text.encode())
