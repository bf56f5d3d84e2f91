"""The dashboard of concepts: its page's data, its lines, its figure, and the page in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

from tests.visualizations.browser import Browser, needs_chromium
from tests.visualizations.dashboard_examples import dashboard
from tests.visualizations.examples import INJECTIONS
from tests.visualizations.test_browser import hacked
from tests.visualizations.test_html import numbers, payload

NAMES = "$$('nav a').map((node) => node.textContent)"
TITLE = "$('.detail h2').textContent"
NOW = "$$('[aria-current]').map((node) => node.getAttribute('href'))"


def test_the_page_holds_the_numbers():
    data = payload(dashboard().to_html())
    assert [concept["name"] for concept in data["concepts"]] == ["joy0 · praise", "joy1 · praise", "concept 2"]
    assert data["concepts"][0]["bins"] == [0.5, [7, 3, 0, 1], [2], 9] and data["concepts"][1]["near"] == [[2, 0.75]]
    assert numbers(data["sizes"]).tolist() == [[1, 2, 3], [1.5, 1, 0.5]]
    assert numbers(data["effects"]).tolist() == [[-0.5, -1, -1.5], [1.5, 1, 0.5]]
    (low, high, [[place, values]]), second = data["concepts"][0]["examples"]
    assert (low, high) == (80, 100) and numbers([values]).tolist() == [[0.5, 0.5, 2.0]]
    assert "".join(text for text, _, _ in data["passages"][place]) == "joy praise w0"
    assert second[2][0][0] == data["concepts"][1]["examples"][1][2][0][0]  # a text that two concepts share is written once


def test_the_static_view_lists_the_most_important():
    page = dashboard(30).to_html()
    static = page[page.index('class="static"') : page.index("<script")]
    assert static.count("<tr>") == 21 and "the 20 most important of 30" in static and "concept 29" in static
    assert "joy0" in static and "joy5" not in static  # importances are 15 and 12.5, the smallest of the first 20 is 14


def test_a_terminal_has_a_line_per_concept():
    lines = str(dashboard(25)).split("\n")
    assert lines[0].split() == ["concept", "density", "largest", "strongest", "effect"]
    assert lines[1].startswith("24 concept 24") and "−12.5 on negative" in lines[1] and "+5 more concepts" in lines[21]


def test_a_figure_has_a_bar_per_concept():
    figure = dashboard().plot(backend="matplotlib")
    left, right = figure.axes
    assert [[bar.get_width() for bar in axes.patches] for axes in (left, right)] == [[3, 2, 1.5], [0, 25, 50]]
    assert [label.get_text() for label in left.get_yticklabels()] == ["2 concept 2", "1 joy1 · praise", "0 joy0 · praise"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


@pytest.mark.slow
@needs_chromium
class TestBrowser:
    def test_it_opens_with_the_most_important_and_a_click_chooses(self, browser):
        browser.open(dashboard().to_html())
        assert browser.run(NAMES) == ["2concept 23.00", "1joy1 · praise2.00", "0joy0 · praise1.50"]
        assert browser.run(TITLE) == "Concept 2" and browser.run("$('.detail').innerText.includes('Nowhere above 0.')")
        browser.click("nav a", 2)
        assert browser.run(TITLE) == "Concept 0: joy0 · praise" and browser.run(NOW) == ["#c0"]
        assert browser.run("$$('.detail svg rect.bar').length") == 5 and browser.run("$$('rect.below').length") == 1
        assert (
            browser.run("$('svg').getAttribute('aria-label')") == "Histogram of activations from −0.500 to 2.00; 9 of 22 are 0"
        )
        assert browser.run("$$('.quantile h4').map((n) => n.textContent)") == ["top 20 %", "0 to 20 %"]
        assert browser.run("$$('.passage').map((n) => n.textContent)") == ["joy praise w0", "dull joy"]
        weights = browser.run("$$('.passage .unit').map((n) => parseFloat(n.style.getPropertyValue('--weight')))")
        assert weights == [25, 25, 100, 0, 12.5] and browser.said == []

    def test_an_address_names_a_concept_and_neighbors_lead_on(self, browser):
        browser.open(dashboard().to_html())
        browser.run("(() => { location.hash = '#c1'; window.dispatchEvent(new HashChangeEvent('hashchange')); })()")
        assert browser.run(TITLE).startswith("Concept 1")
        browser.click(".near a")
        assert browser.run(TITLE) == "Concept 2" and browser.run("location.hash") == "#c2"
        assert browser.run("document.activeElement.classList.contains('detail')")

    def test_search_and_order(self, browser):
        browser.open(dashboard(40).to_html())
        browser.run("(() => { const box = $('input'); box.value = 'joy1 PRAISE'; box.dispatchEvent(new Event('input')); })()")
        assert browser.run("$('.found').textContent") == "11 of 40 concepts"
        numbered = "$$('nav .number').map((n) => Number(n.textContent))"
        sizes = {k: max(k + 1, (40 - k) / 2) for k in [1, *range(10, 20)]}
        assert browser.run(numbered) == sorted(sizes, key=lambda k: -sizes[k])
        browser.run("(() => { const box = $('select'); box.value = 'density'; box.dispatchEvent(new Event('change')); })()")
        assert browser.run(numbered) == [1, *range(10, 20)]
        options = browser.run("$$('option').map((n) => n.textContent)")
        assert options[:4] == ["importance", "density", "largest activation", "number"] and "effect against positive" in options

    def test_thousands_of_concepts_are_ready_at_once(self, browser):
        page = dashboard(3000).to_html()
        browser.open(page)
        assert browser.run("$$('nav a').length") == 300 and browser.run("$('nav .more').textContent") == "2700 more"
        browser.click("nav .more")
        assert browser.run("$$('nav a').length") == 600 and len(page) < 3_000_000

    @pytest.mark.parametrize("width", [360, 800, 1400])
    def test_nothing_overflows(self, browser, width):
        browser.size(width, 900)
        for view in (dashboard(), dashboard(9, ("Donaudampfschifffahrt" * 8, "x"), ("label " * 30, "y"), explainer="N" * 60)):
            browser.open(view.to_html())
            browser.run("$$('nav a')[1].click()")
            assert browser.run("document.documentElement.scrollWidth") <= width
        browser.size(1200, 900)

    def test_no_text_runs(self, browser):
        for bad in INJECTIONS:
            view = dashboard(
                3, (bad.replace(" ", "_"), "b"), (bad, "x"), explainer=bad, split_point=bad, granularity=bad, unit=bad
            )
            browser.open(view.to_html() + view._repr_html_())
            browser.run("$$('nav a').forEach((node) => node.click())")
            browser.run("$$('.unit').forEach((n) => n.dispatchEvent(new MouseEvent('mouseenter')))")
            histograms = browser.run("$$('.card svg[role=img]').length")
            assert histograms == 2 and hacked(browser) == (False, histograms, 0, []), bad

    def test_the_ground_is_dark_in_the_dark(self, browser):
        browser.open(dashboard().to_html())
        browser.prefer("dark")
        ground = browser.run("getComputedStyle($('.detail')).backgroundColor")
        browser.prefer("light")
        assert np.mean([float(part) for part in re.findall(r"[0-9.]+", ground)[:3]]) < 60
