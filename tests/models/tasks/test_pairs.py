"""Pairs of texts, next sentences, regressions and reward models: both sides are explained, and the score is the model's own."""

from __future__ import annotations

import pytest
import torch

from interpreto import InputXGradient, Occlusion
from interpreto.errors import InputError
from interpreto.metrics import Deletion
from tests import tiny
from tests.tiny_tasks import NEXT_SENTENCE

PAIR = ("The old man walks", "He is sad.")


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_both_texts_of_a_pair_are_explained(family):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    found = Occlusion(model, tokenizer, granularity="turn")(PAIR)[0]
    assert found.elements == list(PAIR) and found.attributions.abs().min() > 0
    with torch.no_grad():
        logits = model(**tokenizer(*PAIR, return_tensors="pt")).logits[0]
    torch.testing.assert_close(found.base_scores[0], logits.max(), rtol=1e-5, atol=1e-5)


def test_next_sentences_have_names_and_take_pairs():
    model, tokenizer = NEXT_SENTENCE["bert"]()
    found = InputXGradient(model, tokenizer)(PAIR, ["is next", "is random"])[0]
    with torch.no_grad():
        logits = model(**tokenizer(*PAIR, return_tensors="pt")).logits[0]
    torch.testing.assert_close(found.base_scores, logits, rtol=1e-5, atol=1e-5)
    predicted = Occlusion(model, tokenizer)(PAIR)[0]
    assert predicted.target_labels == [("is next", "is random")[int(logits.argmax())]]
    with pytest.raises(InputError, match=r"`inputs\[0\]`: got one text .*; next sentence prediction takes a pair"):
        Occlusion(model, tokenizer)(PAIR[0])


def test_a_reward_model_reads_a_chat():
    one = {"id2label": {0: "reward"}, "label2id": {"reward": 0}}
    model, tokenizer = tiny._build("Qwen2ForSequenceClassification", tiny.chat, tiny._GROUPED | one)
    chat = [{"role": "user", "content": "Was the film good?"}, {"role": "assistant", "content": "It was great."}]
    found = Occlusion(model, tokenizer, granularity="turn")(chat)[0]
    assert found.model_task == "regression" and found.target_labels == ["reward"]
    assert found.elements == ["Was the film good?", "It was great."]
    ids = torch.tensor([tokenizer(tokenizer.apply_chat_template(chat, tokenize=False), add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        score = model(input_ids=ids).logits[0]
    torch.testing.assert_close(found.base_scores, score, rtol=1e-4, atol=1e-5)
    assert Deletion(model, tokenizer).run(Occlusion(model, tokenizer)(chat)).n_valid == 1
