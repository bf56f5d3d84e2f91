"""Gradients at random points until a tolerance: closed forms, the points that are drawn, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from interpreto import DeepLiftShap, ExpectedGradients, GradientShap, SmoothGrad, SquareGrad, VarGrad
from interpreto.attributions import evidence
from interpreto.attributions.aggregations import MeanAggregator, SmoothGradAggregator
from interpreto.attributions.aggregations.base import Estimate
from interpreto.attributions.evidence import Parts
from interpreto.attributions.gradient_rounds import FIRST, MOST_POINTS, POINTS, added_by_noise
from interpreto.errors import OptionError
from interpreto.inputs.units import GranularityAggregationStrategy
from interpreto.models.points import PointScorer
from tests import problems, tiny

TEXTS = ["The film was not good.", "It's a great story, and the actors are terrible", "the keys to the cabinet", "A good film"]
NOISE, CLASS = 0.5, 1
BACKGROUND = torch.randn(400, 8, generator=torch.Generator().manual_seed(5)) / 4
KINDS = (SmoothGrad, SquareGrad, VarGrad, GradientShap, ExpectedGradients, DeepLiftShap)


class Quadratic(problems.Toy):
    """logit_c = ½ Σ over tokens of a_c · e², whose gradient at a token is a_c ⊙ e."""

    def __init__(self, vocabulary):
        super().__init__(vocabulary)
        nn.init.uniform_(self.head.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(1))

    def read(self, vectors):
        return (vectors.square() @ self.head.weight.T).sum(1) / 2


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.wordpiece()


@pytest.fixture(scope="module")
def quadratic(tokenizer):
    return Quadratic(len(tokenizer)).eval()


@pytest.fixture(scope="module")
def additive(tokenizer):
    return problems.Additive(len(tokenizer)).eval()


def options_of(method, **more):
    if method in (ExpectedGradients, DeepLiftShap):
        return {"background": BACKGROUND, "granularity": "token"} | more
    start = {"baseline": "zero"} if method is GradientShap else {}
    return {"noise_std": NOISE, "granularity": "token"} | start | more


def exact(method, model, sample):
    """Return the expectation of a method's values for one class, as it is known, and what its tolerance is a share of."""
    x, a = model.embedding(sample.input_ids).detach(), model.head.weight[CLASS].detach()
    spread = NOISE * x.std()
    free = sample.units.free
    if method is DeepLiftShap:  # of an additive model
        found = ((x - BACKGROUND.mean(0)) @ a)[free]
        return found, found.sum().abs()
    found = {
        SmoothGrad: (a * x).norm(dim=-1),
        SquareGrad: (a**2 * (x**2 + spread**2)).sum(-1),
        VarGrad: (spread**2 * a**2).sum().expand(len(x)),
        GradientShap: (a * (x**2 + spread**2)).sum(-1) / 2,
        ExpectedGradients: (a * (x**2 - BACKGROUND.square().mean(0))).sum(-1) / 2,
    }[method][free]
    if method is GradientShap:
        return found, (a * x[free] ** 2).sum().abs() / 2
    return found, found.sum().abs() if method is ExpectedGradients else found.max()


def of(method, quadratic, additive):
    return additive if method is DeepLiftShap else quadratic


@pytest.mark.slow
@pytest.mark.parametrize("method", KINDS)
def test_errors_are_within_the_tolerance_in_nearly_all_units(method, quadratic, additive, tokenizer):
    within, reached, tolerance = [], 0, 0.15 if method is not VarGrad else 0.3
    model = of(method, quadratic, additive)
    count = {"n_baselines": 400} if method is DeepLiftShap else {"n_perturbations": 400}
    for seed in range(4):
        explainer = method(model, tokenizer, tolerance=tolerance, random_state=seed, **options_of(method, **count))
        for found in explainer(TEXTS, [CLASS] * len(TEXTS)):
            truth, scale = exact(method, model, found.sample)
            if found.stopped.startswith("tolerance"):
                reached += 1
                within += ((found.attributions[0] - truth).abs() <= tolerance * scale).tolist()
    assert reached >= 12 and len(within) > 60
    assert sum(within) / len(within) >= 0.95


@pytest.mark.parametrize("method", KINDS)
def test_rounds_take_the_first_points_of_the_budget_and_none_twice(method, quadratic, additive, tokenizer, monkeypatch):
    seen, gradients = [], PointScorer.gradients

    def watched(self, variants, reducers):
        seen.append([v.points for v in variants])
        gradients(self, variants, reducers)

    monkeypatch.setattr(PointScorer, "gradients", watched)
    explainer = method(of(method, quadratic, additive), tokenizer, tolerance=0.3, **options_of(method))
    (found,) = explainer(TEXTS[1], CLASS)
    explainer.model.configured(explainer.task.read)
    drawn = explainer.perturbator(found.sample, explainer.model.space, explainer._generator()).points
    done = torch.cat([points for (points,) in seen])
    assert len(seen[0][0]) == FIRST and torch.equal(done, drawn[: len(done)])
    assert found.stopped.split(" after ")[1] == f"{len(done)} rows"


