"""Report pages in Chromium: nothing fails, nothing is fetched, and mouse, keyboard and printer find everything.

Screenshots are kept in the folder that LAYERWISE_SCREENSHOTS names, else in pytest's own.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from layerwise.report import write_report
from layerwise_tests.generator_pages import make_generator_run
from layerwise_tests.images import KINDS, picture
from layerwise_tests.page_parts import explained, png, suspects
from layerwise_tests.pages import make_classifier_run, make_forecast_run, past_of

KIND = ("image", "text", "sequence", "forecast", "generator")
WIDTHS = {360: "dark", 1440: "light"}
TEXTS = ("a short text", "Eine längere Zeile mit Ümläuten und 漢字, die umbrochen wird. " * 6, "x" * 400)

# Text whose contrast with what lies behind it is below 4.5 (3 for large text): WCAG 2.1, success criterion 1.4.3.
FAINT = """() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    if (!element) return [255, 255, 255, 1];
    const own = parse(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, behind(element.parentElement));
  };
  const found = [];
  for (const element of document.querySelectorAll('main *:not(svg *), nav *, header *, footer *')) {
    const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
    if (!text || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), ground = behind(element);
    const pair = [light(over(parse(style.color), ground)), light(ground)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if ((pair[0] + .05) / (pair[1] + .05) < (large ? 3 : 4.5)) found.push(text.slice(0, 40));
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright; what either lacks skips these tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra test)")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])  # CI runs as root
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of each kind of task."""
    return {kind: _written(kind, tmp_path_factory.mktemp(kind) / "run") for kind in KIND}


def _written(kind: str, run: Path) -> Path:
    if kind == "generator":
        return write_report(make_generator_run(run, "vae"))
    if kind == "forecast":
        return write_report(make_forecast_run(run), thumbnail=past_of)
    classes = KINDS if kind == "image" else ("walking", "running", "a class with quite a long name")
    make_classifier_run(run, f"{kind}-classification", classes, TEXTS if kind == "text" else None)
    if kind == "image":
        explained(run, {f"{row}.png": png(200) for row in range(8)})
        suspects(run, 10)
    draw = {
        "image": lambda row: picture(KINDS[row % 3], row, 64),
        "text": lambda row: None,
        "sequence": lambda row: np.sin(np.arange(300.0)[:, None] / (3 + row % 5) + np.arange(4)),
    }
    return write_report(run, thumbnail=draw[kind])


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Opens a page as (path, width, colours, what to add to the address), and checks afterwards that it was quiet."""
    said: list[str] = []
    asked: list[str] = []
    contexts: list[Any] = []

    def open_page(path: Path, width: int = 1440, colours: str = "light", fragment: str = "") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colours)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri() + fragment)
        allowed.add(path.as_uri())
        return page

    allowed: set[str] = set()
    yield open_page
    for context in contexts:
        context.close()
    assert not said
    assert not [url for url in asked if not url.startswith("data:image/") and url.partition("#")[0] not in allowed]


def screenshots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("LAYERWISE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_page_that_fetches_or_fails_is_noticed(tmp_path: Path, browser: Any) -> None:
    """The checks below can fail: the page's policy stops what is fetched, and Chromium says so."""
    page = tmp_path / "page.html"
    policy = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
    page.write_text(f'<html><head>{policy}</head><body><img src="other.png"></body></html>')
    said: list[str] = []
    tab = browser.new_page()
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(page.as_uri())
    tab.wait_for_timeout(200)
    assert said
    tab.goto("about:blank")  # the policy would stop the style as well
    tab.set_content("<main><p style='color:#999'>faint</p><p>clear</p></main>")
    assert tab.evaluate(FAINT) == ["faint"]
    tab.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KIND)
