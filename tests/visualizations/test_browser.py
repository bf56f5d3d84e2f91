"""The page in a browser. Needs Chromium (Debian: ``apt-get install chromium``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch

from interpreto.visualizations import to_fragment, to_html
from tests.visualizations.browser import Browser, needs_chromium
from tests.visualizations.examples import INJECTIONS, additive, conversation, explanation, film, generation

pytestmark = [pytest.mark.slow, needs_chromium]

COLORS = "$$('.card [data-unit]').map((node) => getComputedStyle(node).backgroundColor)"
PRESSED = "$$('[data-row]').map((node) => node.getAttribute('aria-pressed'))"
CHOICES = "$$('.target').map((node) => node.textContent)"
TIP = "(() => { const tip = $('[role=tooltip]'); return tip.hidden ? null : tip.textContent; })()"
TOPS = "$$('ol.top li').map((node) => [...node.children].map((part) => part.textContent).join('|'))"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


def story(**facts: object):
    return generation("The film was", [" so", " good"], [[0.5, -1.0, 2.0, 0, 0], [4.0, 1.0, -3.0, 0.25, 0]], **facts)


def test_the_page_is_drawn_without_a_console_message(browser):
    browser.open(to_html([film(), explanation(["Other", "text"], [[1.0, -1.0]])]))
    assert browser.run("$$('.card').length") == 2 and browser.said == []
    assert "lovely" in browser.run("$$('.unit').map((node) => node.textContent)")
    assert browser.run("$$('.targets').length") == 2


def test_without_scripts_words_and_values_are_seen_and_with_them_nothing_is_seen_twice(browser):
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(to_html([film()]))
        shown = browser.run("document.body.innerText")
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert "A dull but lovely film" in shown and "−0.800" in shown
    browser.open(to_html([film()]))
    assert browser.run("$$('.static').length") == 0 and browser.said == []
    assert browser.run("document.body.innerText").count("A dull but lovely film") == 1


def test_a_console_message_would_be_seen(browser):
    browser.open("<script>console.log('seen'); document.createElement('img').src = 'x:y'; missing()</script>")
    assert any("seen" in said for said in browser.said) and any("missing" in said for said in browser.said)


def test_classes_hover_and_keys_change_what_is_seen(browser):
    browser.open(to_fragment([film()]) + to_fragment([film()]))
    before = browser.run(COLORS)
    browser.click("button.target", 1)
    after = browser.run(COLORS)
    assert before[:5] != after[:5] and before[5:] == after[5:]  # the other fragment stays
    assert browser.run("$$('button.target').map((b) => b.getAttribute('aria-pressed'))") == ["false", "true", "true", "false"]
    assert "positive" in browser.run("$('[aria-live]').textContent")
    assert browser.run("$$('[data-unit]')[1].getAttribute('aria-label')") == "dull: −0.800"
    browser.hover(".unit", 1)
    assert re.fullmatch(r"dull−0\.800 logits52 % of all magnitude, rank 1 of 4", browser.run(TIP))
    browser.press("Escape")
    assert browser.run(TIP) is None
    browser.run("$$('[data-unit]')[0].focus()")
    browser.press("ArrowRight")
    assert browser.run("document.activeElement.textContent") == "dull" and "0.8" in browser.run(TIP)
    browser.press("End")
    assert browser.run("document.activeElement.textContent") == "film"
    assert browser.said == []


def test_classes_are_switched_by_keys(browser):
    browser.open(to_html([film()]))
    before = browser.run(COLORS)
    for key in ("Tab", "Tab", "Tab", "Enter"):
        browser.press(key)
    assert browser.run(COLORS) != before
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "A"


def test_dark_mode_changes_the_paper(browser):
    def brightness() -> int:
        return sum(map(int, re.findall(r"\d+", browser.run("getComputedStyle($('.card')).backgroundColor"))[:3]))

    browser.open(to_html([film()]))
    browser.prefer("light")
    light = brightness()
    browser.prefer("dark")
    assert light > 600 and brightness() < 300
    browser.prefer("light")


def test_values_that_cannot_be_are_no_color(browser):
    browser.open(to_html([film()]))
    browser.click("button.target", 1)
    assert browser.run("$$('[data-unit]').map((node) => node.classList.contains('absent'))") == [False] * 4 + [True]
    browser.hover(".unit", 4)
    assert "cannot depend on it" in browser.run(TIP)


def test_a_waterfall_leads_from_the_reference_to_the_score(browser):
    browser.open(to_html([additive(10)]))
    rows = browser.run(TOPS)
    assert rows[0] == "every word hidden||0.500" and rows[-2:] == ["residual||+0.250", "the text||6.25"]
    heading = "Score with every word hidden → score of the text, in logits"
    assert browser.run("[$('.account h3').textContent, $('.account h3').title]") == [heading, "f(all removed) → f(x)"]
    assert "f(" not in browser.run("document.body.innerText")
    assert rows[1].startswith("w9||+1.00") and rows[9] == "2 other words||+0.300" and len(rows) == 12
    edges = browser.run(
        "$$('.waterfall .track > *').map((n) => [parseFloat(n.style.left || n.style.insetInlineStart),"
        " parseFloat(n.style.width || n.style.inlineSize)])"
    )
    for (left, width), (following, _) in pairwise(edges):  # each begins where the one before it ends
        assert following == pytest.approx(left + width, abs=0.02)
    assert edges[0] == [0, 0] and edges[-1] == [100, 0]


def test_what_does_not_add_up_is_no_waterfall(browser):
    browser.open(to_html([film()]))
    assert browser.run("$$('.waterfall').length") == 0
    assert browser.run(TOPS)[-1] == "score of the text||1.50" and "sum" not in browser.run("$('.account').textContent")
    assert browser.run("$$('ol.top li').at(-1).title") == "f(x); the sum of all values is +0.600"


def test_methods_stand_side_by_side_and_show_one_class(browser):
    other = film(method="Lime", attributions=torch.tensor([[0.3, 0.2, 0.1, 0.0, -0.9], [1.0, 0, 0, 0, 0]]))
    browser.open(to_html([film(), other]))
    assert browser.run("$$('.card').length") == 1 and browser.run("$$('.method').map((n) => n.textContent)") == [
        "Occlusion",
        "Lime",
    ]
    boxes = browser.run(
        "$$('.panel').map((node) => { const box = node.getBoundingClientRect(); return [box.left, box.right]; })"
    )
    assert boxes[0][1] < boxes[1][0]
    assert browser.run("$$('.targets').length") == 1
    before = browser.run(COLORS)
    browser.click("button.target", 1)
    assert all(a != b for a, b in zip(before[1::5], browser.run(COLORS)[1::5], strict=True))
    browser.hover(".unit", 1)
    assert "Lime: +0.200 logits" in browser.run(TIP)
    assert browser.run("$$('.linked').map((node) => node.textContent)") == ["dull", "dull"]


def test_methods_with_other_rows_are_switched_alone(browser):
    other = explanation(["A", "dull", "but", "lovely", "film"], [[1.0, 0, 0, 0, 0], [0, 0, 0, 0, 1.0]], ["bad", "good"])
    browser.open(to_html([film(), other]))
    assert browser.run("$$('.card').length") == 1 and browser.run("$$('.targets').length") == 2
    before = browser.run(COLORS)
    browser.click("button.target", 3)
    after = browser.run(COLORS)
    assert before[:5] == after[:5] and before[5:] != after[5:]


def test_a_generation_begins_with_its_sequence_and_shows_the_row_of_the_chosen_token(browser):
    browser.open(to_html([story()]))
    assert browser.run("$$('[data-row]').map((node) => node.textContent)") == ["so", "good"]
    assert browser.run(CHOICES)[0] == "whole answer" and browser.run("$('.now').hidden")
    whole = browser.run(COLORS)
    browser.click("[data-row]", 1)
    assert browser.run(PRESSED) == ["false", "true"] and browser.run(COLORS) != whole
    assert browser.run(CHOICES)[1] == "good14 %token 2 of 2" and browser.run("getComputedStyle($('.now')).display") != "none"
    assert browser.run(TOPS)[0].startswith("The||+4.00")
    assert browser.run("$$('[data-unit]').map((n) => n.classList.contains('absent'))") == [False, False, False, False, True]
    assert browser.run("$$('[data-row]').map((node) => getComputedStyle(node).outlineStyle)") == ["none", "solid"]
    browser.click("[data-row]", 1)
    assert browser.run(PRESSED) == ["false", "false"] and browser.run("$('.now').hidden")
    assert browser.run(COLORS) == whole
    browser.click("[data-row]", 0)
    browser.click("button.target")
    assert browser.run(PRESSED) == ["false", "false"] and browser.said == []


def test_tokens_are_chosen_by_keys_too(browser):
    browser.open(to_html([story()]))
    browser.run("$('[data-unit]').focus()")
    for key in ("End", "Enter"):
        browser.press(key)
    assert browser.run(PRESSED) == ["false", "true"]
    assert (
        browser.run("document.activeElement.getAttribute('aria-label')")
        == "good, token 2 of the answer, probability 14 %. good: n/a"
    )
    assert "good" in browser.run("$('[aria-live]').textContent")
    for key in ("ArrowLeft", " "):
        browser.press(key)
    assert browser.run(PRESSED) == ["true", "false"]
    browser.press(" ")
    assert browser.run(PRESSED) == ["false", "false"]


def test_the_answer_stands_below_the_prompt(browser):
    browser.open(to_html([story()]))
    assert browser.run("[$('.passage .text').textContent, $('.passage .answer').textContent]") == ["The film was", " so good"]
    assert browser.run("$('.text').getBoundingClientRect().bottom < $('.answer').getBoundingClientRect().top")


def test_a_generation_of_magnitudes_begins_with_its_first_row(browser):
    browser.open(to_html([story(method="Saliency", signed=False)]))
    assert browser.run(PRESSED) == ["true", "false"] and browser.run("$$('button.target').length") == 0
    assert browser.run(CHOICES) == ["so37 %token 1 of 2"]
    browser.click("[data-row]", 1)
    assert browser.run(PRESSED) == ["false", "true"]
    browser.click("[data-row]", 1)
    assert browser.run(PRESSED) == ["true", "false"]


def test_magnitudes_beside_sums_say_what_they_show(browser):
    browser.open(to_html([story(method="Saliency", signed=False), story()]))
    assert browser.run("$$('.targets').length") == 1 and browser.run(CHOICES)[0] == "whole answer"
    assert browser.run(PRESSED) == ["true", "false", "false", "false"]
    assert browser.run("$$('.panel > .hint').map((node) => node.hidden)") == [False, True]
    browser.click("[data-row]", 3)
    assert browser.run(PRESSED) == ["false", "true", "false", "true"]
    assert browser.run("$$('.panel > .hint').map((node) => node.hidden)") == [True, True]
    browser.click("[data-row]", 1)
    assert browser.run(PRESSED) == ["true", "false", "false", "false"]


def test_messages_of_a_chat_are_bubbles_with_their_roles_and_the_template_is_behind_a_switch(browser):
    browser.open(to_html([conversation()]))
    seen = "[...$('.passage').children].filter((n) => n.offsetParent).map((n) => [n.className, n.textContent.trim()])"
    shown = [["role", "system"], ["message", "Be brief."], ["role", "user"], ["message", "Was it good?"]]
    assert browser.run(seen) == [*shown, ["role", "assistant"], ["answer", "Yes."]]
    browser.run("$$('.toggle').find((node) => node.textContent === 'Chat template').click()")
    assert [text for kind, text in browser.run(seen) if kind == "frozen"] == [
        "<|im_start|>system",
        "<|im_end|>\n<|im_start|>user",
        "<|im_end|>\n<|im_start|>assistant",
    ]
    ground, frozen = browser.run("[getComputedStyle($('.message')).backgroundColor, getComputedStyle($('.frozen span')).color]")
    assert ground != "rgba(0, 0, 0, 0)" and frozen != browser.run("getComputedStyle($('.card')).color")
    assert browser.run("$$('.frozen [data-unit], .frozen [tabindex]').length") == 0


def test_tokens_of_white_space_can_be_seen_and_chosen(browser):
    browser.open(to_html([generation("A film", ["\n", " ", "b"])]))
    assert browser.run("$$('[data-row]').map((node) => node.textContent)") == ["↵\n", " ", "b"]
    browser.click("[data-row]", 0)
    assert browser.run(PRESSED)[0] == "true"


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_overflows(browser, width):
    browser.size(width, 900)
    long = explanation(["Donaudampfschifffahrt" * 8, "kurz"], [[0.5, -0.1]], ["label " * 30], method="M" * 60)
    browser.open(to_html([film(), film(method="Lime"), story(), conversation(), additive(30), long], title="title " * 40))
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(
        "$$('.card *').every((n) => !n.offsetParent || n.closest('.scroll, .label, .name, .spoken, .fence, .strip') ||"
        " n.getBoundingClientRect().right <= n.closest('.card').getBoundingClientRect().right + 1)"
    )
    browser.size(1200, 900)


def hacked(browser: Browser) -> tuple:
    nodes = browser.run(
        "document.querySelectorAll('.card img, .card iframe, .card svg, .card script, .card style, .card b').length"
    )
    return (
        browser.run("!!window.hacked"),
        nodes,
        browser.run("$$('[onclick],[onmouseover],[onerror],[onload]').length"),
        browser.said,
    )


def test_no_text_runs(browser):
    outputs = [explanation([bad, "b"], [[0.5, -0.1]], [bad, "x"][:1], replacement=bad, baseline=bad) for bad in INJECTIONS]
    for page in (to_fragment(outputs[:10]), to_html(outputs[10:], title=INJECTIONS[0])):
        browser.open(page)
        browser.hover(".unit")
        browser.run("$$('details').forEach((node) => { node.open = true; })")
        assert browser.run("$$('.card').length") == 10 and hacked(browser) == (False, 0, 0, [])
    browser.open(to_html(outputs))  # a table of many texts
    browser.run("$$('[aria-expanded=false]').forEach((node) => node.click())")
    assert hacked(browser)[::2] == (False, 0) and browser.said == []


def test_no_text_of_a_generation_runs(browser):
    outputs = [generation("A " + bad.replace(" ", ""), [bad, " b"], method=bad) for bad in INJECTIONS]
    outputs += [generation("A " + bad.replace(" ", ""), [bad, " b"], signed=False) for bad in INJECTIONS]  # side by side
    outputs += [conversation(bad, bad) for bad in INJECTIONS]
    pages = [to_fragment(outputs[i::20]) for i in range(20)] + [to_html(outputs[:20:2], title=INJECTIONS[1])]
    for page in pages:
        browser.open(page)
        browser.run("$$('[data-row]').forEach((token) => token.click())")
        browser.run("$$('.unit').forEach((unit) => unit.dispatchEvent(new MouseEvent('mouseover', { bubbles: true })))")
        assert hacked(browser) == (False, 0, 0, [])


def test_nothing_shown_can_reorder_or_hide_a_line(browser):
    outputs = [explanation([bad, "b"], [[0.5, -0.1]], [bad]) for bad in INJECTIONS]
    for page, some in ((to_html(outputs[10:]), "⟨U+202E⟩"), (to_html(outputs[:10]), "script"), (to_html(outputs), "⟨U+202E⟩")):
        browser.open(page)
        shown = browser.run("document.querySelector('main').innerText")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown) and some in shown


@pytest.mark.parametrize("generated", [False, True])
def test_two_thousand_units_and_fifty_targets_are_ready_within_two_seconds(browser, generated):
    values = np.random.default_rng(0).normal(size=(50, 2000)).tolist()
    words = [f"w{i}" for i in range(2000)]
    if generated:
        output = generation(" ".join(words[:1950]), [f" {word}" for word in words[1950:]], values)
    else:
        output = explanation(words, values)
    page = to_html([output])
    assert len(page) < 750_000
    browser.open(page)
    assert browser.run("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < 2000
    assert browser.run("$$('[data-unit]').length") == 2000
    chosen = "$$('[data-row]')[30]" if generated else "$$('button.target')[30]"
    took = browser.run(
        f"(() => {{ const start = performance.now(); {chosen}.click(); void document.body.offsetHeight;"
        " return performance.now() - start; })()"
    )
    assert took < 1000 and browser.run(f"{chosen}.getAttribute('aria-pressed')") == "true" and browser.said == []
