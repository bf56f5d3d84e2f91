"""Sets of units, soft masks, sums and sizes: closed forms, and captum, scipy and scikit-learn where they are right."""

from __future__ import annotations

import math
from dataclasses import replace

import captum.metrics
import numpy as np
import pytest
import scipy.stats
import sklearn.linear_model
import sklearn.metrics
import torch

from interpreto import InputXGradient, IntegratedGradients, KernelShap, Occlusion, Saliency, demo
from interpreto.errors import InputError, OptionError
from interpreto.metrics import (
    AUPRC,
    IOUF1,
    Benchmark,
    Completeness,
    Complexity,
    EffectiveComplexity,
    FaithfulnessCorrelation,
    Infidelity,
    LeaveOneOutCorrelation,
    LocalFidelity,
    MonotonicityCorrelation,
    NormalizedAOPC,
    SensitivityN,
    SoftComprehensiveness,
    SoftSufficiency,
    Sparseness,
    SurrogateFidelity,
    TokenF1,
    TokenIoU,
)
from interpreto.metrics.attributions.subset_correlations import subsets_of_size
from interpreto.statistics import kendall, mean_ranks, pearson, spearman
from tests import tiny
from tests.metrics.games import additive, explained, model_of
from tests.problems import random_game

TIED = [([1.0, 2.0, 2.0, 3.0, 0.5], [3.0, 1.0, 1.0, 1.0, 2.0]), ([0.1, 0.4, 0.4, -1.0], [1.0, 2.0, 3.0, 4.0])]


@pytest.mark.parametrize(("x", "y"), TIED)
def test_correlations_are_scipys(x, y):
    a, b = torch.tensor(x), torch.tensor(y)
    assert mean_ranks(a).tolist() == scipy.stats.rankdata(x).tolist()
    assert float(pearson(a, b)) == pytest.approx(scipy.stats.pearsonr(x, y).statistic, abs=1e-7)
    assert float(spearman(a, b)) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    assert kendall(a, b) == pytest.approx(scipy.stats.kendalltau(x, y).statistic, abs=1e-12)


def test_a_constant_has_no_correlation():
    flat, rising = torch.ones(4), torch.arange(4.0)
    assert math.isnan(float(pearson(flat, rising)))
    assert math.isnan(float(spearman(rising, flat)))
    assert math.isnan(kendall(flat, rising))


WEIGHTS = (1.0, -2.0, 3.0)


class TestInfidelity:
    def test_of_a_linear_score(self):
        game = model_of(additive(WEIGHTS), 3)
        rows = [WEIGHTS, [2 * w for w in WEIGHTS], [0.0] * 3]
        assert Infidelity(*game).run(explained(*game, *rows)).per_sample.tolist() == pytest.approx(
            [0, 36 / 7, 36 / 7], abs=1e-5
        )

    def test_scaled_it_is_blind_to_scale_and_sign_and_says_so(self):
        game = model_of(additive(WEIGHTS), 3)
        rows = [[2 * w for w in WEIGHTS], [-w for w in WEIGHTS], [0.0] * 3]
        result = Infidelity(*game, normalize=True).run(explained(*game, *rows))
        assert result.per_sample.tolist() == pytest.approx([0, 0, 36 / 7], abs=1e-5)
        assert [row[0] for row in result.details["scale"]] == pytest.approx([0.5, -1.0, 0.0], abs=1e-6)

    @pytest.mark.parametrize("normalize", [False, True])
    def test_captum_finds_the_same_of_the_same_sets(self, normalize):
        value, _ = random_game(4, 2)
        game = model_of(value, 4)
        values = torch.tensor([0.3, -1.0, 0.7, 0.2])
        ours = Infidelity(*game, normalize=normalize).run(explained(*game, values.tolist()))
        sets = torch.tensor([[(n >> k) & 1 for k in range(4)] for n in range(1, 16)], dtype=torch.float32)
        theirs = captum.metrics.infidelity(
            lambda present: torch.from_numpy(value(present.double().numpy())).float(),
            lambda inputs: (sets, inputs - sets),
            torch.ones(1, 4),
            values[None],
            n_perturb_samples=15,
            normalize=normalize,
        )
        assert float(ours) == pytest.approx(float(theirs), rel=1e-4)

    def test_of_many_units_the_sets_are_drawn_and_none_is_empty(self):
        game = model_of(additive([0.1] * 30), 30)
        metric = Infidelity(*game, n_perturbations=50)
        row = explained(*game, [0.1] * 30)
        assert float(metric.run(row)) == pytest.approx(0.0, abs=1e-9)
        sets = metric.subsets(30, torch.Generator().manual_seed(0))
        assert sets.shape == (50, 30)
        assert bool(sets.any(1).all())
        assert 0.4 < float(sets.double().mean()) < 0.6

    def test_magnitudes_are_skipped_and_named(self):
        model, tokenizer = demo.load_classifier()
        result = Infidelity(model, tokenizer).run(Saliency(model, tokenizer)("A gorgeous, moving film."))
        assert math.isnan(float(result))
        assert (result.n_valid, result.n_skipped) == (0, 1)
        assert "magnitudes" in result.details["skipped"][0]


