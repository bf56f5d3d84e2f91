"""What a task marks in a text is seen in every medium."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from interpreto import Occlusion
from interpreto.inputs.samples import Targets
from interpreto.visualizations.attributions import to_html
from interpreto.visualizations.html.attributions import page_of
from interpreto.visualizations.marks import second_text
from interpreto.visualizations.terminal.attributions import to_text
from interpreto.visualizations.text_layout import answer_start, segments_of
from tests import tiny
from tests.visualizations.examples import INJECTIONS, explanation

WORDS = ["Paris", "is", "in", "old", "France"]


def task(name, spans, labels, **inputs):
    found = explanation(WORDS, [[0.1, 0.2, 0.3, 0.4, 0.5]] * len(labels), labels, model_task=name)
    targets = Targets(found.sample.targets.readouts, tuple(labels), tuple(spans))
    return replace(found, sample=replace(found.sample, targets=targets, inputs=inputs))


def line(found):
    return "".join(segment.text for segment in segments_of(found))


@pytest.mark.parametrize(
    ("name", "spans", "labels", "shown"),
    [
        ("token classification", [(12, 22), (0, 5)], ["old France: LOC", "Paris: PER"], "⟦Paris⟧ PER is in ⟦old France⟧ LOC"),
        ("token classification", [(0, 5), (0, 8)], ["Paris: LOC", "Paris is: PER"], "⟦Paris⟧ LOC is in old France"),
        ("question answering", [(12, 15)], ["old"], "Paris is in ⟦old⟧ France"),
        ("question answering", [(1, 4)], ["ari"], "P⟦ari⟧s is in old France"),
        ("masked language modeling", [(6, 8)], ["was"], "Paris ⟦is⟧ was in old France"),
        ("single-label classification", [None], ["positive"], "Paris is in old France"),
    ],
)
def test_targets_in_the_text_are_marked(name, spans, labels, shown):
    found = task(name, spans, labels)
    assert line(found) == shown
    assert answer_start(segments_of(found)) == len(segments_of(found))  # nothing was generated
    assert "".join(s.text for s in segments_of(found) if not s.named) == found.text


def test_the_texts_of_a_pair_are_named():
    types = {"token_type_ids": torch.tensor([0, 0, 1, 1, 1])}
    assert line(task("question answering", [(12, 15)], ["old"], **types)) == "question:Paris is context:in ⟦old⟧ France"
    index = {"text_index": torch.tensor([1, 1, 1, 2, 2])}
    found = task("similarity", [None], ["similarity"], **index)
    assert line(found) == "text 1:Paris is in text 2:old France" and second_text(found.sample) == 12
    assert second_text(task("similarity", [None], ["s"], text_index=torch.ones(5, dtype=torch.long)).sample) is None


def test_a_terminal_and_a_page_show_them():
    found = task("token classification", [(0, 5)], ["Paris: LOC"])
    assert "⟦Paris[+0.100]⟧ LOC is" in to_text(found, color=False)
    page = page_of([found])
    assert "⟧ LOC" in page.static and ("⟧ LOC" in page.data or "\\u27e7 LOC" in page.data)


@pytest.mark.parametrize("bad", INJECTIONS)
def test_tags_make_no_elements(bad):
    page = to_html(task("masked language modeling", [(0, 5)], [bad]))
    assert page.count("<script") == to_html(task("masked language modeling", [(0, 5)], ["old"])).count("<script")


@pytest.mark.parametrize("family", ["roberta", "distilbert", "bert", "xlnet"])
def test_the_texts_of_a_pair_are_named_whether_tokens_have_types_or_separators(family):
    """RoBERTa and DistilBERT tell a pair's texts by separators alone."""
    model, tokenizer = tiny.CLASSIFIERS[family]()
    explainer = Occlusion(model, tokenizer)
    pair, one = explainer([("The film was good", "A dull film"), "The film was good. A dull film"], [0, 0])
    assert second_text(pair.sample) == pair.text.index("A dull") and second_text(one.sample) is None
    assert "text 2:" in line(pair) and "text 2:" not in line(one)
