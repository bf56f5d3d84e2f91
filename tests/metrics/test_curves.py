"""Curves: closed forms on games that add up, loops of a few lines on a real model, and what must never be removed."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import interpreto.attributions.metrics as of_attributions
from interpreto import Contrast, IntegratedGradients, Occlusion, Saliency, demo
from interpreto import metrics as home
from interpreto.errors import InputError, MismatchWarning, OptionError
from interpreto.metrics import (
    ABPC,
    AOPCComprehensiveness,
    AOPCSufficiency,
    DecisionFlip,
    Deletion,
    Infidelity,
    Insertion,
    LeRF,
    LogOdds,
    Monotonicity,
    MoRF,
    NormalizedAOPC,
)
from interpreto.metrics.attributions.base import run_together
from interpreto.metrics.attributions.normalized_aopc import all_subsets, highest_path
from interpreto.metrics.ranking import orders, steps
from tests import tiny
from tests.metrics.games import additive, explained, model_of
from tests.problems import random_game

WEIGHTS = (0.4, 0.3, 0.2, 0.1)
AREAS = (Deletion, Insertion, MoRF, LeRF, ABPC)


def scores_of(metric, game, rows, **options):
    return metric(*game, measure="score", **options).run(explained(*game, *rows)).per_sample.tolist()


class TestOfAGameThatAddsUp:
    game = model_of(additive(WEIGHTS), 4)

    @pytest.mark.parametrize(
        ("metric", "right", "wrong", "options"),
        [
            (Deletion, 0.375, 0.625, {}),
            (Insertion, 0.625, 0.375, {}),
            (MoRF, 0.375, 0.625, {}),
            (LeRF, 0.625, 0.375, {}),
            (ABPC, 0.25, -0.25, {}),
            (AOPCComprehensiveness, 0.75, 0.5, {"bins": "all"}),
            (AOPCSufficiency, 0.25, 0.5, {"bins": "all"}),
        ],
    )
    def test_areas_are_those_of_the_closed_form(self, metric, right, wrong, options):
        found = scores_of(metric, self.game, [WEIGHTS, [-w for w in WEIGHTS]], **options)
        assert found == pytest.approx([right, wrong], abs=1e-6)

    @pytest.mark.parametrize(("metric", "value"), [(Deletion, 0.5), (Insertion, 0.5), (ABPC, 0.0)])
    def test_a_constant_attribution_knows_nothing(self, metric, value):
        assert scores_of(metric, self.game, [[3.0] * 4]) == pytest.approx([value], abs=1e-6)

    def test_a_constant_attribution_is_no_order_however_unequal_the_units(self):
        game = model_of(additive((1.0, 0, 0, 0, 0)), 5)
        assert scores_of(Deletion, game, [[0.0] * 5]) == pytest.approx([0.5], abs=1e-6)

    @pytest.mark.parametrize(("metric", "sign"), [(Deletion, -1), (Insertion, 1), (ABPC, 1), (MoRF, -1), (LeRF, 1)])
    def test_the_right_order_beats_every_other_strictly(self, metric, sign):
        others = [order for order in itertools.permutations(WEIGHTS) if order != WEIGHTS]
        best, *found = [sign * score for score in scores_of(metric, self.game, [WEIGHTS, *others])]
        assert len(found) == 23
        assert all(best > score + 1e-3 for score in found)

    def test_deletion_and_insertion_add_up_to_the_whole_and_the_nothing(self):
        game = model_of(additive((0.5, -0.25, 1.0), constant=0.3), 3)
        for row in itertools.permutations((0.5, -0.25, 1.0)):
            deletion, insertion = (scores_of(metric, game, [row])[0] for metric in (Deletion, Insertion))
            assert deletion + insertion == pytest.approx(0.3 + 1.55, abs=1e-6)

    def test_with_a_pair(self):
        game = model_of(additive((0.2, 0.2, 0.1), pair=0.5), 3)  # f: 1 → without the first .3 → without both .1 → 0
        assert scores_of(Deletion, game, [(3, 2, 1)]) == pytest.approx([(0.5 + 0.3 + 0.1 + 0) / 3], abs=1e-6)
        assert scores_of(Insertion, game, [(3, 2, 1)]) == pytest.approx([(0 + 0.2 + 0.9 + 0.5) / 3], abs=1e-6)

    def test_lerf_is_insertion_for_any_game(self):
        value, _ = random_game(6, 3)
        game = model_of(value, 6)
        rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).tolist()
        assert scores_of(LeRF, game, rows) == pytest.approx(scores_of(Insertion, game, rows), abs=1e-9)
        assert scores_of(MoRF, game, rows) == pytest.approx(scores_of(Deletion, game, rows), abs=1e-9)

    def test_the_mean_drop_of_samek(self):
        result = MoRF(*self.game, measure="score").run(explained(*self.game, WEIGHTS))
        assert result.details["aopc"][0][0] == pytest.approx((0 + 0.4 + 0.7 + 0.9 + 1.0) / 5, abs=1e-6)

    def test_a_step_may_be_of_several_units_and_has_its_true_width(self):
        # Four steps over ten units: 0, 2, 5, 8, 10 are removed.
        game = model_of(additive([0.1] * 10), 10)
        assert steps(10, 4).tolist() == [0, 2, 5, 8, 10]
        found = scores_of(Deletion, game, [range(10, 0, -1)], n_perturbations=4)
        assert found == pytest.approx([0.5], abs=1e-6)  # on a line, whatever the spacing; equal widths would give .5 too…
        curved = model_of(lambda present: (present.sum(1) / 10) ** 2, 10)
        x = np.array([0, 2, 5, 8, 10]) / 10
        expected = np.trapezoid((1 - x) ** 2, x)  # …but not here
        assert scores_of(Deletion, curved, [range(10, 0, -1)], n_perturbations=4) == pytest.approx([expected], abs=1e-6)

    def test_a_walk_may_end_early(self):
        found = scores_of(Deletion, self.game, [WEIGHTS], max_percentage_perturbed=0.5)
        assert found == pytest.approx([(0.5 + 0.6 + 0.15) / 2], abs=1e-6)  # mean height of 1, .6, .3

    def test_eraser_rounds_bins_up(self):
        game = model_of(additive([0.05] * 20), 20)  # k = 1, 1, 2, 4, 10
        found = scores_of(AOPCComprehensiveness, game, [range(20, 0, -1)])
        assert found == pytest.approx([0.05 * (1 + 1 + 2 + 4 + 10) / 5], abs=1e-6)

    def test_monotonicity_of_a_game_that_rises_and_of_one_that_falls(self):
        assert scores_of(Monotonicity, self.game, [WEIGHTS, [-w for w in WEIGHTS]]) == [1.0, 1.0]
        falling = model_of(additive([-w for w in WEIGHTS]), 4)
        result = Monotonicity(*falling, measure="score").run(explained(*falling, WEIGHTS))
        assert float(result) == 0.0
        assert result.details["monotone"] == [[False]]
        mixed = model_of(additive((1.0, -1.0, 1.0, 1.0)), 4)
        assert scores_of(Monotonicity, mixed, [(4, 3, 2, 1)]) == [0.75]


class TestBounds:
    def test_the_right_order_has_all_and_the_reversed_nothing(self):
        game = model_of(additive(WEIGHTS), 4)
        found = scores_of(NormalizedAOPC, game, [WEIGHTS, [-w for w in WEIGHTS], [1.0] * 4])
        assert found == pytest.approx([1.0, 0.0, 0.5], abs=1e-6)

    def test_exact_bounds_are_those_of_all_orders(self):
        value, _ = random_game(5, 1)
        result = NormalizedAOPC(*model_of(value, 5), measure="score").run(explained(*model_of(value, 5), range(5)))
        whole = value(np.ones((1, 5)))[0]
        aopcs = []
        for order in itertools.permutations(range(5)):
            present, drops = np.ones(5), []
            for unit in order:
                present[unit] = 0
                drops.append(whole - value(present[None])[0])
            aopcs.append(np.mean(drops))
        assert result.details["highest"][0][0] == pytest.approx(max(aopcs), abs=1e-5)
        assert result.details["lowest"][0][0] == pytest.approx(min(aopcs), abs=1e-5)

    def test_the_search_finds_what_is_exact_where_units_add_up_and_stays_inside_elsewhere(self):
        weights = [0.3, -0.2, 0.5, 0.1, 0.0, 0.25]
        for value in (additive(weights), random_game(6, 7)[0]):
            game = model_of(value, 6)
            exact, searched = (
                NormalizedAOPC(*game, measure="score", exact_units=n).run(explained(*game, weights)).details for n in (6, 1)
            )
            assert exact["exact"] == [[True]]
            assert searched["exact"] == [[False]]
            assert searched["highest"][0][0] <= exact["highest"][0][0] + 1e-6
            assert searched["lowest"][0][0] >= exact["lowest"][0][0] - 1e-6
        game = model_of(additive(weights), 6)
        both = [NormalizedAOPC(*game, measure="score", exact_units=n).run(explained(*game, weights)) for n in (6, 1)]
        assert float(both[0]) == pytest.approx(float(both[1]), abs=1e-6)

    def test_walks_over_sets(self):
        assert all_subsets(2).tolist() == [[False, False], [True, False], [False, True], [True, True]]
        assert highest_path(torch.tensor([0.0, 1.0, 3.0, 4.0])) == 7.0
        assert -highest_path(-torch.tensor([0.0, 1.0, 3.0, 4.0])) == 5.0


@pytest.fixture(scope="module")
def classified():
    """Attributions that no method made, of six sentences."""
    model, tokenizer = demo.load_classifier()
    outputs = Occlusion(model, tokenizer)([sentence.text for sentence in demo.load_sentences()[:6]])
    generator = torch.Generator().manual_seed(0)
    return model, tokenizer, [replace(o, attributions=torch.randn(o.attributions.shape, generator=generator)) for o in outputs]


def by_hand(model, tokenizer, output, counts, kept=False):
    """One copy after the other: log-probabilities of all classes without, or with alone, the first k units."""
    order = output.attributions[0].argsort(descending=True)
    rows = []
    for k in counts:
        chosen = torch.isin(output.sample.units.index, order[:k])
        gone = (~chosen if kept else chosen) & (output.sample.units.index >= 0)
        ids = torch.where(gone, tokenizer.mask_token_id, output.sample.input_ids)
        with torch.no_grad():
            rows.append(model(input_ids=ids[None]).logits[0].log_softmax(-1))
    return torch.stack(rows).double()


class TestLoopsOfTenLines:
    def test_areas(self, classified):
        model, tokenizer, outputs = classified
        results = [metric(model, tokenizer).run(outputs) for metric in AREAS]
        for i, output in enumerate(outputs):
            u, target = len(output.elements), int(output.targets[0])
            removed, kept = (by_hand(model, tokenizer, output, range(u + 1), k)[:, target].exp() for k in (False, True))
            deletion, insertion = (float(torch.trapezoid(curve)) / u for curve in (removed, kept))
            expected = [deletion, insertion, deletion, insertion, insertion - deletion]
            assert [float(result.per_sample[i]) for result in results] == pytest.approx(expected, abs=1e-5)
            torch.testing.assert_close(results[0].details["curves"][i][0], removed, atol=1e-5, rtol=0)

    def test_shares(self, classified):
        model, tokenizer, outputs = classified
        metrics = (AOPCComprehensiveness, AOPCSufficiency, LogOdds)
        results = [metric(model, tokenizer).run(outputs).per_sample for metric in metrics]
        for i, output in enumerate(outputs):
            u, target = len(output.elements), int(output.targets[0])
            counts = [math.ceil(q * u) for q in (0.01, 0.05, 0.1, 0.2, 0.5)]
            removed, kept = (by_hand(model, tokenizer, output, counts, k)[:, target] for k in (False, True))
            whole = by_hand(model, tokenizer, output, [0])[0, target]
            expected = [(whole.exp() - removed.exp()).mean(), (whole.exp() - kept.exp()).mean(), (removed - whole).mean()]
            assert [float(result[i]) for result in results] == pytest.approx([float(v) for v in expected], abs=1e-5)

    def test_flips_and_falls(self, classified):
        model, tokenizer, outputs = classified
        flips, rises = (metric(model, tokenizer).run(outputs) for metric in (DecisionFlip, Monotonicity))
        for i, output in enumerate(outputs):
            u = len(output.elements)
            removed = by_hand(model, tokenizer, output, range(u + 1))
            turned = [k for k in range(u + 1) if removed[k].argmax() != output.targets[0]]
            assert float(flips.per_sample[i]) == pytest.approx(turned[0] / u if turned else 1.0)
            assert flips.details["flipped"][i][0] == bool(turned)
            steps_up = -removed[:, int(output.targets[0])].exp().diff()
            assert float(rises.per_sample[i]) == pytest.approx(float((steps_up >= -1e-6).double().mean()))

    def test_distinct_explanations_are_told_apart(self, classified):
        """Copies of one object would score alike, and hide that a metric cannot tell good from bad."""
        model, tokenizer, _ = classified
        right = Occlusion(model, tokenizer)([sentence.text for sentence in demo.load_sentences()[:6]])
        wrong = [replace(output, attributions=-output.attributions.clone()) for output in right]
        assert right[0] is not wrong[0]
        for metric in (*AREAS, AOPCComprehensiveness, AOPCSufficiency, LogOdds, DecisionFlip):
            good, bad = (metric(model, tokenizer).run(outputs) for outputs in (right, wrong))
            gap = (good.score - bad.score) * (1 if good.higher_is_better else -1)
            assert gap > 0.05, metric.__name__


class TestCalls:
    def test_one_home_hands_the_same_objects_on(self):
        assert all(getattr(of_attributions, name) is getattr(home, name) for name in of_attributions.__all__)

    def test_the_reference_librarys_calls(self, classified):
        model, tokenizer, outputs = classified
        metric = Insertion(model, tokenizer, 4, None, 100, 1.0)
        auc, curves = metric.evaluate(output for output in outputs)  # a generator is read once
        assert isinstance(auc, float)
        assert [len(of_targets) for of_targets in curves] == [1] * len(outputs)
        assert [len(c[0]) for c in curves] == [len(output.elements) + 1 for output in outputs]
        assert float(metric(outputs)) == auc
        assert float(metric.run(outputs)) == auc

    def test_neither_batch_size_nor_company_changes_anything(self, classified):
        model, tokenizer, outputs = classified
        together = ABPC(model, tokenizer).run(outputs).per_sample
        for size in (1, 4, 64):
            torch.testing.assert_close(ABPC(model, tokenizer, size).run(outputs).per_sample, together, atol=1e-5, rtol=0)
        alone = torch.cat([ABPC(model, tokenizer).run([output]).per_sample for output in outputs])
        torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)

    def test_all_curve_metrics_take_the_copies_of_deletion_and_insertion(self, classified):
        model, tokenizer, outputs = classified
        more = (*AREAS, LogOdds, AOPCComprehensiveness, AOPCSufficiency, DecisionFlip, Monotonicity)
        game = Deletion(model, tokenizer).game
        run_together([Deletion(model, tokenizer)], outputs, game)  # finds out once how the model takes padding
        rows = [
            counted(model, run_together, [metric(model, tokenizer) for metric in metrics], outputs, game)
            for metrics in ((Deletion, Insertion), more)
        ]
        # No ties: the text, the text without all units, and two copies of each number in between.
        assert rows == [sum(2 * len(output.elements) for output in outputs)] * 2

    def test_equals_take_twice_as_many_at_most(self):
        game = model_of(random_game(8, 2)[0], 8)
        metrics = [Deletion(*game), Insertion(*game), ABPC(*game)]
        for row in ([3, 3, 3, 3, 1, 1, 1, 1], [3, 3, 2, 2, 1, 1, 0, 0], [1.0] * 8):
            outputs, before = explained(*game, row), game[0].calls
            run_together(metrics, outputs, metrics[0].game)
            assert 2 * 8 <= game[0].calls - before <= 4 * 8

    def test_targets_share_copies(self, classified):
        """Two classes mirror each other: what is removed for one is kept for the other."""
        model, tokenizer, _ = classified
        (one,) = Occlusion(model, tokenizer, inference_mode="softmax")("A gorgeous, moving film.", 1)
        (both,) = Occlusion(model, tokenizer, inference_mode="softmax")("A gorgeous, moving film.", [[0, 1]])
        for metrics in ([Deletion(model, tokenizer), Insertion(model, tokenizer)], [Infidelity(model, tokenizer)]):
            run_together(metrics, [one], metrics[0].game)
            rows = [counted(model, run_together, metrics, [output], metrics[0].game) for output in (one, both)]
            assert rows[0] == rows[1]

    def test_targets_are_judged_one_by_one(self, classified):
        model, tokenizer, _ = classified
        both = Occlusion(model, tokenizer)("A gorgeous, moving film.", [[0, 1]])
        each = [Occlusion(model, tokenizer)("A gorgeous, moving film.", c)[0] for c in (0, 1)]
        result = Deletion(model, tokenizer).run(both)
        values = Deletion(model, tokenizer).run(each).per_sample
        torch.testing.assert_close(result.details["per_target"][0], values, atol=1e-6, rtol=0)
        assert float(result) == pytest.approx(float(values.mean()), abs=1e-6)

    def test_what_has_no_attribution_is_never_removed(self, classified):
        model, tokenizer, outputs = classified
        output = outputs[0]
        values = output.attributions.clone()
        values[0, 0] = torch.nan
        result = Deletion(model, tokenizer).run(replace(output, attributions=values))
        curve = result.details["curves"][0][0]
        assert len(curve) == len(output.elements)
        ids = torch.where(output.sample.units.index > 0, tokenizer.mask_token_id, output.sample.input_ids)
        with torch.no_grad():
            last = model(input_ids=ids[None]).logits[0].softmax(-1)[int(output.targets[0])]
        assert float(curve[-1]) == pytest.approx(float(last), abs=1e-5)

    def test_everything_is_left_as_it_was(self, classified):
        model, tokenizer, outputs = classified
        before = {name: value.clone() for name, value in model.state_dict().items()}
        state = torch.get_rng_state()
        model.train()
        for metric in (*AREAS, DecisionFlip):
            metric(model, tokenizer, replacement="mean").run(outputs[:2])
        assert model.training
        model.eval()
        assert torch.equal(state, torch.get_rng_state())
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())

    def test_a_replacement_is_named_and_changes_the_numbers(self, classified):
        model, tokenizer, outputs = classified
        found = {
            name: Deletion(model, tokenizer, replacement=name).run(outputs) for name in ("mask", "drop", "attention", "zero")
        }
        assert all(result.config["replacement"] == name for name, result in found.items())
        assert len({round(float(result), 6) for result in found.values()}) == 4

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda m, t: Deletion(m, t, n_perturbations=0), "n_perturbations"),
            (lambda m, t: Deletion(m, t, max_percentage_perturbed=0.0), "max_percentage_perturbed"),
            (lambda m, t: Deletion(m, t, measure="loss"), "`measure`: got 'loss'"),
            (lambda m, t: Deletion(m, t, replacement="nothing"), "`replacement`: got 'nothing'"),
            (lambda m, t: AOPCSufficiency(m, t, bins=[]), "`bins`"),
            (lambda m, t: AOPCSufficiency(m, t, bins="some"), "`bins`: got 'some'"),
            (lambda m, t: AOPCSufficiency(m, t, n_perturbations=3), "`n_perturbations`: AOPCSufficiency has no steps"),
            (lambda m, t: LogOdds(m, t, max_percentage_perturbed=0.5), "`max_percentage_perturbed`: LogOdds"),
            (lambda m, t: LogOdds(m, t, measure="score"), "`measure`: got 'score'; LogOdds reads 'log_probability'"),
            (lambda m, t: DecisionFlip(m, t, measure="probability"), "DecisionFlip reads 'holds'"),
            (lambda m, t: Deletion(m, t, max_percentage_perturbed=True), "max_percentage_perturbed"),
            (lambda m, t: Monotonicity(m, t, tolerance=-1), "tolerance"),
            (lambda m, t: Deletion(None, None), "`model`"),
        ],
    )
    def test_options_that_cannot_be(self, classified, make, message):
        with pytest.raises(OptionError, match=message):
            make(classified[0], classified[1])

    @pytest.mark.parametrize(("given", "message"), [([], "got none"), (["a text"], "got str")])
    def test_explanations_that_are_none(self, classified, given, message):
        with pytest.raises(InputError, match=message):
            Deletion(classified[0], classified[1]).run(given)

    def test_scores_of_ones_own(self, classified):
        model, tokenizer, _ = classified

        def squared(logits):
            return logits**2

        output = Occlusion(model, tokenizer, inference_mode=squared)("A gorgeous, moving film.")
        with pytest.raises(OptionError, match="a function of yours"):
            Deletion(model, tokenizer, measure="score").run(output)
        result = Deletion(model, tokenizer, measure="score", inference_mode=squared).run(output)
        assert float(result.details["curves"][0][0][0]) == pytest.approx(float(output[0].base_scores[0]), rel=1e-4)


class TestDecisions:
    def test_what_the_model_does_not_decide_cannot_flip(self, classified):
        model, tokenizer, _ = classified
        both = Occlusion(model, tokenizer)("A gorgeous, moving film.", [["negative", "positive"]])
        values = DecisionFlip(model, tokenizer).run(both).details["per_target"][0]
        assert math.isnan(float(values[0]))
        assert 0 < float(values[1]) <= 1

    def test_a_regression_decides_nothing_and_its_curves_are_of_its_output(self):
        model, tokenizer = tiny.CLASSIFIERS["bert"]()
        model.config.problem_type = "regression"
        outputs = Occlusion(model, tokenizer)(tiny.SENTENCES[:3])
        flips = DecisionFlip(model, tokenizer).run(outputs)
        assert math.isnan(float(flips))
        assert flips.details["skipped"] == ["a regression makes no decision"]
        first = [float(of[0][0]) for of in Deletion(model, tokenizer).run(outputs).details["curves"]]
        assert first == pytest.approx([float(output.base_scores[0]) for output in outputs], abs=1e-5)

    def test_a_label_of_several_flips_when_its_logit_changes_sign(self):
        model, tokenizer = tiny.CLASSIFIERS["bert"]()
        model.config.problem_type = "multi_label_classification"
        outputs = Occlusion(model, tokenizer)(tiny.SENTENCES[:4], [[0, 1, 2]] * 4)
        result = DecisionFlip(model, tokenizer).run(outputs)
        curves = Deletion(model, tokenizer).run(outputs)
        for e, output in enumerate(outputs):
            for t in range(3):
                p = curves.details["curves"][e][t]
                turned = ((p > 0.5) != (p[0] > 0.5)).nonzero()[:, 0]
                expected = int(turned[0]) / len(output.elements) if len(turned) else 1.0
                assert float(result.details["per_target"][e][t]) == pytest.approx(expected)


class TestWhatARangeIsOf:
    def test_of_a_probability_of_a_contrast_and_of_anything_else(self, classified):
        model, tokenizer, outputs = classified
        assert Deletion(model, tokenizer).run(outputs[:1]).value_range == (0.0, 1.0)
        for metric in (Deletion, ABPC, AOPCSufficiency):
            found = metric(model, tokenizer, measure="score").run(outputs[:1])
            assert found.value_range == (None, None)
            assert "in [−∞, ∞]" in repr(found)
        assert Monotonicity(model, tokenizer, measure="score").run(outputs[:1]).value_range == (0.0, 1.0)
        contrast = Occlusion(model, tokenizer)("A gorgeous, moving film.", Contrast("negative", "positive"))
        found = Deletion(model, tokenizer).run(contrast)
        assert found.value_range == (-1.0, 1.0)
        assert float(found) < 0
        assert ABPC(model, tokenizer).run(contrast).value_range == (-2.0, 2.0)

    def test_of_a_regression(self):
        model, tokenizer = tiny.CLASSIFIERS["bert"]()
        model.config.problem_type = "regression"
        assert Deletion(model, tokenizer).run(Occlusion(model, tokenizer)(tiny.SENTENCES[0])).value_range == (None, None)

    def test_of_bounds_that_a_search_found(self, classified):
        model, tokenizer, outputs = classified
        assert NormalizedAOPC(model, tokenizer, exact_units=1, beam_size=1).run(outputs[:1]).value_range == (None, None)
        short = Occlusion(model, tokenizer)("A gorgeous film.")
        assert NormalizedAOPC(model, tokenizer).run(short).value_range == (0.0, 1.0)


class TestAnotherModel:
    """Explanations carry f(x): a model that answers something else is not the one that was explained."""

    @pytest.mark.parametrize("metric", [Deletion, Infidelity, LogOdds])
    def test_a_classifier_with_other_weights_is_noticed(self, classified, metric):
        model, tokenizer, outputs = classified
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.classifier.weight.mul_(0.5)
        with pytest.warns(MismatchWarning, match=r"was explained where f\(x\) = .*: was another model explained\?"):
            metric(other, tokenizer).run(outputs[:2])

    def test_a_language_model_with_other_weights_is_noticed(self):
        model, tokenizer = tiny.CAUSAL_LMS["gpt2"]()
        outputs = Occlusion(model, tokenizer)(["The film was great, and"], ["the actors were wonderful"])
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.lm_head.weight.add_(torch.randn(other.lm_head.weight.shape, generator=torch.Generator().manual_seed(0)))
        for metric in (Deletion, LogOdds):
            with pytest.warns(MismatchWarning, match="was another model explained"):
                metric(other, tokenizer).run(outputs)

    def test_tokens_that_a_model_does_not_know_are_an_error(self, classified):
        _, _, outputs = classified
        with pytest.raises(InputError, match=r"has token \d+, and this model knows \d+; pass the model that was explained"):
            Deletion(*tiny.CLASSIFIERS["bert"]()).run(outputs)


def test_equals_are_walked_both_ways():
    assert orders(torch.tensor([2.0, 1.0, 3.0])).tolist() == [[1, 2, 0]]
    assert orders(torch.tensor([1.0, 1.0, 3.0])).tolist() == [[1, 2, 0], [2, 1, 0]]


def test_magnitudes_are_ordered_too(classified):
    model, tokenizer, _ = classified
    texts = [sentence.text for sentence in demo.load_sentences()[:4]]
    for method in (Saliency, IntegratedGradients):
        assert 0 < float(Deletion(model, tokenizer).run(method(model, tokenizer)(texts))) < 1


def counted(model, run, *arguments):
    """The rows that go through a model while something runs."""
    rows = []
    handle = model.register_forward_pre_hook(lambda _m, _a, given: rows.append(len(given["input_ids"])), with_kwargs=True)
    try:
        run(*arguments)
    finally:
        handle.remove()
    return sum(rows)