class TestCorrelations:
    @pytest.mark.parametrize(
        "metric", [FaithfulnessCorrelation, SensitivityN, SurrogateFidelity, LocalFidelity, LeaveOneOutCorrelation]
    )
    def test_of_a_game_that_adds_up_the_weights_are_perfect(self, metric):
        weights = [0.5, -0.3, 1.0, 0.2, -0.7, 0.1, 0.9]
        game = model_of(additive(weights, constant=2.0), 7)
        good, bad = metric(*game).run(explained(*game, weights, [-w for w in weights])).per_sample.tolist()
        assert good == pytest.approx(1.0, abs=1e-4)
        assert bad < -0.9

    def test_a_metric_replaces_units_by_what_the_explanation_did(self):
        """Against another baseline even exact attributions lose; against their own they are perfect."""
        game = model_of(additive([0.5, -0.3, 1.0, 0.2]), 4)
        (output,) = KernelShap(*game)(torch.arange(4)[None], 0)
        assert float(FaithfulnessCorrelation(*game, replacement="mask", subset_size=2).run(output)) == pytest.approx(
            1, abs=1e-5
        )

    def test_local_fidelity_is_the_weighted_r2_of_a_linear_model(self):
        value, _ = random_game(5, 3)
        game = model_of(value, 5)
        for width, distance in ((0.25, "cosine"), (0.8, "hamming")):
            options = {"kernel_width": width, "distance_function": distance}
            metric = LocalFidelity(*game, **options)
            masks = metric.subsets(5, torch.Generator())
            assert len(masks.unique(dim=0)) == 2**5
            weights, present = metric._weighting.weights(masks.float()).numpy(), (~masks).double().numpy()
            scores = value(present)
            fit = sklearn.linear_model.LinearRegression().fit(present, scores, weights)
            best, other = metric.run(explained(*game, fit.coef_, fit.coef_ + 0.3)).per_sample.tolist()
            assert best == pytest.approx(fit.score(present, scores, weights), abs=1e-5) and other < best

    def test_sizes_of_sets(self):
        generator = torch.Generator().manual_seed(0)
        assert subsets_of_size(5, 2, 100, generator).sum(1).tolist() == [2] * 10
        drawn = subsets_of_size(20, 6, 50, generator)
        assert drawn.shape == (50, 20)
        assert set(drawn.sum(1).tolist()) == {6}
        game = model_of(additive([0.1 * i for i in range(8)]), 8)
        result = SensitivityN(*game).run(explained(*game, [0.1 * i for i in range(8)]))
        assert list(result.details["by_size"][0][0]) == list(range(1, 8))

    def test_scale_does_not_matter_to_correlations_and_does_to_fidelity(self):
        value, _ = random_game(6, 5)
        game = model_of(value, 6)
        row = [0.3, -0.1, 0.8, 0.4, -0.6, 0.2]
        for metric, same in ((FaithfulnessCorrelation, True), (SensitivityN, True), (SurrogateFidelity, False)):
            one, ten = metric(*game).run(explained(*game, row, [10 * v for v in row])).per_sample.tolist()
            assert (one == pytest.approx(ten, abs=1e-6)) is same

    def test_occlusion_is_leave_one_out(self):
        model, tokenizer = demo.load_classifier()
        texts = [sentence.text for sentence in demo.load_sentences()[:4]]
        outputs = Occlusion(model, tokenizer)(texts)
        assert float(LeaveOneOutCorrelation(model, tokenizer).run(outputs)) == pytest.approx(1.0)
        found = LeaveOneOutCorrelation(model, tokenizer).run(InputXGradient(model, tokenizer)(texts))
        for i, output in enumerate(InputXGradient(model, tokenizer)(texts)):
            expected = scipy.stats.kendalltau(output.attributions[0], outputs[i].attributions[0]).statistic
            assert float(found.per_sample[i]) == pytest.approx(expected, abs=1e-6)

    def test_monotonicity_correlation_over_one_replacement_and_over_tokens(self):
        model, tokenizer = demo.load_classifier()
        outputs = Occlusion(model, tokenizer)([sentence.text for sentence in demo.load_sentences()[:3]])
        generator = torch.Generator().manual_seed(0)
        outputs = [replace(o, attributions=torch.randn(o.attributions.shape, generator=generator)) for o in outputs]
        metric = MonotonicityCorrelation(model, tokenizer, n_samples=3)
        found = metric.run(outputs)
        tokens = [game.replacement.token_id for game in metric._games(outputs)]
        assert len(tokens) == 3
        for i, output in enumerate(outputs):
            squares = []
            for token in tokens:
                ids = output.sample.input_ids.repeat(len(output.elements), 1)
                ids[output.sample.units.index[None] == torch.arange(len(output.elements))[:, None]] = token
                with torch.no_grad():
                    scores = model(input_ids=ids).logits[:, int(output.targets[0])]
                squares.append((output.base_scores[0] - scores).square())
            expected = scipy.stats.spearmanr(output.attributions[0].abs(), torch.stack(squares).mean(0)).statistic
            assert float(found.per_sample[i]) == pytest.approx(expected, abs=1e-3)
        one = MonotonicityCorrelation(model, tokenizer).run(Occlusion(model, tokenizer)("A gorgeous, moving film."))
        assert float(one) == pytest.approx(1.0)

    def test_constants_are_skipped(self):
        game = model_of(additive([0.1] * 4), 4)
        result = LeaveOneOutCorrelation(*game).run(explained(*game, [1.0] * 4, [1.0, 2.0, 3.0, 4.0]))
        assert result.n_skipped == 2
        assert result.details["skipped"] == ["the attributions, or the score, are the same for all subsets"]

    def test_what_differs_by_rounding_alone_is_constant(self):
        model, tokenizer = tiny.CLASSIFIERS["bert"]()
        with torch.no_grad():
            model.classifier.weight.normal_(0, 1e-8, generator=torch.Generator().manual_seed(0))
            model.classifier.bias.copy_(torch.tensor([0.3, 0.1, 0.5]))
        outputs = [
            replace(output, attributions=torch.arange(float(output.attributions.shape[1]))[None])
            for output in Occlusion(model, tokenizer)(tiny.SENTENCES[:3])
        ]
        for metric in (
            FaithfulnessCorrelation,
            SensitivityN,
            LeaveOneOutCorrelation,
            MonotonicityCorrelation,
            SurrogateFidelity,
            LocalFidelity,
            SoftComprehensiveness,
            SoftSufficiency,
            NormalizedAOPC,
        ):
            result = metric(model, tokenizer).run(outputs)
            assert result.n_skipped == 3, metric
            assert result.details["skipped"], metric

    @pytest.mark.parametrize("factor", [1e-20, 1e-6, 1e12])
    def test_correlations_are_blind_to_any_scale(self, factor):
        game = model_of(random_game(6, 5)[0], 6)
        (output,) = explained(*game, [0.3, -0.1, 0.8, 0.4, -0.6, 0.2])
        other = replace(output, attributions=output.attributions * factor)
        for metric in (FaithfulnessCorrelation, SensitivityN, LeaveOneOutCorrelation, MonotonicityCorrelation):
            one, two = (float(metric(*game).run(o)) for o in (output, other))
            assert one == pytest.approx(two, abs=1e-5)

    def test_what_has_no_units_to_remove_is_skipped_with_the_reason(self):
        model, tokenizer = demo.load_classifier()
        outputs = Occlusion(model, tokenizer)(["A gorgeous, moving film.", "Dull, and far too long."])
        outputs[0] = replace(outputs[0], attributions=torch.full_like(outputs[0].attributions, torch.nan))
        result = MonotonicityCorrelation(model, tokenizer, n_samples=2).run(outputs)
        assert (result.n_valid, result.n_skipped) == (1, 1)
        assert "nothing before the target" in result.details["skipped"][0]
        assert MonotonicityCorrelation(model, tokenizer, n_samples=2).run(outputs[:1]).n_skipped == 1

    def test_company_changes_nothing(self):
        model, tokenizer = demo.load_classifier()
        outputs = Occlusion(model, tokenizer)(["The story is dull.", "What a story!"])
        for metric in (
            Infidelity(model, tokenizer, n_perturbations=20),
            FaithfulnessCorrelation(model, tokenizer, n_perturbations=20),
            SoftComprehensiveness(model, tokenizer),
            NormalizedAOPC(model, tokenizer, exact_units=4, beam_size=2),
        ):
            alone = torch.cat([metric.run([output]).per_sample for output in outputs])
            together = metric.run(outputs[::-1]).per_sample.flip(0)
            torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)

    def test_draws_are_the_seeds_and_no_one_elses(self):
        value, _ = random_game(16, 5)
        game = model_of(value, 16)
        row = explained(*game, torch.randn(16, generator=torch.Generator().manual_seed(1)).tolist())
        state = torch.get_rng_state()
        a, b, c = (float(FaithfulnessCorrelation(*game, random_state=seed).run(row)) for seed in (0, 0, 1))
        assert a == b != c
        assert torch.equal(state, torch.get_rng_state())

    @pytest.mark.parametrize("size", [0, -1, 1.5, True])
    def test_a_size_that_cannot_be(self, size):
        with pytest.raises(OptionError, match="subset_size"):
            FaithfulnessCorrelation(*model_of(additive([0.1] * 4), 4), subset_size=size)


