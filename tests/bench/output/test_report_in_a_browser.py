"""The report in Chromium: it does what it offers, asks for nothing, and can be used by everybody."""

import importlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from required import skip
from test_report import REFERENCE

from bench.analysis.results_files import read
from bench.output.page.page import page
from bench.pages import figures
from impls import ROOT
from profiles.page import recorded

DESK = {"width": 1200, "height": 900}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page(read(REFERENCE), recorded(ROOT / "profiles" / "recordings")))
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program or any(importlib.util.find_spec(name) is None for name in ("playwright", "axe_playwright_python")):
        skip("browser", "needs chromium, and the extra browser")
    with importlib.import_module("playwright.sync_api").sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Any]:
    """Return the open page; what it says to the console or asks of the network fails the test."""
    tab = browser.new_page(viewport=DESK)
    messages: list[str] = []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.on("request", lambda request: messages.append(request.url))
    tab.goto(address)
    yield tab
    assert [message for message in messages if not message.startswith(("file:", "blob:"))] == []
    tab.close()


def labels(opened: Any) -> list[str]:
    rows = opened.locator(".workload:visible tbody tr:not(.bad)")
    shown: list[str] = rows.evaluate_all("rows => rows.map(row => row.dataset.label)")
    return shown


def test_a_workload_and_a_baseline_can_be_picked(opened: Any) -> None:
    assert opened.locator(".workload:visible").count() == 1
    opened.select_option("#workload", label="deep")
    assert opened.locator(".workload:visible h3").inner_text().startswith("deep")
    opened.select_option("#baseline", label="batched_2d")
    line = opened.locator(".workload:visible tr[data-label=batched_2d]")
    assert line.locator(".ratio").inner_text() == "1"
    faster = opened.locator(".workload:visible tr[data-label=rust_fused] .ratio").inner_text()
    expected = float(figures.speed_up("default", "deep", "rust_fused", "batched_2d").split()[0])
    assert float(faster.split()[0]) == pytest.approx(expected, rel=0.01)  # three figures are shown
    assert opened.locator(".workload:visible .over").inner_text() == "over batched_2d"
    assert opened.locator("#said").inner_text() == "Speed-ups over batched_2d."


def test_a_table_can_be_sorted_by_its_headings(opened: Any) -> None:
    fastest_first = labels(opened)
    heading = opened.locator(".workload:visible th[data-sort=seconds]")
    heading.locator("button").click()
    assert labels(opened)[0] == fastest_first[0]
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").press("Enter")
    assert labels(opened)[0] == "pure_python"
    assert heading.get_attribute("aria-sort") == "descending"


def test_flamegraphs_zoom_and_search_each_on_its_own(opened: Any) -> None:
    graphs = [opened.locator(".flame").nth(number) for number in (0, 2)]
    for graph in graphs:
        graph.locator("summary").press("Enter")
        graph.locator(".graph svg").wait_for()
    frames = [graph.locator("g").count() for graph in graphs]
    wide = graphs[0].locator("g[role=button]").nth(2)
    name = wide.get_attribute("aria-label")
    wide.press("Enter")
    assert graphs[0].locator(".frame-words").inner_text().startswith(name.rpartition(":")[0])
    assert graphs[0].locator("g").count() != frames[0]
    assert graphs[1].locator("g").count() == frames[1]  # the other one stays as it was
    opened.keyboard.press("Escape")
    assert graphs[0].locator("g").count() == frames[0]
    graphs[0].locator(".search").fill("gemm")
    assert graphs[0].locator(".matched").inner_text().endswith("% of the samples")


def test_without_javascript_every_table_is_there(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, viewport=DESK)
    tab = context.new_page()
    tab.goto(address)
    assert tab.locator(".workload:visible").count() == len(read(REFERENCE).workloads)
    assert not tab.locator("#controls").is_visible()
    assert tab.locator(".speedups circle").count() > 50
    context.close()


@pytest.mark.slow("starts a browser")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_and_can_be_used_by_everybody(browser: Any, address: str, scheme: str, width: int) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    tab = context.new_page()
    tab.goto(address)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.locator(".flame summary").first.click()
    tab.locator(".steps details summary").first.click()
    axe = importlib.import_module("axe_playwright_python.sync_playwright").Axe()
    serious = [
        (each["id"], [node["html"][:90] for node in each["nodes"][:3]])
        for each in axe.run(tab).response["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
    context.close()
