"""Pages of many texts in a browser: words and their sentences, the table, the report. Needs Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from interpreto.visualizations import to_fragment
from tests.visualizations.browser import Browser, needs_chromium
from tests.visualizations.pages import benchmark_page, importance_page, many_texts, report_page, table_page

pytestmark = [pytest.mark.slow, needs_chromium]

COUNT = "$('.texts .count').textContent"
WORDS = "$$('table.chart button.name').map((node) => node.textContent)"
FIRST = "$$('table.rows .preview').slice(0, 3).map((node) => node.textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("dataset"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def report() -> str:
    return report_page()


def test_a_click_on_a_word_shows_its_sentences_with_the_word_marked(browser):
    browser.open(importance_page())
    assert browser.run(WORDS)[:2] == ["dull", "wonderful"] and browser.said == []
    assert browser.run("$$('table.chart circle').length") > 60
    browser.click("table.chart button.name")
    assert browser.run("$('table.chart button.name').getAttribute('aria-expanded')") == "true"
    assert browser.run("$$('.sentences li').length") == 8
    assert set(browser.run("$$('.sentences mark').map((node) => node.textContent.toLowerCase())")) == {"dull"}
    values = browser.run("$$('.sentences .chip').map((node) => node.textContent)")
    assert values == sorted(values, key=lambda text: -float(text.replace("−", "-")))
    browser.click(".sentences + .more")
    assert browser.run("$$('.sentences li').length") == 16
    browser.click(".sentences .quiet")
    assert browser.run("$$('.sentences .card').length") == 1
    browser.click("table.chart button.name")
    assert browser.run("$$('.sentences').length") == 0 and browser.said == []


def test_classes_orders_and_a_search_change_the_chart(browser):
    browser.open(importance_page())
    browser.click(".importance > .targets .target", 1)
    assert browser.run("$('.importance > .targets .target[aria-pressed=true]').textContent").startswith("positive")
    assert browser.run("$$('.bar')[0].classList.contains('against')") and browser.run(WORDS)[0] == "dull"
    choose = "((node) => {{ node.value = '{}'; node.dispatchEvent(new Event('change')); }})($$('.controls select')[{}])"
    browser.run(choose.format("1", 1))
    assert browser.run(WORDS)[0] == "wonderful"
    browser.run(choose.format("0", 1))
    browser.run(choose.format("unit", 0))
    assert browser.run(WORDS) == sorted(browser.run(WORDS))
    browser.run("((node) => { node.value = 'DUL'; node.dispatchEvent(new Event('input')); })($('.controls input'))")
    assert browser.run(WORDS) == ["dull"] and browser.run("$('.importance .count').textContent").startswith("1 word")


def test_keys_reach_words_and_a_dot_says_its_sentence(browser):
    browser.open(importance_page())
    browser.run("$('table.chart button.name').focus()")
    browser.press("Enter")
    assert browser.run("$$('.sentences li').length") == 8
    browser.press("Tab")
    assert browser.run("document.activeElement.className") == "quiet"
    browser.hover("table.chart circle", 3)
    assert "film" in browser.run("$('[role=tooltip]').textContent") and "logits" in browser.run(
        "$('[role=tooltip]').textContent"
    )
    browser.press("Escape")
    assert browser.run("$('[role=tooltip]').hidden")


def test_the_table_filters_sorts_and_opens_cards_when_asked(browser):
    browser.open(table_page())
    assert browser.run(COUNT) == "40 of 40 texts, 10 wrong" and browser.run("$$('.card .card').length") == 0
    choose = "((node) => {{ node.value = '{}'; node.dispatchEvent(new Event('change')); }})($$('.texts select')[{}])"
    browser.run(choose.format("no", 2))
    assert browser.run(COUNT) == "10 of 40 texts, 10 wrong"
    browser.run(choose.format("", 2))
    browser.click("th.score .sort")
    scores = browser.run("$$('td.score').map((node) => parseFloat(node.textContent))")
    assert scores == sorted(scores, reverse=True)
    assert browser.run("$('th.score').getAttribute('aria-sort')") == "descending"
    browser.click("th.score .sort")
    assert browser.run("$$('td.score').map((node) => parseFloat(node.textContent))") == sorted(scores)
    browser.run("((node) => { node.value = 'text7'; node.dispatchEvent(new Event('input')); })($('.texts input'))")
    assert browser.run("$$('table.rows .preview').length") == 1
    browser.click(".passage-button")
    assert browser.run("$$('tr.below .card .passage').length") == 1 and browser.said == []


def test_a_thousand_rows_come_by_the_hundred(browser):
    browser.open(to_fragment(many_texts(1000)))
    assert browser.run("$$('table.rows .preview').length") == 100 and browser.run("$$('.passage').length") == 0
    browser.click(".texts > .more")
    assert browser.run("$$('table.rows .preview').length") == 200 and browser.said == []


def test_a_cell_of_the_confusion_matrix_leads_to_its_texts(browser, report):
    browser.open(report)
    assert browser.said == [] and browser.run("$$('.part').length") == 7
    wanted = int(browser.run("$('table.confusion .miss strong').textContent"))
    browser.click("table.confusion .miss")
    assert browser.run(COUNT).startswith(f"{wanted} of 60 texts, {wanted} wrong")
    assert browser.run("$('.texts select').value") == "1" and browser.run("document.activeElement.tagName") == "SELECT"
    browser.click(".mistakes .quiet")
    assert browser.run("$$('.mistakes .card').length") == 1
    browser.click(".concept-texts .quiet")
    assert browser.run("$$('.concept-texts .card').length") == 1 and browser.said == []
    assert browser.run("$$('.mistakes .preview .unit').length") > 8
    links = browser.run("$$('.contents a').map((node) => !!document.getElementById(node.hash.slice(1)))")
    assert links == [True] * 7


def test_a_report_is_read_without_its_script(browser, report):
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(report)
        shown = browser.run("document.body.innerText")
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    for part in ("texts get their true label", "Most confident mistakes", "Words that matter", "What was run", "true label"):
        assert part in shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", [importance_page, table_page, report_page, benchmark_page])
def test_nothing_is_wider_than_a_phone(browser, page, scheme):
    browser.prefer(scheme)
    browser.size(390, 844)
    try:
        browser.open(page())
        assert browser.run("document.documentElement.scrollWidth") <= 390
        assert browser.said == []
    finally:
        browser.size(1200, 900)
        browser.prefer("light")
