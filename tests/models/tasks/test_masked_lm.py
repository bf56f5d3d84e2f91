"""Masked language models: what fills a mask, explained by the other words."""

from __future__ import annotations

import pytest
import torch
import transformers

from interpreto import Contrast, KernelShap, Occlusion
from interpreto.errors import InputError, TargetError, TokenizerError
from interpreto.metrics import Deletion
from tests import tiny
from tests.tiny_tasks import MASKED_LMS

TEXT = "Paris is the [MASK] of France."


@pytest.fixture(scope="module")
def bert():
    return MASKED_LMS["bert"]()


def log_probabilities(model, tokenizer, text):
    encoded = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        logits = model(**encoded).logits[0]
    return logits[encoded["input_ids"][0] == tokenizer.mask_token_id].log_softmax(-1)


@pytest.mark.parametrize("family", MASKED_LMS)
def test_without_targets_each_mask_is_explained_by_what_the_pipeline_fills_in(family):
    model, tokenizer = MASKED_LMS[family]()
    pipeline = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=1)
    for pattern in ("Paris is the {0} of France.", "{0} and my sister were {0} there"):
        text = pattern.format(tokenizer.mask_token)
        explanation = Occlusion(model, tokenizer)(text)[0]
        found = pipeline(text)
        found = found if isinstance(found[0], list) else [found]
        assert explanation.targets.tolist() == [best[0]["token"] for best in found]
        wanted = torch.tensor([best[0]["score"] for best in found]).log()
        torch.testing.assert_close(explanation.base_scores, wanted, rtol=1e-4, atol=1e-4)
        for start, end in explanation.target_spans:
            assert text[start:end] == tokenizer.mask_token
        assert not any(tokenizer.mask_token in element for element in explanation.elements)


def test_words_masked_by_the_mask_token_are_no_further_places(bert):
    model, tokenizer = bert
    explainer = Occlusion(model, tokenizer)
    assert explainer.replacement.token_id == tokenizer.mask_token_id
    explanation = explainer(TEXT)[0]
    assert len(explanation.target_labels) == 1
    word = int(explanation.targets[0])
    whole = log_probabilities(model, tokenizer, TEXT)[0, word]
    places = [("[MASK] is the [MASK] of France.", 1), ("Paris [MASK] the [MASK] of France.", 1)]
    for unit, (text, mask) in enumerate(places):
        without = log_probabilities(model, tokenizer, text)[mask, word]
        torch.testing.assert_close(explanation.attributions[0, unit], whole - without, rtol=1e-4, atol=1e-5)


def test_words_pieces_ids_and_contrasts(bert):
    model, tokenizer = bert
    of_row = log_probabilities(model, tokenizer, TEXT)[0]
    old, story = tokenizer.convert_tokens_to_ids(["old", "story"])
    explainer = Occlusion(model, tokenizer)
    found = explainer(TEXT, ["old", story, "##s", Contrast("old", "story")])[0]
    piece = tokenizer.convert_tokens_to_ids("##s")
    wanted = torch.stack([of_row[old], of_row[story], of_row[piece], of_row[old] - of_row[story]])
    torch.testing.assert_close(found.base_scores, wanted, rtol=1e-4, atol=1e-5)
    assert found.target_labels[:2] == ["old", "story"] and found.target_labels[3] == "old − story"
    assert found.targets.tolist() == [-1] * 4
    assert explainer(TEXT, torch.tensor(old))[0].targets.tolist() == [old]


def test_one_target_for_each_mask_and_each_input(bert):
    model, tokenizer = bert
    text = "[MASK] is the [MASK] of France."
    old, story = tokenizer.convert_tokens_to_ids(["old", "story"])
    explainer = Occlusion(model, tokenizer)
    assert explainer(text, ["old", "story"])[0].targets.tolist() == [old, story]
    assert explainer(text, [["old", "story"], "old"])[0].target_labels == ["old", "story", "old"]
    both = explainer([text, TEXT], [["old", "story"], "old"])
    assert [found.target_labels for found in both] == [["old", "story"], ["old"]]
    assert [found.target_labels for found in explainer([TEXT, TEXT], "old")] == [["old"], ["old"]]


