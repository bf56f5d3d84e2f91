"""Extractive question answering: spans of the context, scored by the model's own log-probabilities."""

from __future__ import annotations

import pytest
import torch

from interpreto import Contrast, Occlusion
from interpreto.errors import InputError, OptionError, TargetError
from interpreto.metrics import ABPC, Deletion
from interpreto.models.modes import InferenceModes
from interpreto.models.tasks import QuestionAnswering
from tests.tiny_tasks import QUESTION_ANSWERERS

QUESTION = "What is Rome?"
CONTEXT = "Paris is the capital of France, and Rome is old."
PAIR = (QUESTION, CONTEXT)


@pytest.fixture(scope="module")
def bert():
    return QUESTION_ANSWERERS["bert"]()


def outputs(model, tokenizer, pair=PAIR):
    encoded = tokenizer(*pair, return_tensors="pt")
    with torch.no_grad():
        found = model(**encoded)
    return found.start_logits[0], found.end_logits[0], encoded


def best(model, tokenizer, pair=PAIR, longest=15):
    """The best answer by a loop over all starts and ends."""
    start, end, encoded = outputs(model, tokenizer, pair)
    inside = [i for i, part in enumerate(encoded.sequence_ids()) if part == 1]
    spans = [(i, j) for i in inside for j in inside if i <= j < i + longest]
    return max(spans, key=lambda span: float(start[span[0]] + end[span[1]]))


@pytest.mark.parametrize("family", QUESTION_ANSWERERS)
def test_without_targets_the_best_answer_of_a_loop_is_explained(family):
    model, tokenizer = QUESTION_ANSWERERS[family]()
    pairs = [PAIR, ("Who?", "She said"), ("Where are you going?", CONTEXT + " The old man walks home. " * 3)]
    for pair, explanation in zip(pairs, Occlusion(model, tokenizer)(pairs), strict=True):
        i, j = best(model, tokenizer, pair)
        assert explanation.sample.targets.readouts[0].positions.tolist() == [i, j]
        start, end, _ = outputs(model, tokenizer, pair)
        wanted = start.log_softmax(-1)[i] + end.log_softmax(-1)[j]
        torch.testing.assert_close(explanation.base_scores[0], wanted, rtol=1e-5, atol=1e-5)
        a, b = explanation.target_spans[0]
        assert explanation.text[a:b] == explanation.target_labels[0]


def test_the_score_by_mode(bert):
    model, tokenizer = bert
    i, j = best(model, tokenizer)
    start, end, _ = outputs(model, tokenizer)
    wanted = {
        "logits": start[i] + end[j],
        "log_softmax": start.log_softmax(-1)[i] + end.log_softmax(-1)[j],
        "softmax": (start.softmax(-1)[i] + end.softmax(-1)[j]) / 2,
    }
    for mode, score in wanted.items():
        found = Occlusion(model, tokenizer, inference_mode=mode)(PAIR)[0]
        torch.testing.assert_close(found.base_scores[0], score, rtol=1e-5, atol=1e-5)
        assert found.inference_mode == mode
    with pytest.raises(OptionError, match=r"`inference_mode`: got .*; the outputs of question answering are read over tokens"):
        Occlusion(model, tokenizer, inference_mode=lambda logits: logits)


def test_the_longest_answer_is_an_option(bert):
    model, tokenizer = bert
    task = QuestionAnswering(InferenceModes.LOGITS, longest=1)
    found = Occlusion(model, tokenizer, task=task)(PAIR)[0]
    assert found.sample.targets.readouts[0].positions.tolist() == list(best(model, tokenizer, longest=1))


def test_answers_in_every_form(bert):
    model, tokenizer = bert
    explainer = Occlusion(model, tokenizer)
    wanted = explainer(PAIR, "Rome")[0]
    assert wanted.target_labels == ["Rome"] and wanted.text[slice(*wanted.target_spans[0])] == "Rome"
    assert wanted.target_spans[0][0] > len(QUESTION)
    a = CONTEXT.index("Rome")
    first, last = wanted.sample.targets.readouts[0].positions.tolist()
    forms = [
        (a, a + 4),
        {"start": a, "end": a + 4, "answer": "Rome", "score": 0.5},
        {"start_token": first, "end_token": last},
        ["Rome"],
        [(a, a + 4)],
    ]
    for form in forms:
        torch.testing.assert_close(explainer(PAIR, form)[0].attributions, wanted.attributions)
    two = explainer([PAIR, ("Who?", "She said")], ["Rome", ["She", "said"]])
    assert [found.target_labels for found in two] == [["Rome"], ["She", "said"]]


def test_a_contrast_of_two_answers_is_the_difference(bert):
    model, tokenizer = bert
    explainer = Occlusion(model, tokenizer)
    both = explainer(PAIR, ["Rome", "Paris"])[0]
    against = explainer(PAIR, Contrast("Rome", "Paris"))[0]
    torch.testing.assert_close(against.attributions[0], both.attributions[0] - both.attributions[1], rtol=1e-4, atol=1e-5)
    assert against.target_labels == ["Rome − Paris"]


def test_question_and_context_both_have_units(bert):
    explanation = Occlusion(*bert, granularity="turn")(PAIR)[0]
    assert explanation.elements == [QUESTION, CONTEXT]
    assert explanation.attributions.abs().min() > 0


@pytest.mark.parametrize(
    ("pair", "target", "error", "said"),
    [
        (QUESTION, None, InputError, r"`inputs\[0\]`: got one text .* takes a pair \(question, context\)"),
        (PAIR, "Berlin", TargetError, "'Berlin' does not occur in 'Paris is"),
        (PAIR, "What", TargetError, "'What' does not occur"),
        (PAIR, "is", TargetError, r"occurs 2 times, at the characters \(6, 8\), \(41, 43\)"),
        (PAIR, (3, 100), TargetError, r"characters \(3, 100\) of a text of 48"),
        (PAIR, {"start_token": 9, "end_token": 3}, TargetError, "the tokens 9 to 3; pass two numbers in order"),
        (PAIR, 3, TargetError, r"got 3; pass None"),
        (PAIR, [[1, 2, 3]], TargetError, r"got \[1, 2, 3\]; pass None"),
        (PAIR, Contrast("Rome", "Rome"), TargetError, "between 'Rome' and itself"),
    ],
)
def test_what_is_no_answer_is_told(bert, pair, target, error, said):
    with pytest.raises(error, match=said):
        Occlusion(*bert)(pair, target)


def test_metrics_read_probabilities_and_decisions(bert):
    model, tokenizer = bert
    explanations = Occlusion(model, tokenizer)(PAIR)
    start, end, _ = outputs(model, tokenizer)
    i, j = best(model, tokenizer)
    probability = (start.softmax(-1)[i] + end.softmax(-1)[j]) / 2
    for metric in (Deletion, ABPC):
        assert metric(model, tokenizer).run(explanations).n_valid == 1
    curve = Deletion(model, tokenizer).run(explanations).details["curves"][0][0]
    assert float(curve[0]) == pytest.approx(float(probability), abs=1e-5)
    task = Occlusion(model, tokenizer).task
    logits = task.outputs(model(**tokenizer(*PAIR, return_tensors="pt")))
    starts = torch.zeros(1, logits.shape[1], dtype=torch.long)
    assert task.holds(logits, starts)[0].nonzero()[:, 0].tolist() == [int(start.argmax())]
