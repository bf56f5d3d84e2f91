"""What a terminal shows: the values, and nothing that acts on it."""

from __future__ import annotations

import re

import pytest
import torch

from interpreto.errors import TargetError
from interpreto.visualizations.terminal.attributions import to_text
from tests.visualizations.examples import INJECTIONS, additive, conversation, explanation, film, generation

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
    text = to_text(explanation(["a"], [[float(i)] for i in range(9)]), color=False, width=200)
    assert [line.split("  ")[0] for line in text.split("\n") if line.startswith("class")] == ["class 8", "class 7"]
    assert '7 more: targets=["class 6", "class 5", "class 4", "class 3", "class 2", "class 1", …]' in text


def test_the_class_with_the_highest_score_is_first_wherever_it_is_and_a_row_can_be_asked_for():
    values = torch.tensor([0.3, float("nan"), 2.0, -1.0])
    output = explanation(["a"], [[1.0], [2.0], [3.0], [4.0]], list("wxyz"), base_scores=values)
    text = to_text(output, color=False, width=80)
    assert [line[0] for line in text.split("\n") if line.endswith("logits") and line[1:3] == "  "] == ["y", "w"]
    assert '2 more: targets=["z", "x"]' in text
    text = to_text(output, color=False, width=80, target=3)
    assert text.startswith("z  −1.00 logits") and "a[+4.00]" in text and '3 more: targets=["y", "w", "x"]' in text


def test_a_long_text_is_cut_to_the_passages_that_hold_the_largest_units():
    words = [f"w{i}" + ("." if i % 10 == 9 else "") for i in range(800)]
    words = [word.capitalize() if i % 10 == 0 else word for i, word in enumerate(words)]
    values = [0.001] * 800
    values[5], values[405], values[799] = 3.0, -2.0, 1.0
    text = to_text(explanation(words, [values]), color=False, width=100)
    assert len(text.split("\n")) < 20
    for shown in ("W0[", "w5[+3.00]", "W400[", "w405[−2.00]", "w409.[", "w799.[+1.00]", "[… 380 words …]"):
        assert shown in text
    assert "w300[" not in text and "w410[" not in text
    short = explanation(words[:120], [values[:120]])
    assert "words …" not in to_text(short, color=False) and "W110[" in to_text(short, color=False)


def test_a_long_sentence_is_cut_around_its_largest_unit():
    values = [0.0] * 300
    values[150] = 1.0
    output = explanation([f"w{i}" for i in range(300)], [values])
    text = to_text(output, color=False, width=100)
    assert "w138[" in text and "w162[" in text and "w20[" not in text and "w280[" not in text


def test_sums_are_told_in_words():
    text = to_text(additive(3), color=False, width=120)
    assert "  score with every word hidden 0.500 → score of the text 1.35: words +0.600, residual +0.250" in text
    baseline = film(baseline="mask", reference_scores=torch.tensor([0.1, 0.2]), residual=torch.tensor([0.5, 0.5]))
    assert "score of the baseline 0.200, residual +0.500" in to_text(baseline, color=False, width=120)


@pytest.mark.parametrize(("residual", "shown"), [(0.9e-5, "residual 0"), (-1.1e-5, "residual −1.1")])
def test_a_residual_below_a_hundred_thousandth_of_the_gap_is_rounding(residual, shown):
    facts = {
        "reference_scores": torch.tensor([1.0], dtype=torch.float64),
        "base_scores": torch.tensor([2.0], dtype=torch.float64),
    }
    output = explanation(["a"], [[1.0 - residual]], residual=torch.tensor([residual], dtype=torch.float64), **facts)
    assert shown in to_text(output, color=False, width=120)


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
