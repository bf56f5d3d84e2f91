"""The page of concepts of images: a list, crops that lead to their images, heat maps that keys walk through."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.visualizations.browser import Browser, needs_chromium
from tests.visualizations.pages import patches_page

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("patches"))
    yield one
    one.close()


def written():
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', patches_page(), re.DOTALL).group(1))


def test_a_concept_shows_its_crops_and_the_image_of_the_largest(browser):
    browser.open(patches_page())
    data = written()
    assert browser.run("$$('nav li').length") == len(data["concepts"]) == 4
    crops = data["concepts"][0]["patches"]
    assert browser.run("$$('.crops button').length") == len(crops) > 1
    at, unit, value, _ = crops[0]
    assert browser.run("$$('.crops button').map((node) => node.getAttribute('aria-pressed'))") == ["true"] + ["false"] * (
        len(crops) - 1
    )
    said = browser.run("$('.picture svg').getAttribute('aria-label')")
    assert data["images"][at]["units"][unit] in said and browser.run("$$('.cell').length") == len(data["images"][at]["units"])
    assert browser.run("Math.max(...$$('.cell').map((node) => parseFloat(node.style.getPropertyValue('--weight'))))") == 100
    assert value == data["concepts"][0]["peak"]


def test_a_crop_an_image_and_keys_lead_through_the_maps(browser):
    browser.open(patches_page())
    data = written()
    browser.click(".crops button", 1)
    at, unit, *_ = data["concepts"][0]["patches"][1]
    assert browser.run("$$('.crops button')[1].getAttribute('aria-pressed')") == "true"
    assert browser.run("$$('.thumbs button').findIndex((node) => node.getAttribute('aria-pressed') === 'true')") == at
    assert browser.run("$$('.chosen').length") == 1
    browser.run(f"$$('.cell')[{unit}].focus()")
    browser.press("Home")
    first = data["images"][at]["units"][0]
    assert browser.run("document.activeElement.getAttribute('aria-label')").startswith(first)
    assert first in browser.run("$('.tooltip').textContent")
    browser.press("ArrowRight")
    assert browser.run("document.activeElement.getAttribute('aria-label')").startswith(data["images"][at]["units"][1])
    further = next(k for k, image in enumerate(data["images"]) if image["title"].startswith("further"))
    browser.click(".thumbs button", further)
    assert "further image 1" in browser.run("$('.picture svg').getAttribute('aria-label')")
    assert browser.run("$$('.chosen').length") == 0


def test_concepts_are_sought_sorted_and_named(browser):
    browser.open(patches_page())
    browser.click("nav a", 1)
    assert browser.run("$('h2').textContent") == "Concept 1: <b>edges</b>" and browser.run("location.hash") == "#c1"
    browser.run("$('select').value = 'peak', $('select').dispatchEvent(new Event('change'))")
    peaks = {one["id"]: one["peak"] for one in written()["concepts"]}
    order = browser.run("$$('nav a').map((node) => Number(node.hash.slice(2)))")
    assert [peaks[k] for k in order] == sorted(peaks.values(), reverse=True)
    browser.run("$('input[type=search]').value = 'edges', $('input[type=search]').dispatchEvent(new Event('input'))")
    assert browser.run("$('.found').textContent") == "1 of 4 concepts"
    assert browser.said == []
