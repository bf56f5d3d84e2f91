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
from tests.visualizations.examples import INJECTIONS, explanation, film

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
