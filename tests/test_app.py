"""The page to type into: what it shows is what the library computes, and it loads nothing from elsewhere."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import interpreto
from interpreto import Contrast, Occlusion, demo
from interpreto.app import PREDICTED, TEXT, build, explaining
from interpreto.errors import OptionError
from interpreto.models.tasks import resolve_task
from tests import tiny
from tests.visualizations.browser import Browser, needs_chromium

ROOT = Path(__file__).parent.parent


def function_of(model, tokenizer):
    return explaining(model, tokenizer, resolve_task(model, tokenizer, None, None))


def cards(shown: str) -> list[dict]:
    """The cards of the page in a frame."""
    page = html.unescape(re.fullmatch(r'<iframe title=".*?" srcdoc="(.*?)" style.*></iframe>', shown, re.DOTALL)[1])
    return [card for row in json.loads(re.search(r'application/json">(.*?)</script>', page, re.DOTALL)[1]) for card in row]


@pytest.mark.parametrize(
    ("target", "against", "wanted"),
    [
        (PREDICTED, "", None),
        ("positive", "", "positive"),
        ("positive", "negative", Contrast("positive", "negative")),
        ("positive", "positive", "positive"),
        (PREDICTED, "negative", None),
    ],
)
def test_a_classifier_is_explained_as_by_the_library(target, against, wanted):
    model, tokenizer = demo.load_classifier()
    (card,) = cards(function_of(model, tokenizer)(TEXT, "occlusion", "word", target, against))
    found = Occlusion(model, tokenizer)(TEXT, wanted)[0]
    assert found.target_labels[0] in json.dumps(card, ensure_ascii=False)
    assert "".join(text for text, *_ in card["segments"]) == TEXT


def test_a_language_model_is_explained_as_by_the_library():
    explain = function_of(*tiny.chat_lm())
    (card,) = cards(explain("The film was", "occlusion", "word", " good", ""))
    assert "".join(text for text, *_ in card["segments"]) == "The film was good"
    assert cards(explain("The film was", "occlusion", "word", " good", " bad"))
    assert cards(explain("The film was", "saliency", "token", "", ""))


def test_what_cannot_be_explained_is_told_in_its_place():
    explain = function_of(*demo.load_classifier())
    assert explain("  ", "occlusion", "word", "", "") == "<p>Type a text.</p>"
    told = explain("Good.", "occlusion", "<b>", "", "")
    assert 'role="alert"' in told and "&lt;b&gt;" in told and "<b>" not in told


BUILT = """
import json, runpy
from interpreto.app import build
from interpreto.errors import OptionError
from tests import tiny

def parts(page):
    return {part.label: part.value for part in page.blocks.values() if getattr(part, "label", None)}

try:
    build(method="shap")
except OptionError as error:
    refused = str(error)
page = build(*tiny.chat_lm(), text="Hello", method="KernelShap")
space = runpy.run_path("examples/space/app.py")["page"]
print(json.dumps([parts(build()), parts(page), space.title, page.analytics_enabled, refused]))
"""


@pytest.mark.slow
def test_a_page_is_built_for_both_kinds_of_models_and_for_a_space():
    """In a process of its own, as gradio leaves an event loop open."""
    pytest.importorskip("gradio", reason="gradio is not installed; it is in the extra `app`")
    done = subprocess.run([sys.executable, "-c", BUILT], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert not done.returncode, done.stderr
    classifier, generator, title, analytics, refused = json.loads(done.stdout.splitlines()[-1])
    assert list(classifier)[:5] == ["Text", "Method", "Unit", "Class", "rather than"]
    assert (classifier["Text"], classifier["Method"], classifier["Class"]) == (TEXT, "kernel-shap", PREDICTED)
    assert list(generator)[:5] == ["Text", "Method", "Unit", "Continuation", "rather than"]
    assert (generator["Text"], generator["Method"]) == ("Hello", "kernel-shap")
    assert (title, analytics) == ("interpreto", False)
    assert "got 'shap'; pass one of occlusion" in refused
    required = (ROOT / "examples" / "space" / "requirements.txt").read_text(encoding="utf-8")
    assert f"./interpreto-{interpreto.__version__}-py3" in required


@pytest.fixture(scope="module")
def served():
    """The address at which the command serves the page, in a process of its own."""
    pytest.importorskip("gradio", reason="gradio is not installed; it is in the extra `app`")
    command = [sys.executable, "-W", "ignore", "-m", "interpreto", "app", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    told = process.stdout.readline()
    yield re.search(r"http://\S+", told)[0]
    process.terminate()
    process.wait(60)
    process.stdout.close()


@pytest.fixture
def browser(tmp_path):
    one = Browser(tmp_path)
    yield one
    one.close()


INSIDE = "$('#explanation iframe')?.contentDocument"


def eventually(browser: Browser, expression: str) -> None:
    end = time.monotonic() + 60
    while not browser.run(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        time.sleep(0.1)


@pytest.mark.slow
@needs_chromium
def test_typing_and_choosing_explain_again(served, browser):
    browser.ask("Page.navigate", url=served)
    eventually(browser, f"{INSIDE}?.body?.textContent.includes('wonderful')")
    assert browser.run(f"{INSIDE}.querySelectorAll('.interpreto .card').length") == 1
    heights = f"[$('#explanation iframe').offsetHeight, {INSIDE}.documentElement.offsetHeight]"
    eventually(browser, f"(([a, b]) => a > 200 && Math.abs(a - b) <= 2)({heights})")
    browser.run("$('#text textarea').focus() ?? $('#text textarea').select()")
    browser.ask("Input.insertText", text="A gorgeous film.")
    eventually(browser, f"{INSIDE}?.body?.textContent.includes('gorgeous')")
    assert "KernelShap" in browser.run(f"{INSIDE}.body.textContent")
    browser.click("input[aria-label='Method']")
    eventually(browser, "$$('ul[role=listbox] li').length > 5")
    browser.click("ul[role=listbox] li[data-index='0']")
    eventually(browser, f"{INSIDE}?.body?.textContent.includes('Occlusion')")


@pytest.mark.slow
@needs_chromium
def test_the_page_loads_nothing_from_elsewhere(served, browser):
    browser.ask("Page.navigate", url=served)
    eventually(browser, f"{INSIDE}?.body?.textContent.includes('wonderful')")
    loaded = browser.run("performance.getEntriesByType('resource').map((each) => each.name)")
    assert len(loaded) > 5
    assert not [name for name in loaded if not name.startswith((served, "data:", "blob:"))]


def test_without_gradio_it_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(OptionError, match="run `pip install gradio`"):
        build()
