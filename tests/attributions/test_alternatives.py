"""Units replaced by other texts: equal to rows that are written by hand, exact means, errors of a background, slots."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from interpreto import (
    Banzhaf,
    BlackBox,
    ExactShapley,
    KernelShap,
    Occlusion,
    PermutationShap,
    ShapleyInteractions,
    demo,
    fill_slots,
)
from interpreto.attributions.games import indices
from interpreto.errors import InputError, OptionError
from interpreto.metrics import Deletion
from interpreto.models.alternatives import read_alternatives
from tests import tiny
from tests.contracts.zoo import GENERATORS

TEXT = "The actor was good and the story moved me"
SHORT = "The actor was good"


@pytest.fixture(scope="module")
def classifier():
    return demo.load_classifier()


def score(classifier, text: str, label: int = 1) -> float:
    model, tokenizer = classifier
    with torch.no_grad():
        return float(model(**tokenizer(text, return_tensors="pt")).logits[0, label])


def test_occlusion_by_alternatives_is_the_score_less_the_mean_of_those_with_other_words(classifier):
    others = {"good": ["terrible", "not good at all", "fine"], "actor": "dog"}
    found = Occlusion(*classifier, replacement=others)(TEXT, "positive")[0]
    base = score(classifier, TEXT)
    good = sum(score(classifier, TEXT.replace("good", other)) for other in others["good"]) / 3
    actor = score(classifier, TEXT.replace("actor", "dog"))
    values = dict(zip(found.elements, found.attributions[0].tolist(), strict=True))
    assert values["good"] == pytest.approx(base - good, abs=1e-4) and values["actor"] == pytest.approx(base - actor, abs=1e-4)
    assert values["story"] == values["The"] == 0.0 and found.replacement == "alternatives"


def test_shapley_values_of_alternatives_are_those_of_the_mean_game(classifier):
    others = {"good": ["terrible", "fine"], "actor": ["dog", "old lady"], "story": ["food", "plot"]}
    found = ExactShapley(*classifier, replacement=others)(TEXT, "positive")[0]
    table = torch.zeros(8, 1, dtype=torch.float64)
    for row in range(8):
        for draw in range(2):
            words = [w if w not in others or row >> list(others).index(w) & 1 else others[w][draw] for w in TEXT.split()]
            table[row] += score(classifier, " ".join(words)) / 2
    exact = indices.shapley_values(table)[0]
    values = dict(zip(found.elements, found.attributions[0].tolist(), strict=True))
    assert [values[name] for name in others] == pytest.approx(exact.tolist(), abs=1e-4)
    assert float(found.residual.abs()) < 1e-4 and found.standard_error is None
    same = ExactShapley(*classifier, replacement=lambda word: others.get(word, []))(TEXT, "positive")[0]
    assert torch.equal(same.attributions, found.attributions)


def test_a_background_is_sampled_from_and_its_error_shrinks_with_its_size(classifier):
    texts = [sentence.text for sentence in demo.load_sentences("movie")[:24]]
    few, many = (ExactShapley(*classifier, replacement=some)(SHORT, "positive")[0] for some in (texts[:6], texts))
    assert many.replacement == "background" and bool((many.standard_error > 0).all())
    assert float(many.standard_error.mean()) < float(few.standard_error.mean())
    assert float(many.residual.abs()) < 1e-4
    _, tokenizer = classifier
    ids = tokenizer(SHORT, return_tensors="pt")["input_ids"][0]
    by_hand = []
    for text in texts:
        row, other = ids.clone(), torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
        row[1:-1] = other.repeat(9)[: len(row) - 2]
        with torch.no_grad():
            by_hand.append(float(classifier[0](input_ids=row[None]).logits[0, 1]))
    assert float(many.reference_scores) == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-4)


def test_one_text_of_a_background_tells_no_error(classifier):
    found = Occlusion(*classifier, replacement=["The end of it all."])(TEXT, "positive")[0]
    assert bool(found.standard_error.isnan().all()) and not bool(found.attributions.isnan().any())


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_generations_read_the_same_tokens_behind_longer_and_shorter_words(family):
    model, tokenizer = GENERATORS[family]()
    prompt, others = "the film was so good", {"film": ["a story of the actor", "so"]}
    found = Occlusion(model, tokenizer, replacement=others)(prompt, " not dull", attribute_targets=False)[0]
    base = Occlusion(model, tokenizer)(prompt, " not dull", attribute_targets=False)[0].base_scores
    means = torch.stack(
        [Occlusion(model, tokenizer)(prompt.replace("film", o), " not dull")[0].base_scores for o in others["film"]]
    ).mean(0)
    column = [element.strip() for element in found.elements].index("film")
    torch.testing.assert_close(found.attributions[:, column], base - means, atol=1e-4, rtol=1e-3)
    assert not found.attributions[:, list(range(column))].any()


def test_batches_and_company_change_nothing():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    others = {"good": ["so not good", "bad"], "dull": ["very very dull", "a"]}
    texts = ["the film was good", "a dull story of a good actor"]
    together = KernelShap(model, tokenizer, replacement=others)(texts, [0, 1])
    for text, target, found in zip(texts, [0, 1], together, strict=True):
        alone = KernelShap(model, tokenizer, replacement=others, batch_size=2)(text, target)[0]
        torch.testing.assert_close(alone.attributions, found.attributions, atol=1e-5, rtol=1e-4)


def test_slots_are_units_and_nothing_else_moves(classifier):
    text, spans = fill_slots("{who} said the {what} was {how}.", {"who": "My old friend", "what": "film", "how": "a {joy}"})
    assert text == "My old friend said the film was a {joy}." and [text[a:b] for a, b in spans][1] == "film"
    others = {"My old friend": ["Nobody", "She"], "film": ["food", "book"], "a {joy}": ["dull", "a waste of time"]}
    found = PermutationShap(*classifier, replacement=others)(text, "positive", spans=spans)[0]
    assert found.elements == ["My old friend", "film", "a {joy}"] and float(found.residual.abs()) < 1e-4
    texts = ["Nobody said the food was dull.", "She said the book was a waste of time."]
    empty = sum(score(classifier, other) for other in texts) / 2
    assert float(found.reference_scores) == pytest.approx(empty, abs=1e-4)
    for template, values in (("no slot", {}), ("{a}", {}), ("{a}", {"a": " "}), ("{a", {"a": "b"})):
        with pytest.raises(InputError, match="`template`"):
            fill_slots(template, values)


def test_every_alternative_is_drawn_equally_often(classifier):
    _, tokenizer = classifier
    sample = Occlusion(*classifier)("good film", 0)[0].sample
    for lengths in itertools.product((1, 2, 3), repeat=2):
        others = {word: ["a"] * n for word, n in zip(("good", "film"), lengths, strict=True)}
        assert read_alternatives(others, tokenizer).draws(sample) == math.lcm(*lengths)


def test_wrong_alternatives_are_refused(classifier):
    for wrong in ({}, [], [""]):
        with pytest.raises(OptionError, match="replacement"):
            Occlusion(*classifier, replacement=wrong)
    with pytest.raises(InputError, match=r"no unit of 'A film\.' has an alternative; its units are 'A', 'film', '\.'"):
        Banzhaf(*classifier, replacement={"movie": ["film"]})("A film.")
    with pytest.raises(OptionError, match="alternatives of 'film' are"):
        Banzhaf(*classifier, replacement={"film": [3]})("A film.")


def test_models_that_read_texts_are_given_other_texts():
    seen = []

    def function(texts):
        seen.extend(texts)
        return [[float("film" in text) + 3 * ("dull" in text)] for text in texts]

    others = {"film": ["play", "dull book"], "good": ["bad", "so so"]}
    for replacement in (others, lambda unit: others.get(unit, ())):
        found = Occlusion(BlackBox(function), replacement=replacement)("A good film.")[0]
        assert found.replacement == "alternatives" and found.attributions[0].tolist() == [0, 0, -0.5, 0]
        shapley = ExactShapley(BlackBox(function), replacement=replacement)("A good film.", 0)[0]
        torch.testing.assert_close(shapley.attributions[0], torch.tensor([0.0, 0, -0.5, 0]))
    assert {"A bad film.", "A good play.", "A so so film.", "A good dull book.", "A so so dull book."} <= set(seen)
    with pytest.raises(OptionError, match="texts of a background replace tokens"):
        Occlusion(BlackBox(function), replacement=["a text", "another"])
    with pytest.raises(InputError, match=r"no unit of 'A play\.' has an alternative"):
        Occlusion(BlackBox(function), replacement={"film": ["play"]})("A play.")


def test_interactions_are_means_over_alternatives(classifier):
    others = {"good": ["dull", "fine"], "actor": ["dog", "lady"]}
    whole = ShapleyInteractions(*classifier, replacement=others)(SHORT, "positive")[0]
    parts = [
        ShapleyInteractions(*classifier, replacement={unit: [texts[i]] for unit, texts in others.items()})(SHORT, "positive")[0]
        for i in range(2)
    ]
    assert whole.exact and whole.coalitions == parts[0].coalitions
    torch.testing.assert_close(whole.values, (parts[0].values + parts[1].values) / 2, atol=1e-5, rtol=1e-4)
    assert float(whole.residual.abs().max()) < 1e-4
    sampled = ShapleyInteractions(*classifier, replacement=["The end of it.", "A long day.", "No."])(SHORT, "positive")[0]
    assert not sampled.exact and bool((sampled.standard_error > 0).any())


def test_metrics_name_what_they_take(classifier):
    for model in (classifier, (BlackBox(lambda texts: [1.0] * len(texts)), None)):
        with pytest.raises(OptionError, match=r"`replacement`: got .*; a metric masks units in one way"):
            Deletion(*model, replacement={"film": ["play"]})
