"""A headless Chromium as tests use it: pages opened without a network, their complaints, sizes and colour scheme."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

Found = TypeVar("Found")
DESKTOP = (1280, 900)
PHONE = (390, 844)
WAIT_S = 20.0


class Browser:
    """One window. ``driver`` is selenium's own, for what has no method here."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def reset(self) -> None:
        """Forget the last page: blank, desktop size, light, pointer away, no complaints."""
        self.driver.get("about:blank")
        self.resize(*DESKTOP)
        self.scheme("light")
        self.driver.get_log("browser")

    def open(self, page: Path | str) -> None:
        """Load a file or an address; returns when it has loaded."""
        self.driver.get(page.resolve().as_uri() if isinstance(page, Path) else page)

    def errors(self) -> list[str]:
        """What the console has complained of since the last call: warnings aside."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]

    def resize(self, width: int, height: int) -> None:
        """Width and height of the page in CSS pixels; below 500 as a phone's (the window itself stays wider)."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, name: str) -> None:
        """``light`` or ``dark``: what the system prefers; and no motion, so that a page stands still for a click."""
        features = [
            {"name": "prefers-color-scheme", "value": name},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def run(self, script: str, *arguments: object) -> object:
        """What JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        """The elements of a CSS selector."""
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def one(self, selector: str) -> WebElement:
        """The first element of a CSS selector, waited for."""
        return self.until(lambda: (self.all(selector) or [None])[0], f"an element {selector}")

    def text(self, selector: str) -> str:
        """The text that is shown of the first element."""
        return str(self.one(selector).text)

    def keys(self, *names: str) -> None:
        """Press keys one after another, wherever the focus is."""
        for name in names:
            ActionChains(self.driver).send_keys(name).perform()

    def until(self, found: Callable[[], Found | None], what: str) -> Found:
        """What ``found`` returns once that is true; fails naming ``what`` after 20 seconds."""
        deadline = time.monotonic() + WAIT_S
        while not (result := found()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {WAIT_S:g} s for {what}; console: {self.errors()}")
            time.sleep(0.05)
        return result

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than the window."""
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(str(self.run(f"return {width}")))

    def shot(self, path: Path) -> Path:
        """The page as a PNG, whole height (up to 8,000 pixels)."""
        size = self.run("return [document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        assert isinstance(size, list)
        self.resize(int(size[0]), min(int(size[1]), 8000))
        time.sleep(0.3)
        self.driver.save_screenshot(str(path))
        return path