def test_a_page_fits_reads_in_order_and_has_contrast(
    opened: Any, pages: dict[str, Path], kind: str, width: int, tmp_path: Path
) -> None:
    page = opened(pages[kind], width, WIDTHS[width])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(each => +each.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert page.evaluate("[...document.images].every(each => each.alt)")
    assert page.evaluate("[...document.images].every(each => each.naturalWidth > 0 || !each.checkVisibility())")
    assert page.evaluate(FAINT) == []
    page.screenshot(path=screenshots(tmp_path) / f"{kind}-{width}-{WIDTHS[width]}.png", full_page=True)


@pytest.mark.parametrize("kind", KIND)
def test_the_other_colours_have_contrast_too(opened: Any, pages: dict[str, Path], kind: str, tmp_path: Path) -> None:
    page = opened(pages[kind], 1440, "dark")
    assert page.evaluate(FAINT) == []
    page.screenshot(path=screenshots(tmp_path) / f"{kind}-1440-dark.png", full_page=True)
    assert opened(pages[kind], 360, "light").evaluate(FAINT) == []


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_numbers_can_be_read_on_every_shade(opened: Any, tmp_path: Path, colours: str) -> None:
    classes = [f"c{place}" for place in range(21)]
    run = make_classifier_run(tmp_path / "run", "sequence-classification", classes, n=420)
    table = pl.read_csv(run / "predictions.csv")
    turn = np.arange(420) // 21  # each class has 20 examples, of which as many are right as its number says
    said = [classes[(row + (turn[row] >= row % 21)) % 21] for row in range(420)]
    table.with_columns(predicted=pl.Series(said)).write_csv(run / "predictions.csv")
    page = opened(write_report(run), 1440, colours)
    assert page.locator(".confusion .most").count() >= 14 and page.evaluate(FAINT) == []


@pytest.mark.parametrize(("kind", "shown"), [("image", "img"), ("text", "blockquote"), ("sequence", "svg")])
def test_a_click_on_a_number_shows_what_lies_behind_it(
    opened: Any, pages: dict[str, Path], kind: str, shown: str, tmp_path: Path
) -> None:
    page = opened(pages[kind])
    assert page.locator(".cell:visible").count() == 0
    number = page.locator("#at-0-1")
    count = int(number.inner_text())
    number.click()
    cell = page.locator(".cell:visible")
    assert cell.count() == 1 and cell.get_attribute("id") == "cell-0-1"
    assert cell.locator(f"li {shown}").count() == count == 10
    assert cell.evaluate("each => each.getBoundingClientRect().top") < 900  # scrolled into view
    page.wait_for_function("[...document.querySelectorAll('.cell:target img')].every(each => each.naturalWidth > 0)")
    page.screenshot(path=screenshots(tmp_path) / f"{kind}-cell.png")
    page.locator("#at-0-0").click()
    assert page.locator(".cell:visible").get_attribute("id") == "cell-0-0"
    page.go_back()
    assert page.locator(".cell:visible").get_attribute("id") == "cell-0-1"


def focused(page: Any) -> str:
    found = page.evaluate("document.activeElement.id || document.activeElement.textContent")
    return str(found)


def test_the_keyboard_reaches_a_cell_and_comes_back(opened: Any, pages: dict[str, Path]) -> None:
    page = opened(pages["image"])
    for _ in range(60):
        page.keyboard.press("Tab")
        if focused(page) == "at-0-1":
            break
    assert focused(page) == "at-0-1"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Enter")
    assert page.locator("#cell-0-1").is_visible() and focused(page) == "cell-0-1"
    page.keyboard.press("Tab")
    assert focused(page) == "Back to the table"
    page.keyboard.press("Enter")
    assert page.locator(".cell:visible").count() == 0 and focused(page) == "at-0-1"


def test_the_first_tab_skips_to_the_result(opened: Any, pages: dict[str, Path]) -> None:
    page = opened(pages["text"])
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the result"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#result")


def test_screen_readers_get_a_name_for_every_region_link_and_picture(opened: Any, pages: dict[str, Path]) -> None:
    page = opened(pages["image"], fragment="#cell-0-1")
    assert page.get_by_role("region", name="disc taken for stripes").is_visible()
    assert page.get_by_role("link", name="10, disc taken for stripes").first.is_visible()
    assert page.get_by_role("table").count() >= 3
    assert page.evaluate("[...document.querySelectorAll('[role=img],[role=region]')].every(e => e.ariaLabel || "
                         "document.getElementById(e.getAttribute('aria-labelledby')))")  # fmt: skip


@pytest.mark.parametrize("kind", KIND)
def test_a_page_prints_light_and_whole(opened: Any, pages: dict[str, Path], kind: str, tmp_path: Path) -> None:
    page = opened(pages[kind], 1440, "dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible() and page.locator(".cell:visible").count() == 0
    inside = page.locator("details > :not(summary)")
    assert all(inside.nth(place).bounding_box()["height"] > 0 for place in range(inside.count()))
    made = screenshots(tmp_path) / f"{kind}.pdf"
    page.pdf(path=made)
    assert made.read_bytes().startswith(b"%PDF")
