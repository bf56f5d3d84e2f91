"""What a terminal shows: the values, and nothing that acts on it."""

from __future__ import annotations

import re

import pytest
import torch

from interpreto.visualizations.terminal import to_text
from tests.visualizations.examples import INJECTIONS, explanation, film

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_plain_text_shows_values_and_has_no_codes():
    text = to_text(film(), colour=False, width=120)
    assert "\x1b" not in text
    for part in ("positive", "negative", "dull", "−0.8", "+0.612", "Occlusion"):
        assert part in text
    assert str(film()).count("Occlusion") >= 1 and "\x1b" not in str(film())


def test_colours_change_nothing_but_colours():
    coloured = to_text(film(), colour=True, width=120)
    assert ANSI.search(coloured)
    for part in ("positive", "dull", "lovely", "−0.8"):
        assert part in ANSI.sub("", coloured)


def test_the_residual_is_told():
    output = film(reference_scores=torch.tensor([0.1, 0.2]), residual=torch.tensor([0.0123, -2e-3]))
    assert "residual +0.0123" in to_text(output, colour=False, width=120)


def test_the_largest_come_first():
    lines = to_text(explanation(["a", "b", "c"], [[0.1, -0.9, 0.5]]), colour=False, width=120).splitlines()
    names = [line.split()[0] for line in lines if "█" in line]
    assert names == ["b", "c", "a"]


def test_many_targets_are_counted():
    text = to_text(explanation(["a"], [[float(i)] for i in range(9)]), colour=False)
    assert "class 4" in text and "class 5" not in text and "4 more" in text


@pytest.mark.parametrize(
    "bad", [*INJECTIONS, "\x1b[31mred\x1b[2J", "bell\x07", "back\x08space", "\x9b31m", "[bold]markup[/bold]"]
)
def test_texts_cannot_act_on_a_terminal(bad):
    for colour in (False, True):
        text = ANSI.sub("", to_text(explanation([bad, "b"], [[0.5, 0.1]], [bad]), colour=colour, width=200))
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    if "[bold]" in bad:
        assert "[bold]markup[/bold]" in text
