"""Steerings compared in every medium: numbers, controls, new words, and nothing that acts."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from interpreto.visualizations.steering_layout import panels, parts
from tests.concepts.steering.test_comparison import by_hand

CONTROLS = [[0.1, 0.0, -0.1, 0.05], [-0.2, 0.0, 0.1, 0.3]]


@pytest.fixture(scope="module")
def found():
    one = by_hand([-0.3, 0.0, 0.5, 0.9], [0.1, 0.0, 0.4, 2.0], CONTROLS)
    texts = (("a bad film", "a film <b>", "a good film", "good good"), one.texts[1])
    return replace(one, texts=texts, prompts=("The <i>film</i>", "b"))


def test_new_words_are_told_from_those_that_stay():
    assert [(part.text, part.new) for part in parts("x  y z", "x  q z")] == [("x  ", False), ("y ", True), ("z", False)]
    assert [part.new for part in parts("same text", "same text")] == [False]
    assert "".join(part.text for part in parts(" a b\nc", "c d")) == " a b\nc"
    assert parts("", "a") == []


def test_panels_hold_means_intervals_and_controls(found):
    effect, nats = panels(found)
    assert effect.line.values == pytest.approx([0.2, 0.5, 1.0, 1.4]) and nats.line.values == pytest.approx([2.1, 2.0, 2.4, 4.0])
    assert [line.values for line in effect.controls] == [pytest.approx([0.5 + x for x in own]) for own in CONTROLS]
    assert effect.span[0] < min(effect.low) and effect.span[1] > max(effect.high)
    assert nats.low == ()


def test_a_page_holds_texts_numbers_and_loads_nothing(found, tmp_path):
    page = found.to_html(tmp_path / "steering.html")
    assert (tmp_path / "steering.html").read_text(encoding="utf-8") == page
    assert (
        not re.search(r"(src|href)=|<script", page)
        and "<i>film" not in page
        and "<b>" not in page.split("<main")[1].split("<h2")[1]
    )
    assert page.count("<polyline") == 2 * 3 and ">good </mark>" in page and ">bad </mark>" in page
    assert "suggested: ×1, which moves praise by +0.5 at +0.40 nats per token" in page
    assert found._repr_html_() in page


def test_every_medium_draws_it(found):
    figure = found.plot(backend="matplotlib")
    effect, nats = figure.axes
    assert effect.get_title(loc="left") == "praise" and "nats" in nats.get_title(loc="left")
    assert [label.get_text() for label in effect.get_xticklabels()] == ["×-1", "×0", "×1", "×2"]
    assert len(nats.lines) == 2 + 1 + 1  # the controls, the means, the one that is suggested
    lines = str(found).split("\n")
    assert lines[0] == "add concept 0 × 1.0: praise" and lines[4].startswith("● ×1") and "yes" in lines[4]
    assert "a good film" in str(found) and "suggested: ×1" in str(found)


def test_values_that_are_missing_are_left_out(found):
    gone = replace(found, effect=torch.full_like(found.effect, torch.nan), strengths=torch.full((4,), torch.nan).double())
    page = gone.to_html()
    assert page.count("<circle") == 4 and gone.plot(backend="matplotlib").axes
    assert "none does" in str(gone)
