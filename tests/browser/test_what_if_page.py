"""The what-if page in a browser: it answers what the command line answers, by mouse and keyboard, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from browsing import PHONE, Browser
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from serving import serving, status_as

from archsearch import estimate
from archsearch.models.registry.families import get_family, load_preset
from archsearch.search.explore.enumeration import enumerate_space
from archsearch.ui.words import seconds

pytestmark = pytest.mark.browser
GPU, BASE, LAYERS = "l4", "bert-base", 12
NAME = "<img src=x onerror=document.title='owned'>.yaml"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all tests, with a user's model of a hostile name; it ends by Ctrl-C, cleanly."""
    folder = tmp_path_factory.mktemp("ui")
    config = {"family": "encoder", **load_preset(BASE).to_dict()}
    (folder / NAME).write_text(yaml.safe_dump({n: v for n, v in config.items() if v is not None}))
    with serving(folder, "--model", NAME, "--hardware", GPU) as (url, told):
        yield url
    assert told() == ["serving until interrupted (Ctrl-C)", "stopped"]


@pytest.fixture
def page(browser: Browser, served: str) -> Browser:
    browser.open(served)
    shows(browser, LAYERS)
    return browser


def latency(layers: int) -> str:
    """What the library says of the model at the page's defaults."""
    values = {**load_preset(BASE).to_dict(), "num_layers": layers}
    return seconds(estimate(get_family("encoder").from_dict(values), GPU, batch_size=1, seq_len=512).latency_s)


def shows(page: Browser, layers: int) -> None:
    """Wait until the page shows the latency of so many layers."""
    text = latency(layers)
    page.until(lambda: page.text("[data-figure=latency] .as-value") == text, f"latency {text}")


def number(page: Browser, field: str) -> int:
    return int(str(page.run(f"return document.querySelector('[data-knob={field}]').value")))


def type_into(page: Browser, field: str, value: int) -> None:
    page.one(f"[data-knob={field}]").send_keys(Keys.CONTROL, "a")
    page.one(f"[data-knob={field}]").send_keys(str(value))


def test_it_loads_what_the_command_line_prints_and_nothing_else(page: Browser) -> None:
    assert page.errors() == []
    assert page.overflow() == 0
    loaded = page.run("return performance.getEntriesByType('resource').map(e => new URL(e.name).hostname)")
    assert set(loaded) == {"127.0.0.1"}  # type: ignore[call-overload]
    assert "GiB" in page.text("[data-figure=memory]")
    command = page.text("[data-command]")
    assert command.replace(" \\\n   ", "") == (
        f"archsearch estimate '{NAME.replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}' "
        f"--hardware {GPU} --dtype bf16 --phase forward --batch-size 1 --seq-len 512"
    )


def test_a_hostile_name_stays_text(page: Browser) -> None:
    assert page.run("return document.title") == "archsearch: what if"
    assert page.all("img") == []
    field = "return document.querySelector('[data-choice=model]').closest('.q-field').innerText"
    assert NAME in str(page.run(field))


