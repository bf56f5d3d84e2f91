"""Any function from texts to scores: explained and judged as a model is, with no tokenizer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from interpreto import BlackBox, InputXGradient, IntegratedGradients, KernelShap, Lime, Occlusion, Saliency, Sobol
from interpreto.errors import InputError, ModelError, OptionError
from interpreto.metrics import Benchmark, Deletion, Insertion
from interpreto.models import EngineOptions
from tests import tiny

TEXT = "The film was not good, but the music was."
POINTS = {"film": 1.0, "not": -3.0, "good": 2.0, "music": 0.5}


def count(texts):
    """A game of words: single weights, and 'not good' together."""
    found = [[word in text for word in POINTS] for text in texts]
    scores = [sum(w * has for w, has in zip(POINTS.values(), row, strict=True)) - 4.0 * (row[1] and row[2]) for row in found]
    return np.stack([np.array(scores), -np.array(scores)], 1)


class Watched:
    """Notes what a function is asked for."""

    def __init__(self, function):
        self.function, self.calls = function, []

    def __call__(self, texts):
        self.calls.append(list(texts))
        return self.function(texts)


def value(output, word):
    return float(output.attributions[0, output.elements.index(word)])


def test_occlusion_is_what_the_function_loses():
    output = Occlusion(BlackBox(count, labels=["for", "against"]))(TEXT, "for")[0]
    assert output.elements == ["The", "film", "was", "not", "good", ",", "but", "the", "music", "was", "."]
    assert (value(output, "film"), value(output, "not"), value(output, "good")) == (1.0, -7.0, -2.0)
    assert output.target_labels == ["for"] and output.replacement == "drop"
    assert Occlusion(BlackBox(count, labels=["for", "against"]))(TEXT)[0].target_labels == ["against"]  # the larger score


def test_kernel_shap_is_the_shapley_value():
    output = KernelShap(BlackBox(count), n_perturbations=2**11)(TEXT, 0)[0]
    assert value(output, "film") == pytest.approx(1.0, abs=1e-5)
    assert value(output, "not") == pytest.approx(-5.0, abs=1e-5)  # half of the pair each
    assert value(output, "good") == pytest.approx(0.0, abs=1e-5)
    assert float(output.residual.abs()) < 1e-5


@pytest.mark.parametrize("replacement", ["mask", "drop"])
def test_a_black_box_equals_the_same_model_through_hugging_face(replacement):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()

    def scores(texts):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            return model(**batch).logits

    text = "The film was not good and the music"
    rendered = "[MASK]" if replacement == "mask" else "drop"
    theirs = KernelShap(model, tokenizer, replacement=replacement, granularity="word")(text, [[0, 1]])[0]
    ours = KernelShap(BlackBox(scores), replacement=rendered)(text, [[0, 1]])[0]
    assert ours.elements == theirs.elements
    torch.testing.assert_close(ours.attributions, theirs.attributions, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.base_scores, theirs.base_scores, rtol=0, atol=1e-5)


def test_a_call_has_texts_of_about_one_length_and_scores_come_back_in_order():
    texts = ["a bb ccc dddd eeeee ffffff", "g hh iii jjjj", "kkkkk ll m"]
    function = Watched(lambda texts: [[float(len(text))] for text in texts])
    found = KernelShap(BlackBox(function), batch_size=8)(texts, [0] * 3)
    lengths = [len(text) for call in function.calls for text in call]
    assert len(function.calls) > 5 and lengths == sorted(lengths) and max(map(len, function.calls)) == 8
    alone = [KernelShap(BlackBox(function))(text, 0)[0].attributions for text in texts]
    assert all(torch.equal(one.attributions, own) for one, own in zip(found, alone, strict=True))


@pytest.mark.parametrize("text", ["  It was, all in all, good. ", "one", "a  b\tc"])
@pytest.mark.parametrize("becomes", [None, "…"])
def test_texts_under_masks_are_those_of_unit_by_unit(text, becomes):
    sample = Occlusion(BlackBox(lambda texts: [[0.0]] * len(texts)))(text, 0)[0].sample
    spans = sample.units.spans
    for row in itertools.product((0, 1), repeat=len(spans)):
        end, expected = 0, ""
        for (start, stop), masked in zip(spans, row, strict=True):
            before = text[end:start]
            unit = text[start:stop] if not masked else (becomes or "")
            expected += (before.rstrip() if masked and becomes is None else before) + unit
            end = stop
        expected += text[end:]
        if becomes is None and row[0]:
            expected = expected.lstrip()
        assert sample.render(torch.tensor(row).float(), becomes) == expected


def test_masks_are_rendered_as_text():
    asked = Watched(count)
    output = Occlusion(BlackBox(asked))("  Good,  really good. ", 0)[0]
    assert output.elements == ["Good", ",", "really", "good", "."]
    texts = {text for call in asked.calls for text in call}
    assert texts == {
        "  Good,  really good. ",
        ",  really good. ",
        "  Good  really good. ",
        "  Good, good. ",
        "  Good,  really. ",
        "  Good,  really good ",
    }
    Occlusion(BlackBox(asked), replacement="…")("A b", 0)
    assert sorted(asked.calls[-1]) == ["A b", "A …", "… b"]


def test_equal_texts_are_asked_for_once_in_batches():
    asked = Watched(count)
    KernelShap(BlackBox(asked), batch_size=8, n_perturbations=64)(["good good good", "good good"], 0)
    texts = [text for call in asked.calls for text in call]
    assert len(texts) == len(set(texts)) == 4 and max(map(len, asked.calls)) <= 8  # of 2³ + 2² coalitions
    box = BlackBox(asked)
    Occlusion(box, batch_size=3)(TEXT, 0)
    assert box.asked == 12 and [len(call) for call in asked.calls[-4:]] == [3, 3, 3, 3]


@pytest.mark.parametrize("granularity", ["word", "sentence", "paragraph", lambda text: [(4, 8), (13, 21)]])
def test_units_are_cut_from_the_text(granularity):
    output = Occlusion(BlackBox(count), granularity=granularity)(TEXT, 0)[0]
    assert [TEXT[a:b] for a, b in output.spans] == output.elements


def test_spans_are_units():
    output = Occlusion(BlackBox(count))(TEXT, 0, spans=[(13, 21)])[0]
    assert output.elements == ["not good"] and output.attributions.tolist() == [[-5.0]]


def test_tokens_need_a_tokenizer():
    with pytest.raises(OptionError, match="`granularity`: got 'token', and the black box 'count' has no tokenizer"):
        Occlusion(BlackBox(count), granularity="token")
    output = Occlusion(BlackBox(count), tiny.wordpiece(), granularity="token")("The film was not good", 0)[0]
    assert output.elements == ["The", "film", "was", "not", "good"] and value(output, "not") == -7.0


@pytest.mark.parametrize("method", [Occlusion, Lime, KernelShap, Sobol], ids=lambda m: m.__name__)
def test_all_mask_methods_and_metrics_run(method):
    box = BlackBox(lambda texts: 1 / (1 + np.exp(-count(texts))), labels=["for", "against"])
    explanations = method(box)([TEXT, "A good film"], "for")
    for metric in (Deletion, Insertion):
        result = metric(box).run(explanations)
        assert 0 <= float(result) <= 1


def test_a_benchmark_runs_on_a_black_box():
    box = BlackBox(lambda texts: 1 / (1 + np.exp(-count(texts))))
    table = Benchmark(box, metrics=["Deletion", "Insertion"]).run([Occlusion(box), KernelShap(box)], [TEXT], 0)
    assert "Occlusion" in str(table) and "Deletion" in str(table)


@pytest.mark.parametrize("method", [Saliency, InputXGradient, IntegratedGradients], ids=lambda m: m.__name__)
def test_gradients_are_refused_by_name(method):
    with pytest.raises(ModelError, match=f"`model`: {method.__name__} reads gradients, and the black box 'count' gives scores"):
        method(BlackBox(count))


def refuse(texts):
    raise ConnectionError("port 80 is closed")


ANSWERS = {
    "an exception": (refuse, "the black box 'refuse' raised ConnectionError for 'A' and 2 more: port 80 is closed"),
    "nothing": (lambda texts: None, "it must return an array of numbers"),
    "texts": (lambda texts: ["good"] * len(texts), "returned \\['good'.* array of numbers"),
    "too few": (lambda texts: [1.0], "returned shape \\(1,\\) for 3 texts"),
    "three dimensions": (lambda texts: np.zeros((len(texts), 2, 2)), "returned shape \\(3, 2, 2\\)"),
    "NaN": (lambda texts: [float("nan")] * len(texts), "returned NaN for '"),
    "infinity": (lambda texts: [float("inf")] * len(texts), "not finite"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_is_no_score_is_quoted(answer):
    function, message = ANSWERS[answer]
    with pytest.raises(ModelError, match=message):
        Occlusion(BlackBox(function))("A film", 0)


def test_labels_and_inputs_are_checked():
    with pytest.raises(ModelError, match=r"`labels`: got 1 .'for'., and the black box 'count' returned 2 scores per text"):
        Occlusion(BlackBox(count, labels=["for"]))("A film")
    for inputs, found in ((["A film", 3], "inputs.1..: got 3"), ("  ", "the text is empty"), ([], "nothing to explain")):
        with pytest.raises(InputError, match=found):
            Occlusion(BlackBox(count))(inputs, 0)


def test_one_score_per_text_is_one_column():
    output = Occlusion(BlackBox(lambda texts: [len(text) for text in texts], labels=["length"]))("A film")[0]
    assert output.target_labels == ["length"] and output.attributions.tolist() == [[2.0, 5.0]]


def test_scores_keep_the_digits_of_float64():
    output = Occlusion(BlackBox(lambda texts: [1e6 + 1e-3 * ("film" in text) for text in texts]))("A film", 0)[0]
    assert value(output, "film") == pytest.approx(1e-3, rel=1e-5)


def test_the_report_says_what_applies_to_a_black_box():
    text = "very very good"  # without the first or the second word it is one text
    seen = []

    def count(texts):
        seen.extend(texts)
        return [[len(text), text.count("good")] for text in texts]

    on, off = (Occlusion(BlackBox(count), shortcuts=EngineOptions(distinct=distinct)) for distinct in (True, False))
    assert on.report()["distinct"].reason == "no two perturbed inputs were equal"  # before any call
    fast = on(text, 0)[0]
    once = seen.copy()
    seen.clear()
    slow = off(text, 0)[0]
    assert len(set(once)) == len(once) < len(seen) and set(seen) == set(once)
    torch.testing.assert_close(fast.attributions, slow.attributions)
    assert on.report()["distinct"] and on.report()["distinct"].reason == ""
    assert off.report()["distinct"].reason == "switched off by EngineOptions"
    assert [name for name, entry in on.report().items() if entry] == ["distinct"]
    assert all("a black box" in entry.reason for name, entry in on.report().items() if name not in ("distinct", "tolerance"))


def test_two_explainers_of_one_black_box_have_a_report_each():
    box = BlackBox(lambda texts: [len(text) for text in texts])
    first, second = Occlusion(box), Occlusion(box)
    first("very very good")
    assert first.report()["distinct"] and not second.report()["distinct"]
    second("a film")
    assert box.asked > 0