class TestSoftMasks:
    def test_with_weights_of_nought_and_one_nothing_is_left_to_chance(self):
        model, tokenizer = demo.load_classifier()
        (output,) = IntegratedGradients(model, tokenizer)("A gorgeous, moving film.")
        values = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
        output = replace(output, attributions=values)
        comp, suff = (metric(model, tokenizer).run(output) for metric in (SoftComprehensiveness, SoftSufficiency))
        layer = model.get_input_embeddings()
        units = output.sample.units.index

        def probability(kept):
            embeddings = layer(output.sample.input_ids) * kept[:, None]
            with torch.no_grad():
                return float(model(inputs_embeds=embeddings[None]).logits.softmax(-1)[0, int(output.targets[0])])

        free = units >= 0
        whole, nothing = probability(torch.ones(len(units))), probability((~free).float())
        without, alone = probability((units != 1).float()), probability((~free | (units == 1)).float())
        assert float(comp) == pytest.approx(min(1.0, max(0.0, whole - without) / (whole - nothing)), abs=1e-4)
        assert float(suff) == pytest.approx(max(0.0, (whole - nothing) - max(0.0, whole - alone)) / (whole - nothing), abs=1e-4)

    def test_the_right_weights_beat_the_reversed(self):
        model, tokenizer = demo.load_classifier()
        texts = ["A gorgeous, moving film.", "The worst and dullest film of the year.", "What a wonderful story!"]
        right = Occlusion(model, tokenizer)(texts)
        wrong = [replace(output, attributions=-output.attributions) for output in right]
        for metric in (SoftComprehensiveness, SoftSufficiency):
            good, bad = (metric(model, tokenizer).run(outputs) for outputs in (right, wrong))
            assert float(good) > float(bad) + 0.1
            assert 0 <= float(bad) <= float(good) <= 1
            assert float(metric(model, tokenizer).run(right)) == float(good)

    def test_where_nothing_can_be_lost_there_is_no_share(self):
        model, tokenizer = demo.load_classifier()
        texts = ["A gorgeous, moving film."]
        probabilities = Occlusion(model, tokenizer, inference_mode="softmax")(texts, "negative")
        result = SoftSufficiency(model, tokenizer).run(probabilities)
        assert result.n_skipped == 1


