"""Many architectures against a naive loop: one row at a time, in float64, nothing batched, padded, cached or shared.

Those that are refused are listed, with the error that names them.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from interpreto import InputXGradient, IntegratedGradients, KernelShap, Occlusion, Saliency
from interpreto.errors import ModelError, OptionError
from tests import tiny
from tests.architectures import families
from tests.architectures.families import CLASSIFIER, FAMILIES, SEQ2SEQ_CLASSIFIER, Family

TEXT = "the film was great"
TEXTS = [TEXT, "it is", "nothing happens and then it ends well"]
BOUND = 1e-4  # of the largest value
STEPS = 3
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(tiny.RELEASE < (5,), reason="the configs are those of transformers 5"),
    pytest.mark.filterwarnings("ignore"),
]


class Loop:
    """The definitions, on a copy of the model."""

    def __init__(self, model, sample):
        self.model, self.sample, self.readout = model, sample, sample.targets.readouts[0]
        self.extras = {name: value[None] for name, value in sample.inputs.items()}
        if "use_cache" in inspect.signature(model.forward).parameters:
            self.extras["use_cache"] = False  # RWKV's is changed in place, which no gradient survives

    def arguments(self, ids):
        source = self.sample.source
        if not source:
            return {"input_ids": ids[None], **self.extras}
        return {"input_ids": ids[None, :source], "decoder_input_ids": ids[None, source:], **self.extras}

    def score(self, ids):
        logits = self.model(**self.arguments(ids)).logits
        if self.readout.positions is None:
            return logits[0, int(self.readout.ids[0])]
        place = int(self.readout.positions[0]) - self.sample.source
        return logits[0, place].log_softmax(-1)[int(self.readout.ids[0])]

    def worth(self, removed, token):
        ids = self.sample.input_ids.clone()
        for unit in removed:
            ids[self.sample.units.index == unit] = token
        with torch.no_grad():
            return float(self.score(ids))

    def occlusion(self, token):
        whole = self.worth((), token)
        return [whole - self.worth((unit,), token) for unit in range(self.players)]

    @property
    def players(self):
        return len(self.sample.units)

    def shapley(self, token):
        everyone = range(self.players)
        worth = {gone: self.worth(gone, token) for r in range(self.players + 1) for gone in itertools.combinations(everyone, r)}
        values = []
        for unit in everyone:
            total = 0.0
            for gone, value in worth.items():
                if unit not in gone:
                    share = math.factorial(len(gone)) * math.factorial(self.players - len(gone) - 1)
                    total += share / math.factorial(self.players) * (value - worth[tuple(sorted((*gone, unit)))])
            values.append(total)
        return values

    @property
    def layer(self):
        return (self.model.get_encoder() if self.sample.source else self.model).get_input_embeddings()

    @property
    def read(self):
        return self.sample.input_ids[: self.sample.source or None]

    def embeddings(self):
        found = self.layer(self.read[None])
        return (found[0] if isinstance(found, tuple) else found)[0].detach()

    @contextmanager
    def at(self, point):
        """The embedding layer returns ``point`` for the text, laid out as it is asked."""
        ids = self.read

        def give(_module, inputs, output):
            asked, own = inputs[0], output[0] if isinstance(output, tuple) else output
            if asked.shape[0] == len(ids) and asked.shape[1:] == (1,):
                return point[:, None].clone()
            if asked.shape[1] < len(ids) or not torch.equal(asked[0, : len(ids)], ids):
                return output
            laid = torch.cat([point[None], own[:, len(ids) :]], 1)
            return (laid, *output[1:]) if isinstance(output, tuple) else laid

        handle = self.layer.register_forward_hook(give)
        try:
            yield
        finally:
            handle.remove()

    def gradient(self, point):
        point = point.clone().requires_grad_()
        with self.at(point):
            (found,) = torch.autograd.grad(self.score(self.sample.input_ids), point)
        return found

    def pooled(self, values):
        index = self.sample.units.index[: len(values)]
        return [float(values[index == unit].sum()) for unit in range(self.players)]

    def input_x_gradient(self):
        embeddings = self.embeddings()
        parts = embeddings * self.gradient(embeddings)
        return self.pooled(parts.sum(1)), float(parts.abs().sum(1).max())

    def integrated_gradients(self):
        embeddings = self.embeddings()
        free = self.sample.units.free[: len(embeddings), None]
        start = torch.where(free, torch.zeros_like(embeddings), embeddings)
        nodes, weights = np.polynomial.legendre.leggauss(STEPS)
        total = sum(
            weight / 2 * self.gradient(start + (node + 1) / 2 * (embeddings - start))
            for node, weight in zip(nodes, weights, strict=True)
        )
        parts = (embeddings - start) * total
        return self.pooled(parts.sum(1)), float(parts.abs().sum(1).max())


def explained(family, method, model, tokenizer, texts=TEXT, **options):
    if family.kind in (CLASSIFIER, SEQ2SEQ_CLASSIFIER):
        return method(model, tokenizer, **options)(texts, 0)
    targets = [[17]] * (1 if isinstance(texts, str) else len(texts))
    return method(model, tokenizer, **options)(texts, targets, attribute_targets=False)


def state(model):
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    needs = [parameter.requires_grad for parameter in model.parameters()]
    return model.config.to_dict(), flags, hooks, needs, tensors


def assert_near(found, wanted, scale, what):
    error = max(abs(a - b) for a, b in zip(found, wanted, strict=True))
    assert error <= BOUND * scale, f"{what}: {found} and the loop {wanted}"


@pytest.mark.parametrize("name", FAMILIES)
def test_an_architecture_equals_the_loop(name):
    family = FAMILIES[name]
    model, tokenizer = family.build()
    precise = copy.deepcopy(model).to(torch.float64 if family.double else torch.float32)
    before = state(model)
    token = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else 9
    masks = {"replacement": token}
    methods = {Occlusion: masks, KernelShap: masks | {"n_perturbations": 64}}
    if family.gradients:
        methods |= {InputXGradient: {}, IntegratedGradients: {"n_perturbations": STEPS, "baseline": "zero"}}
    found = {method: explained(family, method, model, tokenizer, **options)[0] for method, options in methods.items()}
    for method in (Occlusion, InputXGradient) if family.gradients else (Occlusion,):
        together = explained(family, method, model, tokenizer, TEXTS, **methods[method])
        for text, output in zip(TEXTS, together, strict=True):
            alone = explained(family, method, model, tokenizer, text, **methods[method])[0].attributions.nan_to_num()
            scale = max(1.0, float(alone.abs().max()))
            if not (family.normalized and method is InputXGradient):
                assert float((alone - output.attributions.nan_to_num()).abs().max()) <= BOUND * scale, f"batches of {method}"
    after = state(model)
    assert after[:4] == before[:4]
    assert family.changes_itself or all(torch.equal(before[4][key], after[4][key]) for key in before[4])

    loop = Loop(precise, found[Occlusion].sample)
    values = {method: output.attributions[0].double().tolist()[: loop.players] for method, output in found.items()}
    wanted = {Occlusion: loop.occlusion(token), KernelShap: loop.shapley(token)}
    for method, expected in wanted.items():
        assert_near(values[method], expected, max(1e-3, *(abs(value) for value in expected)), method.__name__)
    if family.gradients:
        for method, (expected, parts) in {
            InputXGradient: loop.input_x_gradient(),
            IntegratedGradients: loop.integrated_gradients(),
        }.items():
            largest = max(1e-3, *(abs(value) for value in expected))
            assert_near(values[method], expected, max(largest, parts) if family.normalized else largest, method.__name__)


def test_there_are_many():
    assert len(FAMILIES) >= 80


def _family(kind, model_class, tokenizer, settings):
    return Family(kind, model_class, tokenizer, settings)


REFUSED = {
    "XLNet's language model looks ahead": (
        lambda: _family("language model", "XLNetLMHeadModel", tiny.xlnet_unigram, tiny._XLNET),
        Occlusion,
        {},
        (ModelError, "XLNetLMHeadModel reads the tokens that follow"),
    ),
    "BERT's, unless it is a decoder": (
        lambda: _family("language model", "BertLMHeadModel", tiny.wordpiece, tiny._DENSE),
        Occlusion,
        {},
        (ModelError, "BertLMHeadModel reads the tokens that follow"),
    ),
    "ProphetNet's logits depend on the length": (
        lambda: _family("seq2seq", "ProphetNetForConditionalGeneration", tiny.wordpiece, families.PROPHETNET),
        Occlusion,
        {},
        (ModelError, "ProphetNetForConditionalGeneration reads the tokens that follow"),
    ),
    "Gemma 3n looks ids up in every layer: no gradients": (
        lambda: _family("language model", "Gemma3nForCausalLM", tiny.sentencepiece_bpe, families.GEMMA_3N),
        Saliency,
        {},
        (ModelError, "Gemma3nForCausalLM looks token ids up a second time"),
    ),
    "Gemma 3n: no mean embedding": (
        lambda: _family("language model", "Gemma3nForCausalLM", tiny.sentencepiece_bpe, families.GEMMA_3N),
        Occlusion,
        {"replacement": "mean"},
        (ModelError, "Gemma3nForCausalLM looks token ids up a second time"),
    ),
    "FNet takes no attention mask": (
        lambda: families.CLASSIFIERS["fnet"],
        Occlusion,
        {"replacement": "attention"},
        (OptionError, "hides nothing from FNetForSequenceClassification"),
    ),
    "RWKV reads past its mask": (
        lambda: families.LANGUAGE_MODELS["rwkv"],
        Occlusion,
        {"replacement": "attention"},
        (OptionError, "does not hide tokens from RwkvForCausalLM"),
    ),
    "RecurrentGemma's recurrent blocks read past it": (
        lambda: families.LANGUAGE_MODELS["recurrent_gemma"],
        Occlusion,
        {"replacement": "attention"},
        (OptionError, "does not hide tokens from RecurrentGemmaForCausalLM"),
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_an_architecture_that_is_refused_is_named(reason):
    family, method, options, (error, message) = REFUSED[reason]
    family = family()
    model, tokenizer = family.build()
    target = 0 if family.kind == CLASSIFIER else " story it is"
    with pytest.raises(error, match=message):
        method(model, tokenizer, **options)("it is a great film and the story", target)
