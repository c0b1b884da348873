"""Reports in a real browser: nothing complains, and all that they offer works by mouse, by keyboard and on a phone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from browsing import DESKTOP, PHONE, Browser
from reports import answer, crowded, hostile_page, page_of, space_file
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from archsearch.cli.main import run
from archsearch.report.search_report import SearchAnswer

pytestmark = pytest.mark.browser
HOSTILE = '</script><img src=x onerror="window.hacked=1">\'<b>"&amp;{{7*7}}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def space(folder: Path) -> Path:
    return space_file(folder)


@pytest.fixture(scope="module")
def small(space: Path) -> SearchAnswer:
    return answer(space)


@pytest.fixture(scope="module")
def report(space: Path, folder: Path) -> Path:
    """The report of the space, as the command line writes it."""
    path = folder / "space.html"
    assert run(["report", str(space), "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def others(folder: Path) -> list[Path]:
    """Reports of all other kinds."""
    table = folder / "m.csv"
    table.write_text("gpu,op,dtype,batch,m,n,k,latency_us\n" + "t4,linear,fp16,1,512,512,512,30\n" * 3)
    calls = {
        "model": "report gpt2 -g t4,a10 --dtype fp16 -o",
        "pipeline": "report dit-xl-2 --kind pipeline -g t4 -o",
        "optimum": "pipeline optimize dit-xl-2 -g t4 --report",
        "fleet": "serve fleet dit-xl-2 -g h100-sxm,l4 --rate 3 --p95-s 2 --max-batch 1 --report",
        "accuracy": f"validate {table} --report",
    }
    for name, call in calls.items():
        assert run([*call.split(), str(folder / f"{name}.html")]) == 0
    return [folder / f"{name}.html" for name in calls]


def drawn(browser: Browser, figure: str = "") -> None:
    """Scroll to a figure, or through the page to every visible one, until it is drawn."""
    script = """const plots = [...document.querySelectorAll(arguments[0] + ".plot:not([data-state=drawn])")];
    const left = plots.filter((plot) => plot.offsetParent);
    if (left.length) left[0].scrollIntoView();
    return left.length === 0;"""
    browser.until(lambda: browser.run(script, f"#{figure}" if figure else ""), "the figures")


def points(browser: Browser) -> dict[str, Any]:
    """What can be pinned, from the page's data."""
    found = json.loads(str(browser.run("return document.getElementById('data').textContent")))
    return dict(found["points"])


def trace(browser: Browser, plot: str, name: str) -> dict[str, Any]:
    """A trace of a figure by its name."""
    script = "return document.getElementById(arguments[0]).data.find((t) => t.name === arguments[1])"
    found = browser.run(f"{script}", plot, name)
    assert isinstance(found, dict), f"no trace {name} in {plot}"
    return found


def pixel(browser: Browser, plot: str, x: float, y: float) -> tuple[int, int]:
    """Where a point of a figure is in the window."""
    script = """const plot = document.getElementById(arguments[0]), {xaxis, yaxis} = plot._fullLayout;
    plot.scrollIntoView({block: "center", behavior: "instant"});
    const box = plot.getBoundingClientRect();
    return [box.left + xaxis._offset + xaxis.d2p(arguments[1]), box.top + yaxis._offset + yaxis.d2p(arguments[2])];"""
    place = browser.run(script, plot, x, y)
    assert isinstance(place, list)
    return round(place[0]), round(place[1])


def mouse(browser: Browser, place: tuple[int, int], *, click: bool = False) -> None:
    """Move the mouse there (over two steps, as a hand does), and click."""
    actions = ActionChains(browser.driver, duration=20)
    for shift in (3, 0):
        actions.w3c_actions.pointer_action.move_to_location(place[0] + shift, place[1])
    if click:
        actions.w3c_actions.pointer_action.click()
    actions.perform()


def test_every_kind_opens_without_complaints_on_a_desktop_and_a_phone(
    browser: Browser, report: Path, others: list[Path]
) -> None:
    for path in (report, *others):
        browser.resize(*PHONE)
        browser.open(path)
        drawn(browser)
        for size in (PHONE, DESKTOP):
            browser.resize(*size)
            assert browser.all("h1")[0].is_displayed()
            assert browser.all(".plot .main-svg"), path.name
            assert browser.overflow() == 0, f"{path.name} at {size[0]} pixels"
        assert browser.errors() == [], path.name