class TestSums:
    def test_of_methods_that_add_up_of_those_that_do_not_and_of_those_that_cannot(self):
        model, tokenizer = demo.load_classifier()
        text = "A gorgeous, moving film."
        (output,) = IntegratedGradients(model, tokenizer, n_perturbations=64)(text)
        assert float(Completeness().run(output)) < 1e-2
        assert Completeness().run(output).details["complete"] == [[True]]  # nearly is enough: an exact == would say no
        gap = float(output.base_scores[0] - output.reference_scores[0])
        twice = replace(output, attributions=2 * output.attributions)
        assert float(Completeness().run(twice)) == pytest.approx(abs(gap), rel=1e-2)
        assert float(Completeness(relative=True).run(twice)) == pytest.approx(1.0, rel=1e-2)
        assert Completeness().run(twice).details["complete"] == [[False]]
        (shap,) = KernelShap(model, tokenizer)(text)
        assert float(Completeness().run(shap)) < 1e-4
        for other, why in ((Saliency, "magnitudes"), (Occlusion, "no reference")):
            result = Completeness().run(other(model, tokenizer)(text))
            assert math.isnan(float(result))
            assert why in result.details["skipped"][0]

    def test_a_share_of_nothing_is_skipped_and_the_rest_has_a_mean(self):
        model, tokenizer = demo.load_classifier()
        outputs = KernelShap(model, tokenizer)(["A gorgeous, moving film.", "Dull, and far too long."])
        outputs[0] = replace(outputs[0], reference_scores=outputs[0].base_scores)
        result = Completeness(relative=True).run(outputs)
        assert (result.n_valid, result.n_skipped) == (1, 1)
        assert result.details["skipped"] == ["f(x) equals f(reference), of which nothing is a share"]
        assert 0 <= float(result) < 1e-3
        nothing = replace(outputs[1], attributions=torch.full_like(outputs[1].attributions, torch.nan))
        assert Completeness().run(nothing).n_skipped == 1

    def test_occlusion_of_an_exclusive_or_would_not_add_up(self):
        xor = model_of(lambda present: (present.sum(1) == 1).astype(float), 2)
        (output,) = explained(*xor, [0.0, 0.0])
        values = Occlusion(*xor)(torch.arange(2)[None], 0)[0].attributions
        both = replace(output, attributions=values, reference_scores=torch.zeros(1))
        assert float(Completeness().run(both)) == pytest.approx(abs(0.0 - float(values.sum())))
        assert float(Completeness().run(both)) == 2.0


