"""The pages of concepts in a browser. Needs Chromium (Debian: ``apt-get install chromium``)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from interpreto.concepts.views import GlobalConcepts, LocalConcepts
from interpreto.visualizations import to_fragment
from interpreto.visualizations.concepts import concepts_to_fragment, concepts_to_html
from tests.visualizations.browser import Browser, needs_chromium
from tests.visualizations.concept_examples import about, dataset, local, passage
from tests.visualizations.examples import INJECTIONS, film
from tests.visualizations.test_browser import TIP, hacked

pytestmark = [pytest.mark.slow, needs_chromium]

COLORS = "$$('[data-unit]').map((node) => getComputedStyle(node).backgroundColor)"
CHOSEN = "$$('[aria-selected=true]').map((node) => Number(node.dataset.concept))"
ORDER = "$$('[role=option]').map((node) => Number(node.dataset.concept))"
AMOUNTS = "$$('[role=option] .amount').map((node) => node.textContent)"
STATUS = "$('[aria-live]').textContent"
EFFECTS = "$$('ol.outputs li').map((node) => [...node.children].map((part) => part.textContent).join('|'))"
WORDS = "$$('.words li').map((node) => node.textContent)"
FILLS = "$$('[role=option] .fill').map((node) => node.getClientRects()[0].width)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


def weights(browser: Browser) -> list[float]:
    found = browser.run(
        "$$('[data-unit]').map((n) => (n.classList.contains('against') ? -1 : 1)"
        " * parseFloat(n.style.getPropertyValue('--weight')))"
    )
    return [float(value) for value in found]


def opened(browser: Browser) -> None:
    """Wait until what was opened is drawn."""
    end = time.monotonic() + 10
    while browser.run("$$('details[open]').some((node) => !node.querySelector('table'))"):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_text_begins_with_its_prediction_and_its_most_important_concept(browser):
    browser.open(concepts_to_html(local()))
    assert browser.said == [] and browser.run("$('button.target[aria-pressed=true]').textContent") == "positive2.50"
    assert browser.run(ORDER) == [1, 0, 2] and browser.run(CHOSEN) == [1]
    assert browser.run(AMOUNTS) == ["−0.750", "−0.400", "+0.300"]
    assert weights(browser) == [0.0, 100.0]
    assert browser.run(EFFECTS) == ["negative||+0.750", "positive||−0.750"]
    assert browser.run(WORDS) == ["film4.00"]
    assert "0 4.00 activation of concept 1" in browser.run("$('.meaning').innerText").replace("\n", " ")
    legend = browser.run("$('.key').innerText").replace("\n", " ")
    assert "against positive" in legend and "the sum over words of |effect|. Half a bar is 1.25 logit." in legend


def test_bars_are_as_long_as_their_numbers(browser):
    browser.open(concepts_to_html(local()))
    width = browser.run("$('[role=option] .track').getBoundingClientRect().width") / 2
    lengths = [length / width for length in browser.run(FILLS)]
    assert lengths == pytest.approx([1, 0.75 / 1.25, 0.6 / 1.25, 0.4 / 1.25, 0.3 / 1.25, 0.3 / 1.25], abs=0.02)
    assert browser.run("$$('[role=option] .fill').map((n) => n.classList.contains('against'))") == [True] * 4 + [False] * 2


def test_a_click_chooses_a_concept(browser):
    browser.open(concepts_to_html(local()))
    before = browser.run(COLORS)
    browser.click("[role=option]", 1)
    assert browser.run(CHOSEN) == [0] and browser.run(COLORS) != before
    assert weights(browser) == [100.0, 25.0]
    assert browser.run(WORDS) == ["joy2.00", "happy1.50"] and browser.run("$('h2').textContent") == "Concept 0"
    assert browser.run(STATUS) == "positive. Concept 0: joy · happy, effect −0.400, importance 0.600 logit"


def test_hovering_a_concept_of_a_text_shows_it_for_so_long(browser):
    browser.open(concepts_to_html(local()))
    browser.hover("[role=option]", 2)
    assert weights(browser) == [100.0, 0.0] and browser.run(CHOSEN) == [1]
    assert "concept 2" in browser.run("$('.meaning').innerText")
    browser.hover("h1")
    assert weights(browser) == [0.0, 100.0] and "concept 1" in browser.run("$('.meaning').innerText")


def test_arrow_keys_choose_too(browser):
    browser.open(concepts_to_html(local()))
    for _ in range(3):  # past the two classes
        browser.press("Tab")
    assert browser.run("document.activeElement.dataset.concept") == "1"
    browser.ask("Input.dispatchKeyEvent", type="keyDown", key="ArrowDown", windowsVirtualKeyCode=40)
    assert browser.run(CHOSEN) == [0] and browser.run("document.activeElement.dataset.concept") == "0"
    browser.press("End")
    assert browser.run(CHOSEN) == [2]
    browser.press("ArrowRight")
    assert browser.run(CHOSEN) == [2]
    browser.press("Home")
    assert browser.run(CHOSEN) == [1] and weights(browser) == [0.0, 100.0]
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "lovely"
    browser.press("ArrowRight")
    assert browser.run("document.activeElement.textContent") == "film"
    assert "activation 4.00" in browser.run(TIP) and "effect −1.00 logit on positive" in browser.run(TIP)
    assert (
        browser.run("document.activeElement.getAttribute('aria-label')")
        == "film, activation 4.00, effect −1.00 logit on positive"
    )
    browser.press("Escape")
    assert browser.run(TIP) is None and browser.said == []


def test_another_class_changes_bars_order_and_tooltips(browser):
    browser.open(concepts_to_html(dataset()))
    assert browser.run(ORDER) == [1, 0, 2] and browser.run(AMOUNTS) == ["+0.250", "−0.500", "+0.100"]
    browser.click("button.target", 1)
    assert browser.run(ORDER) == [0, 1, 2] and browser.run(AMOUNTS) == ["+0.800", "0", "−0.100"]
    assert browser.run(CHOSEN) == [1] and browser.run(STATUS).startswith("positive. Concept 1: film, effect 0")
    assert browser.run("$('ol.outputs .now').textContent") == "positive0"
    assert "for positive" in browser.run("$('.key').innerText")
    browser.open(concepts_to_html(local()))
    browser.click("button.target", 0)
    browser.hover("[data-unit]", 1)
    assert "effect +1.00 logit on negative" in browser.run(TIP)


def test_keys_switch_the_class(browser):
    browser.open(concepts_to_html(dataset()))
    for key in ("Tab", "Tab", "Enter"):
        browser.press(key)
    assert browser.run("$$('button.target').map((b) => b.getAttribute('aria-pressed'))") == ["false", "true"]
    assert browser.run(ORDER) == [0, 1, 2]


def test_a_concept_of_a_data_set_shows_its_top_inputs(browser):
    browser.open(concepts_to_html(dataset()))
    assert browser.run("$$('.passage').map((n) => n.textContent)") == ["dull film"]
    browser.click("[role=option]", 1)
    assert browser.run("$$('.passage').map((n) => n.textContent)") == ["lovely film", "dull film"]
    assert weights(browser) == [100.0, 25.0, 50.0, -50.0]
    assert browser.run("$('.meaning').innerText").split() == [
        "opposite",
        "−2.00",
        "0",
        "2.00",
        "activation",
        "of",
        "concept",
        "0",
    ]
    browser.click("[role=option]", 2)
    assert browser.run("$$('.passage').length") == 0 and browser.run("$('h2').nextSibling.textContent") == "Nowhere above 0."
    assert browser.said == []


def test_the_heat_map_has_every_concept_and_class_and_chooses_both(browser):
    browser.open(concepts_to_html(dataset()))
    cells = browser.run("$$('table.heat tbody tr').map((row) => [...row.children].map((cell) => cell.textContent))")
    assert cells == [
        ["1film", "1.00+0.250", "0.6000"],
        ["0joy", "0.500−0.500", "0.800+0.800"],
        ["2concept 2", "0.100+0.100", "0.200−0.100"],
    ]
    grounds = browser.run("$$('table.heat td').map((cell) => getComputedStyle(cell).backgroundColor)")
    assert len(set(grounds)) == 6
    browser.click("table.heat td", 3)
    assert browser.run(CHOSEN) == [0] and browser.run("$('button.target[aria-pressed=true]').textContent") == "positive"
    assert browser.run("$('tr.chosen').textContent").startswith("0joy")
    browser.open(concepts_to_html(local()))
    assert browser.run("$$('table.heat').length") == 0  # of a text, drawn when it is opened
    browser.click("summary")
    opened(browser)
    assert browser.run("$$('table.heat td').length") == 6


def test_dark_mode_changes_paper_and_colors_and_letters_stay_legible(browser):
    def light(color: str) -> float:
        parts = [float(part) for part in re.findall(r"[\d.]+", color)[:3]]
        if color.startswith("oklab"):
            return parts[0] ** 3
        linear = [(part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4) for part in parts]
        return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    browser.open(concepts_to_html(dataset()))
    browser.click("[role=option]", 1)
    found = {}
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        paper = browser.run("getComputedStyle($('.card')).backgroundColor")
        pairs = browser.run(
            "$$('[data-unit], table.heat td').map((n) => [getComputedStyle(n).color, getComputedStyle(n).backgroundColor])"
        )
        found[scheme] = (
            light(paper),
            [(max(a, b) + 0.05) / (min(a, b) + 0.05) for a, b in (map(light, pair) for pair in pairs)],
        )
    browser.prefer("light")
    assert found["light"][0] > 0.9 and found["dark"][0] < 0.1
    assert min(found["light"][1] + found["dark"][1]) > 4.5


def test_fragments_stand_side_by_side_with_attributions(browser):
    browser.open(concepts_to_fragment(local()) + to_fragment([film()]) + concepts_to_fragment(dataset()))
    assert browser.run("$$('.card').length") == 3 and browser.run("$$('.concept-list').length") == 2 and browser.said == []
    other = browser.run("$$('.concept-list')[1].innerText")
    browser.click("[role=option]", 1)
    assert browser.run("$$('.concept-list')[1].innerText") == other and browser.run(CHOSEN) == [0, 1]


@pytest.mark.parametrize("make", [local, dataset])
def test_no_text_runs(browser, make):
    for bad in INJECTIONS:
        facts = {"explainer": bad, "split_point": bad, "granularity": bad, "method": bad, "unit": bad, "scale": bad}
        view = make((bad.replace(" ", "_"), "b"), (bad, "x"), bad, **facts)
        browser.open(concepts_to_html(view, title=bad) + concepts_to_fragment(view))
        browser.run("$$('details').forEach((node) => { node.open = true; })")
        opened(browser)
        browser.run("$$('[role=option], button.target').forEach((node) => node.click())")
        browser.run(
            "$$('.unit, [role=option]').forEach((n) => n.dispatchEvent(new MouseEvent('mouseover', { bubbles: true })))"
        )
        assert hacked(browser) == (False, 0, 0, []), bad
        shown = browser.run("document.body.innerText")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
        named = browser.run("$$('[aria-label], [title]').map((n) => [n.getAttribute('aria-label'), n.title].join())")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "".join(named))


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_overflows(browser, width):
    browser.size(width, 900)
    long = ("Donaudampfschifffahrt" * 8, "kurz")
    for view in (local(), dataset(), dataset(long, ("label " * 30, "x"), "word " * 40, explainer="N" * 60, scale="s " * 80)):
        browser.open(concepts_to_html(view, title="title " * 40))
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(
            "$$('.card *').every((n) => !n.offsetParent || n.closest('.scroll, .label, .name, .spoken') ||"
            " n.getBoundingClientRect().right <= n.closest('.card').getBoundingClientRect().right + 1)"
        )
    browser.size(1200, 900)


def many(u: int, t: int, k: int) -> LocalConcepts:
    draws = np.random.default_rng(0)
    one = passage([f"w{i}" for i in range(u)], [0.0] * u)
    return LocalConcepts(
        about=about(output="token"),
        text=one.text,
        elements=one.elements,
        spans=one.spans,
        outputs=tuple(f"token {i}" for i in range(t)),
        scores=torch.zeros(t),
        score_unit="log-probability (nats)",
        activations=torch.tensor(draws.random((u, k)), dtype=torch.float32),
        effects=torch.tensor(draws.normal(size=(t, u, k)), dtype=torch.float32),
        labels={},
        shown=tuple(range(k)),
    )


def test_a_long_text_with_many_outputs_is_ready_within_two_seconds(browser):
    page = concepts_to_html(many(600, 80, 10))
    assert len(page) < 6 * 600 * 80 * 10 + 150_000
    browser.open(page)
    assert browser.run("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < 2000
    assert browser.run("$$('ol.outputs li').length") == 61 and "20 more" in browser.run("$('ol.outputs').lastChild.textContent")
    took = browser.run(
        "(() => { const start = performance.now(); $$('[role=option]')[5].click(); $$('button.target')[70].click();"
        " void document.body.offsetHeight; return performance.now() - start; })()"
    )
    assert took < 1000 and browser.run("$$('button.target')[70].getAttribute('aria-pressed')") == "true"


def test_a_single_output_needs_no_heat_map_in_view(browser):
    two = dataset()
    one = GlobalConcepts(
        two.about, ("positive",), two.importances[1:], two.effects[1:], (7,), two.labels, two.top_inputs, two.shown, 7
    )
    browser.open(concepts_to_html(one))
    assert browser.run("$('details').open") is False and browser.run(ORDER) == [0, 1, 2] and browser.said == []
