"""ConceptSHAP: the additive case, the axioms, exact and sampled."""

import itertools
import math

import pytest
import torch
from torch import nn

from interpreto.concepts import ConceptShap, DictionaryLearningExplainer, PCAConcepts, ProbeConcepts
from interpreto.concepts.concept_shap import _all, _orders, _prefixes, _sampled, _weights
from interpreto.concepts.splitters import ModelWithSplitPoints
from interpreto.errors import InputError, OptionError
from interpreto.metrics import ConceptCompleteness
from tests.problems import linear_headed
from tests.tiny import CLASSIFIERS, SENTENCES

WEIGHT = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def splitter():
    return linear_headed(WEIGHT)


@pytest.fixture(scope="module")
def pca(splitter):
    return PCAConcepts(splitter, nb_concepts=4).fit(splitter.get_activations(SENTENCES)[0])


def test_at_a_linear_head_values_are_the_concepts_own_terms(splitter, pca):
    result = ConceptShap(pca, "logit").run(SENTENCES, labels=1)
    codes = pca.inputs_to_concepts(SENTENCES).double()
    terms = codes.mean(0) * (pca.get_dictionary().double() @ WEIGHT[1].double())
    assert torch.allclose(result.values, terms, atol=1e-5)
    assert abs(float(result.values.sum()) - (result.full - result.empty)) < 1e-10
    assert torch.allclose(result.by_class[1], result.values) and result.by_class[0].isnan().all()
    assert (result.standard_error == 0).all() and result.n_coalitions == 16


def test_by_the_definition(pca):
    """All orders of three concepts, one after the other; the fourth is always there."""
    result = ConceptShap(pca, "probability", concepts=[0, 1, 3]).run(SENTENCES, labels=0)
    rows = pca.inputs_to_concepts(SENTENCES)

    def worth(present):
        kept = torch.zeros(4)
        kept[[2, *present]] = 1.0
        logits = pca.splitter.activations_to_outputs(pca.decode_concepts(rows * kept))
        return float(logits.double().softmax(1)[:, 0].mean())

    values = dict.fromkeys((0, 1, 3), 0.0)
    for order in itertools.permutations((0, 1, 3)):
        for place, concept in enumerate(order):
            values[concept] += (worth(order[: place + 1]) - worth(order[:place])) / math.factorial(3)
    assert torch.allclose(result.values, torch.tensor(list(values.values()), dtype=torch.float64), atol=1e-6)
    assert abs(result.empty - worth(())) < 1e-6 and abs(result.full - worth((0, 1, 3))) < 1e-6


@pytest.mark.parametrize("value", ["completeness", "accuracy", "probability", "logit"])
@pytest.mark.parametrize("n_orders", [None, 3])
def test_efficiency(pca, value, n_orders):
    result = ConceptShap(pca, value, "mean", n_orders=n_orders).run(SENTENCES)
    assert abs(float(result.values.sum()) - (result.full - result.empty)) < 1e-10
    assert abs(float(result.curve[0]) - result.empty) < 1e-5 and abs(float(result.curve[-1]) - result.full) < 1e-5


class Pair(nn.Module):
    """Two equal concepts and one that the decoder does not use."""

    nb_concepts = 3

    def fit(self, rows):
        self.mean = rows.mean(0)

    def encode(self, rows):
        return (rows @ self.mean)[:, None].repeat(1, 3)

    def decode(self, codes):
        return (codes[:, :1] + codes[:, 1:2]) * self.mean


def test_equal_concepts_share_equally_and_an_unused_one_has_nothing(splitter):
    explainer = DictionaryLearningExplainer(splitter, Pair()).fit(splitter.get_activations(SENTENCES)[0])
    result = ConceptShap(explainer, "probability").run(SENTENCES, labels=0)
    assert abs(float(result.values[0] - result.values[1])) < 1e-12 and abs(float(result.values[2])) < 1e-12
    assert abs(float(result.values[0])) > 1e-4


