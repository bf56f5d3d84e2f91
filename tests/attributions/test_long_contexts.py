"""Long contexts: a bounded number of passes, what is shared is run once, and no pass holds more than the budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from interpreto import ContextCite, Documents, Occlusion
from interpreto.models.batching import TOKENS_A_PASS
from interpreto.models.options import EngineOptions
from tests import tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def long_model():
    _, tokenizer = tiny.CAUSAL_LMS["llama"]()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8192,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


@pytest.fixture(scope="module")
def documents():
    lines = [line for line in tiny.CORPUS if line.endswith(".") and line.count(".") == 1][:20]
    texts = [
        " ".join(f"{lines[(7 * i + j) % len(lines)][:-1]} and {lines[(i + 3 * j) % len(lines)]}" for j in range(10))
        for i in range(20)
    ]
    return Documents("What was it?", texts)


class Watch:
    """Counts rows and passes, and remembers the largest pass."""

    def __init__(self, model):
        self.rows, self.passes, self.largest, self.tokens, self.logits = 0, 0, 0, 0, 0
        self.handles = [
            model.register_forward_pre_hook(self._given, with_kwargs=True),
            model.lm_head.register_forward_hook(self._made),
        ]

    def _given(self, module, args, inputs):
        ids = inputs["input_ids"]
        self.rows, self.passes = self.rows + len(ids), self.passes + 1
        self.largest, self.tokens = max(self.largest, ids.numel()), self.tokens + ids.numel()

    def _made(self, module, args, logits):
        self.logits = max(self.logits, logits.numel())

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()

    def __enter__(self):
        return self


def test_two_hundred_sentences_of_four_thousand_tokens(long_model, documents):
    model, tokenizer = long_model
    coarse = ContextCite(model, tokenizer, granularity="document", n_perturbations=16)
    with Watch(model) as watch:
        found = coarse(documents, "It was good.")
        strong = torch.zeros_like(found[0].attributions).index_fill(1, torch.tensor([9, 13, 17]), 1.0)
        found[0] = replace(found[0], attributions=strong)  # a model of random weights has no place of its own
        fine = Occlusion(model, tokenizer, replacement="drop")
        sentences = fine.refine(found, "sentence", top=3)
        assert fine.report()["prefix"].active
        words = fine.refine(sentences, "word", top=2)
        assert fine.report()["prefix"].active
    whole = len(found[0].sample)
    assert whole >= 4000 and len(found[0].elements) == 20 and len(sentences[0].elements) == 30
    units = 16 + len(sentences[0].elements) + len(words[0].elements)
    assert watch.rows <= units + 12  # the untouched text of each step, and rows that measure the model
    assert watch.largest <= max(TOKENS_A_PASS["cpu"], whole)
    assert watch.logits <= 64 * 8 * len(tokenizer)  # of the answer alone, not of four thousand tokens
    assert len(words[0].sample) == whole and words[0].text == found[0].text


def test_what_is_before_the_refined_sentences_is_run_once(long_model, documents):
    """The same numbers as without sharing, for fewer tokens."""
    model, tokenizer = long_model
    coarse = Occlusion(model, tokenizer, granularity="document", replacement="drop")
    places = documents.places(coarse.encode(documents)[0].tokens.text)
    tokens, values = [], []
    for options in (EngineOptions(), EngineOptions(prefix=False)):
        explainer = Occlusion(model, tokenizer, granularity="sentence", replacement="drop", shortcuts=options)
        with Watch(model) as watch:
            values.append(explainer(documents, "It was good.", spans=[places[12:16]], aggregate="sequence")[0].attributions)
        assert explainer.report()["prefix"].active is options.prefix
        tokens.append(watch.tokens)
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-5)
    assert tokens[0] < 0.8 * tokens[1]


def test_many_sentences_at_once_take_no_more_passes(long_model, documents):
    model, tokenizer = long_model
    with Watch(model) as watch:
        found = ContextCite(model, tokenizer, n_perturbations=32)(documents, "It was good.")[0]
    assert len(found.elements) == 200 and watch.rows <= 32 + 4
    assert watch.largest <= max(TOKENS_A_PASS["cpu"], len(found.sample))
