"""Clouds of words: sizes by weight, no overlap, the same each time, nothing unescaped."""

import re

import pytest

from interpreto.errors import InputError
from interpreto.visualizations import plot_word_clouds
from interpreto.visualizations.cloud_layout import EM, HEIGHT, LARGEST, WIDTH, lay_out
from interpreto.visualizations.word_clouds import CloudRenderer, read_clouds

MANY = {f"word{i}": 30.0 - i for i in range(25)}


def test_words_do_not_overlap_and_stay_inside():
    words = lay_out("a", MANY, most=25).words
    boxes = [(w.x - EM * w.size * len(w.text) / 2, w.y - 0.85 * w.size, w.x + EM * w.size * len(w.text) / 2) for w in words]
    assert len(words) > 8
    for i, (left, top, right) in enumerate(boxes):
        bottom = top + 1.1 * words[i].size
        assert left >= -0.2 and right <= WIDTH + 0.2 and top >= -0.2 and bottom <= HEIGHT + 0.2
        for j in range(i):
            other = boxes[j][1] + 1.1 * words[j].size
            assert right <= boxes[j][0] + 0.2 or boxes[j][2] <= left + 0.2 or bottom <= boxes[j][1] + 0.2 or other <= top + 0.2


def test_areas_are_weights():
    large, small = lay_out("a", {"one": 4.0, "two": 1.0}, most=5).words
    assert large.size == LARGEST and small.size == pytest.approx(LARGEST / 2)


def test_the_same_each_time_in_any_order():
    assert lay_out("a", MANY, 25) == lay_out("a", dict(reversed(MANY.items())), 25)


def test_very_long_words_fit():
    (word,) = lay_out("a", {"x" * 60: 1.0}, most=5).words
    assert EM * word.size * 60 <= WIDTH


def test_words_and_names_are_escaped(tmp_path):
    plot_word_clouds({"<i>": {"<script>": 1.0}}, tmp_path / "clouds.html", backend="terminal")
    page = (tmp_path / "clouds.html").read_text("utf-8")
    assert "<script>" not in page and "&lt;script&gt;" in page and "<i>" not in page
    assert re.search(r'aria-label="&lt;i&gt;: &lt;script&gt;"', page)


def test_every_medium(capsys):
    renderer = CloudRenderer(read_clouds({0: {"charming": 3.0, "the": -1.0}, 1: None, 2: {"$x_": 1.0}}, 10))
    assert renderer.text() == "concept 0  charming\nconcept 2  $x_"
    assert renderer.fragment().count("<svg") == 2 and "the" not in renderer.text().split()
    assert len(renderer.figure().axes) == 2


def test_wrong_calls():
    with pytest.raises(InputError, match="no concept"):
        plot_word_clouds({0: None})
    with pytest.raises(InputError, match="weights"):
        plot_word_clouds({0: ["a"]})
