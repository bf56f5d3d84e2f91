"""The contracts of the library on generations: every method, every family of language models."""

from __future__ import annotations

import contextlib

import pytest
import torch

from interpreto import Contrast, Granularity, Occlusion
from interpreto.errors import ModelError
from tests import tiny
from tests.contracts.test_hands_off import assert_untouched, snapshot
from tests.contracts.zoo import GENERATORS, MASK_METHODS, METHODS, covers

pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")
PROMPTS = ["A dull story with no end", "The film"]
TARGETS = [" at all", " was"]


def assert_same(a, b, bound):
    """Up to rounding, of what the explanation is made of; log-probabilities of these models are near 10."""
    assert a.elements == b.elements and a.target_labels == b.target_labels
    for name in ("attributions", "base_scores", "standard_error"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        if x is not None:
            assert torch.equal(x.isnan(), y.isnan())
            scale = max(5.0, float(x.nan_to_num().abs().max()))
            amplified = 10 if name == "standard_error" else 1  # a difference of close values
            assert float((x - y).nan_to_num().abs().max()) <= bound * amplified * scale, name


@pytest.mark.parametrize("family", GENERATORS)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_batches_company_and_order_change_nothing(method, family):
    model, tokenizer = GENERATORS[family]()
    current = tiny.RELEASE >= (5,)  # whose masks can be float64 where torch's default is float32
    precise = current and family != "mixtral"  # its experts have no float64
    model = model.double() if precise else model  # in float32 these steep models amplify the rounding of their scores
    options = METHODS[method]
    one = method(model, tokenizer, batch_size=1, **options)
    if not covers(method, family):
        with pytest.raises(ModelError, match=r"no attention that can be read|one stack"):
            one(PROMPTS[0], TARGETS[0])
        return
    many = reversed(method(model, tokenizer, **options)(PROMPTS[::-1], TARGETS[::-1]))
    for prompt, target, together in zip(PROMPTS, TARGETS, many, strict=True):
        assert_same(one(prompt, target)[0], together, 1e-5 if precise else 1e-4 if current else 1e-3)


@pytest.mark.parametrize("batch_size", [2, 4, 64])
def test_every_batch_size_gives_the_same(batch_size):
    model, tokenizer = GENERATORS["llama"]()
    for method, options in METHODS.items():
        wanted = method(model, tokenizer, **options)(PROMPTS, TARGETS)
        for a, b in zip(wanted, method(model, tokenizer, batch_size=batch_size, **options)(PROMPTS, TARGETS), strict=True):
            assert_same(a, b, 2e-5 if method in MASK_METHODS else 1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", GENERATORS)
def test_padding_of_prompts_and_targets_changes_nothing(family, side):
    model, tokenizer = GENERATORS[family]()
    explainer = Occlusion(model, tokenizer, granularity=Granularity.TOKEN)
    texts = explainer(PROMPTS, TARGETS)
    prompts = [output.sample.input_ids[: output.sample.source or -len(output.targets)] for output in texts]

    def padded(rows):
        longest = max(map(len, rows))
        ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest, dtype=torch.long)
        for i, row in enumerate(rows):
            inside = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
            ids[i, inside], mask[i, inside] = row, 1
        return {"input_ids": ids, "attention_mask": mask}

    outputs = explainer(padded(prompts), padded([output.targets for output in texts]))
    for a, b in zip(texts, outputs, strict=True):
        assert a.targets.tolist() == b.targets.tolist()
        torch.testing.assert_close(a.attributions, b.attributions, rtol=1e-5, atol=5e-5, equal_nan=True)


@pytest.mark.parametrize("family", GENERATORS)
def test_nothing_is_changed(family):
    model, tokenizer = GENERATORS[family]()
    model.train()
    next(iter(model.children())).eval()
    next(model.parameters()).requires_grad_(False)
    before = snapshot(model, tokenizer)
    for method, options in METHODS.items():
        with contextlib.nullcontext() if covers(method, family) else pytest.raises(ModelError):
            method(model, tokenizer, **options)(PROMPTS, [" good", Contrast(" so", " at all")])
        assert_untouched(before, snapshot(model, tokenizer))
    Occlusion(model, tokenizer)(PROMPTS[1], generation_kwargs={"do_sample": True, "max_new_tokens": 3, "min_new_tokens": 3})
    assert_untouched(before, snapshot(model, tokenizer))


@pytest.mark.parametrize("part", ["model", "head", "generate"])
def test_nothing_is_changed_by_a_call_that_raises(part, monkeypatch):
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    model.train()

    def fails(*_args, **_options):
        raise RuntimeError("boom")

    before = snapshot(model, tokenizer)
    monkeypatch.setattr(
        {"model": model, "head": model.lm_head, "generate": model}[part], part if part == "generate" else "forward", fails
    )
    for method, options in METHODS.items():
        with pytest.raises(RuntimeError, match="boom"):
            method(model, tokenizer, **options)(PROMPTS, None if part == "generate" else TARGETS)
        assert_untouched(before, snapshot(model, tokenizer))


def test_a_tokenizer_without_padding_on_either_side_is_taken():
    for family in ("llama", "gpt2"):
        model, tokenizer = tiny.CAUSAL_LMS[family]()
        assert tokenizer.pad_token is None
        left = Occlusion(model, tokenizer)(PROMPTS, TARGETS)
        tokenizer.padding_side = "left"
        for a, b in zip(left, Occlusion(model, tokenizer)(PROMPTS, TARGETS), strict=True):
            assert torch.equal(a.attributions.nan_to_num(), b.attributions.nan_to_num())
