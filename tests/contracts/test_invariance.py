"""The same numbers, whatever the batch, the company, the padding or the order."""

from __future__ import annotations

import warnings

import pytest
import torch

from interpreto import Occlusion
from interpreto.errors import CompletenessWarning
from tests import tiny
from tests.contracts.zoo import FAMILIES, METHODS

pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")
TEXTS = list(tiny.SENTENCES[1:5])


def tolerance(wanted):
    """2e-5 of what the model's scores are made of: tiny models with steep weights have gradients in the hundreds."""
    return 2e-5 * max(1.0, float(wanted.abs().max()))


def assert_same(a, b):
    assert a.elements == b.elements and a.target_labels == b.target_labels
    for name in ("attributions", "base_scores", "standard_error"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        if x is not None:
            bound = tolerance(x.nan_to_num()) * (10 if name == "standard_error" else 1)  # a difference of close values
            assert float((x - y).nan_to_num().abs().max()) <= bound, name
            assert torch.equal(x.isnan(), y.isnan())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_batches_company_order_and_padding_change_nothing(method, family):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    options = METHODS[method]
    alone = [method(model, tokenizer, batch_size=1, **options)(text)[0] for text in TEXTS]
    for batch_size in (4, 64, None):
        explainer = method(model, tokenizer, batch_size=batch_size, **options)
        for a, b in zip(alone, explainer(TEXTS), strict=True):
            assert_same(a, b)
    for a, b in zip(alone, reversed(explainer(TEXTS[::-1])), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_of_the_input_changes_nothing(family, side):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    explainer = Occlusion(model, tokenizer, granularity="token")
    wanted = explainer(TEXTS)
    rows = [tokenizer(text) for text in TEXTS]
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(key, filler):
        out = []
        for row in rows:
            pad = [filler] * (longest - len(row["input_ids"]))
            out.append(pad + row[key] if side == "left" else row[key] + pad)
        return torch.tensor(out)

    batch = {"input_ids": padded("input_ids", 0), "attention_mask": padded("attention_mask", 0)}
    if "token_type_ids" in rows[0]:
        batch["token_type_ids"] = padded("token_type_ids", 0)
    for a, b in zip(wanted, explainer(batch), strict=True):
        torch.testing.assert_close(a.base_scores, b.base_scores, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(a.attributions, b.attributions, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("replacement", ["mask", "pad", "unk", "mean", "zero", "drop", "attention", 9])
def test_every_replacement_is_batch_invariant(replacement):
    for family in ("bert", "xlnet", "gpt2"):
        model, tokenizer = tiny.CLASSIFIERS[family]()
        if family == "gpt2" and replacement in ("mask", "pad", "unk", "drop"):
            continue
        one = Occlusion(model, tokenizer, batch_size=1, replacement=replacement)(TEXTS)
        many = Occlusion(model, tokenizer, replacement=replacement)(TEXTS)
        for a, b in zip(one, many, strict=True):
            assert a.replacement == replacement
            assert_same(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_base_scores_are_the_models_own(family):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompletenessWarning)
        explanations = {method: method(model, tokenizer, **options)(TEXTS) for method, options in METHODS.items()}
    for i, text in enumerate(TEXTS):
        with torch.no_grad():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
        for method, outputs in explanations.items():
            assert outputs[i].targets.tolist() == [int(logits.argmax())], method
            score = logits.softmax(0).max() if outputs[i].inference_mode == "softmax" else logits.max()  # ReAGent's
            torch.testing.assert_close(outputs[i].base_scores[0], score, rtol=1e-4, atol=1e-5)


def test_targets_together_are_targets_alone():
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    for method, options in METHODS.items():
        together = method(model, tokenizer, **options)(TEXTS, targets=[[0, 1, 2], [2], [1, 0], [2, 2]])
        for text, output in zip(TEXTS, together, strict=True):
            for row, target in enumerate(output.targets.tolist()):
                alone = method(model, tokenizer, **options)(text, targets=target)[0]
                bound = tolerance(alone.attributions)
                assert float((alone.attributions[0] - output.attributions[row]).abs().max()) <= bound