def test_a_slider_answers_keys_and_mouse(page: Browser) -> None:
    slider = page.one("[data-slider=num_layers] [tabindex='0'], [data-slider=num_layers][tabindex='0']")
    slider.send_keys(Keys.ARROW_RIGHT)
    shows(page, LAYERS + 1)
    assert number(page, "num_layers") == LAYERS + 1
    assert f"num_layers: {LAYERS + 1}" in page.text("[data-command]")
    track = page.one("[data-slider=num_layers]")
    ActionChains(page.driver).move_to_element_with_offset(track, -track.size["width"] // 3, 0).click().perform()
    page.until(lambda: number(page, "num_layers") < LAYERS, "fewer layers")
    shows(page, number(page, "num_layers"))
    assert page.errors() == []


def test_the_keyboard_reaches_every_control(page: Browser) -> None:
    """From the top of the page Tab comes by the choices, each slider and its box, and the buttons, in their order."""
    page.run("document.activeElement.blur()")
    told = """const e = document.activeElement, slider = e.closest('[data-slider]');
        const choice = e.closest('.q-field')?.querySelector('[data-choice]');
        return slider ? slider.dataset.slider + '|' : e.dataset.knob || choice?.dataset.choice || ''"""
    seen = []
    for _ in range(32):
        page.keys(Keys.TAB)
        seen.append(str(page.run(told)))
    wanted = ["gpu", "family", "model", "num_layers|", "num_layers", "hidden_size|", "hidden_size"]
    wanted += ["format", "phase", "execution", "batch_size|", "batch_size", "seq_len|", "seq_len"]
    assert [name for name in seen if name in wanted][: len(wanted)] == wanted


def test_what_is_not_possible_is_said_and_taken_back(page: Browser) -> None:
    type_into(page, "num_attention_heads", 7)
    reason = page.until(lambda: page.text("[data-refusal]"), "a reason")
    assert "num_attention_heads times head_dim must be hidden_size" in reason
    assert "Traceback" not in page.text("body")
    assert page.all(".as-stale [data-figure=latency]")
    page.one("[data-remedy=num_attention_heads]").click()
    page.until(lambda: not page.one("[data-refusal]").is_displayed(), "the reason to go")
    assert not page.all(".as-stale")
    assert number(page, "num_attention_heads") in (6, 8)
    assert page.errors() == []


def test_the_place_on_the_front(page: Browser) -> None:
    count = len(enumerate_space("modernbert-base-budget", GPU))
    points = ".scatterlayer .trace:first-child .point"
    page.until(lambda: len(page.all(points)) == count, f"{count} points")
    assert "better" in page.text("[data-verdict]")
    before = str(page.run("return document.querySelector('.scatterlayer .trace:last-child .point').outerHTML"))
    type_into(page, "num_layers", 24)
    page.until(
        lambda: page.run("return document.querySelector('.scatterlayer .trace:last-child .point').outerHTML") != before,
        "the point to move",
    )
    assert page.errors() == []


def test_the_command_can_be_copied(page: Browser) -> None:
    page.until(lambda: page.all(".scatterlayer .point"), "the front, above the buttons")
    page.run("Object.defineProperty(navigator, 'clipboard', {value: {writeText: t => { window.copied = t; }}})")
    shown = page.text("[data-command]")
    next(button for button in page.all("button") if "copy" in button.text).click()
    assert page.until(lambda: page.run("return window.copied"), "the clipboard") == shown
    page.run("window.copied = ''")
    next(button for button in page.all("button") if "link" in button.text).click()
    link = str(page.until(lambda: page.run("return window.copied"), "the address"))
    assert {f"gpu={GPU}", "dtype=bf16"} <= set(link.partition("?")[2].split("&"))


def test_narrow_and_dark(page: Browser, tmp_path: Path) -> None:
    assert page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(246, 248, 250)"
    assert not page.one(".as-strip").is_displayed()
    page.scheme("dark")
    page.resize(*PHONE)
    page.until(
        lambda: page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)", "a dark page"
    )
    page.until(lambda: page.overflow() == 0, "nothing wider than the window")
    page.run("window.scrollTo(0, 600)")
    assert latency(LAYERS) in page.text(".as-strip")
    top = page.run("return document.querySelector('.as-strip').getBoundingClientRect().top")
    assert top == 0
    assert page.shot(tmp_path / "page.png").stat().st_size > 10_000
    assert page.errors() == []


def test_an_address_names_what_it_starts_with_or_gets_the_reason(browser: Browser, served: str) -> None:
    browser.open(f"{served}?num_layers=5&gpu={GPU}")
    shows(browser, 5)
    browser.open(f"{served}?model=%3Cscript%3Ewindow.owned=1%3C/script%3E")
    assert "unknown model '<script>window.owned=1</script>'" in browser.text("[data-refusal]")
    assert browser.run("return window.owned") is None
    browser.one("a[href='/']").click()
    shows(browser, LAYERS)
    assert browser.errors() == []


def test_a_name_that_is_not_this_machines_is_not_served(served: str) -> None:
    assert [status_as(served, name) for name in ("127.0.0.1", "localhost:80", "example.org")] == [200, 200, 400]
