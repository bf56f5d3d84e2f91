"""Explanations of images: the page, lines for a terminal, the figure."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
import torch

from interpreto import GradCam, Occlusion, plot_attributions
from interpreto.inputs.regions import grid
from interpreto.visualizations.attributions import to_fragment, to_html
from interpreto.visualizations.text_layout import ranked_rows
from tests.tiny_images import PooledImages, array, as_tensor

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
