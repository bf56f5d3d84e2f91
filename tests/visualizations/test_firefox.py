"""Pages in Firefox: every kind opens without an error, shows its words, and changes on a click."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from interpreto.visualizations import to_fragment
from tests.visualizations.examples import film
from tests.visualizations.firefox import Firefox, needs_firefox
from tests.visualizations.pages import PAGES

pytestmark = [pytest.mark.slow, needs_firefox]

COLORS = "$$('.unit, .fill').map((node) => getComputedStyle(node).backgroundColor).join()"
CLICKS = {  # on what, and an expression that it changes
    "class": ("ol.top button.name", "document.activeElement.textContent"),
    "classes": ("button.target[aria-pressed=false]", COLORS),
    "generation": ("[data-row='1']", COLORS),
    "magnitudes": ("[data-row='1']", COLORS),
    "chat": ("[data-row='1']", COLORS),
    "long": ("ol.top button.name", "document.activeElement.dataset.unit"),
    "side by side": (".sort", "$$('.compare tbody th').map((node) => node.textContent).join()"),
    "many": ("button.target[aria-pressed=false]", COLORS),
    "concepts, global": (".concept[aria-selected=false]", "$('.panel h2').textContent"),
    "concepts, local": (".concept[aria-selected=false]", "$('.panel h2').textContent"),
}


@pytest.fixture(scope="module")
def firefox(tmp_path_factory) -> Iterator[Firefox]:
    one = Firefox(tmp_path_factory.mktemp("firefox"))
    yield one
    one.close()


@pytest.mark.parametrize("kind", CLICKS)
def test_a_page_is_drawn_and_changes_on_a_click(firefox, kind):
    firefox.open(PAGES[kind]())
    words, hidden, wide = firefox.run(
        "[$$('.card .unit').filter((node) => node.offsetParent).length, $$('.static').length,"
        " document.documentElement.scrollWidth - document.documentElement.clientWidth]"
    )
    assert words >= 2 and hidden == 0 and wide <= 0
    selector, state = CLICKS[kind]
    before = firefox.run(state)
    firefox.click(selector)
    assert firefox.run(state) != before and firefox.said == []


def test_fragments_of_a_notebook_are_drawn_apart(firefox):
    firefox.open(f"<!DOCTYPE html><html lang='en'><body>{to_fragment(film())}{to_fragment(film())}</body></html>")
    color = "(node) => getComputedStyle(node).backgroundColor"
    colors = f"$$('.interpreto').map((one) => [...one.querySelectorAll('.unit')].map({color}).join())"
    before = firefox.run(colors)
    firefox.click("button.target[aria-pressed=false]")
    after = firefox.run(colors)
    assert before[0] == before[1] == after[1] != after[0] and firefox.said == []


def test_an_error_would_be_seen(firefox):
    firefox.open("<!DOCTYPE html><script>missing()</script><p>text</p>")
    assert any("missing is not defined" in line for line in firefox.said)