def sizes(*values):
    return torch.tensor(values, dtype=torch.float64)


class TestSizes:
    def test_numbers(self):
        assert Sparseness().value(sizes(1, 1, 1, 1)) == 0
        assert Sparseness().value(sizes(0, 0, 0, 5)) == 0.75
        assert Sparseness(normalize=True).value(sizes(0, 0, 0, 5)) == pytest.approx(1.0)
        assert Sparseness().value(sizes(1, 2, 3, 4)) == pytest.approx(0.25)
        assert Complexity().value(sizes(1, 1, 1, 1)) == pytest.approx(1.386294, abs=1e-6)
        assert Complexity().value(sizes(0, 0, 7)) == 0
        assert Complexity().value(sizes(1, 2, 3, 4)) == pytest.approx(1.279854, abs=1e-6)
        assert Complexity(normalize=True).value(sizes(2, 2, 2)) == pytest.approx(1.0)
        assert EffectiveComplexity(0.5).value(sizes(1, 4, 8)) == 1
        assert EffectiveComplexity(0.5, relative=False).value(sizes(1, 4, 8, 0.5)) == 3

    def test_entropy_is_scipys(self):
        values = torch.rand(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert Complexity().value(values) == pytest.approx(scipy.stats.entropy(values.numpy()))

    def test_signs_scale_and_missing_elements_play_no_part(self):
        game = model_of(additive([0.1] * 4), 4)
        rows = [[1, 2, 3, 4], [-2, 4, -6, 8]]
        (padded,) = explained(*game, [1, 2, 3, 4])
        wide = replace(padded, attributions=torch.tensor([[1, 2, math.nan, 3.0]]))
        for metric in (Sparseness(), Complexity(), EffectiveComplexity()):
            one, other = metric.run(explained(*game, *rows)).per_sample.tolist()
            assert one == pytest.approx(other)
            assert float(metric.run(wide)) == pytest.approx(metric.value(sizes(1, 2, 3)))

    def test_nothing_has_no_complexity(self):
        game = model_of(additive([0.1] * 3), 3)
        result = Sparseness().run(explained(*game, [0.0] * 3, [1.0, 0.0, 0.0]))
        assert math.isnan(float(result.per_sample[0]))
        assert float(result) == pytest.approx(2 / 3)
        assert result.n_skipped == 1


class TestPlausibility:
    game = model_of(additive([0.1] * 6), 6)
    marked = (1, 1, 0, 0, 1, 0)
    chosen = (0.9, 0.1, 0.8, 0.2, 0.7, 0.3)  # the three largest: 101010

    def test_overlaps(self):
        row = explained(*self.game, self.chosen)
        assert float(TokenF1([self.marked]).run(row)) == pytest.approx(2 / 3)
        assert float(TokenIoU([self.marked]).run(row)) == pytest.approx(0.5)

    def test_precision_over_recall(self):
        values, marked = (0.9, 0.2, 0.8, 0.1, 0.7, 0.3), (1, 1, 0, 0, 1, 0)
        row = explained(*self.game, values)
        assert float(AUPRC([marked]).run(row)) == pytest.approx(0.755556, abs=1e-6)
        assert float(AUPRC([marked], eraser=True).run(row)) == pytest.approx(0.711111, abs=1e-6)
        generator = np.random.default_rng(0)
        for _ in range(20):
            values, marked = generator.integers(0, 4, 6).astype(float), generator.integers(0, 2, 6)
            marked[generator.integers(6)] = 1
            found = float(AUPRC([marked.tolist()]).run(explained(*self.game, values.tolist())))
            assert found == pytest.approx(sklearn.metrics.average_precision_score(marked, values), abs=1e-9)
            precision, recall, _ = sklearn.metrics.precision_recall_curve(marked, values)
            found = float(AUPRC([marked.tolist()], eraser=True).run(explained(*self.game, values.tolist())))
            assert found == pytest.approx(sklearn.metrics.auc(recall, precision), abs=1e-9)

    def test_a_constant_gets_the_share_of_marked_units(self):
        row = explained(*self.game, [1.0] * 6)
        assert float(AUPRC([(1, 1, 1, 0, 0, 0)]).run(row)) == pytest.approx(0.5)
        assert float(AUPRC([(1, 1, 1, 0, 0, 0)], eraser=True).run(row)) == pytest.approx(0.75)

    def test_runs_of_units(self):
        row = explained(*self.game, (0.9, 0.8, 0.0, 0.0, 0.7, 0.0))  # runs 0–1 and 4
        result = IOUF1([(1, 1, 1, 0, 0, 0)], k=3).run(row)  # 0–2: overlap 2/3 with the first
        assert (result.details["precision"], result.details["recall"]) == ([[0.5]], [[1.0]])
        assert float(result) == pytest.approx(2 / 3)
        assert float(IOUF1([(1, 1, 1, 0, 0, 0)], k=3, threshold=0.7).run(row)) == 0

    def test_scores_of_runs_are_summed_up_before_their_mean_is_taken(self):
        rows = explained(*self.game, (0.9, 0, 0, 0, 0.7, 0), (0.9, 0.8, 0, 0, 0, 0))
        result = IOUF1([(1, 0, 0, 0, 0, 0), (1, 1, 0, 0, 0, 1)], k=2).run(rows)
        precision, recall = (0.5 + 1.0) / 2, (1.0 + 0.5) / 2
        assert float(result) == pytest.approx(2 * precision * recall / (precision + recall))

    def test_the_interval_and_the_mean_of_draws_are_of_the_same_statistic(self):
        rows = explained(*self.game, (0.9, 0, 0, 0, 0.7, 0), (0.9, 0.8, 0, 0, 0, 0))
        marked = [(1, 0, 0, 0, 0, 0), (1, 1, 0, 0, 0, 1)]
        result = IOUF1(marked, k=2).run(rows)
        low, high = result.interval()
        assert low <= float(result) <= high
        assert result.parts.tolist() == [[0.5, 1.0], [1.0, 0.5]]
        assert result.difference(result) == (0.0, 0.0)
        table = Benchmark(*self.game, metrics=[IOUF1(marked, k=2)], baselines=("random",), n_random=4).run({"own": rows})
        random = table["random", "IOUF1"]
        precision, recall = torch.stack([r.parts for r in random.details["results"]]).mean((0, 1)).tolist()
        assert float(random) == pytest.approx(2 * precision * recall / (precision + recall))

    def test_equals_are_chosen_from_both_ends(self):
        """An explanation that knows nothing gets no credit for where the rationale happens to stand."""
        flat = explained(*self.game, [0.0] * 6)
        for metric in (TokenF1, TokenIoU, IOUF1):
            first = float(metric([(1, 1, 0, 0, 0, 0)]).run(flat))
            assert first == float(metric([(0, 0, 0, 0, 1, 1)]).run(flat)) == 0.5

    def test_rationales_of_numpy(self):
        row = explained(*self.game, self.chosen)
        for metric in (TokenF1, AUPRC):
            wanted = float(metric([[1, 0, 1, 0, 0, 0]]).run(row))
            for values in (
                np.array([1, 0, 1, 0, 0, 0]),
                np.array([True, False] * 1 + [True] + [False] * 3),
                torch.tensor([1, 0, 1, 0, 0, 0]),
            ):
                assert float(metric([values]).run(row)) == wanted
            assert float(metric([list(np.array([1, 0, 1, 0, 0, 0]))]).run(row)) == wanted
        ranges = [(0, 2), (6, 8)]
        assert float(TokenF1([np.array(ranges)]).run(row)) == float(TokenF1([ranges]).run(row))

    def test_characters_become_units(self):
        model, tokenizer = demo.load_classifier()
        (output,) = Occlusion(model, tokenizer)("A gorgeous, moving film.")
        start = output.text.index("geous")
        result = TokenF1([[(start, start + 3)]]).run(output)
        assert float(result) == 1.0  # "gorgeous" is the one unit that is touched, and the largest

    def test_as_many_units_as_people_marked_on_average(self):
        metric = TokenF1([(1, 1, 1, 1, 0, 0), (1, 1, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0)])
        result = metric.run(explained(*self.game, *[self.chosen] * 3))
        assert [int(row[0].sum()) for row in result.details["chosen"][:2]] == [3, 3]
        assert result.n_skipped == 1
        assert result.details["skipped"] == ["nothing is marked"]

    @pytest.mark.parametrize(
        ("rationales", "message"),
        [
            ([], "got 0 for 1"),
            ([(1, 0)], "2 values for 6"),
            ([[(5, 2)]], "not a range"),
            ([[(0, 10_000)]], "not a range"),
            ([[("a", "b")]], "not a range"),
            ([None], "got None; pass 0 or 1"),
            (["text"], "got 'text'; pass 0 or 1"),
        ],
    )
    def test_rationales_that_cannot_be(self, rationales, message):
        with pytest.raises(InputError, match=message):
            TokenF1(rationales).run(explained(*self.game, self.chosen))

    def test_rationales_that_are_no_list(self):
        with pytest.raises(InputError, match="one rationale for each explanation"):
            TokenF1("text")

    def test_k_that_cannot_be(self):
        with pytest.raises(OptionError, match="`threshold`"):
            IOUF1([self.marked], threshold=5)
        with pytest.raises(OptionError, match="`k`"):
            TokenF1([self.marked], k=0)
