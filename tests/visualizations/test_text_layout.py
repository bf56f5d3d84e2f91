"""A text cut at its units, and at the targets of a generation."""

from __future__ import annotations

import pytest

from interpreto import KernelShap, Occlusion
from interpreto.visualizations import to_text
from interpreto.visualizations.text_layout import (
    SAME_CHARACTER,
    Segment,
    blocks,
    group_by_text,
    is_generation,
    segments_of,
    split_at_targets,
)
from tests import tiny
from tests.visualizations.examples import film, generation


def test_classes_have_no_part_of_the_text():
    assert not is_generation(film()) and is_generation(generation("A film", [" b"]))


def test_units_and_targets_cut_each_other():
    cut = split_at_targets([Segment("a film "), Segment("was so", 0), Segment(" good")], [(7, 10), (10, 12), (12, 18)])
    assert cut == [
        *(Segment("a film "), Segment("was", 0, row=0), Segment(" s", 0, row=1)),
        *(Segment("o", 0, row=2), Segment(" good", None, row=2)),
    ]


def test_targets_without_characters_of_their_own_are_there():
    cut = split_at_targets([Segment("x"), Segment("é", 0)], [(1, 2), (1, 2), (2, 2)])
    assert [segment.row for segment in cut if segment.row is not None] == [0, 1, 2]
    assert [segment.text for segment in cut] == ["x", "é", SAME_CHARACTER, SAME_CHARACTER]


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("asked", [{}, {"attribute_targets": False}, {"aggregate": "unit"}, {"aggregate": "sequence"}])
def test_every_row_of_a_generation_has_a_place(family, asked):
    model, tokenizer = {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}[family]()
    for granularity in ("word", "token", "all_tokens"):
        output = Occlusion(model, tokenizer, granularity=granularity)("The film was", " 🎬 so good, é", **asked)[0]
        cut = segments_of(output)
        assert "".join(segment.text for segment in cut if not segment.named) == output.text
        assert {segment.row for segment in cut if segment.row is not None} == set(range(len(output.targets)))


def kinds(output):
    cut = segments_of(output)
    assert sum(count for _, count, *_ in blocks(cut)) == len(cut)
    found, at = [], 0
    for kind, count, *_ in blocks(cut):
        found.append((kind, "".join(segment.text for segment in cut[at : at + count])))
        at += count
    return found


def test_a_text_is_one_block_and_an_answer_another():
    assert kinds(film()) == [("text", "A dull but lovely film")]
    assert kinds(generation("A film", [" so", " good"])) == [("text", "A film"), ("answer", " so good")]


@pytest.mark.parametrize(
    ("before", "between", "after"),
    [
        ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>user\n"),
        (
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            "<|eot_id|>",
        ),
        ("<bos><start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>\n"),
        ("<s>[INST] ", " [/INST]", "</s>[INST]"),
        ("<|user|>\n", "<|end|>\n<|assistant|>\n", "<|end|>"),
        ("<｜begin▁of▁sentence｜><｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
        ("<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        ("A chat.\n\nUSER: ", " ASSISTANT:", "</s>"),
        ("### Instruction:\n", "\n\n### Response:\n", "\n\n"),
    ],
)
def test_templates_are_told_from_messages(before, between, after):
    text = [
        Segment(before),
        Segment("Hi", 0),
        Segment(" "),
        Segment("you", 1),
        Segment(between),
        Segment("Yes", 2),
        Segment(after),
    ]
    end = [("frozen", 1)] if after.strip() else []
    kinds = [(kind, count) for kind, count, *_ in blocks(text)]
    assert kinds == [("frozen", 1), ("message", 3), ("frozen", 1), ("message", 1 if end else 2), *end]
    roles = [role for _, _, *role in blocks(text)]
    assert roles[0] == ["user"] and roles[2] == ["assistant"]


@pytest.mark.parametrize("frozen", ["[CLS]", "<s>", "The user ", "the model: ", "Dear human, ", "<|endoftext|>", "[SEP]"])
def test_frozen_text_alone_makes_no_chat(frozen):
    assert blocks([Segment(frozen), Segment("film", 0), Segment(frozen)]) == [("text", 3)]


@pytest.mark.parametrize("granularity", ["token", "word", "sentence", "turn"])
def test_a_chat_has_a_block_for_each_message(granularity):
    model, tokenizer = tiny.chat_lm()
    chat = [{"role": "system", "content": "Be brief. Please."}, {"role": "user", "content": "Was the film good?"}]
    output = Occlusion(model, tokenizer, granularity=granularity)(chat, "Yes, so good.")[0]
    assert kinds(output) == [
        ("frozen", "<|im_start|>system\n"),
        ("message", "Be brief. Please."),
        ("frozen", "<|im_end|>\n<|im_start|>user\n"),
        ("message", "Was the film good?"),
        ("frozen", "<|im_end|>\n<|im_start|>assistant\n"),
        ("answer", "Yes, so good."),
    ]
    spoken = Occlusion(model, tokenizer, granularity=granularity)(chat, "Yes.", roles=("user",))[0]
    assert [text for kind, text in kinds(spoken) if kind == "message"] == ["Was the film good?"]


def test_texts_are_grouped_in_order():
    a, b, c = film(), generation("A film", [" b"]), film(method="Lime")
    groups = group_by_text([a, b, c])
    assert [[id(one) for one in group] for group in groups] == [[id(a), id(c)], [id(b)]]


def test_a_terminal_shows_the_sequence_first():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    output = KernelShap(model, tokenizer)("The film was", " good", attribute_targets=False)[0]
    lines = to_text(output, width=100, color=False).split("\n")
    assert lines[0].startswith("good  ") and lines[2] == "→ good" and " → score of the answer" in " ".join(lines)
    assert not to_text(output, width=100, color=False, target=1).startswith("good  ")
