"""Model, tokenizer, inputs and global state are as before after every call, also after an exception."""

from __future__ import annotations

import contextlib
import copy

import numpy as np
import pytest
import torch

from interpreto import IntegratedGradients, Occlusion
from interpreto.errors import ModelError, OptionError
from interpreto.models.contexts import moved
from tests import tiny
from tests.contracts.zoo import DRAWN, FAMILIES, GRADIENT_METHODS, MASK_METHODS, METHODS

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
    assert torch.equal(first.attributions, other.attributions) == (method not in DRAWN)
    if method in DRAWN:
        fresh = [method(model, tokenizer, random_state=None, **METHODS[method])(text)[0].attributions for _ in range(2)]
        assert not torch.equal(*fresh)


CALLERS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "grad disabled": lambda: torch.set_grad_enabled(False),
}


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("caller", [*CALLERS, "default dtype"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_callers_modes_change_no_number_and_are_left_as_they_were(family, caller):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    within = (lambda: default_dtype(torch.float64)) if caller == "default dtype" else CALLERS[caller]

    def modes():
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled(),
            torch.get_default_dtype(),
        )

    for method, options in METHODS.items():
        wanted = method(model, tokenizer, **options)(TEXTS)
        with within():
            before = modes()
            explainer = method(model, tokenizer, **options)
            found = explainer(TEXTS)
            assert modes() == before
        for a, b in zip(wanted, found, strict=True):
            assert torch.equal(a.attributions, b.attributions), method.__name__
            assert b.attributions.dtype is torch.float32


def test_a_missing_padding_id_stays_missing():
    model, tokenizer = tiny.CLASSIFIERS["gpt2"]()
    for named in (True, False):
        if not named and hasattr(model.config, "pad_token_id"):
            del model.config.pad_token_id
        before = model.config.__dict__.get("pad_token_id", "absent")
        Occlusion(model, tokenizer)(TEXTS[:1], 0)
        assert model.config.__dict__.get("pad_token_id", "absent") == before


@pytest.mark.parametrize("device", ["meta", "cuda:77"])
def test_devices_that_cannot_compute_leave_the_model_whole(device):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(OptionError, match="`device`: "):
        Occlusion(model, tokenizer, device=device)(TEXTS[0], 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_move_that_fails_half_way_is_taken_back(monkeypatch):
    model, _ = tiny.CLASSIFIERS["bert"]()
    other = torch.device("cpu:0")  # not the parameters' device, though the same memory
    real, seen = torch.nn.Module._apply, [0]

    def failing(self, function, recurse=True):
        seen[0] += 1
        if seen[0] == 12:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, function, recurse)

    monkeypatch.setattr(torch.nn.Module, "_apply", failing)
    homes = [parameter.device for parameter in model.parameters()]
    with pytest.raises(torch.OutOfMemoryError), moved(model, other):
        pass
    assert [parameter.device for parameter in model.parameters()] == homes


@pytest.mark.parametrize("method", [Occlusion, IntegratedGradients], ids=lambda m: m.__name__)
def test_float64_models_keep_their_digits(method):
    """f = 10⁶ + 10⁻³ · (what a float32 copy computes): differences of float32 scores would be zero."""

    class Shifted(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.config, self.get_input_embeddings = inner, inner.config, inner.get_input_embeddings

        def forward(self, **inputs):
            return 1e6 + 1e-3 * self.inner(**inputs).logits

    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    wanted = method(model, tokenizer)(TEXTS[0], 0)[0].attributions
    found = method(Shifted(model.double()), tokenizer)(TEXTS[0], 0)[0].attributions
    torch.testing.assert_close(found * 1e3, wanted, rtol=1e-3, atol=1e-4)


WRAPPERS = {
    "DataParallel": torch.nn.DataParallel,
    "compiled in place": lambda model: model.compile(backend="eager") or model,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("method", [Occlusion, IntegratedGradients], ids=lambda m: m.__name__)
def test_wrappers_are_seen_through(wrapper, method):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    wanted = method(model, tokenizer)(TEXTS[0], "positive")[0]
    torch._dynamo.utils.counters.clear()
    found = method(WRAPPERS[wrapper](model), tokenizer)(TEXTS[0], "positive")[0]
    assert torch.equal(wanted.attributions, found.attributions) and found.target_labels == ["positive"]
    assert not torch._dynamo.utils.counters["stats"]["unique_graphs"]  # each hook would be a guard


def test_classes_that_are_shut_off_stay_out_of_the_way():
    class Shut(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.config, self.get_input_embeddings = inner, inner.config, inner.get_input_embeddings

        def forward(self, **inputs):
            logits = self.inner(**inputs).logits
            return torch.cat([torch.full_like(logits[:, :1], -torch.inf), logits[:, 1:]], 1)

    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    for method in (Occlusion, IntegratedGradients):
        predicted = method(Shut(model), tokenizer)(TEXTS[0])[0]
        named = method(Shut(model), tokenizer)(TEXTS[0], predicted.target_labels[0])[0]
        assert torch.equal(predicted.attributions, named.attributions) and predicted.targets[0] > 0
        with pytest.raises(ModelError, match="is not finite"):
            method(Shut(model), tokenizer)(TEXTS[0], 0)