@pytest.mark.parametrize("method", KINDS)
def test_the_whole_budget_gives_what_no_tolerance_does(method, quadratic, additive, tokenizer):
    count = {"n_baselines": 40} if method is DeepLiftShap else {"n_perturbations": 40}
    model, options = of(method, quadratic, additive), options_of(method, **count)
    rounds = method(model, tokenizer, tolerance=1e-6, **options)
    found, whole = rounds(TEXTS, [CLASS] * 4), method(model, tokenizer, **options)(TEXTS, [CLASS] * 4)
    for one, other in zip(found, whole, strict=True):
        assert one.stopped == "budget ended after 40 rows" and other.stopped is None
        torch.testing.assert_close(one.attributions, other.attributions, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.standard_error, other.standard_error, rtol=1e-3, atol=1e-5)
        assert (one.residual is None) is (other.residual is None)
        if one.residual is not None:
            torch.testing.assert_close(one.residual, other.residual, rtol=1e-3, atol=1e-4)
    assert rounds.report()["tolerance"].reason == "the budget ended first for 4 of 4 texts"


def test_a_linear_model_is_done_after_the_first_round(additive, tokenizer):
    for method, truth in ((VarGrad, 0.0), (SmoothGrad, float(additive.head.weight[CLASS].detach().norm()))):
        explainer = method(additive, tokenizer, tolerance=1e-4, **options_of(method))
        for found in explainer(TEXTS, [CLASS] * 4):
            assert found.stopped == f"tolerance reached after {FIRST} rows"
            torch.testing.assert_close(found.attributions, torch.full_like(found.attributions, truth), rtol=1e-4, atol=1e-5)
        assert explainer.report()["tolerance"]


def test_texts_in_lock_step_are_explained_as_alone_and_share_batches(quadratic, tokenizer, monkeypatch):
    rows, gradients = [], PointScorer.gradients

    def watched(self, variants, reducers):
        rows.append(len(variants))
        gradients(self, variants, reducers)

    monkeypatch.setattr(PointScorer, "gradients", watched)
    together = SquareGrad(quadratic, tokenizer, tolerance=0.1, **options_of(SquareGrad))(TEXTS, [CLASS] * 4)
    assert rows[0] == 4 and rows == sorted(rows, reverse=True) and len({one.stopped for one in together}) > 1
    for text, found in zip(TEXTS, together, strict=True):
        alone = SquareGrad(quadratic, tokenizer, tolerance=0.1, batch_size=5, **options_of(SquareGrad))(text, CLASS)[0]
        assert alone.stopped == found.stopped
        torch.testing.assert_close(alone.attributions, found.attributions)


@pytest.mark.parametrize("method", [SmoothGrad, ExpectedGradients])
def test_targets_that_do_not_fit_together_are_explained_one_after_another(method, quadratic, tokenizer, monkeypatch):
    explainer = method(quadratic, tokenizer, tolerance=0.2, **options_of(method))
    whole = explainer(TEXTS[:2], [[0, 1, 2]] * 2)
    monkeypatch.setattr(evidence, "NUMBERS_HELD", 1)
    parts = explainer(TEXTS[:2], [[0, 1, 2]] * 2)
    for text, one, other in zip(TEXTS, whole, parts, strict=False):
        rows = [explainer(text, c)[0].stopped for c in range(3)]
        ended = [said for said in rows if said.startswith("budget")]
        assert other.stopped == (ended or [max(rows, key=lambda said: int(said.split()[-2]))])[0]
        assert one.attributions.shape == other.attributions.shape
        torch.testing.assert_close(other.base_scores, one.base_scores)
        for c, said in enumerate(rows):
            if said == one.stopped:
                torch.testing.assert_close(other.attributions[c], one.attributions[c], rtol=1e-4, atol=1e-5)


def test_what_noise_adds_to_a_norm_counts(tokenizer):
    class Flat(Quadratic):
        """Its gradient is zero at the word "film", so that only noise gives it a norm."""

        def __init__(self, vocabulary):
            super().__init__(vocabulary)
            with torch.no_grad():
                self.embedding.weight[tokenizer.convert_tokens_to_ids("film")] = 0.0

    model = Flat(len(tokenizer)).eval()
    for seed in range(3):
        explainer = SmoothGrad(model, tokenizer, tolerance=0.05, random_state=seed, **options_of(SmoothGrad))
        (found,) = explainer(TEXTS[0], CLASS)
        noise = float(found.attributions[0, found.elements.index("film")] / found.attributions.max())
        assert found.stopped.startswith("tolerance") and 0 < noise <= 0.05
    sample, parts = (
        found.sample,
        Parts(
            explainer.perturbator, SmoothGradAggregator(), explainer.task, torch.Generator, GranularityAggregationStrategy.SUM
        ),
    )
    values = torch.ones(1, len(sample))
    own = Estimate(values, left_out=values + torch.linspace(0.05, 0.15, 8)[:, None, None])
    torch.testing.assert_close(added_by_noise(own, sample, parts), torch.full((1, len(found.elements)), 0.7).double())
    for other in (replace(own, in_logarithms=True), replace(own, left_out=None)):
        assert added_by_noise(other, sample, parts) is None
    assert added_by_noise(own, sample, replace(parts, aggregator=MeanAggregator())) is None


def test_budgets_and_wrong_tolerances(quadratic, tokenizer):
    for tolerance, count in ((None, POINTS), (0.1, MOST_POINTS)):
        assert GradientShap(quadratic, tokenizer, tolerance=tolerance).perturbator.n_perturbations == count
    assert SmoothGrad(quadratic, tokenizer, 8, n_perturbations=7, tolerance=0.1).perturbator.n_perturbations == 7
    assert DeepLiftShap(quadratic, tokenizer, tolerance=0.1).perturbator.n_perturbations == MOST_POINTS
    for method in KINDS:
        with pytest.raises(OptionError, match=r"`tolerance`: got -1\.0"):
            method(quadratic, tokenizer, tolerance=-1.0)
