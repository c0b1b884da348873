"""The window itself: it runs scripts, tells what the console complains of, and has the sizes and schemes asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import PHONE, Browser

pytestmark = pytest.mark.browser
PAGE = """<!DOCTYPE html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>body{margin:0;color:rgb(1,2,3)}@media(prefers-color-scheme:dark){body{color:rgb(4,5,6)}}</style>
<button onclick="this.textContent='pressed'">press</button><div style="width:500px">wide</div>"""


def test_a_page_runs_at_its_size_in_its_scheme(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    browser.open(page)
    browser.one("button").click()
    assert browser.text("button") == "pressed"
    assert browser.overflow() == 0
    browser.resize(*PHONE)
    assert browser.run("return document.documentElement.clientWidth") == 390
    assert browser.overflow() in (110, 111)  # a fraction of a pixel is rounded up
    color = "return getComputedStyle(document.body).color"
    assert browser.run(color) == "rgb(1, 2, 3)"
    browser.scheme("dark")
    assert browser.run(color) == "rgb(4, 5, 6)"
    assert browser.errors() == []


def test_errors_and_the_network_are_told(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><img src='https://example.com/x.png'><script>throw new Error('broken')</script>")
    browser.open(page)
    found = " ".join(browser.errors())
    assert "broken" in found
    assert "ERR_NAME_NOT_RESOLVED" in found
