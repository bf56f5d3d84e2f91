"""What a terminal shows: the values, and nothing that acts on it."""

from __future__ import annotations

import re

import pytest
import torch

from interpreto.errors import TargetError
from interpreto.visualizations.terminal.attributions import to_text
from tests.visualizations.examples import INJECTIONS, conversation, explanation, film, generation

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_plain_text_shows_values_and_has_no_codes():
    text = to_text(film(), color=False, width=120)
    assert "\x1b" not in text
    for part in ("positive", "negative", "dull", "−0.8", "+0.612", "Occlusion"):
        assert part in text
    assert str(film()).count("Occlusion") >= 1 and "\x1b" not in str(film())


def test_colors_change_nothing_but_colors():
    colored = to_text(film(), color=True, width=120)
    assert ANSI.search(colored)
    for part in ("positive", "dull", "lovely", "−0.8"):
        assert part in ANSI.sub("", colored)


def test_the_residual_is_told():
    output = film(reference_scores=torch.tensor([0.1, 0.2]), residual=torch.tensor([0.0123, -2e-3]))
    assert "residual +0.0123" in to_text(output, color=False, width=120)


def test_the_largest_come_first():
    lines = to_text(explanation(["a", "b", "c"], [[0.1, -0.9, 0.5]]), color=False, width=120).splitlines()
    names = [line.split()[0] for line in lines if "█" in line]
    assert names == ["b", "c", "a"]


def test_many_targets_are_counted():
    text = to_text(explanation(["a"], [[float(i)] for i in range(9)]), color=False)
    assert "class 4" in text and "class 5" not in text and "4 more" in text


@pytest.mark.parametrize(
    "bad", [*INJECTIONS, "\x1b[31mred\x1b[2J", "bell\x07", "back\x08space", "\x9b31m", "[bold]markup[/bold]"]
)
def test_texts_cannot_act_on_a_terminal(bad):
    for color in (False, True):
        text = ANSI.sub("", to_text(explanation([bad, "b"], [[0.5, 0.1]], [bad]), color=color, width=200))
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    if "[bold]" in bad:
        assert "[bold]markup[/bold]" in text


def test_a_generation_shows_its_sequence_and_a_row_when_asked():
    output = generation("The film was", [" so", " good"], [[0.5, -1.0, 2.0, 0, 0], [4.0, 1.0, -3.0, 0.25, 0]])
    lines = to_text(output, color=False, width=120).split("\n")
    assert lines[:3] == [
        "so good  −3.00 log-probability (nats)",
        "The[+4.50] film[0] was[−1.00]",
        "→ so[+0.250] good[n/a]",
    ]
    assert lines[-2] == "the sum of 2 rows, one for each part of the answer: target=0 to target=1"
    lines = to_text(output, color=False, width=120, target=1).split("\n")
    assert lines[1:3] == ["The[+4.00] film[+1.00] was[−3.00]", "→ so[+0.250]⟦ good⟧[n/a]"]
    assert lines[-2].startswith("row 2 of 2") and "+4.50" not in "".join(lines)


def test_a_generation_of_magnitudes_shows_its_first_row():
    output = generation("The film was", [" so", " good"], [[0.5, 1.0, 2.0, 0, 0], [4.0, 1.0, 3.0, 0.25, 0]], signed=False)
    lines = to_text(output, color=False, width=120).split("\n")
    assert lines[1:3] == ["The[0.500] film[1.00] was[2.00]", "→⟦ so⟧[n/a] good[n/a]"]
    assert lines[-2] == "row 1 of 2, one for each part of the answer: target=0 to target=1"


def test_the_answer_of_a_chat_stands_on_its_own_line():
    lines = to_text(conversation(), color=False, width=120, target=0).split("\n")
    assert lines[1:7] == [
        "<|im_start|>system",
        "Be brief.[+0.500]<|im_end|>",
        "<|im_start|>user",
        "Was it good?[−0.250]<|im_end|>",
        "<|im_start|>assistant",
        "→ ⟦Ye⟧s.[n/a]",
    ]


@pytest.mark.parametrize("target", [-1, 2])
def test_a_row_that_is_not_there_is_told(target):
    with pytest.raises(TargetError, match=rf"`target`: got {target} for an explanation of 2 rows; pass one of 0..1, or None"):
        to_text(film(), target=target)


@pytest.mark.parametrize("bad", INJECTIONS)
def test_texts_of_a_generation_cannot_act_on_a_terminal(bad):
    for output in (generation("A " + bad.replace(" ", ""), [bad, " b"]), conversation(bad, bad)):
        for target in (None, 0, 1):
            text = ANSI.sub("", to_text(output, color=True, width=200, target=target))
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
