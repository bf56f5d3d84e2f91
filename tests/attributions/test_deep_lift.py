"""DeepLift: captum's on perceptrons, complete on every family of models, with standard errors over a background."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from interpreto import DeepLift, DeepLiftShap, ExpectedGradients, IntegratedGradients
from interpreto.attributions.aggregations.base import t_ratio
from interpreto.errors import CompletenessWarning, OptionError
from tests import problems, tiny

TEXT = "The film was not good, and the story is terrible."
TEXTS = list(tiny.SENTENCES[1:5])
BACKGROUND = ["A great film.", "The story is a mess, and the actors are sad.", "He paid for old books."]
COMPLETE = 1e-5  # of the gap
QUICK = ("bert", "xlnet", "llama", "mixtral", "mamba", "bart")


def families(zoo):
    """The families of a zoo, most of them in the slow lane."""
    return [family if family in QUICK else pytest.param(family, marks=pytest.mark.slow) for family in zoo]


class Perceptron(problems.Toy):
    """logits of the mean vector, by two hidden layers."""

    def __init__(self, vocabulary, activation=nn.ReLU):
        super().__init__(vocabulary)
        generator = torch.Generator().manual_seed(1)
        self.body = nn.Sequential(nn.Linear(8, 16), activation(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
        for parameter in self.body.parameters():
            nn.init.normal_(parameter, generator=generator)

    def read(self, vectors):
        return self.body(vectors.mean(1))


class Rows(nn.Module):
    """The perceptron as a function of embeddings, for captum."""

    def __init__(self, model):
        super().__init__()
        self.body = model.body

    def forward(self, vectors):
        return self.body(vectors.mean(1))


@pytest.fixture
def tokenizer():
    return tiny.wordpiece()


def precise(model):
    """In float64, as the rounding of steep models is larger than what is tested; some have no float64."""
    return model.double() if tiny.RELEASE >= (5,) and "Mixtral" not in type(model).__name__ else model


def assert_complete(output, share=COMPLETE):
    gap = (output.base_scores - output.reference_scores).abs()
    assert bool((output.residual.abs() <= share * gap.clamp(min=1.0)).all()), (output.residual, gap)
    assert float(gap.max()) > 1e-3  # there is something to divide


@pytest.mark.filterwarnings("ignore::UserWarning:captum")
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.ELU], ids=lambda a: a.__name__)
def test_deep_lift_is_captums(tokenizer, activation):
    from captum.attr import DeepLift as Captum

    model = Perceptron(len(tokenizer), activation).eval()
    found = DeepLift(model, tokenizer, baseline="mean", granularity="all_tokens")(TEXT, 1)[0]
    x = model.embedding(found.sample.input_ids)[None].detach()
    mean = model.embedding.weight.mean(0).expand_as(x).detach()
    wanted = Captum(Rows(model)).attribute(x, mean, target=1).sum(-1)
    torch.testing.assert_close(found.attributions, wanted.detach(), rtol=1e-4, atol=1e-5)
    assert_complete(found)


@pytest.mark.filterwarnings("ignore::UserWarning:captum")
def test_deep_lift_shap_is_captums(tokenizer):
    from captum.attr import DeepLiftShap as Captum

    model = Perceptron(len(tokenizer)).eval()
    baselines = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    found = DeepLiftShap(model, tokenizer, background=baselines, granularity="all_tokens")(TEXT, 1)[0]
    x = model.embedding(found.sample.input_ids)[None].detach()
    wanted = Captum(Rows(model)).attribute(x, baselines[:, None].expand(-1, x.shape[1], -1), target=1).sum(-1)
    torch.testing.assert_close(found.attributions, wanted.detach(), rtol=1e-4, atol=1e-5)
    assert_complete(found)


@pytest.mark.parametrize("family", families(tiny.CLASSIFIERS))
def test_deep_lift_is_complete_on_every_family_of_classifiers(family):
    model, tokenizer = tiny.CLASSIFIERS[family]()
    for output in DeepLift(precise(model), tokenizer)(TEXTS, targets=[[0, 1, 2]] * len(TEXTS)):
        assert_complete(output)
    assert_complete(DeepLift(model, tokenizer, inference_mode="softmax")(TEXTS[0], 1)[0])


@pytest.mark.parametrize("family", families(tiny.CAUSAL_LMS))
def test_deep_lift_is_complete_on_every_family_of_language_models(family):
    model, tokenizer = tiny.CAUSAL_LMS[family]()
    for output in DeepLift(precise(model), tokenizer)(["A dull story with no end", "The film"], [" at all", " was"]):
        assert_complete(output)


@pytest.mark.parametrize("family", families(tiny.SEQ2SEQ))
def test_deep_lift_is_complete_on_encoder_decoders(family):
    for zoo, target in ((tiny.SEQ2SEQ, " at all"), (tiny.SEQ2SEQ_CLASSIFIERS, 1)):
        model, tokenizer = zoo[family]()
        assert_complete(DeepLift(precise(model), tokenizer)("A dull story with no end", target)[0])


def test_scores_of_many_pairs_and_of_parts_are_complete(monkeypatch):
    """Log-probabilities are read in parts, of which each holds whole pairs."""
    from interpreto.models import points

    model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
    texts, targets = ["A dull story with no end"] * 5, [" at all", " so much", " good", " was not", " so"]
    wanted = DeepLift(precise(model), tokenizer)(texts, targets)
    monkeypatch.setattr(points, "READ_TOGETHER", 2 * model.config.vocab_size)  # two pairs
    for a, b in zip(wanted, DeepLift(model, tokenizer)(texts, targets), strict=True):
        assert_complete(b)
        torch.testing.assert_close(a.attributions, b.attributions, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_the_baseline_decides_and_auto_is_the_mask(tokenizer):
    model, tokenizer = tiny.CLASSIFIERS["bert"]()
    found = {b: DeepLift(model, tokenizer, baseline=b)(TEXT, 1)[0] for b in ("auto", "mask", "mean", "zero", 0.3)}
    assert torch.equal(found["auto"].attributions, found["mask"].attributions)
    assert not torch.allclose(found["mask"].attributions, found["mean"].attributions, atol=1e-3)
    for output in found.values():
        assert_complete(output)


def test_an_operation_without_rule_is_told(tokenizer):
    class Largest(problems.Toy):
        def read(self, vectors):
            return self.head(vectors.sort(1).values[:, -1])

    with pytest.warns(CompletenessWarning, match="DeepLift: .* of the score gap .* operations without a rule, such as sorting"):
        found = DeepLift(Largest(len(tokenizer)).eval(), tokenizer, baseline="zero")(TEXT, 0)[0]
    assert float(found.residual.abs()) > 0.05 * float((found.base_scores - found.reference_scores).abs())


def test_the_mean_over_a_background_and_its_standard_error_are_those_of_single_baselines():
    model, tokenizer = tiny.CLASSIFIERS["distilbert"]()
    baselines = 0.2 * torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    found = DeepLiftShap(model, tokenizer, background=baselines)(TEXT, 1)[0]
    alone = torch.stack([DeepLift(model, tokenizer, baseline=b)(TEXT, 1)[0].attributions for b in baselines])
    torch.testing.assert_close(found.attributions, alone.mean(0), rtol=1e-4, atol=1e-5)
    error = alone.std(0) / len(baselines) ** 0.5 * t_ratio(len(baselines) - 1)
    torch.testing.assert_close(found.standard_error, error, rtol=1e-3, atol=1e-5)
    assert_complete(found)


def test_texts_of_a_background_take_the_places_of_the_units(tokenizer):
    model = problems.Additive(len(tokenizer)).eval()
    for method, options in ((DeepLiftShap, {}), (ExpectedGradients, {"n_perturbations": 9})):
        found = method(model, tokenizer, background=BACKGROUND, granularity="token", **options)(TEXT, 2)[0]
        u, weight = len(found.elements), model.head.weight[2]
        rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in BACKGROUND]
        places = torch.tensor([[ids[i % len(ids)] for i in range(u)] for ids in rows])
        own = found.sample.input_ids[found.sample.units.free]
        wanted = (model.embedding(own) - model.embedding(places).mean(0)) @ weight
        torch.testing.assert_close(found.attributions[0], wanted.detach(), rtol=1e-4, atol=1e-4)
        assert float(found.residual.abs()) < 1e-3


def test_expected_gradients_are_the_mean_of_integrated_gradients_over_the_background(tokenizer):
    model = Perceptron(len(tokenizer), nn.Tanh).eval()
    baselines = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    paths = [IntegratedGradients(model, tokenizer, baseline=b, n_perturbations=256)(TEXT, 1)[0] for b in baselines]
    wanted = torch.stack([path.attributions for path in paths]).mean(0)
    found = ExpectedGradients(model, tokenizer, background=baselines, n_perturbations=400)(TEXT, 1)[0]
    assert float(((found.attributions - wanted).abs() / found.standard_error).max()) < 4
    assert float(found.standard_error.max()) < 0.2 * float(wanted.abs().max())
    gap = found.base_scores - torch.stack([path.reference_scores for path in paths]).mean(0)
    torch.testing.assert_close(found.base_scores - found.reference_scores, gap, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "background", [[], ["A film.", ""], "A film.", torch.zeros(3)], ids=["none", "no token", "a text", "a vector"]
)
def test_backgrounds_that_are_none_are_refused(background, tokenizer):
    with pytest.raises(OptionError, match="`background`: "):
        DeepLiftShap(problems.Additive(len(tokenizer)), tokenizer, background=background)
