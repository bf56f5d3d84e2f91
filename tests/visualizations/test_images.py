"""Explanations of images: the page, lines for a terminal, the figure."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from interpreto import GradCam, Occlusion, plot_attributions
from interpreto.inputs.regions import grid
from interpreto.visualizations.attributions import to_fragment, to_html
from interpreto.visualizations.text_layout import ranked_rows
from tests.tiny_images import PooledImages, array, as_tensor
from tests.visualizations.browser import Browser, needs_chromium
from tests.visualizations.pages import PAGES

MODEL = PooledImages()


@pytest.fixture(scope="module")
def explanations():
    images = [array(12, 10), array(12, 10, seed=1)]
    units = lambda shown: np.where(np.arange(10) < 5, 0, -1)[None].repeat(12, 0)  # noqa: E731
    masked = Occlusion(MODEL, as_tensor, granularity=grid(3, 2))(images, [[0, 1], [0, 1]])
    return [
        *masked,
        *GradCam(MODEL, as_tensor, granularity=grid(3, 2))(images, 0),
        *Occlusion(MODEL, as_tensor, granularity=units)(images[0]),
    ]


def data_of(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL).group(1))


def test_the_page_has_a_card_per_image_with_its_pixels(explanations):
    groups = data_of(to_html(explanations))
    assert [len(group) for group in groups] == [3, 2]
    picture = groups[0][0]["picture"]
    rgb = np.frombuffer(base64.b64decode(picture["rgb"]), np.uint8).reshape(12, 10, 3)
    assert (rgb == explanations[0].sample.picture.shown.numpy()).all() and (picture["width"], picture["height"]) == (10, 12)
    regions = np.frombuffer(base64.b64decode(picture["regions"]), "<u2").reshape(12, 10)
    assert (regions == grid(3, 2)(rgb)).all()


def test_pixels_in_no_unit_are_marked(explanations):
    regions = np.frombuffer(base64.b64decode(data_of(to_html(explanations))[0][2]["picture"]["regions"]), "<u2").reshape(12, 10)
    assert set(np.unique(regions)) == {0, 2**16 - 1}


def test_a_page_allows_its_own_script_alone_and_says_what_it_shows(explanations):
    page = to_html(explanations, title="Digits")
    assert "default-src 'none'" in page and "img-src" not in page
    assert "arrow keys move between its" in page and "row 1, column 1" in to_fragment(explanations)


def test_a_terminal_has_the_largest_units(explanations):
    text = str(explanations[0])
    assert "row " in text and "; row" not in text and "units" not in text.split("\n", 1)[0]


def test_the_figure_has_the_image_and_a_map_per_method(explanations):
    figure = plot_attributions(explanations[:3], backend="matplotlib")
    images = [axes.images for axes in figure.axes if axes.images]
    assert sum(len(each) == 1 for each in images) >= 3 and sum(len(each) == 2 for each in images) == 5
    heat = next(each[1] for each in images if len(each) == 2)
    shown = torch.from_numpy(np.ma.getdata(heat.get_array()).astype(np.float32))
    torch.testing.assert_close(
        shown, explanations[0].sample.picture.spread(explanations[0].attributions[ranked_rows(explanations[0])[0]])
    )
    contours = [len(axes.collections) for axes in figure.axes if len(axes.images) == 2]
    assert contours[0] == 4  # edges of units and of the strongest ones, both ways


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("images"))
    yield one
    one.close()


@pytest.mark.slow
@needs_chromium
def test_arrow_keys_move_over_the_image_in_both_directions(browser):
    browser.open(PAGES["images"]())
    browser.run("$('.cell').focus()")
    for key, unit in (("ArrowRight", 1), ("ArrowDown", 4), ("ArrowLeft", 3), ("ArrowUp", 0), ("ArrowUp", 0), ("End", 11)):
        browser.press(key)
        assert browser.run("document.activeElement.dataset.unit") == str(unit), key
    assert browser.run("document.activeElement.getAttribute('aria-label')").startswith("row 4, column 3: ")


@pytest.mark.slow
@needs_chromium
def test_the_slider_and_the_buttons_change_what_is_drawn(browser):
    browser.open(PAGES["images"]())
    seen = "getComputedStyle($('.picture')).getPropertyValue('--opacity')"
    browser.run("($('.seeing input').value = 20, $('.seeing input').dispatchEvent(new Event('input')))")
    assert float(browser.run(seen)) == 0.2
    shown = "getComputedStyle($('.contour')).visibility"
    assert browser.run(shown) == "hidden"
    browser.run("$$('.toggle').find((node) => node.textContent === 'Contour').click()")
    assert browser.run(shown) == "visible" and browser.said == []


@pytest.mark.slow
@needs_chromium
def test_the_contour_surrounds_units_of_at_least_half_the_largest_size(browser, explanations):
    browser.open(to_html([replace(explanations[0], attributions=torch.tensor([[4.0, 1, 1, 1, 1, -2]] * 2))]))
    path = browser.run("$('.contour').getAttribute('d')")
    lines = set(re.findall(r"M(\d+) (\d+)(v|h)1", path))
    around = {("5", str(y), "v") for y in range(4)} | {(str(x), "4", "h") for x in range(5)}  # the first of 3 × 2
    around |= {("5", str(y), "v") for y in range(8, 12)} | {(str(x), "8", "h") for x in range(5, 10)}  # and the last
    assert lines == around