def test_hovering_an_op_shows_tile_and_waves(browser: Browser, report: Path) -> None:
    browser.open(report)
    plot = "plot-time-0"
    drawn(browser, plot)
    labels = browser.run(f"return document.getElementById('{plot}').data[0].labels")
    hovers = browser.run(f"return document.getElementById('{plot}').data[0].hovertext")
    assert isinstance(labels, list)
    assert isinstance(hovers, list)
    tiled = next(label for label, hover in zip(labels, hovers, strict=True) if "tile" in hover)
    script = """const plot = document.getElementById(arguments[0]);
    plot.scrollIntoView({block: "center", behavior: "instant"});
    const slice = [...plot.querySelectorAll(".slice")].find((s) => s.textContent.startsWith(arguments[1]));
    const box = slice.querySelector("path").getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];"""
    place = browser.run(script, plot, tiled)
    assert isinstance(place, list)
    mouse(browser, (round(place[0]), round(place[1])))
    shown = browser.until(lambda: browser.run(f"return document.querySelector('#{plot} .hoverlayer').textContent"), "")
    assert "tile " in str(shown)
    assert "waves " in str(shown)


def test_a_click_pins_and_pins_stand_side_by_side(browser: Browser, report: Path) -> None:
    browser.open(report)
    drawn(browser, "plot-front-0")
    best = trace(browser, "plot-front-0", "recommended")
    mouse(browser, pixel(browser, "plot-front-0", best["x"][0], best["y"][0]), click=True)
    browser.until(lambda: browser.all("#pins thead th button"), "a pin")
    table = points(browser)
    first = best["customdata"][0]
    assert table["names"][first] in browser.text("#pins thead")
    second = next(b for b in browser.all("#table-front [data-pin]") if int(b.get_attribute("data-pin") or 0) != first)
    browser.run("arguments[0].scrollIntoView({block: 'center'})", second)
    second.click()
    heads = [head.text.splitlines()[0] for head in browser.all("#pins thead th")[1:]]
    row = int(second.get_attribute("data-pin") or 0)
    assert heads == [table["names"][first], table["names"][row]]
    column = table["heads"].index("num_layers")
    cells = next(r for r in browser.all("#pins tbody tr") if r.text.startswith("num_layers")).text.splitlines()
    assert f"num_layers {table['rows'][first][column]:g} {table['rows'][row][column]:g}" in " ".join(cells)
    assert len(trace(browser, "plot-front-0", "pinned")["x"]) == 2
    assert second.get_attribute("aria-pressed") == "true"
    browser.all("#pins thead th button")[0].click()
    assert [head.text.splitlines()[0] for head in browser.all("#pins thead th")[1:]] == [table["names"][row]]
    browser.one("#pins .clear").click()
    assert "Nothing is pinned" in browser.text("#pins")
    assert browser.errors() == []


def test_a_filter_leaves_rows_out_and_fades_their_points(browser: Browser, report: Path) -> None:
    browser.open(report)
    drawn(browser, "plot-front-0")
    field = browser.one("#table-front input[type=search]")
    rows = len(browser.all("#table-front tbody tr"))
    field.send_keys("rank")
    left = [row.text for row in browser.all("#table-front tbody tr") if row.is_displayed()]
    assert 0 < len(left) < rows
    assert all("rank" in text for text in left)
    assert browser.text("#table-front .found") == f"{len(left)} of {rows} rows"
    front = trace(browser, "plot-front-0", "Pareto front")
    shown = {int(b.get_attribute("data-pin") or 0) for b in browser.all("#table-front [data-pin]") if b.is_displayed()}
    assert [front["customdata"][i] for i in front["selectedpoints"]] == [r for r in front["customdata"] if r in shown]
    field.send_keys(Keys.BACKSPACE * 4)
    assert len([row for row in browser.all("#table-front tbody tr") if row.is_displayed()]) == rows


def test_a_table_sorts_by_numbers(browser: Browser, report: Path) -> None:
    browser.open(report)
    heads = browser.all("#table-front thead th")
    place = next(i for i, head in enumerate(heads) if head.text.startswith("parameters"))
    for order in (False, True):
        browser.run("arguments[0].click()", heads[place].find_element("css selector", "button"))
        cells = [row.find_elements("css selector", "th, td")[place] for row in browser.all("#table-front tbody tr")]
        values = [float(cell.text.replace(",", "")) for cell in cells]
        assert values == sorted(values, reverse=order)
    assert heads[place].get_attribute("aria-sort") == "descending"