def test_exact_weights_are_the_mean_over_all_orders():
    worth = torch.randn(32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coalitions = _all(5)
    orders = torch.tensor(list(itertools.permutations(range(5))))
    both = torch.stack([orders, orders.flip(1)], 1).flatten(0, 1)
    places = (_prefixes(both).long() * 2 ** torch.arange(5)).sum(1)
    assert torch.allclose(_weights(coalitions) @ worth, _sampled(both, worth[places])[0], atol=1e-12)


def test_sampled_values_are_within_their_errors_of_exact_ones():
    """A random game of 8 players: 8 values × 10 seeds, of which nearly all are within 3 standard errors."""
    worth = torch.randn(256, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact, outside = (_weights(_all(8)) @ worth)[:, 0], 0
    for seed in range(10):
        orders = _orders(8, 64, seed)
        places = (_prefixes(orders).long() * 2 ** torch.arange(8)).sum(1)
        values, error = _sampled(orders, worth[places])
        outside += int(((values[:, 0] - exact).abs() > 3 * error).sum())
    assert outside <= 2


def test_completeness_of_all_concepts_is_the_metric(splitter, pca):
    result = ConceptShap(pca).run(SENTENCES)
    codes = pca.inputs_to_concepts(SENTENCES)
    logits = splitter.activations_to_outputs(pca.decode_concepts(codes))
    _, classes = splitter.get_activations(SENTENCES)
    right = float((logits.argmax(1) == classes).double().mean())
    assert abs(result.full - (right - 1 / 3) / (1 - 1 / 3)) < 1e-10
    assert ConceptCompleteness(pca, width=0).run(SENTENCES).details["guessing"] == 1 / 3


def test_deeper_down_and_drawn(tmp_path):
    model, tokenizer = CLASSIFIERS["bert"]()
    splitter = ModelWithSplitPoints(model, 0, tokenizer=tokenizer)
    rows = splitter.get_activations(SENTENCES, "all_tokens")
    explainer = PCAConcepts(splitter, nb_concepts=3).fit(rows)
    result = ConceptShap(explainer, "probability").run(SENTENCES[1:4])
    assert abs(float(result.values.sum()) - (result.full - result.empty)) < 1e-10
    assert "worth of the concepts" in result.to_html(tmp_path / "shap.html") and "concept 0" in str(result)
    assert result.plot(backend="matplotlib") is not None and len(result.to_dataframe()) == 3


class Turned(nn.Module):
    """All of the activations as orthonormal concepts, and a decoder that is exact, or one that returns nothing of them."""

    nb_concepts = 32

    def __init__(self, exact):
        super().__init__()
        self.exact = exact

    def fit(self, rows):
        self.turn = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(1)))[0]

    def encode(self, rows):
        return rows @ self.turn

    def decode(self, codes):
        return codes @ self.turn.T if self.exact else torch.zeros_like(codes)


TEXTS = [f"{a} {b}" for a in SENTENCES[1:6] for b in SENTENCES[1:6]]


def of_turned(splitter, exact, **options):
    explainer = DictionaryLearningExplainer(splitter, Turned(exact)).fit(splitter.get_activations(TEXTS)[0])
    training = {"width": 16, "n_epochs": 20, "lr": 3e-2}
    metric = ConceptCompleteness(explainer, **training, **options).run(TEXTS)
    shap = ConceptShap(explainer, concepts=[0, 1], mapping="trained", **training, **options)
    return ConceptShap(explainer, concepts=[0, 1]).run(TEXTS), shap.run(TEXTS), metric


def test_a_trained_map_is_as_complete_as_an_exact_decoder_and_mends_a_mute_one(splitter):
    plain, trained, metric = of_turned(splitter, exact=True)
    assert plain.full == trained.full == metric.score == 1.0
    assert plain.held_out is None and list(trained.held_out) == metric.details["held_out"]
    plain, trained, metric = of_turned(splitter, exact=False)
    assert abs(trained.full - metric.score) < 1e-10 and trained.full > plain.full + 0.2
    assert abs(float(trained.values.sum()) - (trained.full - trained.empty)) < 1e-10


@pytest.mark.slow
def test_training_is_seeded_and_leaves_the_model_and_autograd_alone(splitter):
    before = {name: value.clone() for name, value in splitter.model.state_dict().items()}
    first = of_turned(splitter, exact=False)[1]
    with torch.inference_mode():
        again = of_turned(splitter, exact=False)[1]
        assert torch.is_inference_mode_enabled()
    with torch.no_grad():
        third = of_turned(splitter, exact=False, random_state=1)[1]
        assert not torch.is_grad_enabled()
    assert torch.equal(first.values, again.values) and first.held_out == again.held_out != third.held_out
    assert all(parameter.grad is None and parameter.requires_grad for parameter in splitter.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in splitter.model.state_dict().items())


def test_wrong_calls(pca):
    with pytest.raises(OptionError, match="mapping"):
        ConceptShap(pca, mapping="linear")
    with pytest.raises(InputError, match="at least two"):
        ConceptShap(pca, mapping="trained").run(SENTENCES[:1])
    for options in ({"concepts": [4]}, {"concepts": [1, 1]}, {"concepts": []}, {"value": "loss"}, {"n_orders": 0}):
        with pytest.raises(OptionError, match=next(iter(options))):
            ConceptShap(pca, **options)
    with pytest.raises(OptionError, match="splitter"):
        ConceptShap(PCAConcepts(None, nb_concepts=1).fit(torch.eye(3)))
    assert not hasattr(ProbeConcepts, "decode_concepts")
