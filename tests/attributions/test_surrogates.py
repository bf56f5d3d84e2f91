"""LIME with a prior, global attributions and consensus: closed forms and scikit-learn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet, Ridge

from interpreto import (
    BlackBox,
    Consensus,
    Explanations,
    GLime,
    InputXGradient,
    KernelShap,
    Lime,
    LimeWithPrior,
    Occlusion,
    Saliency,
    demo,
)
from interpreto.attributions import GlobalAttribution
from interpreto.attributions.aggregations.penalized import PriorAggregator, elastic_net
from interpreto.errors import InputError, OptionError
from tests import tiny
from tests.attributions.games.test_methods import game_explanation, random_table
from tests.contracts.zoo import GENERATORS

TEXT = "A gorgeous, moving film."


@pytest.fixture(scope="module")
def classifier():
    return demo.load_classifier()


def masks_and_scores(u=5, p=40, seed=0):
    draws = np.random.default_rng(seed)
    return (draws.random((p, u)) < 0.5).astype(float), draws.normal(size=(p, 2))


def fitted(aggregator, present, scores, prior):
    weights = aggregator.weighting.weights(torch.tensor(1 - present).float())
    return aggregator._fit(
        torch.tensor(scores), torch.tensor(present), weights, torch.tensor(prior, dtype=torch.float64)
    ), weights


class TestLimeWithPrior:
    def test_without_a_prior_it_is_scikit_learns_ridge(self):
        present, scores = masks_and_scores()
        found, weights = fitted(PriorAggregator(strength=0.7), present, scores, np.zeros(5))
        model = Ridge(alpha=0.7).fit(present, scores, sample_weight=weights.numpy())
        np.testing.assert_allclose(found.values.numpy(), model.coef_, atol=1e-9)

    @pytest.mark.parametrize("ratio", [0.3, 1.0])
    def test_an_elastic_penalty_is_scikit_learns_on_the_shifted_target(self, ratio):
        present, scores = masks_and_scores()
        prior, strength, tau = np.array([3.0, -1.0, 0.0, 0.0, 1.0]), 2.0, 1.5
        found, weights = fitted(PriorAggregator(strength=strength, l1_ratio=ratio, scale=tau), present, scores, prior)
        start = tau * prior / np.abs(prior).sum()
        w = weights.numpy()
        design = (present - np.average(present, 0, w)) * np.sqrt(w)[:, None]
        for t in range(2):
            y = (scores[:, t] - present @ start) - np.average(scores[:, t] - present @ start, weights=w)
            n, alpha = len(y), strength * (ratio / 2 + 1 - ratio) / len(y)
            l1_ratio = strength * ratio / (2 * n) / alpha
            model = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, fit_intercept=False, tol=1e-14, max_iter=10**6)
            model.fit(design, y * np.sqrt(w))
            np.testing.assert_allclose(found.values[t].numpy(), start + model.coef_, atol=1e-7)
        assert found.standard_error is None

    def test_a_weak_prior_leaves_lime_and_a_strong_one_is_the_answer(self, classifier):
        plain = Lime(*classifier)(TEXT)[0]
        weak = LimeWithPrior(*classifier, prior={"film": 5.0}, strength=1e-9)(TEXT)[0]
        torch.testing.assert_close(weak.attributions, plain.attributions, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(weak.standard_error, plain.standard_error, atol=2e-3, rtol=0.1)
        strong = LimeWithPrior(*classifier, prior={"FILM": 3.0, "moving": -1.0}, strength=1e9, scale=2.0)(TEXT)[0]
        expected = {"film": 1.5, "moving": -0.5}
        assert dict(zip(strong.elements, strong.attributions[0].tolist(), strict=True)) == pytest.approx(
            {element: expected.get(element, 0.0) for element in strong.elements}, abs=1e-5
        )

    def test_a_function_is_a_prior_too_and_the_game_is_found_without_a_penalty(self, classifier):
        table = {"film": 5.0, "moving": 1.0}
        one = LimeWithPrior(*classifier, prior=table)(TEXT)[0]
        other = LimeWithPrior(*classifier, prior=lambda text: table.get(text, 0.0))(TEXT)[0]
        torch.testing.assert_close(one.attributions, other.attributions)
        few = LimeWithPrior(*classifier, prior=table, n_perturbations=4)(TEXT)[0]  # fewer than units: the prior decides
        assert bool(few.attributions.isfinite().all())

    def test_what_is_no_prior_is_refused(self, classifier):
        for options in ({"prior": 3}, {"strength": -1.0}, {"l1_ratio": 1.5}, {"scale": -2.0}):
            with pytest.raises(OptionError, match=f"`{next(iter(options))}`"):
                LimeWithPrior(*classifier, **options)

    def test_coordinate_descent_stops_at_the_optimum(self):
        draws = torch.Generator().manual_seed(0)
        design = torch.randn(30, 6, generator=draws, dtype=torch.float64)
        gram, moment = design.T @ design, design.T @ torch.randn(30, 3, generator=draws, dtype=torch.float64)
        found = elastic_net(gram, moment, 2.0, 0.5)
        slope = gram @ found + 0.5 * found - moment
        assert bool(torch.where(found != 0, (slope + 2 * found.sign()).abs() < 1e-8, slope.abs() <= 2 + 1e-8).all())
        assert bool((found == 0).any()) and bool((found != 0).any())


class TestGlobalAttribution:
    def test_normlime_of_two_texts(self, classifier):
        explainer = Occlusion(*classifier)
        one, other = explainer(["A film", "A"], "positive")
        one = dataclasses.replace(one, attributions=torch.tensor([[2.0, -1.0]]))
        other = dataclasses.replace(other, attributions=torch.tensor([[1.0]]))
        found = GlobalAttribution.of([one, other])
        assert found.prior() == pytest.approx({"A": 7 / 6, "film": 1 / 3})
        assert GlobalAttribution.of([other, one]).prior() == found.prior()  # order plays no part
        assert GlobalAttribution.of([one, other], positive=True).prior() == pytest.approx({"A": (4 / 2 + 1) / 2})
        assert GlobalAttribution.of([one, other], "mean").prior() == pytest.approx({"A": 1.5, "film": -1.0})
        assert GlobalAttribution.of([one, other], "mean_abs", min_count=2).prior() == pytest.approx({"A": 1.5})

    def test_a_word_twice_in_a_text_is_one_word_wherever_it_is(self, classifier):
        (one,) = Occlusion(*classifier)(["good Good film"], "positive")
        one = dataclasses.replace(one, attributions=torch.tensor([[1.0, 2.0, -1.0]]))
        found = GlobalAttribution.of([one])
        assert found.prior("positive") == pytest.approx({"good": 9 / 4, "film": 1 / 4}) and found.counts.tolist() == [[1], [1]]
        frame = found.to_dataframe()
        assert list(frame.columns) == ["word", "target", "value", "n_texts"] and len(frame) == 2
        assert found.top(1) == [("good", 2.25)] and "2 words" in repr(found)

    def test_it_is_a_prior(self, classifier):
        texts = [sentence.text for sentence in demo.load_sentences("movie")[:10]]
        found = GlobalAttribution.of(KernelShap(*classifier)(texts, [[0, 1]] * 10))
        assert found.targets == ("negative", "positive")
        explanation = LimeWithPrior(*classifier, prior=found.prior("negative"), n_perturbations=30)(texts[0], 0)[0]
        assert bool(explanation.attributions.isfinite().all())
        with pytest.raises(OptionError, match="`target`: got 'neutral'; there are 'negative', 'positive'"):
            found.top(3, "neutral")

    def test_one_surrogate_of_all_texts_finds_the_weights_of_words(self):
        weights = {"good": 2.0, "dull": -3.0, "film": 0.5, "very": 1.0}
        box = BlackBox(lambda texts: [[7 + sum(weights.get(w.casefold(), 0.0) for w in t.split())] for t in texts], ["score"])
        texts = ["good film here", "dull film", "very very good", "dull here"]
        for method in (Lime, GLime):
            found = GlobalAttribution.fit(method(box), texts, strength=0.0)
            assert found.prior() == pytest.approx(weights | {"here": 0.0}, abs=1e-5)
            assert found.counts[:, 0].tolist() == [2, 2, 2, 2, 1] and found.words == ("dull", "film", "good", "here", "very")
        other = GlobalAttribution.fit(Lime(box), texts[::-1], strength=0.0)  # order plays no part
        assert other.prior() == pytest.approx({"dull": -3, "film": 0.5, "good": 2, "here": 0, "very": 1}, abs=1e-5)

    def test_it_is_ridge_over_the_masks_of_all_texts(self):
        box = BlackBox(lambda texts: [[float(len(set(t)) ** 2), float("a" in t)] for t in texts], ["drawn", "has"])
        texts, masks = ["one two three", "two three four", "two, a five"], []
        lime = Lime(box, n_perturbations=60)
        found = GlobalAttribution.fit(lime, texts, strength=3.0)
        keys = [word.casefold() for word in found.words]
        for text in texts:
            sample = Occlusion(box)(text, [0, 1])[0].sample
            variants = lime.perturbator(sample, lime._generator())
            scores = torch.tensor(box.function([sample.render(row, None) for row in variants.mask])).double()
            weights = lime.aggregator.weights(variants.mask)[:, None]
            columns = torch.zeros(len(variants.mask), len(keys)).double()
            for i, unit in enumerate(sample.units.texts):
                columns[:, keys.index(unit.strip().casefold())] += 1 - variants.mask[:, i].double()
            centered = [part - (weights * part).sum(0) / weights.sum() for part in (columns, scores)]
            masks.append([part * weights.sqrt() for part in centered])
        design, response = (torch.cat(parts) for parts in zip(*masks, strict=True))
        wanted = Ridge(alpha=3.0, fit_intercept=False).fit(design.numpy(), response.numpy()).coef_
        torch.testing.assert_close(found.values.T.double(), torch.from_numpy(wanted), atol=1e-4, rtol=1e-4)

    def test_only_a_surrogate_of_a_classifier_is_fit(self, classifier):
        with pytest.raises(OptionError, match="`explainer`: got Occlusion"):
            GlobalAttribution.fit(Occlusion(*classifier), ["a"])
        with pytest.raises(OptionError, match="`strength`: got -1"):
            GlobalAttribution.fit(Lime(*classifier), ["a"], strength=-1.0)
        with pytest.raises(OptionError, match="`explainer`: is of a language model"):
            GlobalAttribution.fit(Lime(*GENERATORS["gpt2"]()), ["a"])

    def test_nothing_is_refused(self):
        with pytest.raises(InputError, match="nothing in it"):
            GlobalAttribution.of([])
        with pytest.raises(OptionError, match="`reduce`"):
            GlobalAttribution.of([], "median")


class TestConsensus:
    def test_equal_members_have_their_own_normalized_values(self, classifier):
        explainer = Occlusion(*classifier)
        found = Consensus([explainer, Occlusion(*classifier)])(TEXT)[0]
        own = explainer(TEXT)[0]
        torch.testing.assert_close(found.attributions, own.attributions / own.attributions.abs().sum())
        assert float(found.standard_error.abs().max()) < 1e-6 and found.target_labels == own.target_labels

    @pytest.mark.parametrize("normalize", ["l1", "rank", "max"])
    def test_the_scale_of_a_model_changes_nothing(self, normalize):
        model, tokenizer = tiny.CLASSIFIERS["bert"]()
        both = Consensus([Occlusion(model, tokenizer), InputXGradient(model, tokenizer)], normalize)
        before = both("the film was good", 1)[0]
        with torch.no_grad():
            model.classifier.weight.mul_(7)
            model.classifier.bias.mul_(7)
        after = both("the film was good", 1)[0]
        torch.testing.assert_close(before.attributions, after.attributions, atol=1e-4, rtol=1e-3)

    def test_the_error_is_that_over_members(self, classifier):
        members = [Occlusion(*classifier), InputXGradient(*classifier), KernelShap(*classifier)]
        found = Consensus(members, "max")(TEXT)[0]
        values = torch.stack([(v := member(TEXT)[0].attributions) / v.abs().max() for member in members])
        torch.testing.assert_close(found.attributions, values.mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.standard_error, values.std(0) / 3**0.5, atol=1e-5, rtol=1e-5)
        assert isinstance(Consensus(members)([TEXT, "Dull."]), Explanations)

    def test_models_with_tokenizers_of_their_own_agree_on_words(self):
        one, other = tiny.CLASSIFIERS["bert"](), tiny.CLASSIFIERS["gpt2"]()
        found = Consensus([Occlusion(*one), Occlusion(*other)])(["the film was good", "dull"], [0, 1])
        assert [len(explanation.elements) for explanation in found] == [4, 1]
        with pytest.raises(InputError, match="is a unit of one of Occlusion and Occlusion alone"):
            Consensus([Occlusion(*one), Occlusion(*other, granularity="token")])("the gorgeous film", 0)

    def test_ranks_are_between_0_and_1_and_equal_values_share_theirs(self):
        from interpreto.attributions.consensus import NORMALIZATIONS

        values = torch.tensor([[3.0, 1.0, 1.0, torch.nan]]).double()
        torch.testing.assert_close(
            NORMALIZATIONS["rank"](values), torch.tensor([[1.0, 0.25, 0.25, torch.nan]]).double(), equal_nan=True
        )

    def test_signs_need_all_members(self, classifier):
        assert not Consensus([Occlusion(*classifier), Saliency(*classifier)])(TEXT)[0].signed
        with pytest.raises(OptionError, match="`explainers`: got 1"):
            Consensus([Occlusion(*classifier)])


def test_ridge_on_a_game_tends_to_the_weights():
    table = random_table(4)
    plain, ridge = game_explanation(Lime, table, 4), game_explanation(LimeWithPrior, table, 4, strength=1e-9)
    torch.testing.assert_close(plain.attributions, ridge.attributions, atol=1e-4, rtol=1e-4)
