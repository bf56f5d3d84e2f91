"""Model, tokenizer, inputs and global state are as before after every call, also after an exception."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from interpreto.errors import ModelError
from tests import tiny
from tests.contracts.zoo import FAMILIES, GRADIENT_METHODS, MASK_METHODS, METHODS, SAMPLED

pytestmark = pytest.mark.filterwarnings("ignore::interpreto.errors.CompletenessWarning")
TEXTS = list(tiny.SENTENCES[1:4])


def snapshot(model, tokenizer):
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "grads": [parameter.grad for parameter in model.parameters()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "training": [module.training for module in model.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
        "config": copy.deepcopy(model.config.to_dict()),
        "generation_config": model.generation_config.to_dict() if model.can_generate() else None,
        "device": {parameter.device for parameter in model.parameters()},
        "dtype": {parameter.dtype for parameter in model.parameters()},
        "tokenizer": (
            tokenizer.get_vocab(),
            tokenizer.padding_side,
            tokenizer.pad_token,
            tokenizer.mask_token,
            tokenizer.backend_tokenizer.to_str(),
        ),
        "random": (torch.get_rng_state(), np.random.get_state()[1].tolist()),  # beartype draws from `random` itself
        "grad_mode": torch.is_grad_enabled(),
    }


def assert_untouched(before, after):
    for name, value in before["weights"].items():
        assert torch.equal(value, after["weights"][name]), name
    assert torch.equal(before["random"][0], after["random"][0])
    assert before["random"][1] == after["random"][1]
    for name in set(before) - {"weights", "random"}:
        assert before[name] == after[name], name


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_changed(family):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    model.train()  # with a frozen part in evaluation mode, as in fine-tuning
    next(iter(model.children())).eval()
    next(model.parameters()).requires_grad_(False)
    before = snapshot(model, tokenizer)
    for method, options in METHODS.items():
        method(model, tokenizer, **options)(TEXTS)
        assert_untouched(before, snapshot(model, tokenizer))


class Bomb(torch.nn.Module):
    """Raises at its n-th call."""

    def __init__(self, inner, calls):
        super().__init__()
        self.inner, self.calls = inner, calls
        self.config = inner.config
        self.get_input_embeddings = inner.get_input_embeddings

    def forward(self, **inputs):
        self.calls -= 1
        if self.calls < 0:
            raise KeyError("boom")
        return self.inner(**inputs)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_nothing_is_changed_by_an_exception(method):
    model, tokenizer = tiny.CLASSIFIERS["gpt2"]()
    model.train()
    before = snapshot(model, tokenizer)
    for calls in (0, 1):
        with pytest.raises(KeyError, match="boom"):
            method(Bomb(model, calls), tokenizer, task="single-label", batch_size=2, **METHODS[method])(TEXTS)
        assert_untouched(before, snapshot(model, tokenizer))


@pytest.mark.parametrize("method", [next(iter(MASK_METHODS)), next(iter(GRADIENT_METHODS))], ids=lambda m: m.__name__)
def test_non_finite_outputs_are_an_error_and_change_nothing(method):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    before = [len(m._forward_hooks) for m in model.modules()]
    with pytest.raises(ModelError, match="is not finite"):
        method(model, tokenizer)(TEXTS)
    assert before == [len(m._forward_hooks) for m in model.modules()]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_draws_are_the_random_states_own(method):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    text = tiny.SENTENCES[-1] if len(tiny.SENTENCES[-1].split()) > 8 else max(tiny.SENTENCES, key=len)
    torch.manual_seed(1)
    first = method(model, tokenizer, **METHODS[method])(text)[0]
    torch.manual_seed(2)
    again = method(model, tokenizer, **METHODS[method])(text)[0]
    other = method(model, tokenizer, random_state=7, **METHODS[method])(text)[0]
    assert torch.equal(first.attributions, again.attributions)
    assert torch.equal(first.attributions, other.attributions) == (method not in SAMPLED)
    if method in SAMPLED:
        fresh = [method(model, tokenizer, random_state=None, **METHODS[method])(text)[0].attributions for _ in range(2)]
        assert not torch.equal(*fresh)
