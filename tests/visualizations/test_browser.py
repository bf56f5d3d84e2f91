"""The page in a browser. Needs Chromium (Debian: ``apt-get install chromium``)."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from interpreto.visualizations.attributions import to_fragment, to_html
from tests.visualizations.examples import INJECTIONS, explanation, film, generation

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: `apt-get install chromium` to test pages")

PAGE = """<!DOCTYPE html><meta charset="utf-8"><script>
window.problems = [];
window.addEventListener("error", (event) => problems.push(String(event.message)));
window.alert = () => problems.push("alert");
</script>{fragments}<script>
const say = (name, value) => {{ document.body.setAttribute("data-" + name, JSON.stringify(value)); }};
window.addEventListener("load", () => {{ {steps}; say("problems", problems); }});
</script>"""


def browse(tmp_path, page: str, *flags: str) -> tuple[str, str]:
    """The document after its scripts ran, and what the browser said."""
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *flags]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def told(document: str) -> dict:
    body = re.search(r"<body([^>]*)>", document)
    assert body is not None
    found = re.findall(r'data-([a-z]+)="([^"]*)"', body.group(1))
    return {name: json.loads(html.unescape(value)) for name, value in found}


def test_the_page_is_drawn_without_a_console_message(tmp_path):
    document, log = browse(tmp_path, to_html([film(), film(method="Lime", signed=False)]))
    assert document.count('class="card"') == 2
    assert "CONSOLE" not in log
    assert re.search(r'class="unit[^"]*"[^>]*>lovely<', document)


STEPS = """
const card = document.querySelector(".card"), units = () => [...card.querySelectorAll("[data-unit]")];
const look = (node) => getComputedStyle(node).backgroundColor;
const tip = () => { const t = document.querySelector('[role="tooltip"]'); return t && !t.hidden ? t.textContent : null; };
const buttons = [...card.querySelectorAll("button[aria-pressed]")];
say("before", units().map(look));
buttons[1].click();
say("after", units().map(look));
say("pressed", buttons.map((b) => b.getAttribute("aria-pressed")));
say("described", units()[1].getAttribute("aria-label"));
units()[1].dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
say("hover", tip());
units()[0].focus();
units()[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
say("focus", document.activeElement.textContent);
say("focused", tip())
"""


def test_switch_hover_and_keys_change_what_is_seen(tmp_path):
    document, _ = browse(tmp_path, PAGE.format(fragments=to_fragment([film()]) + to_fragment([film()]), steps=STEPS))
    found = told(document)
    assert found["problems"] == []
    assert found["before"] != found["after"] and found["pressed"] == ["false", "true"]
    assert "0.8" in found["hover"] and "dull" in found["hover"]
    assert found["focus"] == "dull" and "0.8" in found["focused"]
    assert "dull" in found["described"]


def test_dark_mode_changes_the_paper(tmp_path):
    page = PAGE.format(
        fragments=to_fragment([film()]),
        steps='say("paper", getComputedStyle(document.querySelector(".card")).backgroundColor)',
    )
    light = told(browse(tmp_path, page, "--blink-settings=preferredColorScheme=1")[0])["paper"]
    dark = told(browse(tmp_path, page, "--blink-settings=preferredColorScheme=0")[0])["paper"]
    assert sum(map(int, re.findall(r"\d+", light)[:3])) > 600
    assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 300


def test_no_text_runs(tmp_path):
    outputs = [explanation([bad, "b"], [[0.5, -0.1]], [bad], replacement=bad, baseline=bad) for bad in INJECTIONS]
    steps = 'say("hacked", !!window.hacked); say("nodes", document.querySelectorAll(".card img,.card iframe,.card svg").length)'
    document, _ = browse(tmp_path, PAGE.format(fragments=to_fragment(outputs), steps=steps))
    found = told(document)
    assert (found["hacked"], found["nodes"], found["problems"]) == (False, 0, [])
    page, log = browse(tmp_path, to_html(outputs, title=INJECTIONS[0]))
    assert page.count('class="card"') == len(INJECTIONS) and "CONSOLE" not in log


def test_two_thousand_units_and_fifty_targets_are_ready_within_two_seconds(tmp_path):
    rng = np.random.default_rng(0)
    output = explanation([f"w{i}" for i in range(2000)], rng.normal(size=(50, 2000)).tolist())
    steps = """
const start = performance.now();
document.querySelectorAll("button[aria-pressed]")[30].click();
void document.body.offsetHeight;
say("switch", performance.now() - start);
say("ready", performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd);
say("units", document.querySelectorAll("[data-unit]").length)
"""
    found = told(browse(tmp_path, PAGE.format(fragments=to_fragment([output]), steps=steps))[0])
    assert found["units"] >= 2000 and found["problems"] == []
    assert found["ready"] < 2000 and found["switch"] < 2000


CHOOSE = """
const card = document.querySelector(".card"), units = () => [...card.querySelectorAll("[data-unit]")];
const look = () => units().map((node) => getComputedStyle(node).backgroundColor);
const tokens = [...card.querySelectorAll("[data-row]")], back = card.querySelector("button.target");
const row = () => tokens.map((token) => token.getAttribute("aria-pressed"));
say("tokens", tokens.map((token) => token.textContent));
say("first", [back.textContent, back.getAttribute("aria-pressed"), look()]);
tokens[1].click();
say("second", [row(), look(), card.querySelector("ol.top").textContent]);
say("absent", units().map((node) => node.classList.contains("absent")));
tokens[1].click();
say("again", [back.getAttribute("aria-pressed"), look()]);
tokens[0].focus();
tokens[0].dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
say("key", row());
back.click();
say("back", back.getAttribute("aria-pressed"));
say("hidden", getComputedStyle(card.querySelector("[aria-live]")).display)
"""


def test_a_generation_begins_with_its_sequence_and_shows_the_row_of_the_chosen_token(tmp_path):
    output = generation("The film was", [" so", " good"], [[0.5, -1.0, 2.0, 0, 0], [4.0, 1.0, -3.0, 0.25, 0]])
    document, log = browse(tmp_path, PAGE.format(fragments=to_fragment([output]), steps=CHOOSE))
    found = told(document)
    assert found["problems"] == [] and "CONSOLE" not in log
    assert found["tokens"] == [" so", " good"]
    label, pressed, whole = found["first"]
    assert label.startswith("whole answer") and "3.00" in label and pressed == "true"
    rows, colours, top = found["second"]
    assert rows == ["false", "true"] and colours != whole and top.startswith("The+4.00")
    assert found["absent"] == [False, False, False, False, True]  # the last token cannot depend on itself
    assert found["again"] == ["true", whole]
    assert found["key"] == ["true", "false"] and found["back"] == "true" and found["hidden"] == "none"


def test_a_generation_of_magnitudes_begins_with_its_first_row(tmp_path):
    steps = """
const tokens = [...document.querySelectorAll("[data-row]")];
say("rows", tokens.map((token) => token.getAttribute("aria-pressed")))
"""
    output = generation("The film was", [" so", " good"], method="Saliency", signed=False)
    assert told(browse(tmp_path, PAGE.format(fragments=to_fragment([output]), steps=steps))[0])["rows"] == ["true", "false"]


def test_no_text_of_a_generation_runs(tmp_path):
    outputs = [generation("A " + bad.replace(" ", ""), [bad, " b"]) for bad in INJECTIONS]
    steps = """
document.querySelectorAll("[data-row]").forEach((token) => token.click());
say("hacked", !!window.hacked); say("nodes", document.querySelectorAll(".card img,.card iframe,.card svg").length)
"""
    found = told(browse(tmp_path, PAGE.format(fragments=to_fragment(outputs), steps=steps))[0])
    assert (found["hacked"], found["nodes"], found["problems"]) == (False, 0, [])
