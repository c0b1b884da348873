"""One headless Chromium for all tests of a run, from Debian's packages (tests/browser/install-chromium.sh)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from browsing import Browser

INSTALL = "run tests/browser/install-chromium.sh (make test-browser does)"
FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
"""No name but the machine's own resolves: what a page wants from a network fails and is in the console."""


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The window that all tests share."""
    from selenium import webdriver

    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.fail(f"no chromium with chromedriver here: {INSTALL}")
    from browsing import Browser

    options = webdriver.ChromeOptions()
    options.binary_location = program
    profile: Path = tmp_path_factory.mktemp("chromium")
    root = ["--no-sandbox"] if os.getuid() == 0 else []
    for flag in (*FLAGS, *root, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    window.set_page_load_timeout(120)
    yield Browser(window)
    window.quit()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """The window, blank, at desktop size and light."""
    chromium.reset()
    return chromium
