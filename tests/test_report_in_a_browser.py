"""The page of a comparison in headless Chromium (Debian: apt-get install chromium chromium-driver): no error on the
console, sorting, filters, themes, curves under the pointer, differences, paper, a phone, and accessibility by axe-core:

npm install --prefix build/axe axe-core@4
"""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from comparisons import HOSTILE, small_comparison
from variata_plugins.comparison.report.writing import write_report

AXE = Path(__file__).parents[1] / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets of the driver's connection
]


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "c"
    small_comparison(folder)
    return write_report(folder, charts=False).as_uri()


@pytest.fixture
def page(browser, address):
    sized(browser, 1280)
    browser.get(address)
    browser.execute_script("try { localStorage.clear(); } catch {}")
    browser.get(address)
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def sized(browser, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def heads(page, table: str) -> list[str]:
    return [cell.text for cell in page.find_elements(By.CSS_SELECTOR, f"#{table} tbody th") if cell.is_displayed()]


def chip(page, name: str):
    return next(c for c in page.find_elements(By.CSS_SELECTOR, ".chip") if c.text == name)


def sort_by(page, table: str, head: str) -> str:
    button = next(b for b in page.find_elements(By.CSS_SELECTOR, f"#{table} thead button") if b.text == head)
    button.click()
    return button.find_element(By.XPATH, "..").get_attribute("aria-sort")


def test_heads_sort_their_table_both_ways_and_by_the_keyboard(page):
    assert heads(page, "summary-table") == ["vae", HOSTILE, "gan"]
    assert sort_by(page, "summary-table", "Model") == "ascending"
    assert heads(page, "summary-table") == [HOSTILE, "gan", "vae"]
    assert sort_by(page, "summary-table", "Model") == "descending"
    assert heads(page, "summary-table") == ["vae", "gan", HOSTILE]
    values = [
        cell.get_attribute("data-value")
        for cell in page.find_elements(By.CSS_SELECTOR, "#every-figure td:nth-child(4)")
    ]
    assert sort_by(page, "every-figure", "Value") == "ascending"
    numbers = [
        cell.get_attribute("data-value")
        for cell in page.find_elements(By.CSS_SELECTOR, "#every-figure td:nth-child(4)")
    ]
    assert numbers == sorted((v for v in values if v), key=float) + [v for v in values if not v]
    button = page.find_element(By.CSS_SELECTOR, "#every-figure thead button")
    button.send_keys(Keys.ENTER)
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    assert page.find_elements(By.CSS_SELECTOR, "#every-figure [aria-sort=descending]") == []


def test_models_can_be_hidden_and_found(page):
    chip(page, "vae").click()
    assert heads(page, "summary-table") == [HOSTILE, "gan"]
    assert all(not e.is_displayed() for e in page.find_elements(By.CSS_SELECTOR, "[data-of='m0']"))
    assert page.find_element(By.ID, "shown").get_attribute("textContent") == "2 of 3 models shown"
    page.find_element(By.ID, "all").click()
    assert heads(page, "summary-table") == ["vae", HOSTILE, "gan"]
    page.find_element(By.ID, "search").send_keys("GA")
    assert heads(page, "summary-table") == ["gan"]
    page.find_element(By.ID, "search").send_keys(Keys.BACKSPACE, Keys.BACKSPACE)
    page.find_element(By.CSS_SELECTOR, "input.rows").send_keys("parzen")
    assert len(heads(page, "every-figure")) == 5


def background(page) -> str:
    return page.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_the_theme_follows_the_system_until_it_is_chosen(page, address):
    button = page.find_element(By.ID, "theme")
    seen = {}
    for system in ("light", "dark"):
        feature = {"features": [{"name": "prefers-color-scheme", "value": system}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        seen[system] = background(page)
    assert seen["light"] != seen["dark"]
    button.click()
    assert (button.text, background(page)) == ("Theme: light", seen["light"])
    button.click()
    assert (button.text, background(page)) == ("Theme: dark", seen["dark"])
    ink = "return getComputedStyle(document.querySelector('.variata-graph text.ink')).fill"
    dark = page.execute_script(ink)
    page.get(address)
    assert background(page) == seen["dark"], "the choice is kept"
    page.find_element(By.ID, "theme").click()
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    assert (background(page), page.execute_script(ink) == dark) == (seen["light"], False)


def test_what_is_under_the_pointer_is_said(page):
    track = page.find_element(By.CSS_SELECTOR, ".track")
    tip = page.find_element(By.CSS_SELECTOR, ".tip")
    assert not tip.is_displayed()
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", track)
    ActionChains(page).move_to_element(track).perform()
    assert tip.text.splitlines()[0] == "vae"
    assert "± 0.12" in tip.text
    plot = page.find_element(By.CSS_SELECTOR, ".plot")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    ActionChains(page).move_to_element(plot).perform()
    lines = tip.text.splitlines()
    assert lines[0] == "step 20"
    assert "vae (seed 0), train: 35" in lines
    assert "vae (seed 1), validation: 36" in lines
    ActionChains(page).move_to_element(page.find_element(By.TAG_NAME, "h2")).perform()
    plot.send_keys(Keys.ARROW_RIGHT)
    assert "step 30" in tip.text


def test_two_specifications_are_compared_line_by_line(page):
    def lines(of: str) -> list[str]:
        return [line.text for line in page.find_elements(By.CSS_SELECTOR, f"#difference .{of}")]

    assert (lines("removed"), lines("added")) == (["-   latent: 50"], ["+   latent: 60"])
    first, second = page.find_elements(By.CSS_SELECTOR, ".choice select")
    Select(second).select_by_visible_text("vae")
    assert (lines("removed"), lines("added")) == ([], [])
    assert page.find_element(By.ID, "changed").text == "The two are the same."
    Select(first).select_by_visible_text("gan")
    assert lines("removed") == ["- model: gan"]
    assert len(lines("added")) == 5


def test_a_phone_shows_it_without_scrolling_sideways(page):
    for width in (390, 320):
        sized(page, width)
        inside = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert inside[0] <= inside[1] == width


def test_it_prints_on_paper(page):
    page.find_element(By.ID, "theme").click()
    page.find_element(By.ID, "theme").click()
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert all(page.execute_script("return [...document.querySelectorAll('details')].map((e) => e.open)"))
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert background(page) == "rgb(255, 255, 255)"
    assert not page.find_element(By.CSS_SELECTOR, ".bar").is_displayed()
    assert page.find_element(By.ID, "every-figure").is_displayed()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.skipif(not AXE.is_file(), reason="npm install --prefix build/axe axe-core@4")
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_accessible(page, theme, width):
    sized(page, width)
    page.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    page.execute_script(AXE.read_text(encoding="utf-8"))
    page.execute_script("for (const folded of document.querySelectorAll('details')) folded.open = true")
    found = page.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {resultTypes: ['violations']}).then((r) => done(r.violations), (e) => done([String(e)]))"
    )
    assert [(v["id"], v["nodes"][0]["html"]) if isinstance(v, dict) else v for v in found] == []
