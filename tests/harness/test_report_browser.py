"""The pages in headless Chromium, from a file and without a network; screenshots stay in tests/artefacts/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import browser_path
from playwright.sync_api import Browser, Page, sync_playwright
from recorded_run import write_run

from harness.index import write_index
from harness.report import write_counterexample, write_report
from harness.tables import write_tables

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ARTEFACTS = Path(__file__).parents[1] / "artefacts"
COLOURS_ON = """canvas => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, seen = new Set();
  for (let place = 0; place < data.length; place += 4) if (data[place + 3]) seen.add(data[place] << 16 | data[place + 1] << 8 | data[place + 2]);
  return seen.size;
}"""
WIDTHS = (1400, 700)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Containers seldom have the name spaces that Chromium's own sandbox asks for; the pages are ours.
        started = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("results")
    for name, violation in (
        ("20261124T101500.000Z-local-current-7", False),
        ("20261124T101600.000Z-local-bug-7", True),
    ):
        folder = write_run(place / "runs" / name, violation=violation)
        write_tables(folder)
        write_counterexample(folder)
        write_report(folder)
    write_index(place)
    return place


class Opened:
    """A page that was opened from its file, and what it complained about or asked for."""

    def __init__(self, browser: Browser, path: Path, *, width: int = 1400, scheme: str = "light") -> None:
        dark = scheme == "dark"
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
        )
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-drawn], body.index")

    def picture(self, name: str) -> None:
        ARTEFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTEFACTS / f"{name}.png")
        self.page.screenshot(path=ARTEFACTS / f"{name}-whole.png", full_page=True)


def run_in(results: Path, part: str) -> Path:
    return next(folder for folder in (results / "runs").iterdir() if part in folder.name)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("part, words", [("bug", "Violation"), ("current", "Pass")])
def test_a_report_opens_from_its_file_and_draws_everything(
    browser: Browser, results: Path, part: str, words: str, width: int, scheme: str
) -> None:
    """Issue 3: "the report opened in headless Chromium ... a screenshot kept as an artefact"."""
    path = run_in(results, part) / "report.html"
    opened = Opened(browser, path, width=width, scheme=scheme)
    opened.page.wait_for_selector("#chart-latency canvas")
    opened.picture(f"report-{words.lower()}-{width}-{scheme}")
    assert opened.page.inner_text("h1").strip() == words
    for canvas in (
        ".timeline canvas.lanes",
        ".timeline canvas.overview",
        "#chart-rate canvas",
        "#chart-latency canvas",
    ):
        assert opened.page.locator(canvas).evaluate(COLOURS_ON) > 8, f"{canvas} is blank"
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.complaints == []
    assert [url for url in opened.asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_the_first_impossible_operation_is_in_sight_at_once(browser: Browser, results: Path) -> None:
    opened = Opened(browser, run_in(results, "bug") / "report.html")
    anchor = opened.page.locator("#first-impossible")
    box = anchor.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900
    assert "possible: 9002" in anchor.inner_text()
    assert opened.page.locator("button[data-do=first]").is_visible()


def test_the_timeline_is_driven_by_keys_and_tells_what_was_chosen(browser: Browser, results: Path) -> None:
    opened = Opened(browser, run_in(results, "bug") / "report.html")
    lanes, told = opened.page.locator("canvas.lanes"), opened.page.locator(".told")
    lanes.focus()
    before = lanes.screenshot()
    lanes.press("f")
    assert told.inner_text().startswith("The first impossible operation · read → 9001 (key r77)")
    lanes.press("n")
    assert told.inner_text().startswith("write 9001")
    lanes.press("Home")
    opened.page.wait_for_timeout(100)  # one frame: there is no event that says a canvas was drawn
    assert lanes.screenshot() != before
    assert opened.complaints == []


def test_pointing_at_an_operation_shows_its_details(browser: Browser, results: Path) -> None:
    opened = Opened(browser, run_in(results, "bug") / "counterexample" / "window.html", width=1000)
    lanes = opened.page.locator("canvas.lanes")
    box = lanes.bounding_box()
    assert box is not None
    # The counterexample's last lane is that of the impossible operation, which ends four fifths along the axis.
    tips = set()
    for step in range(60):
        lanes.hover(position={"x": 112 + (box["width"] - 112) * (0.6 + step / 200), "y": box["height"] - 16})
        tip = opened.page.locator(".tip")
        if tip.is_visible():
            tips.add(tip.inner_text().split("\n")[0])
    assert "The first impossible operation" in tips
    opened.picture("counterexample")
    assert opened.complaints == []


def test_a_key_can_be_chosen_and_the_whole_run_be_seen(browser: Browser, results: Path) -> None:
    opened = Opened(browser, run_in(results, "bug") / "report.html")
    height = "document.querySelector('canvas.lanes').clientHeight"
    few = opened.page.evaluate(height)
    opened.page.select_option("select[data-do=key]", "-1")
    opened.page.wait_for_function(f"{height} > {few}")
    opened.page.click("button[data-do=whole]")
    opened.page.click("button[data-do=first]")
    opened.page.wait_for_function(f"{height} == {few}")
    assert opened.page.input_value("select[data-do=key]") != "-1"


def test_the_command_can_be_copied(browser: Browser, results: Path) -> None:
    opened = Opened(browser, run_in(results, "current") / "report.html")
    opened.page.click(".banner button.copy")
    opened.page.wait_for_function("document.querySelector('.banner button.copy').textContent === 'Copied'")


def test_the_list_of_runs_filters(browser: Browser, results: Path) -> None:
    opened = Opened(browser, results / "index.html")
    opened.picture("index")
    shown = (
        "[...document.querySelectorAll('.runs tbody tr')].filter(row => !row.hidden).map(row => row.dataset.outcome)"
    )
    assert opened.page.evaluate(shown) == ["violation", "pass"]
    opened.page.fill("#search", "quorum read")
    assert opened.page.evaluate(shown) == ["violation"]
    opened.page.fill("#search", "")
    opened.page.select_option("select[data-filter=outcome]", "pass")
    assert opened.page.evaluate(shown) == ["pass"]
    assert "1 of 2 runs" in opened.page.inner_text(".shown")
    opened.page.select_option("select[data-filter=faults]", "kill")
    assert opened.page.evaluate(shown) == ["pass"]
    opened.page.click(".runs tbody tr:not([hidden]) a")
    assert opened.page.inner_text("h1").strip() == "Pass"
    assert opened.complaints == []
