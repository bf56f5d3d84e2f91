"""No page has a finding of axe-core at level A or AA, nor against its best practices, light or dark."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.visualizations.axe import findings, needs_npm
from tests.visualizations.browser import Browser, needs_chromium
from tests.visualizations.pages import PAGES

pytestmark = [pytest.mark.slow, needs_chromium, needs_npm]


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("axe"))
    yield one
    one.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", PAGES)
def test_a_page_has_no_finding(browser, kind, scheme):
    browser.prefer(scheme)
    browser.open(PAGES[kind]())
    assert findings(browser) == []
    browser.run("$$('details').forEach((node) => { node.open = true; })")
    for switch in range(browser.run("$$('.tools .toggle[aria-pressed=false]').length")):
        browser.run(f"$$('.tools .toggle')[{switch}].click()")
    assert findings(browser) == [] and browser.said == []


def test_a_finding_would_be_seen(browser):
    browser.open("<!doctype html><html><body><img src='data:,'><p style='color:#ccc;background:#fff'>pale</p></body></html>")
    found = {line.split(":")[0] for line in findings(browser)}
    assert {"html-has-lang", "image-alt", "color-contrast", "document-title"} <= found


def test_signs_are_seen_without_color(browser):
    browser.open(PAGES["classes"]())
    lines = browser.run("$$('.unit').map((node) => getComputedStyle(node).textDecorationLine)")
    signs = browser.run("$$('.unit').map((node) => node.classList.contains('against') && !node.classList.contains('faint'))")
    assert lines == ["underline" if against else "none" for against in signs] and any(signs) and not all(signs)


def test_paper_gets_the_whole_text_and_no_buttons(browser):
    browser.open(PAGES["long"]())
    browser.ask("Emulation.setEmulatedMedia", media="print")
    try:
        assert browser.run("$('.passage').clientHeight >= $('.passage').scrollHeight")
        assert browser.run("$$('.saving, .tools, .strip').every((node) => getComputedStyle(node).display === 'none')")
    finally:
        browser.ask("Emulation.setEmulatedMedia", media="")
    assert browser.run("$('.passage').clientHeight < $('.passage').scrollHeight")


def test_nothing_moves_for_those_who_ask_for_stillness(browser):
    browser.open(PAGES["long"]())
    behavior = "getComputedStyle($('.passage')).scrollBehavior"
    for asked, found in (("reduce", "auto"), ("no-preference", "smooth")):
        browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": asked}])
        assert browser.run(behavior) == found
    assert not re.search(r"transition|animation", PAGES["long"]().split("</style>")[0])