def test_configs_are_copied_as_the_command_line_writes_them(
    browser: Browser, report: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    browser.open(report)
    browser.run("window.copied = []; navigator.clipboard.writeText = async (text) => { window.copied.push(text); }")
    for name, style in (("hf-1", "hf"), ("yaml-1", "yaml")):
        capsys.readouterr()
        assert run(["recommend", str(space), "--rank", "1", "--format", style]) == 0
        written = capsys.readouterr().out
        copy = browser.one(f"[data-copy=text-{name}]")
        browser.run("arguments[0].closest('details').open = true; arguments[0].scrollIntoView()", copy)
        copy.click()
        browser.until(lambda: browser.text("#status") == "copied", "the message")
        copied = browser.run("return window.copied.pop()")
        assert str(copied).strip() == written.strip()


def test_copying_works_where_the_clipboard_is_forbidden(browser: Browser, report: Path) -> None:
    browser.open(report)
    browser.run("navigator.clipboard.writeText = () => Promise.reject(new Error('forbidden'));")
    browser.run("document.addEventListener('copy', () => { window.selected = String(document.activeElement.value); })")
    browser.run("document.querySelector('[data-copy=text-made-by]').scrollIntoView()")
    browser.one("[data-copy=text-made-by]").click()
    assert str(browser.run("return window.selected")).startswith("archsearch report ")


def test_all_is_reached_and_done_by_keyboard(browser: Browser, report: Path) -> None:
    browser.open(report)
    focused = "return document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
    browser.keys(Keys.TAB)
    assert browser.run(focused) == "skip"
    browser.keys(Keys.ENTER, Keys.TAB)
    assert browser.run("return document.activeElement.matches('main nav a')")  # past the header
    for _ in range(200):
        browser.keys(Keys.TAB)
        if browser.run(focused) == "plot-front-0":
            break
    assert browser.run("return document.activeElement.matches(':focus-visible')")
    browser.until(lambda: browser.all("#plot-front-0[data-state=drawn]"), "the figure")
    browser.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER)
    order = browser.run("return document.getElementById('plot-front-0').pins.map((pin) => pin.row)")
    assert isinstance(order, list)
    assert points(browser)["names"][order[1]] in browser.text("#pins thead")
    assert "pinned" in browser.text("#status")
    for _ in range(20):
        browser.keys(Keys.TAB)
        if browser.run("return document.activeElement.textContent") == "Unpin":
            break
    browser.keys(Keys.ENTER)
    assert "Nothing is pinned" in browser.text("#pins")
    buttons = browser.run(
        "return [...document.querySelectorAll('[onclick], [data-pin], [data-copy]')].map((e) => e.tagName)"
    )
    assert set(buttons) == {"BUTTON"}  # type: ignore[call-overload]


def test_dark_follows_the_system_and_the_switch(browser: Browser, report: Path) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    ink = "return getComputedStyle(document.querySelector('#plot-front-0 .xtick text')).fill"
    browser.open(report)
    drawn(browser, "plot-front-0")
    light = browser.run(paper), browser.run(ink)
    browser.scheme("dark")
    browser.until(lambda: browser.run(ink) != light[1], "dark letters")
    assert _brightness(browser.run(paper)) < 60 < 180 < _brightness(browser.run(ink))
    assert browser.one("#theme").get_attribute("aria-pressed") == "true"
    browser.run("scrollTo(0, 0)")
    browser.one("#theme").click()
    browser.until(lambda: browser.run(ink) == light[1], "light letters")
    assert browser.run(paper) == light[0]
    browser.run("localStorage.clear()")
    assert browser.errors() == []


def _brightness(color: object) -> float:
    parts = [float(part) for part in str(color).split("(")[1].rstrip(")").split(",")[:3]]
    return sum(parts) / 3


def test_hostile_names_are_texts(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "hostile.html"
    page.write_text(hostile_page(HOSTILE), encoding="utf-8")
    browser.open(page)
    drawn(browser)
    assert browser.text("h1") == HOSTILE
    assert browser.text("#table-t tbody td:not(.pin)") == HOSTILE
    browser.one("#table-t [data-pin]").click()
    assert HOSTILE in browser.text("#pins thead")
    assert browser.run("return window.hacked") is None
    assert browser.run("return document.images.length") == 0
    assert HOSTILE in str(browser.run("return document.querySelector('#plot-p .xtick').textContent"))
    assert browser.errors() == []


def test_scripts_of_others_do_not_run(browser: Browser, tmp_path: Path) -> None:
    """Had a name ever got through as markup, the page's policy would still stop it."""
    page = tmp_path / "injected.html"
    text = hostile_page("x").replace(
        "<main", "<img src=x onerror='window.hacked=1'><script>window.hacked=2</script><main"
    )
    page.write_text(text, encoding="utf-8")
    browser.open(page)
    drawn(browser)
    assert browser.run("return window.hacked") is None
    assert any("Content Security Policy" in line for line in browser.errors())


def test_fifty_thousand_architectures_open(browser: Browser, small: SearchAnswer, tmp_path: Path) -> None:
    many = crowded(small, 50_000)
    page = page_of(many, tmp_path / "many.html")
    assert page.stat().st_size < 8e6
    browser.open(page)
    drawn(browser, "plot-front-0")
    crowd = trace(browser, "plot-front-0", "beaten by the front")
    assert sum(count for row in crowd["z"] for count in row if count) == 50_000
    front = trace(browser, "plot-front-0", "Pareto front")
    mouse(browser, pixel(browser, "plot-front-0", front["x"][0], front["y"][0]), click=True)
    browser.until(lambda: browser.all("#pins thead th button"), "a pin")
    assert browser.errors() == []