def test_the_space_before_a_mask_belongs_to_the_word():
    model, tokenizer = MASKED_LMS["roberta"]()
    spaced = Occlusion(model, tokenizer)("The <mask> film", "film")[0]
    assert tokenizer.convert_ids_to_tokens(spaced.targets.tolist()) == ["Ġfilm"]
    inner = Occlusion(model, tokenizer)("(<mask>) film", "s")[0]
    assert tokenizer.convert_ids_to_tokens(inner.targets.tolist()) == ["s"]


@pytest.mark.parametrize("granularity", ["all_tokens", "token", "word", "sentence"])
def test_masks_of_the_input_are_in_no_unit(bert, granularity):
    model, tokenizer = bert
    explanation = Occlusion(model, tokenizer, granularity=granularity)("He said[MASK]it.", "old")[0]
    mask = (explanation.sample.input_ids == tokenizer.mask_token_id).nonzero()[:, 0]
    assert (explanation.sample.units.index[mask] == -1).all() and len(mask) == 1
    if granularity == "sentence":
        assert explanation.elements == ["He said", "it."]


@pytest.mark.parametrize(
    ("text", "target", "error", "said"),
    [
        ("Paris is old.", None, InputError, r"has no mask token \('\[MASK\]'\) to be filled"),
        (TEXT, "France", TargetError, r"'France' is no token \('f', '##r', '##an', '##ce'\); a mask is filled by one token"),
        (TEXT, 10_000, TargetError, "token id 10000 is not in 0.."),
        ("[MASK] [MASK]", "old", TargetError, r"`targets\[0\]`: got 1 for a text with 2 masks"),
        (TEXT, Contrast("old", "old"), TargetError, "between 'old' and itself"),
        (TEXT, [], TargetError, "names no word"),
        ([TEXT, TEXT], ["old"], TargetError, "got 1 for 2 inputs"),
    ],
)
def test_what_cannot_be_filled_is_told(bert, text, target, error, said):
    with pytest.raises(error, match=said):
        Occlusion(*bert)(text, target)


def test_a_tokenizer_without_a_mask_is_told(bert):
    with pytest.raises(TokenizerError, match="it has no mask token"):
        Occlusion(bert[0], tiny.unigram())


def test_a_model_for_pretraining_fills_masks_too():
    model, tokenizer = tiny._build("BertForPreTraining", tiny.wordpiece, tiny._DENSE)
    found = Occlusion(model, tokenizer, task="fill-mask")(TEXT, "old")[0]
    with torch.no_grad():
        encoded = tokenizer(TEXT, return_tensors="pt")
        logits = model(**encoded).prediction_logits[0]
    mask = int((encoded["input_ids"][0] == tokenizer.mask_token_id).nonzero())
    wanted = logits[mask].log_softmax(-1)[tokenizer.convert_tokens_to_ids("old")]
    torch.testing.assert_close(found.base_scores[0], wanted, rtol=1e-4, atol=1e-5)
    pair = Occlusion(model, tokenizer, task="next-sentence-prediction")(("The old man", "He said"), "is next")[0]
    with torch.no_grad():
        logits = model(**tokenizer("The old man", "He said", return_tensors="pt")).seq_relationship_logits[0]
    torch.testing.assert_close(pair.base_scores[0], logits[0], rtol=1e-4, atol=1e-5)
    assert Deletion(model, tokenizer, task="next-sentence-prediction").run(pair).score > 0


def test_a_curve_begins_at_the_probability_of_the_word(bert):
    model, tokenizer = bert
    curve = Deletion(model, tokenizer).run(KernelShap(model, tokenizer, n_perturbations=60)(TEXT, "old"))
    wanted = log_probabilities(model, tokenizer, TEXT)[0, tokenizer.convert_tokens_to_ids("old")].exp()
    assert float(curve.details["curves"][0][0][0]) == pytest.approx(float(wanted), abs=1e-6)
